//! The system of a host: from one generation to the next, over a reboot or without one.
//!
//! # How it thinks
//!
//! Each generation of the system has an entry of the boot loader ([`crate::slot`]). A new one is
//! written with a counter: the loader gives it that many boots, and takes the one before it if they
//! are used up. So what happens in the new generation (a panic, a hang that the watchdog ends, a
//! power cut) needs nobody's help to lead back. Taking the counter away is the *blessing*, and only
//! that makes a generation the one to stay.
//!
//! ```text
//!  Planned ─plan, fetch─▶ Fetched ─inspect, write─┬─▶ Rebooting ═boot═▶ Booted ─bless─▶ Blessed
//!     │ nothing was touched: refused              │      ║               │ not in time    │
//!     ▼                                           │      ║ another boot  ▼                ▼
//!    over ◀─── Undoing ◀──────────────────────────┼══════╝ ◀═════════ reboot        commit, over
//!                 ▲ back to the old one           │                                       ▲
//!                 └───────────────────────────────┴─▶ Activating ─/etc, services──────────┘
//! ```
//!
//! *With a reboot* when kernel, initramfs, kernel parameters or PID 1 are others (or it is asked
//! for). The record says `Rebooting` before the host goes down, and the next boot's own command
//! line says which generation came up: that decides, and nothing that somebody remembers.
//!
//! *Without one* otherwise: the entry is written all the same, then /etc, accounts and services
//! become the new ones by difference, and the profile's link moves. The next boot, whenever it
//! comes, is that entry's try.
//!
//! *On trial* is each boot whose entry has a counter, with or without a swap: the first boot of an
//! image too. It is over when the host has come up (the agent asks for what that takes) and stayed
//! so for a while, since what panics a second later must not be blessed first. If that does not
//! come about in time and there is another generation to fall back to, it is over by a reboot whose
//! reason is on disk first. Without another generation the host stays up and goes on trying.
//! Nothing is written to the boot partition during a trial: the one good way back must stay.
//!
//! *Fallen back* is a boot that runs another generation than the one that was tried. The swap ends
//! as rolled back, its entry and its generation go, its path is barred. If it was swapped in
//! without a reboot and failed at a later boot, the profile's link moves back too.
//!
//! *One at a time.* A request for the path under way joins; another one is refused until then.
//!
//! *Called back* by whoever wanted it a swap is refused as long as the host is what it was: at once
//! before its entry is written, and with that entry taken away again after it. The last question
//! is asked by the agent, right before the reboot or the activation; from then on it goes on.
//!
//! *Crashes.* Entering a state writes it to disk before what follows from it, and resuming begins
//! what follows again, so each effect bears to be carried out twice. Between the entry's last sync
//! and the record the power may go: then the loader tries a generation of which the record says
//! `Fetched`, and the boot is judged as if it said `Rebooting`.

mod back;
mod machine;
mod resume;
mod tell;
mod trial;

use crate::effect::Ticket;
use crate::event::Failure;
use crate::record::{FailedPath, Origin, RecordError, Summary};
use crate::release::Release;
use crate::report::{Admission, Outcome, Report};
use crate::sealed;
use crate::slot::EntryName;
pub use machine::Machine;
use serde::{Deserialize, Serialize};

const MAGIC: [u8; 8] = *b"rollsyst";

/// All that is remembered of the system's swaps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The boot in which it was written: `/proc/sys/kernel/random/boot_id`.
    pub boot: String,
    /// What runs in that boot: what was booted, or what was activated since.
    pub running: Option<Release>,
    /// Where `rollback` goes.
    pub previous: Option<Release>,
    /// Paths that are not tried again without `--force`, oldest first.
    pub failed: Vec<FailedPath>,
    /// Swaps that are over, oldest first.
    pub history: Vec<Summary>,
    /// The swap under way.
    pub swap: Option<Swap>,
    /// Why this host rebooted itself out of a trial: the path that was on trial, and the reason.
    pub given_up: Option<(String, String)>,
}

