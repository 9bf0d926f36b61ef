//! A supervisor made of cardboard: fixed answers, so that tests of the server, of foreign clients
//! and of the command line need no process, no root and no clock.

#![allow(dead_code, clippy::unwrap_used)] // Each test binary uses a part; a panic is its verdict.

pub mod agent;
pub mod apps;

use control::Error;
use control::limits::FEED_BATCHES_MAX;
use control::roles::{Peer, Place, Policy, Role};
use control::server::{
    Answer, Backend, Batch, CredentialOrder, Feed, LogQuery, SwapOrder, SwapVerb, TaskOrder, Verb,
};
use control::types::{
    App, Change, Changed, Credential, CredentialSource, End, EndCause, Event, FirstWay, Host,
    HostState, Init, Listen, LogRecord, Problem, ProcessList, Reload, ServiceProcesses,
    ServiceState, ServiceStatus, ShutdownKind, Status, Supervisor, SwapPhase, Task, TaskEnd,
    Timeline, WayState,
};
use std::cell::RefCell;
use std::future::ready;
use std::rc::Rc;
use tokio::sync::{mpsc, watch};

/// The fake's "now": one hour, one minute and one second after boot.
pub const NOW_NS: u64 = 3_661_000_000_000;

/// gid of the read group in [`POLICY`].
pub const READ_GID: u32 = 4241;

/// A host with both groups, whose supervisor is root's.
pub const POLICY: Policy = Policy { own_uid: 0, read_gid: Some(READ_GID), operate_gid: Some(4242) };

/// A caller with the role admin.
pub fn root() -> Peer {
    Peer { pid: 9, uid: 0, gid: 0, groups: Vec::new(), place: Place::Host }
}

/// A caller with the role read.
pub fn reader() -> Peer {
    Peer { pid: 9, uid: 1000, gid: 1000, groups: vec![READ_GID], place: Place::Host }
}

/// The cardboard supervisor, and what it was asked to do.
#[derive(Default)]
pub struct Fake {
    /// Every order it got.
    pub orders: RefCell<Vec<String>>,
    /// Every line it was told to say.
    pub said: RefCell<Vec<String>>,
    /// Where the live halves of followed logs go.
    pub log_senders: RefCell<Vec<mpsc::Sender<Batch<LogRecord>>>>,
    /// Lines that are there already.
    pub log_lines: RefCell<Vec<Vec<u8>>>,
    /// Who tells those that watch the app web.
    pub web: RefCell<Option<watch::Sender<App>>>,
    /// A host without apps.
    pub no_apps: bool,
    /// Who tells those that watch credentials.
    pub credentials: watch::Sender<Vec<Credential>>,
    /// Names and values of the last delivery.
    pub delivered: RefCell<Vec<(String, String)>>,
}

/// One in each state.
pub fn credentials() -> Vec<Credential> {
    let one = |owner: &str, name: &str, place: &str, present, problem: Option<&str>| Credential {
        owner: owner.to_owned(),
        name: name.to_owned(),
        source: if place.starts_with("/etc") {
            CredentialSource::Path
        } else {
            CredentialSource::Ssm
        },
        place: place.to_owned(),
        present,
        problem: problem.map(str::to_owned),
    };
    let denied = "ssm:GetParameters /shop/smtp: not allowed: no; add ssm:GetParameters to its role";
    vec![
        one("mail", "smtp", "/shop/smtp", false, Some(denied)),
        one("web", "database", "/shop/database", true, None),
        one("web", "session", "/shop/session", true, Some("no answer from ssm in 3 tries")),
        one("web", "tls", "/etc/tls/web.key", false, None),
    ]
}

/// One of each.
pub fn reload(dry_run: bool) -> Reload {
    let change = Change {
        name: "web".to_owned(),
        restart: true,
        keys: vec!["exec".to_owned(), "environment".to_owned()],
    };
    let (about, message) = ("/etc/rollinit/services/mail.toml:3:1".to_owned(), "no".to_owned());
    Reload {
        dry_run,
        added: vec!["cron".to_owned()],
        changed: vec![change],
        removed: vec!["old".to_owned()],
        unchanged: vec!["db".to_owned(), "mail".to_owned()],
        refused: vec!["mail".to_owned()],
        problems: vec![Problem { about, message, cure: None }],
    }
}

impl Fake {
    fn find(&self, name: &str) -> Result<ServiceStatus, Error> {
        let services = services();
        let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
        let missing = Error::no_such_service(name, names);
        services.into_iter().find(|service| service.name == name).ok_or(missing)
    }

