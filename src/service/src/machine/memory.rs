//! What the machine remembers of a service, and the bytes in which PID 1 keeps it.
//!
//! A memo is a version byte, a checksum (FNV-1a of what follows, 32 bits, little-endian) and the
//! memory in postcard. The checksum is there because postcard reads almost any bytes as something.

use crate::definition::Kind;
use crate::limits::{MEMO_BYTES_MAX, REASON_BYTES_MAX};
use crate::notification::cut;
use crate::snapshot::End;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version written. A memo of another is treated as none, and reported.
const VERSION: u8 = 2;

/// Everything about a service that must outlive the supervisor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// An operator stopped it and nobody has started it since.
    pub held_down: bool,
    pub phase: Phase,
    /// Since when it is in this phase.
    pub since_ns: u64,
    /// The newest run that was asked for; 0 before the first.
    pub incarnation: u64,
    /// The kind by which it was started: the file may have changed, or be broken, since.
    pub kind: Kind,
    /// The leader of the newest run, while it is known and unreaped; else 0.
    pub pid: u32,
    /// What `MAINPID=` said of this run; 0 for nothing.
    pub main_pid: u32,
    /// When this run became ready; 0 while it has not.
    pub ready_ns: u64,
    /// Starts that nobody asked for.
    pub restarts: u32,
    /// Restarts in a row, none of which stood for `reset-after`: the exponent of the backoff.
    pub failures: u32,
    /// When the last restarts were decided, for `intensity`.
    pub window: Vec<u64>,
    /// What `STATUS=` said of this run.
    pub status: String,
    /// Why it failed; empty unless it did.
    pub reason: String,
    /// Whether the newest run was started by a definition that is not in force any more.
    pub outdated: Outdated,
    /// Who is left of a run that was killed, in words; empty unless it is stuck.
    pub stuck: String,
    pub last_end: Option<Ended>,
    /// How it first came up.
    pub first: FirstWay,
}

/// When a service first waited, was asked for, ran and was ready: `CLOCK_MONOTONIC` in nanoseconds,
/// 0 for what has not happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FirstWay {
    pub waiting_ns: u64,
    pub starting_ns: u64,
    pub started_ns: u64,
    pub ready_ns: u64,
}

/// Whether a run can stay with the definition in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Outdated {
    /// It can.
    #[default]
    No,
    /// It is to start again.
    Run,
    /// And its sockets are to be bound anew.
    Sockets,
}

/// Where a service is. Whoever has a run, from the wish to start it until nothing is left of it,
/// is *living*.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// It shall start as soon as those before it let it.
    #[default]
    Idle,
    /// Its run was asked for and is not ready yet; given up at the deadline.
    Starting { deadline_ns: Option<u64> },
    /// It is ready.
    Running,
    /// It said `STOPPING=1`; helped along at the deadline.
    Leaving { deadline_ns: u64 },
    /// Its run is being ended, by the deadline at the latest.
    Stopping { deadline_ns: u64, then: Then },
    /// It starts again at a time.
    Backoff { until_ns: u64 },
    /// Down by hand, or by policy after a success.
    Stopped,
    /// A oneshot that succeeded.
    Done,
    /// Down until an operator helps.
    Failed,
}

impl Phase {
    pub fn is_living(self) -> bool {
        matches!(
            self,
            Self::Starting { .. } | Self::Running | Self::Leaving { .. } | Self::Stopping { .. }
        )
    }

    /// When time itself moves it on.
    pub fn timer_ns(self) -> Option<u64> {
        match self {
            Self::Starting { deadline_ns } => deadline_ns,
            Self::Leaving { deadline_ns } => Some(deadline_ns),
            Self::Backoff { until_ns } => Some(until_ns),
            // PID 1 holds the deadline of a stop.
            _ => None,
        }
    }
}

/// What follows a stop, unless the service is held down by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Then {
    /// It starts again as soon as it may.
    Again,
    /// Its policy judges how it ended.
    Judge,
    /// Its policy judges a failure, however it ended.
    Failure,
}

