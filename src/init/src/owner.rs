//! The owner's life: start it, start it again, ever slower while it never gets as far as to attach.
//!
//! ```text
//!            started(pid)          attached
//! Waiting ───────────────▶ Running ────────▶ Running, attached
//!    ▲   not_started / died, never attached    │ died
//!    ├──────── at once, then 100 ms · 2ⁿ ≤ 10 s│
//!    └──────── at once ◀───────────────────────┘
//! ```
//!
//! An owner that attached and died is an everyday event: the next one starts at once. One that
//! dies before it attached is tried again at once, then after a pause that doubles. Five such
//! deaths in 30 s are said loudly, once; services stay, and the tries go on. Two starts are never
//! closer than a floor, so that an owner that attaches and dies cannot eat the processor.
//! Pure: the time goes in, deadlines come out.

use sys::clock::{NS_PER_MS, NS_PER_S};

/// First pause; the one after the immediate try.
const PAUSE_MIN_NS: u64 = 100 * NS_PER_MS;

/// Longest pause: an operator who repairs the cause should not wait longer.
const PAUSE_MAX_NS: u64 = 10 * NS_PER_S;

/// Two starts are at least this far apart: far below what a person notices.
const STARTS_APART_NS: u64 = 10 * NS_PER_MS;

/// So many deaths before attaching …
const LOUD_DEATHS: usize = 5;

/// … within this time are a crash loop.
const LOUD_WITHIN_NS: u64 = 30 * NS_PER_S;

/// Where the owner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be started at this time.
    Waiting { until_ns: u64 },
    /// Cloned.
    Running { pid: u32, attached: bool },
    /// The machine ends: never started again. The last one may live on for a moment.
    Retired { pid: Option<u32> },
}

/// What a death means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Time until the next start, in nanoseconds.
    pub pause_ns: u64,
    /// Deaths in a row without an attach.
    pub failures: u32,
    /// Say it loudly: this is the death that makes it a crash loop.
    pub loud: bool,
}

/// The owner's life.
#[derive(Debug)]
pub struct Owner {
    stage: Stage,
    started_ns: u64,
    failures: u32,
    deaths_ns: Vec<u64>,
    was_loud: bool,
}

impl Owner {
    /// To be started now.
    #[must_use]
    pub fn new(now_ns: u64) -> Self {
        Self {
            stage: Stage::Waiting { until_ns: now_ns },
            started_ns: 0,
            failures: 0,
            deaths_ns: Vec::with_capacity(LOUD_DEATHS),
            was_loud: false,
        }
    }

    /// When it is to be started; none while it lives, or for ever.
    #[must_use]
    pub fn start_ns(&self) -> Option<u64> {
        match self.stage {
            Stage::Waiting { until_ns } => Some(until_ns),
            _ => None,
        }
    }

