//! No new credential is missed: a machine with one service, against a model of its program and of
//! the files, over random orders of rotations, starts, ends and deaths of the supervisor between
//! any two effects.
//!
//! The program reads its credential when it is born, and has no handler before it says that it is
//! ready: a signal would end it. What is proven:
//! - it is never started without its credential, and never signalled before it is ready;
//! - when a change is settled, whoever runs has the newest, or is on its way to a start with it:
//!   however often the supervisor died, since what is not settled is told to the next one.

use proptest::prelude::*;
use service::snapshot::{Key, Run, RunState, Snapshot};
use service::{Cause, Effect, End, Event, Machine, Notification, Now, definition};
use std::collections::{BTreeMap, BTreeSet};

const FILE: &str = "[service]\nexec = ['/bin/web']\nkind = 'notify'\n[service.credentials]\n\
                    key = { ssm = '/key', on-change = 'signal' }\n";

#[derive(Clone, Copy, Debug)]
enum Action {
    /// The credential is delivered, or another one.
    Rotate,
    /// It cannot be had.
    Problem,
    Exec,
    Ready,
    Exit,
    Advance,
    /// The supervisor dies after so many more effects.
    Die(u8),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => Just(Action::Rotate),
        1 => Just(Action::Problem),
        6 => Just(Action::Exec),
        6 => Just(Action::Ready),
        2 => Just(Action::Exit),
        3 => Just(Action::Advance),
        4 => (0..6_u8).prop_map(Action::Die),
    ]
}

/// A run of the program, and what it knows.
#[derive(Clone, Copy, Debug)]
struct Program {
    incarnation: u64,
    is_born: bool,
    is_ready: bool,
    is_stopped: bool,
    /// The newest secret that it has seen.
    sees: u64,
}

struct World {
    machine: Machine,
    now: Now,
    memo: Vec<u8>,
    incarnation_last: u64,
    program: Option<Program>,
    /// Number of the secret that lies there; 0: none.
    secret: u64,
    untold: bool,
    dies_after: Option<u8>,
}

impl World {
    fn new() -> Self {
        let (machine, effects) = machine(Snapshot::default(), Now(0));
        let (memo, program, dies_after) = (Vec::new(), None, None);
        let (now, incarnation_last, secret, untold) = (Now(0), 0, 0, false);
        let mut world =
            Self { machine, now, memo, incarnation_last, program, secret, untold, dies_after };
        world.carry_out(effects);
        world
    }

