//! Asking a version whether it is well: the maths of gate, bake, watch and way back.

use super::Machine;
use super::tell::{cut, seconds};
use crate::effect::{Effect, ProbeTarget, Ticket};
use crate::event::ProbeResult;
use crate::health::{Health, HealthKind};
use crate::limits::{CRASHES_MAX, PROBE_FAILURES_MAX, UP_MS};
use crate::view::{Run, RunState};
use crate::{Now, Swap};

/// What a version is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Is the candidate ready for users? Not yet is no fault; a crash loop is.
    Gate,
    /// Users are there: does it stay well? Any end of its run is a fault.
    Bake,
    /// It is committed: does it stay well? A crash loop is a fault.
    Watch,
    /// Is the previous version well, after a way back?
    Verify,
}

/// What is known of the version that is being asked.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    mode: Mode,
    health: Health,
    /// The newest run that was seen; 0 for none.
    pub(super) incarnation: u64,
    /// The port that it binds by itself.
    port: Option<u16>,
    /// Ends of runs.
    crashes: u32,
    /// Since when that run lives.
    live_since_ns: Option<u64>,
    is_ready: bool,
    is_down: bool,
    sick: Option<String>,
    /// Good answers in a row.
    passes: u32,
    /// Bad answers in a row.
    failures: u32,
    pub(super) tries: u32,
    last_bad: Option<String>,
    began_ns: u64,
    asked_ns: u64,
    next_ns: u64,
    probe: Option<Ticket>,
}

/// What follows from the answers so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet.
    Wait,
    /// It is well, in words.
    Well(String),
    /// It is not, in words.
    Sick(String),
}

impl Asking {
    fn new(mode: Mode, health: Health, incarnation: u64, now: Now) -> Self {
        Self {
            mode,
            health,
            incarnation,
            port: None,
            crashes: 0,
            live_since_ns: None,
            is_ready: false,
            is_down: false,
            sick: None,
            passes: 0,
            failures: 0,
            tries: 0,
            last_bad: None,
            began_ns: now.clock_ns,
            asked_ns: now.clock_ns,
            next_ns: now.clock_ns,
            probe: None,
        }
    }

    pub(super) fn awaits(&self, ticket: Ticket) -> bool {
        self.probe == Some(ticket)
    }

    pub(super) fn forget_unbegun(&mut self, rest: &[Effect]) {
        if rest.iter().any(|effect| effect.ticket().is_some() && effect.ticket() == self.probe) {
            self.probe = None;
        }
    }

    /// When something is due without any event.
    pub(super) fn wake_ns(&self) -> Option<u64> {
        match self.health.kind {
            HealthKind::Http { .. } | HealthKind::Tcp { .. } => {
                self.probe.is_none().then_some(self.next_ns)
            }
            HealthKind::Up => self.live_since_ns.map(|since_ns| since_ns + UP_MS * 1_000_000),
            HealthKind::Notify => None,
        }
    }

    /// The supervisor's newest word on the run. Older words may come late: a run never comes back.
    fn see(&mut self, run: &Run, now: Now) {
        if run.incarnation < self.incarnation {
            return;
        }
        if run.incarnation > self.incarnation {
            self.crashes += u32::from(self.incarnation != 0);
            self.incarnation = run.incarnation;
            self.start_over();
        }
        self.port = run.port.or(self.port);
        self.is_down = run.state == RunState::Down && run.incarnation > 0;
        self.is_ready = run.state == RunState::Up && run.ready;
        if run.state.is_live() {
            self.live_since_ns.get_or_insert(now.clock_ns);
        } else {
            self.start_over();
        }
        self.sick = self.sickness(run);
    }

    fn sickness(&self, run: &Run) -> Option<String> {
        let why = |what: &str| match run.reason.as_str() {
            "" => what.to_owned(),
            reason => format!("{what}: {reason}"),
        };
        let is_strict = self.mode == Mode::Bake;
        match run.state {
            RunState::Failed => Some(why("it ended and is not started again")),
            RunState::Down if self.is_down && matches!(self.mode, Mode::Gate | Mode::Bake) => {
                Some(why("it was stopped"))
            }
            RunState::Waiting if is_strict => Some(why("it ended")),
            _ if is_strict && self.crashes > 0 => Some(why("it ended and was started again")),
            _ if self.crashes >= CRASHES_MAX => {
                Some(why(&format!("it ended {} times", self.crashes)))
            }
            _ => None,
        }
    }

