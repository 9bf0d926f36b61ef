//! What operators want.

use super::Machine;
use super::memory::{Phase, Then};
use super::order::{Condition, Gate};
use crate::app::Place;
use crate::effect::{CommandError, Effect, Outcome};
use crate::event::Verb;
use crate::limits::COMMANDS_PENDING_MAX;
use crate::nearest::nearest;
use crate::record::What;

/// A command that waits for its service.
#[derive(Debug)]
pub(super) struct Pending {
    id: u64,
    verb: Verb,
}

type Answer = Result<Outcome, CommandError>;

impl Machine {
    pub(super) fn command(&mut self, id: u64, verb: Verb, key: String) {
        match self.obey(verb, &key) {
            Some(result) => self.effects.push(Effect::Reply { id, result }),
            None => self.pending.entry(key).or_default().push(Pending { id, verb }),
        }
    }

    /// Does what is wanted; none if the answer must wait.
    fn obey(&mut self, verb: Verb, key: &str) -> Option<Answer> {
        let face = self.face(key);
        let is_part = self.place(key) != Place::Service || self.departing.contains_key(key);
        let Some(unit) = self.units.get(&face).filter(|_| !is_part) else {
            return Some(Err(self.unknown(key)));
        };
        if let Some(power) = self.power {
            let key = key.to_owned();
            return Some(Err(CommandError::ShuttingDown { key, kind: power.kind }));
        }
        if self.waiting_count() >= COMMANDS_PENDING_MAX {
            return Some(Err(CommandError::TooMany { limit: COMMANDS_PENDING_MAX }));
        }
        match verb {
            Verb::Stop if self.is_down(key) => return Some(Ok(Outcome::Already)),
            Verb::Start if unit.condition == Condition::Up => return Some(Ok(Outcome::Already)),
            Verb::Start | Verb::Restart => {
                if let Some(problem) = self.loaded.broken.get(key) {
                    let (key, reason) = (key.to_owned(), problem.to_string());
                    return Some(Err(CommandError::Broken { key, reason }));
                }
            }
            Verb::Stop => {}
        }
        self.tell(key, What::Command { verb });
        match verb {
            Verb::Start => self.revive(key, Verb::Start),
            Verb::Stop => self.hold_down(key),
            Verb::Restart => {
                self.revive(key, Verb::Restart);
                self.restart(key);
            }
        }
        None
    }

    pub(super) fn unknown(&self, key: &str) -> CommandError {
        let services = self.units.keys().filter(|key| self.place(key) == Place::Service);
        let names = services.chain(self.apps.keys()).map(String::as_str);
        let near = nearest(key, names).map(str::to_owned);
        CommandError::Unknown { key: key.to_owned(), nearest: near }
    }

    /// Commands of all kinds that are not answered yet.
    pub(super) fn waiting_count(&self) -> usize {
        let services: usize = self.pending.values().map(Vec::len).sum();
        let swaps: usize = self.swap_waiting.values().map(Vec::len).sum();
        services + swaps + self.task_waiting.len()
    }

    /// Whether a service, or all sides in use of an app, are held down and gone.
    fn is_down(&self, name: &str) -> bool {
        let down = |key: &String| {
            self.units
                .get(key)
                .is_some_and(|unit| unit.memory.held_down && !unit.memory.phase.is_living())
        };
        self.targets(name).iter().all(down)
    }

    fn hold_down(&mut self, name: &str) {
        self.supersede(name, Verb::Stop);
        for key in self.targets(name) {
            let Some(unit) = self.units.get_mut(&key) else { continue };
            unit.memory.held_down = true;
            if unit.memory.phase.is_living() {
                self.touch(&key);
            } else {
                self.enter(&key, Phase::Stopped);
                self.tell(&key, What::Stopped);
            }
        }
    }

    /// Lets a service up again, and all that it requires or wants.
    fn revive(&mut self, key: &str, verb: Verb) {
        for name in self.graph.pulled_in(key) {
            let mut revived = false;
            for unit in self.targets(&name) {
                revived |= self.revive_one(&unit, name == key);
            }
            if revived {
                self.supersede(&name, if name == key { verb } else { Verb::Start });
            }
        }
    }

