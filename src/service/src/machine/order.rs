//! Who may start, and who must go down: each service looks at those around it.

use super::memory::{Phase, Then};
use super::{Machine, Unit};
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
        self.learn();
        while let Some(key) = self.restless.pop_first() {
            self.act(&key);
            self.learn();
        }
    }

    /// Learns what all whose surroundings changed mean to the others now.
    pub(super) fn learn(&mut self) {
        while let Some(key) = self.dirty.pop_first() {
            self.learn_one(&key);
            // Whether it lives matters to those before it that want to go down after it.
            let waiting = |name: &&str| self.units.get(*name).is_some_and(Unit::waits_to_stop);
            self.restless.extend(self.graph.after(&key).filter(waiting).map(str::to_owned));
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
            let near = self.graph.followers(key).chain(self.graph.requirers(key));
            self.dirty.extend(near.map(str::to_owned));
        }
    }

    fn tell_why_idle(&mut self, key: &str) {
        if let Some(problem) = self.loaded.broken.get(key) {
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
        if unit.memory.held_down {
            return Some(Down::Hand);
        }
        let required = self.graph.requires(key).find(|name| {
            let down = self.units.get(*name).and_then(|unit| unit.down.as_ref());
            matches!(down, Some(Down::Hand | Down::Requirement(_)))
        })?;
        Some(Down::Requirement(required.to_owned()))
    }

    fn act(&mut self, key: &str) {
        let Some(unit) = self.units.get(key) else { return };
        match (unit.memory.phase, unit.down.clone()) {
            (Phase::Idle, None) if self.gate(key) == Gate::Go => self.spawn(key),
            (Phase::Starting { .. } | Phase::Running | Phase::Leaving { .. }, Some(down))
                if self.stops_after(key).is_empty() =>
            {
                let (then, reason) = match down {
                    Down::Hand => (Then::Judge, "by hand".to_owned()),
                    Down::Requirement(name) => (Then::Again, format!("{name} goes down")),
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
        let goes_first = |name: &&str| {
            let Some(unit) = self.units.get(*name) else { return false };
            let memory = &unit.memory;
            memory.phase.is_living() && memory.stuck.is_empty() && unit.down.is_some()
        };
        self.graph.followers(key).filter(goes_first).map(str::to_owned).collect()
    }

    /// What it means to those that wait for it.
    fn condition(&self, key: &str) -> Condition {
        let Some(unit) = self.units.get(key) else { return Condition::Never("is not defined") };
        let going = match unit.down {
            Some(Down::Hand) => Some(Condition::Never("is stopped by hand")),
            Some(Down::Requirement(_)) => Some(Condition::Never("goes down with what it requires")),
            Some(Down::Power) => Some(Condition::Never("goes down with the machine")),
            None => None,
        };
        let is_broken = self.loaded.broken.contains_key(key);
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
                Gate::Go | Gate::Wait(_) => Condition::Coming,
            },
        }
    }

    /// Whether an idle service may start, by what those before it have worked out.
    pub(super) fn gate(&self, key: &str) -> Gate {
        if let Some(power) = self.power {
            return Gate::Never(format!("a {} is under way", power.kind));
        }
        if let Some(problem) = self.loaded.broken.get(key) {
            return Gate::Never(problem.to_string());
        }
        let mut waits = Vec::new();
        for name in self.graph.requires(key) {
            let unit = self.units.get(name);
            match unit.map_or(Condition::Never("is not defined"), |unit| unit.condition) {
                Condition::Up => {}
                Condition::Coming | Condition::Trying => waits.push(name.to_owned()),
                Condition::Never(why) => {
                    return Gate::Never(format!("{key} requires {name}, which {why}"));
                }
            }
        }
        for name in self.graph.after(key) {
            let condition = self.units.get(name).map(|unit| unit.condition);
            if condition == Some(Condition::Coming) && !waits.iter().any(|known| known == name) {
                waits.push(name.to_owned());
            }
        }
        let own = (key.to_owned(), 0)..=(key.to_owned(), u64::MAX);
        if self.strays.range(own).next().is_some() {
            waits.push(format!("an older run of {key}"));
        }
        if waits.is_empty() { Gate::Go } else { Gate::Wait(waits) }
    }

    fn spawn(&mut self, key: &str) {
        let Some(definition) = self.definition(key) else { return };
        let kind = definition.kind;
        let timeout_ms = definition.ready.timeout_ms;
        let deadline_ns = timeout_ms.map(|timeout_ms| self.now.plus_ms(timeout_ms).0);
        let Some(unit) = self.units.get_mut(key) else { return };
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
