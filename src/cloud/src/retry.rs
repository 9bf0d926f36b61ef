//! When a try is repeated: pauses that double, with a random part, so that a fleet that lost the
//! same service does not come back in step.

use crate::limits::{RETRY_FIRST, RETRY_LONGEST};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The pause after try number `tries` (from 1 on): half of it fixed, half of it by `chance`, which
/// is any number.
#[must_use]
pub fn pause(tries: u32, chance: u64) -> Duration {
    const STEPS: u64 = 1_000;
    let doubled = RETRY_FIRST.saturating_mul(1 << tries.saturating_sub(1).min(10));
    let whole = doubled.min(RETRY_LONGEST);
    let part = u32::try_from(chance % (STEPS + 1)).unwrap_or(0);
    whole / 2 + whole / 2 * part / 1_000
}

/// Any number: the standard library's seeds of hash maps come from the kernel.
#[must_use]
pub fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Rests after try number `tries`.
pub(crate) async fn rest(tries: u32) {
    tokio::time::sleep(pause(tries, chance())).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pauses grow to their longest, and chance never takes more than half of one away.
    #[test]
    fn pauses_double_within_their_bounds() {
        for tries in 1..40 {
            let (least, most) = (pause(tries, 0), pause(tries, 1_000));
            assert_eq!(least * 2, most, "try {tries}");
            assert!(most <= RETRY_LONGEST);
        }
        assert_eq!(pause(1, 1_000), RETRY_FIRST);
        assert_eq!(pause(2, 1_000), RETRY_FIRST * 2);
        assert_eq!(pause(30, 1_000), RETRY_LONGEST);
        assert!(pause(3, u64::MAX) >= pause(3, 0));
    }
}
