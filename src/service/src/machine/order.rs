//! Who may start, and who must go down: each service looks at those around it.

use super::memory::{Outdated, Phase, Then};
use super::{Machine, Unit};
use crate::app::Place;
use crate::effect::Effect;
use crate::record::What;

/// What a service means to those that wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Condition {
    /// It is up.
    Up,
    /// It is on its way up.
    #[default]
    Coming,
    /// An attempt failed or a run ended, and it will try again: order no longer waits for it.
    Trying,
    /// It does not come up unless somebody helps; why, as a clause after its name.
    Never(&'static str),
}

/// Why a service must go down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Down {
    /// An operator said so.
    Hand,
    /// This one, which it requires, was stopped by hand or goes down for such a one.
    Requirement(String),
    /// It is a side that no swap needs any more.
    Rest,
    /// What it runs is not what its app runs now.
    Stale,
    /// What it runs was started by a definition that is not in force any more.
    Outdated,
    /// It is no longer defined.
    Removed,
    /// The machine ends.
    Power,
}

/// Whether a service may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Go,
    /// Not yet: these come first.
    Wait(Vec<String>),
    /// Not as things are; why.
    Never(String),
}

impl Machine {
    /// Lets services look around until none has anything to do. What each means to the others is
    /// known before anybody acts, so that nobody starts beside one that is about to start before
    /// it, and the last in the order goes down first. It ends: the order has no cycle, and a
    /// service that acted waits for an event.
    pub(super) fn settle(&mut self) {
        loop {
            self.learn();
            if let Some(app) = self.restless_apps.pop_first() {
                self.app_step(&app);
            } else if let Some(key) = self.restless.pop_first() {
                self.act(&key);
            } else {
                return;
            }
        }
    }

    /// Learns what all whose surroundings changed mean to the others now.
    pub(super) fn learn(&mut self) {
        while let Some(key) = self.dirty.pop_first() {
            self.learn_one(&key);
            // Whether it lives matters to those before it that want to go down after it.
            let earlier = self.all_members(self.graph.after(self.node(&key)));
            let waiting = |name: &String| self.units.get(name).is_some_and(Unit::waits_to_stop);
            self.restless.extend(earlier.into_iter().filter(waiting));
            self.restless.insert(key);
        }
    }

    fn learn_one(&mut self, key: &str) {
        let down = self.down(key);
        let Some(unit) = self.units.get_mut(key) else { return };
        let down_changed = unit.down != down;
        unit.down = down;
        let condition = self.condition(key);
        let Some(unit) = self.units.get_mut(key) else { return };
        let condition_changed = unit.condition != condition;
        unit.condition = condition;
        let idle = unit.memory.phase == Phase::Idle && !unit.is_adopted;
        if condition_changed && idle && self.power.is_none() {
            self.tell_why_idle(key);
        }
        if down_changed {
            // Time goes on for one that may stay up after all.
            self.set_timer(key);
        }
        if condition_changed || down_changed {
            let name = self.node(key);
            let near = self.graph.followers(name).chain(self.graph.requirers(name));
            let near = self.all_members(near);
            self.dirty.extend(near);
        }
    }

    fn tell_why_idle(&mut self, key: &str) {
        if let Some(problem) = self.loaded.broken.get(self.node(key)) {
            let reason = problem.to_string();
            self.tell(key, What::Broken { reason });
        } else if let Gate::Never(reason) = self.gate(key) {
            self.tell(key, What::Blocked { reason });
        }
    }

    /// Why it must go down, by what its requirements have worked out before it.
    fn down(&self, key: &str) -> Option<Down> {
        let unit = self.units.get(key)?;
        if self.power.is_some() {
            return Some(Down::Power);
        }
        if self.departing.contains_key(self.node(key)) {
            return Some(Down::Removed);
        }
        if self.is_wanted(key) == Some(false) {
            return Some(Down::Rest);
        }
        if unit.memory.held_down {
            return Some(Down::Hand);
        }
        if unit.memory.phase.is_living() && self.is_stale(key) {
            return Some(Down::Stale);
        }
        if unit.memory.phase.is_living() && unit.memory.outdated != Outdated::No {
            return Some(Down::Outdated);
        }
        if matches!(self.place(key), Place::Task { .. }) {
            return None;
        }
        let required = self.graph.requires(self.node(key)).find(|name| {
            let down = self.units.get(&self.face(name)).and_then(|unit| unit.down.as_ref());
            matches!(down, Some(Down::Hand | Down::Requirement(_)))
        })?;
        Some(Down::Requirement(required.to_owned()))
    }