    /// Good answers of an earlier run do not count.
    fn start_over(&mut self) {
        self.passes = 0;
        self.live_since_ns = None;
        self.is_ready = false;
    }

    fn answered(&mut self, result: ProbeResult, now: Now) {
        self.probe = None;
        self.tries = self.tries.saturating_add(1);
        let every_ns = self.health.every_ms.max(1).saturating_mul(1_000_000);
        self.next_ns = self.asked_ns.saturating_add(every_ns).max(now.clock_ns);
        let bad = match result {
            // Nobody lives there, as far as we know: this may be somebody else's answer.
            ProbeResult::Pass if self.live_since_ns.is_none() => return,
            ProbeResult::Pass => {
                self.passes = self.passes.saturating_add(1);
                self.failures = 0;
                return;
            }
            ProbeResult::Refused => "connection refused".to_owned(),
            ProbeResult::Sick(text) => cut(text),
            ProbeResult::Timeout => {
                format!("no answer within {}", seconds(self.health.timeout_ms))
            }
        };
        self.last_bad = Some(bad);
        self.passes = 0;
        self.failures = self.failures.saturating_add(1);
    }

    fn verdict(&self, now: Now) -> Verdict {
        if let Some(sick) = &self.sick {
            return Verdict::Sick(sick.clone());
        }
        match self.mode {
            Mode::Gate | Mode::Verify => self.gate_verdict(now),
            Mode::Bake | Mode::Watch => {
                let is_sick = self.failures >= PROBE_FAILURES_MAX && !self.is_down;
                let times = self.failures;
                if is_sick {
                    Verdict::Sick(format!("{}, {times} times in a row", self.bad_answer()))
                } else {
                    Verdict::Wait
                }
            }
        }
    }

    fn gate_verdict(&self, now: Now) -> Verdict {
        if self.mode == Mode::Verify && self.is_down {
            return Verdict::Well("it is stopped".to_owned());
        }
        let Some(since_ns) = self.live_since_ns else { return Verdict::Wait };
        let (is_well, words) = match &self.health.kind {
            HealthKind::Notify => (self.is_ready, "it said READY=1".to_owned()),
            HealthKind::Up => {
                let is_well = now.clock_ns.saturating_sub(since_ns) >= UP_MS * 1_000_000;
                (is_well, format!("it stays up for {}", seconds(UP_MS)))
            }
            HealthKind::Http { .. } | HealthKind::Tcp { .. } => {
                let passes = self.health.passes.max(1);
                let words = format!("{} ok x{passes}", self.question());
                (self.passes >= passes, words)
            }
        };
        if is_well { Verdict::Well(words) } else { Verdict::Wait }
    }

    /// Whether the newest answer is a good one, or nobody asks.
    fn is_content(&self) -> bool {
        self.sick.is_none()
            && (!self.health.kind.is_probed() || (self.failures == 0 && self.passes > 0))
    }

    fn question(&self) -> String {
        match &self.health.kind {
            HealthKind::Http { path, .. } => format!("GET {path}"),
            HealthKind::Tcp { .. } => match self.health.kind.of_port(self.port) {
                Some(HealthKind::Tcp { address }) => format!("connect to {address}"),
                _ => "connect to it".to_owned(),
            },
            HealthKind::Notify => "READY=1".to_owned(),
            HealthKind::Up => "staying up".to_owned(),
        }
    }

    fn bad_answer(&self) -> String {
        match &self.last_bad {
            Some(bad) => format!("{} -> {bad}", self.question()),
            None => format!("{} did not come", self.question()),
        }
    }

    /// Why the deadline passed, and more about it.
    pub(super) fn too_late(&self, now: Now) -> (String, String) {
        let elapsed_ms = now.clock_ns.saturating_sub(self.began_ns) / 1_000_000;
        (self.bad_answer(), format!("{} tries in {}", self.tries, seconds(elapsed_ms)))
    }
}

