//! Definitions: what a service runs and the policy around it, from TOML.
//!
//! One file a service, named after it. `docs/services.md` is the reference of every key; a key that
//! is not in it is refused, with its place and the nearest key that is. All problems of a file are
//! reported, not the first alone.

mod apps;
mod credentials;
mod load;
mod read;
mod resources;
mod sections;
mod sockets;
mod values;

pub(crate) use apps::closure_fault;
pub use load::{load, parse, parse_app, parse_environment};
pub use values::signal_name;

/// The reader's tools, for other documents that are to be as strict, and hold definitions of apps.
pub mod document {
    pub use super::read::{Fault, File, Section, Written};
    pub use super::sections::{duration, environment, strings};
    pub use super::values::{duration_ms, word};

    /// The table of an app, wherever it stands.
    pub fn app(file: &mut File, section: Section) -> crate::App {
        super::apps::app(file, section).0
    }
}

use crate::app::App;
use crate::problem::Problem;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A service's definition, checked and with all defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The label under which the file was given, for messages.
    pub source: String,
    /// The program (an absolute path) and its arguments.
    pub exec: Vec<String>,
    /// When it counts as ready, and what its end means.
    pub kind: Kind,
    /// User to run as, a name or a number; none: root.
    pub user: Option<String>,
    /// Primary group, a name or a number; none: the user's own.
    pub group: Option<String>,
    /// Supplementary groups, names or numbers, beside those of the user.
    pub groups: Vec<String>,
    /// Working directory, absolute.
    pub directory: String,
    /// Environment beside what the supervisor sets.
    pub environment: BTreeMap<String, String>,
    /// File mode bits that new files do not get.
    pub umask: u32,
    /// How gladly the kernel kills it when memory is short: −1000 (never) to 1000 (first).
    pub oom_score_adjust: i16,
    /// Whether its user may reach the cloud's metadata service; root always may.
    pub imds: bool,
    /// It starts after these and stops before them, where both do.
    pub after: Vec<String>,
    /// It starts before these and stops after them, where both do.
    pub before: Vec<String>,
    /// It starts only when these are ready, and goes down when one is stopped by hand.
    pub requires: Vec<String>,
    /// Starting it by hand starts these too; it does not care what becomes of them.
    pub wants: Vec<String>,
    /// When it counts as ready.
    pub ready: Ready,
    /// What happens when it ends.
    pub restart: Restart,
    /// How it is stopped.
    pub stop: Stop,
    /// Sockets that are bound once, kept by PID 1 and passed as `LISTEN_FDS`, in this order.
    pub listen: Vec<Listen>,
    /// What it may use.
    pub limits: Limits,
    /// What its processes may ask of the control sockets.
    pub control: Control,
    /// Secrets that it gets as files below `$CREDENTIALS_DIRECTORY`, by name.
    pub credentials: BTreeMap<String, Credential>,
}

/// One of `[service.credentials]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Where it comes from.
    pub source: CredentialSource,
    /// What happens to a run when there is a new one.
    pub on_change: OnChange,
}

/// Where a credential comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// A file of this host, absolute; read at each start.
    Path(String),
    /// A parameter of SSM; the agent delivers it, and again when it changes.
    Ssm(String),
}

/// What happens to a run when one of its credentials changes. The file is replaced in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnChange {
    /// Nothing: the program reads the file when it needs it.
    Nothing,
    /// It is started again.
    Restart,
    /// It gets this signal.
    Signal(u8),
}

/// What processes of a service may ask of the control sockets, whoever they run as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Control {
    /// Look.
    #[default]
    Read,
    /// Look, start, stop and restart, as far as their user may.
    Operate,
    /// All that their user may.
    Admin,
}

/// When a service counts as ready, and what its end means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// Ready as soon as its program runs.
    #[default]
    Simple,
    /// Ready when it says `READY=1` (sd_notify(3)).
    Notify,
    /// Ready when it has ended with success; it is done then and not started again.
    Oneshot,
}

impl Kind {
    /// The word in the file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Notify => "notify",
            Self::Oneshot => "oneshot",
        }
    }
}

/// `[service.ready]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// How long it may take from its start, in milliseconds; none: as long as it likes.
    pub timeout_ms: Option<u64>,
}

