//! What a swap of the system says, in the words that travel.

use super::System;
use crate::agent::last_word;
use crate::boards::single;
use crate::{closures, convert};
use control::agent::board::Reader;
use control::agent::{
    Generation, Level, OutcomeKind, Progress, SYSTEM, Step, StepState, SwapSummary,
};
use rollout::system::Notice;
use rollout::{Outcome, Release, Report, Summary};

impl System {
    /// Tells everybody who follows the swap.
    pub(super) fn report(&self, report: &Report) {
        let is_dry = self.dry.borrow().as_ref() == Some(&report.swap);
        let outcome = report.outcome.as_ref().map(|outcome| {
            let mut words = convert::outcome(outcome, self.serving(outcome, &report.to));
            if is_dry && words.kind == OutcomeKind::NothingToDo {
                (words.kind, words.reason) = (OutcomeKind::Planned, None);
                words.serving = self.running().as_ref().map(convert::release);
            }
            words
        });
        if is_dry && outcome.is_some() {
            *self.dry.borrow_mut() = None;
        }
        let progress = Progress {
            swap: report.swap.clone(),
            app: SYSTEM.to_owned(),
            from: report.from.as_ref().map(convert::release),
            to: convert::release(&report.to),
            step: convert::step(report.step),
            state: convert::step_state(report.state),
            text: report.text.clone(),
            elapsed_ms: report.elapsed_ms,
            bytes_done: None,
            bytes_total: None,
            paths_done: None,
            paths_total: None,
            outcome,
        };
        self.tools.console.say(&progress);
        let is_first = self.tools.boards.newest(&progress.swap).is_none();
        self.tools.events.swap(&progress, is_first);
        self.tools.boards.post(progress);
    }

    /// Puts the counters of a fetch on the board of the swap under way.
    pub(super) fn post_fetched(&self, progress: &store::fetch::Progress, elapsed_ms: u64) {
        let Some(swap) = self.look(|machine| machine.record().swap.clone()) else { return };
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.tools.boards.post(Progress {
            swap: swap.id,
            app: SYSTEM.to_owned(),
            from: swap.from.as_ref().map(convert::release),
            to: convert::release(&swap.to),
            step: Step::Fetch,
            state: StepState::Running,
            text: progress.waiting.clone().unwrap_or_default(),
            elapsed_ms,
            bytes_done: Some(progress.downloaded_bytes),
            bytes_total: (progress.download_bytes > 0).then_some(progress.download_bytes),
            paths_done: Some(count(progress.paths_done)),
            paths_total: Some(count(progress.paths_total)),
            outcome: None,
        });
    }

    pub(super) fn notice(&self, notice: Option<Notice>) {
        let standing = &self.tools.standing;
        let Some(Notice { level, text, cure }) = notice else { return standing.clear(SYSTEM) };
        let level = match level {
            rollout::system::Level::Information => Level::Information,
            rollout::system::Level::Warning => Level::Warning,
            rollout::system::Level::Error => Level::Error,
        };
        standing.set(&self.tools.console, SYSTEM, level, &text, cure.as_deref());
    }

    fn running(&self) -> Option<Release> {
        self.look(|machine| machine.record().running.clone())
    }

    /// What runs after a swap.
    fn serving(&self, outcome: &Outcome, to: &Release) -> Option<control::agent::Release> {
        use rollout::OutcomeKind::{Committed, NothingToDo};
        match outcome.kind {
            Committed | NothingToDo => Some(convert::release(to)),
            _ => self.running().as_ref().map(convert::release),
        }
    }

    /// The board of a request that was over before it became a swap.
    pub(super) fn over(&self, to: &Release, outcome: &Outcome) -> Reader {
        let is_refused = outcome.kind == rollout::OutcomeKind::Refused;
        single(Progress {
            swap: String::new(),
            app: SYSTEM.to_owned(),
            from: self.running().as_ref().map(convert::release),
            to: convert::release(to),
            step: outcome.failed_at.map_or(Step::Plan, convert::step),
            state: if is_refused { StepState::Failed } else { StepState::Skip },
            text: outcome.reason.clone().unwrap_or_default(),
            elapsed_ms: 0,
            bytes_done: None,
            bytes_total: None,
            paths_done: None,
            paths_total: None,
            outcome: Some(convert::outcome(outcome, self.serving(outcome, to))),
        })
    }

    /// Its swaps, newest last.
    #[must_use]
    pub fn summaries(&self) -> Vec<SwapSummary> {
        let past = self.look(|machine| {
            let record = machine.record();
            let current = record.swap.as_ref().map(|swap| Summary {
                id: swap.id.clone(),
                origin: swap.origin.clone(),
                from: swap.from.clone(),
                to: swap.to.clone(),
                began_ms: swap.began_ms,
                ended_ms: 0,
                outcome: None,
            });
            record.history.iter().cloned().chain(current).collect::<Vec<_>>()
        });
        past.iter().map(|summary| self.summary(summary)).collect()
    }

    fn summary(&self, summary: &Summary) -> SwapSummary {
        let newest = self.tools.boards.newest(&summary.id);
        let last = newest.unwrap_or_else(|| self.last_word(summary));
        SwapSummary {
            swap: summary.id.clone(),
            app: SYSTEM.to_owned(),
            from: summary.from.as_ref().map(convert::release),
            to: convert::release(&summary.to),
            started_ms: summary.began_ms,
            ended_ms: (summary.ended_ms > 0).then_some(summary.ended_ms),
            step: last.step,
            text: last.text,
            confirm_by_ms: None,
            outcome: summary
                .outcome
                .as_ref()
                .map(|outcome| convert::outcome(outcome, self.serving(outcome, &summary.to))),
        }
    }

    fn last_word(&self, summary: &Summary) -> Progress {
        let serving = |outcome: &Outcome| self.serving(outcome, &summary.to);
        last_word(SYSTEM, summary, serving)
    }

    /// What is left of a swap that is over.
    #[must_use]
    pub fn past(&self, id: &str) -> Option<Progress> {
        let summary = self.look(|machine| {
            machine.record().history.iter().rev().find(|past| past.id == id).cloned()
        });
        summary.map(|summary| self.last_word(&summary))
    }

    /// Its generations.
    #[must_use]
    pub fn generations(
        &self,
        known: &[store::profile::Generation],
        current: Option<u64>,
    ) -> Vec<Generation> {
        self.look(|machine| {
            let record = machine.record();
            let previous = record.previous.as_ref().and_then(|previous| previous.generation);
            let one = |generation: &store::profile::Generation| {
                let release = convert::release(&closures::release(generation));
                let failed = record.failed.iter().find(|failed| failed.path == release.path);
                Generation {
                    number: generation.number,
                    since_ms: closures::made_ms(generation),
                    current: Some(generation.number) == current,
                    previous: Some(generation.number) == previous,
                    failed: failed.map(|failed| failed.reason.clone()),
                    name: release.name,
                    path: release.path,
                }
            };
            known.iter().map(one).collect()
        })
    }
}
