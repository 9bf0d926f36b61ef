//! The ways back, and the end of a swap.

use super::ask::{Mode, Verdict};
use super::tell::{cut, label, seconds};
use super::{Machine, Verb};
use crate::effect::{Effect, HookKind};
use crate::limits::{BACK_GATE_MS_MIN, FAILED_MAX, HISTORY_MAX, HOOK_DEADLINE_MS, HOOK_LEASE_MS};
use crate::policy::expand;
use crate::record::{Back, FailedPath, Origin, State, Swap};
use crate::report::{Outcome, OutcomeKind, Step, StepState};

impl Machine {
    /// The gate: open, shut for good, or neither yet.
    pub(super) fn judge_gate(&mut self, until_ns: u64) -> bool {
        let (reason, tries) = match self.verdict() {
            Verdict::Well(words) => {
                let incarnation = self.asking.as_ref().map_or(0, |asking| asking.incarnation);
                self.gated(incarnation, &words);
                return true;
            }
            Verdict::Sick(reason) => (reason, None),
            Verdict::Wait if self.now.clock_ns < until_ns => return false,
            Verdict::Wait => self.too_late(),
        };
        let Some(swap) = self.swap() else { return false };
        if swap.is_reverse() {
            self.fail_leg(&reason);
            return true;
        }
        let stays = swap.policy.strategy.has_two_sides();
        let unseen = stays.then(|| "users never reached it".to_owned());
        let details: Vec<String> = tries.into_iter().chain(unseen).collect();
        let mut back = self.bad_release(Step::Gate, reason);
        back.outcome.details = vec![details.join("; ")];
        back.outcome.details.retain(|detail| !detail.is_empty());
        self.go_back(back);
        true
    }

    fn too_late(&self) -> (String, Option<String>) {
        match &self.asking {
            Some(asking) => {
                let (reason, tries) = asking.too_late(self.now);
                (reason, Some(tries))
            }
            None => (String::new(), None),
        }
    }

    /// After the switch, before the old side goes.
    pub(super) fn judge_bake(&mut self, state: State) -> bool {
        let step = Self::step_of(state);
        let now_ns = self.now.clock_ns;
        if let Verdict::Sick(reason) = self.verdict() {
            let back = self.bad_release(step, reason);
            self.go_back(back);
            return true;
        }
        if self.hook_until_ns.is_some_and(|until_ns| until_ns <= now_ns) {
            let reason =
                format!("the hook after-switch takes longer than {}", seconds(HOOK_DEADLINE_MS));
            let back = self.bad_release(Step::Hook, reason);
            self.go_back(back);
            return true;
        }
        let waits = self.swap().filter(|swap| swap.waits_for_confirmation());
        if let Some(test) = waits.and_then(|swap| swap.test)
            && test.deadline_ns <= now_ns
        {
            let reason = format!("nobody confirmed it within {}", seconds(test.within_ms));
            let back = self.host_fault(reason, Vec::new());
            self.go_back(back);
            return true;
        }
        let is_unconfirmed = waits.is_some();
        let State::Baking { until_ns } = state else { return false };
        let bake_ms = self.swap().map_or(0, Swap::bake_ms);
        let is_content = self.is_content() || bake_ms == 0;
        if now_ns < until_ns || !is_content || is_unconfirmed || !self.owed.is_empty() {
            return false;
        }
        self.baked();
        true
    }

    /// Decides that the swap ends where it came from. If a verb is under way that must not be left
    /// alone, the decision waits for its answer.
    pub(super) fn go_back(&mut self, mut back: Back) {
        let owed = std::mem::take(&mut self.owed);
        self.owed_retry = None;
        self.verb_retry = None;
        self.forget_unbegun(&owed);
        let answers = owed.into_iter().filter(|effect| matches!(effect, Effect::Answer { .. }));
        self.effects.extend(answers);
        if let Some(flight) = self.flight {
            if !flight.verb.can_be_cancelled() {
                self.turn.get_or_insert(back);
                return;
            }
            self.flight = None;
            self.effects.push(Effect::Cancel { ticket: flight.ticket });
        }
        self.hook_until_ns = None;
        let Some(swap) = self.record.swap.as_mut() else { return };
        if swap.back.is_some() {
            let reason = back.outcome.reason.unwrap_or_default();
            return self.fail_leg(&reason);
        }
        back.switched |= swap.has_switched();
        let is_alone = swap.retired_early || swap.state == State::Retired;
        let (state, has_previous) = (swap.state, swap.from.is_some());
        back.reverse = is_alone && has_previous;
        let step = back.outcome.failed_at.unwrap_or(Self::step_of(state));
        let reason = back.outcome.reason.clone().unwrap_or_default();
        swap.back = Some(back);
        self.tell(step, StepState::Failed, &reason, None);
        match state {
            State::Planned | State::Fetched | State::Rooted => self.over(true),
            _ if is_alone && !has_previous => self.over(false),
            _ => {
                self.begin_step(Step::Rollback, "");
                self.enter(if is_alone { State::Migrated } else { State::Abandoning });
            }
        }
    }

