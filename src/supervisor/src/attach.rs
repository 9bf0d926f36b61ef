//! From an inherited descriptor to a shell that knows everything PID 1 kept.
//!
//! Order: attach and take the snapshot; take over log pipes and notify sockets; hear what runs
//! said while nobody listened; make the machine and carry out its first effects; only then judge
//! the runs that ended meanwhile.

use crate::clock;
use crate::credentials::Vault;
use crate::definitions::{self, Place};
use crate::groups::Groups;
use crate::guard::Guard;
use crate::history::History;
use crate::listeners::Listeners;
use crate::logs::Logs;
use crate::notify::Notify;
use crate::port::{Incoming, Port, PortError};
use crate::settings::Settings;
use crate::shell::{Handle, Host, Input, Shell, Source};
use port::event::Welcome;
use port::frame::{VERSION, VERSION_MIN};
use port::request::{Attach, TakeFd};
use port::{Answer, Request, SnapshotEnd};
use service::snapshot::RunState;
use service::{Effect, Event, Machine, Snapshot};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use sys::listen::UnixAccess;

/// Connections that wait at the control socket while the supervisor restarts.
const CONTROL_BACKLOG: u32 = 128;

/// The control socket's name in the fd store, and in the run directory.
const CONTROL_KEPT: &str = "control";
const CONTROL_FILE: &str = "supervisor";

/// What keeps the supervisor from beginning.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The port.
    #[error(transparent)]
    Port(#[from] PortError),
    /// Something in the run directory.
    #[error("{what}: {error} (is the run directory there, writable and not full?)")]
    Run {
        /// What was being done.
        what: String,
        /// What the kernel said.
        error: io::Error,
    },
}

fn run(what: impl Into<String>) -> impl FnOnce(io::Error) -> AttachError {
    move |error| AttachError::Run { what: what.into(), error }
}

/// A snapshot as its pages come in.
#[derive(Debug, Default)]
pub struct Paging {
    pub(crate) snapshot: Snapshot,
    pub(crate) kept: Vec<String>,
}

impl Paging {
    /// The whole snapshot, if it is whole.
    ///
    /// # Errors
    /// [`PortError::Incomplete`].
    pub fn finish(mut self, end: &SnapshotEnd) -> Result<(Snapshot, Vec<String>), PortError> {
        let counts = [
            ("keys", end.keys, self.snapshot.keys.len()),
            ("runs", end.runs, self.snapshot.runs.len()),
            ("kept descriptors", end.kept, self.kept.len()),
        ];
        for (what, want, got) in counts {
            if want as usize != got {
                return Err(PortError::Incomplete { what, want, got });
            }
        }
        // Our own helpers, should there be any, are no services.
        self.snapshot.runs.retain(|run| !run.key.starts_with('@'));
        Ok((self.snapshot, self.kept))
    }
}

/// What PID 1 gave.
#[derive(Debug)]
struct Found {
    welcome: Welcome,
    snapshot: Snapshot,
    /// Names in the fd store.
    kept: BTreeSet<String>,
    /// Read ends of log pipes, notify sockets and sockets of apps' sides, by name.
    taken: Vec<(String, OwnedFd)>,
}

/// Attaches; returns the running shell and the control socket.
///
/// # Errors
/// [`AttachError`]: the process should end, PID 1 starts another.
pub async fn attach(
    settings: Settings,
    socket: OwnedFd,
    started_ns: u64,
) -> Result<(Handle, UnixListener), AttachError> {
    let port = Rc::new(Port::new(socket)?);
    // What happens while we ask and wait for answers.
    let mut late = Vec::new();
    let welcome = greet(&port, &mut late).await?;
    let (mut snapshot, kept) = snapshot(&port, &mut late).await?;
    snapshot.shutting_down = welcome.shutting_down;
    let mut kept: BTreeSet<String> = kept.into_iter().collect();
    let control = control(&port, &settings, &mut kept, &mut late).await?;
    let taken = take(&port, &kept, &mut late).await?;
    let found = Found { welcome, snapshot, kept, taken };
    let (mut shell, effects, ended) = build(settings, &port, started_ns, found)?;
    shell.carry_out(effects)?;
    shell.recall_credentials()?;
    let handle = Handle::new(shell);
    handle.watch_sources();
    // The ends come first: they happened before we attached.
    for incoming in ended.into_iter().map(Incoming::Event).chain(late) {
        handle.input(Input::Port(incoming));
    }
    Ok((handle, control))
}

async fn greet(port: &Port, aside: &mut Vec<Incoming>) -> Result<Welcome, PortError> {
    let attach = Attach { version_min: VERSION_MIN, version_max: VERSION };
    match port.ask(&Request::Attach(attach), Vec::new(), aside).await? {
        (Answer::Welcome(welcome), _) => Ok(welcome),
        (Answer::Refused(refusal), _) => Err(PortError::Refused {
            verb: "attach",
            error: io::Error::from_raw_os_error(refusal.errno),
        }),
        (other, _) => Err(PortError::Decode(format!("`attach` is answered by {other:?}"))),
    }
}