    fn step(&mut self, event: Event) {
        let effects = self.machine.step(self.now, event);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Some(after) = &mut self.dies_after {
                if *after == 0 {
                    self.dies_after = None;
                    return self.come_back();
                }
                *after -= 1;
            }
            self.do_one(effect);
        }
    }

    fn do_one(&mut self, effect: Effect) {
        match effect {
            Effect::Memo { bytes, .. } => self.memo = bytes,
            Effect::Spawn { incarnation, .. } => {
                assert!(self.secret > 0, "it starts without its credential");
                if incarnation > self.incarnation_last {
                    assert!(self.program.is_none(), "two runs");
                    self.incarnation_last = incarnation;
                    let (is_born, is_ready, is_stopped) = (false, false, false);
                    let program = Program { incarnation, is_born, is_ready, is_stopped, sees: 0 };
                    self.program = Some(program);
                }
            }
            Effect::Signal { incarnation, .. } => {
                let Some(program) = &mut self.program else { return };
                if program.incarnation == incarnation {
                    assert!(program.is_ready, "signalled before it has a handler");
                    program.sees = self.secret;
                }
            }
            Effect::CredentialsSettled { .. } => {
                self.untold = false;
                self.check_settled();
            }
            Effect::Stop { .. } => {
                if let Some(program) = &mut self.program {
                    program.is_stopped = true;
                }
            }
            _ => {}
        }
    }

    /// Who goes on in this run has the newest; who is not born yet will read it.
    fn check_settled(&self) {
        if let Some(program) = &self.program {
            let fine = !program.is_born || program.is_stopped || program.sees == self.secret;
            assert!(fine, "settled, and {program:?} does not see {}", self.secret);
        }
    }

    /// The next supervisor: PID 1's snapshot first, then the files.
    fn come_back(&mut self) {
        let runs = self.program.map(|program| Run {
            key: "web".to_owned(),
            incarnation: program.incarnation,
            pid: 7,
            started_ns: 0,
            stop_deadline_ns: program.is_stopped.then_some(u64::MAX),
            state: RunState::Running,
        });
        let key = Key {
            key: "web".to_owned(),
            incarnation_last: self.incarnation_last,
            memo: self.memo.clone(),
        };
        let snapshot =
            Snapshot { keys: vec![key], runs: runs.into_iter().collect(), shutting_down: false };
        let (machine, effects) = machine(snapshot, self.now);
        self.machine = machine;
        self.carry_out(effects);
        if self.secret > 0 {
            self.tell(BTreeMap::new(), self.untold);
        }
    }

    fn tell(&mut self, problems: BTreeMap<String, String>, is_changed: bool) {
        let one = || BTreeSet::from(["key".to_owned()]);
        let present = if self.secret > 0 { one() } else { BTreeSet::new() };
        let changed = if is_changed { one() } else { BTreeSet::new() };
        self.step(Event::Credentials { owner: "web".to_owned(), present, problems, changed });
    }

    fn act(&mut self, action: Action) {
        let key = "web".to_owned();
        match (action, self.program) {
            (Action::Rotate, _) => {
                self.untold |= self.secret > 0;
                self.secret += 1;
                self.tell(BTreeMap::new(), self.secret > 1);
            }
            (Action::Problem, _) => {
                let problems = BTreeMap::from([("key".to_owned(), "denied".to_owned())]);
                self.tell(problems, false);
            }
            (Action::Exec, Some(program)) if !program.is_born => {
                let sees = self.secret;
                self.program = Some(Program { is_born: true, sees, ..program });
                let (incarnation, pid, started_ns) = (program.incarnation, 7, self.now.0);
                self.step(Event::Started { key, incarnation, pid, started_ns });
            }
            (Action::Ready, Some(program)) if program.is_born && !program.is_ready => {
                self.program = Some(Program { is_ready: true, ..program });
                let notification = Notification::parse(b"READY=1");
                let incarnation = program.incarnation;
                self.step(Event::Notified { key, incarnation, notification, sender_pid: 7 });
            }
            (Action::Exit, Some(program)) if program.is_born => {
                self.program = None;
                let (status, cause, ended_ns) = (256, Cause::Own, self.now.0);
                let (user_us, system_us, resident_max_kib) = (0, 0, 0);
                let end = End { status, cause, ended_ns, user_us, system_us, resident_max_kib };
                let incarnation = program.incarnation;
                self.step(Event::Exited { key, incarnation, end, emptied: true });
            }
            (Action::Advance, _) => {
                self.now = self.now.plus_ms(31_000);
                self.step(Event::Tick);
            }
            (Action::Die(after), _) => self.dies_after = Some(after),
            _ => {}
        }
    }

    /// Everything works from now on: the program comes up, and has the newest.
    fn rest(&mut self) {
        self.dies_after = None;
        if self.secret == 0 {
            self.act(Action::Rotate);
        }
        for _ in 0..20 {
            if self.program.is_some_and(|program| program.is_stopped) {
                self.act(Action::Exec);
                self.act(Action::Exit);
            }
            self.act(Action::Exec);
            self.act(Action::Ready);
            self.act(Action::Advance);
        }
        let program = self.program.expect("it runs");
        assert!(program.is_ready && program.sees == self.secret, "{program:?}, {}", self.secret);
        assert!(!self.untold, "never settled");
    }
}

fn machine(snapshot: Snapshot, now: Now) -> (Machine, Vec<Effect>) {
    let file = ("web".to_owned(), "web.toml".to_owned(), FILE.to_owned());
    Machine::new(definition::load(vec![file]), snapshot, &BTreeMap::new(), now)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_new_credential_is_missed(actions in prop::collection::vec(action(), 1..60)) {
        let mut world = World::new();
        for action in actions {
            world.act(action);
        }
        world.rest();
    }
}