impl Machine {
    pub(super) fn start_asking(&mut self, mode: Mode) {
        self.stop_asking();
        let Some(swap) = self.swap() else { return };
        let incarnation = match mode {
            Mode::Bake | Mode::Watch => swap.gated_incarnation,
            Mode::Gate | Mode::Verify => 0,
        };
        let health = swap.policy.health.clone();
        self.asking = Some(Asking::new(mode, health, incarnation, self.now));
        self.observe();
    }

    pub(super) fn stop_asking(&mut self) {
        if let Some(ticket) = self.asking.take().and_then(|asking| asking.probe) {
            self.effects.push(Effect::Cancel { ticket });
        }
    }

    /// The run that is being asked, if the newest view shows it.
    pub(super) fn observed(&self, mode: Mode) -> Option<&Run> {
        let (swap, view) = (self.swap()?, self.view.as_ref()?);
        let (run, closure) = match mode {
            Mode::Bake if swap.retired_early => (&view.serving, swap.to.path.as_str()),
            Mode::Gate | Mode::Bake => {
                let is_ours = view.swap.as_ref().is_some_and(|host| host.id == swap.host_id());
                let alone = (!swap.policy.strategy.has_two_sides()).then_some(&view.serving);
                (view.candidate.as_ref().or(alone).filter(|_| is_ours)?, swap.candidate())
            }
            Mode::Watch => (&view.serving, swap.to.path.as_str()),
            Mode::Verify => (&view.serving, swap.from.as_ref()?.path.as_str()),
        };
        (run.closure.as_deref() == Some(closure)).then_some(run)
    }

    /// Takes in what the newest view says.
    pub(super) fn observe(&mut self) {
        let Some(mode) = self.asking.as_ref().map(|asking| asking.mode) else { return };
        let Some(run) = self.observed(mode).cloned() else { return };
        let now = self.now;
        let Some(asking) = self.asking.as_mut() else { return };
        let incarnation = asking.incarnation;
        asking.see(&run, now);
        // An answer that is on its way comes from the run that ended.
        if asking.incarnation != incarnation
            && let Some(ticket) = asking.probe.take()
        {
            asking.next_ns = now.clock_ns;
            self.effects.push(Effect::Cancel { ticket });
        }
    }

    pub(super) fn probed(&mut self, result: ProbeResult) {
        let now = self.now;
        if let Some(asking) = self.asking.as_mut() {
            asking.answered(result, now);
        }
    }

    /// Asks, if it is time.
    pub(super) fn ask(&mut self) {
        let Some(swap) = self.swap() else { return };
        let retired_early = swap.retired_early && !swap.is_reverse();
        let now_ns = self.now.clock_ns;
        let Some(asking) = self.asking.as_ref() else { return };
        let is_time = asking.probe.is_none() && asking.next_ns <= now_ns;
        if !asking.health.kind.is_probed() || !is_time {
            return;
        }
        // Without a word of the side that is to be asked there is nobody to ask yet.
        let Some(kind) = asking.health.kind.of_port(asking.port) else { return };
        let health = Health { kind, ..asking.health.clone() };
        let target = match asking.mode {
            Mode::Gate | Mode::Bake if !retired_early => ProbeTarget::Candidate,
            _ => ProbeTarget::Serving,
        };
        let ticket = self.ticket();
        if let Some(asking) = self.asking.as_mut() {
            asking.probe = Some(ticket);
            asking.asked_ns = now_ns;
        }
        self.effects.push(Effect::Probe { ticket, target, health });
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.asking.as_ref().map_or(Verdict::Wait, |asking| asking.verdict(self.now))
    }

    pub(super) fn is_content(&self) -> bool {
        self.asking.as_ref().is_some_and(Asking::is_content)
    }

    /// Whether the candidate that passed the gate is known to be gone.
    pub(super) fn is_gated_run_gone(&self, swap: &Swap) -> bool {
        self.observed(Mode::Gate).is_some_and(|run| {
            run.incarnation > swap.gated_incarnation
                || (run.incarnation == swap.gated_incarnation && !run.state.is_live())
        })
    }
}
