//! Years of a host's life in a second: the machine against a model of PID 1, over random orders of
//! events, repeated deliveries, deaths of the supervisor between any two effects, clock jumps,
//! operators and power-offs. A failure prints its actions, shrunk, and its seed is kept in
//! `simulation.regressions`.
//!
//! What is proven on the way and at the end:
//! - never two living runs of a service ([`Pid1::spawn`]);
//! - no service starts before what it requires is ready, nor while one it is ordered after is on
//!   its way up; at a power-off nobody is stopped before its followers ([`World::check_order`]);
//! - an end counts once ([`Pid1::apply`]), every tombstone is forgotten, every command answered
//!   once, no service is forgotten, and all comes to rest ([`World::rest`]);
//! - `status` is the same before and after a death of the supervisor, which then has nothing to do
//!   ([`World::check_shadow`]).

#[path = "simulation/pid1.rs"]
mod pid1;

use pid1::{Pid1, RunId, event_key};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use service::definition::{self, Kind, Loaded};
use service::event::PowerKind;
use service::graph::Graph;
use service::reload::Difference;
use service::snapshot::RunState;
use service::{Effect, Event, Machine, Now, State, Verb, View};
use std::collections::{BTreeMap, BTreeSet};

/// Every kind, edge and policy, a broken one, and one that requires it.
const POOL: [(&str, &str); 8] = [
    ("a", "kind = 'simple'"),
    ("b", "kind = 'notify'\nrequires = ['a']\nready.timeout = '5s'"),
    ("c", "after = ['b']\nstop.scope = 'leader'"),
    ("d", "kind = 'oneshot'\nbefore = ['a']\nrestart.policy = 'on-failure'\nready.timeout = '9s'"),
    (
        "e",
        "kind = 'notify'\nrequires = ['b']\nwants = ['d']\n[service.restart]\n\
         policy = 'on-failure'\nintensity = 2\nperiod = '30s'\nreset-after = '3s'",
    ),
    ("f", "after = ['e', 'c']\nrestart.policy = 'no'"),
    ("g", "colour = 'blue'"),
    ("h", "requires = ['g']\nstop.timeout = '2s'"),
];

/// Which of the pool are defined, and which of those otherwise than at first.
#[derive(Clone, Copy, Debug)]
struct Files {
    mask: u8,
    variant: u8,
}

const ALL: Files = Files { mask: 0xff, variant: 0 };

fn load(Files { mask, variant }: Files) -> Loaded {
    let is_in = |index: &usize| mask & (1 << index) != 0;
    let file = |index: usize| {
        let (name, body) = POOL[index];
        let other = if variant & (1 << index) != 0 { "umask = '0077'" } else { "" };
        let text = format!("[service]\nexec = ['/bin/{name}']\n{other}\n{body}\n");
        (name.to_owned(), format!("{name}.toml"), text)
    };
    definition::load((0..POOL.len()).filter(is_in).map(file).collect())
}

/// The kind by which a run was started, whatever became of its file.
fn kind(name: &str) -> Option<Kind> {
    let (_, body) = POOL.iter().find(|(known, _)| *known == name)?;
    let kind = if body.contains("'notify'") { Kind::Notify } else { Kind::Simple };
    Some(if body.contains("'oneshot'") { Kind::Oneshot } else { kind })
}

#[derive(Clone, Debug)]
enum Action {
    /// Deliver the first event of some service, and perhaps keep it to come again.
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
        ready: bool,
        stopping: bool,
    },
    Exit {
        pick: u8,
        status: i32,
        emptied: bool,
    },
    Empty {
        pick: u8,
    },
    Stuck {
        pick: u8,
    },
    /// Time passes, with a tick or with the machine asleep.
    Advance {
        duration_ms: u64,
        tick: bool,
    },
    Command {
        verb: Verb,
        key: u8,
    },
    /// The supervisor dies after so many more effects, and finds these definitions when it is back;
    /// else those in force.
    Die {
        after: u8,
        mask: Option<u8>,
    },
    /// Other definitions come into force.
    Reload {
        mask: u8,
        variant: u8,
    },
    Resync,
    Power {
        kind: PowerKind,
    },
}

