//! The shell around the machine: every input there is, in; effects, carried out in their order.
//!
//! An input becomes an event, the machine steps, its effects go out, and what they cause at once
//! (a spawn that cannot be built) becomes the next event, until there is none. Nothing here
//! waits. Tasks wait for descriptors and time and call [`Handle::input`]; all run on one thread.

use crate::attach::Paging;
use crate::clock;
use crate::credentials::{Delivery, Refused, Vault};
use crate::groups::{self, Groups};
use crate::guard::Guard;
use crate::history::History;
use crate::listeners::Listeners;
use crate::logs::{Left, Logs};
use crate::notify::{Broken, Notify, TURN_DATAGRAMS};
use crate::port::{Incoming, Port, PortError};
use crate::reload::{DryRun, ReloadResult};
use crate::settings::Settings;
use crate::translate;
use crate::watch::{Ticket, Watched};
use control::types::{App, Credential};
use port::Answer;
use service::{
    CommandError, Effect, Event, Machine, Now, Outcome, PowerKind, SwapVerb, Task, TaskEnd, Verb,
};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use tokio::sync::{oneshot, watch};

/// What a command came to, once it has.
pub type CommandResult = Result<Outcome, CommandError>;

/// What a task came to, once it has.
pub type TaskResult = Result<TaskEnd, CommandError>;

/// What somebody wants, and hears of when it is so.
#[derive(Debug)]
pub enum Order {
    /// Of a service, or of an app's serving side.
    Command(Verb, String),
    /// A step of a swap.
    Swap {
        /// Of which app.
        app: String,
        /// The swap's id.
        swap: String,
        /// Which step.
        verb: SwapVerb,
    },
    /// A running task is still wanted.
    Renew {
        /// Of which app.
        app: String,
        /// The swap's id.
        swap: String,
        /// Which task.
        task: Task,
        /// From now on, in milliseconds.
        lease_ms: u64,
        /// When it ends at the latest; `CLOCK_MONOTONIC` nanoseconds.
        until_ns: Option<u64>,
    },
}

/// A program to run beside an app.
#[derive(Debug)]
pub struct TaskOrder {
    /// Of which app.
    pub app: String,
    /// The swap's id.
    pub swap: String,
    /// Which task.
    pub task: Task,
    /// Program and arguments.
    pub program: Vec<String>,
    /// The closure it belongs to.
    pub closure: String,
    /// PID 1 kills it after so long without renewal, in milliseconds.
    pub lease_ms: u64,
    /// When that is at the latest; `CLOCK_MONOTONIC` nanoseconds.
    pub until_ns: Option<u64>,
    /// What it finds as `ROLLINIT_FENCE`.
    pub fence: Option<u64>,
}

/// Everything that can reach the shell.
#[derive(Debug)]
pub enum Input {
    /// PID 1 said something.
    Port(Incoming),
    /// A service's log pipe may hold something.
    LogReadable(String),
    /// A run's notify socket may hold something.
    NotifyReadable(String, u64),
    /// An operator wants something of a service, or the agent a step of a swap.
    Order(Order, oneshot::Sender<CommandResult>),
    /// The agent wants a program run beside an app.
    Task(TaskOrder, oneshot::Sender<TaskResult>),
    /// The agent brings credentials.
    Credentials(Delivery, oneshot::Sender<Result<Vec<String>, Refused>>),
    /// An operator wants the definitions on disk in force, or to know what that would change.
    Reload(DryRun, oneshot::Sender<ReloadResult>),
    /// An operator wants the machine to end.
    Power(PowerKind, Option<u64>),
    /// The machine's deadline has come.
    Deadline,
}

/// A descriptor that a task shall wait for from now on.
#[derive(Debug)]
pub enum Source {
    /// A service's log pipe.
    Log(String, Ticket),
    /// A run's notify socket.
    Notify(String, u64, Ticket),
}

