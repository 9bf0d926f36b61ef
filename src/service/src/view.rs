//! What `status` shows.

use crate::app::Side;
use crate::event::PowerKind;
use crate::snapshot::End;

/// One service, or the side of an app that users reach, as it is now. Built only from definitions
/// and from what PID 1 keeps, so it is the same before and after the death of a supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The service.
    pub name: String,
    /// Where its definition came from; empty if it is no longer defined.
    pub source: String,
    /// `simple`, `notify` or `oneshot`; empty if it has no sound definition.
    pub kind: &'static str,
    /// How it is.
    pub state: State,
    /// It shall be up: nobody stopped it by hand.
    pub desired_up: bool,
    /// The leader of its living run.
    pub pid: Option<u32>,
    /// The process that the service named by `MAINPID=`, if any.
    pub main_pid: Option<u32>,
    /// Number of its newest run; 0 before the first.
    pub incarnation: u64,
    /// Starts that were not asked for by an operator or by boot.
    pub restarts: u32,
    /// Since when it is in this state: `CLOCK_MONOTONIC` in nanoseconds.
    pub since_ns: u64,
    /// What the service last said by `STATUS=`.
    pub status: String,
    /// How its last ended run ended.
    pub last_end: Option<LastEnd>,
    /// When the next start is due, in state `Backoff`: `CLOCK_MONOTONIC` in nanoseconds.
    pub next_start_ns: Option<u64>,
    /// When PID 1 will kill it, in state `Stopping`: `CLOCK_MONOTONIC` in nanoseconds.
    pub stop_deadline_ns: Option<u64>,
    /// Why it is not as it should be, one line each; empty when all is well.
    pub problems: Vec<String>,
}

/// How the last ended run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastEnd {
    /// Which run.
    pub incarnation: u64,
    /// The run's raw status, cause and usage; none when the spawn failed.
    pub end: Option<End>,
    /// When: `CLOCK_MONOTONIC` in nanoseconds.
    pub at_ns: u64,
    /// In words: `exited with code 1`, `spawn failed at exec: …`.
    pub text: String,
}

/// How a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It will start once what it is ordered after has started.
    Waiting,
    /// What it requires will not come up unless somebody helps, or a credential cannot be had.
    Blocked,
    /// Its run was asked for and is not ready yet.
    Starting,
    /// It is ready.
    Running,
    /// Its run is going, by our will or its own.
    Stopping,
    /// It ended and starts again in a while.
    Backoff,
    /// It is down as it should be: by hand, or by its policy after a success.
    Stopped,
    /// A oneshot did its work.
    Done,
    /// It is down and stays down: its policy gave up.
    Failed,
    /// Its definition is broken.
    Broken,
}

impl State {
    /// The word that `status` prints, at most eight letters.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Blocked => "blocked",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Stopped => "stopped",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Broken => "broken",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

/// How a service first came up. Times are `CLOCK_MONOTONIC` in nanoseconds; one that is not there
/// has not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The service, or the app.
    pub name: String,
    /// How far it is.
    pub state: WayState,
    /// Those that it starts after, whether they are defined or not.
    pub after: Vec<String>,
    /// Since when it was to come up.
    pub waiting_ns: u64,
    /// When its first run was asked for.
    pub starting_ns: Option<u64>,
    /// When a program of it first ran.
    pub started_ns: Option<u64>,
    /// When it was first ready; of a oneshot, when it had done its work.
    pub ready_ns: Option<u64>,
}

/// How far the first way up of a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayState {
    /// It was ready once.
    Ready,
    /// It waits, or starts.
    Coming,
    /// It was tried, and has not been ready so far; or it was stopped before.
    Failed,
}

/// The end of the machine, while it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerView {
    /// How it ends.
    pub kind: PowerKind,
    /// When it ends at the latest: `CLOCK_MONOTONIC` in nanoseconds.
    pub deadline_ns: u64,
    /// [`Effect::Shutdown`](crate::Effect::Shutdown) was given: PID 1 ends it.
    pub handed_over: bool,
}

/// An app as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppView {
    /// The app.
    pub name: String,
    /// The side that served before a swap, until it is retired.
    pub serving: AppRun,
    /// The side that is to take over, while both run.
    pub candidate: Option<AppRun>,
    /// The swap that is under way.
    pub swap: Option<SwapView>,
}

/// A side of an app as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppRun {
    /// Which side.
    pub side: Side,
    /// What it runs; none if the app has nothing to run yet.
    pub closure: Option<String>,
    /// The port that it binds by itself, with strategy `ports`.
    pub port: Option<u16>,
    /// How it is; its `name` is the side's key. It is ready in [`State::Running`].
    pub view: View,
}

/// A swap under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapView {
    /// Its id.
    pub id: String,
    /// How far it is.
    pub phase: SwapPhase,
    /// The candidate's closure.
    pub closure: String,
}

/// How far a swap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SwapPhase {
    /// The candidate's program does not run yet.
    Preparing,
    /// It has run; users go to the old side (not with strategy `restart`).
    Prepared,
    /// Users go to the candidate.
    Admitted,
    /// The old side finishes and ends.
    Retiring,
    /// The candidate finishes and ends.
    Abandoning,
}

impl SwapPhase {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Prepared => "prepared",
            Self::Admitted => "admitted",
            Self::Retiring => "retiring",
            Self::Abandoning => "abandoning",
        }
    }
}
