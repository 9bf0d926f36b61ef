//! Times as documents write them: `2026-11-21T10:00:00Z`, whole seconds of UTC and nothing else.
//!
//! RFC 3339 allows offsets, fractions and lower case; a document that is signed byte by byte needs
//! one way to write a moment, not many.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

const DAY_S: u64 = 86_400;

/// A moment: seconds since 1970, of the years 1970 to 9999.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

/// The last moment that can be written.
pub const LAST: Time = Time(253_402_300_799);

/// A text that is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time; write one of UTC as 2026-11-21T10:00:00Z")]
pub struct TimeError(pub String);

impl Time {
    /// The first second of a day; none if there is no such day.
    #[must_use]
    pub fn of_date(year: u64, month: u64, day: u64) -> Option<Self> {
        if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
            return None;
        }
        if day == 0 || day > days_of(year, month) {
            return None;
        }
        let years: u64 = (1970..year).map(days_in).sum();
        let months: u64 = (1..month).map(|month| days_of(year, month)).sum();
        Some(Self((years + months + day - 1) * DAY_S))
    }

    /// That second of that day.
    #[must_use]
    pub fn with(self, hour: u64, minute: u64, second: u64) -> Option<Self> {
        let fits = hour < 24 && minute < 60 && second < 60;
        fits.then_some(Self(self.0 + hour * 3_600 + minute * 60 + second))
    }

    /// So many seconds later; at most the last moment that can be written.
    #[must_use]
    pub fn plus_s(self, duration_s: u64) -> Self {
        Self(self.0.saturating_add(duration_s)).min(LAST)
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_of(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = (*self).min(LAST).0;
        let (mut days, second) = (time / DAY_S, time % DAY_S);
        let mut year = 1970;
        while days >= days_in(year) {
            days -= days_in(year);
            year += 1;
        }
        let mut month = 1;
        while days >= days_of(year, month) {
            days -= days_of(year, month);
            month += 1;
        }
        let (hour, minute) = (second / 3_600, second / 60 % 60);
        let (day, second) = (days + 1, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        const SHAPE: &[u8] = b"0000-00-00T00:00:00Z";
        let wrong = || TimeError(text.chars().take(40).collect());
        let bytes = text.as_bytes();
        let fits = |(byte, shape): (&u8, &u8)| match shape {
            b'0' => byte.is_ascii_digit(),
            _ => byte == shape,
        };
        if bytes.len() != SHAPE.len() || !bytes.iter().zip(SHAPE).all(fits) {
            return Err(wrong());
        }
        let number = |from: usize, to: usize| text[from..to].parse::<u64>().unwrap_or(u64::MAX);
        let date = Self::of_date(number(0, 4), number(5, 7), number(8, 10));
        let time = date.and_then(|date| date.with(number(11, 13), number(14, 16), number(17, 19)));
        time.ok_or_else(wrong)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (time_s, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_255_200, "2026-11-21T10:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (LAST.0, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Time(time_s).to_string(), text);
            assert_eq!(text.parse(), Ok(Time(time_s)));
        }
        assert_eq!(Time(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(LAST.plus_s(1), LAST);
    }

    #[test]
    fn what_is_no_time_is_said() {
        for text in [
            "",
            "yesterday",
            "2026-11-21",
            "2026-11-21T10:00:00+01:00",
            "2026-11-21t10:00:00z",
            "2026-11-21T10:00:00.5Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "２026-11-21T10:00:0Z",
        ] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_second_is_read_as_it_is_written(time_s in 0..=LAST.0) {
            prop_assert_eq!(Time(time_s).to_string().parse(), Ok(Time(time_s)));
        }
    }
}
