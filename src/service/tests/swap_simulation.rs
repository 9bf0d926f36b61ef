//! Swaps against a model of PID 1, of the kernel's socket groups and of an agent that says
//! anything at any time, over random orders of events, late and repeated deliveries, refused
//! socket calls, deaths of the supervisor between any two effects, operators and power-offs. A
//! failure prints its actions, shrunk, and its seed is kept in `swap_simulation.regressions`.
//!
//! What is proven on the way and at the end:
//! - users reach no side that was not admitted, and always one while a side listens
//!   ([`World::check_users`]); the gate is in force before a candidate is spawned, and no side is
//!   retired or taken back while users go to it ([`World::check_effect`]);
//! - each side is told its own port ([`World::check_port`]), and sides that have one are never
//!   steered;
//! - never two sides without a swap; after `retire` the candidate alone, after `abandon` the old
//!   side alone, each with its own closure ([`World::check_reply`], [`World::check_rested`]);
//! - every verb is answered once; a task ends once for a swap, and never runs without a lease;
//! - a death of the supervisor is not seen: the next one shows the same and only steers again
//!   ([`World::check_shadow`]).

#[path = "swap_simulation/group.rs"]
mod group;
#[path = "swap_simulation/life.rs"]
mod life;
#[allow(dead_code, reason = "tests/simulation.rs, another program, uses what is unused here")]
#[path = "simulation/pid1.rs"]
mod pid1;

use group::Group;
use pid1::{Pid1, RunId};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use service::definition::{self, Loaded};
use service::event::PowerKind;
use service::snapshot::RunState;
use service::view::SwapPhase;
use service::{AppView, Cause, Task, Verb};
use service::{Effect, Event, Machine, Now, Outcome, Place, Program, Side, State, SwapVerb};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const APPS: [&str; 4] = ["web", "job", "new", "own"];
const NAMES: [&str; 6] = ["web", "job", "new", "own", "db", "proxy"];

fn load() -> Loaded {
    let file = |name: &str, text: &str| (name.to_owned(), format!("{name}.toml"), text.to_owned());
    let restart = "restart.policy = 'on-failure'\nrestart.intensity = 2\n";
    definition::load(vec![
        file("db", "[service]\nexec = ['/bin/db']"),
        file("web", "[app]\nclosure = '/c/seed'\nrequires = ['db']\nlisten.http = '[::]:80'"),
        file("job", &format!("[app]\nclosure = '/c/seed'\n{restart}kind = 'notify'")),
        file("new", "[app]\nlisten.http = '[::]:81'"),
        file("own", "[app]\nclosure = '/c/seed'\nports = [4000, 4001]"),
        file("proxy", "[service]\nexec = ['/bin/proxy']\nrequires = ['web']"),
    ])
}

#[derive(Clone, Debug)]
enum Action {
    Deliver {
        pick: u8,
        again: bool,
    },
    Exec {
        pick: u8,
        works: bool,
    },
    Notify {
        pick: u8,
    },
    Exit {
        pick: u8,
        status: i32,
        emptied: bool,
    },
    Empty {
        pick: u8,
    },
    Shut {
        pick: u8,
    },
    QueueEmpty {
        app: u8,
    },
    Advance {
        duration_ms: u64,
    },
    Command {
        verb: Verb,
        name: u8,
    },
    /// A verb of the agent for the newest swap, or one of the two before it.
    Swap {
        app: u8,
        verb: u8,
        age: u8,
    },
    Task {
        app: u8,
        task: u8,
        age: u8,
        renew: bool,
    },
    /// From now on socket calls work or not.
    Refuse {
        refuse: bool,
    },
    Die {
        after: u8,
    },
    Resync,
    Power,
}

