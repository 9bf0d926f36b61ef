//! One connection: the methods of `io.rollinit.Supervisor` as zlink calls them.
//!
//! Each checks the caller's role first, then asks the supervisor. The interface description that
//! foreign clients read is made from this impl block and the types it names.

use crate::limits::{LOG_LINES_DEFAULT, LOG_LINES_MAX};
use crate::roles::{Grant, Method, Peer, Role};
use crate::server::{Backend, CredentialOrder, LogQuery, SwapOrder, SwapVerb, TaskOrder, Verb};
use crate::stream::{Latest, Replies, Source, Stated, StreamError};
use crate::types::{
    App, AppHealth, AppList, AppPolicy, AppRun, AppSwap, AppView, Change, Changed, Credential,
    CredentialList, CredentialProblem, CredentialSource, CredentialsPut, End, EndCause, Event,
    EventBatch, FirstWay, HealthKind, Host, HostState, Init, Listen, LogBatch, LogRecord,
    NewCredential, Problem, ProcessList, Reload, RetireWhen, ServiceProcesses, ServiceState,
    ServiceStatus, ShutdownKind, Status, Strategy, Supervisor, SwapPhase, Task, TaskEnd, Timeline,
    WayState,
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

    async fn change_app(
        &self,
        method: Method,
        order: SwapOrder<'_>,
    ) -> Result<AppView, crate::Error> {
        self.grant.check(method)?;
        let app = self.backend.change_app(&self.peer, order).await?;
        Ok(AppView { now_ns: self.backend.now_ns(), app })
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
        App, AppHealth, AppPolicy, AppRun, AppSwap, Change, Credential, CredentialProblem,
        CredentialSource, End, EndCause, Event, FirstWay, HealthKind, Host, HostState, Init, Listen,
        LogRecord, NewCredential, Problem, RetireWhen, Role, ServiceProcesses, ServiceState,
        ServiceStatus, ShutdownKind, Strategy, Supervisor, SwapPhase, Task, WayState,
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

    /// How each service and app first came up since the host booted. Role: read.
    async fn timeline(&self) -> Result<Timeline, crate::Error> {
        self.grant.check(Method::Timeline)?;
        self.backend.timeline().await
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

    /// Puts the definitions on disk into force and touches only what changed: new ones start,
    /// removed ones stop, changed ones start again where their run cannot stay. A file that cannot
    /// be used changes nothing. With dry_run: says what would change. Replies when that is decided,
    /// not when all is up. Role: operate; with dry_run read.
    async fn reload(&self, dry_run: Option<bool>) -> Result<Reload, crate::Error> {
        let dry_run = dry_run.unwrap_or(false);
        let method = if dry_run { Method::ReloadDryRun } else { Method::Reload };
        self.grant.check(method)?;
        self.backend.reload(&self.peer, dry_run).await
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
    ) -> impl Stream<Item = Result<Reply<LogBatch>, StreamError<crate::Error>>> + Unpin {
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
    ) -> impl Stream<Item = Result<Reply<EventBatch>, StreamError<crate::Error>>> + Unpin {
        let feed = match self.grant.check(Method::WatchEvents) {
            Err(error) => Err(error),
            Ok(()) => self.backend.events(more).await,
        };
        let feed = feed.map_err(StreamError::Own);
        Replies::<EventBatch>::new(Rc::clone(&self.backend), Rc::clone(&self.watch), feed, more)
    }

    /// Takes the host down: all services stop, for which they have `within_ms`, a minute by
    /// default; then the kernel is told. Replies when that is under way. Role: admin.
    async fn shutdown(
        &self,
        kind: ShutdownKind,
        within_ms: Option<u64>,
    ) -> Result<(), crate::Error> {
        self.grant.check(Method::Shutdown)?;
        self.backend.shutdown(&self.peer, kind, within_ms).await
    }

    /// The apps: each side, the swap that is under way, and what it says about swaps. Role: read.
    async fn apps(&self) -> Result<AppList, crate::Error> {
        self.grant.check(Method::Apps)?;
        let apps = self.backend.apps().await?;
        Ok(AppList { now_ns: self.backend.now_ns(), apps })
    }

    /// One app as it is, and with more also each time it has changed: the newest, without those in
    /// between that were not fetched in time. Role: read.
    #[zlink(more)]
    async fn watch_app(
        &self,
        more: bool,
        name: String,
    ) -> impl Stream<Item = Result<Reply<AppView>, StreamError<crate::Error>>> + Unpin {
        let feed = match self.grant.check(Method::WatchApp) {
            Err(error) => Err(error),
            Ok(()) => self.backend.watch_app(&name).await,
        };
        let source = feed.map_err(StreamError::Own).map(|apps| {
            let view = |now_ns, app| AppView { now_ns, app };
            let latest = Latest::new(apps, view, Rc::clone(&self.backend), more);
            Box::new(latest) as Box<dyn Source<_, _>>
        });
        Stated::new(source, &self.watch)
    }

    /// Starts the candidate of a swap: a new closure on the app's other side, or with the strategy
    /// restart in place of the old one. Users stay where they are. Replies when its program runs.
    /// This and what follows is done once for a swap id, however often it is asked for. Role:
    /// admin.
    async fn prepare(
        &self,
        app: String,
        closure: String,
        swap: String,
    ) -> Result<AppView, crate::Error> {
        let verb = SwapVerb::Prepare { closure: &closure };
        self.change_app(Method::Prepare, SwapOrder { app: &app, swap: &swap, verb }).await
    }

    /// The switch: new connections go to the candidate. Role: admin.
    async fn admit(&self, app: String, swap: String) -> Result<AppView, crate::Error> {
        let order = SwapOrder { app: &app, swap: &swap, verb: SwapVerb::Admit };
        self.change_app(Method::Admit, order).await
    }

    /// Ends the previous side: it finishes its requests, until the drain deadline. Replies when it
    /// is gone and the candidate serves alone. Role: admin.
    async fn retire(&self, app: String, swap: String) -> Result<AppView, crate::Error> {
        let order = SwapOrder { app: &app, swap: &swap, verb: SwapVerb::Retire };
        self.change_app(Method::Retire, order).await
    }

    /// The way back: ends the candidate. Replies when the previous side serves alone again; of a
    /// swap that the app does not have there is nothing to do. Role: admin.
    async fn abandon(&self, app: String, swap: String) -> Result<AppView, crate::Error> {
        let order = SwapOrder { app: &app, swap: &swap, verb: SwapVerb::Abandon };
        self.change_app(Method::Abandon, order).await
    }

    /// Runs a program of the app beside it, as its user, with its environment and limits; what it
    /// prints is among the app's lines. Replies at its end. It is killed lease_ms after its start
    /// unless RenewTask puts that off, also with no supervisor; and at until_ns of CLOCK_MONOTONIC
    /// at the latest, after which it is not begun either. It finds fence as ROLLINIT_FENCE. Role:
    /// admin.
    #[expect(clippy::too_many_arguments, reason = "they are the parameters of the method")]
    async fn run_task(
        &self,
        app: String,
        swap: String,
        task: Task,
        program: Vec<String>,
        closure: String,
        lease_ms: u64,
        until_ns: Option<u64>,
        fence: Option<u64>,
    ) -> Result<TaskEnd, crate::Error> {
        self.grant.check(Method::RunTask)?;
        let order = TaskOrder {
            app: &app,
            swap: &swap,
            task,
            program: &program,
            closure: &closure,
            lease_ms,
            until_ns,
            fence,
        };
        self.backend.run_task(&self.peer, order).await
    }

    /// Puts off the time at which a running task is killed to lease_ms from now, and to until_ns of
    /// CLOCK_MONOTONIC at the latest. Role: admin.
    async fn renew_task(
        &self,
        app: String,
        swap: String,
        task: Task,
        lease_ms: u64,
        until_ns: Option<u64>,
    ) -> Result<(), crate::Error> {
        self.grant.check(Method::RenewTask)?;
        self.backend.renew_task(&app, &swap, task, lease_ms, until_ns).await
    }

    /// The credentials that services and apps are to have, and with more also each time that has
    /// changed. Never their values. Role: read.
    #[zlink(more)]
    async fn watch_credentials(
        &self,
        more: bool,
    ) -> impl Stream<Item = Result<Reply<CredentialList>, StreamError<crate::Error>>> + Unpin {
        let feed = match self.grant.check(Method::WatchCredentials) {
            Err(error) => Err(error),
            Ok(()) => self.backend.watch_credentials().await,
        };
        let source = feed.map_err(StreamError::Own).map(|feed| {
            let list = |now_ns, credentials| CredentialList { now_ns, credentials };
            let latest = Latest::new(feed, list, Rc::clone(&self.backend), more);
            Box::new(latest) as Box<dyn Source<_, _>>
        });
        Stated::new(source, &self.watch)
    }

    /// Delivers credentials of a service or an app, as far as they can be had: those that are not
    /// named stay as they are. Replies when the files are there and running processes were told as
    /// the definition says. Role: admin.
    async fn put_credentials(
        &self,
        owner: String,
        credentials: Vec<NewCredential>,
        problems: Vec<CredentialProblem>,
    ) -> Result<CredentialsPut, crate::Error> {
        self.grant.check(Method::PutCredentials)?;
        let order =
            CredentialOrder { owner: &owner, credentials: &credentials, problems: &problems };
        let changed = self.backend.put_credentials(order).await?;
        Ok(CredentialsPut { changed })
    }
}
