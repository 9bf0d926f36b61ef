//! What the shell shall do.

use crate::app::Side;
use crate::definition::Scope;
use crate::event::PowerKind;
use crate::record::Record;

/// Something to do. Effects are carried out in the order in which they come; a supervisor that dies
/// between two of them loses nothing, since the memos come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start a run by [`Machine::definition`](crate::Machine::definition). Must be answered by
    /// `Started` or `SpawnFailed`.
    Spawn {
        /// Whose run.
        key: String,
        /// Which run: above all that PID 1 has seen of the key.
        incarnation: u64,
    },
    /// Signal a run now and kill its whole cgroup at the deadline. PID 1 holds the deadline, so it
    /// is kept with no supervisor there. May come again for the same run: the newest counts.
    Stop {
        /// Whose run.
        key: String,
        /// Which run.
        incarnation: u64,
        /// Who gets the signal.
        scope: Scope,
        /// Signal number, 1 to 64.
        signal: u8,
        /// `CLOCK_MONOTONIC` in nanoseconds.
        deadline_ns: u64,
    },
    /// Signal a run that is to go on.
    Signal {
        /// Whose run.
        key: String,
        /// Which run.
        incarnation: u64,
        /// Who gets the signal.
        scope: Scope,
        /// Signal number, 1 to 64.
        signal: u8,
    },
    /// Everybody has heard of the changes of an owner's credentials that were told so far.
    CredentialsSettled {
        /// The service or app.
        owner: String,
    },
    /// Drop the tombstone of a run. May come again for a run that is already forgotten.
    Forget {
        /// Whose run.
        key: String,
        /// Which run.
        incarnation: u64,
    },
    /// Drop a key, its memo, its listening sockets and log: it is no longer defined and has no run.
    ForgetKey {
        /// Which.
        key: String,
    },
    /// Drop a key's listening sockets: its next run gets others.
    Unlisten {
        /// Which.
        key: String,
    },
    /// Have PID 1 keep these words for the key.
    Memo {
        /// A service, or [`SUPERVISOR_KEY`](crate::machine::SUPERVISOR_KEY).
        key: String,
        /// At most [`MEMO_BYTES_MAX`](crate::limits::MEMO_BYTES_MAX).
        bytes: Vec<u8>,
    },
    /// Set when PID 1 kills a living run, whoever is there; the newest counts.
    Deadline {
        /// Whose run.
        key: String,
        /// Which run.
        incarnation: u64,
        /// `CLOCK_MONOTONIC` in nanoseconds.
        deadline_ns: u64,
    },
    /// Bring the `SO_REUSEPORT` groups of an app's TCP sockets into this order and have this
    /// program steer them; other sockets are left alone. It says how things shall be: where they
    /// are so, nothing happens. Answered by [`Event::Grouped`](crate::Event::Grouped) before any
    /// later effect counts on it.
    Group {
        /// Which app.
        app: String,
        /// Chosen by the machine; the answer carries it.
        request: u64,
        /// Who the program means by the first; bound, kept and listening if they were not. Those of
        /// the other side listen behind them or not at all; if they are found in front, since the
        /// first were shut down meanwhile, the shell turns the program round.
        first: Side,
        /// What steers new connections.
        program: Program,
    },
    /// Wait until no connection has waited to be accepted at a side's TCP sockets for a second.
    /// Answered by [`Event::QueueEmpty`](crate::Event::QueueEmpty), at once if it has none that
    /// listen. The newest counts; a later `Group` of the app ends the wait.
    AwaitEmpty {
        /// Which app.
        app: String,
        /// Chosen by the machine; the answer carries it.
        request: u64,
        /// Whose sockets.
        side: Side,
    },
    /// Answer a command.
    Reply {
        /// The command's.
        id: u64,
        /// What came of it.
        result: Result<Outcome, CommandError>,
    },
    /// Answer [`Event::RunTask`](crate::Event::RunTask).
    TaskReply {
        /// The event's.
        id: u64,
        /// What came of it.
        result: Result<TaskEnd, CommandError>,
    },
    /// Tell whoever listens.
    Report(Record),
    /// Everything is stopped, or will not stop: PID 1 shall end the machine.
    Shutdown {
        /// How.
        kind: PowerKind,
    },
}

