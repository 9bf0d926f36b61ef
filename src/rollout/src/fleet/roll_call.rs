//! Which hosts of a group live.
//!
//! A host says what it is up to at least every [`BEAT_MS`](super::limits::BEAT_MS). One whose
//! record stood unchanged for [`SILENT_MS`], on the *reader's* clock and counted from the reader's
//! first look at it, is silent: it is no member any more, until it says something again. So is one
//! that EC2 reports terminated, and one that says that it leaves.
//!
//! Whoever is not heard himself cannot tell who is silent: while the reader's own record does not
//! change either (the ledger is away, or takes no writes; the reader was suspended), nobody's
//! silence grows. Else the first host that reaches a ledger that was away would find itself alone,
//! and bless what it alone runs.
//!
//! To be wrong about that costs little: who is taken for living too long keeps a release from being
//! blessed for so long, and a share of the group is counted on a host too many; who is taken for
//! dead and comes back catches up with what is blessed. A slot is never taken from anybody for
//! being silent.

use super::limits::{OWN_SILENCE_MS, SILENT_MS};
use super::status::Status;
use crate::Now;
use std::collections::BTreeMap;

/// What a reader knows about the hosts' records.
#[derive(Clone, Debug, Default)]
pub struct RollCall {
    seen: BTreeMap<String, Seen>,
    /// The beat of the reader's own record, and when it was first seen; none before the first look.
    own: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    beat: u64,
    since_ns: u64,
    is_terminated: bool,
}

impl RollCall {
    /// Takes what all records say now; returns those of the hosts that live. `own` does.
    pub fn call(&mut self, now: Now, own: &str, statuses: Vec<Status>) -> Vec<Status> {
        self.seen.retain(|host, _| statuses.iter().any(|status| status.host == *host));
        self.hear_own(now, statuses.iter().find(|status| status.host == own));
        let heard_ns = self.heard_ns(now);
        let mut living = Vec::new();
        for status in statuses {
            let new = Seen { beat: status.beat, since_ns: now.clock_ns, is_terminated: false };
            let seen = self.seen.entry(status.host.clone()).or_insert(new);
            if seen.beat != status.beat {
                *seen = new;
            }
            let is_gone = seen.is_terminated || seen.is_silent(heard_ns, SILENT_MS);
            if status.host == own || !(is_gone || status.leaves()) {
                living.push(status);
            }
        }
        living
    }

    /// The reader's own record. The time in which it did not change counts for nobody's silence.
    fn hear_own(&mut self, now: Now, own: Option<&Status>) {
        let beat = own.map_or(0, |own| own.beat);
        let (known, _) = *self.own.get_or_insert((beat, now.clock_ns));
        if known == beat {
            return;
        }
        let unheard_ns = now.clock_ns.saturating_sub(self.heard_ns(now));
        for seen in self.seen.values_mut() {
            seen.since_ns = seen.since_ns.saturating_add(unheard_ns).min(now.clock_ns);
        }
        self.own = Some((beat, now.clock_ns));
    }

    /// Up to when this reader was heard, as far as that is known, on its own clock.
    fn heard_ns(&self, now: Now) -> u64 {
        let Some((_, since_ns)) = self.own else { return now.clock_ns };
        now.clock_ns.min(since_ns.saturating_add(OWN_SILENCE_MS.saturating_mul(1_000_000)))
    }

    /// EC2 has no such instance any more.
    pub fn terminated(&mut self, host: &str) {
        if let Some(seen) = self.seen.get_mut(host) {
            seen.is_terminated = true;
        }
    }

    /// Hosts that are silent for so long, in milliseconds, with what beat they fell silent.
    #[must_use]
    pub fn silent_for(&self, now: Now, silent_ms: u64) -> Vec<(String, u64)> {
        let heard_ns = self.heard_ns(now);
        let silent = self.seen.iter().filter(|(_, seen)| seen.is_silent(heard_ns, silent_ms));
        silent.map(|(host, seen)| (host.clone(), seen.beat)).collect()
    }
}

