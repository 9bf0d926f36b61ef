//! Times for people: how long, and when (UTC).

use std::time::{SystemTime, UNIX_EPOCH};

const SECOND_NS: u64 = 1_000_000_000;

/// A duration in at most seven columns: `850ms`, `12s`, `3m 20s`, `5h 3m`, `12d 7h`.
pub fn duration(nanoseconds: u64) -> String {
    let seconds = nanoseconds / SECOND_NS;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0 => format!("{}ms", nanoseconds / 1_000_000),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {}s", seconds % 60),
        3600..86_400 => format!("{hours}h {}m", minutes % 60),
        86_400..8_640_000 => format!("{days}d {}h", hours % 24),
        _ => format!("{days}d"),
    }
}

/// Processor time: `0.42s`, `83.25s`, `3h 2m`.
pub fn processor(nanoseconds: u64) -> String {
    if nanoseconds < 1000 * SECOND_NS {
        let hundredths = nanoseconds / 10_000_000;
        format!("{}.{:02}s", hundredths / 100, hundredths % 100)
    } else {
        duration(nanoseconds)
    }
}

/// A point in time as people write it, in UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// `2026-03-01`
    pub day: String,
    /// `03:04:05.678`
    pub time: String,
}

impl Moment {
    /// The point in time that is so many nanoseconds after 1970.
    fn of_wall_ns(wall_ns: u64) -> Moment {
        let (days, in_day_ns) = (wall_ns / (86_400 * SECOND_NS), wall_ns % (86_400 * SECOND_NS));
        let (year, month, day) = civil(days);
        let seconds = in_day_ns / SECOND_NS;
        Moment {
            day: format!("{year:04}-{month:02}-{day:02}"),
            time: format!(
                "{:02}:{:02}:{:02}.{:03}",
                seconds / 3600,
                seconds / 60 % 60,
                seconds % 60,
                in_day_ns / 1_000_000 % 1000
            ),
        }
    }

    /// The point in time that is so many milliseconds after 1970.
    pub fn of_ms(wall_ms: u64) -> Moment {
        Moment::of_wall_ns(wall_ms.saturating_mul(1_000_000))
    }

    /// To the minute, without the year: `03-01 03:04`.
    pub fn minute(&self) -> String {
        let day = self.day.split_once('-').map_or(self.day.as_str(), |(_, day)| day);
        format!("{day} {}", self.time.get(..5).unwrap_or(&self.time))
    }

    /// RFC 3339: `2026-03-01T03:04:05.678Z`.
    pub fn rfc_3339(&self) -> String {
        format!("{}T{}Z", self.day, self.time)
    }
}

/// Turns `CLOCK_MONOTONIC` of the supervisor's replies into points in time.
///
/// Anchored anew at each reply: the wall clock here and `now_ns` there are then read at the same
/// moment, give or take the way through the socket. The time shown is the one that the clock
/// *now* believes it was then, so a clock that was set after boot does not leave lines of 1970.
#[derive(Debug, Clone, Copy)]
pub struct Anchor {
    wall_ns: u64,
    monotonic_ns: u64,
}

impl Anchor {
    /// Of a reply that was made at `now_ns` and has just come in.
    pub fn of_reply(now_ns: u64) -> Anchor {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ns = u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX);
        Anchor { wall_ns, monotonic_ns: now_ns }
    }

    /// The point in time of `time_ns`.
    pub fn moment(self, time_ns: u64) -> Moment {
        Moment::of_wall_ns(self.wall_ns(time_ns))
    }

    /// The same in milliseconds after 1970.
    pub fn wall_ms(self, time_ns: u64) -> u64 {
        self.wall_ns(time_ns) / 1_000_000
    }

    fn wall_ns(self, time_ns: u64) -> u64 {
        self.wall_ns.saturating_sub(self.monotonic_ns.saturating_sub(time_ns))
    }
}

/// Milliseconds of `500ms`, `90s`, `5m`, `2h`: a whole number with its unit.
pub fn milliseconds(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("write a whole number and its unit: 500ms, 90s, 5m, 2h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|error| format!("{number:?}: {error}"))?;
    number.checked_mul(unit_ms).ok_or_else(|| "that is too long".to_owned())
}

/// A duration of a step: `0.4s`, `12.3s`, `3m 20s`.
pub fn short(milliseconds: u64) -> String {
    match milliseconds {
        0..60_000 => format!("{}.{}s", milliseconds / 1000, milliseconds / 100 % 10),
        _ => duration(milliseconds.saturating_mul(1_000_000)),
    }
}

/// Milliseconds from 1970 to now.
pub fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Year, month and day of the day that is `days` after 1970-01-01, in the Gregorian calendar.
fn civil(mut days: u64) -> (u64, u64, u64) {
    // 400 years are 146097 days, always: the loop below then counts at most 400 years.
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::{Anchor, Moment, SECOND_NS, civil, duration, milliseconds, processor, short};

    #[test]
    fn durations() {
        for (nanoseconds, text) in [
            (0, "0ms"),
            (999_999_999, "999ms"),
            (SECOND_NS, "1s"),
            (61 * SECOND_NS, "1m 1s"),
            (3661 * SECOND_NS, "1h 1m"),
            (90_000 * SECOND_NS, "1d 1h"),
            (u64::MAX, "213503d"),
        ] {
            assert_eq!(duration(nanoseconds), text);
            assert!(text.len() <= 7);
        }
        assert_eq!(processor(83_250_000_000), "83.25s");
        assert_eq!(processor(7_200 * SECOND_NS), "2h 0m");
    }

    #[test]
    fn given_and_short_times() {
        assert_eq!(milliseconds("90s"), Ok(90_000));
        assert_eq!(milliseconds("500ms"), Ok(500));
        assert_eq!(milliseconds("2h"), Ok(7_200_000));
        for wrong in ["", "s", "90", "1.5s", "90 s", "-1s", "99999999999999999999s"] {
            assert!(milliseconds(wrong).is_err(), "{wrong}");
        }
        assert!(milliseconds("18446744073709551615h").is_err());
        assert_eq!(
            (short(99), short(1300), short(59_999)),
            ("0.0s".into(), "1.3s".into(), "59.9s".into())
        );
        assert_eq!(short(61_000), "1m 1s");
        assert_eq!(Moment::of_ms(86_400_500).minute(), "01-02 00:00");
    }

    /// Days around each kind of leap year, from a calendar.
    #[test]
    fn calendar() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(11_017), (2000, 3, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_453), (2025, 12, 31));
        assert_eq!(civil(47_540), (2100, 2, 28));
        assert_eq!(civil(47_541), (2100, 3, 1));
    }

    /// A time before the reply lies before its wall time by as much; one after it counts as now.
    #[test]
    fn moments() {
        let anchor =
            Anchor { wall_ns: 86_400 * SECOND_NS + 500_000_000, monotonic_ns: 9 * SECOND_NS };
        assert_eq!(anchor.moment(8 * SECOND_NS).rfc_3339(), "1970-01-01T23:59:59.500Z");
        assert_eq!(anchor.moment(90 * SECOND_NS).rfc_3339(), "1970-01-02T00:00:00.500Z");
    }
}