/// A request that PID 1 has not answered yet.
#[derive(Debug)]
pub(crate) enum Pending {
    /// A spawn.
    Spawn { key: String, incarnation: u64 },
    /// Anything whose answer matters only if it is a refusal: the verb and its object.
    Done { verb: &'static str, object: String },
}

/// What stays the same for this supervisor's life.
#[derive(Debug)]
pub struct Host {
    /// Where everything is.
    pub settings: Settings,
    /// PID 1's pid.
    pub init_pid: u32,
    /// When PID 1 started: `CLOCK_MONOTONIC` in nanoseconds.
    pub init_started_ns: u64,
    /// When this supervisor started: `CLOCK_MONOTONIC` in nanoseconds.
    pub started_ns: u64,
    /// The index of the definitions in force, if they are not those of the boot.
    pub index: Option<String>,
    /// Hashes of the definitions in force.
    pub hashes: BTreeMap<String, String>,
    /// Definition files that could not be read, one line each.
    pub unread: Vec<String>,
}

/// The supervisor's state beside the machine.
#[derive(Debug)]
pub struct Shell {
    pub(crate) host: Host,
    pub(crate) port: Rc<Port>,
    pub(crate) machine: Machine,
    pub(crate) groups: Groups,
    /// Who may reach the metadata service.
    pub(crate) guard: Guard,
    pub(crate) logs: Logs,
    pub(crate) notify: Notify,
    pub(crate) history: History,
    /// Names in PID 1's fd store.
    pub(crate) kept: BTreeSet<String>,
    pub(crate) pending: HashMap<u64, Pending>,
    pub(crate) commands: HashMap<u64, oneshot::Sender<CommandResult>>,
    pub(crate) tasks: HashMap<u64, oneshot::Sender<TaskResult>>,
    pub(crate) command_last: u64,
    /// Sockets of apps' sides.
    pub(crate) listeners: Listeners,
    /// Who wants to know how apps are.
    pub(crate) watched_apps: BTreeMap<String, watch::Sender<App>>,
    /// Files of credentials.
    pub(crate) vault: Vault,
    /// Who wants to know which credentials there are to be.
    pub(crate) watched_credentials: watch::Sender<Vec<Credential>>,
    /// A snapshot that PID 1 is sending.
    pub(crate) paging: Paging,
    /// Descriptors for which no task waits yet.
    pub(crate) sources: Vec<Source>,
    /// Events that effects caused.
    pub(crate) caused: VecDeque<Event>,
}

impl Order {
    fn event(self, id: u64) -> Event {
        match self {
            Self::Command(verb, key) => Event::Command { id, verb, key },
            Self::Swap { app, swap, verb } => Event::Swap { id, app, swap, verb },
            Self::Renew { app, swap, task, lease_ms, until_ns } => {
                Event::RenewTask { id, app, swap, task, lease_ms, until_ns }
            }
        }
    }
}

impl TaskOrder {
    fn event(self, id: u64) -> Event {
        let Self { app, swap, task, program, closure, lease_ms, until_ns, fence } = self;
        Event::RunTask { id, app, swap, task, program, closure, lease_ms, until_ns, fence }
    }
}

impl Shell {
    /// Takes one input and carries out all that follows from it. Says what is left of it: the
    /// task that waits for a descriptor comes again if there is more.
    ///
    /// # Errors
    /// [`PortError`]: there is no PID 1 to carry anything out.
    pub fn input(&mut self, input: Input) -> Result<Left, PortError> {
        match input {
            Input::Port(incoming) => self.incoming(incoming)?,
            Input::LogReadable(service) => return Ok(self.logs.drain(&service)),
            Input::NotifyReadable(service, incarnation) => {
                return self.hear(&service, incarnation);
            }
            Input::Order(order, reply) => {
                let id = self.next_command();
                self.commands.insert(id, reply);
                self.step(order.event(id))?;
            }
            Input::Task(order, reply) => {
                let id = self.next_command();
                self.tasks.insert(id, reply);
                self.step(order.event(id))?;
            }
            Input::Credentials(delivery, reply) => {
                let taken = self.deliver(delivery)?;
                // A caller that went away does not hear it; what was done is done.
                let _ = reply.send(taken);
            }
            Input::Reload(dry_run, reply) => {
                let result = self.reload(dry_run)?;
                // A caller that went away does not hear it; what was done is done.
                let _ = reply.send(result);
            }
            Input::Power(kind, within_ms) => self.step(Event::Power { kind, within_ms })?,
            Input::Deadline => {
                self.look_at_queues();
                self.step(Event::Tick)?;
            }
        }
        Ok(Left::Nothing)
    }

    fn next_command(&mut self) -> u64 {
        self.command_last += 1;
        self.command_last
    }

    /// When `Input::Deadline` is due.
    fn deadline(&self) -> Option<Now> {
        self.machine.deadline().into_iter().chain(self.listeners.look_ns().map(Now)).min()
    }

