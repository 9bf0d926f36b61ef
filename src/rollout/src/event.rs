//! What happened.

use crate::effect::Ticket;
use crate::policy::Policy;
use crate::release::Release;
use crate::view::View;

/// What the agent tells the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants a swap.
    Request(Request),
    /// An effect with a ticket was carried out.
    Done {
        /// Its ticket.
        ticket: Ticket,
        /// What came of it.
        answer: Answer,
    },
    /// An effect with a ticket failed. Not for a supervisor that cannot be reached: all verbs can
    /// be repeated, so the agent repeats them until there is an answer.
    Failed {
        /// Its ticket.
        ticket: Ticket,
        /// Why.
        failure: Failure,
    },
    /// An effect without a ticket failed. The agent dropped the effects after it in the same
    /// batch, and tells this before anything else.
    Broke {
        /// Which effect of the batch, from 0.
        index: usize,
        /// Why.
        reason: String,
    },
    /// The app changed, as the supervisor sees it. May come as often as it likes.
    View(View),
    /// Time passed: at [`Machine::wake_ns`](crate::Machine::wake_ns) at the latest.
    Tick,
    /// `rollinit confirm`, over a connection opened after the gate.
    Confirm {
        /// The number of the request, given back in the answer.
        number: u64,
    },
    /// The swap under way shall end where it came from, if it can still be had without harm.
    Cancel {
        /// The number of the request, given back in the answer.
        number: u64,
        /// Who wants it, and why.
        reason: String,
    },
}

/// A request for a swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The agent's number for it, given back in [`Effect::Answer`](crate::Effect::Answer).
    pub number: u64,
    /// The id that the swap will have: unique among all that is remembered.
    pub id: String,
    /// Forward or back.
    pub kind: RequestKind,
    /// The policy in force.
    pub policy: Policy,
    /// What the app's profile link points to.
    pub profile: Option<Release>,
    /// Undo it by a reboot, or when nobody confirms within so many milliseconds.
    pub test_within_ms: Option<u64>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Also a path that failed before.
    pub force: bool,
}

/// Forward or back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// `rollinit swap`: to this closure.
    Swap {
        /// Where to.
        target: Release,
    },
    /// `rollinit rollback`: never migrates, asks no failed list, is not baked.
    Rollback {
        /// Where to; `None` for the recorded previous.
        target: Option<Release>,
    },
}

/// What came of an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of `Plan`.
    Planned(Plan),
    /// Of `Fetch`: all paths are valid, and protected by temporary roots of this agent until
    /// `Root`.
    Fetched {
        /// Whether the migration that the effect named is a file of the closure.
        has_migration: bool,
        /// A line for people: what came from where.
        text: String,
    },
    /// Of `Prepare`, `Admit`, `Retire`, `Abandon`: the app afterwards.
    App(View),
    /// Of `Migrate` and `Hook`: it ended.
    Ended {
        /// Exit code, if it exited.
        exit: Option<i32>,
        /// Signal, if one ended it.
        signal: Option<i32>,
        /// It was killed since its lease was not renewed.
        lease_ended: bool,
    },
    /// Of `Probe`.
    Probed(ProbeResult),
    /// Of `Commit`: the generation that the profile link points to now.
    Committed {
        /// Its number.
        generation: u64,
    },
}

/// What a closure needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// A line for people: `11 of 214 paths missing, 18.4 MB to fetch, 9.1 GB free`.
    pub text: String,
}

/// One question to a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// It is well.
    Pass,
    /// Nobody accepts connections: not yet.
    Refused,
    /// It answered, but not well: `503 "relation orders does not exist"`.
    Sick(String),
    /// No answer in time.
    Timeout,
}

/// Why an effect failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whose fault it is.
    pub fault: Fault,
    /// What happened, naming the object.
    pub reason: String,
    /// What to do about it, line by line.
    pub cure: Vec<String>,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The host's or its surroundings': disk, cache, clock. Never bars a release.
    Host,
    /// The release's: it cannot start.
    Release,
    /// Nobody's: somebody else decided that this host may not go on. Before the last step that can
    /// be undone the swap turns back for it, and is not tried again.
    Fence,
}