/// A swap under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// Its id.
    pub id: String,
    /// Who wanted it.
    pub origin: Origin,
    /// What ran when it began.
    pub from: Option<Release>,
    /// Where it goes; its generation is known once the entry is written.
    pub to: Release,
    /// Whether the host may be rebooted for it.
    pub reboot: Reboot,
    /// When it began, in milliseconds since 1970.
    pub began_ms: u64,
    /// How far it is.
    pub state: State,
    /// How it is going to end, once that is decided.
    pub back: Option<Back>,
}

/// Whether a swap may reboot the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reboot {
    /// If it has to.
    Auto,
    /// In any case.
    Always,
    /// Not now.
    Never,
}

/// How a swap that did not go well ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// What is told.
    pub outcome: Outcome,
    /// The path joins the failed list.
    pub bars: bool,
    /// /etc and services have to become those of `from` again.
    pub reverts: bool,
    /// The profile's link points to it and has to move back.
    pub linked: bool,
}

/// How far a swap is: what is achieved, and on disk before anything follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It is accepted. Next: plan, fetch.
    Planned,
    /// All paths are valid. Next: root, inspect, write the entry.
    Fetched,
    /// The entry is written. Next: the reboot; what follows is another boot's.
    Rebooting,
    /// This boot runs it. Next: come up, be blessed.
    Booted,
    /// The loader stays with it. Next: the profile's link.
    Blessed,
    /// The entry is written. Next: /etc, accounts, services.
    Activating,
    /// They are the new ones. Next: the profile's link.
    Activated,
    /// Back: what it left is taken away.
    Undoing,
}

/// What is known when the agent starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `/proc/sys/kernel/random/boot_id` of now.
    pub boot: String,
    /// The system that this boot was started with.
    pub booted: Option<Release>,
    /// What the profile's link points to.
    pub profile: Option<Release>,
    /// The entry of this boot, if it has a counter and was not blessed yet.
    pub trial: Option<EntryName>,
    /// Generations whose entries have no try left.
    pub tried_out: Vec<Release>,
    /// There is an entry of another generation that the loader would start.
    pub has_fallback: bool,
    /// An id that no swap has.
    pub fresh_id: String,
    /// How long a boot may take until it is blessed, in milliseconds.
    pub bless_within_ms: u64,
    /// How long it must have been up for that, without a break, in milliseconds.
    pub bless_after_ms: u64,
}

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
    /// An effect with a ticket failed.
    Failed {
        /// Its ticket.
        ticket: Ticket,
        /// Why.
        failure: Failure,
    },
    /// An effect without a ticket failed. The agent dropped those after it in the same batch.
    Broke {
        /// Which effect of the batch, from 0.
        index: usize,
        /// Why.
        reason: String,
    },
    /// Whether the host has come up: none, or what is still waited for.
    Health(Option<String>),
    /// The swap under way is not wanted any more.
    Cancel {
        /// The number of the request, given back in [`Effect::Answer`].
        number: u64,
        /// Who wants that, and why.
        reason: String,
    },
    /// Time passed: at [`Machine::wake_ns`] at the latest.
    Tick,
}

/// A request for a swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The agent's number for it, given back in [`Effect::Answer`].
    pub number: u64,
    /// The id that the swap will have.
    pub id: String,
    /// Where to.
    pub to: Release,
    /// It is a way back to a generation: the failed list is not asked.
    pub is_rollback: bool,
    /// Whether the host may be rebooted for it.
    pub reboot: Reboot,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Also a path that failed before.
    pub force: bool,
}

/// What came of an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of `Plan`.
    Planned {
        /// A line for people.
        text: String,
        /// Nothing is missing.
        is_here: bool,
    },
    /// Of `Fetch`: a line for people.
    Fetched(String),
    /// Of `Inspect`.
    Inspected(Inspected),
    /// Of `Write`.
    Written {
        /// The generation's number.
        generation: u64,
        /// A line for people.
        text: String,
    },
    /// Of `Activate`, `Bless`: a line for people.
    Text(String),
    /// Of `Commit`: the generation that the profile's link points to now.
    Committed {
        /// Its number.
        generation: u64,
    },
    /// Of `Reboot`, `Discard`.
    Done,
}

