//! Apps: which of their two sides shall run what, and who of them stands for the app.
//!
//! # How a swap goes
//!
//! All that a swap has decided is one [`memory::Step`] in the app's own memo (key `@app/NAME`).
//! Everything else follows from it again and again, level by level: which sides are wanted, what
//! program steers their group, what to wait for. A supervisor that dies anywhere in between leaves
//! a step behind from which the next one goes on.
//!
//! ```text
//! overlap    program                            restart
//!            ───────                            ───────
//! (none)     Alone(old)                         (none)
//!   │ prepare                                     │ prepare: the closure changes, the run ends
//! Preparing  Gate, then spawn the candidate     Preparing
//!   │ its program runs                            │ the new program runs
//! Prepared   Gate                               Prepared
//!   │ admit                                       │ admit
//! Admitted   Switch                             Admitted
//!   │ retire                                      │ retire
//! Leaving    Switch; wait for the old queue     (none)
//!   │ empty for a second, or `drain` is over
//! Retiring   Switch, old one stops; when it is  abandon, from each of them:
//!   │        gone: Alone(candidate)             Abandoning: the closure changes back, the run
//! (none)     the candidate serves                 │         ends, the old program runs
//!                                               (none)
//! abandon:
//! Preparing, Prepared ─────────────────▶ Abandoning  Gate, candidate stops; when it is gone:
//! Admitted, Leaving ──▶ Returning ──────────▲   │     Alone(old)
//!             Gate; wait for the candidate's    ▼
//!             queue as above                  (none)  the old one serves
//! ```
//!
//! - No candidate is spawned before the group was brought into order for this very spawn (the old
//!   side's tenant may have shut its sockets, and a candidate would be in front).
//! - A spawn that was lost with a supervisor is no exception: the next one has a serving side's
//!   group brought into order first (PID 1 would have a shut socket listen behind the candidate's),
//!   and spawns a candidate anew.
//! - No side is stopped before the program that sends users elsewhere is in force.
//! - A side that ended or starts again during an overlap has the group brought into order anew: its
//!   tenant may have shut its sockets.
//! - *The face* of an app is the side that users reach: the candidate from `Admitted` on, until a
//!   way back. It stands for the app in the order of services and to operators.
//! - A power-off freezes all steps: both sides go down like services.

mod adopt;
pub(super) mod memory;
mod show;
mod steps;
mod tasks;
mod verbs;

use super::Machine;
use super::memory::{Memory, Phase};
use crate::app::{App, Place, Side, Task};
use crate::definition::Definition;
use crate::effect::Program;
use memory::{AppMemory, Step};
use std::collections::BTreeSet;
pub(super) use tasks::{Lease, TaskOrder, TaskWaiting};
pub(super) use verbs::SwapWaiting;

/// What the key of an app's own memo begins with.
const KEY_PREFIX: &str = "@app/";

/// The key of an app's own memo.
pub(super) fn memo_key(app: &str) -> String {
    format!("{KEY_PREFIX}{app}")
}

/// The app whose own memo has this key.
pub(super) fn app_of_memo(key: &str) -> Option<&str> {
    key.strip_prefix(KEY_PREFIX)
}

/// An app: what is remembered, and what is known of its group.
#[derive(Debug, Default)]
pub(super) struct AppState {
    memory: AppMemory,
    /// The memo as PID 1 has it.
    memo: Vec<u8>,
    /// How its group is known to be.
    in_force: Option<(Side, Program)>,
    /// What was asked of the shell and not answered yet.
    asked: Option<(u64, Side, Program)>,
    /// It was brought into order just now, for the candidate that is to be spawned.
    passes: bool,
    /// Why the shell could not do it, until it is asked again.
    failure: Option<String>,
    /// When it is asked again: `CLOCK_MONOTONIC` in nanoseconds.
    retry_ns: Option<u64>,
    /// The wait for an empty queue that was asked for.
    awaited: Option<u64>,
    /// That queue is empty.
    is_empty: bool,
    request_last: u64,
    /// As it stands in the machine's timers.
    timer_ns: Option<u64>,
}

impl AppState {
    /// The swap that is under way.
    pub(super) fn swap_id(&self) -> Option<&str> {
        self.memory.swap.as_ref().map(|swap| swap.id.as_str())
    }

    /// The swap that a task was run for.
    pub(super) fn swap_of(&self, task: Task) -> Option<&str> {
        self.memory.tasks[task as usize].as_ref().map(|task| task.swap.as_str())
    }

    pub(super) fn serving(&self) -> Side {
        self.memory.serving
    }

    /// Whether it never had a closure.
    pub(super) fn has_nothing(&self) -> bool {
        self.memory.closures.iter().all(Option::is_none)
    }

    /// Its sockets are not what they were.
    pub(super) fn lose_group(&mut self) {
        self.in_force = None;
        self.asked = None;
    }
}

