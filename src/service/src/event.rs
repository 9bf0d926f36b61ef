//! What can happen.

use crate::notification::Notification;
use crate::snapshot::End;

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
    /// The machine shall end: by an operator, the power button, ctrl-alt-del or a signal.
    Power {
        /// How.
        kind: PowerKind,
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
