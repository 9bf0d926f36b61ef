//! The way forward: what follows from each state, and what comes of it.

use super::tell::{label, seconds, time_of_day};
use super::{Machine, Verb, ask};
use crate::effect::{Effect, HookKind, RootRole};
use crate::event::{Failure, Fault, Plan};
use crate::limits::{BACK_GATE_MS_MIN, HOOK_DEADLINE_MS, HOOK_LEASE_MS, MIGRATE_TRIES_MAX};
use crate::limits::{MIGRATED_MAX, TRIES_MAX};
use crate::policy::{Retire, Strategy, expand};
use crate::record::{Origin, State, Swap};
use crate::report::{Outcome, OutcomeKind, Step, StepState};

impl Machine {
    pub(super) fn plan(&mut self) {
        self.begin_step(Step::Plan, "");
        let Some(path) = self.swap().map(|swap| swap.to.path.clone()) else { return };
        let ticket = self.fly(Verb::Plan);
        self.effects.push(Effect::Plan { ticket, path });
    }

    pub(super) fn planned(&mut self, plan: &Plan) {
        self.tell(Step::Plan, StepState::Ok, &plan.text, None);
        if self.dry_run {
            let outcome = Outcome {
                reason: Some("a dry run: nothing was done".to_owned()),
                ..Outcome::plain(OutcomeKind::NothingToDo)
            };
            return self.finish(outcome);
        }
        self.begin_step(Step::Fetch, "");
        let Some(swap) = self.swap() else { return };
        let path = swap.to.path.clone();
        let migration = swap.policy.migrate.as_deref().map(|text| expand(text, &path));
        let ticket = self.fly(Verb::Fetch);
        self.effects.push(Effect::Fetch { ticket, path, migration });
    }

    pub(super) fn fetched(&mut self, has_migration: bool, text: &str) {
        self.tell(Step::Fetch, StepState::Ok, text, None);
        let Some(swap) = self.record.swap.as_mut() else { return };
        swap.has_migration = has_migration;
        let is_test = swap.test.is_some();
        if is_test && self.must_migrate() {
            let reason = "--test never migrates, and this closure has a migration that was not \
                          run here yet";
            let cure = vec!["swap without --test".to_owned()];
            self.step_began_ns = self.now.clock_ns;
            let mut back = self.host_fault(reason.to_owned(), cure);
            back.outcome.failed_at = Some(Step::Migrate);
            return self.go_back(back);
        }
        self.enter(State::Fetched);
    }

    pub(super) fn root(&mut self) {
        let Some(swap) = self.record.swap.as_ref() else { return };
        let from = swap.from.as_ref().map(|release| release.path.clone());
        let to = swap.to.path.clone();
        self.hold_running(from);
        self.effects.push(Effect::Root { role: RootRole::Target, path: to });
        self.enter(State::Rooted);
    }

    /// Whether the migration of the target is still to be run.
    fn must_migrate(&self) -> bool {
        self.swap().is_some_and(|swap| {
            swap.has_migration
                && !swap.origin.is_rollback()
                && !self.record.book.migrated.contains(&swap.to.path)
        })
    }

    pub(super) fn migrate(&mut self) {
        self.step_began_ns = self.now.clock_ns;
        let Some(swap) = self.record.swap.as_ref() else { return };
        let Some(migrate) = swap.policy.migrate.clone().filter(|_| self.must_migrate()) else {
            let text = match (swap.has_migration, swap.origin.is_rollback()) {
                (_, true) => "a way back never un-migrates",
                (true, false) => "was run before",
                (false, false) => "none",
            };
            self.tell(Step::Migrate, StepState::Skip, text, None);
            return self.enter(State::Migrated);
        };
        let (id, closure) = (swap.id.clone(), swap.to.path.clone());
        let lease_ms = swap.policy.migrate_lease_ms;
        self.begin_step(Step::Migrate, "");
        let program = vec![expand(&migrate, &closure)];
        let ticket = self.fly(Verb::Migrate);
        self.effects.push(Effect::Migrate { ticket, swap: id, program, closure, lease_ms });
    }