impl Seen {
    fn is_silent(&self, now_ns: u64, silent_ms: u64) -> bool {
        now_ns >= self.since_ns.saturating_add(silent_ms.saturating_mul(1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::{AppStatus, AppWord};
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { clock_ns: seconds * 1_000_000_000, wall_ms: 0 }
    }

    fn says(host: &str, beat: u64, word: AppWord) -> Status {
        let app = AppStatus { path: None, word, text: String::new() };
        let apps = [("web".to_owned(), app)].into();
        Status { host: host.to_owned(), beat, apps, ..Status::default() }
    }

    fn names(living: &[Status]) -> Vec<&str> {
        living.iter().map(|status| status.host.as_str()).collect()
    }

    /// What two hosts say, of which `a` looks.
    fn both(own_beat: u64, beat: u64) -> Vec<Status> {
        vec![says("a", own_beat, AppWord::Serves), says("b", beat, AppWord::Serves)]
    }

    /// `a` looks every ten seconds and is heard, while `b` says nothing new; the last answer.
    fn look(roll: &mut RollCall, seconds: std::ops::RangeInclusive<u64>, beat: u64) -> String {
        let looks = seconds.step_by(10);
        let calls = looks
            .map(|second| names(&roll.call(at(second), "a", both(second / 30, beat))).join(" "));
        calls.last().expect("a look")
    }

    /// Silence is counted from the reader's first look, ends with the next beat, and never makes a
    /// host take itself for dead.
    #[test]
    fn who_is_silent_is_no_member_until_it_speaks() {
        let mut roll = RollCall::default();
        let silent_s = SILENT_MS / 1_000;
        assert_eq!(look(&mut roll, 1_000..=1_000, 3), "a b", "however old it is by its own word");
        assert_eq!(look(&mut roll, 1_010..=1_000 + silent_s - 10, 3), "a b");
        assert_eq!(look(&mut roll, 1_000 + silent_s..=2_000, 3), "a");
        assert_eq!(look(&mut roll, 2_010..=2_010, 4), "a b");
        assert_eq!(look(&mut roll, 2_020..=3_000, 4), "a");
        assert_eq!(roll.silent_for(at(3_000), SILENT_MS), [("b".to_owned(), 4)]);
        assert_eq!(look(&mut roll, 3_010..=3_010, 5), "a b");
        assert_eq!(roll.silent_for(at(3_010), SILENT_MS), []);
    }

    /// A ledger that is away, or takes no writes, makes nobody silent; who was silent before stays
    /// so, and who does not speak once it is back is.
    #[test]
    fn who_is_not_heard_knows_nobody_to_be_silent() {
        let was_away = |roll: &mut RollCall, is_read: bool| {
            let seconds = if is_read { 1_030..=4_000 } else { 4_000..=4_000 };
            for second in seconds {
                assert_eq!(names(&roll.call(at(second), "a", both(34, 3))), ["a", "b"], "{second}");
            }
            assert_eq!(roll.silent_for(at(4_000), SILENT_MS), []);
        };
        for is_read in [true, false] {
            let mut roll = RollCall::default();
            assert_eq!(look(&mut roll, 1_000..=1_020, 3), "a b");
            was_away(&mut roll, is_read);
            assert_eq!(look(&mut roll, 4_010..=4_060, 3), "a b", "it has time to speak");
            assert_eq!(look(&mut roll, 4_070..=4_200, 3), "a");
            let before = roll.clone();
            roll.call(at(9_000), "a", both(140, 3));
            assert_eq!(
                roll.silent_for(at(9_000), SILENT_MS),
                before.silent_for(at(4_200), SILENT_MS)
            );
            assert_eq!(look(&mut roll, 9_010..=9_010, 3), "a");
        }
    }

    #[test]
    fn who_is_terminated_or_leaves_is_no_member() {
        let mut roll = RollCall::default();
        let all = vec![
            says("a", 1, AppWord::Serves),
            says("b", 1, AppWord::Leaves),
            says("c", 1, AppWord::Serves),
        ];
        assert_eq!(names(&roll.call(at(1), "a", all.clone())), ["a", "c"]);
        roll.terminated("c");
        assert_eq!(names(&roll.call(at(2), "a", all.clone())), ["a"]);
        assert_eq!(names(&roll.call(at(3), "a", all[..1].to_vec())), ["a"]);
        assert_eq!(roll.silent_for(at(3), 0), [("a".to_owned(), 1)], "the others are forgotten");
    }
}
