//! The control socket's answers, from the shell.

use crate::credentials::{Delivery, Refused};
use crate::logs::Left;
use crate::reload::{DryRun, ReloadError};
use crate::shell::{Handle, Input, Order, Shell, TaskOrder};
use crate::{apps, groups, views};
use control::Error;
use control::roles::{Peer, Place, Policy, Role};
use control::server::{
    Answer, Backend, CredentialOrder, Feed, LogQuery, SwapOrder, SwapVerb, Verb,
};
use control::types::{
    App, Changed, Credential, Event, LogRecord, NewCredential, ProcessList, Reload, ShutdownKind,
    Status, Task, TaskEnd, Timeline,
};
use service::{CommandError, Outcome};
use std::io;
use std::os::unix::net::UnixStream;
use tokio::sync::{oneshot, watch};

/// Groups whose members may look, and may operate.
const READ_GROUP: &str = "rollinit-read";
const OPERATE_GROUP: &str = "rollinit";

/// Answers callers of the control socket.
#[derive(Debug)]
pub struct Control {
    handle: Handle,
}

impl Control {
    /// For this shell.
    #[must_use]
    pub fn new(handle: Handle) -> Self {
        Self { handle }
    }

    fn unknown(&self, name: &str) -> Error {
        let names = self.handle.with(|shell| shell.machine.views());
        Error::no_such_service(name, names.iter().map(|view| view.name.as_str()))
    }

    /// Where a service is after a command.
    fn changed(&self, name: &str, outcome: Outcome) -> Result<Changed, Error> {
        let views = self.handle.with(|shell| shell.machine.views());
        let view = views.into_iter().find(|view| view.name == name);
        let view = view.ok_or_else(|| self.unknown(name))?;
        Ok(Changed {
            changed: outcome == Outcome::Done,
            state: views::state(view.state),
            incarnation: view.incarnation,
            pid: view.pid,
            name: view.name,
        })
    }

    fn error(&self, name: &str, error: &CommandError) -> Error {
        let (name, reason) = (name.to_owned(), error.to_string());
        let clone = |text: &String| text.clone();
        match error {
            CommandError::SwapUnderWay { app, swap } => {
                Error::SwapUnderWay { app: clone(app), swap: clone(swap) }
            }
            CommandError::NoSwap { app, swap, .. } => {
                Error::NoSuchSwap { app: clone(app), swap: clone(swap) }
            }
            CommandError::WrongPhase { app, swap, .. } => {
                Error::WrongPhase { app: clone(app), swap: clone(swap), reason }
            }
            CommandError::StartFailed { app, reason } => {
                Error::StartFailed { app: clone(app), reason: clone(reason) }
            }
            CommandError::Unknown { .. } => self.unknown(&name),
            CommandError::ShuttingDown { kind, .. } => {
                Error::ShuttingDown { kind: views::shutdown_kind(*kind) }
            }
            CommandError::Broken { .. }
            | CommandError::TooMany { .. }
            | CommandError::Refused { .. } => Error::Refused { name, reason },
            CommandError::NotReady { .. }
            | CommandError::Stuck { .. }
            | CommandError::Removed { .. }
            | CommandError::Superseded { .. } => Error::Failed { name, reason },
        }
    }

    async fn command(&self, peer: &Peer, verb: Verb, name: &str) -> Result<Changed, Error> {
        let verb = match verb {
            Verb::Start => service::Verb::Start,
            Verb::Stop => service::Verb::Stop,
            Verb::Restart => service::Verb::Restart,
        };
        tracing::info!("{verb} of {name:?} asked for by uid {}, pid {}", peer.uid, peer.pid);
        let outcome = self.order(name, Order::Command(verb, name.to_owned())).await?;
        self.changed(name, outcome)
    }

    /// Gives an order and waits for what comes of it.
    async fn order(&self, name: &str, order: Order) -> Result<Outcome, Error> {
        let (reply, answer) = oneshot::channel();
        self.handle.input(Input::Order(order, reply));
        let result = answer.await.map_err(|_| ended(name))?;
        result.map_err(|error| self.error(name, &error))
    }

    async fn reload_for(&self, peer: &Peer, dry_run: DryRun) -> Result<Reload, Error> {
        const WHAT: &str = "the definitions";
        if !dry_run.0 {
            tracing::info!("reload asked for by uid {}, pid {}", peer.uid, peer.pid);
        }
        let (reply, answer) = oneshot::channel();
        self.handle.input(Input::Reload(dry_run, reply));
        answer.await.map_err(|_| ended(WHAT))?.map_err(|error| match error {
            ReloadError::Refused(error) => self.error(WHAT, &error),
            ReloadError::Failed(reason) => {
                let reason = format!("nothing was reloaded: {reason}");
                Error::Refused { name: WHAT.to_owned(), reason }
            }
        })
    }

