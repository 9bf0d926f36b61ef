//! A model of PID 1: what it keeps, what it refuses, and what it would say. It checks on the way
//! that nobody asks it for something that must never happen.

use service::event::PowerKind;
use service::limits::MEMO_BYTES_MAX;
use service::snapshot::{Key, Run, RunState, Snapshot};
use service::{Cause, Effect, End, Event, Notification};
use std::collections::BTreeMap;

pub type RunId = (String, u64);

/// What the model knows of a run beyond what PID 1 does.
#[derive(Clone, Debug)]
pub struct Known {
    pub run: Run,
    /// The machine has heard that the run is ready.
    pub ready_told: bool,
    /// It said that it is about to end.
    pub leaving: bool,
    /// The machine has heard that the leader ended.
    pub end_told: bool,
    /// When PID 1 kills it, stopped or not.
    pub deadline_ns: Option<u64>,
}

impl Known {
    pub fn has_leader(&self) -> bool {
        !matches!(self.run.state, RunState::Ended { .. })
    }

    pub fn is_stopped(&self) -> bool {
        matches!(self.run.state, RunState::Ended { emptied: true, .. })
    }
}

#[derive(Debug, Default)]
pub struct Pid1 {
    pub now_ns: u64,
    pub keys: BTreeMap<String, (u64, Vec<u8>)>,
    pub runs: BTreeMap<RunId, Known>,
    /// Events on their way to the owner.
    pub queue: Vec<Event>,
    pub shutdown: Option<PowerKind>,
    /// Ends that were reported, by run.
    pub ends_reported: BTreeMap<RunId, u32>,
    pid_last: u32,
}

impl Pid1 {
    pub fn snapshot(&self) -> Snapshot {
        let key = |(key, (last, memo)): (&String, &(u64, Vec<u8>))| Key {
            key: key.clone(),
            incarnation_last: *last,
            memo: memo.clone(),
        };
        Snapshot {
            keys: self.keys.iter().map(key).collect(),
            runs: self.runs.values().map(|known| known.run.clone()).collect(),
            shutting_down: self.shutdown.is_some(),
        }
    }

    /// A new owner reads the snapshot instead of what was on its way. Answers were for the old one;
    /// what services said waits in their own sockets.
    pub fn events_replaced(&mut self) {
        self.queue.retain(|event| matches!(event, Event::Notified { .. } | Event::Stuck { .. }));
    }

    /// The machine knows all that the snapshot says.
    pub fn snapshot_read(&mut self, notifies: impl Fn(&str) -> bool) {
        for known in self.runs.values_mut() {
            known.end_told |= !known.has_leader();
            known.ready_told |= known.run.state == RunState::Running && !notifies(&known.run.key);
        }
    }

    pub fn spawn(&mut self, key: &str, incarnation: u64) {
        let last = &mut self.keys.entry(key.to_owned()).or_default().0;
        if incarnation <= *last {
            return;
        }
        *last = incarnation;
        let living = self.runs.values().find(|known| known.run.key == key && !known.is_stopped());
        assert!(living.is_none(), "{key}#{incarnation} doubles {living:?}");
        self.pid_last += 1;
        let run = Run {
            key: key.to_owned(),
            incarnation,
            pid: self.pid_last,
            started_ns: self.now_ns,
            stop_deadline_ns: None,
            state: RunState::Starting,
        };
        let (ready_told, leaving, end_told, deadline_ns) = (false, false, false, None);
        let known = Known { run, ready_told, leaving, end_told, deadline_ns };
        self.runs.insert((key.to_owned(), incarnation), known);
    }