fn action() -> impl Strategy<Value = Action> {
    let status = prop_oneof![Just(0), Just(256), Just(9), Just(15)];
    let verb = prop_oneof![Just(Verb::Start), Just(Verb::Stop), Just(Verb::Restart)];
    let mask = prop_oneof![8 => Just(None), 1 => any::<u8>().prop_map(Some)];
    let most = prop_oneof![2 => Just(0xff_u8), 1 => any::<u8>()];
    let few =
        prop_oneof![1 => Just(0_u8), 3 => (0..8_u8).prop_map(|bit| 1 << bit), 1 => any::<u8>()];
    prop_oneof![
        40 => (any::<u8>(), prop::bool::weighted(0.1))
            .prop_map(|(pick, again)| Action::Deliver { pick, again }),
        20 => (any::<u8>(), prop::bool::weighted(0.9))
            .prop_map(|(pick, works)| Action::Exec { pick, works }),
        15 => (any::<u8>(), prop::bool::weighted(0.9), prop::bool::weighted(0.1))
            .prop_map(|(pick, ready, stopping)| Action::Notify { pick, ready, stopping }),
        10 => (any::<u8>(), status, prop::bool::weighted(0.7))
            .prop_map(|(pick, status, emptied)| Action::Exit { pick, status, emptied }),
        8 => any::<u8>().prop_map(|pick| Action::Empty { pick }),
        1 => any::<u8>().prop_map(|pick| Action::Stuck { pick }),
        10 => (prop_oneof![0..500_u64, 0..100_000_u64], any::<bool>())
            .prop_map(|(duration_ms, tick)| Action::Advance { duration_ms, tick }),
        8 => (verb, 0..9_u8).prop_map(|(verb, key)| Action::Command { verb, key }),
        6 => (0..12_u8, mask).prop_map(|(after, mask)| Action::Die { after, mask }),
        4 => (most, few).prop_map(|(mask, variant)| Action::Reload { mask, variant }),
        2 => Just(Action::Resync),
        1 => prop_oneof![Just(PowerKind::PowerOff), Just(PowerKind::Reboot)]
            .prop_map(|kind| Action::Power { kind }),
    ]
}

struct World {
    pid1: Pid1,
    machine: Machine,
    loaded: Loaded,
    /// The files that `loaded` is of, once the supervisor has said so to the end.
    files: Files,
    /// Names that a reload removed.
    removed: Vec<String>,
    graph: Graph,
    /// Commands that were given to the living supervisor and not answered.
    open: BTreeSet<u64>,
    command_last: u64,
    /// Effects left to the supervisor before it dies, and the definitions after that.
    dies_after: Option<(u8, Option<u8>)>,
}

impl World {
    fn new() -> Self {
        let loaded = load(ALL);
        let pid1 = Pid1::default();
        let (machine, effects) =
            Machine::new(loaded.clone(), pid1.snapshot(), &BTreeMap::new(), Now(0));
        let graph = Graph::new(&loaded.definitions);
        let open = BTreeSet::new();
        let (files, removed, command_last, dies_after) = (ALL, Vec::new(), 0, None);
        let mut world =
            Self { pid1, machine, loaded, files, removed, graph, open, command_last, dies_after };
        world.carry_out(effects, false);
        world
    }

    fn now(&self) -> Now {
        Now(self.pid1.now_ns)
    }

    fn step(&mut self, event: Event) {
        let effects = self.machine.step(self.now(), event);
        self.carry_out(effects, true);
    }

    /// Does what the machine says, until the supervisor dies of it.
    fn carry_out(&mut self, mut effects: Vec<Effect>, mut by_step: bool) {
        // A supervisor that comes back may die again before it has done everything.
        loop {
            let mut died_for = None;
            for effect in effects {
                if let Some((after, mask)) = &mut self.dies_after {
                    if *after == 0 {
                        died_for = Some(*mask);
                        break;
                    }
                    *after -= 1;
                }
                self.check_order(&effect, by_step);
                self.do_one(effect);
            }
            let Some(mask) = died_for else { return };
            effects = self.come_back(mask);
            by_step = false;
        }
    }