    /// Where the processes of a key's runs are, below PID 1's cgroup root.
    pub(crate) fn group_path(&self, key: &str) -> String {
        groups::path(key, self.machine.place(key))
    }

    fn incoming(&mut self, incoming: Incoming) -> Result<(), PortError> {
        match incoming {
            Incoming::Answer { sequence, answer, fd } => {
                // A descriptor comes only with an entry that was dropped: it goes the same way.
                drop(fd);
                self.answer(sequence, answer)
            }
            Incoming::Event(event) => self.event(event),
            Incoming::Key(key) => {
                self.paging.snapshot.keys.push(key);
                Ok(())
            }
            Incoming::Run(run) => {
                self.paging.snapshot.runs.push(run);
                Ok(())
            }
            Incoming::Kept(name) => {
                self.paging.kept.push(name);
                Ok(())
            }
            Incoming::SnapshotEnd(end) => {
                let paging = std::mem::take(&mut self.paging);
                let (snapshot, _kept) = paging.finish(&end)?;
                tracing::warn!("PID 1 sent its state anew: events were lost between us");
                self.resync(snapshot)
            }
        }
    }

    /// What PID 1 could not tell because its queue was full.
    fn resync(&mut self, snapshot: service::Snapshot) -> Result<(), PortError> {
        for run in &snapshot.runs {
            if matches!(run.state, service::snapshot::RunState::Ended { .. }) {
                self.last_words(&run.key, run.incarnation)?;
            }
        }
        let effects = self.machine.resync(clock::now(), snapshot);
        self.carry_out(effects)
    }

    /// What a run said and printed before its end is taken before its end is judged.
    fn event(&mut self, event: Event) -> Result<(), PortError> {
        if let Event::Exited { key, incarnation, .. } = &event {
            let (key, incarnation) = (key.clone(), *incarnation);
            self.last_words(&key, incarnation)?;
        }
        self.step(event)
    }

    /// Takes all that a run which is over left in its notify socket and its pipe.
    pub(crate) fn last_words(&mut self, key: &str, incarnation: u64) -> Result<(), PortError> {
        self.hear(key, incarnation)?;
        if self.logs.drain(key) != Left::More {
            self.logs.end_run(key);
        }
        Ok(())
    }

    /// Acts on what a run said, one word after the other: each leaves the socket only when what
    /// follows from it, the memo above all, was sent to PID 1.
    fn hear(&mut self, key: &str, incarnation: u64) -> Result<Left, PortError> {
        for _ in 0..TURN_DATAGRAMS {
            let (mut notification, sender_pid) = match self.notify.next(key, incarnation) {
                Ok(Some(said)) => said,
                Ok(None) => return Ok(Left::Nothing),
                Err(Broken) => return Ok(Left::Broken),
            };
            if let Some(pid) = notification.main_pid
                && !self.groups.holds(&self.group_path(key), pid)
            {
                tracing::warn!("{key}: MAINPID={pid} is not of this service and is ignored");
                notification.main_pid = None;
            }
            let name = key.to_owned();
            self.step(Event::Notified { key: name, incarnation, notification, sender_pid })?;
            self.notify.done(key, incarnation);
        }
        Ok(Left::More)
    }

    fn answer(&mut self, sequence: u64, answer: Answer) -> Result<(), PortError> {
        let pending = self.pending.remove(&sequence);
        match (pending, answer) {
            (Some(Pending::Spawn { key, incarnation }), Answer::Started(started)) => {
                let (pid, started_ns) = (started.pid, started.started_ns);
                self.step(Event::Started { key, incarnation, pid, started_ns })
            }
            (Some(Pending::Spawn { key, incarnation }), Answer::Failed(failed)) => {
                let step = translate::step(failed.step).to_owned();
                self.spawn_failed(key, incarnation, step, failed.errno)
            }
            (Some(Pending::Spawn { key, incarnation }), Answer::Refused(refusal)) => {
                self.spawn_failed(key, incarnation, "spawn".to_owned(), refusal.errno)
            }
            (Some(Pending::Done { verb, object }), Answer::Refused(refusal)) => {
                let error = std::io::Error::from_raw_os_error(refusal.errno);
                tracing::warn!("PID 1 refused to {verb} {object}: {error}");
                Ok(())
            }
            // `list` is answered by `Done` or by pages alone; the rest is as it should be.
            (Some(Pending::Done { .. }), _) | (None, Answer::Done) => Ok(()),
            (pending, answer) => {
                tracing::error!("an answer of PID 1 fits no request: {answer:?} to {pending:?}");
                Ok(())
            }
        }
    }

