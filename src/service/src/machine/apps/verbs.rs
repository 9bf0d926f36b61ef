//! What the agent wants of an app: each verb changes the memory at most once, then waits.

use super::super::Machine;
use super::super::memory::{Ended, Phase};
use super::super::order::Gate;
use super::memory::{AppMemory, Step, Swap};
use crate::app::{Strategy, Task};
use crate::definition::closure_fault;
use crate::effect::{CommandError, Effect, Outcome};
use crate::event::SwapVerb;
use crate::limits::{COMMANDS_PENDING_MAX, SWAP_ID_BYTES_MAX};
use crate::record::What;

/// A verb that waits for its step.
#[derive(Debug)]
pub(in crate::machine) struct SwapWaiting {
    id: u64,
    swap: String,
    verb: SwapVerb,
}

type Answer = Result<Outcome, CommandError>;

impl Machine {
    pub(in crate::machine) fn swap_verb(
        &mut self,
        id: u64,
        app: &str,
        swap: String,
        verb: SwapVerb,
    ) {
        let answer = self.app_refusal(app, &swap).map(Err).or_else(|| match &verb {
            SwapVerb::Prepare { closure } => self.prepare(app, &swap, closure),
            SwapVerb::Admit => self.admit(app, &swap),
            SwapVerb::Retire => self.retire(app, &swap),
            SwapVerb::Abandon => self.abandon(app, &swap),
        });
        match answer {
            Some(result) => self.effects.push(Effect::Reply { id, result }),
            None => {
                if let Some(state) = self.apps.get_mut(app) {
                    state.try_again();
                }
                self.touch_app(app);
                let waiting = self.swap_waiting.entry(app.to_owned()).or_default();
                waiting.push(SwapWaiting { id, swap, verb });
            }
        }
    }

    /// Why nothing about an app is done now.
    pub(super) fn app_refusal(&self, app: &str, swap: &str) -> Option<CommandError> {
        let name = app.to_owned();
        if !self.loaded.apps.contains_key(app) {
            return Some(match self.loaded.broken.get(app) {
                Some(problem) => CommandError::Broken { key: name, reason: problem.to_string() },
                None => self.unknown(app),
            });
        }
        if let Some(power) = self.power {
            return Some(CommandError::ShuttingDown { key: name, kind: power.kind });
        }
        if self.waiting_count() >= COMMANDS_PENDING_MAX {
            return Some(CommandError::TooMany { limit: COMMANDS_PENDING_MAX });
        }
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let sound = (1..=SWAP_ID_BYTES_MAX).contains(&swap.len()) && swap.bytes().all(fine);
        (!sound).then(|| CommandError::Refused {
            app: name,
            reason: format!(
                "{swap:?} is no id of a swap: give letters, digits and -, at most \
                 {SWAP_ID_BYTES_MAX}"
            ),
        })
    }

    fn memory_of(&self, app: &str) -> Option<&AppMemory> {
        self.apps.get(app).map(|state| &state.memory)
    }

    /// The step of this very swap, or why there is none.
    fn step_of(&self, app: &str, swap: &str) -> Result<Step, CommandError> {
        let memory = self.memory_of(app);
        let under_way = memory.and_then(|memory| memory.swap.as_ref());
        let (app, id) = (app.to_owned(), swap.to_owned());
        match under_way {
            Some(other) if other.id == swap => Ok(other.step),
            Some(other) => Err(CommandError::SwapUnderWay { app, swap: other.id.clone() }),
            None => {
                let last = memory.and_then(|memory| memory.last.as_ref());
                let reason = match last.filter(|last| last.id == swap) {
                    Some(last) if last.retired => "it is over, and its candidate serves",
                    Some(_) => "it was taken back",
                    None => "prepare it first",
                };
                Err(CommandError::NoSwap { app, swap: id, reason: reason.to_owned() })
            }
        }
    }