fn action() -> impl Strategy<Value = Action> {
    let status = prop_oneof![Just(0), Just(256), Just(9), Just(15)];
    let verb = prop_oneof![2 => Just(Verb::Start), 1 => Just(Verb::Stop), 1 => Just(Verb::Restart)];
    let age = prop_oneof![6 => Just(0_u8), 1 => Just(1), 1 => Just(2)];
    let app = prop_oneof![3 => Just(0_u8), 1 => Just(1), 1 => Just(2), 2 => Just(3)];
    prop_oneof![
        40 => (any::<u8>(), prop::bool::weighted(0.1))
            .prop_map(|(pick, again)| Action::Deliver { pick, again }),
        20 => (any::<u8>(), prop::bool::weighted(0.9))
            .prop_map(|(pick, works)| Action::Exec { pick, works }),
        8 => any::<u8>().prop_map(|pick| Action::Notify { pick }),
        8 => (any::<u8>(), status, prop::bool::weighted(0.7))
            .prop_map(|(pick, status, emptied)| Action::Exit { pick, status, emptied }),
        8 => any::<u8>().prop_map(|pick| Action::Empty { pick }),
        3 => any::<u8>().prop_map(|pick| Action::Shut { pick }),
        8 => (0..4_u8).prop_map(|app| Action::QueueEmpty { app }),
        8 => prop_oneof![0..500_u64, 0..40_000_u64]
            .prop_map(|duration_ms| Action::Advance { duration_ms }),
        3 => (verb, 0..6_u8).prop_map(|(verb, name)| Action::Command { verb, name }),
        25 => (app.clone(), 0..6_u8, age.clone())
            .prop_map(|(app, verb, age)| Action::Swap { app, verb, age }),
        6 => (app, 0..3_u8, age, any::<bool>())
            .prop_map(|(app, task, age, renew)| Action::Task { app, task, age, renew }),
        4 => any::<bool>().prop_map(|refuse| Action::Refuse { refuse }),
        6 => (0..12_u8).prop_map(|after| Action::Die { after }),
        1 => Just(Action::Resync),
        1 => prop::bool::weighted(0.2).prop_map(|power| match power {
            true => Action::Power,
            false => Action::Resync,
        }),
    ]
}

/// What the model knows of an app.
#[derive(Debug, Default)]
struct Known {
    group: Group,
    /// Swaps that the agent wanted admitted.
    admitted: BTreeSet<String>,
    /// Its group could not be steered when it was last tried.
    refused: bool,
    /// What served before each swap, by its id: a late verb may begin one anew.
    before: BTreeMap<String, Option<String>>,
    /// Number of the newest swap.
    swap: u32,
}

/// Whether the kernel tells who takes a connection.
fn has_group(app: &str) -> bool {
    !matches!(app, "job" | "own")
}

fn swap_id(app: &str, number: u32) -> String {
    format!("{app}-{number}")
}

fn closure(swap: &str) -> String {
    format!("/c/{swap}")
}

struct World {
    pid1: Pid1,
    machine: Machine,
    loaded: Loaded,
    apps: BTreeMap<String, Known>,
    /// What each living run of a side runs.
    programs: BTreeMap<RunId, String>,
    /// Tasks that ended by themselves: key and swap.
    ended_tasks: BTreeSet<(String, String)>,
    task_swaps: BTreeMap<RunId, String>,
    open: BTreeMap<u64, (String, String, Option<SwapVerb>)>,
    command_last: u64,
    dies_after: Option<u8>,
    refuse: bool,
    /// What the shell tells the machine next, before anything else.
    caused: VecDeque<Event>,
}

impl World {
    fn new() -> Self {
        let (loaded, pid1) = (load(), Pid1::default());
        assert_eq!(loaded.problems, []);
        let (machine, effects) =
            Machine::new(loaded.clone(), pid1.snapshot(), &BTreeMap::new(), Now(0));
        let apps = APPS.map(|app| (app.to_owned(), Known::default()));
        let mut world = Self {
            pid1,
            machine,
            loaded,
            apps: BTreeMap::from(apps),
            programs: BTreeMap::new(),
            ended_tasks: BTreeSet::new(),
            task_swaps: BTreeMap::new(),
            open: BTreeMap::new(),
            command_last: 0,
            dies_after: None,
            refuse: false,
            caused: VecDeque::new(),
        };
        world.carry_out(effects);
        world
    }

