//! The moves forward: from a request to the commit.

use super::{Answer, Effect, Event, Facts, Inspected, Reboot, Record, Request, State, Swap};
use crate::Now;
use crate::effect::Ticket;
use crate::event::{Failure, Fault};
use crate::limits::{RETRY_MS_MAX, RETRY_MS_MIN};
use crate::record::Origin;
use crate::report::{Admission, Outcome, OutcomeKind, Step, StepState};

/// The swaps of the system, and the trial of this boot.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) record: Record,
    pub(super) facts: Facts,
    /// This boot's entry has a counter, and the host has not come up yet.
    pub(super) trial: Option<super::trial::Trial>,
    pub(super) now: Now,
    pub(super) effects: Vec<Effect>,
    /// The newest batch, for [`Event::Broke`].
    batch: Vec<Effect>,
    tickets: u64,
    pub(super) flight: Option<(Ticket, Verb)>,
    /// What failed by the host's fault and is tried again.
    pub(super) retry: Option<(Again, u64)>,
    /// Tries of it so far.
    tries: u32,
    pub(super) step_began_ns: u64,
    pub(super) dry_run: bool,
    /// Why the swap under way is not wanted any more, until its entry is written.
    pub(super) called_back: Option<String>,
}

/// What is tried again.
#[derive(Clone, Debug)]
pub(super) enum Again {
    Verb(Verb),
    Effects(Vec<Effect>),
}

/// The effect that is being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Plan,
    Fetch,
    Inspect,
    Write,
    Activate,
    Revert,
    Reboot,
    Commit,
    Unlink,
    Discard,
}

impl Machine {
    pub(super) fn new(record: Record, now: Now, facts: Facts) -> Self {
        Self {
            record,
            facts,
            trial: None,
            now,
            effects: Vec::new(),
            batch: Vec::new(),
            tickets: 0,
            flight: None,
            retry: None,
            tries: 0,
            step_began_ns: now.clock_ns,
            dry_run: false,
            called_back: None,
        }
    }

