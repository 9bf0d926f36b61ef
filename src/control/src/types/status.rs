//! Replies of `GetStatus` and of the verbs that change a service.

use serde::{Deserialize, Serialize};
use zlink::introspect::{CustomType, Type};

/// Reply of `GetStatus`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct Status {
    /// When the reply was made; CLOCK_MONOTONIC nanoseconds.
    pub now_ns: u64,
    /// The host as a whole.
    pub host: Host,
    /// The services, by name; one if a name was given.
    pub services: Vec<ServiceStatus>,
    /// What is wrong and how to cure it; empty on a healthy host.
    pub problems: Vec<Problem>,
}

/// The host as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Host {
    /// All services taken together.
    pub state: HostState,
    /// The shutdown that is under way, if one is.
    pub shutdown: Option<ShutdownKind>,
    /// The process that owns all others.
    pub init: Init,
    /// The process that answers this call.
    pub supervisor: Supervisor,
}

/// All services taken together, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum HostState {
    /// Some service is still on its first way up.
    Starting,
    /// Every service is as it was asked to be.
    Running,
    /// Some service failed, or a definition cannot be used.
    Degraded,
    /// A shutdown is under way.
    Stopping,
}

/// The process that owns all others: PID 1, or rollinit-init as an ordinary process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Init {
    /// Its pid.
    pub pid: u32,
    /// When it started; CLOCK_MONOTONIC nanoseconds.
    pub started_ns: u64,
}

/// The process that answers: the only fields that change when it is killed and replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Supervisor {
    /// Its pid.
    pub pid: u32,
    /// How long it has run, in nanoseconds.
    pub uptime_ns: u64,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// What it is, in the words of its definition.
    pub description: Option<String>,
    /// How it says that it is ready: simple, notify.
    pub kind: String,
    /// Where it stands.
    pub state: ServiceState,
    /// When it came to stand there; CLOCK_MONOTONIC nanoseconds.
    pub since_ns: u64,
    /// Whether it should be up: false once an operator stopped it.
    pub wanted: bool,
    /// The run number of its present or last run; 0 before the first.
    pub incarnation: u64,
    /// The process rollinit started, while it lives.
    pub pid: Option<u32>,
    /// The process it named as its main one (sd_notify MAINPID), if it did.
    pub main_pid: Option<u32>,
    /// When the present run started; CLOCK_MONOTONIC nanoseconds.
    pub started_ns: Option<u64>,
    /// How often it was started again without being asked.
    pub restarts: u64,
    /// When it will be started again, in backoff; CLOCK_MONOTONIC nanoseconds.
    pub restart_at_ns: Option<u64>,
    /// How its last ended run ended.
    pub last_end: Option<End>,
    /// What it says of itself (sd_notify STATUS).
    pub status_text: Option<String>,
    /// The services it waits for before it is started.
    pub waiting_for: Vec<String>,
    /// The sockets that are kept for it.
    pub listen: Vec<Listen>,
    /// Hash of the definition in force.
    pub definition: Option<String>,
}

/// Where a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum ServiceState {
    /// It is wanted and waits for others to be ready.
    Waiting,
    /// It is being started and has not said that it is ready.
    Starting,
    /// It is up.
    Ready,
    /// It was told to stop and has not ended yet.
    Stopping,
    /// It ended and will be started again when its pause is over.
    Backoff,
    /// It is down, and that is as it should be.
    Stopped,
    /// It is down, should be up, and will not be started again by itself.
    Failed,
    /// It was told to end, was killed, and still has not ended.
    Stuck,
}

impl ServiceState {
    /// The word for it, as in JSON and on the screen.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ServiceState::Waiting => "waiting",
            ServiceState::Starting => "starting",
            ServiceState::Ready => "ready",
            ServiceState::Stopping => "stopping",
            ServiceState::Backoff => "backoff",
            ServiceState::Stopped => "stopped",
            ServiceState::Failed => "failed",
            ServiceState::Stuck => "stuck",
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct End {
    /// In what way.
    pub kind: EndKind,
    /// Exit code, signal number, or errno; by kind.
    pub code: i64,
    /// What failed, when the run never began: the step of the spawn.
    pub step: Option<String>,
    /// Whether it had been told to stop.
    pub asked: bool,
    /// When it ended; CLOCK_MONOTONIC nanoseconds.
    pub at_ns: u64,
}

/// In what way a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum EndKind {
    /// It exited; code is the exit code.
    Exited,
    /// A signal ended it; code is the signal's number.
    Killed,
    /// It could not be started; code is the errno of the step.
    NotStarted,
    /// It was not ready in time and was ended for it; code is 0.
    TimedOut,
    /// Its status is not known; code is 0.
    Unknown,
}

/// A socket that is bound once and kept over all runs of its service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Listen {
    /// Its name in LISTEN_FDNAMES.
    pub name: String,
    /// Where it listens, as written in the definition.
    pub address: String,
}

/// Something that is wrong, and its cure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Problem {
    /// The object: a service's name, a file with line and column, or "host".
    pub about: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub cure: Option<String>,
}

/// How the host goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum ShutdownKind {
    /// The power is cut at the end.
    Poweroff,
    /// It boots again.
    Reboot,
    /// It stops and stays powered.
    Halt,
}

impl std::fmt::Display for ShutdownKind {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            ShutdownKind::Poweroff => "poweroff",
            ShutdownKind::Reboot => "reboot",
            ShutdownKind::Halt => "halt",
        })
    }
}

/// Reply of `Start`, `Stop` and `Restart`: it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct Changed {
    /// The service.
    pub name: String,
    /// False if there was nothing to do.
    pub changed: bool,
    /// Where the service stands now.
    pub state: ServiceState,
    /// The run number of its present or last run.
    pub incarnation: u64,
    /// The process of the present run, if there is one.
    pub pid: Option<u32>,
}
