//! The clocks of deadlines: `CLOCK_MONOTONIC` and `CLOCK_BOOTTIME`, which no time server sets. And
//! the one that says which day it is, which a boot may have to put right.

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use std::io;
use std::time::Duration;

/// Nanoseconds in a millisecond.
pub const NS_PER_MS: u64 = 1_000_000;

/// Nanoseconds in a second.
pub const NS_PER_S: u64 = 1_000_000_000;

/// `CLOCK_MONOTONIC` now, in nanoseconds.
#[must_use]
pub fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// `CLOCK_BOOTTIME` now, in nanoseconds: as the monotonic clock, but it goes on while the host
/// sleeps. For time that passes for others too.
#[must_use]
pub fn boottime_ns() -> u64 {
    nanoseconds(ClockId::Boottime)
}

/// Sets `CLOCK_REALTIME` to a time since 1970.
///
/// # Errors
/// Those of clock_settime(2): `EPERM` without privilege, `EINVAL` for a time that the kernel does
/// not take.
pub fn set_realtime(since_1970: Duration) -> io::Result<()> {
    let seconds = i64::try_from(since_1970.as_secs());
    let seconds = seconds.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let time = Timespec { tv_sec: seconds, tv_nsec: since_1970.subsec_nanos().into() };
    Ok(clock_settime(ClockId::Realtime, time)?)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(NS_PER_S).saturating_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two readings in a row never go backwards and are not zero.
    #[test]
    fn time_goes_forward() {
        let first = monotonic_ns();
        assert!(first > 0 && monotonic_ns() >= first);
        assert!(boottime_ns() >= first, "sleep only adds");
    }

    /// A time beyond all calendars is refused, and the clock of this machine is not touched.
    #[test]
    fn impossible_times_are_refused() {
        set_realtime(Duration::from_secs(u64::MAX)).expect_err("no such time");
        set_realtime(Duration::from_secs(i64::MAX.unsigned_abs())).expect_err("no such time");
    }
}