    fn changed(&self, verb: Verb, name: &str) -> Result<Changed, Error> {
        let service = self.find(name)?;
        self.orders.borrow_mut().push(format!("{verb:?} {name}"));
        if name == "mail" && verb == Verb::Start {
            let reason = "mail does not come up: exited with code 1".to_owned();
            return Err(Error::Failed { name: name.to_owned(), reason });
        }
        Ok(Changed {
            name: name.to_owned(),
            changed: !(verb == Verb::Start && service.state == ServiceState::Running),
            state: if verb == Verb::Stop { ServiceState::Stopped } else { ServiceState::Running },
            incarnation: service.incarnation,
            pid: if verb == Verb::Stop { None } else { service.pid },
        })
    }
}

impl Backend for Fake {
    fn status<'a>(&'a self, name: Option<&'a str>) -> Answer<'a, Status> {
        let answer = match name {
            None => Ok(status(services())),
            Some(name) => self.find(name).map(|service| status(vec![service])),
        };
        Box::pin(ready(answer))
    }

    fn timeline(&self) -> Answer<'_, Timeline> {
        Box::pin(ready(Ok(timeline())))
    }

    fn processes(&self) -> Answer<'_, ProcessList> {
        Box::pin(ready(Ok(processes())))
    }

    fn change<'a>(&'a self, _peer: &'a Peer, verb: Verb, name: &'a str) -> Answer<'a, Changed> {
        Box::pin(ready(self.changed(verb, name)))
    }

    fn reload<'a>(&'a self, _peer: &'a Peer, dry_run: bool) -> Answer<'a, Reload> {
        self.orders.borrow_mut().push(format!("Reload dry_run={dry_run}"));
        Box::pin(ready(Ok(reload(dry_run))))
    }

    fn logs(&self, query: LogQuery) -> Answer<'_, Feed<LogRecord>> {
        if let Some(name) = &query.service
            && let Err(error) = self.find(name)
        {
            return Box::pin(ready(Err(error)));
        }
        let lines = self.log_lines.borrow();
        let first = lines.len().saturating_sub(query.lines as usize);
        let backlog = (first..lines.len())
            .map(|index| LogRecord::new("web", 3, NOW_NS - 5_000_000_000, &lines[index]))
            .collect();
        let live = query.follow.then(|| {
            let (sender, receiver) = mpsc::channel(FEED_BATCHES_MAX);
            self.log_senders.borrow_mut().push(sender);
            receiver
        });
        Box::pin(ready(Ok(Feed { backlog, lost: 0, live })))
    }

    fn events(&self, follow: bool) -> Answer<'_, Feed<Event>> {
        let live = follow.then(|| {
            // Two more batches, then the feed ends.
            let (sender, receiver) = mpsc::channel(FEED_BATCHES_MAX);
            for text in ["web#3 is stopped: by an operator", "web is down"] {
                let batch = Batch { records: vec![event(text)], lost: 0 };
                sender.try_send(batch).expect("there is room for two");
            }
            receiver
        });
        let backlog = vec![event("web#3 is ready")];
        Box::pin(ready(Ok(Feed { backlog, lost: 0, live })))
    }

    fn shutdown<'a>(
        &'a self,
        _peer: &'a Peer,
        kind: ShutdownKind,
        _within_ms: Option<u64>,
    ) -> Answer<'a, ()> {
        self.orders.borrow_mut().push(format!("Shutdown {kind}"));
        Box::pin(ready(Ok(())))
    }

    fn apps(&self) -> Answer<'_, Vec<App>> {
        let apps = if self.no_apps { Vec::new() } else { apps::apps() };
        Box::pin(ready(Ok(apps)))
    }

    fn watch_app<'a>(&'a self, app: &'a str) -> Answer<'a, watch::Receiver<App>> {
        let answer = known_app(app).map(|()| {
            let mut web = self.web.borrow_mut();
            web.get_or_insert_with(|| watch::Sender::new(apps::quiet())).subscribe()
        });
        Box::pin(ready(answer))
    }

    fn change_app<'a>(&'a self, _peer: &'a Peer, order: SwapOrder<'a>) -> Answer<'a, App> {
        self.orders.borrow_mut().push(format!("{:?} {} {}", order.verb, order.app, order.swap));
        Box::pin(ready(known_app(order.app).and_then(|()| changed_app(order))))
    }

    fn run_task<'a>(&'a self, _peer: &'a Peer, order: TaskOrder<'a>) -> Answer<'a, TaskEnd> {
        self.orders.borrow_mut().push(format!("{order:?}"));
        let end = TaskEnd { exit: Some(3), signal: None, lease_ended: false };
        Box::pin(ready(known_app(order.app).map(|()| end)))
    }

    fn renew_task<'a>(
        &'a self,
        app: &'a str,
        swap: &'a str,
        task: Task,
        lease_ms: u64,
        until_ns: Option<u64>,
    ) -> Answer<'a, ()> {
        self.orders
            .borrow_mut()
            .push(format!("Renew {app} {swap} {task:?} {lease_ms} {until_ns:?}"));
        Box::pin(ready(known_app(app)))
    }

    fn watch_credentials(&self) -> Answer<'_, watch::Receiver<Vec<Credential>>> {
        self.credentials.send_if_modified(|list| {
            let is_unset = list.is_empty();
            if is_unset {
                *list = credentials();
            }
            is_unset
        });
        Box::pin(ready(Ok(self.credentials.subscribe())))
    }

    fn put_credentials<'a>(&'a self, order: CredentialOrder<'a>) -> Answer<'a, Vec<String>> {
        self.orders.borrow_mut().push(format!("{order:?}"));
        let values = order.credentials.iter();
        let values = values.map(|put| (put.name.clone(), put.value.clone())).collect();
        self.delivered.replace(values);
        Box::pin(ready(Ok(order.credentials.iter().map(|put| put.name.clone()).collect())))
    }

    fn now_ns(&self) -> u64 {
        NOW_NS
    }

    fn say(&self, message: &str) {
        self.said.borrow_mut().push(message.to_owned());
    }
}

