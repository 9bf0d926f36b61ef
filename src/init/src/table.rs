//! The child table: keys with their memos, and runs, at fixed places in a shared memfd.
//!
//! Fixed layout and not a serialised structure, so that it is written before each effect without
//! an allocation, and can be read by a later image of PID 1, or by one whose heap is broken.
//! Little-endian, offsets in the constants below; all zero is an empty table. Pages are touched
//! only when used: 1,000 services are 2.4 MB of the 5.2 MB reserved.
//!
//! ```text
//! header (4096)  magic, layout version, slot counts and sizes, start time, attaches
//! key slots      used, key, incarnation last seen, OOM kills last seen, memo
//! run slots      key slot, incarnation, cgroup, state, pid, times, deadlines, status, usage, cause
//! ```

use port::event::{Cause, End};
use port::limits::{CGROUP_BYTES_MAX, KEY_BYTES_MAX, KEYS_MAX, MEMO_BYTES_MAX, RUNS_MAX};
use std::io;
use sys::memory::Memory;

/// First eight bytes of the memfd.
const MAGIC: &[u8; 8] = b"rollinit";

/// Of the layout described here. A reader refuses others.
const LAYOUT_VERSION: u32 = 1;

const HEADER_BYTES: usize = 4096;
const KEY_SLOT_BYTES: usize = 2144;
const RUN_SLOT_BYTES: usize = 192;

const HEADER_VERSION: usize = 8;
const HEADER_KEY_SLOTS: usize = 12;
const HEADER_RUN_SLOTS: usize = 16;
const HEADER_KEY_BYTES: usize = 20;
const HEADER_RUN_BYTES: usize = 24;
const HEADER_STARTED_NS: usize = 32;
const HEADER_ATTACHES: usize = 40;

const KEY_USED: usize = 0;
const KEY_LENGTH: usize = 1;
const KEY_MEMO_LENGTH: usize = 2;
const KEY_INCARNATION: usize = 8;
const KEY_OOM_KILLS: usize = 16;
const KEY_NAME: usize = 24;
const KEY_MEMO: usize = KEY_NAME + KEY_BYTES_MAX;

const RUN_STATE: usize = 0;
const RUN_CAUSE: usize = 1;
const RUN_EMPTIED: usize = 2;
const RUN_CGROUP_LENGTH: usize = 3;
const RUN_KEY: usize = 4;
const RUN_INCARNATION: usize = 8;
const RUN_PID: usize = 16;
const RUN_STATUS: usize = 20;
const RUN_STARTED_NS: usize = 24;
const RUN_STOP_DEADLINE_NS: usize = 32;
const RUN_ENDED_NS: usize = 40;
const RUN_USER_US: usize = 48;
const RUN_SYSTEM_US: usize = 56;
const RUN_RESIDENT_KIB: usize = 64;
const RUN_KILLED: usize = 72;
const RUN_CGROUP: usize = 80;
const RUN_DEADLINE_NS: usize = RUN_CGROUP + CGROUP_BYTES_MAX;

// The slots hold what the port allows.
const _: () = assert!(KEY_MEMO + MEMO_BYTES_MAX <= KEY_SLOT_BYTES);
const _: () = assert!(RUN_DEADLINE_NS + 8 <= RUN_SLOT_BYTES);
// Their lengths fit a byte.
const _: () = assert!(KEY_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(CGROUP_BYTES_MAX <= u8::MAX as usize);

/// How far a run is, as the table has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// The slot is not in use.
    #[default]
    Free,
    /// About to be cloned; no pid yet.
    Intent,
    /// Cloned; exec not known to have succeeded.
    Starting,
    /// Living.
    Running,
    /// Its leader was seen dead: a tombstone.
    Ended,
    /// exec failed and the asker was told; gone once reaped.
    Failed,
}

const STATES: [State; 6] =
    [State::Free, State::Intent, State::Starting, State::Running, State::Ended, State::Failed];

const CAUSES: [Cause; 5] =
    [Cause::Own, Cause::Asked, Cause::Deadline, Cause::OutOfMemory, Cause::Shutdown];

/// A run slot without its cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// How far it is.
    pub state: State,
    /// Slot of its key.
    pub key: usize,
    /// Its number.
    pub incarnation: u64,
    /// The leader; 0 while it is an intent.
    pub pid: u32,
    /// `CLOCK_MONOTONIC` of the clone, in nanoseconds.
    pub started_ns: u64,
    /// Next deadline of a stop under way, in `CLOCK_MONOTONIC` nanoseconds.
    pub stop_deadline_ns: Option<u64>,
    /// The run's own deadline, in `CLOCK_MONOTONIC` nanoseconds; none once it has passed.
    pub deadline_ns: Option<u64>,
    /// A deadline has passed and the cgroup was killed.
    pub killed: bool,
    /// Nothing is left in its cgroup. Means something once it ended.
    pub emptied: bool,
    /// How it ended; before that, only the cause it would have if it ended now.
    pub end: End,
}

