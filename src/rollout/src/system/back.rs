//! What goes wrong, and the way back.

use super::machine::{Again, Verb};
use super::{Back, Effect, Machine, State};
use crate::event::{Failure, Fault};
use crate::report::{Admission, Outcome, OutcomeKind, Step, StepState};

impl Machine {
    /// An effect failed: refused while nothing is touched, taken back, or tried again.
    pub(super) fn failed(&mut self, verb: Verb, failure: Failure) {
        let Failure { fault, reason, cure } = failure;
        match verb {
            Verb::Plan => self.refuse(Step::Plan, reason, cure),
            Verb::Fetch => self.refuse(Step::Fetch, reason, cure),
            Verb::Inspect => self.refuse(Step::Write, reason, cure),
            Verb::Write => {
                let outcome = refused(Step::Write, reason, cure);
                self.go_back(Back { outcome, bars: false, reverts: false, linked: false });
            }
            Verb::Activate => {
                self.tell(Step::Activate, StepState::Failed, &reason, None);
                let kind = match fault {
                    Fault::Fence => OutcomeKind::Refused,
                    Fault::Host | Fault::Release => OutcomeKind::RolledBack,
                };
                let outcome = Outcome { kind, ..refused(Step::Activate, reason, cure) };
                let bars = fault == Fault::Release;
                self.go_back(Back { outcome, bars, reverts: true, linked: false });
            }
            Verb::Revert => {
                self.tell(Step::Rollback, StepState::Failed, &reason, None);
                if let Some(back) = self.record.swap.as_mut().and_then(|swap| swap.back.as_mut()) {
                    back.outcome.kind = OutcomeKind::FailedBack;
                    back.outcome.details.push(format!("the way back failed too: {reason}"));
                    back.outcome.cure.push("rollinit reboot starts the old system anew".to_owned());
                }
                self.unlink();
            }
            Verb::Discard => {
                if let Some(back) = self.record.swap.as_mut().and_then(|swap| swap.back.as_mut()) {
                    back.outcome.details.push(format!("its boot entry stays: {reason}"));
                }
                self.finish_back();
            }
            // Somebody else decided so; a boot that is to be left is asked of nobody.
            Verb::Reboot if fault == Fault::Fence && !self.trial_gave_up() => {
                self.turn_back(Step::Reboot, reason, cure);
            }
            Verb::Reboot | Verb::Commit | Verb::Unlink => {
                let step = if verb == Verb::Reboot { Step::Reboot } else { Step::Commit };
                self.tell(step, StepState::Running, &format!("tries again: {reason}"), None);
                self.try_again(Again::Verb(verb));
            }
        }
    }

    /// The swap under way is not wanted any more.
    pub(super) fn cancel(&mut self, number: u64, reason: String) {
        let state = self.record.swap.as_ref().filter(|swap| swap.back.is_none() && !self.dry_run);
        let is_early =
            state.is_some_and(|swap| matches!(swap.state, State::Planned | State::Fetched));
        let admission = if is_early {
            Admission::Done
        } else {
            let reason = "the host is on its way already, or there is no swap".to_owned();
            Admission::Over(refused(Step::Plan, reason, Vec::new()))
        };
        self.effects.push(Effect::Answer { number, admission });
        if !is_early {
            return;
        }
        if self.flight.is_some_and(|(_, verb)| verb == Verb::Write) {
            // What is being written has to be taken away again.
            self.called_back = Some(reason);
            return;
        }
        // What is under way changes nothing, and nobody waits for its answer any more.
        (self.flight, self.retry) = (None, None);
        self.refuse(Step::Plan, reason, Vec::new());
    }

    /// The host stays what it is, and the entry that was written goes.
    pub(super) fn turn_back(&mut self, step: Step, reason: String, cure: Vec<String>) {
        self.tell(step, StepState::Failed, &reason, None);
        let outcome = refused(step, reason, cure);
        self.go_back(Back { outcome, bars: false, reverts: false, linked: false });
    }

    pub(super) fn end_dry(&mut self, text: &str) {
        let outcome = Outcome::plain(OutcomeKind::NothingToDo);
        self.tell(Step::Plan, StepState::Ok, text, Some(outcome));
        self.record.swap = None;
        self.dry_run = false;
    }

    /// Nothing was touched.
    pub(super) fn refuse(&mut self, step: Step, reason: String, cure: Vec<String>) {
        let outcome = refused(step, reason, cure);
        if self.dry_run {
            let text = outcome.reason.clone().unwrap_or_default();
            self.tell(step, StepState::Failed, &text, Some(outcome));
            self.record.swap = None;
            self.dry_run = false;
            return;
        }
        self.finish(outcome);
    }

    /// What was begun is taken back.
    pub(super) fn go_back(&mut self, back: Back) {
        if let Some(swap) = self.record.swap.as_mut() {
            swap.back = Some(back);
        }
        self.enter(State::Undoing);
    }

    pub(super) fn undo(&mut self) {
        let Some(swap) = self.record.swap.clone() else { return };
        let reverts = swap.back.as_ref().is_some_and(|back| back.reverts);
        match swap.from.filter(|_| reverts) {
            Some(from) => {
                self.begin_step(Step::Rollback, "/etc and services of the old system");
                let ticket = self.fly(Verb::Revert);
                self.effects.push(Effect::Activate { ticket, path: from.path });
            }
            None => self.unlink(),
        }
    }

    /// The profile's link leaves what failed.
    pub(super) fn unlink(&mut self) {
        let linked = self.record.swap.as_ref().and_then(|swap| swap.back.as_ref());
        let linked = linked.is_some_and(|back| back.linked);
        match self.record.running.clone().filter(|_| linked) {
            Some(to) => self.commit(Verb::Unlink, to.path, to.generation),
            None => self.discard(),
        }
    }

    pub(super) fn discard(&mut self) {
        let generation = self.record.swap.as_ref().and_then(|swap| swap.to.generation);
        match generation {
            Some(generation) => {
                let ticket = self.fly(Verb::Discard);
                self.effects.push(Effect::Discard { ticket, generation });
            }
            None => self.finish_back(),
        }
    }

    pub(super) fn finish_back(&mut self) {
        let Some(back) = self.record.swap.as_ref().and_then(|swap| swap.back.clone()) else {
            return;
        };
        if back.bars {
            self.bar(&back.outcome);
        }
        self.finish(back.outcome);
    }
}

fn refused(step: Step, reason: String, cure: Vec<String>) -> Outcome {
    Outcome {
        kind: OutcomeKind::Refused,
        failed_at: Some(step),
        reason: Some(reason),
        details: Vec::new(),
        cure,
    }
}
