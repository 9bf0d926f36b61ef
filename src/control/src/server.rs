//! The server half: the supervisor supplies the answers ([`Backend`]), this carries them.
//!
//! [`run`] accepts on a socket that PID 1 keeps (so calls made while the supervisor restarts wait
//! in its queue) and gives each connection a task of its own: a `Stop` that takes its time holds
//! up nobody else. Everything runs on one thread, inside a `tokio::task::LocalSet`.

use crate::accept::{self, House, Visitor};
use crate::roles::{Peer, Policy};
use crate::session::Session;
use crate::types::{
    App, Changed, Credential, CredentialProblem, Event, LogRecord, NewCredential, ProcessList,
    Reload, ShutdownKind, Status, Task, TaskEnd, Timeline,
};
use std::future::Future;
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::rc::Rc;
use tokio::sync::{mpsc, watch};

/// An answer of the supervisor, awaited on the connection's own task.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, crate::Error>> + 'a>>;

/// What the supervisor answers. Roles are checked before any of these is called.
///
/// A caller that goes away does not end an answer in progress: what was begun is finished.
pub trait Backend {
    /// The host, and the service called `name`, or all.
    fn status<'a>(&'a self, name: Option<&'a str>) -> Answer<'a, Status>;

    /// What each service costs now.
    fn processes(&self) -> Answer<'_, ProcessList>;

    /// How each service and app first came up.
    fn timeline(&self) -> Answer<'_, Timeline>;

    /// Brings a service up, down, or down and up; answers when it is there.
    fn change<'a>(&'a self, peer: &'a Peer, verb: Verb, name: &'a str) -> Answer<'a, Changed>;

    /// Puts the definitions on disk into force, or says what that would change.
    fn reload<'a>(&'a self, peer: &'a Peer, dry_run: bool) -> Answer<'a, Reload>;

    /// Lines of services' output.
    fn logs(&self, query: LogQuery) -> Answer<'_, Feed<LogRecord>>;

    /// What happened lately, and, if `follow`, what happens.
    fn events(&self, follow: bool) -> Answer<'_, Feed<Event>>;

    /// Begins to take the host down; answers once that is under way.
    fn shutdown<'a>(
        &'a self,
        peer: &'a Peer,
        kind: ShutdownKind,
        within_ms: Option<u64>,
    ) -> Answer<'a, ()>;

    /// The apps, by name.
    fn apps(&self) -> Answer<'_, Vec<App>>;

    /// One app as it is now and at each change: the channel holds the newest. It ends with its
    /// sender, or with the caller.
    fn watch_app<'a>(&'a self, app: &'a str) -> Answer<'a, watch::Receiver<App>>;

    /// Takes a swap of an app to its next state, or back; answers when it is there. What is there
    /// already is answered at once: each may be asked for again by the same swap id.
    fn change_app<'a>(&'a self, peer: &'a Peer, order: SwapOrder<'a>) -> Answer<'a, App>;

    /// Runs a program beside an app and answers with its end. Asked for again while it runs, by
    /// the same swap id, it joins; once it has ended and nobody has heard of that, it tells.
    fn run_task<'a>(&'a self, peer: &'a Peer, order: TaskOrder<'a>) -> Answer<'a, TaskEnd>;

    /// Puts off the time at which a running task is killed to `lease_ms` from now.
    fn renew_task<'a>(
        &'a self,
        app: &'a str,
        swap: &'a str,
        task: Task,
        lease_ms: u64,
        until_ns: Option<u64>,
    ) -> Answer<'a, ()>;

    /// The credentials that definitions name, by owner and name, as they are now and at each
    /// change: the channel holds the newest.
    fn watch_credentials(&self) -> Answer<'_, watch::Receiver<Vec<Credential>>>;

    /// Takes credentials of a service or an app, and why others cannot be had; answers with the
    /// names of those that are new, when their owner was told.
    fn put_credentials<'a>(&'a self, order: CredentialOrder<'a>) -> Answer<'a, Vec<String>>;

    /// `CLOCK_MONOTONIC` now, in nanoseconds.
    fn now_ns(&self) -> u64;

    /// A line for the supervisor's own log: a connection refused, a peer that broke the protocol.
    fn say(&self, message: &str);
}

/// The verbs that change a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Up: done when ready.
    Start,
    /// Down: done when stopped.
    Stop,
    /// Down if it is up, then up: done when ready.
    Restart,
}

