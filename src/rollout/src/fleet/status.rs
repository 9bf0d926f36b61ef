//! What a host says of itself: one small record on the ledger, which only it writes.

use super::limits::SILENT_MS;
use super::record::{self, Record};
use super::refusal::Refusal;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a host says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Format of the record; see [`FORMAT`](super::group::FORMAT).
    pub format: u32,
    /// The host: its instance id, or its name.
    pub host: String,
    /// Grows with each time that it is written.
    pub beat: u64,
    /// When it was written, in milliseconds since 1970, by the host's own clock. For people.
    pub wall_ms: u64,
    /// Its apps, by name.
    pub apps: BTreeMap<String, AppStatus>,
    /// Where it serves its store to the group: `ADDRESS:PORT`. The agent writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// What a newer release of rollinit keeps here.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

impl Record for Status {
    const WHAT: &'static str = "a host's record";

    fn format(&self) -> u32 {
        self.format
    }
}

impl Status {
    /// Reads a record. Total.
    ///
    /// # Errors
    /// It is none, or one of a newer format.
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        record::read(bytes)
    }

    /// The record as bytes: JSON.
    ///
    /// # Errors
    /// It is larger than a ledger takes.
    pub fn write(&self) -> Result<Vec<u8>, Refusal> {
        record::write(self)
    }

    /// Whether the host said that it leaves the group.
    #[must_use]
    pub fn leaves(&self) -> bool {
        self.apps.values().any(|app| app.word == AppWord::Leaves)
    }

    /// Whether the host has been silent for so long that it counts as gone, by both hosts' wall
    /// clocks: for people and for who looks once. Nothing is decided by it; see
    /// [`RollCall`](super::RollCall).
    #[must_use]
    pub fn is_silent(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.wall_ms) >= SILENT_MS
    }
}

/// One app on that host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppStatus {
    /// The path that serves, and that a boot would start; none before the first.
    pub path: Option<String>,
    /// What goes on.
    pub word: AppWord,
    /// More about it, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// What goes on with an app on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppWord {
    /// It serves what it shall.
    Serves,
    /// It gets ready for another release: fetches it.
    Prepares,
    /// It waits for its turn.
    Waits,
    /// It swaps.
    Swaps,
    /// A release failed here, and the one before serves.
    Failed,
    /// The host could not (its disk, its cache, its clock); it tries again.
    Refused,
    /// It left the group: it is being stopped.
    Leaves,
}

impl AppWord {
    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Serves => "serves",
            Self::Prepares => "prepares",
            Self::Waits => "waits",
            Self::Swaps => "swaps",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Leaves => "leaves",
        }
    }
}
