//! Verbs: what an owner asks of PID 1.

use crate::frame::{self, DecodeError, EncodeError, HEADER_BYTES, Header};
use crate::limits::{
    CGROUP_BYTES_MAX, FD_NAME_BYTES_MAX, KEY_BYTES_MAX, MEMO_BYTES_MAX, PASSED_FDS_MAX,
    PID_SLOT_BYTES, SPECIFICATION_BYTES_MAX,
};
use crate::packed::{Limits, Numbers, Strings};
use serde::{Deserialize, Serialize};

/// Start a run of a key. Answered by `Started` or `Failed` once the status pipe ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawn<'a> {
    /// Whose run it is.
    pub key: &'a str,
    /// Picked by the owner; one at or below the last seen of this key is refused (`EEXIST`), so a
    /// repeated spawn starts nothing twice.
    pub incarnation: u64,
    /// Below PID 1's cgroup root, made and limited by the owner. A path and not a descriptor:
    /// PID 1 must be able to kill it when the owner is gone. Empty: PID 1's own cgroup.
    pub cgroup: &'a str,
    /// Path of the program, without its NUL.
    pub executable: &'a [u8],
    /// argv, argv\[0\] included.
    #[serde(borrow)]
    pub arguments: Strings<'a>,
    /// The whole environment: `NAME=value`.
    #[serde(borrow)]
    pub environment: Strings<'a>,
    /// Where in `environment`'s bytes the child writes its pid, left-aligned and NUL-padded, in
    /// `PID_SLOT_BYTES` reserved bytes (`LISTEN_PID`).
    pub pid_slot: Option<u32>,
    /// The working directory is the next descriptor of the frame; without it, `/`.
    pub directory_attached: bool,
    /// Standard input, output, error, in this order.
    #[serde(borrow)]
    pub stdio: [Stdio<'a>; 3],
    /// Kept descriptors to pass as 3, 4, …, by their names in the fd store.
    #[serde(borrow)]
    pub passed: Strings<'a>,
    /// Backlog with which PID 1 listens again on a stream listener of `passed` that a tenant shut
    /// down (`SO_ACCEPTCONN` is looked at before every start).
    pub listen_backlog: u32,
    /// Identity to take; groups first, then gid, then uid.
    pub user: u32,
    /// Primary group.
    pub group: u32,
    /// Supplementary groups, all of them.
    #[serde(borrow)]
    pub groups: Numbers<'a>,
    /// Limits to set; what is not named gets what PID 1 itself was started with.
    #[serde(borrow)]
    pub limits: Limits<'a>,
    /// `umask(2)` of the child.
    pub umask: u32,
    /// `/proc/self/oom_score_adj` of the child.
    pub oom_score_adjust: i16,
    /// The owner has seen that the program lies on the root file system and that nothing else of
    /// this spawn touches a path, so that `CLONE_VM | CLONE_VFORK` cannot hold PID 1.
    pub vfork_safe: bool,
}

/// Where a standard stream of a child comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio<'a> {
    /// `/dev/null`.
    #[default]
    Null,
    /// The kept descriptor of this name.
    Kept(&'a str),
    /// The next descriptor of the frame.
    Attached,
}

/// Who gets a signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// The process that PID 1 started.
    Leader,
    /// Its process group, only while the leader is unreaped.
    Group,
    /// Every process in the run's cgroup.
    #[default]
    Cgroup,
}

/// What shutting down ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShutdownKind {
    /// Power off.
    PowerOff,
    /// Reboot.
    Reboot,
    /// Halt with the power on.
    Halt,
}

