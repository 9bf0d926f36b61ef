//! What the shell shall do.

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
    /// Have PID 1 keep these words for the key.
    Memo {
        /// A service, or [`SUPERVISOR_KEY`](crate::machine::SUPERVISOR_KEY).
        key: String,
        /// At most [`MEMO_BYTES_MAX`](crate::limits::MEMO_BYTES_MAX).
        bytes: Vec<u8>,
    },
    /// Answer a command.
    Reply {
        /// The command's.
        id: u64,
        /// What came of it.
        result: Result<Outcome, CommandError>,
    },
    /// Tell whoever listens.
    Report(Record),
    /// Everything is stopped, or will not stop: PID 1 shall end the machine.
    Shutdown {
        /// How.
        kind: PowerKind,
    },
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
    /// The machine is ending.
    #[error("{key} is not touched: a {kind} is under way")]
    ShuttingDown {
        /// The service.
        key: String,
        /// How it ends.
        kind: PowerKind,
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