    /// Lets one up again, if it is the one that is meant or is down; says whether it did.
    fn revive_one(&mut self, key: &str, is_meant: bool) -> bool {
        let Some(unit) = self.units.get_mut(key) else { return false };
        let memory = &mut unit.memory;
        let is_down = matches!(memory.phase, Phase::Stopped | Phase::Failed);
        if !is_meant && !memory.held_down && !is_down {
            return false;
        }
        memory.held_down = false;
        memory.failures = 0;
        memory.window.clear();
        memory.reason.clear();
        match &mut memory.phase {
            Phase::Stopped | Phase::Failed | Phase::Backoff { .. } => self.enter(key, Phase::Idle),
            Phase::Stopping { then, .. } => {
                *then = Then::Again;
                self.touch(key);
            }
            _ => self.touch(key),
        }
        true
    }

    fn restart(&mut self, name: &str) {
        let key = &self.face(name);
        match self.units.get(key).map(|unit| unit.memory.phase) {
            Some(Phase::Starting { .. } | Phase::Running | Phase::Leaving { .. }) => {
                self.stop(key, Then::Again, "to be restarted by hand");
            }
            Some(Phase::Done) => self.enter(key, Phase::Idle),
            _ => {}
        }
    }

    /// Answers those who wanted the opposite.
    fn supersede(&mut self, key: &str, verb: Verb) {
        let Some(waiting) = self.pending.get_mut(key) else { return };
        let opposite = |pending: &mut Pending| (pending.verb == Verb::Stop) != (verb == Verb::Stop);
        for pending in waiting.extract_if(.., opposite) {
            let result = Err(CommandError::Superseded { key: key.to_owned(), verb });
            self.effects.push(Effect::Reply { id: pending.id, result });
        }
    }

    /// Answers those whose service has got where they wanted it, or will not.
    pub(super) fn reply_pending(&mut self) {
        let mut waiting = std::mem::take(&mut self.pending);
        for (key, commands) in &mut waiting {
            let verbs: Vec<Option<Answer>> =
                commands.iter().map(|pending| self.answer(key, pending.verb)).collect();
            let mut answers = verbs.into_iter();
            commands.retain(|pending| match answers.next().flatten() {
                Some(result) => {
                    self.effects.push(Effect::Reply { id: pending.id, result });
                    false
                }
                None => true,
            });
        }
        waiting.retain(|_, commands| !commands.is_empty());
        self.pending = waiting;
    }

    /// Whoever waited for a name that is no more hears of it.
    pub(super) fn answer_gone(&mut self, name: &str) {
        for pending in self.pending.remove(name).unwrap_or_default() {
            let result = match pending.verb {
                Verb::Stop => Ok(Outcome::Done),
                Verb::Start | Verb::Restart => Err(CommandError::Removed { key: name.to_owned() }),
            };
            self.effects.push(Effect::Reply { id: pending.id, result });
        }
    }

    fn answer(&self, name: &str, verb: Verb) -> Option<Answer> {
        let face = self.face(name);
        let unit = self.units.get(&face)?;
        let memory = &unit.memory;
        let key = name.to_owned();
        if !memory.stuck.is_empty() {
            return Some(Err(CommandError::Stuck { key, reason: memory.stuck.clone() }));
        }
        if verb == Verb::Stop && self.is_down(name) {
            return Some(Ok(Outcome::Done));
        }
        if let Some(power) = self.power
            && (verb != Verb::Stop || power.handed_over)
        {
            return Some(Err(CommandError::ShuttingDown { key, kind: power.kind }));
        }
        if verb == Verb::Stop {
            return None;
        }
        let last_end = memory.last_end.as_ref().map(super::memory::Ended::text).unwrap_or_default();
        let reason = match memory.phase {
            Phase::Running | Phase::Done if unit.condition == Condition::Up => {
                return Some(Ok(Outcome::Done));
            }
            Phase::Failed => memory.reason.clone(),
            Phase::Backoff { .. } => format!("{last_end}; it goes on trying"),
            Phase::Stopped => last_end,
            Phase::Idle => match self.gate(&face) {
                Gate::Never(reason) => reason,
                Gate::Wait(names) if self.credentials_fail(&face) => {
                    format!("it waits for {}", names.join(", "))
                }
                Gate::Go | Gate::Wait(_) => return None,
            },
            _ => return None,
        };
        Some(Err(CommandError::NotReady { key, reason }))
    }
}
