//! What PID 1 kept while no supervisor was there: the machine's only memory.

/// Everything PID 1 knows of services. Empty at boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Keys with their memos. Keys that begin with `@` are not services.
    pub keys: Vec<Key>,
    /// Living runs and tombstones. Runs of keys that begin with `@` must be left out.
    pub runs: Vec<Run>,
    /// PID 1 is already ending everything: nothing is started any more.
    pub shutting_down: bool,
}

/// A key that PID 1 knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub key: String,
    /// The highest incarnation PID 1 has seen of it; 0 before the first.
    pub incarnation_last: u64,
    /// The machine's own words, as its last [`Effect::Memo`](crate::Effect::Memo) had them; empty
    /// if there was none.
    pub memo: Vec<u8>,
}

/// A run that PID 1 knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Whose.
    pub key: String,
    /// Which.
    pub incarnation: u64,
    /// The leader; 0 while it is not known.
    pub pid: u32,
    /// `CLOCK_MONOTONIC` of the clone, in nanoseconds.
    pub started_ns: u64,
    /// When PID 1 will kill it, if a stop is under way; `CLOCK_MONOTONIC` in nanoseconds.
    pub stop_deadline_ns: Option<u64>,
    /// How far it is.
    pub state: RunState,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// Cloned, its exec not yet known to have succeeded. `Started`, `SpawnFailed` or `Exited` must
    /// follow; a shell that would not hear of the success shows the run as `Running`.
    Starting,
    /// Living.
    Running,
    /// A tombstone: the leader was reaped.
    Ended {
        /// How it ended.
        end: End,
        /// Nothing is left in its cgroup: the run is stopped. Else `Emptied` must follow.
        emptied: bool,
    },
}

/// How a leader ended, as PID 1 recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct End {
    /// Raw wait status, as wait4(2) gave it.
    pub status: i32,
    /// Why.
    pub cause: Cause,
    /// `CLOCK_MONOTONIC` of the reaping, in nanoseconds.
    pub ended_ns: u64,
    /// User CPU time in microseconds, reaped descendants included.
    pub user_us: u64,
    /// System CPU time in microseconds, reaped descendants included.
    pub system_us: u64,
    /// Largest resident set in KiB.
    pub resident_max_kib: u64,
}

/// Why a run ended, as PID 1 knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Cause {
    /// By itself, or by a signal that did not come from PID 1.
    Own,
    /// After a stop or signal that was asked for.
    Asked,
    /// The deadline of its stop, or its own, passed and PID 1 killed the cgroup.
    Deadline,
    /// The kernel's OOM killer was at work in its cgroup.
    OutOfMemory,
    /// PID 1 ended everything for a shutdown.
    Shutdown,
}

impl End {
    /// Exit code, if the leader exited.
    #[must_use]
    pub const fn code(&self) -> Option<i32> {
        if self.status & 0x7f == 0 { Some((self.status >> 8) & 0xff) } else { None }
    }

    /// Signal number, if one ended the leader.
    #[must_use]
    pub const fn signal(&self) -> Option<i32> {
        let signal = self.status & 0x7f;
        if signal == 0 || signal == 0x7f { None } else { Some(signal) }
    }

    /// Whether `restart.policy = "on-failure"` counts this as a success: code 0, or one of the
    /// signals by which a program is asked to go (`SIGHUP`, `SIGINT`, `SIGTERM`), unless the
    /// kernel ran out of memory or a deadline passed.
    #[must_use]
    pub fn is_success(&self) -> bool {
        if matches!(self.cause, Cause::OutOfMemory | Cause::Deadline) {
            return false;
        }
        self.code() == Some(0) || matches!(self.signal(), Some(1 | 2 | 15))
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code(), self.signal()) {
            (Some(code), _) => write!(f, "exited with code {code}")?,
            (None, Some(signal)) => {
                let name = crate::definition::signal_name(signal);
                write!(f, "ended by {name}")?;
                if self.status & 0x80 != 0 {
                    f.write_str(" (core dumped)")?;
                }
            }
            (None, None) => write!(f, "ended with raw status {:#x}", self.status)?,
        }
        f.write_str(match self.cause {
            Cause::Own => "",
            Cause::Asked => ", as asked",
            Cause::Deadline => ", killed at its deadline",
            Cause::OutOfMemory => ", out of memory",
            Cause::Shutdown => ", at shutdown",
        })
    }
}
