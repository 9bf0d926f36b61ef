//! The clocks of deadlines: `CLOCK_MONOTONIC` and `CLOCK_BOOTTIME`, which no time server sets.

use rustix::time::{ClockId, clock_gettime};

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
}