    async fn swap(&self, peer: &Peer, order: SwapOrder<'_>) -> Result<App, Error> {
        let verb = match order.verb {
            SwapVerb::Prepare { closure } => {
                service::SwapVerb::Prepare { closure: closure.to_owned() }
            }
            SwapVerb::Admit => service::SwapVerb::Admit,
            SwapVerb::Retire => service::SwapVerb::Retire,
            SwapVerb::Abandon => service::SwapVerb::Abandon,
        };
        let (app, swap) = (order.app.to_owned(), order.swap.to_owned());
        tracing::info!("{} of {app:?}, swap {swap:?}, asked for by pid {}", verb.word(), peer.pid);
        self.order(order.app, Order::Swap { app, swap, verb }).await?;
        let app = self.handle.with(|shell| shell.apps()).into_iter();
        app.into_iter().find(|app| app.name == order.app).ok_or_else(|| self.no_app(order.app))
    }

    async fn task(&self, order: control::server::TaskOrder<'_>) -> Result<TaskEnd, Error> {
        let (reply, answer) = oneshot::channel();
        let task = TaskOrder {
            app: order.app.to_owned(),
            swap: order.swap.to_owned(),
            task: apps::task(order.task),
            program: order.program.to_vec(),
            closure: order.closure.to_owned(),
            lease_ms: order.lease_ms,
            until_ns: order.until_ns,
            fence: order.fence,
        };
        self.handle.input(Input::Task(task, reply));
        let result = answer.await.map_err(|_| ended(order.app))?;
        let service::TaskEnd { exit, signal, lease_ended } =
            result.map_err(|error| self.error(order.app, &error))?;
        Ok(TaskEnd { exit, signal, lease_ended })
    }

    async fn deliver(&self, order: CredentialOrder<'_>) -> Result<Vec<String>, Error> {
        let owner = order.owner.to_owned();
        let mut values = Vec::new();
        for NewCredential { name, value } in order.credentials {
            let Some(bytes) = control::base64::decode(value) else {
                let reason = format!("the credential {name} of {owner} is not in base64");
                return Err(Error::Refused { name: owner, reason });
            };
            values.push((name.clone(), bytes));
        }
        let (reply, answer) = oneshot::channel();
        let delivery = Delivery { owner: owner.clone(), values, problems: order.problems.to_vec() };
        self.handle.input(Input::Credentials(delivery, reply));
        let taken = answer.await.map_err(|_| ended(&owner))?;
        taken.map_err(|refused| match refused {
            Refused::Unknown => self.unknown(&owner),
            Refused::Nonsense(reason) => Error::Refused { name: owner, reason },
            Refused::Failed(reason) => Error::Failed { name: owner, reason },
        })
    }

    fn no_app(&self, name: &str) -> Error {
        let apps = self.handle.with(|shell| shell.machine.apps());
        Error::no_such_app(name, apps.iter().map(|app| app.name.as_str()))
    }

    /// Who is at the other end, by the kernel.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn identify(&self, stream: &UnixStream) -> io::Result<Peer> {
        let peer = sys::peer::credentials(stream)?;
        let place = match sys::peer::cgroup(peer.pid) {
            Ok(Some(cgroup)) => match groups::service_of(&cgroup) {
                Some(key) => self.handle.with(|shell| shell.place_of(key)),
                None => Place::Host,
            },
            // No cgroup2 hierarchy: no service can be told from the host by it.
            Ok(None) => Place::Host,
            Err(_) => Place::Unknown,
        };
        Ok(Peer { pid: peer.pid, uid: peer.user, gid: peer.group, groups: peer.groups, place })
    }
}

impl Backend for Control {
    fn status<'a>(&'a self, name: Option<&'a str>) -> Answer<'a, Status> {
        let status = self.handle.with(|shell| shell.status(name));
        let answer = status.ok_or_else(|| self.unknown(name.unwrap_or("")));
        Box::pin(std::future::ready(answer))
    }

