//! The record of an app's migrations: who migrates now, and what came of those before.

use super::record::{self, Record};
use super::refusal::Refusal;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The record of an app's migrations in a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migrations {
    /// [`FORMAT`](super::group::FORMAT).
    pub format: u32,
    /// Times that the lock was taken.
    #[serde(default)]
    pub fence: u64,
    /// Who migrates.
    #[serde(default)]
    pub holder: Option<Hold>,
    /// What came of those before, the newest last.
    #[serde(default)]
    pub outcomes: Vec<Outcome>,
    /// What a newer release of rollinit keeps here.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// Who migrates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The host.
    pub host: String,
    /// Its swap.
    pub swap: String,
    /// The release.
    pub path: String,
    /// Heartbeats so far.
    pub beat: u64,
    /// How long the record must stand unchanged until another may take over, in milliseconds.
    pub lease_ms: u64,
    /// Since when, in milliseconds since 1970. For people.
    pub since_ms: u64,
}

/// What came of a migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The release.
    pub path: String,
    /// The host that ran it.
    pub host: String,
    /// Under which fence.
    pub fence: u64,
    /// Why it failed; none if it did not.
    #[serde(default)]
    pub failed: Option<String>,
    /// When, in milliseconds since 1970. For people.
    pub ended_ms: u64,
}

impl Record for Migrations {
    const WHAT: &'static str = "the record of migrations";

    fn format(&self) -> u32 {
        self.format
    }
}

impl Migrations {
    /// Reads a record. Total.
    ///
    /// # Errors
    /// It is none, or one of a newer format.
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        record::read(bytes)
    }

    /// The record as bytes: JSON, for whoever reads the ledger by hand.
    ///
    /// # Errors
    /// It is larger than a ledger takes.
    pub fn write(&self) -> Result<Vec<u8>, Refusal> {
        record::write(self)
    }

    /// What came of a release's migration.
    #[must_use]
    pub fn outcome(&self, path: &str) -> Option<&Outcome> {
        self.outcomes.iter().rev().find(|outcome| outcome.path == path)
    }
}
