//! A machine whose shell does at once what it is told, for examples.

#![allow(dead_code)] // Each test binary uses a part.

use service::snapshot::{Key, Run, RunState, Snapshot};
use service::view::SwapPhase;
use service::{AppView, Cause, CommandError, Effect, End, Event, Machine, Now, Outcome, Program};
use service::{Side, SwapVerb, Task, View, definition};
use std::collections::BTreeMap;

/// A machine whose shell steers at once, the time, and the memos that PID 1 would have.
pub struct Host {
    pub machine: Machine,
    pub now: Now,
    pub memos: BTreeMap<String, Vec<u8>>,
    /// What the group was asked to be, newest last.
    pub groups: Vec<(Side, Program)>,
    /// Requests for an empty queue.
    pub awaited: Vec<(Side, u64)>,
    /// What was reported, a line each.
    pub told: Vec<String>,
    /// The shell cannot steer.
    pub refuses: bool,
    pub files: Vec<(String, String, String)>,
}

impl Host {
    pub fn boot(files: &[(&str, &str)], closures: &[(&str, &str)]) -> (Self, Vec<Effect>) {
        let file = |(name, text): &(&str, &str)| {
            ((*name).to_owned(), format!("{name}.toml"), (*text).to_owned())
        };
        let files: Vec<_> = files.iter().map(file).collect();
        let closures = closures.iter().map(|(app, path)| ((*app).to_owned(), (*path).to_owned()));
        Self::take_over(files, Snapshot::default(), &closures.collect(), Now(0))
    }

    pub fn take_over(
        files: Vec<(String, String, String)>,
        from: Snapshot,
        closures: &BTreeMap<String, String>,
        now: Now,
    ) -> (Self, Vec<Effect>) {
        let loaded = definition::load(files.clone());
        let (machine, effects) = Machine::new(loaded, from, closures, now);
        let (memos, groups, awaited, told) = Default::default();
        let mut host = Self { machine, now, memos, groups, awaited, told, refuses: false, files };
        let effects = host.keep(effects);
        (host, effects)
    }

    /// Boots one app and has its first run up.
    pub fn up(name: &str, text: &str) -> Self {
        let (mut host, effects) = Self::boot(&[(name, text)], &[]);
        assert_eq!(effects, [spawn(&format!("{name}.0"), 1)]);
        host.started(&format!("{name}.0"), 1);
        host
    }