    pub(super) fn migrated(&mut self, exit: Option<i32>, signal: Option<i32>, lease_ended: bool) {
        let Some(path) = self.swap().map(|swap| swap.to.path.clone()) else { return };
        if exit == Some(0) {
            let migrated = &mut self.record.book.migrated;
            migrated.push(path);
            let surplus = migrated.len().saturating_sub(MIGRATED_MAX);
            migrated.drain(..surplus);
            self.tell(Step::Migrate, StepState::Ok, "", None);
            if self.turn.is_none() {
                self.enter(State::Migrated);
            }
        } else if lease_ended {
            self.migrations += 1;
            if self.turn.is_some() {
                // It was interrupted and will be run again, but not by this swap.
            } else if self.migrations < MIGRATE_TRIES_MAX {
                self.migrate();
            } else {
                let reason = "the migration's lease ran out again and again: its host cannot keep \
                              it alive";
                let back = self.host_fault(reason.to_owned(), Vec::new());
                self.go_back(back);
            }
        } else {
            let reason = format!("the migration {}", how_it_ended(exit, signal));
            let back = self.bad_release(Step::Migrate, reason);
            self.turn = None;
            self.go_back(back);
        }
    }

    pub(super) fn prepare(&mut self) {
        let Some(swap) = self.swap() else { return };
        let (id, closure) = (swap.host_id(), swap.candidate().to_owned());
        if !swap.is_reverse() {
            self.begin_step(Step::Start, "");
        }
        let ticket = self.fly(Verb::Prepare);
        self.effects.push(Effect::Prepare { ticket, swap: id, closure });
    }

    pub(super) fn prepared(&mut self) {
        let Some(swap) = self.swap() else { return };
        let deadline_ms = swap.policy.health.deadline_ms;
        let is_reverse = swap.is_reverse();
        let goes_back = is_reverse || swap.origin.is_rollback();
        let deadline_ms = if goes_back { deadline_ms.max(BACK_GATE_MS_MIN) } else { deadline_ms };
        let pid = self.observed(ask::Mode::Gate).map_or(0, |run| run.pid);
        if !is_reverse {
            let stays = swap.policy.strategy.has_two_sides();
            let from = swap.from.as_ref().filter(|_| stays);
            let stay = from.map(|from| format!("users stay on {}", label(from)));
            let words = (pid != 0).then(|| format!("pid {pid}")).into_iter().chain(stay);
            let text = words.collect::<Vec<_>>().join("; ");
            self.tell(Step::Start, StepState::Ok, &text, None);
        }
        if self.turn.is_none() {
            if !is_reverse {
                self.begin_step(Step::Gate, "");
            }
            self.enter(State::Started { until_ns: self.now.plus_ms(deadline_ms) });
        }
    }

    /// The gate is open.
    pub(super) fn gated(&mut self, incarnation: u64, text: &str) {
        let now = self.now;
        let Some(swap) = self.record.swap.as_mut() else { return };
        swap.gated_incarnation = incarnation;
        let is_reverse = swap.is_reverse();
        if let Some(test) = swap.test.as_mut().filter(|_| !is_reverse) {
            test.deadline_ns = now.plus_ms(test.within_ms);
        }
        let alone = match swap.policy.strategy {
            Strategy::Overlap | Strategy::Ports => ", asked of the new version only",
            Strategy::Restart => "",
        };
        if !is_reverse {
            self.tell(Step::Gate, StepState::Ok, &format!("{text}{alone}"), None);
        }
        self.enter(State::Gated);
    }

    pub(super) fn admit(&mut self) {
        let Some(swap) = self.swap() else { return };
        let (id, is_reverse) = (swap.host_id(), swap.is_reverse());
        if self.is_gated_run_gone(swap) {
            let reason = "it ended after it had passed its gate".to_owned();
            let back = self.bad_release(Step::Switch, reason);
            return self.go_back(back);
        }
        if !is_reverse {
            self.begin_step(Step::Switch, "");
        }
        let ticket = self.fly(Verb::Admit);
        self.effects.push(Effect::Admit { ticket, swap: id });
    }

