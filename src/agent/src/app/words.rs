//! What a swap says, in the words that travel.

use super::{App, Task};
use crate::{closures, convert};
use control::agent::{OutcomeKind, Progress, Step, StepState};
use rollout::Release;

impl App {
    /// A line of progress in the words that travel.
    fn progress(&self, report: &rollout::Report) -> Progress {
        let mut to = convert::release(&report.to);
        to.generation = to.generation.or(self.next_generation.get());
        let from = report.from.as_ref().map(convert::release);
        let outcome = report.outcome.as_ref().map(|outcome| {
            let is_dry = self.dry.borrow().as_ref() == Some(&report.swap);
            let is_planned = is_dry && outcome.kind == rollout::OutcomeKind::NothingToDo;
            if is_planned {
                // What serves is what did.
                let serving = from.clone();
                let kind = OutcomeKind::Planned;
                return control::agent::Outcome { kind, ..convert::outcome(outcome, serving) };
            }
            let serving = self.serving(outcome, report.from.as_ref(), &report.to);
            convert::outcome(outcome, serving)
        });
        Progress {
            swap: report.swap.clone(),
            app: self.name.clone(),
            from,
            to,
            step: convert::step(report.step),
            state: convert::step_state(report.state),
            text: report.text.clone(),
            elapsed_ms: report.elapsed_ms,
            bytes_done: None,
            bytes_total: None,
            paths_done: None,
            paths_total: None,
            outcome,
        }
    }

    /// What serves after a swap.
    #[must_use]
    pub fn serving(
        &self,
        outcome: &rollout::Outcome,
        from: Option<&Release>,
        to: &Release,
    ) -> Option<control::agent::Release> {
        use rollout::OutcomeKind::{Committed, NothingToDo, RolledBack};
        match outcome.kind {
            Committed | NothingToDo => return Some(convert::release(to)),
            RolledBack => return from.map(convert::release),
            _ => {}
        }
        let view = self.view.borrow();
        let serving = &view.as_ref()?.serving;
        if !serving.state.is_live() {
            return None;
        }
        let path = serving.closure.as_deref()?;
        let known = [from, Some(to)].into_iter().flatten().find(|release| release.path == path);
        let release = known.cloned().unwrap_or_else(|| Release::new(path));
        Some(convert::release(&release))
    }
}

impl Task {
    /// Tells everybody who follows the swap.
    pub(super) fn report(&self, report: &rollout::Report) {
        let mut progress = self.app.progress(report);
        let planned = OutcomeKind::Planned;
        if let Some(outcome) = progress.outcome.as_mut().filter(|outcome| outcome.kind == planned) {
            // The plan is what a dry run has to say; that nothing was done its outcome says.
            outcome.reason = None;
            if let Some(plan) = self.tools.boards.newest(&progress.swap) {
                (progress.state, progress.text) = (plan.state, plan.text);
            }
        }
        if progress.step == Step::Gate && progress.state == StepState::Ok {
            self.app.gated_ns.set(sys::clock::monotonic_ns());
        }
        self.tools.console.say(&progress);
        let is_first = self.tools.boards.newest(&progress.swap).is_none();
        self.tools.boards.post(progress.clone());
        self.tools.events.swap(&progress, is_first);
        if is_first && progress.state == StepState::Running {
            self.announce(&progress);
        }
    }

    /// Says of a swap that begins how long its bake will be.
    fn announce(&self, first: &Progress) {
        let bake_ms = self.app.look(|machine| {
            let swap = machine.record().swap.as_ref()?;
            let is_dry = self.app.dry.borrow().as_ref() == Some(&first.swap);
            let forth = swap.id == first.swap && !swap.origin.is_rollback() && !is_dry;
            forth.then_some(swap.policy.bake_ms)
        });
        let Some(bake_ms) = bake_ms.filter(|bake_ms| *bake_ms > 0) else { return };
        self.tools.boards.post(Progress {
            step: Step::Bake,
            state: StepState::Pending,
            text: closures::time(bake_ms),
            ..first.clone()
        });
    }
}