impl Machine {
    /// What a key of PID 1 stands for.
    #[must_use]
    pub fn place<'a>(&self, key: &'a str) -> Place<'a> {
        let Some((app, part)) = key.rsplit_once('.') else { return Place::Service };
        if !self.apps.contains_key(app) {
            return Place::Service;
        }
        let side = match part {
            "0" => Some(Side::Zero),
            "1" => Some(Side::One),
            _ => None,
        };
        let task = Task::ALL.into_iter().find(|task| task.word() == part);
        match (side, task) {
            (Some(side), _) => Place::Side { app, side },
            (_, Some(task)) => Place::Task { app, task },
            _ => Place::Service,
        }
    }

    /// An app's definition.
    #[must_use]
    pub fn app(&self, name: &str) -> Option<&App> {
        self.loaded.apps.get(name)
    }

    /// What a unit is called in the graph: a side's and a task's name is their app's.
    pub(super) fn node<'a>(&self, key: &'a str) -> &'a str {
        match self.place(key) {
            Place::Service => key,
            Place::Side { app, .. } | Place::Task { app, .. } => app,
        }
    }

    /// The unit that stands for a name: an app's face.
    pub(super) fn face(&self, name: &str) -> String {
        self.face_side(name).map_or_else(|| name.to_owned(), |side| side.key(name))
    }

    /// The side that users reach; none if the name is no app's.
    fn face_side(&self, name: &str) -> Option<Side> {
        let memory = &self.apps.get(name)?.memory;
        let admitted = memory.swap.as_ref().is_some_and(|swap| {
            swap.strategy.has_two_sides()
                && matches!(swap.step, Step::Admitted | Step::Leaving { .. } | Step::Retiring)
        });
        Some(if admitted { memory.serving.other() } else { memory.serving })
    }

    /// The units that go down when a name is stopped by hand: a service, or the sides in use.
    pub(super) fn targets(&self, name: &str) -> Vec<String> {
        let Some(state) = self.apps.get(name) else { return vec![name.to_owned()] };
        let wanted = |side: &Side| state.memory.wants(*side);
        Side::BOTH.into_iter().filter(wanted).map(|side| side.key(name)).collect()
    }

    /// All units of a name.
    pub(super) fn members(&self, name: &str) -> Vec<String> {
        if !self.apps.contains_key(name) {
            return vec![name.to_owned()];
        }
        let sides = Side::BOTH.into_iter().map(|side| side.key(name));
        let tasks = Task::ALL.into_iter().map(|task| task.key(name));
        sides.chain(tasks.filter(|key| self.units.contains_key(key))).collect()
    }

    /// All units of these names.
    pub(super) fn all_members<'a>(&self, names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
        names.flat_map(|name| self.members(name)).collect()
    }

    /// The policies of a unit: its definition, or its app's template.
    pub(super) fn policy(&self, key: &str) -> Option<&Definition> {
        match self.place(key) {
            Place::Service => self.loaded.definitions.get(key),
            Place::Side { app, .. } | Place::Task { app, .. } => {
                self.loaded.apps.get(app).map(|app| &app.template)
            }
        }
    }

    /// Whether a side shall run; none if the key is no side's.
    pub(super) fn is_wanted(&self, key: &str) -> Option<bool> {
        match self.place(key) {
            Place::Side { app, side } => self.apps.get(app).map(|state| state.memory.wants(side)),
            _ => None,
        }
    }

    /// Whether the newest run of a side belongs to what it ran before a swap.
    pub(super) fn is_stale(&self, key: &str) -> bool {
        let Place::Side { app, side } = self.place(key) else { return false };
        let swap = self.apps.get(app).and_then(|state| state.memory.swap.as_ref());
        let incarnation = self.units.get(key).map_or(0, |unit| unit.memory.incarnation);
        swap.is_some_and(|swap| swap.side == side && incarnation <= swap.floor)
    }

    /// What keeps a side from being spawned, beside the order of services.
    pub(super) fn side_waits(&self, key: &str) -> Option<String> {
        let Place::Side { app, side } = self.place(key) else { return None };
        let state = self.apps.get(app)?;
        let serves = side == state.memory.serving;
        let passes = serves || state.passes || self.wanted_group(app).is_none();
        (!passes).then(|| format!("the sockets of {app} to be steered"))
    }

    /// Whether a side has no closure to run.
    pub(super) fn lacks_closure(&self, key: &str) -> bool {
        let Place::Side { app, side } = self.place(key) else { return false };
        self.apps.get(app).is_some_and(|state| state.memory.closures[side.index()].is_none())
    }

    /// Works out what the sides of an app run.
    fn expand(&mut self, app: &str) {
        let (Some(state), Some(definition)) = (self.apps.get(app), self.loaded.apps.get(app))
        else {
            return;
        };
        for side in Side::BOTH {
            match &state.memory.closures[side.index()] {
                Some(closure) => {
                    self.expanded.insert(side.key(app), definition.side(side, closure));
                }
                None => {
                    self.expanded.remove(&side.key(app));
                }
            }
        }
    }

    /// An app's memory changed: all that look at it look again.
    pub(super) fn touch_app(&mut self, app: &str) {
        self.expand(app);
        self.touch_memo(app);
        let near = self.graph.followers(app).chain(self.graph.requirers(app));
        let near = self.all_members(near);
        self.dirty.extend(near);
        for key in self.members(app) {
            self.touch(&key);
        }
        self.restless_apps.insert(app.to_owned());
    }

    fn touch_memo(&mut self, app: &str) {
        self.touched.insert(memo_key(app));
    }

    /// A unit that is to start afresh: nothing of its past counts.
    fn refresh(&mut self, key: &str) {
        let now_ns = self.now.0;
        let Some(unit) = self.units.get_mut(key) else { return };
        let memory = &mut unit.memory;
        memory.held_down = false;
        memory.restarts = 0;
        memory.failures = 0;
        memory.window.clear();
        memory.reason.clear();
        memory.status.clear();
        if !memory.phase.is_living() {
            *memory = Memory {
                incarnation: memory.incarnation,
                kind: memory.kind,
                since_ns: now_ns,
                ..Memory::default()
            };
            self.enter(key, Phase::Idle);
        }
        self.touch(key);
    }

    fn unit_memory(&self, key: &str) -> Option<&Memory> {
        self.units.get(key).map(|unit| &unit.memory)
    }

    fn is_living(&self, key: &str) -> bool {
        self.unit_memory(key).is_some_and(|memory| memory.phase.is_living())
    }
}
