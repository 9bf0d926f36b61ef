//! The machine: what to do next.
//!
//! # How it thinks
//!
//! A service is in one *phase*. Whoever has a run, from the wish to start it until nothing is left
//! of it, is *living* (starting, running, leaving, stopping); there is never a second run before.
//!
//! ```text
//!            may start            ready               STOPPING=1
//!   Idle ───────────────▶ Starting ───▶ Running ───────────────▶ Leaving
//!    ▲ ▲                     │ │           │ │                      │ │
//!    │ │   ready.timeout,    │ │           │ │ stop wanted, or       │ │ stop.timeout
//!    │ │   or stop wanted    │ └───────────┼─┴──────────────────────┼─┴──▶ Stopping
//!    │ │                     │             │ leader exited, all gone │        │
//!    │ │                     └─────────────┴────────┬───────────────┘        │ nothing left
//!    │ │ time                                       ▼                        ▼
//!    │ └──────── Backoff ◀──────────────────── the policy judges ◀───────────┤
//!    │                                              │                        │
//!    │    asked to start again, or a requirement    ├──▶ Done, Stopped,      │
//!    └──────────────────────────────────────────────┼──── Failed             │
//!                              ▲                    └─── held down by hand ◀──┘
//!                              └── operator ───────────────┘
//! ```
//!
//! - **Up by default.** Every defined service shall be up, unless an operator holds it down, its
//!   policy lets it rest or gives up, or its definition is broken.
//! - **Start order.** It starts when all it requires are up, and none that it is ordered after is
//!   on its way up. A start that failed lets those go that are merely ordered after it. What
//!   requires something that will not come up by itself is *blocked*, and says by whom.
//! - **Stop order.** What goes down waits until all that follow it in the order, and go down too,
//!   are down. A requirement stopped by hand takes down those that require it first; they come
//!   back with it. One that fails, or is restarted, takes nobody down.
//! - **Stopped** means the leader was reaped and its cgroup is empty. A leader that leaves others
//!   behind is followed by a stop of the rest, and only then judged.
//! - **An end counts once.** What was judged is in the memo before the tombstone is forgotten, and
//!   whatever comes again is answered by forgetting it again.
//! - **Nothing is lost with the supervisor.** All that decides or is shown is in the memo of its
//!   service, which goes to PID 1 before the effects that it explains. Everything else is worked
//!   out from it: a decision that was lost half-way is simply taken again.
//! - **Power.** Everything goes down in the same order under one deadline; then PID 1 takes over.
//!
//! # How it works
//!
//! An event changes the memory of one service. Then every service whose surroundings changed looks
//! around ([`order`](self)) until nobody has anything to do. Effects come out last: memos of all
//! that changed, then what to do, then answers to operators.

mod adopt;
mod command;
mod memory;
mod order;
mod power;
mod restart;
mod runs;
mod show;

use crate::Now;
use crate::app::{App, Place, Side, Task};
use crate::definition::{self, Definition, Loaded, Policy, Restart};
use crate::effect::Effect;
use crate::event::Event;
use crate::graph::Graph;
use crate::record::{Record, What};
use crate::snapshot::Snapshot;
use crate::view::AppView;
use command::Pending;
use memory::{Memory, Phase};
use order::{Condition, Down};
use power::Power;
use std::collections::{BTreeMap, BTreeSet};

/// The key under which the machine keeps its own words: a power request under way. A shell that
/// needs words of its own uses another name that begins with `@`.
pub const SUPERVISOR_KEY: &str = "@supervisor";

/// All services of a host and what shall become of them. See the module's text.
#[derive(Debug)]
pub struct Machine {
    loaded: Loaded,
    graph: Graph,
    units: BTreeMap<String, Unit>,
    /// Living runs that should not be: of keys without a definition, or older than the newest.
    strays: BTreeMap<(String, u64), Stray>,
    power: Option<Power>,
    power_memo: Vec<u8>,
    pending: BTreeMap<String, Vec<Pending>>,
    /// (time, service), for the phases that time moves on.
    timers: BTreeSet<(u64, String)>,
    /// Services whose surroundings changed: what they mean to others must be learnt anew.
    dirty: BTreeSet<String>,
    /// Services that may have something to do.
    restless: BTreeSet<String>,
    /// Services whose memory may have changed in this step.
    touched: BTreeSet<String>,
    effects: Vec<Effect>,
    now: Now,
}