impl Run {
    /// A run that is about to begin.
    #[must_use]
    pub fn intent(key: usize, incarnation: u64) -> Self {
        let end = End {
            status: 0,
            cause: Cause::Own,
            ended_ns: 0,
            user_us: 0,
            system_us: 0,
            resident_max_kib: 0,
        };
        Self {
            state: State::Intent,
            key,
            incarnation,
            pid: 0,
            started_ns: 0,
            stop_deadline_ns: None,
            deadline_ns: None,
            killed: false,
            emptied: false,
            end,
        }
    }
}

/// The table. Slots are numbers that the caller got from here; others panic, as an index does.
#[derive(Debug)]
pub struct Table {
    memory: Memory,
}

impl Table {
    /// An empty table.
    ///
    /// # Errors
    /// Those of making the memfd.
    pub fn create(started_ns: u64) -> io::Result<Self> {
        let bytes = HEADER_BYTES + KEYS_MAX * KEY_SLOT_BYTES + RUNS_MAX * RUN_SLOT_BYTES;
        let mut table = Self { memory: Memory::create(c"rollinit-children", bytes)? };
        table.put(0, MAGIC);
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
        table.put(HEADER_KEY_SLOTS, &count(KEYS_MAX));
        table.put(HEADER_RUN_SLOTS, &count(RUNS_MAX));
        table.put(HEADER_KEY_BYTES, &count(KEY_SLOT_BYTES));
        table.put(HEADER_RUN_BYTES, &count(RUN_SLOT_BYTES));
        table.put(HEADER_STARTED_NS, &started_ns.to_le_bytes());
        table.put(HEADER_VERSION, &LAYOUT_VERSION.to_le_bytes());
        Ok(table)
    }

    /// When PID 1 started, in `CLOCK_MONOTONIC` nanoseconds.
    #[must_use]
    pub fn started_ns(&self) -> u64 {
        self.u64_at(HEADER_STARTED_NS)
    }

    /// How often an owner attached.
    #[must_use]
    pub fn attaches(&self) -> u32 {
        self.u32_at(HEADER_ATTACHES)
    }

    /// Counts one more attach.
    pub fn count_attach(&mut self) {
        let attaches = self.attaches().saturating_add(1);
        self.put(HEADER_ATTACHES, &attaches.to_le_bytes());
    }

    /// The key in a slot; none if the slot is free.
    #[must_use]
    pub fn key(&self, slot: usize) -> Option<&str> {
        let at = key_at(slot);
        let length = usize::from(self.bytes_at(at + KEY_LENGTH, 1)[0]);
        let used = self.bytes_at(at + KEY_USED, 1)[0] == 1;
        used.then(|| text(self.bytes_at(at + KEY_NAME, length.min(KEY_BYTES_MAX))))
    }

    /// Takes a key slot into use. `key` is at most `KEY_BYTES_MAX` bytes, as the port checked.
    pub fn make_key(&mut self, slot: usize, key: &str) {
        let at = key_at(slot);
        self.put(at, &[0; KEY_NAME]);
        let key = &key.as_bytes()[..key.len().min(KEY_BYTES_MAX)];
        self.put(at + KEY_NAME, key);
        self.put(at + KEY_LENGTH, &[u8::try_from(key.len()).unwrap_or(0)]);
        self.put(at + KEY_USED, &[1]);
    }

    /// Frees a key slot, memo and all.
    pub fn free_key(&mut self, slot: usize) {
        self.put(key_at(slot) + KEY_USED, &[0]);
    }

    /// The highest incarnation of a key that PID 1 has seen.
    #[must_use]
    pub fn incarnation_last(&self, slot: usize) -> u64 {
        self.u64_at(key_at(slot) + KEY_INCARNATION)
    }

    /// Notes an incarnation as seen.
    pub fn set_incarnation_last(&mut self, slot: usize, incarnation: u64) {
        self.put(key_at(slot) + KEY_INCARNATION, &incarnation.to_le_bytes());
    }

    /// OOM kills in the key's cgroup when last looked at.
    #[must_use]
    pub fn oom_kills(&self, slot: usize) -> u64 {
        self.u64_at(key_at(slot) + KEY_OOM_KILLS)
    }