/// `[service.restart]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// After which ends it starts again.
    pub policy: Policy,
    /// Delay before the first restart in a row, in milliseconds; doubles from then on.
    pub backoff_min_ms: u64,
    /// Delay it does not grow beyond, in milliseconds.
    pub backoff_max_ms: u64,
    /// A run that was ready for so long ends the row, in milliseconds.
    pub reset_after_ms: u64,
    /// When to give up; none: never.
    pub intensity: Option<Intensity>,
}

/// More than `count` restarts within the period: give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    /// Restarts that are tolerated.
    pub count: u32,
    /// Within this time, in milliseconds.
    pub period_ms: u64,
}

/// After which ends a service starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// After every end.
    Always,
    /// After an end that [`End::is_success`](crate::End::is_success) does not call a success.
    OnFailure,
    /// After none.
    No,
}

/// `[service.stop]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// First signal, its number.
    pub signal: u8,
    /// Time before its whole cgroup is killed, in milliseconds.
    pub timeout_ms: u64,
    /// Who gets the first signal.
    pub scope: Scope,
}

/// Who gets a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The process that PID 1 started.
    Leader,
    /// Its process group.
    Group,
    /// Every process in the run's cgroup.
    Cgroup,
}

/// `[[service.listen]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Its name in `LISTEN_FDNAMES`; unique within the service.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// Connections that wait to be accepted: listen(2).
    pub backlog: u32,
    /// A TCP socket of which each side of an app has its own, in one `SO_REUSEPORT` group.
    pub grouped: bool,
}

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP, a fixed port.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix {
        /// Absolute path.
        path: String,
        /// Permission bits of the socket file.
        mode: u32,
        /// Owner of the socket file, a name or a number; none: the service's user.
        user: Option<String>,
        /// Group of the socket file, a name or a number; none: the service's group.
        group: Option<String>,
    },
}

/// `[service.limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Resource limits of setrlimit(2); what is not named gets the system's default.
    pub resources: Vec<ResourceLimit>,
    /// `pids.max` of its cgroup; none: no limit.
    pub pids_max: Option<u64>,
    /// `memory.max` of its cgroup in bytes; none: no limit.
    pub memory_max_bytes: Option<u64>,
    /// `memory.high` of its cgroup in bytes; none: no limit.
    pub memory_high_bytes: Option<u64>,
    /// `memory.swap.max` of its cgroup in bytes; none: no limit.
    pub swap_max_bytes: Option<u64>,
    /// `cpu.weight` of its cgroup, 1 to 10,000.
    pub cpu_weight: u16,
}

/// One limit of setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimit {
    /// `RLIMIT_*` number of Linux on x86-64 and arm64.
    pub resource: u8,
    /// Soft limit; `u64::MAX` is infinity.
    pub soft: u64,
    /// Hard limit; `u64::MAX` is infinity.
    pub hard: u64,
}

/// What [`load`] made of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Sound definitions of services by name.
    pub definitions: BTreeMap<String, Definition>,
    /// Sound definitions of apps by name.
    pub apps: BTreeMap<String, App>,
    /// Names whose definition is broken, or part of a cycle, with the first error.
    pub broken: BTreeMap<String, Problem>,
    /// All problems of all files, sorted by place; errors and warnings.
    pub problems: Vec<Problem>,
    /// Every cycle of the order, as the path around it: `["a", "b", "a"]`.
    pub cycles: Vec<Vec<String>>,
}

impl Loaded {
    /// Lends variables to every app: what its own definition says counts.
    pub fn lend(&mut self, variables: &BTreeMap<String, String>) {
        for app in self.apps.values_mut() {
            let own = &mut app.template.environment;
            for (name, value) in variables {
                own.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
    }

    /// What each sound service or app says of the others.
    pub fn nodes(&self) -> impl Iterator<Item = (&String, &Definition)> {
        let apps = self.apps.iter().map(|(name, app)| (name, &app.template));
        self.definitions.iter().chain(apps)
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: 15, timeout_ms: 10_000, scope: Scope::Cgroup }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            resources: Vec::new(),
            pids_max: Some(crate::limits::PIDS_MAX_DEFAULT),
            memory_max_bytes: None,
            memory_high_bytes: None,
            swap_max_bytes: None,
            cpu_weight: 100,
        }
    }
}
