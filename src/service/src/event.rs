//! What can happen.

use crate::app::Task;
use crate::notification::Notification;
use crate::snapshot::End;
use std::collections::{BTreeMap, BTreeSet};

/// Something happened. Events of PID 1 arrive at least once: (key, incarnation) makes them
/// idempotent, and those of unknown keys or old incarnations are harmless.
///
/// The shell delivers every notification of a run before that run's `Exited`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A spawn succeeded: the program runs.
    Started {
        /// Whose run.
        key: String,
        /// Which run.
        incarnation: u64,
        /// Its leader.
        pid: u32,
        /// `CLOCK_MONOTONIC` of the clone, in nanoseconds.
        started_ns: u64,
    },
    /// A spawn failed at or before exec: the run never existed. Also what the shell says when it
    /// could not even ask (a user that does not exist, a port in use).
    SpawnFailed {
        /// Whose run.
        key: String,
        /// Which run.
        incarnation: u64,
        /// What was being done, in a word or a phrase: `exec`, `user`, `listen http`.
        step: String,
        /// `errno` of it; 0 if there is none.
        errno: i32,
    },
    /// A leader was reaped.
    Exited {
        /// Whose run.
        key: String,
        /// Which run.
        incarnation: u64,
        /// How it ended.
        end: End,
        /// Nothing is left in its cgroup: the run is stopped. Else `Emptied` follows.
        emptied: bool,
    },
    /// The cgroup of an exited run is empty now: the run is stopped.
    Emptied {
        /// Whose run.
        key: String,
        /// Which run.
        incarnation: u64,
    },
    /// Killed, and still there.
    Stuck {
        /// Whose run.
        key: String,
        /// Which run.
        incarnation: u64,
        /// Who is left; the first few.
        pids: Vec<u32>,
        /// The kernel function in which the first of them sleeps.
        wchan: String,
    },
    /// A datagram came in by a run's own notify socket.
    Notified {
        /// Whose run: the address says so.
        key: String,
        /// Which run.
        incarnation: u64,
        /// What it said.
        notification: Notification,
        /// Who sent it; 0 if the kernel did not tell.
        sender_pid: u32,
    },
    /// An operator wants something. Answered by exactly one
    /// [`Effect::Reply`](crate::Effect::Reply), at once or when it is done.
    Command {
        /// Chosen by the shell, unique among the commands not yet answered.
        id: u64,
        /// What.
        verb: Verb,
        /// Of which service.
        key: String,
    },
    /// The agent takes a step of a swap. Answered by exactly one
    /// [`Effect::Reply`](crate::Effect::Reply). Idempotent by the swap's id: who does not know
    /// whether he was heard says it again.
    Swap {
        /// Chosen by the shell, unique among the commands not yet answered.
        id: u64,
        /// Of which app.
        app: String,
        /// The swap's id.
        swap: String,
        /// Which step.
        verb: SwapVerb,
    },
    /// The agent wants a task run. Answered by exactly one
    /// [`Effect::TaskReply`](crate::Effect::TaskReply) at its end; joins a run of the same swap.
    RunTask {
        /// Chosen by the shell, unique among the commands not yet answered.
        id: u64,
        /// Of which app.
        app: String,
        /// For which swap.
        swap: String,
        /// Which task.
        task: Task,
        /// Program and arguments, `${closure}` allowed.
        program: Vec<String>,
        /// The closure it belongs to.
        closure: String,
        /// PID 1 kills it after so long without renewal, in milliseconds.
        lease_ms: u64,
        /// And at this moment at the latest; a run that would begin later does not begin.
        until_ns: Option<u64>,
        /// What it finds as `ROLLINIT_FENCE`.
        fence: Option<u64>,
    },
    /// The agent still wants a running task. Answered by exactly one
    /// [`Effect::Reply`](crate::Effect::Reply), at once.
    RenewTask {
        /// Chosen by the shell, unique among the commands not yet answered.
        id: u64,
        /// Of which app.
        app: String,
        /// For which swap.
        swap: String,
        /// Which task.
        task: Task,
        /// The new lease from now on, in milliseconds.
        lease_ms: u64,
        /// It ends at this moment at the latest.
        until_ns: Option<u64>,
    },
    /// [`Effect::Group`](crate::Effect::Group) was carried out, or could not be.
    Grouped {
        /// Of which app.
        app: String,
        /// The effect's.
        request: u64,
        /// Why not, in words; none if it was.
        failure: Option<String>,
    },
    /// What [`Effect::AwaitEmpty`](crate::Effect::AwaitEmpty) waits for has come.
    QueueEmpty {
        /// Of which app.
        app: String,
        /// The effect's.
        request: u64,
    },
    /// What there is of the credentials of a service or an app, as a whole.
    Credentials {
        /// Of which service or app.
        owner: String,
        /// Names of those that are there.
        present: BTreeSet<String>,
        /// Why one is not there, or not as new as it should be, by name.
        problems: BTreeMap<String, String>,
        /// Those that were replaced. Settled by
        /// [`Effect::CredentialsSettled`](crate::Effect::CredentialsSettled).
        changed: BTreeSet<String>,
    },
    /// The machine shall end: by an operator, the power button, ctrl-alt-del or a signal.
    Power {
        /// How.
        kind: PowerKind,
        /// How long services may take to stop; nothing: `SHUTDOWN_TIMEOUT_MS`.
        within_ms: Option<u64>,
    },
    /// The time of [`Machine::deadline`](crate::Machine::deadline) has come. Harmless when early.
    Tick,
}

/// What an operator may want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Up, with all it requires and wants. Answered when it is ready.
    Start,
    /// Down until somebody starts it; those that require it go down first and wait for it.
    /// Answered when it is stopped.
    Stop,
    /// Down and up again, without touching others. Answered when it is ready.
    Restart,
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        })
    }
}

/// A step of a swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwapVerb {
    /// Have the candidate's program run, where no user reaches it (`overlap`, `ports`), or in place
    /// of the old one (`restart`). Answered when it runs.
    Prepare {
        /// What it runs.
        closure: String,
    },
    /// Send users to the candidate. Answered when they are.
    Admit,
    /// Let the old side finish, and end it. Answered when the candidate serves alone.
    Retire,
    /// Go back to the old side. Answered when it serves alone.
    Abandon,
}

impl SwapVerb {
    /// The word for it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Prepare { .. } => "prepare",
            Self::Admit => "admit",
            Self::Retire => "retire",
            Self::Abandon => "abandon",
        }
    }
}

/// How the machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum PowerKind {
    /// Power off.
    PowerOff,
    /// Reboot.
    Reboot,
    /// Halt with the power on.
    Halt,
}

impl std::fmt::Display for PowerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::PowerOff => "power-off",
            Self::Reboot => "reboot",
            Self::Halt => "halt",
        })
    }
}