    fn wrong_phase(
        &self,
        app: &str,
        swap: &str,
        verb: &'static str,
        reason: &str,
    ) -> Option<Answer> {
        let (app, swap, reason) = (app.to_owned(), swap.to_owned(), reason.to_owned());
        Some(Err(CommandError::WrongPhase { app, swap, verb, reason }))
    }

    fn prepare(&mut self, app: &str, swap: &str, closure: &str) -> Option<Answer> {
        if let Some(fault) = closure_fault(closure) {
            let reason = format!("{fault}; give a path such as /nix/store/…");
            return Some(Err(CommandError::Refused { app: app.to_owned(), reason }));
        }
        let memory = self.memory_of(app)?;
        let side = memory.swap.as_ref().map(|swap| swap.side);
        let same = memory.candidate_closure() == Some(closure);
        let held = |key: &String| self.unit_memory(key).is_some_and(|memory| memory.held_down);
        let held = self.targets(app).iter().any(held);
        let over = memory.last.as_ref().is_some_and(|last| last.id == swap);
        match self.step_of(app, swap) {
            Ok(Step::Returning { .. } | Step::Abandoning) => {
                self.wrong_phase(app, swap, "prepare", "it is being taken back")
            }
            Ok(_) if !same => {
                let reason = format!("swap {swap} is of another closure; give this one a new id");
                Some(Err(CommandError::Refused { app: app.to_owned(), reason }))
            }
            Ok(Step::Preparing) => {
                self.awaken(&side?.key(app));
                None
            }
            Ok(_) => Some(Ok(Outcome::Already)),
            Err(error @ CommandError::SwapUnderWay { .. }) => Some(Err(error)),
            Err(error) if over => Some(Err(error)),
            Err(_) if held => {
                let reason = format!("it is stopped by hand; `rollinit start {app}` it first");
                Some(Err(CommandError::Refused { app: app.to_owned(), reason }))
            }
            Err(_) => self.begin_swap(app, swap, closure),
        }
    }

    fn begin_swap(&mut self, app: &str, swap: &str, closure: &str) -> Option<Answer> {
        let strategy = self.loaded.apps.get(app)?.swap.strategy;
        let serving = self.memory_of(app)?.serving;
        let side = match strategy {
            Strategy::Overlap | Strategy::Ports => serving.other(),
            Strategy::Restart => serving,
        };
        let key = side.key(app);
        let unit = self.units.get(&key)?;
        let floor = unit.incarnation_last.max(unit.memory.incarnation);
        let state = self.apps.get_mut(app)?;
        let previous = state.memory.closures[side.index()].replace(closure.to_owned());
        state.memory.swap = Some(Swap {
            id: swap.to_owned(),
            strategy,
            step: Step::Preparing,
            side,
            floor,
            other: previous.filter(|_| strategy == Strategy::Restart),
        });
        self.report(app, 0, What::Swap { swap: swap.to_owned(), state: "preparing" });
        self.refresh(&key);
        None
    }

    fn admit(&mut self, app: &str, swap: &str) -> Option<Answer> {
        match self.step_of(app, swap) {
            Ok(Step::Prepared) => {
                self.set_step(app, Step::Admitted);
                None
            }
            Ok(Step::Admitted) => None,
            Ok(Step::Leaving { .. } | Step::Retiring) => Some(Ok(Outcome::Already)),
            Ok(Step::Preparing) => {
                self.wrong_phase(app, swap, "admit", "its program does not run yet; prepare it")
            }
            Ok(Step::Returning { .. } | Step::Abandoning) => {
                self.wrong_phase(app, swap, "admit", "it is being taken back")
            }
            Err(error) => Some(Err(error)),
        }
    }