    pub(super) fn admitted(&mut self) {
        let Some(swap) = self.record.swap.as_mut() else { return };
        if let Some(back) = self.turn.as_mut() {
            // Users saw it, if only for a moment.
            back.switched = true;
            return;
        }
        if swap.is_reverse() {
            return self.enter(State::Baked);
        }
        let port = self.observed(ask::Mode::Gate).and_then(|run| run.port);
        let words = match port {
            // Who is in front, and whether anybody is, only the agent knows.
            Some(port) => format!("it is the one to ask, on port {port}"),
            None => "new connections go to it".to_owned(),
        };
        let text = format!("{}  {words}", time_of_day(self.now.wall_ms));
        self.tell(Step::Switch, StepState::Ok, &text, None);
        self.enter(State::Switched);
    }

    /// After the switch: perhaps the old side goes at once; then the smoke test.
    pub(super) fn switched(&mut self) {
        let Some(swap) = self.swap() else { return };
        let must_retire = swap.policy.retire == Retire::AtSwitch
            && swap.policy.strategy.has_two_sides()
            && !swap.retired_early;
        if must_retire {
            return self.retire();
        }
        self.start_asking(ask::Mode::Bake);
        let Some(swap) = self.swap() else { return };
        let closure = swap.to.path.clone();
        let program: Vec<String> =
            swap.policy.after_switch.iter().map(|word| expand(word, &closure)).collect();
        if program.is_empty() || swap.origin.is_rollback() {
            return self.begin_bake();
        }
        let id = swap.id.clone();
        self.begin_step(Step::Hook, "after-switch");
        self.hook_until_ns = Some(self.now.plus_ms(HOOK_DEADLINE_MS));
        let ticket = self.fly(Verb::Hook(HookKind::AfterSwitch));
        let (hook, lease_ms) = (HookKind::AfterSwitch, HOOK_LEASE_MS);
        self.effects.push(Effect::Hook { ticket, swap: id, hook, program, closure, lease_ms });
    }

    pub(super) fn hooked(
        &mut self,
        hook: HookKind,
        exit: Option<i32>,
        signal: Option<i32>,
        lease_ended: bool,
    ) {
        if hook == HookKind::OnRollback {
            return self.told(&how_it_ended(exit, signal), exit == Some(0));
        }
        if exit == Some(0) {
            self.tell(Step::Hook, StepState::Ok, "", None);
            return self.begin_bake();
        }
        let reason = format!("the hook after-switch {}", how_it_ended(exit, signal));
        let back = if lease_ended {
            self.host_fault("the lease of the hook after-switch ran out".to_owned(), Vec::new())
        } else {
            self.bad_release(Step::Hook, reason)
        };
        self.go_back(back);
    }

    fn begin_bake(&mut self) {
        let Some(swap) = self.swap() else { return };
        let bake_ms = swap.bake_ms();
        let text = match swap.test {
            Some(test) => {
                format!("{}; confirm within {}", seconds(bake_ms), seconds(test.within_ms))
            }
            None => seconds(bake_ms),
        };
        if bake_ms == 0 && swap.test.is_none() {
            self.step_began_ns = self.now.clock_ns;
            self.tell(Step::Bake, StepState::Skip, "", None);
        } else {
            self.begin_step(Step::Bake, &text);
        }
        self.enter(State::Baking { until_ns: self.now.plus_ms(bake_ms) });
    }

    pub(super) fn bake(&mut self) {
        if self.asking.is_none() {
            self.start_asking(ask::Mode::Bake);
        }
    }

    /// It served well for long enough.
    pub(super) fn baked(&mut self) {
        let was_skipped =
            self.swap().is_some_and(|swap| swap.test.is_none() && swap.bake_ms() == 0);
        if !was_skipped {
            self.tell(Step::Bake, StepState::Ok, "", None);
        }
        self.enter(State::Baked);
    }

