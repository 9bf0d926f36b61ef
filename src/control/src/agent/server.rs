//! The server half: the agent supplies the answers ([`Backend`]), this carries them.
//!
//! As the supervisor's ([`crate::server`]): one task a connection, all on one thread inside a
//! `tokio::task::LocalSet`, roles checked before the backend is asked.

use super::board::Reader;
use super::session::Session;
use super::{Error, GenerationList, NoticeList, Reboot, SwapList};
use crate::accept::{self, House, Visitor};
use crate::roles::{Peer, Policy};
use crate::server::Identify;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;

/// An answer of the agent, awaited on the connection's own task.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + 'a>>;

/// What the agent answers. Roles are checked before any of these is called.
///
/// A caller that goes away ends nothing: a swap that was begun goes on.
pub trait Backend {
    /// Begins a swap, and answers at once with what will be said of it. A swap that is refused
    /// says so there, as an outcome; an error is for calls that make no sense.
    fn swap<'a>(&'a self, caller: &'a Caller, request: SwapRequest) -> Answer<'a, Reader>;

    /// Begins the swap back to a generation, or to the previous one.
    fn rollback<'a>(
        &'a self,
        caller: &'a Caller,
        app: &'a str,
        generation: Option<u64>,
    ) -> Answer<'a, Reader>;

    /// What is said of a swap: from its beginning, and what comes.
    fn follow<'a>(&'a self, swap: &'a str) -> Answer<'a, Reader>;

    /// Keeps what a test swapped in.
    fn confirm<'a>(&'a self, caller: &'a Caller, app: &'a str) -> Answer<'a, ()>;

    /// The generations of an app.
    fn generations<'a>(&'a self, app: &'a str) -> Answer<'a, GenerationList>;

    /// The swaps of an app, or of all, newest first.
    fn swaps<'a>(&'a self, app: Option<&'a str>) -> Answer<'a, SwapList>;

    /// What holds on this host and somebody should know, the worst first.
    fn standing(&self) -> NoticeList;

    /// Takes the host out of its load balancers: it goes down.
    fn leave_balancers(&self) -> Answer<'_, ()>;

    /// `CLOCK_MONOTONIC` now, in nanoseconds.
    fn now_ns(&self) -> u64;

    /// A line for the agent's own log: a connection refused, a peer that broke the protocol.
    fn say(&self, message: &str);
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who that is, by the kernel.
    pub peer: Peer,
    /// When the connection was accepted; [`Backend::now_ns`] at that time. A confirmation counts
    /// only over a connection that was opened after the switch: it shows that one can get in.
    pub connected_ns: u64,
}

/// What `Swap` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwapRequest {
    /// The app.
    pub app: String,
    /// The store path to swap in.
    pub path: String,
    /// It is undone unless it is confirmed in time.
    pub test: bool,
    /// In what time, with `test`; the agent's own default if none.
    pub confirm_within_ms: Option<u64>,
    /// Plan, say it, and touch nothing.
    pub dry_run: bool,
    /// Also a path that failed before.
    pub force: bool,
    /// Of the system: whether the host may be rebooted for it.
    pub reboot: Reboot,
}

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
    accept::run(listener, policy, identify, Rc::new(Agent(backend))).await
}

/// The agent's side of [`accept`].
struct Agent(Rc<dyn Backend>);

impl House for Agent {
    type Session = Session;

    fn session(&self, visitor: Visitor) -> Session {
        let caller = Caller { peer: visitor.peer, connected_ns: self.0.now_ns() };
        Session::new(caller, visitor.grant, visitor.watch, Rc::clone(&self.0))
    }

    fn say(&self, message: &str) {
        self.0.say(message);
    }
}