/// How the last ended run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    pub incarnation: u64,
    /// None if the run never existed.
    pub end: Option<End>,
    pub at_ns: u64,
    /// In words, when there is no `end` to print.
    pub text: String,
}

impl Memory {
    /// Whether the leader of the newest run is known to have ended.
    pub fn has_ended(&self) -> bool {
        self.last_end.as_ref().is_some_and(|ended| ended.incarnation == self.incarnation)
    }
}

/// A text that fits a memo.
pub(super) fn short(text: &str) -> String {
    cut(text, REASON_BYTES_MAX).to_owned()
}

/// The memo of a memory.
pub(super) fn encode<T: Serialize>(memory: &T) -> Vec<u8> {
    // Writing to a `Vec` fails only for types that postcard cannot write; ours are tested.
    let body = postcard::to_stdvec(memory).unwrap_or_default();
    debug_assert!(body.len() + 5 <= MEMO_BYTES_MAX, "every text and list in it is capped");
    let mut memo = vec![VERSION];
    memo.extend(checksum(&body).to_le_bytes());
    memo.extend(body);
    memo
}

/// The memory in a memo, or why there is none to be had.
pub(super) fn decode<T: DeserializeOwned>(memo: &[u8]) -> Result<T, String> {
    let Some((head, body)) = memo.split_first_chunk::<5>() else {
        return Err(format!("its memo has only {} bytes", memo.len()));
    };
    let [version, sum @ ..] = *head;
    if version != VERSION {
        return Err(format!("its memo has version {version}, this supervisor reads {VERSION}"));
    }
    if checksum(body) != u32::from_le_bytes(sum) {
        return Err("the checksum of its memo is wrong".to_owned());
    }
    postcard::from_bytes(body).map_err(|error| format!("its memo does not decode: {error}"))
}

fn checksum(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{INTENSITY_MAX, STATUS_BYTES_MAX};
    use crate::snapshot::Cause;

    fn fullest() -> Memory {
        let end = End {
            status: i32::MIN,
            cause: Cause::Shutdown,
            ended_ns: u64::MAX,
            user_us: u64::MAX,
            system_us: u64::MAX,
            resident_max_kib: u64::MAX,
        };
        let text = "x".repeat(REASON_BYTES_MAX);
        let last_end =
            Ended { incarnation: u64::MAX, end: Some(end), at_ns: u64::MAX, text: text.clone() };
        Memory {
            held_down: true,
            phase: Phase::Stopping { deadline_ns: u64::MAX, then: Then::Failure },
            since_ns: u64::MAX,
            incarnation: u64::MAX,
            kind: Kind::Oneshot,
            pid: u32::MAX,
            main_pid: u32::MAX,
            ready_ns: u64::MAX,
            restarts: u32::MAX,
            failures: u32::MAX,
            window: vec![u64::MAX; INTENSITY_MAX as usize + 1],
            status: "x".repeat(STATUS_BYTES_MAX),
            reason: text.clone(),
            outdated: Outdated::Sockets,
            stuck: text,
            last_end: Some(last_end),
            first: FirstWay {
                waiting_ns: u64::MAX,
                starting_ns: u64::MAX,
                started_ns: u64::MAX,
                ready_ns: u64::MAX,
            },
        }
    }

    /// Every number at its longest and every text at its cap still fits what PID 1 keeps.
    #[test]
    fn the_fullest_memory_fits_and_comes_back() {
        let memo = encode(&fullest());
        assert!(memo.len() <= MEMO_BYTES_MAX, "{} bytes", memo.len());
        assert_eq!(decode::<Memory>(&memo), Ok(fullest()));
    }

    /// Every single flipped bit is noticed, and every missing end.
    #[test]
    fn a_damaged_memo_is_refused() {
        let memo = encode(&fullest());
        for index in 0..memo.len() {
            let mut damaged = memo.clone();
            damaged[index] ^= 1 << (index % 8);
            assert!(decode::<Memory>(&damaged).is_err(), "byte {index}");
            assert!(decode::<Memory>(&memo[..index]).is_err(), "cut at {index}");
        }
        assert!(decode::<Memory>(&[9, 0, 0, 0, 0]).unwrap_err().contains("version 9"));
    }
}
