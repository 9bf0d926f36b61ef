//! What people want: swap, rollback, confirm, cancel; and who waits for whom.

use super::{Machine, Verb};
use crate::effect::Effect;
use crate::event::{Request, RequestKind};
use crate::record::{Back, Origin, State, Swap, Test};
use crate::release::Release;
use crate::report::{Admission, Outcome, OutcomeKind, Step, StepState};
use crate::view::{HostSwap, SwapPhase};

impl Machine {
    pub(super) fn request(&mut self, request: Request) {
        self.profile = request.profile.as_ref().map(|release| release.path.clone());
        let number = request.number;
        let (origin, target) = match &request.kind {
            RequestKind::Swap { target } => (Origin::Swap, Some(target.clone())),
            RequestKind::Rollback { target } => (Origin::Rollback, target.clone()),
        };
        if origin == Origin::Rollback && target.is_none() && self.undo(number) {
            return;
        }
        let Some(to) = target.or_else(|| self.way_back()) else {
            return self.answer(number, Admission::Over(self.no_previous()));
        };
        let is_dry = request.dry_run;
        let swap = self.new_swap(request, origin, to);
        if let Some(id) = self.joined(&swap).filter(|_| !is_dry) {
            return self.answer(number, Admission::Joins(id));
        }
        if let Some(outcome) = self.objection(&swap, true) {
            return self.answer(number, Admission::Over(outcome));
        }
        if matches!(self.swap().map(|swap| swap.state), Some(State::Committed { .. }))
            && self.owed.is_empty()
            && !is_dry
        {
            self.close(Outcome::plain(OutcomeKind::Committed));
        }
        if is_dry && (self.swap().is_some() || self.flight.is_some()) {
            let reason = "a swap is under way: what it leaves behind is not known yet";
            let cure = vec![format!("rollinit swaps {}", self.record.app)];
            let refused = Self::refused(None, reason.to_owned(), cure);
            return self.answer(number, Admission::Over(refused));
        }
        if self.swap().is_some() || self.flight.is_some() {
            return self.wait(number, swap);
        }
        self.answer(number, Admission::Began(swap.id.clone()));
        self.dry_run = is_dry;
        self.begin(swap);
    }

    fn new_swap(&self, request: Request, origin: Origin, to: Release) -> Swap {
        let test = request.test_within_ms.map(|within_ms| Test {
            within_ms,
            deadline_ns: 0,
            confirmed: false,
        });
        Swap {
            id: request.id,
            origin,
            from: None,
            to,
            policy: request.policy,
            test,
            force: request.force,
            began_ms: self.now.wall_ms,
            state: State::Planned,
            since_ns: self.now.clock_ns,
            has_migration: false,
            gated_incarnation: 0,
            retired_early: false,
            back: None,
        }
    }

    /// `rollinit rollback` while a swap is under way that is not committed: that one is undone.
    fn undo(&mut self, number: u64) -> bool {
        let Some(swap) = self.swap() else { return false };
        let id = swap.id.clone();
        let goes_back = swap.back.is_some() || swap.origin.is_rollback() || self.turn.is_some();
        if !goes_back {
            if !self.can_be_cancelled() {
                return false;
            }
            let mut back = self.host_fault("an operator took it back".to_owned(), Vec::new());
            back.outcome.kind = OutcomeKind::RolledBack;
            self.go_back(back);
        }
        self.answer(number, Admission::Joins(id));
        true
    }

    /// Whether the old side is still there, or nothing was touched yet.
    fn can_be_cancelled(&self) -> bool {
        self.swap().is_some_and(|swap| {
            swap.back.is_none()
                && !matches!(swap.origin, Origin::Watch(_))
                && !matches!(
                    swap.state,
                    State::Baked | State::Retired | State::Committed { .. } | State::Telling { .. }
                )
        })
    }

    /// Where `rollinit rollback` goes.
    fn way_back(&self) -> Option<Release> {
        match self.swap() {
            Some(swap) if !matches!(swap.state, State::Committed { .. }) => swap.from.clone(),
            _ => self.record.book.previous.clone(),
        }
    }