/// What an owner asks of PID 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// First word of an owner. Answered by `Welcome`, then snapshot pages, then `SnapshotEnd`.
    Attach(Attach),
    /// Start a run.
    Spawn(Spawn<'a>),
    /// Signal a run.
    Signal(Signal<'a>),
    /// Signal a run now and kill its cgroup at a deadline, with or without an owner by then.
    Stop(Stop<'a>),
    /// Keep words about a key. Makes the key if it is new.
    Set(Set<'a>),
    /// Set, move or clear the deadline of a living run.
    Deadline(Deadline<'a>),
    /// Drop the tombstone of an ended run, or (without incarnation) a key that has no runs.
    Forget(Forget<'a>),
    /// Put the frame's descriptor into the fd store under a name, in place of an older one.
    KeepFd(KeepFd<'a>),
    /// Get a duplicate of a kept descriptor, and perhaps drop the entry.
    TakeFd(TakeFd<'a>),
    /// The snapshot again.
    List,
    /// End everything that is left, then the machine. The owner has stopped its services before.
    Shutdown(Shutdown),
}

/// Body of [`Request::Attach`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Oldest version the owner speaks.
    pub version_min: u8,
    /// Newest version the owner speaks. The highest that both know is used.
    pub version_max: u8,
}

/// Body of [`Request::Signal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal<'a> {
    /// Whose run.
    pub key: &'a str,
    /// Which run.
    pub incarnation: u64,
    /// Who in it.
    pub scope: Scope,
    /// Signal number, 1 to 64.
    pub signal: u8,
}

/// Body of [`Request::Stop`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop<'a> {
    /// Whose run.
    pub key: &'a str,
    /// Which run.
    pub incarnation: u64,
    /// Who gets the first signal.
    pub scope: Scope,
    /// Signal number, 1 to 64. `SIGCONT` follows, since a stopped child ignores it.
    pub signal: u8,
    /// `CLOCK_MONOTONIC` in nanoseconds: then the whole cgroup is killed.
    pub deadline_ns: u64,
}

/// Body of [`Request::Set`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set<'a> {
    /// Whose memo.
    pub key: &'a str,
    /// Opaque to PID 1.
    pub memo: &'a [u8],
}

/// Body of [`Request::Deadline`].
///
/// A run with a deadline lives for as long as its owner moves it on: once it has passed, PID 1
/// kills the run's whole cgroup, with or without an owner there, and the cause of its end is
/// [`Cause::Deadline`](crate::event::Cause::Deadline).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline<'a> {
    /// Whose run.
    pub key: &'a str,
    /// Which run.
    pub incarnation: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds; none: it has no deadline any more.
    pub deadline_ns: Option<u64>,
}

/// Body of [`Request::Forget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forget<'a> {
    /// Whose.
    pub key: &'a str,
    /// Which run; none: the key and its memo.
    pub incarnation: Option<u64>,
}

/// Body of [`Request::KeepFd`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepFd<'a> {
    /// Name in the fd store.
    pub name: &'a str,
}

/// Body of [`Request::TakeFd`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeFd<'a> {
    /// Name in the fd store.
    pub name: &'a str,
    /// Also drop the entry. The answer carries the descriptor in either case.
    pub drop_entry: bool,
}

/// Body of [`Request::Shutdown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shutdown {
    /// What it ends in.
    pub kind: ShutdownKind,
}

/// Kinds of requests on the wire. Append only.
mod kind {
    pub const ATTACH: u8 = 1;
    pub const SPAWN: u8 = 2;
    pub const SIGNAL: u8 = 3;
    pub const STOP: u8 = 4;
    pub const SET: u8 = 5;
    pub const FORGET: u8 = 6;
    pub const KEEP_FD: u8 = 7;
    pub const TAKE_FD: u8 = 8;
    pub const LIST: u8 = 9;
    pub const SHUTDOWN: u8 = 10;
    pub const DEADLINE: u8 = 11;
}

/// Whether `name` may name a key or a kept descriptor: not empty, printable ASCII, no space.
fn check_name(name: &str, cap: usize, field: &'static str) -> Result<(), DecodeError> {
    let fine = !name.is_empty() && name.len() <= cap && name.bytes().all(|b| b.is_ascii_graphic());
    if fine { Ok(()) } else { Err(DecodeError::Field(field)) }
}