/// A new system beside the one that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    /// Why it takes a reboot to become it, if it does.
    pub needs_reboot: Option<String>,
    /// Why no entry can be written for it, if so: not booted by a loader that counts.
    pub no_slots: Option<String>,
    /// A line for people: what would be written, what removed.
    pub text: String,
}

/// Something to do. Effects without a ticket are over, and durable, before the next one begins; if
/// one fails the rest of the batch is dropped. Effects with a ticket are only begun in order, and
/// each is answered once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Put these bytes in place of the record. No ticket.
    Persist {
        /// [`Record::encode`].
        bytes: Vec<u8>,
    },
    /// Let the system's root hold this path. No ticket.
    Root {
        /// The path.
        path: String,
    },
    /// Drop that root, if there is one. No ticket.
    Unroot,
    /// Tell everybody who follows the swap. No ticket, cannot fail.
    Report(Report),
    /// Answer a request. No ticket, cannot fail.
    Answer {
        /// The number of the request.
        number: u64,
        /// What comes of it.
        admission: Admission,
    },
    /// What stands about the system from now on; none: nothing. No ticket, cannot fail.
    Notice(Option<Notice>),
    /// Find out what is missing and whether there is room for it.
    Plan {
        /// Answered by `Planned`.
        ticket: Ticket,
        /// The toplevel.
        path: String,
    },
    /// Make the closure valid.
    Fetch {
        /// Answered by `Fetched`.
        ticket: Ticket,
        /// The toplevel.
        path: String,
    },
    /// Compare it with what runs, and see whether the boot partition takes it.
    Inspect {
        /// Answered by `Inspected`.
        ticket: Ticket,
        /// The toplevel.
        path: String,
        /// Generations whose entries must stay.
        kept: Vec<u64>,
    },
    /// Give it a number, and write kernel, initramfs and an entry with a counter. Does nothing
    /// twice.
    Write {
        /// Answered by `Written`.
        ticket: Ticket,
        /// The toplevel.
        path: String,
        /// Generations whose entries must stay.
        kept: Vec<u64>,
    },
    /// Let /etc, accounts and services become those of this system.
    Activate {
        /// Answered by `Text`.
        ticket: Ticket,
        /// The toplevel.
        path: String,
    },
    /// Ask the supervisor to reboot the host.
    Reboot {
        /// Answered by `Done`.
        ticket: Ticket,
    },
    /// Take the counter out of this boot's entry.
    Bless {
        /// Answered by `Text`.
        ticket: Ticket,
        /// The entry.
        entry: EntryName,
    },
    /// Let the profile's link point to this path: to its generation, or to a new one.
    Commit {
        /// Answered by `Committed`.
        ticket: Ticket,
        /// The toplevel.
        path: String,
        /// Its generation, if it has one.
        generation: Option<u64>,
    },
    /// Take away the entry of a generation and its link.
    Discard {
        /// Answered by `Done`.
        ticket: Ticket,
        /// Which.
        generation: u64,
    },
}

/// Something that stands in `rollinit status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How bad it is.
    pub level: Level,
    /// What holds.
    pub text: String,
    /// What to do about it.
    pub cure: Option<String>,
}

/// How bad a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something is under way.
    Information,
    /// It works, and somebody should know.
    Warning,
    /// Somebody must do something.
    Error,
}

impl Record {
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

impl Effect {
    /// Its ticket, if it has one.
    #[must_use]
    pub fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Persist { .. }
            | Self::Root { .. }
            | Self::Unroot
            | Self::Report(_)
            | Self::Answer { .. }
            | Self::Notice(_) => None,
            Self::Plan { ticket, .. }
            | Self::Fetch { ticket, .. }
            | Self::Inspect { ticket, .. }
            | Self::Write { ticket, .. }
            | Self::Activate { ticket, .. }
            | Self::Reboot { ticket }
            | Self::Bless { ticket, .. }
            | Self::Commit { ticket, .. }
            | Self::Discard { ticket, .. } => Some(*ticket),
        }
    }
}
