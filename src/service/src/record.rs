//! The stream of events for humans and machines: `rollinit events`.

use crate::event::{PowerKind, Verb};
use crate::snapshot::End;
use std::fmt;

/// Something worth telling. Prints as one line, without time and without newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When: `CLOCK_MONOTONIC` in nanoseconds.
    pub at_ns: u64,
    /// Of which service; empty for the whole machine.
    pub key: String,
    /// Of which run; 0 for none.
    pub incarnation: u64,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A run was asked for.
    Starting,
    /// The program runs.
    Started {
        /// Its leader.
        pid: u32,
    },
    /// The service is ready.
    Ready,
    /// A run could not be started.
    SpawnFailed {
        /// What was being done.
        step: String,
        /// `errno` of it; 0 for none.
        errno: i32,
        /// The program.
        program: String,
    },
    /// It was not ready in time.
    ReadyTimeout {
        /// The time it had, in milliseconds.
        timeout_ms: u64,
    },
    /// A leader ended.
    Exited {
        /// How.
        end: End,
    },
    /// Processes were left behind by an exited leader and are being stopped.
    Leftover,
    /// The service said that it is about to end.
    Leaving,
    /// A run is being stopped.
    Stopping {
        /// Why.
        reason: String,
        /// When it will be killed: `CLOCK_MONOTONIC` in nanoseconds.
        deadline_ns: u64,
    },
    /// It is down and stays down.
    Stopped,
    /// A oneshot did its work.
    Done,
    /// It starts again in a while.
    Backoff {
        /// In how many milliseconds.
        delay_ms: u64,
        /// How many failures in a row that makes.
        failures: u32,
    },
    /// It is down and nobody starts it again.
    Failed {
        /// Why.
        reason: String,
    },
    /// It cannot start as things are.
    Blocked {
        /// Why.
        reason: String,
    },
    /// It was killed and is still there.
    Stuck {
        /// Who is left; the first few.
        pids: Vec<u32>,
        /// The kernel function in which the first of them sleeps.
        wchan: String,
    },
    /// An operator wanted something.
    Command {
        /// What.
        verb: Verb,
    },
    /// It is no longer defined: its run is stopped and it is forgotten.
    Undefined,
    /// A reload changed its definition.
    Reload {
        /// How: `defined`.
        change: &'static str,
    },
    /// What was remembered of it cannot be read; it is judged by its runs alone.
    MemoLost {
        /// Why.
        reason: String,
    },
    /// Its definition is broken.
    Broken {
        /// The first problem.
        reason: String,
    },
    /// A swap of the app got somewhere.
    Swap {
        /// Its id.
        swap: String,
        /// Where, in a word: `prepared`.
        state: &'static str,
    },
    /// A credential is not there, or not as new as it should be.
    CredentialMissing {
        /// Its name.
        name: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A running service is told that it has a new credential.
    CredentialChanged {
        /// The signal by which it is told.
        signal: u8,
    },
    /// The sockets of an app could not be brought into order.
    NotSteered {
        /// Why.
        reason: String,
    },
    /// The machine is to end.
    Power {
        /// How.
        kind: PowerKind,
    },
    /// All services are down, or their time is over: PID 1 takes over.
    Shutdown {
        /// How the machine ends.
        kind: PowerKind,
        /// Services that were still there.
        left: Vec<String>,
    },
}