/// What steers new connections between an app's two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Users go to the first, probes (from 127.0.0.9) to the second. With nobody else there, all
    /// go to the first.
    Gate,
    /// All go to the second; to the first while nobody else is there.
    Switch,
    /// All go to the first, and the other's sockets stop listening.
    Alone,
    /// Nobody's sockets listen.
    Nobody,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskEnd {
    /// Exit code, if it exited.
    pub exit: Option<i32>,
    /// Signal number, if one ended it.
    pub signal: Option<i32>,
    /// Its lease was not renewed and PID 1 killed it.
    pub lease_ended: bool,
}

/// What came of a command that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// There was nothing to do: it was so already.
    Already,
}

/// Why a command was not carried out. The text names the object and the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No service has this name.
    #[error("no service is named {key:?}{}", did_you_mean(.nearest.as_deref()))]
    Unknown {
        /// The name as it was given.
        key: String,
        /// The service whose name is nearest to it.
        nearest: Option<String>,
    },
    /// Its definition is broken.
    #[error("{key} cannot start: its definition is broken: {reason}")]
    Broken {
        /// The service.
        key: String,
        /// The first problem of its file.
        reason: String,
    },
    /// It will not come up as things are.
    #[error("{key} does not come up: {reason}")]
    NotReady {
        /// The service.
        key: String,
        /// Why.
        reason: String,
    },
    /// Its run was killed and is still there.
    #[error("{key} does not go away: {reason}")]
    Stuck {
        /// The service.
        key: String,
        /// Who is left, and where it sleeps.
        reason: String,
    },
    /// A later command wanted something else.
    #[error("a later `{verb}` of {key} took its place")]
    Superseded {
        /// The service.
        key: String,
        /// The later command.
        verb: crate::event::Verb,
    },
    /// It was taken out of the definitions.
    #[error("{key} is no longer defined: a reload removed it")]
    Removed {
        /// The service.
        key: String,
    },
    /// The machine is ending.
    #[error("{key} is not touched: a {kind} is under way")]
    ShuttingDown {
        /// The service.
        key: String,
        /// How it ends.
        kind: PowerKind,
    },
    /// Another swap of the app is under way.
    #[error("swap {swap} of {app} is under way; follow it, or have it taken back")]
    SwapUnderWay {
        /// The app.
        app: String,
        /// The other swap's id.
        swap: String,
    },
    /// No such swap is under way.
    #[error("no swap {swap} of {app} is under way: {reason}")]
    NoSwap {
        /// The app.
        app: String,
        /// The id as it was given.
        swap: String,
        /// What is known of it.
        reason: String,
    },
    /// The swap is not where this step can be taken.
    #[error("{app} does not {verb} in swap {swap}: {reason}")]
    WrongPhase {
        /// The app.
        app: String,
        /// The swap's id.
        swap: String,
        /// The step.
        verb: &'static str,
        /// Where the swap is, and what to do.
        reason: String,
    },
    /// A program of the app does not start. The step stays wanted, and may be asked for again.
    #[error("{app} does not start: {reason}")]
    StartFailed {
        /// The app.
        app: String,
        /// Why.
        reason: String,
    },
    /// What was given makes no sense.
    #[error("{app}: {reason}")]
    Refused {
        /// The app.
        app: String,
        /// Why, and what to give instead.
        reason: String,
    },
    /// Too many commands wait.
    #[error("{limit} commands wait already; try again when some are answered")]
    TooMany {
        /// [`COMMANDS_PENDING_MAX`](crate::limits::COMMANDS_PENDING_MAX).
        limit: usize,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(
        || "; `rollinit status` lists them".to_owned(),
        |name| format!("; did you mean {name:?}?"),
    )
}