/// The pages behind the welcome; events between them are for later.
async fn snapshot(
    port: &Port,
    aside: &mut Vec<Incoming>,
) -> Result<(Snapshot, Vec<String>), PortError> {
    let mut paging = Paging::default();
    loop {
        match port.next().await? {
            Incoming::Key(key) => paging.snapshot.keys.push(key),
            Incoming::Run(run) => paging.snapshot.runs.push(run),
            Incoming::Kept(name) => paging.kept.push(name),
            Incoming::SnapshotEnd(end) => return paging.finish(&end),
            other => aside.push(other),
        }
    }
}

/// A duplicate of a kept descriptor; `None` if PID 1 does not have it after all.
async fn take_one(
    port: &Port,
    name: &str,
    aside: &mut Vec<Incoming>,
) -> Result<Option<OwnedFd>, PortError> {
    let request = Request::TakeFd(TakeFd { name, drop_entry: false });
    let (answer, fd) = port.ask(&request, Vec::new(), aside).await?;
    if fd.is_none() {
        tracing::error!("PID 1 lists {name} and does not give it: {answer:?}");
    }
    Ok(fd)
}

/// The control socket: kept by an earlier supervisor, or bound now and kept.
async fn control(
    port: &Port,
    settings: &Settings,
    kept: &mut BTreeSet<String>,
    aside: &mut Vec<Incoming>,
) -> Result<UnixListener, AttachError> {
    if kept.contains(CONTROL_KEPT)
        && let Some(socket) = take_one(port, CONTROL_KEPT, aside).await?
    {
        return Ok(UnixListener::from(socket));
    }
    let path = settings.run.join(CONTROL_FILE);
    let what = || format!("binding {}", path.display());
    std::fs::create_dir_all(&settings.run).map_err(run(what()))?;
    let own = std::fs::metadata("/proc/self").map_err(run("reading our own uid"))?;
    use std::os::unix::fs::MetadataExt;
    // Everybody may connect; the role decides.
    let access = UnixAccess { mode: 0o666, user: own.uid(), group: own.gid() };
    let socket = sys::listen::unix(&path, access, CONTROL_BACKLOG)
        .map_err(|error| run(format!("{}, {}", what(), error.step))(error.error))?;
    let keep = Request::KeepFd(port::request::KeepFd { name: CONTROL_KEPT });
    let duplicate = socket.try_clone().map_err(run(what()))?;
    port.ask(&keep, vec![duplicate], aside).await?;
    kept.insert(CONTROL_KEPT.to_owned());
    Ok(UnixListener::from(socket))
}

/// Read ends of log pipes, notify sockets and what may be sockets of apps' sides, by name.
async fn take(
    port: &Port,
    kept: &BTreeSet<String>,
    aside: &mut Vec<Incoming>,
) -> Result<Vec<(String, OwnedFd)>, PortError> {
    let mut taken = Vec::new();
    for name in kept {
        // The write end is kept last: without it the pipe was never handed to a service.
        let log = name.strip_suffix("/read").map(|log| format!("{log}/write"));
        let is_log = name.starts_with("log/") && log.is_some_and(|write| kept.contains(&write));
        // A service's own are its own; only what may be a side's is ours to steer.
        let is_side = name.strip_prefix("listen/").and_then(|rest| rest.split('/').next());
        let is_side = is_side.is_some_and(|key| key.ends_with(".0") || key.ends_with(".1"));
        if (is_log || is_side || name.starts_with("notify/"))
            && let Some(fd) = take_one(port, name, aside).await?
        {
            taken.push((name.clone(), fd));
        }
    }
    Ok(taken)
}