/// One step of a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwapOrder<'a> {
    /// The app.
    pub app: &'a str,
    /// The swap's id, by which each step is done once however often it is asked for.
    pub swap: &'a str,
    /// Which step.
    pub verb: SwapVerb<'a>,
}

/// The steps of a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwapVerb<'a> {
    /// The candidate is started: done when its program runs.
    Prepare {
        /// Its store path.
        closure: &'a str,
    },
    /// New connections go to the candidate.
    Admit,
    /// The previous side goes: done when it is gone and the candidate serves alone.
    Retire,
    /// The candidate goes: done when the previous side serves alone again. Of a swap that the app
    /// does not have there is nothing to do.
    Abandon,
}

/// A program to run beside an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskOrder<'a> {
    /// The app.
    pub app: &'a str,
    /// The id of the swap that it belongs to.
    pub swap: &'a str,
    /// Which of the app's tasks it is.
    pub task: Task,
    /// Program and arguments, with `${closure}` where the store path goes.
    pub program: &'a [String],
    /// The store path.
    pub closure: &'a str,
    /// It is killed so long after its start unless that is put off; milliseconds, 0: never.
    pub lease_ms: u64,
    /// When it is killed at the latest, and not begun any more; `CLOCK_MONOTONIC` nanoseconds.
    pub until_ns: Option<u64>,
    /// What it finds as `ROLLINIT_FENCE`.
    pub fence: Option<u64>,
}

/// Credentials of a service or an app, as far as they can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialOrder<'a> {
    /// The service or app.
    pub owner: &'a str,
    /// Those that can.
    pub credentials: &'a [NewCredential],
    /// Why others cannot.
    pub problems: &'a [CredentialProblem],
}

/// Which lines `GetLogs` wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// Of this service, or of all.
    pub service: Option<String>,
    /// The last so many that are there already; at most `limits::LOG_LINES_MAX`.
    pub lines: u32,
    /// And those to come.
    pub follow: bool,
}

/// Records that are there, and those to come.
#[derive(Debug)]
pub struct Feed<T> {
    /// What is there already, oldest first.
    pub backlog: Vec<T>,
    /// Records that are known to have been lost before the backlog.
    pub lost: u64,
    /// What is to come, through a channel of `limits::FEED_BATCHES_MAX`; the sender counts what
    /// it has to drop. `None` if nothing is to come. The receiver is dropped when the caller goes
    /// away, the sender to end the feed.
    pub live: Option<mpsc::Receiver<Batch<T>>>,
}

/// Some records of a feed.
#[derive(Debug)]
pub struct Batch<T> {
    /// Oldest first.
    pub records: Vec<T>,
    /// Records that were lost before these.
    pub lost: u64,
}

/// Finds out who is at the other end, from the kernel.
pub type Identify = dyn Fn(&StdUnixStream) -> io::Result<Peer>;

/// Serves `listener` for ever: accepts, identifies, and gives each connection a local task.
///
/// Must run inside a `tokio::task::LocalSet` of a current-thread runtime with io and time enabled.
///
/// # Errors
/// Only if `listener` cannot be registered with the runtime at all. Failing accepts and peers that
/// cannot be served are said through [`Backend::say`].
pub async fn run(
    listener: std::os::unix::net::UnixListener,
    policy: Policy,
    identify: Rc<Identify>,
    backend: Rc<dyn Backend>,
) -> io::Result<()> {
    accept::run(listener, policy, identify, Rc::new(Supervisor(backend))).await
}

/// Serves one accepted connection until its peer closes it.
///
/// A message that is too long or is not Varlink closes the connection; a peer without a role is
/// answered `NotPermitted` to everything but the description of the interface.
///
/// # Errors
/// If the stream cannot be registered with the runtime.
pub async fn serve(
    stream: StdUnixStream,
    peer: Peer,
    policy: Policy,
    backend: Rc<dyn Backend>,
) -> Result<(), zlink::Error> {
    accept::serve(stream, peer, policy, &Supervisor(backend)).await
}

/// The supervisor's side of [`accept`].
struct Supervisor(Rc<dyn Backend>);

impl House for Supervisor {
    type Session = Session;

    fn session(&self, visitor: Visitor) -> Session {
        Session::new(visitor.peer, visitor.grant, visitor.watch, Rc::clone(&self.0))
    }

    fn say(&self, message: &str) {
        self.0.say(message);
    }
}