    /// The reverse swap does not come through: whoever serves goes on.
    pub(super) fn fail_leg(&mut self, reason: &str) {
        self.note_unwell(reason);
        self.enter(State::Abandoning);
    }

    fn note_unwell(&mut self, reason: &str) {
        if let Some(back) = self.record.swap.as_mut().and_then(|swap| swap.back.as_mut()) {
            back.also = Some(cut(reason.to_owned()));
        }
    }

    pub(super) fn abandon(&mut self) {
        let Some(id) = self.swap().map(Swap::host_id) else { return };
        let ticket = self.fly(Verb::Abandon);
        self.effects.push(Effect::Abandon { ticket, swap: id });
    }

    pub(super) fn abandoned(&mut self) {
        let Some(swap) = self.swap() else { return };
        if swap.is_reverse() {
            return self.enter(State::Telling { healthy: false });
        }
        self.check_previous();
    }

    /// Is the previous version well? Of nothing, nothing is asked.
    pub(super) fn check_previous(&mut self) {
        let Some(swap) = self.swap() else { return };
        if swap.from.is_none() {
            return self.enter(State::Telling { healthy: true });
        }
        let deadline_ms = swap.policy.health.deadline_ms.max(BACK_GATE_MS_MIN);
        self.enter(State::Verifying { until_ns: self.now.plus_ms(deadline_ms) });
    }

    pub(super) fn verify(&mut self) {
        self.start_asking(Mode::Verify);
    }

    pub(super) fn judge_previous(&mut self, until_ns: u64) -> bool {
        match self.verdict() {
            Verdict::Well(_) => self.enter(State::Telling { healthy: true }),
            Verdict::Sick(reason) => self.previous_is_unwell(&reason),
            Verdict::Wait if self.now.clock_ns < until_ns => return false,
            Verdict::Wait => {
                let (reason, tries) = self.too_late();
                self.previous_is_unwell(&format!("{reason}, {}", tries.unwrap_or_default()));
            }
        }
        true
    }

    pub(super) fn previous_is_unwell(&mut self, reason: &str) {
        self.note_unwell(reason);
        self.enter(State::Telling { healthy: false });
    }

    /// The version that serves at the end: its closure, if there is one.
    fn survivor(swap: &Swap, healthy: bool) -> Option<String> {
        let is_target = swap.back.is_none() || (swap.is_reverse() && !healthy);
        let release = if is_target { Some(&swap.to) } else { swap.from.as_ref() };
        release.map(|release| release.path.clone())
    }

    pub(super) fn tell_hook(&mut self) {
        let Some(swap) = self.swap() else { return };
        let State::Telling { healthy } = swap.state else { return };
        let id = swap.id.clone();
        let closure = Self::survivor(swap, healthy);
        let Some(closure) = closure.filter(|_| !swap.policy.on_rollback.is_empty()) else {
            return self.over(healthy);
        };
        let program = swap.policy.on_rollback.iter().map(|word| expand(word, &closure)).collect();
        self.hook_until_ns = Some(self.now.plus_ms(HOOK_DEADLINE_MS));
        let ticket = self.fly(Verb::Hook(HookKind::OnRollback));
        let (hook, lease_ms) = (HookKind::OnRollback, HOOK_LEASE_MS);
        self.effects.push(Effect::Hook { ticket, swap: id, hook, program, closure, lease_ms });
    }

    pub(super) fn judge_telling(&mut self) -> bool {
        let is_late = self.hook_until_ns.is_some_and(|until_ns| until_ns <= self.now.clock_ns);
        if is_late && let Some(flight) = self.flight.take() {
            self.effects.push(Effect::Cancel { ticket: flight.ticket });
            self.told("takes too long and is left alone", false);
        }
        is_late
    }