    /// Keeps the memos, steers, keeps the reports; what is left is the answer.
    pub fn keep(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        let mut rest = Vec::new();
        let mut steered = Vec::new();
        for effect in effects {
            match effect {
                Effect::Memo { key, bytes } => drop(self.memos.insert(key, bytes)),
                Effect::Group { app, request, first, program } => {
                    self.groups.push((first, program));
                    let failure = self.refuses.then(|| "no such call".to_owned());
                    steered.push(Event::Grouped { app, request, failure });
                }
                Effect::AwaitEmpty { request, side, .. } => self.awaited.push((side, request)),
                Effect::Report(record) => self.told.push(record.to_string()),
                effect => rest.push(effect),
            }
        }
        for event in steered {
            rest.extend(self.step(event));
        }
        rest
    }

    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        let effects = self.machine.step(self.now, event);
        self.keep(effects)
    }

    pub fn wait(&mut self, duration_ms: u64) -> Vec<Effect> {
        self.now = self.now.plus_ms(duration_ms);
        self.step(Event::Tick)
    }

    pub fn started(&mut self, key: &str, incarnation: u64) -> Vec<Effect> {
        let (key, started_ns) = (key.to_owned(), self.now.0);
        self.step(Event::Started { key, incarnation, pid: 7, started_ns })
    }

    pub fn ended(&mut self, key: &str, incarnation: u64, status: i32, cause: Cause) -> Vec<Effect> {
        let (key, ended_ns) = (key.to_owned(), self.now.0);
        let end = End { status, cause, ended_ns, user_us: 0, system_us: 0, resident_max_kib: 0 };
        let mut effects = self.step(Event::Exited { key, incarnation, end, emptied: true });
        effects.retain(|effect| !matches!(effect, Effect::Forget { .. }));
        effects
    }

    pub fn swap(&mut self, id: u64, app: &str, swap: &str, verb: SwapVerb) -> Vec<Effect> {
        let (app, swap) = (app.to_owned(), swap.to_owned());
        self.step(Event::Swap { id, app, swap, verb })
    }

    pub fn task(&mut self, id: u64, swap: &str, lease_ms: u64) -> Vec<Effect> {
        let program = vec!["${closure}/bin/migrate".to_owned()];
        let (app, swap, closure) = ("web".to_owned(), swap.to_owned(), "/s/v2".to_owned());
        let task = Task::Migrate;
        self.step(Event::RunTask {
            id,
            app,
            swap,
            task,
            program,
            closure,
            lease_ms,
            until_ns: None,
            fence: None,
        })
    }

    pub fn queue_empty(&mut self) -> Vec<Effect> {
        let (_, request) = self.awaited.pop().expect("a queue is awaited");
        self.step(Event::QueueEmpty { app: "web".to_owned(), request })
    }

    pub fn app(&self) -> AppView {
        self.machine.apps().remove(0)
    }

    pub fn view(&self, name: &str) -> View {
        self.machine.views().into_iter().find(|view| view.name == name).expect(name)
    }

    pub fn phase(&self) -> Option<SwapPhase> {
        self.app().swap.map(|swap| swap.phase)
    }

    /// What `web` runs: the serving side, the candidate.
    pub fn closures(&self) -> (Option<String>, Option<String>) {
        let app = self.app();
        (app.serving.closure, app.candidate.and_then(|run| run.closure))
    }

    /// Another supervisor takes over with these runs.
    pub fn die(&self, runs: Vec<Run>) -> (Self, Vec<Effect>) {
        let closures = Self::other_closures();
        Self::take_over(self.files.clone(), self.snapshot(runs), &closures, self.now)
    }

    /// All that another supervisor would do at once with these runs, in its order.
    pub fn taken_over(&self, runs: Vec<Run>) -> Vec<Effect> {
        let loaded = definition::load(self.files.clone());
        Machine::new(loaded, self.snapshot(runs), &Self::other_closures(), self.now).1
    }

    /// What a profile points to by then is of no interest.
    fn other_closures() -> BTreeMap<String, String> {
        BTreeMap::from([("web".to_owned(), "/s/other".to_owned())])
    }

    fn snapshot(&self, runs: Vec<Run>) -> Snapshot {
        let last = |key: &str| {
            let own = runs.iter().filter(|run| run.key == key).map(|run| run.incarnation);
            own.max().unwrap_or(0)
        };
        let keys = self.memos.iter().map(|(key, memo)| Key {
            key: key.clone(),
            incarnation_last: last(key),
            memo: memo.clone(),
        });
        let keys = keys.collect();
        Snapshot { keys, runs, shutting_down: false }
    }
}

pub fn run(key: &str, incarnation: u64) -> Run {
    let state = RunState::Running;
    let (key, stop_deadline_ns) = (key.to_owned(), None);
    Run { key, incarnation, pid: 7, started_ns: 0, stop_deadline_ns, state }
}

pub fn spawn(key: &str, incarnation: u64) -> Effect {
    Effect::Spawn { key: key.to_owned(), incarnation }
}

pub fn done(id: u64) -> Effect {
    Effect::Reply { id, result: Ok(Outcome::Done) }
}

pub fn already(id: u64) -> Effect {
    Effect::Reply { id, result: Ok(Outcome::Already) }
}

pub fn prepare(closure: &str) -> SwapVerb {
    SwapVerb::Prepare { closure: closure.to_owned() }
}

/// The run that these effects stop, and when it is killed.
pub fn stops(effects: &[Effect]) -> Vec<(&str, u64)> {
    let stop = |effect| match effect {
        &Effect::Stop { ref key, deadline_ns, .. } => Some((key.as_str(), deadline_ns)),
        _ => None,
    };
    effects.iter().filter_map(stop).collect()
}

pub fn error(effects: &[Effect]) -> &CommandError {
    match effects {
        [Effect::Reply { result: Err(error), .. }] => error,
        other => panic!("{other:?}"),
    }
}
