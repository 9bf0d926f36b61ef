//! Words for people, and what happens when the agent cannot carry out an immediate effect.

use super::{Machine, Retry};
use crate::effect::{Effect, RootRole};
use crate::record::{Back, Swap};
use crate::report::{Outcome, OutcomeKind, Report, Step, StepState};
use crate::{State, limits, text};

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
        let elapsed_ns = self.now.clock_ns.saturating_sub(self.step_began_ns);
        let report = swap.report(step, state, text, elapsed_ns / 1_000_000, outcome);
        self.effects.push(Effect::Report(report));
    }

    /// The step in which a swap is, for people.
    pub(super) fn step_of(state: State) -> Step {
        match state {
            State::Planned => Step::Plan,
            State::Fetched => Step::Fetch,
            State::Rooted => Step::Migrate,
            State::Migrated => Step::Start,
            State::Started { .. } => Step::Gate,
            State::Gated => Step::Switch,
            State::Switched => Step::Hook,
            State::Baking { .. } => Step::Bake,
            State::Baked => Step::Drain,
            State::Retired => Step::Commit,
            State::Committed { .. } => Step::Watch,
            State::Abandoning | State::Verifying { .. } | State::Telling { .. } => Step::Rollback,
        }
    }

    /// An immediate effect failed; the rest of its batch was not begun.
    pub(super) fn broke(&mut self, index: usize, reason: &str) {
        let rest = self.batch.get(index..).unwrap_or_default().to_vec();
        let reason = match rest.first() {
            Some(Effect::Persist { .. }) => format!("the record cannot be written: {reason}"),
            Some(Effect::Root { role, .. }) => {
                format!("the root `{}` cannot be made: {reason}", role.word())
            }
            Some(Effect::Unroot { role }) => {
                format!("the root `{}` cannot be dropped: {reason}", role.word())
            }
            _ => reason.to_owned(),
        };
        let Some(swap) = self.record.swap.as_ref().filter(|_| !self.dry_run) else {
            // Over: people are told, the disk is tried again.
            self.effects.extend(rest.into_iter().filter(is_for_people));
            self.owe(Vec::new());
            return;
        };
        let is_before_the_switch = matches!(
            swap.state,
            State::Planned
                | State::Fetched
                | State::Rooted
                | State::Migrated
                | State::Started { .. }
                | State::Gated
        );
        if swap.back.is_some() {
            // A way back does not wait for the disk.
            self.effects.extend(rest.into_iter().skip(1));
        } else if !is_before_the_switch {
            let step = Self::step_of(swap.state);
            self.tell(step, StepState::Running, &format!("waits: {reason}"), None);
            self.owe(rest);
        } else {
            self.forget_unbegun(&rest);
            let ours = swap_id(self);
            let told = rest.into_iter().filter(|effect| is_anothers(effect, &ours));
            self.effects.extend(told);
            let back = self.host_fault(reason, Vec::new());
            self.go_back(back);
        }
    }

    /// A flight that was never begun is not waited for.
    pub(super) fn forget_unbegun(&mut self, rest: &[Effect]) {
        let is_unbegun = |flight: &mut super::Flight| {
            rest.iter().any(|effect| effect.ticket() == Some(flight.ticket))
        };
        let _unbegun = self.flight.take_if(is_unbegun);
        if let Some(asking) = self.asking.as_mut() {
            asking.forget_unbegun(rest);
        }
    }

    fn owe(&mut self, rest: Vec<Effect>) {
        self.owed.extend(rest);
        self.owed_retry = Some(Retry::after(self.owed_retry, self.now));
    }

    /// Tries again what broke.
    pub(super) fn pay(&mut self) {
        if self.record.swap.is_none() || self.dry_run {
            // As it would be done by an agent that starts now.
            self.owed.clear();
            self.owed_retry.iter_mut().for_each(|retry| retry.at_ns = u64::MAX);
            self.persist();
            self.settle_roots();
            return;
        }
        for effect in std::mem::take(&mut self.owed) {
            match effect {
                // What is on disk is always the newest.
                Effect::Persist { .. } => self.persist(),
                effect => self.effects.push(effect),
            }
        }
        self.owed_retry.iter_mut().for_each(|retry| retry.at_ns = u64::MAX);
    }

    /// The root `running` follows what serves.
    pub(super) fn hold_running(&mut self, path: Option<String>) {
        self.record.book.running.clone_from(&path);
        self.effects.push(match path {
            Some(path) => Effect::Root { role: RootRole::Running, path },
            None => Effect::Unroot { role: RootRole::Running },
        });
    }

    /// The roots as they shall be with no swap under way.
    pub(super) fn settle_roots(&mut self) {
        let book = &self.record.book;
        let (running, previous) = (book.running.clone(), book.previous.clone());
        self.hold_running(running);
        self.effects.push(match previous {
            Some(release) => Effect::Root { role: RootRole::Previous, path: release.path },
            None => Effect::Unroot { role: RootRole::Previous },
        });
        self.effects.push(Effect::Unroot { role: RootRole::Target });
    }

    /// A way back for a reason that bars nobody.
    pub(super) fn host_fault(&self, reason: String, cure: Vec<String>) -> Back {
        let step = self.swap().map(|swap| Self::step_of(swap.state));
        let has_switched = self.swap().is_some_and(Swap::has_switched);
        let kind = if has_switched { OutcomeKind::RolledBack } else { OutcomeKind::Refused };
        Back::new(kind, step, reason, cure)
    }

    /// A way back for which the release is to blame.
    pub(super) fn bad_release(&self, step: Step, reason: String) -> Back {
        let retry =
            |swap: &Swap| format!("rollinit swap {} {} --force", self.record.app, swap.to.path);
        let cure = self.swap().map(retry).into_iter().collect();
        let back = Back::new(OutcomeKind::RolledBack, Some(step), reason, cure);
        Back { bars: true, ..back }
    }
}

