//! Words for people, and the end of a swap.

use super::{Effect, Level, Machine, Notice};
use crate::limits::{FAILED_MAX, HISTORY_MAX};
use crate::record::{FailedPath, Summary};
use crate::report::{Outcome, OutcomeKind, Report, Step, StepState};

impl Machine {
    /// A step begins.
    pub(super) fn begin_step(&mut self, step: Step, text: &str) {
        self.step_began_ns = self.now.clock_ns;
        self.tell(step, StepState::Running, text, None);
    }

    /// A line about the swap under way.
    pub(super) fn tell(
        &mut self,
        step: Step,
        state: StepState,
        text: &str,
        outcome: Option<Outcome>,
    ) {
        let Some(swap) = self.record.swap.as_ref() else { return };
        let elapsed_ms = self.now.clock_ns.saturating_sub(self.step_began_ns) / 1_000_000;
        self.effects.push(Effect::Report(Report {
            swap: swap.id.clone(),
            from: swap.from.clone(),
            to: swap.to.clone(),
            step,
            state,
            text: text.to_owned(),
            elapsed_ms,
            outcome,
        }));
    }

    pub(super) fn notice(&mut self, level: Level, text: String, cure: Option<String>) {
        self.effects.push(Effect::Notice(Some(Notice { level, text, cure })));
    }

    /// The path of the swap under way is not tried again without force.
    pub(super) fn bar(&mut self, outcome: &Outcome) {
        let Some(swap) = self.record.swap.as_ref() else { return };
        let path = swap.to.path.clone();
        let entry = FailedPath {
            path: path.clone(),
            swap: swap.id.clone(),
            step: outcome.failed_at.unwrap_or(Step::Bless),
            reason: outcome.reason.clone().unwrap_or_default(),
        };
        let failed = &mut self.record.failed;
        failed.retain(|failed| failed.path != path);
        failed.push(entry);
        let surplus = failed.len().saturating_sub(FAILED_MAX);
        failed.drain(..surplus);
    }

    /// The swap is over: into the history, onto the disk, and then to everybody.
    pub(super) fn finish(&mut self, outcome: Outcome) {
        let Some(swap) = self.record.swap.clone() else { return };
        let step = outcome.failed_at.unwrap_or(Step::Commit);
        let state = if outcome.failed_at.is_some() { StepState::Failed } else { StepState::Ok };
        let text = match outcome.kind {
            OutcomeKind::Committed => {
                swap.to.generation.map(|number| format!("gen {number}")).unwrap_or_default()
            }
            _ => outcome.reason.clone().unwrap_or_default(),
        };
        let history = &mut self.record.history;
        history.push(Summary {
            id: swap.id.clone(),
            origin: swap.origin.clone(),
            from: swap.from.clone(),
            to: swap.to.clone(),
            began_ms: swap.began_ms,
            ended_ms: self.now.wall_ms,
            outcome: Some(outcome.clone()),
        });
        let surplus = history.len().saturating_sub(HISTORY_MAX);
        history.drain(..surplus);
        let before = self.record.swap.take();
        self.persist();
        self.effects.push(Effect::Unroot);
        self.stand();
        // Told of a swap that is no more.
        self.record.swap = before;
        self.tell(step, state, &text, Some(outcome));
        self.record.swap = None;
        self.look_around(None);
    }

    /// What stands about the system: that the last swap fell back, until one does not.
    pub(super) fn stand(&mut self) {
        let fallen = self.record.history.iter().rev().find_map(|last| {
            let outcome = last.outcome.as_ref()?;
            use OutcomeKind::{Committed, FailedBack, RolledBack};
            matches!(outcome.kind, Committed | FailedBack | RolledBack).then_some((last, outcome))
        });
        let fallen = fallen.filter(|(_, outcome)| outcome.kind != OutcomeKind::Committed);
        let notice = fallen.map(|(last, outcome)| {
            let number = last.to.generation.map(|number| format!("generation {number}, "));
            let (number, name) = (number.unwrap_or_default(), last.to.name());
            let step = outcome.failed_at.map_or("", Step::word);
            let why = outcome.reason.as_deref().unwrap_or_default();
            let is_worse = outcome.kind == OutcomeKind::FailedBack;
            Notice {
                level: if is_worse { Level::Error } else { Level::Warning },
                text: format!("fell back from {number}{name}: {step}: {why}"),
                cure: Some(format!(
                    "mend it and swap again; the same once more: rollinit swap system {} --force",
                    last.to.path
                )),
            }
        });
        self.effects.push(Effect::Notice(notice));
    }
}