    fn timeline(&self) -> Answer<'_, Timeline> {
        Box::pin(std::future::ready(Ok(self.handle.with(|shell| shell.timeline()))))
    }

    fn processes(&self) -> Answer<'_, ProcessList> {
        Box::pin(std::future::ready(Ok(self.handle.with(|shell| shell.processes()))))
    }

    fn change<'a>(&'a self, peer: &'a Peer, verb: Verb, name: &'a str) -> Answer<'a, Changed> {
        Box::pin(self.command(peer, verb, name))
    }

    fn reload<'a>(&'a self, peer: &'a Peer, dry_run: bool) -> Answer<'a, Reload> {
        Box::pin(self.reload_for(peer, DryRun(dry_run)))
    }

    fn logs(&self, query: LogQuery) -> Answer<'_, Feed<LogRecord>> {
        let answer = match &query.service {
            Some(name) if self.handle.with(|shell| shell.status(Some(name)).is_none()) => {
                Err(self.unknown(name))
            }
            _ => {
                // What was printed before the call belongs to its answer.
                let keys = self.handle.with(|shell| shell.logs.keys(query.service.as_deref()));
                for key in keys {
                    let _: Left = self.handle.input(Input::LogReadable(key));
                }
                let feed = self.handle.with(|shell| shell.logs.query(&query));
                feed.map_err(|(name, error)| Error::Failed {
                    name,
                    reason: format!("its log cannot be read: {error}"),
                })
            }
        };
        Box::pin(std::future::ready(answer))
    }

    fn events(&self, follow: bool) -> Answer<'_, Feed<Event>> {
        let feed = self.handle.with(|shell| shell.history.feed(follow));
        Box::pin(std::future::ready(Ok(feed)))
    }

    fn shutdown<'a>(
        &'a self,
        peer: &'a Peer,
        kind: ShutdownKind,
        within_ms: Option<u64>,
    ) -> Answer<'a, ()> {
        tracing::warn!("{kind} asked for by uid {}, pid {}", peer.uid, peer.pid);
        self.handle.input(Input::Power(views::power_kind(kind), within_ms));
        Box::pin(std::future::ready(Ok(())))
    }

    fn apps(&self) -> Answer<'_, Vec<App>> {
        Box::pin(std::future::ready(Ok(self.handle.with(|shell| shell.apps()))))
    }

    fn watch_app<'a>(&'a self, app: &'a str) -> Answer<'a, watch::Receiver<App>> {
        let watched = self.handle.with(|shell| shell.watch_app(app));
        Box::pin(std::future::ready(watched.ok_or_else(|| self.no_app(app))))
    }

    fn change_app<'a>(&'a self, peer: &'a Peer, order: SwapOrder<'a>) -> Answer<'a, App> {
        Box::pin(async move {
            if self.handle.with(|shell| shell.machine.app(order.app).is_none()) {
                return Err(self.no_app(order.app));
            }
            self.swap(peer, order).await
        })
    }

    fn run_task<'a>(
        &'a self,
        peer: &'a Peer,
        order: control::server::TaskOrder<'a>,
    ) -> Answer<'a, TaskEnd> {
        let (task, app) = (order.task.word(), order.app);
        tracing::info!("{task} of {app:?}, swap {:?}, asked for by pid {}", order.swap, peer.pid);
        Box::pin(async move {
            if self.handle.with(|shell| shell.machine.app(order.app).is_none()) {
                return Err(self.no_app(order.app));
            }
            self.task(order).await
        })
    }

    fn renew_task<'a>(
        &'a self,
        app: &'a str,
        swap: &'a str,
        task: Task,
        lease_ms: u64,
        until_ns: Option<u64>,
    ) -> Answer<'a, ()> {
        let (name, swap, task) = (app.to_owned(), swap.to_owned(), apps::task(task));
        let order = Order::Renew { app: name, swap, task, lease_ms, until_ns };
        Box::pin(async move { self.order(app, order).await.map(drop) })
    }

    fn watch_credentials(&self) -> Answer<'_, watch::Receiver<Vec<Credential>>> {
        let watched = self.handle.with(|shell| {
            let receiver = shell.watched_credentials.subscribe();
            shell.publish_credentials();
            receiver
        });
        Box::pin(std::future::ready(Ok(watched)))
    }

    fn put_credentials<'a>(&'a self, order: CredentialOrder<'a>) -> Answer<'a, Vec<String>> {
        Box::pin(self.deliver(order))
    }

    fn now_ns(&self) -> u64 {
        sys::clock::monotonic_ns()
    }

    fn say(&self, message: &str) {
        tracing::warn!("{message}");
    }
}

fn ended(name: &str) -> Error {
    let reason = "the supervisor ended before it was done; ask again".to_owned();
    Error::Failed { name: name.to_owned(), reason }
}

impl Shell {
    /// Where a process of a key's cgroup stands.
    fn place_of(&self, key: &str) -> Place {
        let name = match self.machine.place(key) {
            service::Place::Side { app, .. } | service::Place::Task { app, .. } => app,
            service::Place::Service => key,
        };
        Place::Service { name: name.to_owned(), limit: self.limit_of(name) }
    }

    /// What a service's or an app's processes may ask of the control socket at most.
    fn limit_of(&self, name: &str) -> Role {
        let app = self.machine.app(name).map(|app| &app.template);
        let definition = app.or(self.machine.definition(name));
        definition.map_or(Role::Read, |definition| views::role(definition.control))
    }
}

/// The host's groups, and our own uid.
#[must_use]
pub fn policy() -> Policy {
    use std::os::unix::fs::MetadataExt;
    let accounts = crate::identity::accounts().unwrap_or_default();
    let own_uid = std::fs::metadata("/proc/self").map_or(0, |own| own.uid());
    let group = |name| accounts.group(name);
    Policy { own_uid, read_gid: group(READ_GROUP), operate_gid: group(OPERATE_GROUP) }
}