    fn now(&self) -> Now {
        Now(self.pid1.now_ns)
    }

    fn step(&mut self, event: Event) {
        let effects = self.machine.step(self.now(), event);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, mut effects: Vec<Effect>) {
        loop {
            let mut died = false;
            for effect in effects {
                if let Some(after) = &mut self.dies_after {
                    died = *after == 0;
                    if died {
                        break;
                    }
                    *after -= 1;
                }
                self.check_effect(&effect);
                let steers = matches!(effect, Effect::Spawn { .. } | Effect::Group { .. });
                self.do_one(effect);
                if steers {
                    self.check_users();
                }
            }
            effects = match self.caused.pop_front() {
                _ if died => self.come_back(),
                Some(event) => self.machine.step(self.now(), event),
                None => return,
            };
        }
    }

    fn come_back(&mut self) -> Vec<Effect> {
        self.dies_after = None;
        self.open.clear();
        self.caused.clear();
        let snapshot = self.pid1.snapshot();
        let (machine, effects) =
            Machine::new(self.loaded.clone(), snapshot, &BTreeMap::new(), self.now());
        self.machine = machine;
        self.pid1.events_replaced();
        for known in self.apps.values_mut() {
            known.group.forget();
        }
        effects
    }

    fn runs(&self, key: &str) -> bool {
        self.pid1.runs.values().any(|known| known.run.key == key && !known.is_stopped())
    }