    fn retire(&mut self, app: &str, swap: &str) -> Option<Answer> {
        let memory = self.memory_of(app)?;
        let last = memory.last.as_ref();
        let done = last.is_some_and(|last| last.id == swap && last.retired);
        let restart = memory.swap.as_ref().is_some_and(|swap| swap.strategy == Strategy::Restart);
        match self.step_of(app, swap) {
            Ok(Step::Admitted) if restart => {
                self.end_swap(app, true);
                None
            }
            Ok(Step::Admitted) => {
                let until_ns = self.drain_until_ns(app);
                self.set_step(app, Step::Leaving { until_ns });
                None
            }
            Ok(Step::Leaving { .. } | Step::Retiring) => None,
            Ok(Step::Preparing | Step::Prepared) => {
                self.wrong_phase(app, swap, "retire", "users are not on its candidate; admit it")
            }
            Ok(Step::Returning { .. } | Step::Abandoning) => {
                self.wrong_phase(app, swap, "retire", "it is being taken back")
            }
            Err(CommandError::NoSwap { .. }) if done => Some(Ok(Outcome::Already)),
            Err(error) => Some(Err(error)),
        }
    }

    fn drain_until_ns(&self, app: &str) -> u64 {
        let drain_ms = self.loaded.apps.get(app).map_or(0, |app| app.swap.drain_ms);
        self.now.plus_ms(drain_ms).0
    }

    fn abandon(&mut self, app: &str, swap: &str) -> Option<Answer> {
        let memory = self.memory_of(app)?;
        let last = memory.last.as_ref();
        let retired = last.is_some_and(|last| last.id == swap && last.retired);
        let step = self.step_of(app, swap);
        match step {
            Err(CommandError::NoSwap { .. }) if !retired => {
                self.stop_tasks(app, swap);
                return Some(Ok(Outcome::Already));
            }
            Err(CommandError::NoSwap { .. }) => {
                let reason = "it is over, and its candidate serves; swap back";
                return self.wrong_phase(app, swap, "abandon", reason);
            }
            Err(error) => return Some(Err(error)),
            Ok(Step::Retiring) => {
                let reason = "the old side is being stopped; wait for retire, then swap back";
                return self.wrong_phase(app, swap, "abandon", reason);
            }
            Ok(Step::Returning { .. }) => return None,
            Ok(_) => {}
        }
        self.stop_tasks(app, swap);
        let memory = self.memory_of(app)?;
        let under_way = memory.swap.as_ref()?;
        let own = under_way.side.key(app);
        let serving = memory.serving.key(app);
        match (under_way.strategy, under_way.step) {
            (Strategy::Restart, Step::Abandoning) => self.awaken(&own),
            (Strategy::Restart, _) => self.set_back(app, &own),
            (_, Step::Admitted | Step::Leaving { .. }) => {
                let until_ns = self.drain_until_ns(app);
                self.set_step(app, Step::Returning { until_ns });
                self.awaken(&serving);
            }
            (_, Step::Abandoning) => {}
            (_, _) => {
                self.set_step(app, Step::Abandoning);
                self.awaken(&serving);
            }
        }
        None
    }

    /// Strategy restart: the side gets what it ran before.
    fn set_back(&mut self, app: &str, own: &str) {
        let Some(unit) = self.units.get(own) else { return };
        let floor = unit.incarnation_last.max(unit.memory.incarnation);
        let Some(state) = self.apps.get_mut(app) else { return };
        let Some(swap) = &mut state.memory.swap else { return };
        swap.floor = floor;
        let index = swap.side.index();
        std::mem::swap(&mut state.memory.closures[index], &mut swap.other);
        self.set_step(app, Step::Abandoning);
        let held = self.unit_memory(own).is_some_and(|memory| memory.held_down);
        if !held {
            self.refresh(own);
        }
    }

    /// Stops the tasks that a swap is served by.
    fn stop_tasks(&mut self, app: &str, swap: &str) {
        for task in [Task::Migrate, Task::AfterSwitch] {
            self.stop_task(app, swap, task);
        }
    }

    /// One that gave up, or waits to try again, tries now; unless it is held down.
    fn awaken(&mut self, key: &str) {
        let Some(unit) = self.units.get_mut(key) else { return };
        let memory = &mut unit.memory;
        if memory.held_down {
            return;
        }
        memory.failures = 0;
        memory.window.clear();
        memory.reason.clear();
        match memory.phase {
            Phase::Backoff { .. } | Phase::Failed | Phase::Stopped => self.enter(key, Phase::Idle),
            _ => self.touch(key),
        }
    }