    fn no_previous(&self) -> Outcome {
        let app = &self.record.app;
        let cure = vec![
            format!("rollinit generations {app}"),
            format!("rollinit rollback {app} --generation N"),
        ];
        Self::refused(None, format!("no previous version of {app} is recorded"), cure)
    }

    /// The swap that already does what this one wants.
    fn joined(&self, wanted: &Swap) -> Option<String> {
        let is_same = |swap: &&Swap| {
            swap.to.path == wanted.to.path && swap.test.is_some() == wanted.test.is_some()
        };
        let current = self.swap().filter(|swap| {
            swap.back.is_none()
                && self.turn.is_none()
                && !matches!(swap.state, State::Committed { .. })
        });
        if self.dry_run {
            return None;
        }
        match &self.record.next {
            Some(next) => Some(next).filter(is_same).map(|swap| swap.id.clone()),
            None => current.filter(is_same).map(|swap| swap.id.clone()),
        }
    }

    /// Why a swap does not begin. `is_early`: it may have to wait, so what serves then is unknown.
    fn objection(&self, swap: &Swap, is_early: bool) -> Option<Outcome> {
        let app = &self.record.app;
        let Some(view) = self.view.as_ref() else {
            let reason = format!("no app is named {app:?}");
            let cure = vec!["rollinit status".to_owned()];
            return Some(Self::refused(None, reason, cure));
        };
        let to = swap.to.path.as_str();
        let failed = self.record.book.failed.iter().find(|failed| failed.path == to);
        if let Some(failed) = failed.filter(|_| !swap.force && !swap.origin.is_rollback()) {
            let reason = format!(
                "it failed before, at {} in swap {}: {}",
                failed.step.word(),
                failed.swap,
                failed.reason
            );
            let cure = vec![format!("rollinit swap {app} {to} --force")];
            return Some(Self::refused(Some(failed.step), reason, cure));
        }
        if let Some((id, reason)) = self.stuck_stray.as_ref().filter(|(id, _)| self.is_stray(id)) {
            let reason = format!("swap {id}, which is not ours, cannot be ended: {reason}");
            return Some(Self::refused(None, reason, vec!["rollinit reboot".to_owned()]));
        }
        let is_settled = match self.swap() {
            Some(current) => !is_early || matches!(current.state, State::Committed { .. }),
            None => self.flight.is_none(),
        };
        let is_there = view.serving.closure.as_deref() == Some(to)
            && self.profile.as_deref() == Some(to)
            && is_settled;
        is_there.then(|| Outcome {
            reason: Some("it serves already".to_owned()),
            ..Outcome::plain(OutcomeKind::NothingToDo)
        })
    }

    fn refused(failed_at: Option<Step>, reason: String, cure: Vec<String>) -> Outcome {
        Outcome { reason: Some(reason), failed_at, cure, ..Outcome::plain(OutcomeKind::Refused) }
    }

    /// A second swap: takes the place of the one under way, or waits for it.
    fn wait(&mut self, number: u64, swap: Swap) {
        let id = swap.id.clone();
        if let Some(earlier) = self.record.next.replace(swap) {
            let outcome = Self::superseded(&id).outcome;
            self.end_unbegun(&earlier, outcome);
        }
        self.persist();
        self.answer(number, Admission::Waits(id.clone()));
        let is_unseen = self.swap().is_some_and(|swap| {
            swap.origin == Origin::Swap
                && swap.back.is_none()
                && !swap.has_switched()
                && !matches!(swap.state, State::Telling { .. })
        });
        let is_switching = self.flight.is_some_and(|flight| flight.verb == Verb::Admit);
        if is_unseen && !is_switching && self.turn.is_none() {
            self.go_back(Self::superseded(&id));
        }
    }

    fn superseded(by: &str) -> Back {
        let reason = format!("swap {by} took its place");
        Back::new(OutcomeKind::Superseded, None, reason, Vec::new())
    }

    /// A swap that waited and never began.
    fn end_unbegun(&mut self, swap: &Swap, outcome: Outcome) {
        let text = outcome.reason.clone().unwrap_or_default();
        let report = swap.report(Step::Plan, StepState::Skip, &text, 0, Some(outcome.clone()));
        self.remember(swap, outcome);
        self.effects.push(Effect::Report(report));
    }

