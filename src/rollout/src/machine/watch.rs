//! The commit, and the time after it.

use super::Machine;
use super::ask::{Mode, Verdict};
use super::tell::label;
use crate::effect::{Effect, RootRole};
use crate::record::{Origin, State, Swap};
use crate::report::{Outcome, OutcomeKind, Step, StepState};

impl Machine {
    /// The profile link points to the target.
    pub(super) fn committed(&mut self, generation: u64) {
        let now = self.now;
        let Some(swap) = self.record.swap.as_mut() else { return };
        swap.to.generation = Some(generation);
        let to = swap.to.path.clone();
        let from = swap.from.clone().filter(|from| from.path != to);
        let (is_rollback, watch_ms) = (swap.origin.is_rollback(), swap.policy.watch_ms);
        self.profile = Some(to.clone());
        let book = &mut self.record.book;
        book.failed.retain(|failed| failed.path != to);
        book.running = Some(to.clone());
        let running = Effect::Root { role: RootRole::Running, path: to };
        if is_rollback {
            book.previous = None;
            self.effects.push(running);
            self.effects.push(Effect::Unroot { role: RootRole::Previous });
            return self.enter(State::Telling { healthy: true });
        }
        // What leaves `running` is in `previous` before.
        if let Some(from) = from {
            let path = from.path.clone();
            book.previous = Some(from);
            self.effects.push(Effect::Root { role: RootRole::Previous, path });
        }
        self.effects.push(running);
        self.enter(State::Committed { until_ns: now.plus_ms(watch_ms) });
    }

    pub(super) fn watch(&mut self) {
        self.effects.push(Effect::Unroot { role: RootRole::Target });
        let text = self.swap().map(|swap| label(&swap.to)).unwrap_or_default();
        let outcome = Outcome::plain(OutcomeKind::Committed);
        self.tell(Step::Commit, StepState::Ok, &text, Some(outcome));
        self.start_asking(Mode::Watch);
    }

    pub(super) fn judge_watch(&mut self, until_ns: u64) -> bool {
        if !self.owed.is_empty() {
            return false;
        }
        if let Verdict::Sick(reason) = self.verdict() {
            self.leave_again(reason);
            return true;
        }
        if self.now.clock_ns < until_ns {
            return false;
        }
        self.close(Outcome::plain(OutcomeKind::Committed));
        true
    }

    /// It fell sick in its watch window: a swap of its own goes to the recorded previous.
    fn leave_again(&mut self, reason: String) {
        self.bar(Step::Watch, Some(reason.clone()));
        let previous = self.record.book.previous.clone();
        let Some(swap) = self.swap() else { return };
        let Some(previous) = previous else {
            let outcome = Outcome {
                kind: OutcomeKind::FailedBack,
                failed_at: Some(Step::Watch),
                reason: Some(reason),
                details: vec!["there is no previous version to go to".to_owned()],
                cure: vec![format!("rollinit swap {} PATH", self.record.app)],
            };
            return self.finish(outcome);
        };
        let next = Swap {
            id: format!("{}-back", swap.id),
            origin: Origin::Watch(swap.id.clone()),
            from: Some(swap.to.clone()),
            to: previous,
            began_ms: self.now.wall_ms,
            test: None,
            force: false,
            state: State::Planned,
            has_migration: false,
            gated_incarnation: 0,
            retired_early: false,
            back: None,
            ..swap.clone()
        };
        self.tell(Step::Watch, StepState::Failed, &reason, None);
        self.stop_asking();
        let Some(swap) = self.record.swap.replace(next) else { return };
        let committed = Outcome { reason: Some(reason), ..Outcome::plain(OutcomeKind::Committed) };
        self.remember(&swap, Outcome { failed_at: Some(Step::Watch), ..committed });
        self.enter(State::Planned);
    }
}