    pub(super) fn retire(&mut self) {
        let Some(swap) = self.swap() else { return };
        let (id, is_reverse) = (swap.host_id(), swap.is_reverse());
        let is_done = self.view.as_ref().is_some_and(|view| {
            view.swap.is_none() && view.serving.closure.as_deref() == Some(swap.candidate())
        });
        if !is_reverse && self.verb_retry.is_none() && !swap.retired_early {
            let text = format!("{} at most", seconds(swap.policy.drain_ms));
            self.begin_step(Step::Drain, &text);
        }
        if is_done || self.swap().is_some_and(|swap| swap.retired_early && !is_reverse) {
            return self.old_side_gone();
        }
        let ticket = self.fly(Verb::Retire);
        self.effects.push(Effect::Retire { ticket, swap: id });
    }

    /// The candidate serves alone.
    pub(super) fn old_side_gone(&mut self) {
        let Some(swap) = self.record.swap.as_mut() else { return };
        let was_early = swap.retired_early;
        let is_switched = swap.state == State::Switched;
        if is_switched {
            swap.retired_early = true;
        }
        if !swap.is_reverse() && !was_early {
            self.tell(Step::Drain, StepState::Ok, "", None);
        }
        if self.turn.is_none() {
            self.enter(if is_switched { State::Switched } else { State::Retired });
        }
    }

    pub(super) fn retired(&mut self) {
        let Some(swap) = self.swap() else { return };
        if swap.is_reverse() {
            return self.enter(State::Telling { healthy: true });
        }
        let path = swap.to.path.clone();
        if self.verb_retry.is_none() {
            self.begin_step(Step::Commit, "");
        }
        let ticket = self.fly(Verb::Commit);
        self.effects.push(Effect::Commit { ticket, path });
    }

    pub(super) fn verb_failed(&mut self, verb: Verb, failure: Failure) {
        let Failure { fault, reason, cure } = failure;
        let is_release = fault == Fault::Release;
        match verb {
            Verb::Retire if fault == Fault::Fence => {
                // It was not told to the supervisor: the old side is there.
                let back = self.host_fault(reason, cure);
                let back = self.turn.take().unwrap_or(back);
                self.go_back(back);
            }
            Verb::Retire | Verb::Abandon | Verb::Commit => {
                self.last_verb_failed(verb, is_release, reason, cure);
            }
            Verb::Stray => self.stray_failed(reason),
            Verb::Hook(HookKind::OnRollback) => self.told(&reason, false),
            Verb::Prepare | Verb::Admit if self.swap().is_some_and(Swap::is_reverse) => {
                self.last_verb_failed(verb, is_release, reason, cure);
            }
            Verb::Migrate | Verb::Prepare | Verb::Admit | Verb::Hook(_) if is_release => {
                let step = self.swap().map_or(Step::Start, |swap| Self::step_of(swap.state));
                let back = self.bad_release(step, reason);
                self.turn = None;
                self.go_back(back);
            }
            _ => {
                let mut back = self.host_fault(reason, cure);
                if verb == Verb::Fetch {
                    back.outcome.failed_at = Some(Step::Fetch);
                }
                let back = self.turn.take().unwrap_or(back);
                self.go_back(back);
            }
        }
    }

    /// Verbs that have no other way than to be tried again. A process that cannot be stopped is
    /// waited for without end: nothing else would be true.
    fn last_verb_failed(
        &mut self,
        verb: Verb,
        is_release: bool,
        reason: String,
        cure: Vec<String>,
    ) {
        let tries = self.try_again();
        let Some(step) = self.swap().map(|swap| Self::step_of(swap.state)) else { return };
        let is_enough = tries > TRIES_MAX;
        match verb {
            Verb::Abandon if is_release => self.previous_is_unwell(&reason),
            Verb::Prepare | Verb::Admit if is_release || is_enough => self.fail_leg(&reason),
            Verb::Commit if is_enough => {
                let back = self.host_fault(reason, cure);
                self.go_back(back);
            }
            _ => {
                let text = format!("tries again, failure {tries}: {reason}");
                self.tell(step, StepState::Running, &text, None);
            }
        }
    }
}

impl Origin {
    /// The swap whose watch window wanted this one.
    #[must_use]
    pub fn watched(&self) -> Option<&str> {
        match self {
            Self::Watch(id) => Some(id),
            _ => None,
        }
    }
}

fn how_it_ended(exit: Option<i32>, signal: Option<i32>) -> String {
    match (exit, signal) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended, nobody knows how".to_owned(),
    }
}
