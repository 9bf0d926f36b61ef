//! What shall be done.
//!
//! What the agent owes to the effects of one batch (one call of
//! [`step`](crate::Machine::step) or [`resume`](crate::Machine::resume)):
//!
//! - They are carried out in the order in which they come.
//! - Effects *without* a ticket are over, and durable, before the next one begins. If one fails,
//!   the rest of the batch is dropped and [`Event::Broke`](crate::Event::Broke) is the next event.
//! - Effects *with* a ticket are only begun in order. Each is answered by exactly one
//!   [`Done`](crate::Event::Done) or [`Failed`](crate::Event::Failed) with its ticket, unless it
//!   was taken back by [`Effect::Cancel`]: an answer that comes nevertheless is not heard.
//! - After a death of the agent nothing is answered. [`resume`](crate::Machine::resume) asks again,
//!   so each effect must bear to be carried out twice.

use crate::health::Health;
use crate::report::{Admission, Report};

/// Names one effect within the life of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Put these bytes in place of the app's record: written, renamed, and both synced. No ticket.
    Persist {
        /// [`Record::encode`](crate::Record::encode).
        bytes: Vec<u8>,
    },
    /// Let the app's root of this role hold this path, in place of what it held. No ticket.
    Root {
        /// Which root.
        role: RootRole,
        /// The path to hold.
        path: String,
    },
    /// Drop the app's root of this role, if there is one. No ticket.
    Unroot {
        /// Which root.
        role: RootRole,
    },
    /// Tell everybody who follows the swap. No ticket, cannot fail.
    Report(Report),
    /// Answer a request. No ticket, cannot fail.
    Answer {
        /// The number of the request.
        number: u64,
        /// What comes of it.
        admission: Admission,
    },
    /// Find out what is missing and whether there is room for it. Needs no network when nothing is.
    Plan {
        /// Answered by `Planned`.
        ticket: Ticket,
        /// The closure's top.
        path: String,
    },
    /// Make the closure valid, under temporary roots that live until `Root`.
    Fetch {
        /// Answered by `Fetched`.
        ticket: Ticket,
        /// The closure's top.
        path: String,
        /// The migration to look for.
        migration: Option<String>,
    },
    /// Run the migration under a lease and renew it. Joins one of the same swap.
    Migrate {
        /// Answered by `Ended`.
        ticket: Ticket,
        /// Which swap.
        swap: String,
        /// What to run.
        program: Vec<String>,
        /// Whose it is.
        closure: String,
        /// The lease in milliseconds.
        lease_ms: u64,
    },
    /// Run a hook under a lease and renew it. Joins one of the same swap.
    Hook {
        /// Answered by `Ended`.
        ticket: Ticket,
        /// Which swap.
        swap: String,
        /// Which hook.
        hook: HookKind,
        /// What to run.
        program: Vec<String>,
        /// Whose it is.
        closure: String,
        /// The lease in milliseconds.
        lease_ms: u64,
    },
    /// Start the candidate.
    Prepare {
        /// Answered by `App`, or `Failed` with the release's fault when it does not start.
        ticket: Ticket,
        /// The swap's id to the supervisor.
        swap: String,
        /// What to start.
        closure: String,
    },
    /// The switch: new connections go to the candidate.
    Admit {
        /// Answered by `App`, or `Failed` with the release's fault when those who send users find
        /// it unwell.
        ticket: Ticket,
        /// The swap's id to the supervisor.
        swap: String,
    },
    /// Stop the old side; the candidate serves alone.
    Retire {
        /// Answered by `App`.
        ticket: Ticket,
        /// The swap's id to the supervisor.
        swap: String,
    },
    /// Stop the candidate; the old side serves alone.
    Abandon {
        /// Answered by `App`.
        ticket: Ticket,
        /// The swap's id to the supervisor.
        swap: String,
    },
    /// Ask a version once whether it is well.
    Probe {
        /// Answered by `Probed`; never fails.
        ticket: Ticket,
        /// Whom.
        target: ProbeTarget,
        /// How, and in what time.
        health: Health,
    },
    /// Let the profile link point to a new generation of this path. When it already points to that
    /// path nothing moves, and the answer is its number.
    Commit {
        /// Answered by `Committed`.
        ticket: Ticket,
        /// The closure's top.
        path: String,
    },
    /// Nobody waits for this one any more: a fetch is broken off (what is finished stays), the
    /// lease of a hook is no longer renewed, a probe is dropped. No ticket of its own.
    Cancel {
        /// Of what.
        ticket: Ticket,
    },
}

/// What a root of an app holds, under `gcroots/rollinit/APP-ROLE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RootRole {
    /// What serves.
    Running,
    /// Where a swap goes.
    Target,
    /// Where a rollback goes.
    Previous,
}

impl RootRole {
    /// A word for it, part of the root's file name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Target => "target",
            Self::Previous => "previous",
        }
    }
}

/// Which hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// `after-switch`: a failure fails the swap.
    AfterSwitch,
    /// `on-rollback`: a failure is told and changes nothing.
    OnRollback,
}

/// Whom a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeTarget {
    /// The candidate, from the probe address.
    Candidate,
    /// Whoever serves, from an address like any user's.
    Serving,
}