    fn act(&mut self, key: &str) {
        let Some(unit) = self.units.get(key) else { return };
        match (unit.memory.phase, unit.down.clone()) {
            (Phase::Idle, None) if self.gate(key) == Gate::Go => self.spawn(key),
            (Phase::Idle, None) => self.ask_pass(key),
            (phase, Some(Down::Removed)) if !phase.is_living() => self.dismiss(key),
            (Phase::Idle | Phase::Backoff { .. } | Phase::Failed, Some(Down::Rest)) => {
                self.enter(key, Phase::Stopped);
            }
            (Phase::Starting { .. } | Phase::Running | Phase::Leaving { .. }, Some(down))
                if self.stops_after(key).is_empty() =>
            {
                let is_task = matches!(self.place(key), Place::Task { .. });
                let (then, reason) = match down {
                    Down::Hand if is_task => (Then::Judge, "its swap is taken back".to_owned()),
                    Down::Hand => (Then::Judge, "by hand".to_owned()),
                    Down::Rest => (Then::Judge, "the other side serves".to_owned()),
                    Down::Stale => (Then::Again, "its app runs something else now".to_owned()),
                    Down::Outdated => (Then::Again, "its definition changed".to_owned()),
                    Down::Removed => (Then::Again, "it is no longer defined".to_owned()),
                    Down::Requirement(name) => (Then::Again, format!("{name} goes down")),
                    Down::Power if is_task => (Then::Judge, "the machine ends".to_owned()),
                    Down::Power => (Then::Again, "the machine ends".to_owned()),
                };
                self.stop(key, then, &reason);
            }
            _ => {}
        }
    }

    /// Those that must be down before `key` may be stopped: they follow it and go down too. One
    /// that is stuck is not waited for.
    pub(super) fn stops_after(&self, key: &str) -> Vec<String> {
        let goes_first = |name: &String| {
            let Some(unit) = self.units.get(name) else { return false };
            let memory = &unit.memory;
            memory.phase.is_living() && memory.stuck.is_empty() && unit.down.is_some()
        };
        let followers = self.all_members(self.graph.followers(self.node(key)));
        followers.into_iter().filter(goes_first).collect()
    }

    /// What it means to those that wait for it.
    fn condition(&self, key: &str) -> Condition {
        let Some(unit) = self.units.get(key) else { return Condition::Never("is not defined") };
        let going = match unit.down {
            Some(Down::Hand) => Some(Condition::Never("is stopped by hand")),
            Some(Down::Requirement(_)) => Some(Condition::Never("goes down with what it requires")),
            Some(Down::Power) => Some(Condition::Never("goes down with the machine")),
            Some(Down::Rest) => Some(Condition::Never("rests")),
            Some(Down::Removed) => Some(Condition::Never("is not defined")),
            Some(Down::Stale | Down::Outdated) | None => None,
        };
        let is_broken = self.loaded.broken.contains_key(self.node(key));
        match unit.memory.phase {
            Phase::Running | Phase::Done => going.unwrap_or(Condition::Up),
            Phase::Stopped if unit.memory.held_down => Condition::Never("is stopped by hand"),
            Phase::Stopped => Condition::Never("ended and is not to start again"),
            Phase::Failed => Condition::Never("failed"),
            _ if going.is_some() => going.unwrap_or_default(),
            Phase::Starting { .. } => Condition::Coming,
            Phase::Stopping { then: Then::Again, .. } if !is_broken => Condition::Coming,
            _ if is_broken => Condition::Never("is broken"),
            Phase::Leaving { .. } | Phase::Stopping { .. } | Phase::Backoff { .. } => {
                Condition::Trying
            }
            Phase::Idle => match self.gate(key) {
                Gate::Never(_) => Condition::Never("cannot start"),
                Gate::Wait(_) if self.credentials_fail(key) => Condition::Trying,
                Gate::Go | Gate::Wait(_) => Condition::Coming,
            },
        }
    }