/// A service's key is also a file name: no slash, no leading dot. One that begins with `@` is a
/// word of the owner's for itself, and no file.
fn check_key(key: &str) -> Result<(), DecodeError> {
    check_name(key, KEY_BYTES_MAX, "key")?;
    let is_file = !key.starts_with('@');
    let fits = !is_file || !(key.contains('/') || key.starts_with('.'));
    if fits { Ok(()) } else { Err(DecodeError::Field("key")) }
}

fn check_signal(signal: u8) -> Result<(), DecodeError> {
    if (1..=64).contains(&signal) { Ok(()) } else { Err(DecodeError::Field("signal")) }
}

impl Spawn<'_> {
    /// Descriptors that the frame must carry for this spawn.
    #[must_use]
    pub fn attached_count(&self) -> usize {
        let streams = self.stdio.iter().filter(|stdio| matches!(stdio, Stdio::Attached)).count();
        usize::from(self.directory_attached) + streams
    }

    /// For a spawn above a frame: writes the body alone into `buffer`, for a memfd that goes with
    /// the frame as its first descriptor. Returns the frame, which is a header alone, and the
    /// body's length in bytes.
    ///
    /// # Errors
    /// [`EncodeError`] if it does not fit or a field is above its cap.
    pub fn encode_apart(
        &self,
        sequence: u64,
        buffer: &mut [u8],
    ) -> Result<([u8; HEADER_BYTES], usize), EncodeError> {
        self.check().map_err(|error| match error {
            DecodeError::Field(field) => EncodeError::Field(field),
            _ => EncodeError::Full,
        })?;
        let cap = buffer.len().min(SPECIFICATION_BYTES_MAX);
        let body = postcard::to_slice(self, &mut buffer[..cap]).map_err(|_| EncodeError::Full)?;
        let length = u32::try_from(body.len()).map_err(|_| EncodeError::Full)?;
        let (version, flags) = (frame::VERSION, frame::FLAG_BODY_IN_MEMFD);
        let header = Header { version, kind: kind::SPAWN, flags, length, sequence };
        Ok((header.encode(), body.len()))
    }

    fn check(&self) -> Result<(), DecodeError> {
        check_key(self.key)?;
        if !self.cgroup.is_empty() {
            check_name(self.cgroup, CGROUP_BYTES_MAX, "cgroup")?;
            if self.cgroup.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
                return Err(DecodeError::Field("cgroup"));
            }
        }
        if self.executable.is_empty() || self.executable.contains(&0) {
            return Err(DecodeError::Field("executable"));
        }
        self.arguments.check("arguments")?;
        self.environment.check("environment")?;
        if let Some(slot) = self.pid_slot {
            let end = slot as usize + PID_SLOT_BYTES;
            // The byte after the slot is the NUL that ends the variable.
            let reserved = self.environment.as_bytes().get(slot as usize..end);
            let ended = self.environment.as_bytes().get(end) == Some(&0);
            if !ended || !reserved.is_some_and(|slot| slot.iter().all(u8::is_ascii_digit)) {
                return Err(DecodeError::Field("pid_slot"));
            }
        }
        for stdio in &self.stdio {
            if let Stdio::Kept(name) = stdio {
                check_name(name, FD_NAME_BYTES_MAX, "stdio")?;
            }
        }
        self.passed.check("passed")?;
        if self.passed.count() > PASSED_FDS_MAX {
            return Err(DecodeError::Field("passed"));
        }
        self.groups.check("groups")?;
        self.limits.check("limits")
    }
}

