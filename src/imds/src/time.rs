//! Times as HTTP and AWS write them.

use std::time::{SystemTime, UNIX_EPOCH};

const DAY_S: u64 = 86_400;
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment, taken apart.
struct Moment {
    days: u64,
    year: u64,
    month: u64,
    day: u64,
    second: u64,
}

impl Moment {
    /// Years begin in March here, so that the day that comes and goes is a year's last.
    fn of(time: SystemTime) -> Self {
        const ERA_DAYS: u64 = 146_097; // 400 years
        const TO_ERA: u64 = 719_468; // days from 0000-03-01 to 1970-01-01
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (days, second) = (seconds / DAY_S, seconds % DAY_S);
        let shifted = days + TO_ERA;
        let (era, of_era) = (shifted / ERA_DAYS, shifted % ERA_DAYS);
        let leaps = of_era / 1_460 + of_era / 146_096;
        let year = (of_era + of_era / 36_524 - leaps) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * march + 2) / 5 + 1;
        let month = if march < 10 { march + 3 } else { march - 9 };
        Self { days, year: year + era * 400 + u64::from(month <= 2), month, day, second }
    }

    fn clock(&self) -> String {
        let Self { second, .. } = self;
        format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
    }
}

/// `2026-11-21T10:00:00Z`.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let moment = Moment::of(time);
    let Moment { year, month, day, .. } = moment;
    format!("{year:04}-{month:02}-{day:02}T{}Z", moment.clock())
}

/// `Sat, 21 Nov 2026 10:00:00 GMT`.
#[must_use]
pub fn http_date(time: SystemTime) -> String {
    let moment = Moment::of(time);
    let name = |names: &[&'static str], index: u64| {
        let index = usize::try_from(index).unwrap_or(0) % names.len();
        names[index]
    };
    let (week_day, month) = (name(&DAYS, moment.days % 7), name(&MONTHS, moment.month - 1));
    let Moment { year, day, .. } = moment;
    format!("{week_day}, {day:02} {month} {year:04} {} GMT", moment.clock())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Against `date -u -d @N`, around the days where calendars go wrong.
    #[test]
    fn times_are_written_as_date_writes_them() {
        for (seconds, iso, http) in [
            (0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "2000-02-29T00:00:00Z", "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_799, "2000-02-29T23:59:59Z", "Tue, 29 Feb 2000 23:59:59 GMT"),
            (1_795_255_200, "2026-11-21T10:00:00Z", "Sat, 21 Nov 2026 10:00:00 GMT"),
            (1_798_761_599, "2026-12-31T23:59:59Z", "Thu, 31 Dec 2026 23:59:59 GMT"),
            (4_107_542_400, "2100-03-01T00:00:00Z", "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(rfc3339(time), iso);
            assert_eq!(http_date(time), http);
        }
    }
}