    fn do_one(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn { key, incarnation } => self.spawn(&key, incarnation),
            Effect::Reply { id, result } => {
                let open = self.open.remove(&id).expect("answered twice");
                self.check_reply(&open, result.as_ref().ok());
            }
            Effect::TaskReply { id, .. } => {
                self.open.remove(&id).expect("answered twice");
            }
            Effect::Group { app, request, first, program } => {
                assert!(has_group(&app), "{app} is steered");
                let failure = self.refuse.then(|| "no".to_owned());
                let known = self.apps.get_mut(&app).expect("an app");
                known.refused = failure.is_some();
                known.group.ask(first, program);
                if failure.is_none() {
                    self.arrange(&app);
                }
                self.caused.push_back(Event::Grouped { app, request, failure });
            }
            Effect::AwaitEmpty { app, request, .. } => {
                self.apps.get_mut(&app).expect("an app").group.awaited = Some(request);
            }
            effect => self.pid1.apply(effect),
        }
    }

    fn arrange(&mut self, app: &str) {
        let view = self.view(app);
        let runs = [Some(view.serving), view.candidate];
        let lives =
            |side| runs.iter().flatten().any(|run| run.side == side && run.view.pid.is_some());
        self.apps.get_mut(app).expect("an app").group.arrange(lives);
    }

    /// The shell arranges the sockets of a side before PID 1 has them listen; if it cannot, PID 1
    /// never hears of the spawn.
    fn arrange_for(&mut self, key: &str) -> Result<(), ()> {
        let Place::Side { app, .. } = self.machine.place(key) else { return Ok(()) };
        if self.refuse && self.apps[app].group.is_asked() {
            return Err(());
        }
        let app = app.to_owned();
        self.arrange(&app);
        Ok(())
    }

    fn spawn(&mut self, key: &str, incarnation: u64) {
        if self.arrange_for(key).is_err() {
            let (key, step, errno) = (key.to_owned(), "listen: no".to_owned(), 0);
            self.caused.push_back(Event::SpawnFailed { key, incarnation, step, errno });
            return;
        }
        let definition = self.machine.definition(key).expect("something to run").clone();
        self.pid1.spawn(key, incarnation);
        self.check_port(key, definition.environment.get("PORT"));
        let id = (key.to_owned(), incarnation);
        self.programs.entry(id.clone()).or_insert_with(|| definition.exec[0].clone());
        match self.machine.place(key) {
            Place::Side { app, side } if has_group(app) => {
                self.apps.get_mut(app).expect("an app").group.join(side);
            }
            Place::Side { .. } => {}
            Place::Task { .. } => {
                let swap = definition.exec[1].clone();
                let once = (key.to_owned(), swap.clone());
                assert!(!self.ended_tasks.contains(&once), "{key} runs again for {swap}");
                self.task_swaps.insert(id, swap);
            }
            Place::Service => {}
        }
    }

    /// A side binds the port that is its own and nobody else's.
    fn check_port(&self, key: &str, port: Option<&String>) {
        let Place::Side { app: "own", side } = self.machine.place(key) else {
            let is_task = key.starts_with("own.");
            assert!(port.is_none() || is_task, "{key} is told a port");
            return;
        };
        let own = ["4000", "4001"][side.index()];
        assert_eq!(port.map(String::as_str), Some(own), "{key}");
    }

    fn view(&self, app: &str) -> AppView {
        self.machine.apps().into_iter().find(|view| view.name == app).expect("an app")
    }

    /// Sides that users may reach: who served, and a candidate only if the agent said so.
    fn allowed(&self, view: &AppView) -> Vec<Side> {
        let mut sides = vec![view.serving.side];
        let Some(swap) = view.swap.as_ref().filter(|_| view.candidate.is_some()) else {
            return sides;
        };
        let admitted = self.apps[&view.name].admitted.contains(&swap.id);
        if matches!(swap.phase, SwapPhase::Admitted | SwapPhase::Retiring) {
            assert!(admitted, "nobody admitted {swap:?}");
        }
        let before = matches!(swap.phase, SwapPhase::Preparing | SwapPhase::Prepared);
        sides.extend(Some(view.serving.side.other()).filter(|_| admitted && !before));
        sides
    }

    /// Users reach a side that was admitted, unless the tenant of the one that serves shut its own
    /// socket and nobody has heard of it.
    fn check_users(&self) {
        for view in self.machine.apps() {
            let group = &self.apps[&view.name].group;
            if !has_group(&view.name) || group.shut.contains(&view.serving.side) {
                continue;
            }
            if let Some(side) = group.users() {
                let allowed = self.allowed(&view);
                assert!(allowed.contains(&side), "users reach {side}: {view:?} {group:?}");
            }
        }
    }

    fn check_effect(&self, effect: &Effect) {
        match effect {
            Effect::Spawn { key, .. } => {
                assert!(self.pid1.shutdown.is_none(), "{key} starts after the end");
                let Place::Side { app, side } = self.machine.place(key) else { return };
                let group = &self.apps[app].group;
                if has_group(app) && !self.allowed(&self.view(app)).contains(&side) {
                    assert_eq!(group.program, Some(Program::Gate), "{key} is not gated");
                    assert_eq!(group.users(), Some(side.other()), "{group:?}");
                }
            }
            Effect::Stop { key, incarnation, .. } => {
                let run = self.pid1.runs.get(&(key.clone(), *incarnation));
                // What a leader left behind when it ended has no users.
                if run.is_some_and(pid1::Known::has_leader) {
                    self.check_stop(key);
                }
            }
            _ => {}
        }
    }

    /// Who leaves for a swap has no users any more, unless the other one's tenant shut its socket.
    fn check_stop(&self, key: &str) {
        let Place::Side { app, side } = self.machine.place(key) else { return };
        let view = self.view(app);
        let held = !view.serving.view.desired_up
            || view.candidate.as_ref().is_some_and(|run| !run.view.desired_up);
        let required = app == "web" && !self.is_wanted("db");
        let Some(swap) = view.swap.filter(|_| view.candidate.is_some()) else { return };
        let leaver = match swap.phase {
            SwapPhase::Retiring => view.serving.side,
            SwapPhase::Abandoning => view.serving.side.other(),
            _ => return,
        };
        if held || required || leaver != side || self.machine.power().is_some() {
            return;
        }
        let group = &self.apps[app].group;
        if !group.shut.contains(&side.other()) {
            assert_ne!(group.users(), Some(side), "{key} is stopped with its users: {group:?}");
        }
    }

    fn is_wanted(&self, service: &str) -> bool {
        let views = self.machine.views();
        views.iter().any(|view| view.name == service && view.desired_up)
    }

    /// What a verb that worked promises.
    fn check_reply(
        &mut self,
        (app, swap, verb): &(String, String, Option<SwapVerb>),
        outcome: Option<&Outcome>,
    ) {
        let (Some(verb), Some(outcome)) = (verb, outcome) else { return };
        let view = self.view(app);
        let serving = view.serving.side;
        let current = view.swap.as_ref().is_some_and(|under_way| under_way.id == *swap);
        let alone = |known: &Known| known.group.listening.iter().all(|side| *side == serving);
        let known = self.apps.get_mut(app).expect("an app");
        match verb {
            SwapVerb::Prepare { closure } => {
                assert!(current, "{swap} is prepared and not there: {view:?}");
                assert_eq!(view.swap.map(|swap| swap.closure).as_ref(), Some(closure));
            }
            SwapVerb::Admit if *outcome == Outcome::Done && view.candidate.is_some() => {
                let phase = view.swap.map(|swap| swap.phase);
                if phase == Some(SwapPhase::Admitted) && has_group(app) {
                    assert_eq!(known.group.program, Some(Program::Switch));
                }
            }
            SwapVerb::Admit => {}
            SwapVerb::Retire if *outcome == Outcome::Done => {
                let steered = known.group.program.is_none_or(|program| program == Program::Alone);
                assert!(steered, "{known:?}");
                assert!(view.swap.is_none() && alone(known), "{view:?} {known:?}");
                assert_eq!(view.serving.closure, Some(closure(swap)));
                let other = serving.other();
                assert!(!self.runs(&other.key(app)), "{other} is still there");
            }
            SwapVerb::Abandon if *outcome == Outcome::Done => {
                assert!(view.swap.is_none() && alone(known), "{view:?} {known:?}");
                assert_eq!(Some(&view.serving.closure), known.before.get(swap));
                let other = serving.other();
                assert!(!self.runs(&other.key(app)), "{other} is still there");
            }
            SwapVerb::Retire | SwapVerb::Abandon => {}
        }
    }

    /// Were the supervisor to die now, nobody would see it: the next one shows the same, and does
    /// nothing but have groups, queues and leases as they are.
    fn check_shadow(&self) {
        let due = self.machine.deadline().is_some_and(|deadline| deadline <= self.now());
        let refused = self.apps.values().any(|known| known.refused);
        if !self.pid1.queue.is_empty() || due || self.dies_after.is_some() || refused {
            return;
        }
        let snapshot = self.pid1.snapshot();
        let (mut shadow, mut effects) =
            Machine::new(self.loaded.clone(), snapshot, &BTreeMap::new(), self.now());
        // The shell steers at once; only then the shadow knows what we know.
        for index in 0..effects.len() {
            if let Effect::Group { app, request, .. } = effects[index].clone() {
                let event = Event::Grouped { app, request, failure: None };
                effects.extend(shadow.step(self.now(), event));
            }
        }
        assert_eq!(shadow.views(), self.machine.views(), "a death shows");
        assert_eq!(shadow.apps(), self.machine.apps(), "a death shows");
        let acts = effects.iter().filter(|effect| {
            !matches!(
                effect,
                Effect::Report(_)
                    | Effect::Group { .. }
                    | Effect::AwaitEmpty { .. }
                    | Effect::Deadline { .. }
            )
        });
        let acts: Vec<_> = acts.collect();
        assert!(acts.is_empty(), "a new supervisor does {acts:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(300),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/swap_simulation.regressions",
        ))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_swap_ends_with_one_side(actions in prop::collection::vec(action(), 0..150)) {
        let mut world = World::new();
        for action in actions {
            world.act(action);
            world.check_users();
            world.check_shadow();
        }
        world.rest();
        world.check_rested();
    }
}
