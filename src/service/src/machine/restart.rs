//! Restart maths: how long to wait, and when to give up.

use super::memory::Memory;
use crate::definition::{Policy, Restart};
use crate::record::Milliseconds;

/// What the policy says to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Down, as it should be.
    Rest,
    /// Down, and for good.
    Fail(String),
    /// Start again in so many milliseconds.
    Again { delay_ms: u64 },
}

/// Judges an end and counts it. `success` as the policy sees it; `reason` in words if it was none.
pub(super) fn judge(
    memory: &mut Memory,
    restart: &Restart,
    success: bool,
    reason: &str,
    now_ns: u64,
) -> Verdict {
    match (restart.policy, success) {
        (Policy::No | Policy::OnFailure, true) => return Verdict::Rest,
        (Policy::No, false) => return Verdict::Fail(reason.to_owned()),
        (Policy::Always, _) | (Policy::OnFailure, false) => {}
    }
    if let Some(intensity) = restart.intensity {
        let period_ns = intensity.period_ms * 1_000_000;
        memory.window.retain(|at_ns| now_ns.saturating_sub(*at_ns) < period_ns);
        if memory.window.len() >= intensity.count as usize {
            return Verdict::Fail(format!(
                "gave up after {} restarts within {}; last: {reason}",
                intensity.count,
                Milliseconds(intensity.period_ms)
            ));
        }
        memory.window.push(now_ns);
    }
    let stood_ns = now_ns.saturating_sub(memory.ready_ns);
    if memory.ready_ns != 0 && stood_ns >= restart.reset_after_ms * 1_000_000 {
        memory.failures = 0;
    }
    let delay_ms = backoff_ms(restart, memory.failures);
    memory.failures = memory.failures.saturating_add(1);
    Verdict::Again { delay_ms }
}

/// The least delay, doubled for each restart in the row so far, up to the greatest.
fn backoff_ms(restart: &Restart, failures: u32) -> u64 {
    let doubled =
        restart.backoff_min_ms.saturating_mul(1_u64.checked_shl(failures).unwrap_or(u64::MAX));
    doubled.min(restart.backoff_max_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::Intensity;

    const RESTART: Restart = Restart {
        policy: Policy::Always,
        backoff_min_ms: 100,
        backoff_max_ms: 1000,
        reset_after_ms: 60_000,
        intensity: None,
    };
    const SECOND_NS: u64 = 1_000_000_000;

    fn delay(memory: &mut Memory, restart: &Restart, now_ns: u64) -> Option<u64> {
        match judge(memory, restart, false, "it broke", now_ns) {
            Verdict::Again { delay_ms } => Some(delay_ms),
            _ => None,
        }
    }

    /// 100, 200, 400, 800, then the cap; a run that stood for a minute begins a new row, one that
    /// stood a nanosecond less does not. And no count of failures overflows.
    #[test]
    fn backoff_doubles_to_its_cap_and_resets_after_a_stable_run() {
        let mut memory = Memory::default();
        let delays: Vec<_> = (0..6).map(|_| delay(&mut memory, &RESTART, 0)).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1000, 1000].map(Some));
        memory.ready_ns = 1;
        assert_eq!(delay(&mut memory, &RESTART, 60 * SECOND_NS), Some(1000));
        assert_eq!(delay(&mut memory, &RESTART, 60 * SECOND_NS + 1), Some(100));
        for failures in [31, 63, 64, u32::MAX] {
            memory.failures = failures;
            memory.ready_ns = 0;
            assert_eq!(delay(&mut memory, &RESTART, 0), Some(1000));
        }
    }

    /// Three restarts in ten seconds are tolerated and the fourth is not, unless the first is ten
    /// seconds old by then.
    #[test]
    fn intensity_gives_up_within_its_period_only() {
        let intensity = Some(Intensity { count: 3, period_ms: 10_000 });
        let restart = Restart { intensity, ..RESTART };
        let mut memory = Memory::default();
        for second in [0, 4, 8, 10, 14, 18] {
            assert!(delay(&mut memory, &restart, second * SECOND_NS).is_some(), "{second}");
        }
        let verdict = judge(&mut memory, &restart, false, "it broke", 19 * SECOND_NS);
        let Verdict::Fail(reason) = verdict else { panic!("{verdict:?}") };
        assert_eq!(reason, "gave up after 3 restarts within 10s; last: it broke");
    }

    /// The table of policies against successes and failures.
    #[test]
    fn policies() {
        let verdict = |policy, success| {
            judge(&mut Memory::default(), &Restart { policy, ..RESTART }, success, "why", 0)
        };
        let again = Verdict::Again { delay_ms: 100 };
        assert_eq!(verdict(Policy::Always, true), again);
        assert_eq!(verdict(Policy::Always, false), again);
        assert_eq!(verdict(Policy::OnFailure, true), Verdict::Rest);
        assert_eq!(verdict(Policy::OnFailure, false), again);
        assert_eq!(verdict(Policy::No, true), Verdict::Rest);
        assert_eq!(verdict(Policy::No, false), Verdict::Fail("why".to_owned()));
    }
}