    /// Something happened: what shall be done.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        self.now = now;
        match event {
            Event::Request(request) => self.request(request),
            Event::Done { ticket, answer } if self.trial_landed(ticket) => self.blessed(&answer),
            Event::Failed { ticket, failure } if self.trial_landed(ticket) => {
                self.not_blessed(&failure);
            }
            Event::Done { ticket, answer } => {
                if let Some(verb) = self.landed(ticket) {
                    self.tries = 0;
                    self.done(verb, answer);
                }
            }
            Event::Failed { ticket, failure } => {
                if let Some(verb) = self.landed(ticket) {
                    self.failed(verb, failure);
                }
            }
            Event::Broke { index, reason } => self.broke(index, &reason),
            Event::Health(waits_for) => self.health(waits_for),
            Event::Cancel { number, reason } => self.cancel(number, reason),
            Event::Tick => {}
        }
        self.pass_time();
        self.hand_out()
    }

    /// When [`Event::Tick`] is due at the latest, on [`Now::clock_ns`].
    #[must_use]
    pub fn wake_ns(&self) -> Option<u64> {
        let retry = self.retry.as_ref().map(|(_, at_ns)| *at_ns);
        let wake_ns = [retry, self.trial_wake_ns()].into_iter().flatten().min();
        // What is due by now was looked at; if it did not come about, it waits for an event.
        wake_ns.map(|at_ns| at_ns.max(self.now.clock_ns.saturating_add(1)))
    }

    /// What is remembered.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// The path that the profile's link points to: what a boot starts.
    #[must_use]
    pub fn profile(&self) -> Option<&str> {
        self.facts.profile.as_ref().map(|profile| profile.path.as_str())
    }

    /// What a boot on trial waits for; none: it is not on trial, or has come up.
    #[must_use]
    pub fn trial_waits_for(&self) -> Option<&str> {
        self.trial.as_ref().and_then(super::trial::Trial::waits_for)
    }

    /// Whether the answer to the effect with this ticket is waited for.
    #[must_use]
    pub fn awaits(&self, ticket: Ticket) -> bool {
        self.flight.is_some_and(|(flight, _)| flight == ticket)
    }

    /// Whether [`Event::Health`] is wanted.
    #[must_use]
    pub const fn is_on_trial(&self) -> bool {
        self.trial.is_some()
    }

    pub(super) fn hand_out(&mut self) -> Vec<Effect> {
        let batch = std::mem::take(&mut self.effects);
        self.batch.clone_from(&batch);
        batch
    }

    fn landed(&mut self, ticket: Ticket) -> Option<Verb> {
        self.flight.take_if(|(flight, _)| *flight == ticket).map(|(_, verb)| verb)
    }

    pub(super) fn fly(&mut self, verb: Verb) -> Ticket {
        let ticket = self.ticket();
        self.flight = Some((ticket, verb));
        ticket
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    pub(super) fn persist(&mut self) {
        let bytes = if self.dry_run {
            Record { swap: None, ..self.record.clone() }.encode()
        } else {
            self.record.encode()
        };
        self.effects.push(Effect::Persist { bytes });
    }

    /// Writes a state down and begins what follows from it.
    pub(super) fn enter(&mut self, state: State) {
        let Some(swap) = self.record.swap.as_mut() else { return };
        swap.state = state;
        self.persist();
        self.act();
    }

    /// Begins what follows from the state.
    pub(super) fn act(&mut self) {
        let Some(swap) = self.record.swap.clone() else { return };
        let path = swap.to.path.clone();
        match swap.state {
            State::Planned => {
                self.begin_step(Step::Plan, "");
                let ticket = self.fly(Verb::Plan);
                self.effects.push(Effect::Plan { ticket, path });
            }
            State::Fetched => {
                self.effects.push(Effect::Root { path });
                self.inspect();
            }
            State::Rebooting => self.reboot(),
            State::Booted => self.booted(),
            State::Activating => {
                self.begin_step(Step::Activate, "");
                let ticket = self.fly(Verb::Activate);
                self.effects.push(Effect::Activate { ticket, path });
            }
            State::Blessed | State::Activated => {
                self.begin_step(Step::Commit, "");
                self.commit(Verb::Commit, path, swap.to.generation);
            }
            State::Undoing => self.undo(),
        }
    }

    pub(super) fn commit(&mut self, verb: Verb, path: String, generation: Option<u64>) {
        let ticket = self.fly(verb);
        self.effects.push(Effect::Commit { ticket, path, generation });
    }

    /// Not while this boot is on trial: the boot partition holds the one good way back.
    pub(super) fn inspect(&mut self) {
        let Some(swap) = &self.record.swap else { return };
        if self.trial.is_some() && !self.dry_run {
            let text = "waits until this boot is blessed";
            return self.tell(Step::Write, StepState::Running, text, None);
        }
        let (path, kept) = (swap.to.path.clone(), self.kept());
        self.begin_step(Step::Write, "");
        let ticket = self.fly(Verb::Inspect);
        self.effects.push(Effect::Inspect { ticket, path, kept });
    }

    /// Generations whose entries must stay.
    fn kept(&self) -> Vec<u64> {
        let swap = self.record.swap.as_ref();
        let releases = [
            self.facts.booted.as_ref(),
            self.facts.profile.as_ref(),
            self.record.running.as_ref(),
            swap.and_then(|swap| swap.from.as_ref()),
        ];
        let mut kept: Vec<u64> =
            releases.into_iter().flatten().filter_map(|release| release.generation).collect();
        kept.sort_unstable();
        kept.dedup();
        kept
    }

    /// A request: begun, joined, or over at once.
    fn request(&mut self, request: Request) {
        let number = request.number;
        let admission = match self.admit(&request) {
            Some(admission) => admission,
            None => {
                self.dry_run = request.dry_run;
                self.called_back = None;
                self.tries = 0;
                let origin = if request.is_rollback { Origin::Rollback } else { Origin::Swap };
                self.record.swap = Some(Swap {
                    id: request.id.clone(),
                    origin,
                    from: self.record.running.clone(),
                    to: request.to,
                    reboot: request.reboot,
                    began_ms: self.now.wall_ms,
                    state: State::Planned,
                    back: None,
                });
                // Begun is what is on disk.
                self.persist();
                Admission::Began(request.id)
            }
        };
        let begins = matches!(admission, Admission::Began(_));
        self.effects.push(Effect::Answer { number, admission });
        if begins {
            self.act();
        }
    }

    /// What comes of a request that begins no swap.
    fn admit(&self, request: &Request) -> Option<Admission> {
        let path = &request.to.path;
        let over = |kind, reason: String, cure: Vec<String>| {
            let is_refused = kind == OutcomeKind::Refused;
            let failed_at = is_refused.then_some(Step::Plan);
            let outcome =
                Outcome { kind, failed_at, reason: Some(reason), details: Vec::new(), cure };
            Some(Admission::Over(outcome))
        };
        if let Some(swap) = &self.record.swap {
            if swap.to.path == *path && !request.dry_run && !self.dry_run && swap.back.is_none() {
                return Some(Admission::Joins(swap.id.clone()));
            }
            let id = &swap.id;
            let reason = format!("the system's swap {id} is under way");
            let cure = format!("wait for its end: rollinit swaps --follow {id}");
            return over(OutcomeKind::Refused, reason, vec![cure]);
        }
        let is_running = self.record.running.as_ref().is_some_and(|running| running.path == *path);
        let is_linked = self.facts.profile.as_ref().is_none_or(|linked| linked.path == *path);
        if is_running && is_linked && request.reboot != Reboot::Always {
            return over(OutcomeKind::NothingToDo, "it runs already".to_owned(), Vec::new());
        }
        let failed = self.record.failed.iter().find(|failed| failed.path == *path);
        match failed.filter(|_| !request.force && !request.is_rollback) {
            None => None,
            Some(failed) => {
                let (id, step, why) = (&failed.swap, failed.step.word(), &failed.reason);
                let reason = format!("it failed before, in swap {id}: {step}: {why}");
                let cure = format!("rollinit swap system {path} --force");
                over(OutcomeKind::Refused, reason, vec![cure])
            }
        }
    }

    fn done(&mut self, verb: Verb, answer: Answer) {
        match (verb, answer) {
            (Verb::Plan, Answer::Planned { text, is_here }) => {
                self.tell(Step::Plan, StepState::Ok, &text, None);
                if self.dry_run && is_here {
                    self.inspect();
                } else if self.dry_run {
                    self.end_dry(&text);
                } else {
                    self.fetch();
                }
            }
            (Verb::Fetch, Answer::Fetched(text)) => {
                self.tell(Step::Fetch, StepState::Ok, &text, None);
                self.enter(State::Fetched);
            }
            (Verb::Inspect, Answer::Inspected(inspected)) => self.inspected(&inspected),
            (Verb::Write, Answer::Written { generation, text }) => {
                self.tell(Step::Write, StepState::Ok, &text, None);
                self.written(generation);
            }
            (Verb::Activate, Answer::Text(text)) => {
                self.tell(Step::Activate, StepState::Ok, &text, None);
                self.record.running = self.record.swap.as_ref().map(|swap| swap.to.clone());
                self.enter(State::Activated);
            }
            (Verb::Commit, Answer::Committed { generation }) => self.committed(generation),
            (Verb::Unlink, Answer::Committed { generation }) => {
                let mut back = self.record.running.clone();
                if let Some(back) = &mut back {
                    back.generation = Some(generation);
                }
                self.facts.profile = back;
                self.discard();
            }
            (Verb::Revert, Answer::Text(text)) => {
                self.tell(Step::Rollback, StepState::Ok, &text, None);
                self.unlink();
            }
            (Verb::Discard, _) => self.finish_back(),
            // The host goes down, and this process with it.
            (Verb::Reboot, _) => {}
            (verb, answer) => self.surprised(verb, &answer),
        }
    }

    /// An answer to another question: a fault of ours, never to be waited for in silence.
    fn surprised(&mut self, verb: Verb, answer: &Answer) {
        let reason = format!("{verb:?} was answered by {answer:?}: report this as a bug");
        self.failed(verb, Failure { fault: Fault::Host, reason, cure: Vec::new() });
    }

    fn fetch(&mut self) {
        let Some(path) = self.record.swap.as_ref().map(|swap| swap.to.path.clone()) else { return };
        self.begin_step(Step::Fetch, "");
        let ticket = self.fly(Verb::Fetch);
        self.effects.push(Effect::Fetch { ticket, path });
    }

    /// Decides between reboot and none.
    fn inspected(&mut self, inspected: &Inspected) {
        let Some(swap) = self.record.swap.clone() else { return };
        let reboots = match swap.reboot {
            Reboot::Auto => inspected.needs_reboot.is_some(),
            Reboot::Always => true,
            Reboot::Never => false,
        };
        let why = inspected.needs_reboot.as_deref().unwrap_or("it was asked for");
        let way = if reboots { format!("reboots: {why}") } else { "no reboot".to_owned() };
        if let Some(no_slots) = inspected.no_slots.as_ref().filter(|_| reboots) {
            let reason = format!("it takes a reboot ({why}), and {no_slots}");
            let cure = "with --reboot never the services change now and the kernel stays";
            return self.refuse(Step::Write, reason, vec![cure.to_owned()]);
        }
        if self.dry_run {
            let text = format!("{}; {way}", inspected.text);
            return self.end_dry(&text);
        }
        if let Some(no_slots) = &inspected.no_slots {
            self.tell(Step::Write, StepState::Skip, no_slots, None);
            return self.enter(State::Activating);
        }
        if let Some(swap) = self.record.swap.as_mut() {
            // What was decided is what a resumed swap does too.
            swap.reboot = if reboots { Reboot::Always } else { Reboot::Never };
        }
        let kept = self.kept();
        self.tell(Step::Write, StepState::Running, &format!("{}; {way}", inspected.text), None);
        let ticket = self.fly(Verb::Write);
        self.effects.push(Effect::Write { ticket, path: swap.to.path, kept });
    }

    fn written(&mut self, generation: u64) {
        let Some(swap) = self.record.swap.as_mut() else { return };
        swap.to.generation = Some(generation);
        let reboots = swap.reboot == Reboot::Always;
        if let Some(reason) = self.called_back.take() {
            return self.turn_back(Step::Write, reason, Vec::new());
        }
        self.enter(if reboots { State::Rebooting } else { State::Activating });
    }

    pub(super) fn reboot(&mut self) {
        let outcome = Outcome::plain(OutcomeKind::Rebooting);
        self.begin_step(Step::Reboot, "");
        self.tell(Step::Reboot, StepState::Running, "the host reboots", Some(outcome));
        let ticket = self.fly(Verb::Reboot);
        self.effects.push(Effect::Reboot { ticket });
    }

    /// The profile's link points to it.
    fn committed(&mut self, generation: u64) {
        let Some(swap) = self.record.swap.as_mut() else { return };
        swap.to.generation = Some(generation);
        let swap = swap.clone();
        self.record.previous = if swap.origin.is_rollback() {
            None
        } else {
            swap.from.filter(|from| *from != swap.to)
        };
        self.record.failed.retain(|failed| failed.path != swap.to.path);
        self.record.running = Some(swap.to.clone());
        self.facts.profile = Some(swap.to);
        self.tell(Step::Commit, StepState::Ok, &format!("gen {generation}"), None);
        self.finish(Outcome::plain(OutcomeKind::Committed));
    }

    pub(super) fn try_again(&mut self, again: Again) {
        let pause_ms =
            RETRY_MS_MIN.checked_shl(self.tries).unwrap_or(RETRY_MS_MAX).min(RETRY_MS_MAX);
        self.tries = self.tries.saturating_add(1);
        self.retry = Some((again, self.now.plus_ms(pause_ms)));
    }

    fn pass_time(&mut self) {
        let now_ns = self.now.clock_ns;
        if let Some((again, _)) = self.retry.take_if(|(_, at_ns)| *at_ns <= now_ns) {
            match again {
                Again::Effects(effects) => self.pay(effects),
                Again::Verb(Verb::Unlink) => self.unlink(),
                Again::Verb(Verb::Reboot) if self.trial_gave_up() => self.reboot_out(),
                Again::Verb(_) => self.act(),
            }
        }
        self.pass_trial();
    }

    /// Tries again what broke, with the record as it is now.
    fn pay(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Persist { .. } => self.persist(),
                other => self.effects.push(other),
            }
        }
    }

    /// An effect without a ticket failed; the rest of its batch was not begun.
    fn broke(&mut self, index: usize, reason: &str) {
        let rest = self.batch.get(index..).unwrap_or_default().to_vec();
        let flight = self.flight.map(|(ticket, _)| ticket);
        let is_early = self.record.swap.as_ref().is_some_and(|swap| {
            matches!(swap.state, State::Planned | State::Fetched) && swap.back.is_none()
        });
        let (told, owed): (Vec<Effect>, Vec<Effect>) = rest.iter().cloned().partition(|effect| {
            matches!(effect, Effect::Report(_) | Effect::Answer { .. } | Effect::Notice(_))
        });
        // People hear of it now.
        self.effects.extend(told);
        if is_early {
            if flight.is_some_and(|flight| owed.iter().any(|one| one.ticket() == Some(flight))) {
                self.flight = None;
            }
            // The trial is another matter.
            self.effects.extend(owed.into_iter().filter(|one| matches!(one, Effect::Bless { .. })));
            let reason = format!("the record cannot be written: {reason}");
            return self.refuse(Step::Plan, reason, Vec::new());
        }
        // What is owed to the disk, and what follows from it, is tried again.
        self.try_again(Again::Effects(owed));
    }
}