fn known_app(app: &str) -> Result<(), Error> {
    if app == "web" { Ok(()) } else { Err(Error::no_such_app(app, ["web", "jobs"])) }
}

fn changed_app(order: SwapOrder<'_>) -> Result<App, Error> {
    let (app, swap) = (order.app.to_owned(), order.swap.to_owned());
    match order.verb {
        SwapVerb::Prepare { closure } if closure.ends_with("never-starts") => {
            let reason = format!("{closure}/bin/serve: no such file");
            Err(Error::StartFailed { app, reason })
        }
        _ if order.swap == "OTHR" => Err(Error::SwapUnderWay { app, swap: "7H2K".into() }),
        SwapVerb::Prepare { .. } => Ok(apps::swapping(order.swap, SwapPhase::Prepared)),
        SwapVerb::Admit => Ok(apps::swapping(order.swap, SwapPhase::Admitted)),
        SwapVerb::Retire => Err(Error::NoSuchSwap { app, swap }),
        SwapVerb::Abandon => Ok(apps::quiet()),
    }
}

fn event(text: &str) -> Event {
    Event {
        time_ns: NOW_NS - 1_000_000_000,
        what: "ready".into(),
        service: Some("web".into()),
        incarnation: Some(3),
        text: text.into(),
    }
}

fn status(services: Vec<ServiceStatus>) -> Status {
    Status {
        now_ns: NOW_NS,
        host: Host {
            state: HostState::Degraded,
            shutdown: None,
            init: Init { pid: 1, started_ns: 1_000_000_000 },
            supervisor: Supervisor { pid: 77, uptime_ns: 61_000_000_000 },
        },
        services,
        problems: vec![Problem {
            about: "/etc/rollinit/services/typo.toml:3:1".into(),
            message: "unknown key \"exce\"".into(),
            cure: Some("write exec".into()),
        }],
    }
}

fn service(name: &str, state: ServiceState) -> ServiceStatus {
    ServiceStatus {
        name: name.into(),
        source: format!("/etc/rollinit/services/{name}.toml"),
        kind: "simple".into(),
        state,
        since_ns: NOW_NS - 90_000_000_000,
        wanted: true,
        incarnation: 1,
        pid: None,
        main_pid: None,
        restarts: 0,
        restart_at_ns: None,
        stop_deadline_ns: None,
        last_end: None,
        status_text: None,
        problems: Vec::new(),
        listen: Vec::new(),
        definition: Some("5f2a".into()),
        control: Role::Read,
    }
}

fn end(cause: EndCause, exit_code: Option<i32>, signal: Option<i32>, text: &str) -> Option<End> {
    let at_ns = NOW_NS - 90_000_000_000;
    Some(End { incarnation: 1, at_ns, cause, exit_code, signal, text: text.into() })
}

