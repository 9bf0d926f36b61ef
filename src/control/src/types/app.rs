//! What travels about apps: how each one is, and the steps of a swap.

use super::ServiceState;
use serde::{Deserialize, Serialize};
use zlink::introspect::{CustomType, Type};

/// Reply of `Apps`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct AppList {
    /// When the reply was made; CLOCK_MONOTONIC nanoseconds.
    pub now_ns: u64,
    /// The apps, by name.
    pub apps: Vec<App>,
}

/// Reply of `WatchApp`, `Prepare`, `Admit`, `Retire` and `Abandon`: the app as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct AppView {
    /// When the reply was made; CLOCK_MONOTONIC nanoseconds.
    pub now_ns: u64,
    /// The app.
    pub app: App,
}

/// An app: a service whose program comes from a closure that is swapped.
///
/// It has two sides, 0 and 1. One serves; the other rests, except during a swap by overlap or
/// ports, when it runs the candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct App {
    /// Its name.
    pub name: String,
    /// The side that serves; with the strategy restart also the one that is being changed.
    pub serving: AppRun,
    /// The side that runs the candidate, during a swap by overlap or ports.
    pub candidate: Option<AppRun>,
    /// The swap that is under way.
    pub swap: Option<AppSwap>,
    /// What its definition says about swaps.
    pub policy: AppPolicy,
}

/// One side of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct AppRun {
    /// Which: 0 or 1.
    pub side: u32,
    /// The store path it runs; none for an app that never had one.
    pub closure: Option<String>,
    /// The TCP port that it binds by itself, with the strategy ports.
    pub port: Option<u16>,
    /// How it is.
    pub state: ServiceState,
    /// The number of its newest run; 0 before the first.
    pub incarnation: u64,
    /// The process rollinit started, while it lives.
    pub pid: Option<u32>,
    /// Whether it is ready by its own kind: started, or READY=1 with kind notify.
    pub ready: bool,
    /// How often it was started without being asked to.
    pub restarts: u64,
    /// Since when it is in that state; CLOCK_MONOTONIC nanoseconds.
    pub since_ns: u64,
    /// Why it is not as it should be, or how its last run ended.
    pub reason: Option<String>,
}

/// The swap of an app that is under way, as the supervisor sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct AppSwap {
    /// Its id, given by the agent.
    pub id: String,
    /// How far it is.
    pub phase: SwapPhase,
    /// The store path of the candidate.
    pub closure: String,
}

/// How far the supervisor is with a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum SwapPhase {
    /// The candidate is being started.
    Preparing,
    /// The candidate's program runs; users stay where they are.
    Prepared,
    /// New connections go to the candidate.
    Admitted,
    /// The previous side is going.
    Retiring,
    /// The candidate is going, the previous side serves.
    Abandoning,
}

impl SwapPhase {
    /// The word for it, as in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            SwapPhase::Preparing => "preparing",
            SwapPhase::Prepared => "prepared",
            SwapPhase::Admitted => "admitted",
            SwapPhase::Retiring => "retiring",
            SwapPhase::Abandoning => "abandoning",
        }
    }
}

/// What an app's definition says about its swaps. Programs and arguments carry `${closure}` as
/// written: whose closure it is, the caller knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct AppPolicy {
    /// How the new closure takes over.
    pub strategy: Strategy,
    /// The TCP ports that side 0 and side 1 bind by themselves; empty but with the strategy ports.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// How to find out that it is healthy.
    pub health: AppHealth,
    /// How long a side that goes may finish its requests; milliseconds.
    pub drain_ms: u64,
    /// How long both sides stay after the switch; milliseconds.
    pub bake_ms: u64,
    /// How long it is watched after the commit; milliseconds.
    pub watch_ms: u64,
    /// When the previous side goes.
    pub retire: RetireWhen,
    /// The program that migrates, run if that file exists; none: never.
    pub migrate: Option<String>,
    /// The time after which a migration is killed unless its lease is renewed; milliseconds.
    pub migrate_lease_ms: u64,
    /// Program and arguments to run after the switch; empty: none.
    pub after_switch: Vec<String>,
    /// Program and arguments to run after a way back; empty: none.
    pub on_rollback: Vec<String>,
}

/// How a new closure takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum Strategy {
    /// Both run for a while, and new connections move at once.
    Overlap,
    /// The old one stops, the new one starts on the same kept sockets.
    Restart,
    /// Both run for a while, each on a port that it binds by itself; a balancer moves users.
    Ports,
}

impl Strategy {
    /// The word for it, as in JSON and in definitions.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Strategy::Overlap => "overlap",
            Strategy::Restart => "restart",
            Strategy::Ports => "ports",
        }
    }
}

/// When the previous side goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum RetireWhen {
    /// After the bake: until then the way back is one call.
    AfterBake,
    /// At the switch: for apps that must not run twice for longer than that.
    AtSwitch,
}

/// How an app is asked whether it is healthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct AppHealth {
    /// By what.
    pub kind: HealthKind,
    /// Where to ask with http and tcp: an IP address and port to connect to, or `unix:/path`. With
    /// the strategy ports it ends in `${port}`: that of the side that is asked.
    pub address: Option<String>,
    /// The path to GET, with http.
    pub path: Option<String>,
    /// From one try to the next; milliseconds.
    pub every_ms: u64,
    /// Good answers in a row that it takes.
    pub passes: u32,
    /// The time one answer may take; milliseconds.
    pub timeout_ms: u64,
    /// The time all of it may take; milliseconds.
    pub deadline_ms: u64,
}

/// By what health is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum HealthKind {
    /// A GET is answered with 2xx.
    Http,
    /// A connection is accepted.
    Tcp,
    /// It says READY=1 (sd_notify).
    Notify,
    /// It stays up.
    Up,
}

/// A program of an app that is run beside its service, with the app's user, environment and
/// limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, CustomType)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum Task {
    /// Before any process is touched.
    Migrate,
    /// After the switch.
    AfterSwitch,
    /// After a way back.
    OnRollback,
}

impl Task {
    /// The word for it, as in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Task::Migrate => "migrate",
            Task::AfterSwitch => "after_switch",
            Task::OnRollback => "on_rollback",
        }
    }
}

/// Reply of `RunTask`: how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct TaskEnd {
    /// Its exit code, if it exited.
    pub exit: Option<i32>,
    /// The number of the signal, if one ended it.
    pub signal: Option<i32>,
    /// It was killed because its lease was not renewed in time.
    pub lease_ended: bool,
}

impl TaskEnd {
    /// It exited with 0.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.exit == Some(0)
    }
}