    fn do_one(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn { key, incarnation } => self.pid1.spawn(&key, incarnation),
            Effect::Reply { id, .. } => {
                assert!(self.open.remove(&id), "command {id} was answered twice");
            }
            effect => self.pid1.apply(effect),
        }
    }

    fn come_back(&mut self, mask: Option<u8>) -> Vec<Effect> {
        self.dies_after = None;
        self.open.clear();
        self.removed.clear();
        self.files.mask = mask.unwrap_or(self.files.mask);
        self.loaded = load(self.files);
        self.graph = Graph::new(&self.loaded.definitions);
        let (machine, effects) =
            Machine::new(self.loaded.clone(), self.pid1.snapshot(), &BTreeMap::new(), self.now());
        self.machine = machine;
        self.pid1.events_replaced();
        self.pid1.snapshot_read(|key| kind(key) != Some(Kind::Simple));
        effects
    }

    /// As the shell does: the files are in force when all that follows from them was said. Of a
    /// supervisor that dies before, the next one finds those before.
    fn reload(&mut self, files: Files) {
        let loaded = load(files);
        let difference = Difference::between(&self.loaded, &loaded);
        if self.machine.may_reload(&loaded, &difference).is_err() {
            return;
        }
        self.removed.extend(difference.removed);
        let effects = self.machine.reload(self.now(), loaded.clone(), &BTreeMap::new());
        let whole = self.dies_after.is_none_or(|(after, _)| usize::from(after) >= effects.len());
        if whole {
            (self.graph, self.loaded) = (Graph::new(&loaded.definitions), loaded);
            self.files = files;
        }
        self.carry_out(effects, whole);
    }

    /// The machine knows all that the model does: how a service is, by the model alone.
    fn is_up(&self, key: &str) -> bool {
        if kind(key) == Some(Kind::Oneshot) {
            return self.view(key).is_some_and(|view| view.state == State::Done);
        }
        let mut runs = self.pid1.runs.values();
        runs.any(|known| known.run.key == key && known.ready_told && !known.end_told)
    }

    fn is_living(&self, key: &str) -> bool {
        self.pid1.runs.values().any(|known| known.run.key == key && !known.end_told)
    }

    fn view(&self, key: &str) -> Option<View> {
        self.machine.views().into_iter().find(|view| view.name == key)
    }

    fn check_order(&self, effect: &Effect, by_step: bool) {
        match effect {
            Effect::Spawn { key, .. } => {
                assert!(self.pid1.shutdown.is_none(), "{key} starts after the end");
                if !by_step {
                    // A spawn that was decided before the death may come after a change.
                    return;
                }
                for name in self.graph.requires(key) {
                    assert!(self.is_up(name), "{key} starts before {name} is ready");
                }
                for name in self.graph.after(key) {
                    let Some(view) = self.view(name) else { continue };
                    // One that waits for others to go down before it is not on its way up.
                    let going = view.problems.iter().any(|line| line.starts_with("is to stop"));
                    let coming = matches!(view.state, State::Waiting | State::Starting);
                    assert!(!coming || going, "{key} starts while {name} is {}", view.state);
                }
            }
            Effect::Stop { key, incarnation, .. } if by_step && self.machine.power().is_some() => {
                let run = self.pid1.runs.get(&(key.clone(), *incarnation));
                let was_up = run
                    .is_some_and(|known| known.ready_told && known.has_leader() && !known.leaving);
                for name in self.graph.followers(key).filter(|_| was_up) {
                    let stuck = self.view(name).is_some_and(|view| !view.problems.is_empty());
                    assert!(!self.is_living(name) || stuck, "{key} is stopped before {name}");
                }
            }
            _ => {}
        }
    }

    /// Were the supervisor to die now, nobody would see it: the next one shows the same and does
    /// nothing. Only where no event is on its way and no timer is due.
    fn check_shadow(&self) {
        let due = self.machine.deadline().is_some_and(|deadline| deadline <= self.now());
        // The next one does not wait for the order in which they go that it has never heard of.
        let departs = |name: &String| self.view(name).is_some_and(|view| view.source.is_empty());
        let departs = self.removed.iter().any(departs);
        if !self.pid1.queue.is_empty() || due || self.dies_after.is_some() || departs {
            return;
        }
        let snapshot = self.pid1.snapshot();
        let (shadow, effects) =
            Machine::new(self.loaded.clone(), snapshot, &BTreeMap::new(), self.now());
        for (after, before) in shadow.views().iter().zip(self.machine.views()) {
            assert_eq!(*after, before, "a death shows");
        }
        assert_eq!(shadow.views().len(), self.machine.views().len());
        assert_eq!(shadow.power().map(|p| p.kind), self.machine.power().map(|p| p.kind));
        assert_eq!(shadow.deadline(), self.machine.deadline());
        let silent = |effect: &Effect| matches!(effect, Effect::Report(_));
        let stuck_keys = |effect: &Effect| matches!(effect, Effect::ForgetKey { .. });
        let acts: Vec<_> =
            effects.iter().filter(|effect| !silent(effect) && !stuck_keys(effect)).collect();
        assert!(acts.is_empty(), "a new supervisor does {acts:?}");
    }

    fn pick(&self, pick: u8) -> Option<RunId> {
        let ids: Vec<&RunId> = self.pid1.runs.keys().collect();
        ids.get(usize::from(pick) % ids.len().max(1)).map(|id| (*id).clone())
    }

    /// Delivers an event that is the first of its service, as one connection would.
    fn deliver(&mut self, pick: u8, again: bool) {
        let mut seen = BTreeSet::new();
        let queue = &self.pid1.queue;
        let firsts: Vec<usize> =
            (0..queue.len()).filter(|index| seen.insert(event_key(&queue[*index]))).collect();
        let Some(index) = firsts.get(usize::from(pick) % firsts.len().max(1)).copied() else {
            return;
        };
        // Only what PID 1 sends comes at least once; a datagram comes once.
        let again = again && !matches!(queue[index], Event::Notified { .. });
        let event = if again { queue[index].clone() } else { self.pid1.queue.remove(index) };
        self.told(&event);
        self.step(event);
    }

    fn told(&mut self, event: &Event) {
        match event {
            Event::Started { key, incarnation, .. } if kind(key) == Some(Kind::Simple) => {
                if let Some(known) = self.pid1.runs.get_mut(&(key.clone(), *incarnation)) {
                    known.ready_told = true;
                }
            }
            Event::Notified { key, incarnation, notification, .. } if notification.ready => {
                let notifies = kind(key) == Some(Kind::Notify);
                if let Some(known) = self.pid1.runs.get_mut(&(key.clone(), *incarnation)) {
                    known.ready_told |= notifies;
                }
            }
            Event::Exited { key, incarnation, .. } => {
                if let Some(known) = self.pid1.runs.get_mut(&(key.clone(), *incarnation)) {
                    known.end_told = true;
                }
            }
            _ => {}
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Deliver { pick, again } => self.deliver(pick, again),
            Action::Advance { duration_ms, tick } => {
                self.pid1.advance(duration_ms);
                if tick {
                    self.step(Event::Tick);
                }
            }
            Action::Command { verb, key } => {
                let key = POOL.get(usize::from(key)).map_or("nobody", |(name, _)| *name);
                self.command_last += 1;
                self.open.insert(self.command_last);
                self.step(Event::Command { id: self.command_last, verb, key: key.to_owned() });
            }
            Action::Die { after, mask } => self.dies_after = Some((after, mask)),
            Action::Reload { mask, variant } => self.reload(Files { mask, variant }),
            Action::Resync => {
                let effects = self.machine.resync(self.now(), self.pid1.snapshot());
                self.pid1.snapshot_read(|key| kind(key) != Some(Kind::Simple));
                self.carry_out(effects, false);
            }
            Action::Power { kind } => self.step(Event::Power { kind, within_ms: None }),
            Action::Exec { pick, works } => self.with(pick, |pid1, id| pid1.exec(id, works)),
            Action::Notify { pick, ready, stopping } => {
                self.with(pick, |pid1, id| pid1.notify(id, ready, stopping));
            }
            Action::Exit { pick, status, emptied } => {
                self.with(pick, |pid1, id| pid1.exit(id, status, emptied));
            }
            Action::Empty { pick } => self.with(pick, Pid1::empty),
            Action::Stuck { pick } => self.with(pick, |pid1, (key, incarnation)| {
                let (key, incarnation) = (key.clone(), *incarnation);
                let wchan = "nfs_wait".to_owned();
                pid1.queue.push(Event::Stuck { key, incarnation, pids: vec![1, 2], wchan });
            }),
        }
    }

    fn with(&mut self, pick: u8, act: impl Fn(&mut Pid1, &RunId)) {
        if let Some(id) = self.pick(pick) {
            act(&mut self.pid1, &id);
        }
    }

    /// From now on all services behave and every event arrives: everything must come to rest.
    fn rest(&mut self) {
        self.dies_after = None;
        for _ in 0..400 {
            for id in self.pid1.runs.keys().cloned().collect::<Vec<_>>() {
                self.behave(&id);
            }
            while !self.pid1.queue.is_empty() {
                self.deliver(0, false);
            }
            self.check_shadow();
            let busy = self.pid1.runs.values().any(|known| !self.is_at_rest(&known.run.key));
            match self.machine.deadline() {
                Some(deadline) => {
                    let ahead_ns = deadline.0.saturating_sub(self.pid1.now_ns);
                    self.pid1.advance(ahead_ns / 1_000_000 + 1);
                    self.step(Event::Tick);
                }
                None if busy => {}
                None => return,
            }
        }
        panic!("no rest: {:#?}", self.machine.views());
    }

    fn is_at_rest(&self, key: &str) -> bool {
        let known: Vec<_> = self.pid1.runs.values().filter(|known| known.run.key == key).collect();
        known.len() == 1 && known[0].ready_told && known[0].run.stop_deadline_ns.is_none()
    }

    fn behave(&mut self, id: &RunId) {
        let kind = kind(&id.0);
        self.pid1.exec(id, true);
        let Some(known) = self.pid1.runs.get(id) else { return };
        if known.run.stop_deadline_ns.is_some() || known.run.state != RunState::Running {
            self.pid1.exit(id, 15, true);
            self.pid1.empty(id);
        } else if kind == Some(Kind::Oneshot) {
            self.pid1.exit(id, 0, true);
        } else if kind == Some(Kind::Notify) && !known.ready_told {
            self.pid1.notify(id, true, false);
        }
    }

    fn check_rested(&self) {
        assert_eq!(self.open, BTreeSet::new(), "commands without an answer");
        for known in self.pid1.runs.values() {
            assert!(known.has_leader(), "a tombstone stays: {known:?}");
        }
        if let Some(power) = self.machine.power() {
            assert!(self.pid1.shutdown.is_some(), "the {power:?} never comes");
            return;
        }
        let services: BTreeSet<&String> =
            self.loaded.definitions.keys().chain(self.loaded.broken.keys()).collect();
        let known: BTreeSet<&String> =
            self.pid1.keys.keys().filter(|key| !key.starts_with('@')).collect();
        assert_eq!(known, services, "PID 1 keeps who is defined");
        for view in self.machine.views() {
            let runs = self.pid1.runs.keys().filter(|(key, _)| *key == view.name).count();
            let expected = usize::from(view.state == State::Running);
            assert_eq!(runs, expected, "{view:?}");
            self.check_rested_state(&view);
        }
    }

    /// Who is not up at rest has a reason that the model can check.
    fn check_rested_state(&self, view: &View) {
        let name = view.name.as_str();
        match view.state {
            State::Running | State::Done => assert!(view.desired_up, "{view:?}"),
            State::Stopped if !view.desired_up => {}
            State::Stopped | State::Failed => {
                // Only who may rest or give up does; `always` without intensity never does.
                assert!(["d", "e", "f"].contains(&name), "{view:?}");
            }
            State::Blocked => {
                let up =
                    |name: &str| self.view(name).is_some_and(|view| view.state == State::Running);
                assert!(!self.graph.requires(name).all(up), "{view:?}");
            }
            State::Broken => assert!(self.loaded.broken.contains_key(name), "{view:?}"),
            _ => panic!("not at rest: {view:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1000),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/simulation.regressions",
        ))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_life_keeps_order_and_comes_to_rest(actions in prop::collection::vec(action(), 0..120)) {
        let mut world = World::new();
        for action in actions {
            world.act(action);
            world.check_shadow();
        }
        world.rest();
        world.check_rested();
    }
}