    /// Notes the OOM kills in the key's cgroup.
    pub fn set_oom_kills(&mut self, slot: usize, kills: u64) {
        self.put(key_at(slot) + KEY_OOM_KILLS, &kills.to_le_bytes());
    }

    /// What the owner said of a key.
    #[must_use]
    pub fn memo(&self, slot: usize) -> &[u8] {
        let at = key_at(slot);
        let length = self.bytes_at(at + KEY_MEMO_LENGTH, 2);
        let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
        self.bytes_at(at + KEY_MEMO, length.min(MEMO_BYTES_MAX))
    }

    /// Keeps the owner's words, at most `MEMO_BYTES_MAX` bytes as the port checked.
    pub fn set_memo(&mut self, slot: usize, memo: &[u8]) {
        let at = key_at(slot);
        let memo = &memo[..memo.len().min(MEMO_BYTES_MAX)];
        self.put(at + KEY_MEMO, memo);
        let length = u16::try_from(memo.len()).unwrap_or(0);
        self.put(at + KEY_MEMO_LENGTH, &length.to_le_bytes());
    }

    /// The run in a slot.
    #[must_use]
    pub fn run(&self, slot: usize) -> Run {
        let at = run_at(slot);
        let byte = |offset: usize| self.bytes_at(at + offset, 1)[0];
        let time_at = |offset| Some(self.u64_at(at + offset)).filter(|at_ns| *at_ns != 0);
        let end = End {
            status: self.u32_at(at + RUN_STATUS).cast_signed(),
            cause: CAUSES.get(usize::from(byte(RUN_CAUSE))).copied().unwrap_or(Cause::Own),
            ended_ns: self.u64_at(at + RUN_ENDED_NS),
            user_us: self.u64_at(at + RUN_USER_US),
            system_us: self.u64_at(at + RUN_SYSTEM_US),
            resident_max_kib: self.u64_at(at + RUN_RESIDENT_KIB),
        };
        Run {
            state: STATES.get(usize::from(byte(RUN_STATE))).copied().unwrap_or_default(),
            key: self.u32_at(at + RUN_KEY) as usize,
            incarnation: self.u64_at(at + RUN_INCARNATION),
            pid: self.u32_at(at + RUN_PID),
            started_ns: self.u64_at(at + RUN_STARTED_NS),
            stop_deadline_ns: time_at(RUN_STOP_DEADLINE_NS),
            deadline_ns: time_at(RUN_DEADLINE_NS),
            killed: byte(RUN_KILLED) == 1,
            emptied: byte(RUN_EMPTIED) == 1,
            end,
        }
    }

    /// Writes a run; its state last, so that a state is never there before what it means.
    pub fn set_run(&mut self, slot: usize, run: &Run) {
        let at = run_at(slot);
        let key = u32::try_from(run.key).unwrap_or(u32::MAX);
        let cause = CAUSES.iter().position(|cause| *cause == run.end.cause).unwrap_or(0);
        let state = STATES.iter().position(|state| *state == run.state).unwrap_or(0);
        self.put(at + RUN_KEY, &key.to_le_bytes());
        self.put(at + RUN_INCARNATION, &run.incarnation.to_le_bytes());
        self.put(at + RUN_PID, &run.pid.to_le_bytes());
        self.put(at + RUN_STARTED_NS, &run.started_ns.to_le_bytes());
        self.put(at + RUN_STOP_DEADLINE_NS, &run.stop_deadline_ns.unwrap_or(0).to_le_bytes());
        self.put(at + RUN_DEADLINE_NS, &run.deadline_ns.unwrap_or(0).to_le_bytes());
        self.put(at + RUN_KILLED, &[u8::from(run.killed)]);
        self.put(at + RUN_EMPTIED, &[u8::from(run.emptied)]);
        self.put(at + RUN_STATUS, &run.end.status.to_le_bytes());
        self.put(at + RUN_CAUSE, &[u8::try_from(cause).unwrap_or(0)]);
        self.put(at + RUN_ENDED_NS, &run.end.ended_ns.to_le_bytes());
        self.put(at + RUN_USER_US, &run.end.user_us.to_le_bytes());
        self.put(at + RUN_SYSTEM_US, &run.end.system_us.to_le_bytes());
        self.put(at + RUN_RESIDENT_KIB, &run.end.resident_max_kib.to_le_bytes());
        self.put(at + RUN_STATE, &[u8::try_from(state).unwrap_or(0)]);
    }

