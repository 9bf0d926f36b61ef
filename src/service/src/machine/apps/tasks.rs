//! Tasks: programs that a swap runs beside the app, once, under a lease that PID 1 holds.
//!
//! A task is a unit of its own that never starts by itself. Its memo remembers how it ended, the
//! app's memo for which swap it ran: who asks again hears the same end, and nothing runs twice. A
//! run that did not end by itself (its lease, a stop, a power-off) is run again when asked.

use super::super::Machine;
use super::super::memory::{Ended, Memory, Phase};
use super::memory::TaskMemory;
use crate::Now;
use crate::app::{Place, Task};
use crate::definition::{Kind, closure_fault};
use crate::effect::{CommandError, Effect, Outcome, TaskEnd};
use crate::limits::{ARGUMENTS_MAX, DURATION_MS_MAX, LEASE_MS_MIN, STRING_BYTES_MAX};
use crate::snapshot::Cause;

/// Somebody who waits for a task's end.
#[derive(Debug)]
pub(in crate::machine) struct TaskWaiting {
    id: u64,
    key: String,
}

/// What is to be run.
#[derive(Debug)]
pub(in crate::machine) struct TaskOrder<'a> {
    pub app: &'a str,
    pub swap: &'a str,
    pub task: Task,
    pub program: &'a [String],
    pub closure: &'a str,
    pub lease: Lease,
    /// What it finds as `ROLLINIT_FENCE`.
    pub fence: Option<u64>,
}

/// Until when a task may run, unless that is put off.
#[derive(Clone, Copy, Debug)]
pub(in crate::machine) struct Lease {
    /// So long from now on.
    pub lease_ms: u64,
    /// Until this moment at the latest: an order that was long on its way, or lay about while
    /// nobody read it, gives no more time than whoever gave it had.
    pub until_ns: Option<u64>,
}

/// The variable in which a task finds the number of the lock that it runs under.
const FENCE_VARIABLE: &str = "ROLLINIT_FENCE";

type Answer = Result<TaskEnd, CommandError>;

impl Machine {
    pub(in crate::machine) fn run_task(&mut self, id: u64, order: &TaskOrder) {
        match self.obey_task(order) {
            Some(result) => self.effects.push(Effect::TaskReply { id, result }),
            None => {
                let key = order.task.key(order.app);
                self.task_waiting.push(TaskWaiting { id, key });
            }
        }
    }

    /// Starts or joins a run; none if its end is to be waited for.
    fn obey_task(&mut self, order: &TaskOrder) -> Option<Answer> {
        if let Some(error) = self.app_refusal(order.app, order.swap) {
            return Some(Err(error));
        }
        if let Some(reason) = order.fault() {
            return Some(Err(CommandError::Refused { app: order.app.to_owned(), reason }));
        }
        let memory = &self.apps.get(order.app)?.memory;
        let under_way = |swap: &str| {
            let (app, swap) = (order.app.to_owned(), swap.to_owned());
            Some(Err(CommandError::SwapUnderWay { app, swap }))
        };
        if let Some(swap) = memory.swap.as_ref().filter(|swap| swap.id != order.swap) {
            return under_way(&swap.id);
        }
        let key = order.task.key(order.app);
        let known = memory.tasks[order.task as usize].as_ref();
        let same = known.is_some_and(|known| known.swap == order.swap);
        if self.is_active(&key) {
            if !same {
                return under_way(known.map_or("of before", |known| known.swap.as_str()));
            }
            self.set_task(order);
            self.set_lease(&key);
            return None;
        }
        if same && let Some(end) = self.own_end(&key) {
            return Some(Ok(end));
        }
        if order.lease.is_over(self.now) {
            let reason = "its lease was over when the order came".to_owned();
            return Some(Err(CommandError::Refused { app: order.app.to_owned(), reason }));
        }
        self.begin_task(order, key);
        None
    }

    fn begin_task(&mut self, order: &TaskOrder, key: String) {
        let Some(app) = self.loaded.apps.get(order.app) else { return };
        let side = self.face_side(order.app).unwrap_or_default();
        let mut definition = app.task(order.program, side, order.closure);
        if let Some(fence) = order.fence {
            definition.environment.insert(FENCE_VARIABLE.to_owned(), fence.to_string());
        }
        self.expanded.insert(key.clone(), definition);
        self.set_task(order);
        let now_ns = self.now.0;
        let unit = self.units.entry(key.clone()).or_default();
        let incarnation = unit.memory.incarnation;
        unit.memory =
            Memory { incarnation, kind: Kind::Oneshot, since_ns: now_ns, ..Memory::default() };
        self.touch(&key);
    }

    fn set_task(&mut self, order: &TaskOrder) {
        let lease_ns = order.lease.ends_ns(self.now);
        let Some(state) = self.apps.get_mut(order.app) else { return };
        let swap = order.swap.to_owned();
        state.memory.tasks[order.task as usize] = Some(TaskMemory { swap, lease_ns });
        self.touch_memo(order.app);
    }

    /// Tells PID 1 when a task's run ends at the latest.
    pub(in crate::machine) fn set_lease(&mut self, key: &str) {
        let Place::Task { app, task } = self.place(key) else { return };
        let known = self.apps.get(app).and_then(|state| state.memory.tasks[task as usize].as_ref());
        let Some(deadline_ns) = known.map(|known| known.lease_ns) else { return };
        let Some(memory) = self.unit_memory(key).filter(|memory| memory.phase.is_living()) else {
            return;
        };
        let (key, incarnation) = (key.to_owned(), memory.incarnation);
        self.effects.push(Effect::Deadline { key, incarnation, deadline_ns });
    }