/// A service: what is remembered, and what is worked out from it.
#[derive(Debug, Default)]
struct Unit {
    memory: Memory,
    /// The memo as PID 1 has it.
    memo: Vec<u8>,
    /// The highest incarnation that anybody has heard of.
    incarnation_last: u64,
    /// When time moves it on, as it stands in `timers`.
    timer_ns: Option<u64>,
    /// What it means to those that wait for it.
    condition: Condition,
    /// Why it must go down, if it must.
    down: Option<Down>,
    /// It was taken over, not started anew: what is said of it was said before.
    is_adopted: bool,
}

/// A run that is on its way out and belongs to no unit.
#[derive(Debug)]
struct Stray {
    pid: u32,
    started_ns: u64,
    deadline_ns: u64,
}

impl Machine {
    /// Takes up where the last supervisor left off, or boots when the snapshot is empty. The
    /// effects must be carried out first. `closures` is what the profiles of apps point to, by
    /// app; it counts where nothing is remembered of an app, before the seed of its definition.
    #[must_use]
    pub fn new(
        loaded: Loaded,
        snapshot: Snapshot,
        closures: &BTreeMap<String, String>,
        now: Now,
    ) -> (Self, Vec<Effect>) {
        let _ = closures;
        let names = loaded.definitions.keys().chain(loaded.broken.keys());
        let mut machine = Self {
            units: names.map(|name| (name.clone(), Unit::default())).collect(),
            graph: Graph::new(&loaded.definitions),
            loaded,
            strays: BTreeMap::new(),
            power: None,
            power_memo: Vec::new(),
            pending: BTreeMap::new(),
            timers: BTreeSet::new(),
            dirty: BTreeSet::new(),
            restless: BTreeSet::new(),
            touched: BTreeSet::new(),
            effects: Vec::new(),
            now,
        };
        machine.adopt(snapshot);
        let effects = machine.finish();
        for unit in machine.units.values_mut() {
            unit.is_adopted = false;
        }
        (machine, effects)
    }