/// A shell that knows everything, the first effects of its machine, and the ends that it has not
/// judged yet.
fn build(
    settings: Settings,
    port: &Rc<Port>,
    started_ns: u64,
    found: Found,
) -> Result<(Shell, Vec<Effect>, Vec<Event>), AttachError> {
    let Found { welcome, mut snapshot, kept, taken } = found;
    let place = Place::of(&settings, welcome.pid, welcome.started_ns);
    let index = index_in_force(&snapshot);
    let in_force = place.load(index.as_deref()).map_err(run("keeping definitions"))?;
    // Once: they are in `status` for as long as they last.
    if welcome.attaches == 0 {
        for problem in &in_force.loaded.problems {
            tracing::error!("{problem}");
        }
    }
    let apps = in_force.loaded.apps.keys();
    let unknown = apps.clone().filter(|name| !remembers(&snapshot, name));
    let closures = crate::apps::closures(&settings.profiles, unknown);
    let log = settings.run.join("log");
    let mut logs = Logs::new(&log, apps.cloned().collect()).map_err(run("log directory"))?;
    let mut notify = Notify::new(&settings.run.join("notify")).map_err(run("notify directory"))?;
    let mut listeners = Listeners::default();
    snapshot.keys.iter().for_each(|entry| listeners.recall(&entry.key, &entry.memo));
    let sources = adopt(taken, &snapshot, &mut logs, &mut notify, &mut listeners);
    let ended = revive(&mut snapshot, &mut notify);
    let (machine, effects) = Machine::new(in_force.loaded, snapshot, &closures, clock::now());
    let host = Host {
        init_pid: welcome.pid,
        init_started_ns: welcome.started_ns,
        started_ns,
        index,
        hashes: in_force.hashes,
        unread: in_force.unread,
        settings,
    };
    let mut guard = Guard::new(&host.settings.definitions);
    guard.refresh(machine.loaded());
    let shell = Shell {
        guard,
        groups: Groups::open(&host.settings.cgroup),
        vault: Vault::new(&host.settings.run),
        host,
        port: Rc::clone(port),
        machine,
        logs,
        notify,
        history: beginning(&welcome, started_ns),
        kept,
        pending: HashMap::new(),
        commands: HashMap::new(),
        tasks: HashMap::new(),
        command_last: 0,
        listeners,
        watched_apps: BTreeMap::new(),
        watched_credentials: tokio::sync::watch::Sender::default(),
        paging: Paging::default(),
        sources,
        caused: VecDeque::new(),
    };
    tracing::info!(
        "attached to PID {} as its {}. owner",
        welcome.pid,
        u64::from(welcome.attaches) + 1
    );
    Ok((shell, effects, ended))
}

/// Which index of definitions PID 1 remembers; none before the first reload.
fn index_in_force(snapshot: &Snapshot) -> Option<String> {
    let entry = snapshot.keys.iter().find(|entry| entry.key == definitions::MEMO_KEY)?;
    Some(String::from_utf8_lossy(&entry.memo).into_owned()).filter(|name| !name.is_empty())
}

/// Events before this supervisor went with the last one, which is an event itself.
fn beginning(welcome: &Welcome, started_ns: u64) -> History {
    let mut history = History::default();
    if welcome.attaches > 0 {
        history.add(control::types::Event {
            time_ns: started_ns,
            what: "supervisor".to_owned(),
            service: None,
            incarnation: None,
            text: "the supervisor was started again; what happened before it is not kept"
                .to_owned(),
        });
    }
    history
}

/// Whether an app was run under this PID 1 before: then its own memory says what it runs.
fn remembers(snapshot: &Snapshot, app: &str) -> bool {
    snapshot.keys.iter().any(|entry| entry.key.strip_prefix("@app/") == Some(app))
}

/// Pipes and sockets that earlier supervisors made. One that cannot be taken over is said; its
/// service goes on.
fn adopt(
    taken: Vec<(String, OwnedFd)>,
    snapshot: &Snapshot,
    logs: &mut Logs,
    notify: &mut Notify,
    listeners: &mut Listeners,
) -> Vec<Source> {
    let mut sources = Vec::new();
    for (name, fd) in taken {
        let adopted = match name.split('/').collect::<Vec<_>>()[..] {
            ["log", key, "read"] => {
                let known = snapshot.keys.iter().find(|entry| entry.key == key);
                let incarnation = known.map_or(0, |entry| entry.incarnation_last);
                let pipe = logs.adopt(key, fd, incarnation);
                pipe.map(|pipe| Source::Log(key.to_owned(), pipe))
            }
            ["notify", key, incarnation] => {
                let incarnation = incarnation.parse().unwrap_or(0);
                let socket = notify.adopt(key, incarnation, fd);
                socket.map(|socket| Source::Notify(key.to_owned(), incarnation, socket))
            }
            ["listen", ..] => {
                listeners.hold(&name, fd);
                continue;
            }
            _ => Err(io::Error::other("its name is none of ours")),
        };
        match adopted {
            Ok(source) => sources.push(source),
            Err(error) => tracing::error!("{name}: cannot be taken over: {error}"),
        }
    }
    sources
}

/// Runs that ended after they said something nobody has heard yet are shown to the machine as
/// living; their ends follow as events, behind what they said.
fn revive(snapshot: &mut Snapshot, notify: &mut Notify) -> Vec<Event> {
    let mut ended = Vec::new();
    for run in &mut snapshot.runs {
        if run.state == RunState::Starting {
            // Whoever asked for it is gone: PID 1 will not say whether its exec succeeds. If not,
            // it ends like any other run.
            run.state = RunState::Running;
        }
        let RunState::Ended { end, emptied } = run.state else { continue };
        if notify.has_words(&run.key, run.incarnation) {
            let (key, incarnation) = (run.key.clone(), run.incarnation);
            ended.push(Event::Exited { key, incarnation, end, emptied });
            run.state = RunState::Running;
        }
    }
    ended
}
