//! Which hosts of a group live.
//!
//! A host says what it is up to at least every [`BEAT_MS`](super::limits::BEAT_MS). One whose
//! record stood unchanged for [`SILENT_MS`], on the *reader's* clock and counted from the reader's
//! first look at it, is silent: it is no member any more, until it says something again. So is one
//! that EC2 reports terminated, and one that says that it leaves.
//!
//! To be wrong about that costs little: who is taken for living too long keeps a release from being
//! blessed for so long, and a share of the group is counted on a host too many; who is taken for
//! dead and comes back catches up with what is blessed. A slot is never taken from anybody for
//! being silent.

use super::limits::SILENT_MS;
use super::status::Status;
use crate::Now;
use std::collections::BTreeMap;

/// What a reader knows about the hosts' records.
#[derive(Clone, Debug, Default)]
pub struct RollCall {
    seen: BTreeMap<String, Seen>,
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
        let mut living = Vec::new();
        for status in statuses {
            let new = Seen { beat: status.beat, since_ns: now.clock_ns, is_terminated: false };
            let seen = self.seen.entry(status.host.clone()).or_insert(new);
            if seen.beat != status.beat {
                *seen = new;
            }
            let is_own = status.host == own;
            if is_own || !(seen.is_terminated || seen.is_silent(now, SILENT_MS) || status.leaves())
            {
                living.push(status);
            }
        }
        living
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
        let silent = self.seen.iter().filter(|(_, seen)| seen.is_silent(now, silent_ms));
        silent.map(|(host, seen)| (host.clone(), seen.beat)).collect()
    }
}

impl Seen {
    fn is_silent(&self, now: Now, silent_ms: u64) -> bool {
        let until_ns = self.since_ns.saturating_add(silent_ms.saturating_mul(1_000_000));
        now.clock_ns >= until_ns
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

    /// Silence is counted from the reader's first look, ends with the next beat, and never makes a
    /// host take itself for dead.
    #[test]
    fn who_is_silent_is_no_member_until_it_speaks() {
        let mut roll = RollCall::default();
        let silent_s = SILENT_MS / 1_000;
        let call = |roll: &mut RollCall, seconds, beat| {
            let all = ["a", "b"]
                .map(|host| says(host, if host == "b" { beat } else { 7 }, AppWord::Serves));
            names(&roll.call(at(seconds), "a", all.to_vec())).join(" ")
        };
        assert_eq!(call(&mut roll, 1_000, 3), "a b", "however old it is by its own word");
        assert_eq!(call(&mut roll, 1_000 + silent_s - 1, 3), "a b");
        assert_eq!(call(&mut roll, 1_000 + silent_s, 3), "a");
        assert_eq!(call(&mut roll, 5_000, 4), "a b");
        assert!(roll.silent_for(at(6_000), SILENT_MS).contains(&("b".to_owned(), 4)));
        assert!(roll.silent_for(at(5_001), SILENT_MS).iter().all(|(host, _)| host == "a"));
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
        assert!(roll.silent_for(at(10_000), 0).iter().all(|(host, _)| host == "a"), "forgotten");
    }
}
