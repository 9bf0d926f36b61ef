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
//! - **Reload.** Who is defined anew comes up, who is no longer defined goes down and is forgotten,
//!   in the stop order, and a run that cannot stay as it was started ends like one that its app
//!   has left behind. Nobody else is touched.
//! - **Power.** Everything goes down in the same order under one deadline; then PID 1 takes over.
//!
//! # How it works
//!
//! An event changes the memory of one service. Then every service whose surroundings changed looks
//! around ([`order`](self)) until nobody has anything to do. Effects come out last: memos of all
//! that changed, then what to do, then answers to operators.

mod adopt;
mod apps;
mod command;
mod credentials;
mod memory;
mod order;
mod power;
mod reload;
mod restart;
mod runs;
mod show;
mod timeline;

use crate::Now;
use crate::app::Place;
use crate::definition::{self, Definition, Loaded, Policy, Restart};
use crate::effect::Effect;
use crate::event::Event;
use crate::graph::Graph;
use crate::record::{Record, What};
use crate::snapshot::Snapshot;
use apps::{AppState, Lease, SwapWaiting, TaskOrder, TaskWaiting};
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
    /// Services, sides of apps, and tasks that were run, by their keys in PID 1.
    units: BTreeMap<String, Unit>,
    apps: BTreeMap<String, AppState>,
    /// What sides and tasks run, by key.
    expanded: BTreeMap<String, Definition>,
    /// Names that are no longer defined and still have a unit, with what they said of others.
    departing: BTreeMap<String, Option<Definition>>,
    /// How runs are stopped that were started by a definition not in force any more, by key.
    former_stops: BTreeMap<String, definition::Stop>,
    /// Living runs that should not be: of keys without a definition, or older than the newest.
    strays: BTreeMap<(String, u64), Stray>,
    power: Option<Power>,
    power_memo: Vec<u8>,
    pending: BTreeMap<String, Vec<Pending>>,
    /// Steps of swaps that are not taken yet, by app.
    swap_waiting: BTreeMap<String, Vec<SwapWaiting>>,
    task_waiting: Vec<TaskWaiting>,
    /// What is there of credentials, by service or app.
    held: BTreeMap<String, credentials::Held>,
    /// (time, service or app's memo key), for the phases that time moves on.
    timers: BTreeSet<(u64, String)>,
    /// Services whose surroundings changed: what they mean to others must be learnt anew.
    dirty: BTreeSet<String>,
    /// Services that may have something to do.
    restless: BTreeSet<String>,
    /// Apps that may have a step to take.
    restless_apps: BTreeSet<String>,
    /// Services, and memo keys of apps, whose memory may have changed in this step.
    touched: BTreeSet<String>,
    /// The last memos of units that this step forgets.
    last_memos: Vec<Effect>,
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
        let names = loaded.definitions.keys().chain(loaded.broken.keys());
        let mut machine = Self {
            units: names.map(|name| (name.clone(), Unit::default())).collect(),
            apps: BTreeMap::new(),
            expanded: BTreeMap::new(),
            graph: Graph::new(loaded.nodes()),
            loaded,
            departing: BTreeMap::new(),
            former_stops: BTreeMap::new(),
            strays: BTreeMap::new(),
            power: None,
            power_memo: Vec::new(),
            pending: BTreeMap::new(),
            swap_waiting: BTreeMap::new(),
            task_waiting: Vec::new(),
            held: BTreeMap::new(),
            timers: BTreeSet::new(),
            dirty: BTreeSet::new(),
            restless: BTreeSet::new(),
            restless_apps: BTreeSet::new(),
            touched: BTreeSet::new(),
            last_memos: Vec::new(),
            effects: Vec::new(),
            now,
        };
        machine.adopt(snapshot, closures);
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
            Event::Swap { id, app, swap, verb } => self.swap_verb(id, &app, swap, verb),
            Event::RunTask { id, app, swap, task, program, closure, lease_ms, until_ns, fence } => {
                let (app, swap, closure) = (&app, &swap, &closure);
                let program = &program;
                let lease = Lease { lease_ms, until_ns };
                let order = TaskOrder { app, swap, task, program, closure, lease, fence };
                self.run_task(id, &order);
            }
            Event::RenewTask { id, app, swap, task, lease_ms, until_ns } => {
                self.renew_task(id, &app, &swap, task, Lease { lease_ms, until_ns });
            }
            Event::Grouped { app, request, failure } => self.grouped(&app, request, failure),
            Event::QueueEmpty { app, request } => self.queue_empty(&app, request),
            Event::Credentials { owner, present, problems, changed } => {
                self.credentials(&owner, present, problems, &changed);
            }
            Event::Power { kind, within_ms } => self.power_wanted(kind, within_ms),
            Event::Tick => {}
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

    /// What to spawn for a key: a service, a side of an app that has a closure, or a task.
    #[must_use]
    pub fn definition(&self, key: &str) -> Option<&Definition> {
        self.expanded.get(key).or_else(|| self.loaded.definitions.get(key))
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
        self.settle_credentials();
        self.power_check();
        self.reply_pending();
        self.reply_swaps();
        self.reply_tasks();
        let mut effects = self.memos();
        effects.append(&mut self.effects);
        effects
    }

    /// The memos of all that changed, and their timers.
    fn memos(&mut self) -> Vec<Effect> {
        let mut memos = std::mem::take(&mut self.last_memos);
        if let Some(bytes) = self.power.map(|power| memory::encode(&power))
            && bytes != self.power_memo
        {
            self.power_memo.clone_from(&bytes);
            memos.push(Effect::Memo { key: SUPERVISOR_KEY.to_owned(), bytes });
        }
        for (app, state) in &mut self.apps {
            if self.touched.remove(&apps::memo_key(app)) {
                memos.extend(state.remember(app));
            }
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
        if let Some(app) = apps::app_of_memo(key) {
            self.app_expired(app);
            return;
        }
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
        unit.memory.first.note(phase, unit.memory.since_ns, self.now.0);
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
        if let Place::Side { app, .. } = self.place(key) {
            self.restless_apps.insert(app.to_owned());
        }
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
        if let Some(former) = self.former_stops.get(key) {
            return *former;
        }
        self.policy(key).map(|definition| definition.stop).unwrap_or_default()
    }

    /// What is done when it ends. A broken service rests: it cannot start anyhow. A task is over.
    fn restart_policy(&self, key: &str) -> Restart {
        let rest = Restart {
            policy: Policy::No,
            backoff_min_ms: 0,
            backoff_max_ms: 0,
            reset_after_ms: 0,
            intensity: None,
        };
        match self.place(key) {
            Place::Task { .. } => rest,
            _ => self.policy(key).map_or(rest, |definition| definition.restart),
        }
    }
}