    /// The swap that waited begins, if nothing is under way.
    pub(super) fn start_next(&mut self) -> bool {
        if self.flight.is_some() {
            return false;
        }
        let Some(mut swap) = self.record.next.take() else { return false };
        swap.began_ms = self.now.wall_ms;
        match self.objection(&swap, false) {
            Some(outcome) => {
                self.end_unbegun(&swap, outcome);
                self.persist();
            }
            None => self.begin(swap),
        }
        true
    }

    fn begin(&mut self, mut swap: Swap) {
        if let Some(stray) = self.stray() {
            // The supervisor knows of one that nobody here remembers; that one ends first.
            self.record.next = Some(swap);
            self.persist();
            return self.end_stray(stray);
        }
        let serving = self.view.as_ref().and_then(|view| view.serving.closure.clone());
        swap.from = serving.map(|path| self.known_release(path));
        self.record.swap = Some(swap);
        self.migrations = 0;
        if self.dry_run {
            self.act();
        } else {
            self.owed_retry = None;
            self.enter(State::Planned);
        }
    }

    fn is_stray(&self, id: &str) -> bool {
        self.stray().is_some_and(|stray| stray.id == id)
    }

    /// A swap of the supervisor's that nobody here remembers. One of ours is only an old view.
    fn stray(&self) -> Option<HostSwap> {
        let host = self.view.as_ref()?.swap.clone()?;
        let id = host.id.strip_suffix("-back").unwrap_or(&host.id);
        let is_known = self.record.book.history.iter().any(|summary| summary.id == id);
        Some(host).filter(|_| !is_known && self.swap().is_none())
    }

    /// Ends a swap of the supervisor's that nobody remembers.
    pub(super) fn end_stray(&mut self, stray: HostSwap) {
        let (ticket, swap) = (self.fly(Verb::Stray), stray.id);
        self.effects.push(match stray.phase {
            // The old side is on its way down: there is no way back any more.
            SwapPhase::Retiring => Effect::Retire { ticket, swap },
            _ => Effect::Abandon { ticket, swap },
        });
    }

    pub(super) fn stray_failed(&mut self, reason: String) {
        let host = self.view.as_ref().and_then(|view| view.swap.as_ref());
        self.stuck_stray = host.map(|host| (host.id.clone(), reason));
    }

    /// A path with the generation that it was committed as, if that is remembered.
    fn known_release(&self, path: String) -> Release {
        let history = &self.record.book.history;
        let generation = history.iter().rev().find_map(|summary| {
            Some(&summary.to).filter(|to| to.path == path).and_then(|to| to.generation)
        });
        Release { path, generation }
    }

    fn answer(&mut self, number: u64, admission: Admission) {
        self.effects.push(Effect::Answer { number, admission });
    }

    pub(super) fn confirm(&mut self, number: u64) {
        let waits = self.swap().is_some_and(Swap::waits_for_confirmation) && self.turn.is_none();
        let test = self.record.swap.as_mut().and_then(|swap| swap.test.as_mut());
        let Some(test) = test.filter(|_| waits) else {
            let reason = format!("no swap of {} waits for a confirmation", self.record.app);
            let refused = Self::refused(None, reason, Vec::new());
            return self.answer(number, Admission::Over(refused));
        };
        test.confirmed = true;
        self.persist();
        self.answer(number, Admission::Done);
    }

    pub(super) fn cancel(&mut self, number: u64, reason: &str) {
        if !self.can_be_cancelled() || self.turn.is_some() {
            let app = &self.record.app;
            let reason = match self.swap() {
                Some(swap) => format!("swap {} of {app} is too far on its way", swap.id),
                None => format!("no swap of {app} is under way"),
            };
            let cure = vec![format!("rollinit rollback {app}")];
            let refused = Self::refused(None, reason, cure);
            return self.answer(number, Admission::Over(refused));
        }
        let mut back = self.host_fault(reason.to_owned(), Vec::new());
        back.outcome.failed_at = None;
        self.go_back(back);
        self.answer(number, Admission::Done);
    }
}