    /// Answers those whose step is taken, or will not be.
    pub(in crate::machine) fn reply_swaps(&mut self) {
        let mut waiting = std::mem::take(&mut self.swap_waiting);
        for (app, verbs) in &mut waiting {
            let mut answers = Vec::new();
            verbs.retain(|verb| match self.swap_answer(app, verb) {
                Some(result) => {
                    answers.push(Effect::Reply { id: verb.id, result });
                    false
                }
                None => true,
            });
            self.effects.append(&mut answers);
        }
        waiting.retain(|_, verbs| !verbs.is_empty());
        self.swap_waiting = waiting;
    }

    fn swap_answer(&self, app: &str, waiting: &SwapWaiting) -> Option<Answer> {
        let done = Some(Ok(Outcome::Done));
        let memory = self.memory_of(app)?;
        let step = match &memory.swap {
            Some(swap) if swap.id == waiting.swap => swap.step,
            _ => {
                let last = memory.last.as_ref().filter(|last| last.id == waiting.swap);
                let retired = last.is_some_and(|last| last.retired);
                if retired != matches!(waiting.verb, SwapVerb::Abandon) {
                    return done;
                }
                let reason = if retired { "its candidate serves" } else { "it was taken back" };
                return self.wrong_phase(app, &waiting.swap, waiting.verb.word(), reason);
            }
        };
        if let Some(power) = self.power {
            let (key, kind) = (app.to_owned(), power.kind);
            return Some(Err(CommandError::ShuttingDown { key, kind }));
        }
        let returns = matches!(step, Step::Returning { .. } | Step::Abandoning);
        match &waiting.verb {
            SwapVerb::Abandon => {}
            verb if returns => {
                let reason = "it is being taken back";
                return self.wrong_phase(app, &waiting.swap, verb.word(), reason);
            }
            SwapVerb::Prepare { .. } if step != Step::Preparing => return done,
            SwapVerb::Admit if step != Step::Admitted || self.is_steered(app) => return done,
            _ => {}
        }
        self.swap_obstacle(app, memory, step).map(Err)
    }

    /// Why a step is not taken, and will not be by itself.
    fn swap_obstacle(&self, app: &str, memory: &AppMemory, step: Step) -> Option<CommandError> {
        let name = app.to_owned();
        if let Some(reason) = self.apps.get(app).and_then(|state| state.failure.clone()) {
            let reason = format!("its sockets cannot be steered: {reason}; it goes on trying");
            return Some(CommandError::StartFailed { app: name, reason });
        }
        let swap = memory.swap.as_ref()?;
        let leaver = match step {
            Step::Leaving { .. } | Step::Retiring => memory.serving,
            _ => swap.side,
        };
        let key = leaver.key(app);
        let unit = self.unit_memory(&key)?;
        if !unit.stuck.is_empty() {
            return Some(CommandError::Stuck { key, reason: unit.stuck.clone() });
        }
        let starts = step == Step::Preparing
            || (step == Step::Abandoning && swap.strategy == Strategy::Restart);
        if !starts {
            return None;
        }
        if unit.held_down {
            let reason = "it was stopped by hand meanwhile".to_owned();
            return Some(CommandError::Refused { app: name, reason });
        }
        let last_end = unit.last_end.as_ref().map(Ended::text).unwrap_or_default();
        let reason = match unit.phase {
            Phase::Backoff { .. } => format!("{last_end}; it goes on trying"),
            Phase::Failed => unit.reason.clone(),
            Phase::Stopped => last_end,
            Phase::Idle => match self.gate(&key) {
                Gate::Never(reason) => reason,
                Gate::Go | Gate::Wait(_) => return None,
            },
            _ => return None,
        };
        Some(CommandError::StartFailed { app: name, reason })
    }
}