fn swap_id(machine: &Machine) -> String {
    machine.swap().map(|swap| swap.id.clone()).unwrap_or_default()
}

/// Answers and ends are told even when the disk is full.
fn is_for_people(effect: &Effect) -> bool {
    matches!(effect, Effect::Answer { .. } | Effect::Report(_))
}

fn is_anothers(effect: &Effect, ours: &str) -> bool {
    match effect {
        Effect::Answer { .. } => true,
        Effect::Report(report) => report.swap != ours,
        _ => false,
    }
}

impl Back {
    pub(super) fn new(
        kind: OutcomeKind,
        failed_at: Option<Step>,
        reason: String,
        cure: Vec<String>,
    ) -> Self {
        let reason = Some(cut(reason));
        let outcome = Outcome { kind, failed_at, reason, details: Vec::new(), cure };
        Self { outcome, bars: false, switched: false, also: None, reverse: false }
    }
}

impl Swap {
    /// Whether users may have reached the candidate.
    #[must_use]
    pub const fn has_switched(&self) -> bool {
        matches!(
            self.state,
            State::Switched
                | State::Baking { .. }
                | State::Baked
                | State::Retired
                | State::Committed { .. }
        )
    }

    pub(super) fn report(
        &self,
        step: Step,
        state: StepState,
        text: &str,
        elapsed_ms: u64,
        outcome: Option<Outcome>,
    ) -> Report {
        Report {
            swap: self.id.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            step,
            state,
            text: cut(text.to_owned()),
            elapsed_ms,
            outcome,
        }
    }
}

impl Outcome {
    /// Nothing but its kind.
    #[must_use]
    pub const fn plain(kind: OutcomeKind) -> Self {
        Self { kind, failed_at: None, reason: None, details: Vec::new(), cure: Vec::new() }
    }
}

impl Effect {
    /// The ticket under which it is answered, if it is.
    #[must_use]
    pub const fn ticket(&self) -> Option<crate::Ticket> {
        match self {
            Self::Plan { ticket, .. }
            | Self::Fetch { ticket, .. }
            | Self::Migrate { ticket, .. }
            | Self::Hook { ticket, .. }
            | Self::Prepare { ticket, .. }
            | Self::Admit { ticket, .. }
            | Self::Retire { ticket, .. }
            | Self::Abandon { ticket, .. }
            | Self::Probe { ticket, .. }
            | Self::Commit { ticket, .. } => Some(*ticket),
            _ => None,
        }
    }
}

/// A text within its bound.
pub(super) fn cut(text: String) -> String {
    text::cut(text, limits::TEXT_BYTES_MAX)
}

/// A release in a word or two: `gen 42`, or its name if it is no generation.
pub(super) fn label(release: &crate::Release) -> String {
    match release.generation {
        Some(number) => format!("gen {number}"),
        None => release.name().to_owned(),
    }
}

/// The time of the day in UTC, to find the moment again in the logs of others.
pub(super) fn time_of_day(wall_ms: u64) -> String {
    let (seconds, ms) = (wall_ms / 1000, wall_ms % 1000);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    format!("{:02}:{:02}:{:02}.{ms:03}", hours % 24, minutes % 60, seconds % 60)
}

/// A duration for people.
pub(super) fn seconds(duration_ms: u64) -> String {
    if duration_ms.is_multiple_of(1000) {
        format!("{}s", duration_ms / 1000)
    } else {
        format!("{}.{}s", duration_ms / 1000, duration_ms % 1000 / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20,000 days and a moment; a day's last millisecond.
    #[test]
    fn a_time_of_the_day_is_read_off_a_clock() {
        let day_ms = 86_400_000;
        assert_eq!(time_of_day(20_000 * day_ms + 50_531_482), "14:02:11.482");
        assert_eq!(time_of_day(day_ms - 1), "23:59:59.999");
    }
}
