//! Times as AWS writes them.

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads a time; none before 1970 is one.
pub(crate) fn parse(text: &str, format: Format) -> Result<SystemTime, String> {
    let wrong = || format!("{text:?} is no time");
    let time = DateTime::from_str(text, format).map_err(|_| wrong())?;
    let seconds = u64::try_from(time.secs()).map_err(|_| wrong())?;
    UNIX_EPOCH.checked_add(Duration::new(seconds, time.subsec_nanos())).ok_or_else(wrong)
}

/// Reads `2026-11-21T10:00:00Z`, also with a fraction or an offset.
///
/// # Errors
/// The text, as one that is no time.
pub fn parse_rfc3339(text: &str) -> Result<SystemTime, String> {
    parse(text, Format::DateTimeWithOffset)
}

/// Writes `2026-11-21T10:00:00Z`; whole seconds.
#[must_use]
pub fn format_rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let date = DateTime::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    date.fmt(Format::DateTime).unwrap_or_else(|_| format!("@{seconds}"))
}

/// For serde: an RFC 3339 time.
pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<SystemTime, D::Error> {
    let text = <String as serde::Deserialize>::deserialize(deserializer)?;
    parse_rfc3339(&text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        let time = UNIX_EPOCH + Duration::from_secs(1_795_255_200);
        assert_eq!(format_rfc3339(time), "2026-11-21T10:00:00Z");
        assert_eq!(parse_rfc3339("2026-11-21T10:00:00Z"), Ok(time));
        assert_eq!(parse_rfc3339("2026-11-21T11:00:00+01:00"), Ok(time));
        assert_eq!(parse("Sat, 21 Nov 2026 10:00:00 GMT", Format::HttpDate), Ok(time));
        for wrong in ["", "yesterday", "1969-12-31T23:59:59Z", "2026-13-01T00:00:00Z"] {
            assert!(parse_rfc3339(wrong).is_err(), "{wrong}");
        }
    }
}