    /// Its pid while it lives.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match self.stage {
            Stage::Running { pid, .. } => Some(pid),
            Stage::Retired { pid } => pid,
            Stage::Waiting { .. } => None,
        }
    }

    /// It is in a crash loop: nobody should count on it.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.failures as usize >= LOUD_DEATHS
    }

    /// It was cloned.
    pub fn started(&mut self, pid: u32, now_ns: u64) {
        self.started_ns = now_ns;
        self.stage = Stage::Running { pid, attached: false };
    }

    /// It could not even be cloned.
    pub fn not_started(&mut self, now_ns: u64) -> Verdict {
        self.started_ns = now_ns;
        self.failed(now_ns)
    }

    /// It attached: whatever was wrong before is over.
    pub fn attached(&mut self) {
        if let Stage::Running { attached, .. } = &mut self.stage {
            *attached = true;
            self.failures = 0;
            self.deaths_ns.clear();
            self.was_loud = false;
        }
    }

    /// Its process ended.
    pub fn died(&mut self, now_ns: u64) -> Verdict {
        match &mut self.stage {
            Stage::Running { attached: true, .. } => self.wait(now_ns, 0, false),
            Stage::Running { attached: false, .. } => self.failed(now_ns),
            Stage::Retired { pid } => {
                *pid = None;
                Verdict { pause_ns: 0, failures: self.failures, loud: false }
            }
            Stage::Waiting { .. } => Verdict { pause_ns: 0, failures: self.failures, loud: false },
        }
    }

    /// The machine ends.
    pub fn retire(&mut self) {
        self.stage = Stage::Retired { pid: self.pid() };
    }

    fn failed(&mut self, now_ns: u64) -> Verdict {
        self.failures = self.failures.saturating_add(1);
        self.deaths_ns.retain(|death_ns| now_ns.saturating_sub(*death_ns) <= LOUD_WITHIN_NS);
        if self.deaths_ns.len() == LOUD_DEATHS {
            self.deaths_ns.remove(0);
        }
        self.deaths_ns.push(now_ns);
        let loud = self.deaths_ns.len() == LOUD_DEATHS && !self.was_loud;
        self.was_loud |= loud;
        // At the first failure at once, then doubling.
        let doublings = self.failures.saturating_sub(2).min(16);
        let pause_ns = match self.failures {
            1 => 0,
            _ => (PAUSE_MIN_NS << doublings).min(PAUSE_MAX_NS),
        };
        self.wait(now_ns, pause_ns, loud)
    }

    fn wait(&mut self, now_ns: u64, pause_ns: u64, loud: bool) -> Verdict {
        let floor_ns = self.started_ns.saturating_add(STARTS_APART_NS);
        let until_ns = now_ns.saturating_add(pause_ns).max(floor_ns);
        self.stage = Stage::Waiting { until_ns };
        Verdict { pause_ns: until_ns.saturating_sub(now_ns), failures: self.failures, loud }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts it, lets it live for a second, lets it die.
    fn one_life(owner: &mut Owner, now_ns: &mut u64, attach: bool) -> Verdict {
        *now_ns = (*now_ns).max(owner.start_ns().expect("it waits"));
        owner.started(7, *now_ns);
        if attach {
            owner.attached();
        }
        *now_ns += NS_PER_S;
        owner.died(*now_ns)
    }

    /// However often an owner dies that attached, the next one starts at once and nobody shouts.
    #[test]
    fn attached_owners_come_back_at_once() {
        let (mut owner, mut now_ns) = (Owner::new(0), 0);
        for _ in 0..200 {
            let verdict = one_life(&mut owner, &mut now_ns, true);
            assert_eq!((verdict.pause_ns, verdict.loud), (0, false));
        }
    }

    /// Pauses are 0, 100, 200, … ms up to the cap and stay there; it is loud once; the tries never
    /// end; and an attach makes it all forgotten.
    #[test]
    fn a_crash_loop_slows_down_and_is_said_once() {
        let (mut owner, mut now_ns) = (Owner::new(0), 0);
        let verdicts: Vec<Verdict> =
            (0..20).map(|_| one_life(&mut owner, &mut now_ns, false)).collect();
        let pauses: Vec<u64> = verdicts.iter().map(|v| v.pause_ns / NS_PER_MS).collect();
        assert_eq!(pauses[..9], [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000]);
        assert!(pauses[9..].iter().all(|pause| *pause == 10_000));
        let loud: Vec<usize> = (0..20).filter(|at| verdicts[*at].loud).collect();
        assert_eq!(loud, [4], "the fifth death within 30 s");
        assert!(owner.is_hopeless());
        one_life(&mut owner, &mut now_ns, true);
        assert_eq!(one_life(&mut owner, &mut now_ns, false).pause_ns, 0);
    }

    /// An owner that attaches and dies in the same instant is held to the floor between starts.
    #[test]
    fn starts_keep_their_distance() {
        let mut owner = Owner::new(0);
        owner.started(7, 5);
        owner.attached();
        assert_eq!(owner.died(5).pause_ns, STARTS_APART_NS);
    }

    /// Once the machine ends it is never started again, whatever dies.
    #[test]
    fn a_retired_owner_stays_away() {
        let mut owner = Owner::new(0);
        owner.started(7, 0);
        owner.retire();
        assert_eq!(owner.pid(), Some(7), "it is still there to be reaped");
        owner.died(1);
        assert_eq!((owner.start_ns(), owner.pid()), (None, None));
    }
}
