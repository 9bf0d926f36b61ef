//! One connection: the methods of `io.rollinit.Supervisor` as zlink calls them.
//!
//! Each checks the caller's role first, then asks the supervisor. The interface description that
//! foreign clients read is made from this impl block and the types it names.

use crate::limits::{LOG_LINES_DEFAULT, LOG_LINES_MAX};
use crate::roles::{Grant, Method, Peer};
use crate::server::{Backend, LogQuery, Verb};
use crate::stream::{Replies, StreamError};
use crate::types::{
    Changed, End, EndCause, Event, EventBatch, Host, HostState, Init, Listen, LogBatch, LogRecord,
    Problem, ProcessList, ServiceProcesses, ServiceState, ServiceStatus, ShutdownKind, Status,
    Supervisor,
};
use futures_core::Stream;
use std::rc::Rc;
use tokio::net::UnixStream;
use zlink::{Reply, varlink_service};

/// A caller, what it may do, and where answers come from.
pub(crate) struct Session {
    peer: Peer,
    grant: Grant,
    /// A second descriptor of the connection, to see the peer leave while a feed is idle.
    watch: Rc<UnixStream>,
    backend: Rc<dyn Backend>,
}

impl Session {
    pub(crate) fn new(
        peer: Peer,
        grant: Grant,
        watch: Rc<UnixStream>,
        backend: Rc<dyn Backend>,
    ) -> Session {
        Session { peer, grant, watch, backend }
    }

    async fn change(
        &self,
        method: Method,
        verb: Verb,
        name: &str,
    ) -> Result<Changed, crate::Error> {
        self.grant.check(method)?;
        self.backend.change(&self.peer, verb, name).await
    }
}

/// The supervisor of this host: look at its services, start and stop them, read their output.
///
/// Callers are told apart by uid and groups: the role read looks, operate starts and stops
/// services, admin (root) may do everything. Times are CLOCK_MONOTONIC nanoseconds.
#[zlink::service(
    interface = "io.rollinit.Supervisor",
    vendor = "rollinit",
    product = "rollinit-supervisor",
    version = env!("CARGO_PKG_VERSION"),
    url = "https://github.com/rollinit/rollinit",
    types = [
        End, EndCause, Event, Host, HostState, Init, Listen, LogRecord, Problem, ServiceProcesses,
        ServiceState, ServiceStatus, ShutdownKind, Supervisor,
    ]
)]
impl Session {
    /// The host, and the service of that name, or all. Role: read.
    async fn get_status(&self, name: Option<String>) -> Result<Status, crate::Error> {
        self.grant.check(Method::GetStatus)?;
        self.backend.status(name.as_deref()).await
    }

    /// Processes, memory and processor time of each service that has a run. Role: read.
    async fn list_processes(&self) -> Result<ProcessList, crate::Error> {
        self.grant.check(Method::ListProcesses)?;
        self.backend.processes().await
    }

    /// Brings a service up; replies when it is ready or has failed. Role: operate.
    async fn start(&self, name: String) -> Result<Changed, crate::Error> {
        self.change(Method::Start, Verb::Start, &name).await
    }

    /// Takes a service down and keeps it down; replies when it is stopped. Role: operate.
    async fn stop(&self, name: String) -> Result<Changed, crate::Error> {
        self.change(Method::Stop, Verb::Stop, &name).await
    }

    /// Takes a service down if it is up, and up again; replies when it is ready. Role: operate.
    async fn restart(&self, name: String) -> Result<Changed, crate::Error> {
        self.change(Method::Restart, Verb::Restart, &name).await
    }

    /// The last lines of one service or of all (100 unless given), and with follow those to come.
    /// Without more: one reply, of at most 256 lines. Role: read.
    #[zlink(more)]
    async fn get_logs(
        &self,
        more: bool,
        name: Option<String>,
        lines: Option<u32>,
        follow: Option<bool>,
    ) -> impl Stream<Item = Result<Reply<LogBatch>, StreamError>> + Unpin {
        let query = LogQuery {
            service: name,
            lines: lines.unwrap_or(LOG_LINES_DEFAULT).min(LOG_LINES_MAX),
            follow: follow.unwrap_or(false),
        };
        let feed = if let Err(error) = self.grant.check(Method::GetLogs) {
            Err(StreamError::Own(error))
        } else if query.follow && !more {
            Err(StreamError::Varlink(varlink_service::Error::ExpectedMore))
        } else {
            self.backend.logs(query).await.map_err(StreamError::Own)
        };
        Replies::<LogBatch>::new(Rc::clone(&self.backend), Rc::clone(&self.watch), feed, more)
    }

    /// What happened lately, and with more also what happens from now on. Role: read.
    #[zlink(more)]
    async fn watch_events(
        &self,
        more: bool,
    ) -> impl Stream<Item = Result<Reply<EventBatch>, StreamError>> + Unpin {
        let feed = match self.grant.check(Method::WatchEvents) {
            Err(error) => Err(error),
            Ok(()) => self.backend.events(more).await,
        };
        let feed = feed.map_err(StreamError::Own);
        Replies::<EventBatch>::new(Rc::clone(&self.backend), Rc::clone(&self.watch), feed, more)
    }

    /// Takes the host down: all services stop, then the kernel is told. Replies when that is under
    /// way. Role: admin.
    async fn shutdown(&self, kind: ShutdownKind) -> Result<(), crate::Error> {
        self.grant.check(Method::Shutdown)?;
        self.backend.shutdown(&self.peer, kind).await
    }
}