impl What {
    /// A word for it, stable, for machines: `ready`, `spawn-failed`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Started { .. } => "started",
            Self::Ready => "ready",
            Self::SpawnFailed { .. } => "spawn-failed",
            Self::ReadyTimeout { .. } => "ready-timeout",
            Self::Exited { .. } => "exited",
            Self::Leftover => "leftover",
            Self::Leaving => "leaving",
            Self::Stopping { .. } => "stopping",
            Self::Stopped => "stopped",
            Self::Done => "done",
            Self::Backoff { .. } => "backoff",
            Self::Failed { .. } => "failed",
            Self::Blocked { .. } => "blocked",
            Self::Stuck { .. } => "stuck",
            Self::Command { .. } => "command",
            Self::Undefined => "undefined",
            Self::Reload { .. } => "reload",
            Self::MemoLost { .. } => "memo-lost",
            Self::Broken { .. } => "broken",
            Self::Swap { .. } => "swap",
            Self::CredentialMissing { .. } => "credential-missing",
            Self::CredentialChanged { .. } => "credential-changed",
            Self::NotSteered { .. } => "not-steered",
            Self::Power { .. } => "power",
            Self::Shutdown { .. } => "shutdown",
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            f.write_str(&self.key)?;
            if self.incarnation > 0 {
                write!(f, "#{}", self.incarnation)?;
            }
            f.write_str(" ")?;
        }
        self.what.fmt(f)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("is started"),
            Self::Started { pid } => write!(f, "runs as pid {pid}"),
            Self::Ready => f.write_str("is ready"),
            Self::SpawnFailed { step, errno, program } => {
                f.write_str(&spawn_failure(step, *errno, program))
            }
            Self::ReadyTimeout { timeout_ms } => write!(
                f,
                "was not ready within {} (it must send READY=1, or raise ready.timeout)",
                Milliseconds(*timeout_ms)
            ),
            Self::Exited { end } => end.fmt(f),
            Self::Leftover => f.write_str("left processes behind, which are stopped first"),
            Self::Leaving => f.write_str("says that it is stopping"),
            Self::Stopping { reason, .. } => write!(f, "is stopped: {reason}"),
            Self::Stopped => f.write_str("is down"),
            Self::Done => f.write_str("did its work"),
            Self::Backoff { delay_ms, failures } => {
                write!(f, "starts again in {}, failure {failures}", Milliseconds(*delay_ms))
            }
            Self::Failed { reason } => write!(f, "failed: {reason}"),
            Self::Blocked { reason } => write!(f, "cannot start: {reason}"),
            Self::Stuck { pids, wchan } => f.write_str(&stuck(pids, wchan)),
            Self::Command { verb } => write!(f, "is to {verb}, by an operator"),
            Self::Undefined => f.write_str("is no longer defined: stopped and forgotten"),
            Self::Reload { change } => write!(f, "is {change}, by a reload"),
            Self::MemoLost { reason } => write!(f, "was remembered wrongly: {reason}"),
            Self::Broken { reason } => write!(f, "is broken: {reason}"),
            Self::Swap { swap, state } => write!(f, "is {state} in swap {swap}"),
            Self::CredentialMissing { name, reason } => {
                write!(f, "does not get its credential {name}: {reason}")
            }
            Self::CredentialChanged { signal } => {
                let name = crate::definition::signal_name(i32::from(*signal));
                write!(f, "is told of a new credential by {name}")
            }
            Self::NotSteered { reason } => {
                write!(f, "cannot have its sockets steered: {reason}; it goes on trying")
            }
            Self::Power { kind } => write!(f, "{kind}: services are stopped"),
            Self::Shutdown { kind, left } if left.is_empty() => {
                write!(f, "{kind}: all services are down")
            }
            Self::Shutdown { kind, left } => {
                write!(f, "{kind}: goes on without waiting for {}", left.join(", "))
            }
        }
    }
}

/// A spawn failure in words, with its cure.
pub(crate) fn spawn_failure(step: &str, errno: i32, program: &str) -> String {
    let error = match errno {
        0 => String::new(),
        _ => format!(": {}", std::io::Error::from_raw_os_error(errno)),
    };
    let cure = match step {
        "exec" => format!(" (is {program} there and executable?)"),
        "user" | "group" | "groups" => " (is it in /etc/passwd or /etc/group?)".to_owned(),
        "directory" => " (is `directory` there, and may the user enter it?)".to_owned(),
        "limits" => " (is a soft limit above its hard one?)".to_owned(),
        _ => String::new(),
    };
    format!("did not start, at {step}{error}{cure}")
}

/// A stuck run in words.
pub(crate) fn stuck(pids: &[u32], wchan: &str) -> String {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let place = if wchan.is_empty() { "the kernel" } else { wchan };
    format!("was killed and is still there: pid {} in {place}", pids.join(", "))
}

/// A duration as one would write it in a definition: `1.5s`, `200ms`.
pub(crate) struct Milliseconds(pub u64);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..1000 => write!(f, "{}ms", self.0),
            ms if ms.is_multiple_of(1000) => write!(f, "{}s", ms / 1000),
            ms => write!(f, "{}.{}s", ms / 1000, ms % 1000 / 100),
        }
    }
}
