//! Replies of `GetStatus` and of the verbs that change a service.

use crate::roles::Role;
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

impl HostState {
    /// All of `services` taken together; `sound` if the host has no other problem.
    #[must_use]
    pub fn of(
        shutdown: Option<ShutdownKind>,
        services: &[ServiceStatus],
        sound: bool,
    ) -> HostState {
        use ServiceState::{Starting, Waiting};
        if shutdown.is_some() {
            HostState::Stopping
        } else if !sound || services.iter().any(|service| service.state.is_trouble()) {
            HostState::Degraded
        } else if services.iter().any(|service| matches!(service.state, Waiting | Starting)) {
            HostState::Starting
        } else {
            HostState::Running
        }
    }

    /// The word for it, as in JSON and on the screen.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            HostState::Starting => "starting",
            HostState::Running => "running",
            HostState::Degraded => "degraded",
            HostState::Stopping => "stopping",
        }
    }
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
    /// Where its definition came from; empty if it is no longer defined.
    pub source: String,
    /// How it says that it is ready: simple, notify, oneshot; empty without a sound definition.
    pub kind: String,
    /// How it is.
    pub state: ServiceState,
    /// Since when it is so; CLOCK_MONOTONIC nanoseconds.
    pub since_ns: u64,
    /// Whether it should be up: false once an operator stopped it.
    pub wanted: bool,
    /// The run number of its newest run; 0 before the first.
    pub incarnation: u64,
    /// The process rollinit started, while it lives.
    pub pid: Option<u32>,
    /// The process it named as its main one (sd_notify MAINPID), if it did.
    pub main_pid: Option<u32>,
    /// How often it was started without being asked to.
    pub restarts: u64,
    /// When it will be started again, in backoff; CLOCK_MONOTONIC nanoseconds.
    pub restart_at_ns: Option<u64>,
    /// When it will be killed, while stopping; CLOCK_MONOTONIC nanoseconds.
    pub stop_deadline_ns: Option<u64>,
    /// How its last ended run ended.
    pub last_end: Option<End>,
    /// What it says of itself (sd_notify STATUS).
    pub status_text: Option<String>,
    /// Why it is not as it should be, a line each; empty when all is well.
    pub problems: Vec<String>,
    /// The sockets that are kept for it.
    pub listen: Vec<Listen>,
    /// Hash of the definition in force.
    pub definition: Option<String>,
    /// How far its processes may go on the control sockets at most.
    pub control: Role,
}

/// How a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum ServiceState {
    /// It will start once what it is ordered after has started.
    Waiting,
    /// What it requires will not come up unless somebody helps.
    Blocked,
    /// It is being started and is not ready yet.
    Starting,
    /// It is ready.
    Running,
    /// Its run is going, by our will or its own.
    Stopping,
    /// It ended and starts again in a while.
    Backoff,
    /// It is down as it should be.
    Stopped,
    /// A oneshot did its work.
    Done,
    /// It is down and stays down: its policy gave up.
    Failed,
    /// Its definition is broken.
    Broken,
}

impl ServiceState {
    /// The word for it, as in JSON and on the screen; at most eight letters.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ServiceState::Waiting => "waiting",
            ServiceState::Blocked => "blocked",
            ServiceState::Starting => "starting",
            ServiceState::Running => "running",
            ServiceState::Stopping => "stopping",
            ServiceState::Backoff => "backoff",
            ServiceState::Stopped => "stopped",
            ServiceState::Done => "done",
            ServiceState::Failed => "failed",
            ServiceState::Broken => "broken",
        }
    }

    /// It is not as it should be, and that is not merely because it is on its way.
    #[must_use]
    pub fn is_trouble(self) -> bool {
        use ServiceState::{Backoff, Blocked, Broken, Failed};
        matches!(self, Backoff | Blocked | Broken | Failed)
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct End {
    /// Which run.
    pub incarnation: u64,
    /// When it ended; CLOCK_MONOTONIC nanoseconds.
    pub at_ns: u64,
    /// Why.
    pub cause: EndCause,
    /// Its exit code, if it exited.
    pub exit_code: Option<i32>,
    /// The number of the signal, if one ended it.
    pub signal: Option<i32>,
    /// The same in words.
    pub text: String,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum EndCause {
    /// By itself, or by a signal that was not ours.
    Own,
    /// It was told to.
    Asked,
    /// It was told to and did not in time, so it was killed.
    Deadline,
    /// The kernel had no memory left for it.
    OutOfMemory,
    /// Everything was ended for a shutdown.
    Shutdown,
    /// It never began: it could not be started.
    NotStarted,
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
