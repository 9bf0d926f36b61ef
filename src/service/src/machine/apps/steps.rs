//! The steps of a swap, one after the other, as far as they can be taken now.

use super::super::Machine;
use super::super::memory::Phase;
use super::super::order::Gate;
use super::memory::{Last, Step};
use super::{AppState, memo_key};
use crate::app::{Place, Side};
use crate::effect::{Effect, Program};
use crate::limits::GROUP_RETRY_MS;
use crate::record::What;

impl Machine {
    /// Takes all steps of an app that can be taken now, and has its group steered.
    pub(in crate::machine) fn app_step(&mut self, app: &str) {
        if self.power.is_some() || !self.loaded.apps.contains_key(app) {
            return;
        }
        self.steer(app);
        while self.advance(app) {
            self.touch_app(app);
            self.steer(app);
        }
        self.restless_apps.remove(app);
        self.set_app_timer(app);
    }

    /// Takes one step, if one can be taken.
    fn advance(&mut self, app: &str) -> bool {
        let Some(memory) = self.apps.get(app).map(|state| &state.memory) else { return false };
        let Some(swap) = &memory.swap else { return false };
        let (own, floor, strategy) = (swap.side.key(app), swap.floor, swap.strategy);
        let (serving, side, step) = (memory.serving, swap.side, swap.step);
        match step {
            Step::Preparing if self.has_run(&own, floor) => self.set_step(app, Step::Prepared),
            Step::Preparing | Step::Prepared | Step::Admitted => false,
            Step::Leaving { until_ns } => self.depart(app, serving, until_ns, Step::Retiring),
            Step::Returning { until_ns } => self.depart(app, side, until_ns, Step::Abandoning),
            Step::Retiring => {
                let gone = !self.is_living(&serving.key(app)) && self.is_steered(app);
                gone && self.end_swap(app, true)
            }
            Step::Abandoning if strategy.has_two_sides() => {
                let gone = !self.is_living(&own) && self.is_steered(app);
                gone && self.end_swap(app, false)
            }
            Step::Abandoning => {
                let held = self.unit_memory(&own).is_some_and(|memory| memory.held_down);
                let rests = !self.is_living(&own) && (held || self.lacks_closure(&own));
                (rests || self.has_run(&own, floor)) && self.end_swap(app, false)
            }
        }
    }

    /// Whether a run above the floor got as far as its program.
    fn has_run(&self, key: &str, floor: u64) -> bool {
        self.unit_memory(key).is_some_and(|memory| {
            memory.incarnation > floor && memory.pid != 0 && memory.phase.is_living()
        })
    }

    /// A side whose users were sent elsewhere may go: when nobody waits in its queue any more, it
    /// has nobody who would take them out, or it had time enough.
    fn depart(&mut self, app: &str, side: Side, until_ns: u64, next: Step) -> bool {
        if !self.is_steered(app) {
            return false;
        }
        let key = side.key(app);
        let memory = self.unit_memory(&key);
        let led = memory.is_some_and(|memory| memory.phase.is_living() && !memory.has_ended());
        let has_queue = self.loaded.apps.get(app).is_some_and(crate::App::is_grouped);
        let Some(state) = self.apps.get_mut(app) else { return false };
        if !led || !has_queue || state.is_empty || self.now.0 >= until_ns {
            return self.set_step(app, next);
        }
        if state.awaited.is_none() {
            let request = state.next_request();
            state.awaited = Some(request);
            self.effects.push(Effect::AwaitEmpty { app: app.to_owned(), request, side });
        }
        false
    }

    pub(super) fn set_step(&mut self, app: &str, step: Step) -> bool {
        let Some(state) = self.apps.get_mut(app) else { return false };
        let Some(swap) = &mut state.memory.swap else { return false };
        let told = swap.step.phase() != step.phase();
        swap.step = step;
        state.is_empty = false;
        state.awaited = None;
        let swap = swap.id.clone();
        if told {
            self.report(app, 0, What::Swap { swap, state: step.phase().word() });
        }
        true
    }

    /// The swap is over; its candidate serves, or the side that did before.
    pub(super) fn end_swap(&mut self, app: &str, retired: bool) -> bool {
        let Some(state) = self.apps.get_mut(app) else { return false };
        let memory = &mut state.memory;
        let Some(swap) = memory.swap.take() else { return false };
        if swap.strategy.has_two_sides() {
            let leaver = if retired { memory.serving } else { swap.side };
            memory.closures[leaver.index()] = None;
            memory.serving = leaver.other();
        }
        memory.last = Some(Last { id: swap.id.clone(), retired });
        let state = if retired { "retired" } else { "abandoned" };
        self.report(app, 0, What::Swap { swap: swap.id, state });
        true
    }

    /// How the group shall be; none if there is no group to steer.
    pub(super) fn wanted_group(&self, app: &str) -> Option<(Side, Program)> {
        if !self.loaded.apps.get(app)?.is_grouped() {
            return None;
        }
        let memory = &self.apps.get(app)?.memory;
        let leaver = memory.swap.as_ref().map(|swap| match swap.step {
            Step::Retiring => memory.serving,
            _ => swap.side,
        });
        Some(memory.group(leaver.is_some_and(|side| self.is_living(&side.key(app)))))
    }