    fn spawn_failed(
        &mut self,
        key: String,
        incarnation: u64,
        step: String,
        errno: i32,
    ) -> Result<(), PortError> {
        self.drop_notify(&key, incarnation)?;
        self.groups.spoil(&key);
        self.step(Event::SpawnFailed { key, incarnation, step, errno })
    }

    /// One event, its effects, and the events that those cause.
    pub(crate) fn step(&mut self, event: Event) -> Result<(), PortError> {
        let effects = self.machine.step(clock::now(), event);
        self.carry_out(effects)
    }

    /// Carries out effects in their order, then what they caused.
    pub(crate) fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), PortError> {
        for effect in effects {
            self.effect(effect)?;
        }
        while let Some(event) = self.caused.pop_front() {
            let effects = self.machine.step(clock::now(), event);
            for effect in effects {
                self.effect(effect)?;
            }
        }
        Ok(())
    }
}

/// The shell as tasks share it.
#[derive(Clone, Debug)]
pub struct Handle {
    shell: Rc<RefCell<Shell>>,
    /// Wakes the main loop: deadlines may have moved, requests may wait, the port may be broken.
    changed: Rc<tokio::sync::Notify>,
    failed: Rc<RefCell<Option<PortError>>>,
}

impl Handle {
    /// Shares a shell.
    #[must_use]
    pub fn new(shell: Shell) -> Self {
        Self {
            shell: Rc::new(RefCell::new(shell)),
            changed: Rc::new(tokio::sync::Notify::new()),
            failed: Rc::new(RefCell::new(None)),
        }
    }

    /// Hands one input to the shell, and starts tasks for descriptors that came of it.
    pub fn input(&self, input: Input) -> Left {
        // Output says nothing of an app, and there may be much of it.
        let tells = !matches!(input, Input::LogReadable(_));
        let result = {
            let mut shell = self.shell.borrow_mut();
            let result = shell.input(input);
            if tells {
                shell.publish_apps();
            }
            result
        };
        let left = result.unwrap_or_else(|error| {
            self.failed.borrow_mut().get_or_insert(error);
            Left::Broken
        });
        self.watch_sources();
        self.changed.notify_one();
        left
    }

    /// Looks at the shell, or asks it something that needs no step.
    pub fn with<T>(&self, look: impl FnOnce(&mut Shell) -> T) -> T {
        look(&mut self.shell.borrow_mut())
    }

    /// Starts a task for each descriptor that has none.
    pub fn watch_sources(&self) {
        let sources = std::mem::take(&mut self.shell.borrow_mut().sources);
        for source in sources {
            let handle = self.clone();
            match source {
                Source::Log(service, ticket) => ticket.run(async move |pipe: &Watched| {
                    handle.watch(pipe, || Input::LogReadable(service.clone())).await;
                }),
                Source::Notify(service, incarnation, ticket) => {
                    ticket.run(async move |socket: &Watched| {
                        let input = || Input::NotifyReadable(service.clone(), incarnation);
                        handle.watch(socket, input).await;
                    });
                }
            }
        }
    }

    /// Until the descriptor breaks, or the shell no longer knows it.
    async fn watch(&self, descriptor: &Watched, input: impl Fn() -> Input) {
        while let Ok(mut guard) = descriptor.readable().await {
            match self.input(input()) {
                Left::Nothing => guard.clear_ready(),
                Left::More => tokio::task::yield_now().await,
                Left::Broken => return,
            }
        }
    }

    /// The main loop: PID 1, deadlines, and the end of either.
    ///
    /// # Errors
    /// [`PortError`], always at last: the supervisor has no other end but a signal.
    pub async fn run(&self) -> Result<std::convert::Infallible, PortError> {
        let port = self.with(|shell| Rc::clone(&shell.port));
        loop {
            if let Some(error) = self.failed.borrow_mut().take() {
                return Err(error);
            }
            let deadline = self.with(|shell| shell.deadline());
            let tick = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(clock::instant(deadline)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                incoming = port.next() => drop(self.input(Input::Port(incoming?))),
                () = tick => drop(self.input(Input::Deadline)),
                () = self.changed.notified() => {}
            }
        }
    }
}