    pub(in crate::machine) fn renew_task(
        &mut self,
        id: u64,
        app: &str,
        swap: &str,
        task: Task,
        lease: Lease,
    ) {
        let result = self.renew(app, swap, task, lease).map(|()| Outcome::Done);
        self.effects.push(Effect::Reply { id, result });
    }

    fn renew(
        &mut self,
        app: &str,
        swap: &str,
        task: Task,
        lease: Lease,
    ) -> Result<(), CommandError> {
        if let Some(error) = self.app_refusal(app, swap) {
            return Err(error);
        }
        let refuse = |reason| Err(CommandError::Refused { app: app.to_owned(), reason });
        if let Some(reason) = lease.fault() {
            return refuse(reason);
        }
        let key = task.key(app);
        let known = self.apps.get(app).and_then(|state| state.memory.tasks[task as usize].as_ref());
        if known.is_none_or(|known| known.swap != swap) || !self.is_active(&key) {
            return refuse(format!("its task {} does not run for swap {swap}", task.word()));
        }
        let order = TaskOrder { app, swap, task, program: &[], closure: "", lease, fence: None };
        self.set_task(&order);
        self.set_lease(&key);
        Ok(())
    }

    /// Whether a task is to run, or runs.
    fn is_active(&self, key: &str) -> bool {
        self.unit_memory(key)
            .is_some_and(|memory| memory.phase == Phase::Idle || memory.phase.is_living())
    }

    /// How a task that is over ended, if it ended by itself.
    fn own_end(&self, key: &str) -> Option<TaskEnd> {
        let memory = self.unit_memory(key)?;
        let end = memory.last_end.as_ref().filter(|_| memory.has_ended())?.end?;
        let own = matches!(end.cause, Cause::Own | Cause::OutOfMemory);
        own.then(|| TaskEnd { exit: end.code(), signal: end.signal(), lease_ended: false })
    }

    pub(super) fn stop_task(&mut self, app: &str, swap: &str, task: Task) {
        let key = task.key(app);
        let known = self.apps.get(app).and_then(|state| state.memory.tasks[task as usize].as_ref());
        if known.is_none_or(|known| known.swap != swap) || !self.is_active(&key) {
            return;
        }
        let Some(unit) = self.units.get_mut(&key) else { return };
        unit.memory.held_down = true;
        if unit.memory.phase == Phase::Idle {
            self.enter(&key, Phase::Stopped);
        } else {
            self.touch(&key);
        }
    }

    /// Answers those whose task is over.
    pub(in crate::machine) fn reply_tasks(&mut self) {
        let mut waiting = std::mem::take(&mut self.task_waiting);
        let mut answers = Vec::new();
        waiting.retain(|one| match self.task_answer(&one.key) {
            Some(result) => {
                answers.push(Effect::TaskReply { id: one.id, result });
                false
            }
            None => true,
        });
        self.effects.append(&mut answers);
        self.task_waiting = waiting;
    }

    fn task_answer(&self, key: &str) -> Option<Answer> {
        let memory = self.unit_memory(key)?;
        let Place::Task { app, .. } = self.place(key) else { return None };
        if !memory.stuck.is_empty() {
            let (key, reason) = (key.to_owned(), memory.stuck.clone());
            return Some(Err(CommandError::Stuck { key, reason }));
        }
        if let Some(power) = self.power {
            let (key, kind) = (app.to_owned(), power.kind);
            return Some(Err(CommandError::ShuttingDown { key, kind }));
        }
        if self.is_active(key) {
            return None;
        }
        let ended = memory.last_end.as_ref().filter(|_| memory.has_ended());
        let app = app.to_owned();
        Some(match ended {
            Some(Ended { end: Some(end), .. }) => Ok(TaskEnd {
                exit: end.code(),
                signal: end.signal(),
                lease_ended: end.cause == Cause::Deadline && !memory.held_down,
            }),
            Some(Ended { text, .. }) => {
                Err(CommandError::StartFailed { app, reason: text.clone() })
            }
            None => {
                let reason = "its swap was taken back before the task ran".to_owned();
                Err(CommandError::Refused { app, reason })
            }
        })
    }
}

impl Lease {
    /// When it is over.
    fn ends_ns(self, now: Now) -> u64 {
        now.plus_ms(self.lease_ms).0.min(self.until_ns.unwrap_or(u64::MAX))
    }

    /// Whether nobody may begin under it any more.
    fn is_over(self, now: Now) -> bool {
        self.until_ns.is_some_and(|until_ns| until_ns <= now.0)
    }

    /// What makes no sense in it.
    fn fault(self) -> Option<String> {
        let lease_ms = self.lease_ms;
        let sound = (LEASE_MS_MIN..=DURATION_MS_MAX).contains(&lease_ms);
        let text = || format!("a lease of {lease_ms} ms; give {LEASE_MS_MIN} to {DURATION_MS_MAX}");
        (!sound).then(text)
    }
}

impl TaskOrder<'_> {
    /// What makes no sense in it.
    fn fault(&self) -> Option<String> {
        let program = self.program.first().map_or("", String::as_str);
        let closure = crate::app::CLOSURE_VARIABLE;
        if !program.starts_with('/') && !program.starts_with(closure) {
            return Some(format!("the program {program:?} is not an absolute path"));
        }
        let long = |word: &String| word.len() > STRING_BYTES_MAX || word.contains('\0');
        if self.program.len() > ARGUMENTS_MAX || self.program.iter().any(long) {
            return Some("its program has too many or too long arguments".to_owned());
        }
        closure_fault(self.closure).or_else(|| self.lease.fault())
    }
}