    /// Takes one event and says what to do.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        self.now = self.now.max(now);
        match event {
            Event::Started { key, incarnation, pid, started_ns: _ } => {
                self.started(&key, incarnation, pid);
            }
            Event::SpawnFailed { key, incarnation, step, errno } => {
                self.spawn_failed(&key, incarnation, &step, errno);
            }
            Event::Exited { key, incarnation, end, emptied } => {
                self.exited(&key, incarnation, end, emptied);
            }
            Event::Emptied { key, incarnation } => self.emptied(&key, incarnation),
            Event::Stuck { key, incarnation, pids, wchan } => {
                self.stuck(&key, incarnation, pids, &wchan);
            }
            Event::Notified { key, incarnation, notification, sender_pid: _ } => {
                self.notified(&key, incarnation, notification);
            }
            Event::Command { id, verb, key } => self.command(id, verb, key),
            Event::Swap { id, app, .. } | Event::RenewTask { id, app, .. } => {
                let result = Err(self.unknown(&app));
                self.effects.push(Effect::Reply { id, result });
            }
            Event::RunTask { id, app, .. } => {
                let result = Err(self.unknown(&app));
                self.effects.push(Effect::TaskReply { id, result });
            }
            Event::Power { kind } => self.power_wanted(kind),
            Event::Grouped { .. } | Event::QueueEmpty { .. } | Event::Tick => {}
        }
        self.finish()
    }

    /// PID 1 sent its snapshot again, since events may have been dropped: learns what it missed.
    /// Memos are not read, the machine knows better. Pending commands stay.
    pub fn resync(&mut self, now: Now, snapshot: Snapshot) -> Vec<Effect> {
        self.now = self.now.max(now);
        self.meet_runs(&snapshot);
        self.finish()
    }

    /// When [`Event::Tick`] is due; none: nothing waits for a time.
    #[must_use]
    pub fn deadline(&self) -> Option<Now> {
        let timer_ns = self.timers.first().map(|(at_ns, _)| *at_ns);
        let power_ns = self.power.filter(|power| !power.handed_over).map(|power| power.deadline_ns);
        timer_ns.into_iter().chain(power_ns).min().map(Now)
    }

    /// What to spawn for a key.
    #[must_use]
    pub fn definition(&self, key: &str) -> Option<&Definition> {
        self.loaded.definitions.get(key)
    }

    /// What a key of PID 1 stands for.
    #[must_use]
    pub fn place<'a>(&self, key: &'a str) -> Place<'a> {
        let Some((app, part)) = key.rsplit_once('.').filter(|(app, _)| self.is_app(app)) else {
            return Place::Service;
        };
        let side = Side::BOTH.into_iter().find(|side| side.index().to_string() == part);
        let task = Task::ALL.into_iter().find(|task| task.word() == part);
        match (side, task) {
            (Some(side), _) => Place::Side { app, side },
            (_, Some(task)) => Place::Task { app, task },
            _ => Place::Service,
        }
    }

    fn is_app(&self, name: &str) -> bool {
        self.loaded.apps.contains_key(name)
    }

    /// All apps by name, as they are now.
    #[must_use]
    pub fn apps(&self) -> Vec<AppView> {
        Vec::new()
    }

    /// An app's definition.
    #[must_use]
    pub fn app(&self, name: &str) -> Option<&App> {
        self.loaded.apps.get(name)
    }

    /// All that was loaded, with its problems.
    #[must_use]
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Lets everybody look around, then gives out the effects.
    fn finish(&mut self) -> Vec<Effect> {
        self.learn();
        self.expire();
        self.settle();
        self.power_check();
        self.reply_pending();
        let mut effects = self.memos();
        effects.append(&mut self.effects);
        effects
    }

    /// The memos of all that changed, and their timers.
    fn memos(&mut self) -> Vec<Effect> {
        let mut memos = Vec::new();
        if let Some(bytes) = self.power.map(|power| memory::encode(&power))
            && bytes != self.power_memo
        {
            self.power_memo.clone_from(&bytes);
            memos.push(Effect::Memo { key: SUPERVISOR_KEY.to_owned(), bytes });
        }
        for key in std::mem::take(&mut self.touched) {
            let Some(unit) = self.units.get_mut(&key) else { continue };
            let bytes = memory::encode(&unit.memory);
            if bytes != unit.memo {
                unit.memo.clone_from(&bytes);
                memos.push(Effect::Memo { key, bytes });
            }
        }
        memos
    }

    /// Moves on those whose time has come.
    fn expire(&mut self) {
        while let Some((at_ns, key)) = self.timers.first().cloned()
            && at_ns <= self.now.0
        {
            self.timers.remove(&(at_ns, key.clone()));
            if let Some(unit) = self.units.get_mut(&key) {
                unit.timer_ns = None;
            }
            self.expired(&key);
        }
    }

    fn expired(&mut self, key: &str) {
        let Some(unit) = self.units.get_mut(key) else { return };
        match unit.memory.phase {
            // One that waits for its turn to go down is not hurried.
            Phase::Starting { .. } if unit.down.is_none() => self.ready_timeout(key),
            Phase::Leaving { .. } => {
                self.stop(key, memory::Then::Judge, "it takes too long to end")
            }
            Phase::Backoff { .. } => {
                unit.memory.restarts = unit.memory.restarts.saturating_add(1);
                self.enter(key, Phase::Idle);
            }
            _ => {}
        }
    }

    /// Changes the phase of a service; it and its neighbours will look around.
    fn enter(&mut self, key: &str, phase: Phase) {
        let Some(unit) = self.units.get_mut(key) else { return };
        unit.memory.phase = phase;
        unit.memory.since_ns = self.now.0;
        if !phase.is_living() {
            unit.memory.pid = 0;
            unit.memory.main_pid = 0;
            unit.memory.stuck.clear();
        }
        self.set_timer(key);
        self.touch(key);
    }

    fn set_timer(&mut self, key: &str) {
        let Some(unit) = self.units.get_mut(key) else { return };
        let timer_ns = unit.memory.phase.timer_ns();
        if let Some(at_ns) = std::mem::replace(&mut unit.timer_ns, timer_ns) {
            self.timers.remove(&(at_ns, key.to_owned()));
        }
        self.timers.extend(timer_ns.map(|at_ns| (at_ns, key.to_owned())));
    }

    fn touch(&mut self, key: &str) {
        self.touched.insert(key.to_owned());
        self.dirty.insert(key.to_owned());
    }

    fn report(&mut self, key: &str, incarnation: u64, what: What) {
        let record = Record { at_ns: self.now.0, key: key.to_owned(), incarnation, what };
        self.effects.push(Effect::Report(record));
    }

    /// Says something of a service's newest run.
    fn tell(&mut self, key: &str, what: What) {
        let incarnation = self.units.get(key).map_or(0, |unit| unit.memory.incarnation);
        self.report(key, incarnation, what);
    }

    /// How a service is stopped; by the defaults if its definition is broken or gone.
    fn stop_policy(&self, key: &str) -> definition::Stop {
        self.definition(key).map(|definition| definition.stop).unwrap_or_default()
    }

    /// What is done when it ends. A broken service rests: it cannot start anyhow.
    fn restart_policy(&self, key: &str) -> Restart {
        let rest = Restart {
            policy: Policy::No,
            backoff_min_ms: 0,
            backoff_max_ms: 0,
            reset_after_ms: 0,
            intensity: None,
        };
        self.definition(key).map_or(rest, |definition| definition.restart)
    }
}
