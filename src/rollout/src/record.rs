//! What is on disk about an app's swaps, and its bytes.
//!
//! One record an app, replaced as a whole, so that nothing in it can contradict the rest after a
//! power cut. Its bytes are those of [`crate::sealed`].

use crate::policy::Policy;
use crate::release::Release;
use crate::report::{Outcome, Step};
use crate::sealed;
pub use crate::sealed::{RecordError, VERSION};
use serde::{Deserialize, Serialize};

const MAGIC: [u8; 8] = *b"rollswap";

/// All that is remembered of an app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The app.
    pub app: String,
    /// The boot in which it was written: `/proc/sys/kernel/random/boot_id`.
    pub boot: String,
    /// What holds between swaps.
    pub book: Book,
    /// The swap under way.
    pub swap: Option<Swap>,
    /// The swap that begins when that one is over.
    pub next: Option<Swap>,
}

/// What holds between swaps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// What serves; `None` until the first swap, when the definition's seed serves.
    pub running: Option<String>,
    /// Where `rollback` goes; `None` before the second version and after a rollback.
    pub previous: Option<Release>,
    /// Paths that are not tried again without `--force`, oldest first.
    pub failed: Vec<FailedPath>,
    /// Paths whose migration is done, oldest first.
    pub migrated: Vec<String>,
    /// Swaps that are over, oldest first.
    pub history: Vec<Summary>,
}

/// A path that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedPath {
    /// The closure's top.
    pub path: String,
    /// Which swap found it out.
    pub swap: String,
    /// At which step.
    pub step: Step,
    /// Why.
    pub reason: String,
}

/// A swap that is over, or, from [`Machine::current`](crate::Machine::current), under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Its id.
    pub id: String,
    /// Who wanted it.
    pub origin: Origin,
    /// What served when it began.
    pub from: Option<Release>,
    /// Where it went.
    pub to: Release,
    /// When it began, in milliseconds since 1970.
    pub began_ms: u64,
    /// When it was over, in milliseconds since 1970; 0 while it is under way.
    pub ended_ms: u64,
    /// How it ended; `None` while it is under way.
    pub outcome: Option<Outcome>,
}

/// Who wanted a swap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// `rollinit swap`.
    Swap,
    /// `rollinit rollback`.
    Rollback,
    /// The watch window of the swap of this id.
    Watch(String),
}

impl Origin {
    /// Whether the way goes back to a version that served before.
    #[must_use]
    pub const fn is_rollback(&self) -> bool {
        matches!(self, Self::Rollback | Self::Watch(_))
    }
}

/// A swap under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// Its id.
    pub id: String,
    /// Who wanted it.
    pub origin: Origin,
    /// The recorded previous: what served when it began.
    pub from: Option<Release>,
    /// Where it goes.
    pub to: Release,
    /// The policy that it began with.
    pub policy: Policy,
    /// `--test`.
    pub test: Option<Test>,
    /// `--force`.
    pub force: bool,
    /// When it began, in milliseconds since 1970.
    pub began_ms: u64,
    /// How far it is.
    pub state: State,
    /// Since when, on the clock of the record's boot.
    pub since_ns: u64,
    /// The closure has a migration.
    pub has_migration: bool,
    /// The candidate's run that passed the gate.
    pub gated_incarnation: u64,
    /// The old side is gone before the bake (`retire = "at-switch"`).
    pub retired_early: bool,
    /// Going back, once decided.
    pub back: Option<Back>,
}

/// `--test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    /// Time to confirm it, from the gate on, in milliseconds.
    pub within_ms: u64,
    /// When that is over, on the clock of the record's boot; 0 before the gate.
    pub deadline_ns: u64,
    /// It is confirmed.
    pub confirmed: bool,
}

/// Why a swap goes back, and what it is told to be in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// What is told if the previous version serves again.
    pub outcome: Outcome,
    /// The path joins the failed list.
    pub bars: bool,
    /// Users have reached it.
    pub switched: bool,
    /// What is wrong with the previous version too, if it is.
    pub also: Option<String>,
    /// The old side is gone already: it comes back as the candidate of a swap of its own.
    pub reverse: bool,
}

/// How far a swap is: what is achieved, and on disk before anything follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It is accepted. Next: plan, fetch.
    Planned,
    /// All paths are valid. Next: roots.
    Fetched,
    /// They are rooted. Next: migrate.
    Rooted,
    /// The migration is done, or there is none. Next: start the candidate.
    Migrated,
    /// The candidate runs. Next: ask it until it is well.
    Started {
        /// When that must have happened.
        until_ns: u64,
    },
    /// It is well. Next: the switch.
    Gated,
    /// Users go to it. Next: the hook `after-switch` (at-switch: first the old side goes).
    Switched,
    /// The hook is content. Next: time passes.
    Baking {
        /// Until then.
        until_ns: u64,
    },
    /// It served well for that time (`--test`: and is confirmed). Next: the old side goes.
    Baked,
    /// It is alone. Next: the profile link.
    Retired,
    /// The link points to it. Next: the watch window.
    Committed {
        /// When that is over.
        until_ns: u64,
    },
    /// Back: the candidate is being stopped.
    Abandoning,
    /// Back: is the previous version well?
    Verifying {
        /// When it must be.
        until_ns: u64,
    },
    /// Back: it is, or is not; the hook `on-rollback` is told.
    Telling {
        /// It is well.
        healthy: bool,
    },
}

impl Record {
    /// The record of an app that was never swapped.
    #[must_use]
    pub fn empty(app: &str, boot: &str) -> Self {
        Self { app: app.to_owned(), boot: boot.to_owned(), ..Self::default() }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        sealed::seal(MAGIC, self)
    }

    /// The record that these bytes are.
    ///
    /// # Errors
    /// They are none, damaged, or of an unknown version.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        sealed::open(MAGIC, bytes)
    }
}
