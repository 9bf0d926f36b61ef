//! What PID 1 says: answers to requests, and events nobody asked for.

use crate::frame::{self, DecodeError, EncodeError, Header};
use crate::limits::{KEY_BYTES_MAX, STUCK_PIDS_MAX, WCHAN_BYTES_MAX};
use crate::packed::Numbers;
use crate::snapshot::{Page, SnapshotEnd};
use serde::{Deserialize, Serialize};

/// The answer to a request; carries its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done, or under way where an event will tell.
    Done,
    /// Answer to `attach`; snapshot pages follow.
    Welcome(Welcome),
    /// Answer to `spawn`: the program runs (its exec succeeded).
    Started(Started),
    /// Answer to `spawn`: a step before or at exec failed; the run never existed.
    Failed(Failed),
    /// It was not done.
    Refused(Refusal),
}

/// What the owner must know of PID 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Version both sides use from here on.
    pub version: u8,
    /// PID 1's own pid: 1, or another when it runs as an ordinary process.
    pub pid: u32,
    /// `CLOCK_MONOTONIC` at which PID 1 started, in nanoseconds.
    pub started_ns: u64,
    /// How often an owner attached before this one.
    pub attaches: u32,
    /// A shutdown is under way, whichever owner began it.
    pub shutting_down: bool,
}

/// Body of [`Answer::Started`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The leader, exact while it is unreaped.
    pub pid: u32,
    /// `CLOCK_MONOTONIC` of the clone, in nanoseconds.
    pub started_ns: u64,
}

/// Body of [`Answer::Failed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// What the child or PID 1 was doing.
    pub step: Step,
    /// `errno` of it.
    pub errno: i32,
}

/// What was being done when a spawn failed, in the order in which it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Step {
    Prepare,
    Cgroup,
    KeptFd,
    Listen,
    Clone,
    Session,
    SignalDispositions,
    OomScore,
    Limits,
    Umask,
    Groups,
    Group,
    User,
    Directory,
    Descriptors,
    SignalMask,
    Exec,
}

/// Why a request was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// `EEXIST` a seen incarnation, `ESRCH` no such run, `ENOENT` no such name, `EAGAIN` a full
    /// table, `EBUSY` still living, `ENOSYS` an unknown verb, `EINVAL` anything malformed.
    pub errno: i32,
}

/// Why a run ended, as PID 1 knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// By itself, or by a signal that did not come from PID 1.
    Own,
    /// After a `signal` or `stop` of the owner.
    Asked,
    /// The deadline of its stop, or its own, passed and PID 1 killed the cgroup.
    Deadline,
    /// The kernel's OOM killer was at work in its cgroup.
    OutOfMemory,
    /// PID 1 ended everything for a shutdown.
    Shutdown,
}

/// How a leader ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// What a power request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PowerSource {
    /// The ACPI power button (QMP `system_powerdown`, EC2's stop).
    PowerButton,
    /// Ctrl-alt-del on a console.
    CtrlAltDel,
    /// A signal that agents send to PID 1: `SIGPWR`, `SIGRTMIN+3` and its kin.
    Signal(u8),
    /// A new system on trial was not blessed in time.
    Trial,
}

/// Something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event<'a> {
    /// A leader was reaped. At least once; (key, incarnation) makes it idempotent.
    Exited {
        /// Whose run.
        key: &'a str,
        /// Which run.
        incarnation: u64,
        /// How it ended.
        end: End,
        /// Nothing is left in its cgroup: the run is *stopped*. Else `Emptied` follows.
        emptied: bool,
    },
    /// The cgroup of a run whose leader was reaped is empty now: the run is *stopped*.
    Emptied {
        /// Whose run.
        key: &'a str,
        /// Which run.
        incarnation: u64,
    },
    /// Killed, and still there: ptraced, or asleep in the kernel for good.
    Stuck {
        /// Whose run.
        key: &'a str,
        /// Which run.
        incarnation: u64,
        /// Who is left; the first few.
        #[serde(borrow)]
        pids: Numbers<'a>,
        /// What the first of them sleeps in (`/proc/PID/wchan`).
        wchan: &'a str,
    },
    /// Somebody asks for the machine to end. The owner stops its services, then sends `shutdown`;
    /// if it does not within PID 1's patience, PID 1 ends everything itself.
    Power {
        /// What PID 1 will do.
        kind: crate::request::ShutdownKind,
        /// How it came in.
        source: PowerSource,
    },
}

/// Everything PID 1 can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// An answer to the request of this sequence.
    Answer(u64, Answer),
    /// An event.
    Event(Event<'a>),
    /// A page of the snapshot.
    Page(Page<'a>),
    /// The last word of a snapshot.
    SnapshotEnd(SnapshotEnd),
}

/// Kinds of messages on the wire. Append only; apart from the request kinds so that a frame sent
/// the wrong way never decodes.
mod kind {
    pub const ANSWER: u8 = 128;
    pub const EVENT: u8 = 129;
    pub const PAGE: u8 = 130;
    pub const SNAPSHOT_END: u8 = 131;
}

impl<'a> Message<'a> {
    /// Writes the whole frame into `buffer`; returns its length in bytes.
    ///
    /// # Errors
    /// [`EncodeError`] if it does not fit or a field is above its cap.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, EncodeError> {
        self.check().map_err(|error| match error {
            DecodeError::Field(field) => EncodeError::Field(field),
            _ => EncodeError::Full,
        })?;
        match self {
            Self::Answer(sequence, body) => frame::write(kind::ANSWER, *sequence, body, buffer),
            Self::Event(body) => frame::write(kind::EVENT, 0, body, buffer),
            Self::Page(body) => frame::write(kind::PAGE, 0, body, buffer),
            Self::SnapshotEnd(body) => frame::write(kind::SNAPSHOT_END, 0, body, buffer),
        }
    }

    /// Reads one packet from PID 1.
    ///
    /// # Errors
    /// [`DecodeError`]: the owner should reconnect, since the two no longer understand each other.
    pub fn decode(packet: &'a [u8]) -> Result<Self, DecodeError> {
        let header = Header::decode(packet)?;
        let body = header.body(packet)?;
        let message = match header.kind {
            kind::ANSWER => Self::Answer(header.sequence, frame::read(body)?),
            kind::EVENT => Self::Event(frame::read(body)?),
            kind::PAGE => Self::Page(frame::read(body)?),
            kind::SNAPSHOT_END => Self::SnapshotEnd(frame::read(body)?),
            other => return Err(DecodeError::Kind(other)),
        };
        message.check()?;
        Ok(message)
    }

    fn check(&self) -> Result<(), DecodeError> {
        match self {
            Self::Answer(..) | Self::SnapshotEnd(_) | Self::Event(Event::Power { .. }) => Ok(()),
            Self::Page(page) => page.check(),
            Self::Event(Event::Exited { key, .. } | Event::Emptied { key, .. }) => {
                check_length(key.len(), KEY_BYTES_MAX, "key")
            }
            Self::Event(Event::Stuck { key, pids, wchan, .. }) => {
                check_length(key.len(), KEY_BYTES_MAX, "key")?;
                check_length(wchan.len(), WCHAN_BYTES_MAX, "wchan")?;
                pids.check("pids")?;
                check_length(pids.iter().count(), STUCK_PIDS_MAX, "pids")
            }
        }
    }
}

fn check_length(length: usize, cap: usize, field: &'static str) -> Result<(), DecodeError> {
    if length <= cap { Ok(()) } else { Err(DecodeError::Field(field)) }
}
