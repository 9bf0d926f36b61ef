//! Going on where the record says.

use super::{Facts, Machine};
use crate::policy::Retire;
use crate::record::{Origin, Record, State, Swap};
use crate::report::{Outcome, OutcomeKind};
use crate::view::View;
use crate::{Effect, Now};

impl Machine {
    /// Goes on where the record says; with [`Record::empty`] from nowhere.
    #[must_use]
    pub fn resume(mut record: Record, now: Now, facts: Facts) -> (Self, Vec<Effect>) {
        let has_booted = record.boot != facts.boot;
        record.boot = facts.boot;
        let mut machine = Self {
            record,
            view: facts.view,
            profile: facts.profile,
            now,
            effects: Vec::new(),
            batch: Vec::new(),
            tickets: 0,
            flight: None,
            asking: None,
            turn: None,
            owed: Vec::new(),
            owed_retry: None,
            verb_retry: None,
            step_began_ns: now.clock_ns,
            hook_until_ns: None,
            migrations: 0,
            dry_run: false,
            stuck_stray: None,
        };
        machine.pick_up(has_booted);
        let effects = machine.settle_down();
        (machine, effects)
    }

    fn pick_up(&mut self, has_booted: bool) {
        let Some(swap) = self.record.swap.as_ref() else { return self.rest() };
        if self.view.is_none() {
            return self.end_undefined();
        }
        if has_booted {
            return self.wake_up();
        }
        match swap.state {
            // Temporary roots died with the agent: everything is checked again.
            State::Fetched => self.enter(State::Planned),
            _ if self.is_back_alone() => self.enter(State::Retired),
            _ if self.is_lost() => {
                let reason = "the supervisor no longer knows of it".to_owned();
                let back = self.host_fault(reason, Vec::new());
                self.go_back(back);
            }
            _ => self.act(),
        }
    }

    /// No swap is under way: the roots are put right, and a swap that nobody knows is undone.
    fn rest(&mut self) {
        let Some(View { serving, swap, .. }) = self.view.clone() else { return };
        if self.record.book.running.is_some() || !self.record.book.history.is_empty() {
            if serving.closure != self.record.book.running {
                self.record.book.running = serving.closure;
                self.persist();
            }
            self.settle_roots();
        }
        if let Some(stray) = swap {
            self.end_stray(stray);
        }
    }

    fn end_undefined(&mut self) {
        let app = self.record.app.clone();
        let is_committed =
            matches!(self.swap().map(|swap| swap.state), Some(State::Committed { .. }));
        let kind = if is_committed { OutcomeKind::Committed } else { OutcomeKind::RolledBack };
        let reason = Some(format!("{app} is no longer defined"));
        self.finish(Outcome { reason, ..Outcome::plain(kind) });
    }

    /// Whether a reverse swap came through although the disk, which a way back does not wait for,
    /// was not told: the previous version serves alone.
    fn is_back_alone(&self) -> bool {
        let (Some(swap), Some(view)) = (self.swap(), self.view.as_ref()) else { return false };
        let is_under_way =
            matches!(swap.state, State::Migrated | State::Started { .. } | State::Gated);
        let serves = view.serving.closure.as_deref() == Some(swap.candidate());
        swap.is_reverse() && is_under_way && view.swap.is_none() && serves
    }

    /// Whether the supervisor must know of the swap and does not.
    fn is_lost(&self) -> bool {
        let (Some(swap), Some(view)) = (self.swap(), self.view.as_ref()) else { return false };
        let retires_first =
            swap.policy.retire == Retire::AtSwitch && swap.policy.strategy.has_two_sides();
        if swap.back.is_some() && !swap.is_reverse() {
            return false;
        }
        let is_elsewhere = view.serving.closure.as_deref() != Some(swap.candidate());
        match (swap.state, view.swap.as_ref()) {
            // A way back that is not on disk is under way.
            (_, Some(host)) => host.id != swap.host_id(),
            (State::Started { .. } | State::Gated, None) => true,
            (State::Switched | State::Baking { .. }, None) if !retires_first => true,
            (State::Switched | State::Baking { .. } | State::Baked | State::Retired, None) => {
                is_elsewhere
            }
            _ => false,
        }
    }

    /// The host was started anew: nothing runs but what the boot started.
    fn wake_up(&mut self) {
        let serving = self.view.as_ref().and_then(|view| view.serving.closure.clone());
        let Some(swap) = self.record.swap.as_mut() else { return };
        swap.gated_incarnation = 0;
        let (state, origin) = (swap.state, swap.origin.clone());
        let (goes_back, is_reverse) = (swap.back.is_some(), swap.is_reverse());
        let is_linked = self.profile.as_deref() == Some(swap.to.path.as_str());
        let watch_ms = swap.policy.watch_ms;
        let is_test = swap.test.is_some();
        match state {
            State::Committed { .. } => {
                self.enter(State::Committed { until_ns: self.now.plus_ms(watch_ms) });
            }
            State::Retired if is_linked && !goes_back => self.enter(State::Retired),
            // The link was moved, whatever was thought of it.
            _ if is_linked && is_reverse => self.commit_after_all(),
            State::Telling { .. } if !goes_back => self.enter(state),
            State::Planned | State::Fetched if !is_test => self.begin_anew(serving),
            _ if matches!(origin, Origin::Watch(_)) && !goes_back => self.begin_anew(serving),
            _ => self.back_by_boot(serving),
        }
    }

    fn commit_after_all(&mut self) {
        if let Some(swap) = self.record.swap.as_mut() {
            swap.back = None;
        }
        self.enter(State::Retired);
    }

    fn begin_anew(&mut self, serving: Option<String>) {
        if let Some(swap) = self.record.swap.as_mut() {
            swap.retired_early = false;
            swap.follow_boot(serving.clone());
        }
        self.hold_running(serving);
        self.enter(State::Planned);
    }

    /// The boot went back; it is left to see whether what it started is well.
    fn back_by_boot(&mut self, serving: Option<String>) {
        let reason = "the host was started anew before the commit".to_owned();
        let back = self.host_fault(reason, Vec::new());
        let Some(swap) = self.record.swap.as_mut() else { return };
        let back = swap.back.get_or_insert(back);
        back.reverse = false;
        back.also = None;
        if back.outcome.kind != OutcomeKind::Superseded {
            back.outcome.kind = OutcomeKind::RolledBack;
        }
        swap.follow_boot(serving);
        let from = swap.from.as_ref().map(|release| release.path.clone());
        self.hold_running(from);
        self.check_previous();
    }
}

impl Swap {
    /// What the boot started is what is gone back to.
    fn follow_boot(&mut self, serving: Option<String>) {
        let known = self.from.as_ref().map(|release| release.path.as_str());
        if serving.as_deref() != known {
            self.from = serving.map(crate::Release::new);
        }
    }
}