    /// Whether the group is known to be as it shall be.
    pub(super) fn is_steered(&self, app: &str) -> bool {
        let in_force = self.apps.get(app).and_then(|state| state.in_force);
        self.wanted_group(app).is_none_or(|wanted| in_force == Some(wanted))
    }

    /// Asks for the group as it shall be, if it is not known to be so.
    fn steer(&mut self, app: &str) {
        let Some((first, program)) = self.wanted_group(app) else { return };
        let now_ns = self.now.0;
        let Some(state) = self.apps.get_mut(app) else { return };
        let asked = state.asked.is_some_and(|(_, side, asked)| (side, asked) == (first, program));
        let waits = state.retry_ns.is_some_and(|at_ns| now_ns < at_ns);
        if state.in_force == Some((first, program)) || asked || waits {
            return;
        }
        let request = state.next_request();
        state.asked = Some((request, first, program));
        state.in_force = None;
        state.passes = false;
        state.failure = None;
        state.retry_ns = None;
        state.awaited = None;
        state.is_empty = false;
        self.effects.push(Effect::Group { app: app.to_owned(), request, first, program });
    }

    /// During an overlap a side's tenant may have left the group in disorder: a serving side that
    /// ended, or is about to start, has it looked after.
    pub(in crate::machine) fn regroup(&mut self, key: &str) {
        let Place::Side { app, side } = self.place(key) else { return };
        let Some(state) = self.apps.get_mut(app) else { return };
        if side == state.memory.serving && state.memory.swap.is_some() {
            state.in_force = None;
            state.asked = None;
            self.app_is_restless(app);
        }
    }

    /// A candidate that could be spawned but for its group has it brought into order.
    pub(in crate::machine) fn ask_pass(&mut self, key: &str) {
        let Place::Side { app, .. } = self.place(key) else { return };
        if self.wants_pass(key)
            && let Some(state) = self.apps.get_mut(app)
            && state.asked.is_none()
        {
            state.in_force = None;
            self.steer(app);
        }
    }

    fn wants_pass(&self, key: &str) -> bool {
        let idle = self
            .units
            .get(key)
            .is_some_and(|unit| unit.memory.phase == Phase::Idle && unit.down.is_none());
        idle && self.side_waits(key).is_some() && self.order_gate(key) == Gate::Go
    }

    /// Like [`Self::regroup`], and asks at once: before what follows.
    pub(in crate::machine) fn regroup_now(&mut self, key: &str) {
        self.regroup(key);
        if let Place::Side { app, .. } = self.place(key) {
            self.steer(app);
            if let Some(state) = self.apps.get_mut(app) {
                state.passes = false;
            }
        }
    }

    pub(super) fn app_is_restless(&mut self, app: &str) {
        let members = self.members(app);
        self.dirty.extend(members);
        self.restless_apps.insert(app.to_owned());
    }

    pub(in crate::machine) fn grouped(&mut self, app: &str, request: u64, failure: Option<String>) {
        let retry_ns = self.now.plus_ms(GROUP_RETRY_MS).0;
        let Some(state) = self.apps.get_mut(app) else { return };
        let Some((_, first, program)) = state.asked.filter(|asked| asked.0 == request) else {
            return;
        };
        state.asked = None;
        match failure {
            None => {
                state.in_force = Some((first, program));
                let candidate = state.memory.serving.other().key(app);
                let passes = self.wants_pass(&candidate) && self.is_steered(app);
                if let Some(state) = self.apps.get_mut(app) {
                    state.passes = passes;
                }
            }
            Some(reason) => {
                state.retry_ns = Some(retry_ns);
                state.failure = Some(reason.clone());
                self.report(app, 0, What::NotSteered { reason });
            }
        }
        self.app_is_restless(app);
    }

    pub(in crate::machine) fn queue_empty(&mut self, app: &str, request: u64) {
        let Some(state) = self.apps.get_mut(app) else { return };
        if state.awaited == Some(request) {
            state.is_empty = true;
            self.restless_apps.insert(app.to_owned());
        }
    }

    fn set_app_timer(&mut self, app: &str) {
        let now_ns = self.now.0;
        let key = memo_key(app);
        let Some(state) = self.apps.get_mut(app) else { return };
        let until_ns = state.memory.swap.as_ref().and_then(|swap| match swap.step {
            Step::Leaving { until_ns } | Step::Returning { until_ns } => Some(until_ns),
            _ => None,
        });
        let times = until_ns.into_iter().chain(state.retry_ns);
        let timer_ns = times.filter(|at_ns| *at_ns > now_ns).min();
        if let Some(at_ns) = std::mem::replace(&mut state.timer_ns, timer_ns) {
            self.timers.remove(&(at_ns, key.clone()));
        }
        self.timers.extend(timer_ns.map(|at_ns| (at_ns, key)));
    }

    /// The time of an app has come.
    pub(in crate::machine) fn app_expired(&mut self, app: &str) {
        if let Some(state) = self.apps.get_mut(app) {
            state.timer_ns = None;
            self.restless_apps.insert(app.to_owned());
        }
    }
}

impl AppState {
    fn next_request(&mut self) -> u64 {
        self.request_last += 1;
        self.request_last
    }

    /// Whoever asks again has a refused group tried again at once.
    pub(super) fn try_again(&mut self) {
        self.failure = None;
        self.retry_ns = None;
    }
}