impl<'a> Request<'a> {
    /// The kind byte of this request.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Self::Attach(_) => kind::ATTACH,
            Self::Spawn(_) => kind::SPAWN,
            Self::Signal(_) => kind::SIGNAL,
            Self::Stop(_) => kind::STOP,
            Self::Set(_) => kind::SET,
            Self::Deadline(_) => kind::DEADLINE,
            Self::Forget(_) => kind::FORGET,
            Self::KeepFd(_) => kind::KEEP_FD,
            Self::TakeFd(_) => kind::TAKE_FD,
            Self::List => kind::LIST,
            Self::Shutdown(_) => kind::SHUTDOWN,
        }
    }

    /// Writes the whole frame into `buffer`; returns its length in bytes.
    ///
    /// # Errors
    /// [`EncodeError`] if it does not fit or a field is above its cap.
    pub fn encode(&self, sequence: u64, buffer: &mut [u8]) -> Result<usize, EncodeError> {
        self.check().map_err(|error| match error {
            DecodeError::Field(field) => EncodeError::Field(field),
            _ => EncodeError::Full,
        })?;
        let kind = self.kind();
        match self {
            Self::Attach(body) => frame::write(kind, sequence, body, buffer),
            Self::Spawn(body) => frame::write(kind, sequence, body, buffer),
            Self::Signal(body) => frame::write(kind, sequence, body, buffer),
            Self::Stop(body) => frame::write(kind, sequence, body, buffer),
            Self::Set(body) => frame::write(kind, sequence, body, buffer),
            Self::Deadline(body) => frame::write(kind, sequence, body, buffer),
            Self::Forget(body) => frame::write(kind, sequence, body, buffer),
            Self::KeepFd(body) => frame::write(kind, sequence, body, buffer),
            Self::TakeFd(body) => frame::write(kind, sequence, body, buffer),
            Self::List => frame::write(kind, sequence, &(), buffer),
            Self::Shutdown(body) => frame::write(kind, sequence, body, buffer),
        }
    }

    /// Reads the body that belongs to `header`, from the frame or from a memfd.
    ///
    /// # Errors
    /// [`DecodeError`]: `Kind` for an unknown verb (answer it), else the connection closes.
    pub fn decode(header: &Header, body: &'a [u8]) -> Result<Self, DecodeError> {
        let request = match header.kind {
            kind::ATTACH => Self::Attach(frame::read(body)?),
            kind::SPAWN => Self::Spawn(frame::read(body)?),
            kind::SIGNAL => Self::Signal(frame::read(body)?),
            kind::STOP => Self::Stop(frame::read(body)?),
            kind::SET => Self::Set(frame::read(body)?),
            kind::FORGET => Self::Forget(frame::read(body)?),
            kind::KEEP_FD => Self::KeepFd(frame::read(body)?),
            kind::TAKE_FD => Self::TakeFd(frame::read(body)?),
            kind::LIST => frame::read::<()>(body).map(|()| Self::List)?,
            kind::SHUTDOWN => Self::Shutdown(frame::read(body)?),
            kind::DEADLINE => Self::Deadline(frame::read(body)?),
            other => return Err(DecodeError::Kind(other)),
        };
        request.check()?;
        Ok(request)
    }

    fn check(&self) -> Result<(), DecodeError> {
        match self {
            Self::Attach(_) | Self::List | Self::Shutdown(_) => Ok(()),
            Self::Spawn(spawn) => spawn.check(),
            Self::Signal(signal) => check_key(signal.key).and(check_signal(signal.signal)),
            Self::Stop(stop) => check_key(stop.key).and(check_signal(stop.signal)),
            Self::Set(set) if set.memo.len() > MEMO_BYTES_MAX => Err(DecodeError::Field("memo")),
            Self::Set(set) => check_key(set.key),
            Self::Deadline(deadline) => check_key(deadline.key),
            Self::Forget(forget) => check_key(forget.key),
            Self::KeepFd(keep) => check_name(keep.name, FD_NAME_BYTES_MAX, "name"),
            Self::TakeFd(take) => check_name(take.name, FD_NAME_BYTES_MAX, "name"),
        }
    }
}
