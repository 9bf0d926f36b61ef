//! What is told to people and programs about a swap.

use crate::release::Release;
use serde::{Deserialize, Serialize};

/// A line of progress, or the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which swap.
    pub swap: String,
    /// What served when it began; `None` for an app that never had a closure.
    pub from: Option<Release>,
    /// What shall serve.
    pub to: Release,
    /// Which step it is about.
    pub step: Step,
    /// How that step stands.
    pub state: StepState,
    /// A line in words; empty for nothing to add.
    pub text: String,
    /// Time since the step began, in milliseconds; 0 when it begins.
    pub elapsed_ms: u64,
    /// What became of the swap; the last report of a swap and only that one has it. A committed
    /// swap is told at its commit, before its watch window.
    pub outcome: Option<Outcome>,
}

/// The steps that people see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Step {
    /// What is missing, and is there room.
    Plan,
    /// Get it.
    Fetch,
    /// `bin/migrate`.
    Migrate,
    /// Start the candidate.
    Start,
    /// Ask the candidate until it is well.
    Gate,
    /// New connections go to the candidate.
    Switch,
    /// The hook `after-switch`.
    Hook,
    /// Serve well with the old version still there; with `--test` also: wait for the confirmation.
    Bake,
    /// Stop the old version.
    Drain,
    /// The profile link moves.
    Commit,
    /// The time after the commit.
    Watch,
    /// The way back.
    Rollback,
    /// Of the system: kernel, initramfs and entry, onto the boot partition.
    Write,
    /// Of the system: /etc, accounts and services, without a reboot.
    Activate,
    /// Of the system: boot the new generation.
    Reboot,
    /// Of the system: it has come up, so the boot loader stays with it.
    Bless,
}

impl Step {
    /// A word for it, stable, for people and machines.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Fetch => "fetch",
            Self::Migrate => "migrate",
            Self::Start => "start",
            Self::Gate => "gate",
            Self::Switch => "switch",
            Self::Hook => "hook",
            Self::Bake => "bake",
            Self::Drain => "drain",
            Self::Commit => "commit",
            Self::Watch => "watch",
            Self::Rollback => "rollback",
            Self::Write => "write",
            Self::Activate => "activate",
            Self::Reboot => "reboot",
            Self::Bless => "bless",
        }
    }
}

/// How a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// It goes on.
    Running,
    /// It is done.
    Ok,
    /// There was nothing to do.
    Skip,
    /// It failed.
    Failed,
}

/// What became of a swap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// In one word.
    pub kind: OutcomeKind,
    /// The step that failed.
    pub failed_at: Option<Step>,
    /// Why.
    pub reason: Option<String>,
    /// More about it, line by line.
    pub details: Vec<String>,
    /// What to do about it, a command a line.
    pub cure: Vec<String>,
}

/// What became of a swap, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutcomeKind {
    /// The new version serves and a boot starts it.
    Committed,
    /// The recorded previous version serves, healthy; after a failed migration it never stopped.
    RolledBack,
    /// Not even the previous version is well. Somebody must look.
    FailedBack,
    /// Nothing was touched, or the host is to blame and users saw nothing of it.
    Refused,
    /// It was so already.
    NothingToDo,
    /// A later swap took its place before users had seen anything of it.
    Superseded,
    /// Of the system: the host reboots into it; the next boot tells how that ends.
    Rebooting,
}

/// What comes of a request for a swap, at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The swap of this id begins; reports follow.
    Began(String),
    /// The swap of this id begins when the one under way is over; reports follow.
    Waits(String),
    /// The swap of this id, already under way, goes to the same place: follow it.
    Joins(String),
    /// It is over before it began: refused, or nothing to do.
    Over(Outcome),
    /// A request that starts no swap (confirm, cancel) was obeyed.
    Done,
}