    /// Whether an idle service may start, by what those before it have worked out.
    pub(super) fn gate(&self, key: &str) -> Gate {
        match (self.order_gate(key), self.side_waits(key)) {
            (Gate::Go, Some(reason)) => Gate::Wait(vec![reason]),
            (gate, _) => gate,
        }
    }

    /// Like [`Self::gate`], by the order of services alone.
    pub(super) fn order_gate(&self, key: &str) -> Gate {
        if let Some(power) = self.power {
            return Gate::Never(format!("a {} is under way", power.kind));
        }
        let own_name = self.node(key);
        if self.departing.contains_key(own_name) {
            return Gate::Never("it is no longer defined".to_owned());
        }
        if let Some(problem) = self.loaded.broken.get(own_name) {
            return Gate::Never(problem.to_string());
        }
        let mut waits = Vec::new();
        if let Place::Task { .. } = self.place(key) {
            return self.task_gate(key);
        }
        if self.is_wanted(key) == Some(false) {
            return Gate::Wait(vec![format!("the next swap of {own_name}")]);
        }
        if self.lacks_closure(key) {
            return Gate::Never(format!(
                "{own_name} has nothing to run yet: `rollinit swap {own_name} PATH` gives it a \
                 closure"
            ));
        }
        for name in self.graph.requires(own_name) {
            let unit = self.units.get(&self.face(name));
            match unit.map_or(Condition::Never("is not defined"), |unit| unit.condition) {
                Condition::Up => {}
                Condition::Coming | Condition::Trying => waits.push(name.to_owned()),
                Condition::Never(why) => {
                    return Gate::Never(format!("{own_name} requires {name}, which {why}"));
                }
            }
        }
        for name in self.graph.after(own_name) {
            let condition = self.units.get(&self.face(name)).map(|unit| unit.condition);
            if condition == Some(Condition::Coming) && !waits.iter().any(|known| known == name) {
                waits.push(name.to_owned());
            }
        }
        waits.extend(self.older_run(key));
        waits.extend(self.missing_credentials(key));
        if waits.is_empty() { Gate::Go } else { Gate::Wait(waits) }
    }

    fn older_run(&self, key: &str) -> Option<String> {
        let own = (key.to_owned(), 0)..=(key.to_owned(), u64::MAX);
        self.strays.range(own).next().map(|_| format!("an older run of {key}"))
    }

    /// A task is asked for by name and waits for nobody but an older run of itself.
    fn task_gate(&self, key: &str) -> Gate {
        let waits: Vec<String> =
            self.older_run(key).into_iter().chain(self.missing_credentials(key)).collect();
        match waits.is_empty() {
            false => Gate::Wait(waits),
            true if self.expanded.contains_key(key) => Gate::Go,
            true => Gate::Never(format!("{key} runs when a swap wants it")),
        }
    }

    fn spawn(&mut self, key: &str) {
        let Some(definition) = self.definition(key) else { return };
        let kind = definition.kind;
        let timeout_ms = definition.ready.timeout_ms;
        let deadline_ns = timeout_ms.map(|timeout_ms| self.now.plus_ms(timeout_ms).0);
        self.regroup_now(key);
        self.former_stops.remove(key);
        let Some(unit) = self.units.get_mut(key) else { return };
        unit.memory.outdated = Outdated::No;
        let incarnation = unit.incarnation_last.max(unit.memory.incarnation).saturating_add(1);
        unit.incarnation_last = incarnation;
        unit.memory.incarnation = incarnation;
        unit.memory.kind = kind;
        unit.memory.ready_ns = 0;
        unit.memory.status.clear();
        unit.memory.reason.clear();
        self.enter(key, Phase::Starting { deadline_ns });
        self.tell(key, What::Starting);
        self.effects.push(Effect::Spawn { key: key.to_owned(), incarnation });
        self.set_lease(key);
    }
}

impl Unit {
    pub(super) fn waits_to_stop(&self) -> bool {
        self.down.is_some()
            && matches!(
                self.memory.phase,
                Phase::Starting { .. } | Phase::Running | Phase::Leaving { .. }
            )
    }
}
