//! The snapshot: all that PID 1 keeps, in pages that each fit a frame.
//!
//! Snapshot = keys with memos + runs (living and tombstones) + names in the fd store. It is sent
//! after `attach`, after `list`, and after an owner read too slowly for its event queue.

use crate::event::End;
use crate::frame::DecodeError;
use crate::limits::{CGROUP_BYTES_MAX, FD_NAME_BYTES_MAX, KEY_BYTES_MAX, MEMO_BYTES_MAX};
use serde::{Deserialize, Serialize};

/// One entry of the snapshot. One entry a page keeps the codec flat and any entry below the cap
/// of a frame; 1,000 services are 3,000 small packets on a socket that does 100,000 a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Page<'a> {
    /// A key and what the owner said of it.
    #[serde(borrow)]
    Key(KeyEntry<'a>),
    /// A run of a key.
    #[serde(borrow)]
    Run(RunEntry<'a>),
    /// A name in the fd store.
    #[serde(borrow)]
    Kept(KeptEntry<'a>),
}

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEntry<'a> {
    /// Its name.
    pub key: &'a str,
    /// The highest incarnation seen; the next spawn must be above.
    pub incarnation_last: u64,
    /// The owner's own words.
    pub memo: &'a [u8],
}

/// A run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEntry<'a> {
    /// Whose.
    pub key: &'a str,
    /// Which.
    pub incarnation: u64,
    /// Where its processes are, below PID 1's cgroup root.
    pub cgroup: &'a str,
    /// How far it is.
    pub state: RunState,
    /// The leader; 0 while an intent has no pid yet.
    pub pid: u32,
    /// `CLOCK_MONOTONIC` of the clone, in nanoseconds.
    pub started_ns: u64,
    /// The deadline of a stop under way.
    pub stop_deadline_ns: Option<u64>,
    /// The run's own deadline, as its owner set it; none once PID 1 has acted on it.
    pub deadline_ns: Option<u64>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunState {
    /// Cloned, exec not yet known to have succeeded.
    Starting,
    /// Living.
    Running,
    /// The leader was reaped; its cgroup may not be empty yet. A tombstone until forgotten.
    Ended {
        /// How the leader ended.
        end: End,
        /// Nothing is left in the cgroup: the run is *stopped*.
        emptied: bool,
    },
}

/// A name in the fd store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptEntry<'a> {
    /// Its name.
    pub name: &'a str,
}

/// The last word of a snapshot, so that a lost page is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotEnd {
    /// Keys sent.
    pub keys: u32,
    /// Runs sent.
    pub runs: u32,
    /// Kept names sent.
    pub kept: u32,
}

impl Page<'_> {
    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        let (fine, field) = match self {
            Self::Key(entry) => {
                let short = entry.key.len() <= KEY_BYTES_MAX;
                (short && entry.memo.len() <= MEMO_BYTES_MAX, "key")
            }
            Self::Run(entry) => {
                let short = entry.key.len() <= KEY_BYTES_MAX;
                (short && entry.cgroup.len() <= CGROUP_BYTES_MAX, "run")
            }
            Self::Kept(entry) => (entry.name.len() <= FD_NAME_BYTES_MAX, "kept"),
        };
        if fine { Ok(()) } else { Err(DecodeError::Field(field)) }
    }
}