    /// Does what an effect other than `Spawn` and `Reply` says.
    pub fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Stop { key, incarnation, deadline_ns, .. } => {
                if let Some(known) = self.runs.get_mut(&(key, incarnation)) {
                    known.run.stop_deadline_ns = Some(deadline_ns);
                }
            }
            Effect::Forget { key, incarnation } => {
                if let Some(known) = self.runs.remove(&(key, incarnation)) {
                    assert!(known.is_stopped(), "forgets what is left: {known:?}");
                }
            }
            Effect::ForgetKey { key } => {
                assert!(!self.runs.keys().any(|(name, _)| *name == key), "forgets {key} alive");
                self.keys.remove(&key);
                self.ends_reported.retain(|(name, _), _| *name != key);
                // Its notify sockets are gone with it.
                self.queue.retain(|event| event_key(event) != key);
            }
            Effect::Memo { key, bytes } => {
                assert!(bytes.len() <= MEMO_BYTES_MAX);
                self.keys.entry(key).or_default().1 = bytes;
            }
            Effect::Report(record) => {
                assert!(!record.to_string().contains('\n'), "{record}");
                if record.what.word() == "exited" {
                    let count = self.ends_reported.entry((record.key, record.incarnation));
                    let count = count.or_default();
                    *count += 1;
                    assert_eq!(*count, 1, "an end counted twice");
                }
            }
            Effect::Shutdown { kind } => self.shutdown = Some(kind),
            Effect::Deadline { key, incarnation, deadline_ns } => {
                if let Some(known) = self.runs.get_mut(&(key, incarnation)) {
                    known.deadline_ns = Some(deadline_ns);
                }
            }
            // A handler that does nothing: what a signal does is its program's.
            Effect::Signal { .. } | Effect::CredentialsSettled { .. } => {}
            Effect::Unlisten { .. } => {}
            Effect::Spawn { .. }
            | Effect::Reply { .. }
            | Effect::TaskReply { .. }
            | Effect::Group { .. }
            | Effect::AwaitEmpty { .. } => unreachable!("the world's"),
        }
    }

    /// The exec of a starting run succeeds or fails.
    pub fn exec(&mut self, id: &RunId, works: bool) {
        let Some(known) = self.runs.get_mut(id) else { return };
        if known.run.state != RunState::Starting {
            return;
        }
        let (key, incarnation) = id.clone();
        if works {
            known.run.state = RunState::Running;
            let (pid, started_ns) = (known.run.pid, known.run.started_ns);
            self.queue.push(Event::Started { key, incarnation, pid, started_ns });
        } else {
            self.runs.remove(id);
            let step = "exec".to_owned();
            self.queue.push(Event::SpawnFailed { key, incarnation, step, errno: 2 });
        }
    }

    pub fn notify(&mut self, id: &RunId, ready: bool, stopping: bool) {
        if let Some(known) =
            self.runs.get_mut(id).filter(|known| known.run.state == RunState::Running)
        {
            known.leaving |= stopping;
            let (key, incarnation) = id.clone();
            let status = Some(format!("at {}", self.now_ns));
            let notification = Notification { ready, stopping, status, main_pid: None };
            self.queue.push(Event::Notified { key, incarnation, notification, sender_pid: 0 });
        }
    }

    pub fn exit(&mut self, id: &RunId, status: i32, emptied: bool) {
        let Some(known) = self.runs.get_mut(id) else { return };
        if known.run.state != RunState::Running {
            return;
        }
        let asked = known.run.stop_deadline_ns.is_some();
        let late = known.deadline_ns.is_some_and(|at_ns| at_ns <= self.now_ns);
        let end = End {
            status,
            cause: match (asked, late) {
                (true, _) => Cause::Asked,
                (false, true) => Cause::Deadline,
                (false, false) => Cause::Own,
            },
            ended_ns: self.now_ns,
            user_us: 0,
            system_us: 0,
            resident_max_kib: 0,
        };
        known.run.state = RunState::Ended { end, emptied };
        let (key, incarnation) = id.clone();
        self.queue.push(Event::Exited { key, incarnation, end, emptied });
    }

    pub fn empty(&mut self, id: &RunId) {
        let Some(known) = self.runs.get_mut(id) else { return };
        if let RunState::Ended { end, emptied: false } = known.run.state {
            known.run.state = RunState::Ended { end, emptied: true };
            let (key, incarnation) = id.clone();
            self.queue.push(Event::Emptied { key, incarnation });
        }
    }

    /// Time passes: PID 1 kills those whose deadline has come.
    pub fn advance(&mut self, duration_ms: u64) {
        self.now_ns += duration_ms * 1_000_000;
        let due = |known: &&Known| {
            let deadlines = known.run.stop_deadline_ns.into_iter().chain(known.deadline_ns);
            deadlines.min().is_some_and(|at_ns| at_ns <= self.now_ns)
        };
        let due: Vec<RunId> = self
            .runs
            .values()
            .filter(due)
            .map(|known| (known.run.key.clone(), known.run.incarnation))
            .collect();
        for id in due {
            self.exec(&id, true);
            self.exit(&id, 9, true);
            self.empty(&id);
        }
    }
}

/// Whom an event is of: events of one unit come in order.
pub fn event_key(event: &Event) -> &str {
    match event {
        Event::Started { key, .. }
        | Event::SpawnFailed { key, .. }
        | Event::Exited { key, .. }
        | Event::Emptied { key, .. }
        | Event::Stuck { key, .. }
        | Event::Notified { key, .. }
        | Event::Command { key, .. } => key,
        Event::Swap { app, .. }
        | Event::RunTask { app, .. }
        | Event::RenewTask { app, .. }
        | Event::Grouped { app, .. }
        | Event::QueueEmpty { app, .. } => app,
        Event::Credentials { owner, .. } => owner,
        Event::Power { .. } | Event::Tick => "",
    }
}