    /// The hook on-rollback ended; it changes nothing.
    pub(super) fn told(&mut self, how: &str, is_ok: bool) {
        if !is_ok {
            let text = format!("the hook on-rollback {how}");
            self.tell(Step::Rollback, StepState::Running, &text, None);
        }
        let Some(State::Telling { healthy }) = self.swap().map(|swap| swap.state) else { return };
        self.over(healthy);
    }

    /// The swap is over, on a way back or after a rollback.
    pub(super) fn over(&mut self, healthy: bool) {
        let Some(swap) = self.record.swap.as_ref() else { return };
        let running = Self::survivor(swap, healthy);
        let Some(back) = swap.back.clone() else {
            return self.finish(Outcome::plain(OutcomeKind::Committed));
        };
        let is_untouched = matches!(swap.state, State::Planned | State::Fetched | State::Rooted);
        let stays_alone =
            matches!(swap.state, State::Retired | State::Switched | State::Baking { .. });
        let running = if stays_alone { Some(swap.to.path.clone()) } else { running };
        let mut outcome = back.outcome;
        let is_watch = matches!(swap.origin, Origin::Watch(_));
        if !healthy && !is_untouched || is_watch {
            outcome.kind = OutcomeKind::FailedBack;
        } else if back.switched && outcome.kind != OutcomeKind::Superseded {
            outcome.kind = OutcomeKind::RolledBack;
        }
        if let (Some(reason), Some(also)) = (outcome.reason.as_mut(), back.also) {
            *reason = cut(format!("{reason}; and the previous version: {also}"));
        }
        if back.bars {
            self.bar(outcome.failed_at.unwrap_or(Step::Start), outcome.reason.clone());
        }
        if let Some(path) = running.filter(|_| !is_untouched) {
            self.record.book.running = Some(path);
        }
        self.finish(outcome);
    }

    /// Puts the target on the failed list.
    pub(super) fn bar(&mut self, step: Step, reason: Option<String>) {
        let Some(swap) = self.record.swap.as_ref() else { return };
        let path = swap.to.path.clone();
        let swap_id = swap.id.clone();
        let failed = &mut self.record.book.failed;
        failed.retain(|earlier| earlier.path != path);
        let reason = reason.unwrap_or_default();
        failed.push(FailedPath { path, swap: swap_id, step, reason });
        let surplus = failed.len().saturating_sub(FAILED_MAX);
        failed.drain(..surplus);
    }

    /// The end: remembered, rooted as it shall stay, told.
    pub(super) fn finish(&mut self, outcome: Outcome) {
        let Some(swap) = self.record.swap.as_ref() else { return };
        let step = match outcome.kind {
            OutcomeKind::Committed => Step::Commit,
            OutcomeKind::RolledBack | OutcomeKind::FailedBack => Step::Rollback,
            _ => outcome.failed_at.unwrap_or(Self::step_of(swap.state)),
        };
        let state = match outcome.kind {
            OutcomeKind::Committed | OutcomeKind::RolledBack => StepState::Ok,
            OutcomeKind::NothingToDo => StepState::Skip,
            _ => StepState::Failed,
        };
        let elapsed_ns = self.now.clock_ns.saturating_sub(self.step_began_ns);
        let text = match outcome.kind {
            OutcomeKind::Committed => label(&swap.to),
            OutcomeKind::RolledBack => match &swap.from {
                Some(from) => format!("{} serves", label(from)),
                None => "nothing serves, as before".to_owned(),
            },
            _ => outcome.reason.clone().unwrap_or_default(),
        };
        let report = swap.report(step, state, &text, elapsed_ns / 1_000_000, Some(outcome.clone()));
        let was_dry = self.dry_run;
        self.close(outcome);
        if !was_dry {
            self.settle_roots();
        }
        self.effects.push(Effect::Report(report));
    }

    /// Makes history of the swap under way.
    pub(super) fn close(&mut self, outcome: Outcome) {
        self.stop_asking();
        let was_dry = std::mem::take(&mut self.dry_run);
        let Some(swap) = self.record.swap.take() else { return };
        (self.turn, self.verb_retry, self.hook_until_ns) = (None, None, None);
        if !was_dry {
            self.remember(&swap, outcome);
            self.persist();
        }
    }

    pub(super) fn remember(&mut self, swap: &Swap, outcome: Outcome) {
        let history = &mut self.record.book.history;
        history.push(swap.summary(self.now.wall_ms, Some(outcome)));
        let surplus = history.len().saturating_sub(HISTORY_MAX);
        history.drain(..surplus);
    }
}