/// One service in each state, with awkward names and texts.
pub fn services() -> Vec<ServiceStatus> {
    use EndCause::{Asked, Own};
    use ServiceState::{
        Backoff, Blocked, Broken, Done, Failed, Running, Starting, Stopped, Stopping, Waiting,
    };
    let crash = "killed by SIGSEGV";
    vec![
        service("api", Waiting),
        ServiceStatus {
            problems: vec!["cache requires mail, which failed".into()],
            ..service("cache", Blocked)
        },
        ServiceStatus { pid: Some(412), ..service("db", Starting) },
        ServiceStatus { last_end: end(Own, Some(0), None, "exited"), ..service("fsck", Done) },
        ServiceStatus {
            restarts: 4,
            restart_at_ns: Some(NOW_NS + 7_500_000_000),
            last_end: end(Own, None, Some(11), crash),
            incarnation: 5,
            ..service("image-resizer-for-thumbnails-of-products", Backoff)
        },
        ServiceStatus {
            last_end: end(Own, Some(1), None, "exited with code 1"),
            restarts: 5,
            incarnation: 6,
            problems: vec!["5 failures within 10s: exited with code 1".into()],
            ..service("mail", Failed)
        },
        ServiceStatus {
            wanted: false,
            last_end: end(Asked, None, Some(15), "stopped by SIGTERM"),
            ..service("ntp", Stopped)
        },
        ServiceStatus {
            pid: Some(500),
            stop_deadline_ns: Some(NOW_NS + 3_000_000_000),
            problems: vec!["was killed and is still there: pid 500 in io_schedule".into()],
            ..service("old", Stopping)
        },
        ServiceStatus {
            kind: String::new(),
            incarnation: 0,
            problems: vec!["its definition is broken: unknown key \"exce\"".into()],
            ..service("typo", Broken)
        },
        ServiceStatus {
            kind: "notify".into(),
            incarnation: 3,
            pid: Some(1234),
            since_ns: NOW_NS - 3_000_000_000_000,
            restarts: 2,
            status_text: Some("12 r\u{e9}quests/s, \u{1b}[31mqueue\n 0".into()),
            listen: vec![Listen { name: "http".into(), address: "[::]:80".into() }],
            ..service("web", Running)
        },
    ]
}

/// A boot: `etc` first, `network` slow, `web` after both, `mail` failed, `late` waits for it.
pub fn timeline() -> Timeline {
    let way = |name: &str, after: &[&str], state, times: [Option<u64>; 3]| {
        let [starting_ns, started_ns, ready_ns] =
            times.map(|time_ms| time_ms.map(|time_ms| time_ms * 1_000_000));
        let after = after.iter().map(|name| (*name).to_owned()).collect();
        let waiting_ns = 1_210_000_000;
        let name = name.to_owned();
        FirstWay { name, state, after, waiting_ns, starting_ns, started_ns, ready_ns }
    };
    let at = |starting: u64, started: u64, ready: u64| [starting, started, ready].map(Some);
    Timeline {
        now_ns: NOW_NS,
        init_ns: 1_150_000_000,
        services: vec![
            way("etc", &[], WayState::Ready, at(1210, 1213, 1260)),
            way("late", &["mail"], WayState::Coming, [None; 3]),
            way("mail", &["etc"], WayState::Failed, [Some(1261), Some(1264), None]),
            way("network", &["etc"], WayState::Ready, at(1260, 1263, 3110)),
            way("web", &["etc", "network", "none"], WayState::Ready, at(3111, 3114, 3500)),
        ],
    }
}

fn processes() -> ProcessList {
    let web = ServiceProcesses {
        name: "web".into(),
        incarnation: 3,
        pid: Some(1234),
        cgroup: "services/web.0".into(),
        processes: Some(4),
        memory_bytes: Some(134_217_728),
        cpu_ns: Some(83_250_000_000),
    };
    let bare = ServiceProcesses {
        name: "db".into(),
        incarnation: 1,
        pid: Some(412),
        cgroup: "services/db.0".into(),
        processes: Some(1),
        memory_bytes: None,
        cpu_ns: None,
    };
    ProcessList { now_ns: NOW_NS, services: vec![bare, web] }
}

/// Runs `test` on a current-thread runtime with a local task set, as the supervisor does.
pub fn on_one_thread<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

/// Serves `backend` at `socket`, every peer taken for `peer`, until the local task set ends.
pub fn listen(socket: &std::path::Path, peer: Peer, backend: Rc<Fake>) {
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    let identify = Rc::new(move |_: &std::os::unix::net::UnixStream| Ok(peer.clone()));
    tokio::task::spawn_local(control::server::run(listener, POLICY, identify, backend));
}