    /// Where a run's processes are, below the cgroup root.
    #[must_use]
    pub fn cgroup(&self, slot: usize) -> &str {
        let at = run_at(slot);
        let length = usize::from(self.bytes_at(at + RUN_CGROUP_LENGTH, 1)[0]);
        text(self.bytes_at(at + RUN_CGROUP, length.min(CGROUP_BYTES_MAX)))
    }

    /// Notes where a run's processes will be; at most `CGROUP_BYTES_MAX` bytes.
    pub fn set_cgroup(&mut self, slot: usize, cgroup: &str) {
        let at = run_at(slot);
        let cgroup = &cgroup.as_bytes()[..cgroup.len().min(CGROUP_BYTES_MAX)];
        self.put(at + RUN_CGROUP, cgroup);
        self.put(at + RUN_CGROUP_LENGTH, &[u8::try_from(cgroup.len()).unwrap_or(0)]);
    }

    fn bytes_at(&self, at: usize, length: usize) -> &[u8] {
        &self.memory.bytes()[at..at + length]
    }

    fn u32_at(&self, at: usize) -> u32 {
        self.bytes_at(at, 4).first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    fn u64_at(&self, at: usize) -> u64 {
        self.bytes_at(at, 8).first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.memory.bytes_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

fn key_at(slot: usize) -> usize {
    assert!(slot < KEYS_MAX, "key slots come from the table");
    HEADER_BYTES + slot * KEY_SLOT_BYTES
}

fn run_at(slot: usize) -> usize {
    assert!(slot < RUNS_MAX, "run slots come from the table");
    HEADER_BYTES + KEYS_MAX * KEY_SLOT_BYTES + slot * RUN_SLOT_BYTES
}

/// Only valid text is ever written; should memory be damaged, an empty name is better than a fault.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field of every kind of slot comes back, in the first and the last slot, and the two
    /// do not touch each other.
    #[test]
    fn slots_keep_what_is_written() {
        let mut table = Table::create(42).expect("table");
        let (key, cgroup) = ("k".repeat(KEY_BYTES_MAX), "c".repeat(CGROUP_BYTES_MAX));
        let memo = [7; MEMO_BYTES_MAX];
        let mut run = Run::intent(KEYS_MAX - 1, u64::MAX);
        run.state = State::Ended;
        (run.pid, run.started_ns) = (5, 6);
        (run.stop_deadline_ns, run.deadline_ns) = (Some(7), Some(12));
        (run.killed, run.emptied) = (true, true);
        run.end = End {
            status: -1,
            cause: Cause::Shutdown,
            ended_ns: 8,
            user_us: 9,
            system_us: 10,
            resident_max_kib: 11,
        };
        for slot in [0, KEYS_MAX - 1] {
            table.make_key(slot, &key);
            table.set_memo(slot, &memo);
            table.set_incarnation_last(slot, 3);
        }
        for slot in [0, RUNS_MAX - 1] {
            table.set_run(slot, &run);
            table.set_cgroup(slot, &cgroup);
        }
        for slot in [0, KEYS_MAX - 1] {
            assert_eq!(table.key(slot), Some(key.as_str()));
            assert_eq!((table.memo(slot), table.incarnation_last(slot)), (memo.as_slice(), 3));
        }
        for slot in [0, RUNS_MAX - 1] {
            assert_eq!((table.run(slot), table.cgroup(slot)), (run, cgroup.as_str()));
        }
        assert_eq!((table.key(1), table.run(1).state), (None, State::Free));
        assert_eq!(table.started_ns(), 42);
    }

    /// The layout is a promise to later images of PID 1: its bytes do not move unnoticed.
    #[test]
    fn layout_version_1_is_frozen() {
        let mut table = Table::create(1).expect("table");
        table.make_key(0, "web");
        table.set_memo(0, b"memo");
        let mut run = Run::intent(0, 0x0102);
        (run.state, run.pid) = (State::Running, 0x0304);
        run.deadline_ns = Some(0x0506);
        table.set_run(1, &run);
        let bytes = table.memory.bytes();
        assert_eq!(&bytes[..8], b"rollinit");
        assert_eq!(bytes[8..12], [1, 0, 0, 0]);
        assert_eq!((&bytes[4096..4100], &bytes[4120..4123]), (&[1, 3, 4, 0][..], &b"web"[..]));
        assert_eq!(&bytes[4184..4188], b"memo");
        let run = &bytes[4096 + 2048 * 2144 + 192..];
        assert_eq!((run[0], &run[8..10], &run[16..18]), (3, &[2, 1][..], &[4, 3][..]));
        assert_eq!(run[176..184], [6, 5, 0, 0, 0, 0, 0, 0]);
    }
}
