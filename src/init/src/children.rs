//! Who lives, who ended, who must be killed when: the pure core over the child table.
//!
//! A run goes `Intent → Starting → Running → Ended`; an exec that failed goes
//! `Starting → Failed → (gone)`. Each change is in the table before the effect it stands for: the
//! intent before the clone, the end before the reaping. An ended run is a tombstone until its owner
//! forgets it, which it may once nothing is left in the cgroup: then the run is *stopped*.
//!
//! A stop has a deadline. Passed, the cgroup is killed and the next deadline is for the kernel: who
//! is still there then is reported stuck, again and again but ever less of a surprise. The deadline
//! ends with the run's last process, whoever owns it by then. A run may also have a deadline of its
//! own, which its owner moves on for as long as the run shall live: passed, it is as that of a
//! stop.
//!
//! Pure: facts and the time go in, [`Effect`]s come out; no call to the kernel but the table's
//! memory.

use crate::table::{Run, State, Table};
use port::event::{Cause, End};
use port::limits::{KEYS_MAX, RUNS_MAX};
use sys::clock::NS_PER_S;
use sys::reap::Dead;

/// Nobody survives a kill for so long but one that is traced or asleep in the kernel.
const STUCK_AFTER_NS: u64 = 10 * NS_PER_S;

/// A stuck run is reported again this often: often enough to be seen, too seldom to be noise.
const STUCK_AGAIN_NS: u64 = 60 * NS_PER_S;

/// `errno` of a refusal; the numbers are the same on all Linux architectures of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// No such entry.
    pub const NOENT: Self = Self(2);
    /// No such run.
    pub const SRCH: Self = Self(3);
    /// The table is full.
    pub const AGAIN: Self = Self(11);
    /// Still living, or its cgroup is in use.
    pub const BUSY: Self = Self(16);
    /// This incarnation was seen before.
    pub const EXIST: Self = Self(17);
    /// Malformed.
    pub const INVAL: Self = Self(22);
    /// PID 1 has no free descriptor.
    pub const MFILE: Self = Self(24);
    /// Unknown verb.
    pub const NOSYS: Self = Self(38);
    /// No version in common, or not attached.
    pub const PROTO: Self = Self(71);
    /// Everything is being ended.
    pub const SHUTDOWN: Self = Self(108);
}

/// What the rim has to do; `usize` is a run slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell the owner that the leader ended.
    TellExited(usize),
    /// Tell the owner that the run is stopped.
    TellEmptied(usize),
    /// Its stop took too long: kill all that is in the run's cgroup.
    Kill(usize),
    /// Its own deadline has passed: the same.
    KillOverdue(usize),
    /// Watch the run's cgroup until it is empty.
    Watch(usize),
    /// Tell the owner who is left, and in what it sleeps.
    TellStuck(usize),
}

/// Whose time a deadline ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// A stop's, or the kernel's after a kill.
    Stop,
    /// The run's own.
    Run,
}

/// What is looked up often, beside the table so that a search touches none of its pages.
#[derive(Clone, Copy, Debug)]
struct Indexed {
    used: bool,
    key: usize,
    pid: u32,
}

const UNUSED: Indexed = Indexed { used: false, key: 0, pid: 0 };

/// The core.
#[derive(Debug)]
pub struct Children {
    table: Table,
    /// Hash of the key in each key slot; none: free.
    keys: Vec<Option<u64>>,
    runs: Vec<Indexed>,
    /// Deadlines of runs by slot, in no order: there are few.
    deadlines: Vec<(u64, usize, Ends)>,
}

impl Children {
    /// Over an empty table.
    #[must_use]
    pub fn new(table: Table) -> Self {
        Self { table, keys: Vec::new(), runs: Vec::new(), deadlines: Vec::new() }
    }

    /// The table, to read.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Slots of keys that may be in use.
    #[must_use]
    pub fn key_slots(&self) -> usize {
        self.keys.len()
    }

    /// Slots of runs that may be in use.
    #[must_use]
    pub fn run_slots(&self) -> usize {
        self.runs.len()
    }

    /// The name of a run's key.
    #[must_use]
    pub fn key_of(&self, slot: usize) -> &str {
        self.table.key(self.table.run(slot).key).unwrap_or_default()
    }

    /// Counts an owner's attach; returns how many there were before.
    pub fn attach(&mut self) -> u32 {
        let before = self.table.attaches();
        self.table.count_attach();
        before
    }

    /// The slot of a run that was spawned and not forgotten.
    #[must_use]
    pub fn find(&self, key: &str, incarnation: u64) -> Option<usize> {
        let key = self.find_key(key)?;
        self.runs_of(key).find(|slot| self.table.run(*slot).incarnation == incarnation)
    }

    /// The slot of the living run that `pid` leads.
    #[must_use]
    pub fn find_pid(&self, pid: u32) -> Option<usize> {
        self.runs.iter().position(|run| run.used && run.pid == pid)
    }

    /// Writes down that a run is about to be cloned.
    ///
    /// # Errors
    /// `EXIST` for an incarnation at or below the last seen, `BUSY` if another run that is not
    /// stopped has the cgroup (its emptiness could never be told), `AGAIN` if the table is full.
    pub fn intend(&mut self, key: &str, incarnation: u64, cgroup: &str) -> Result<usize, Errno> {
        let known = self.find_key(key);
        if incarnation <= known.map_or(0, |slot| self.table.incarnation_last(slot)) {
            return Err(Errno::EXIST);
        }
        let shares = |slot: usize| {
            let run = self.table.run(slot);
            // A child whose exec failed is on its way out and leaves nobody behind.
            let stopped = run.emptied || run.state == State::Failed;
            !stopped && !cgroup.is_empty() && self.table.cgroup(slot) == cgroup
        };
        if (0..self.runs.len()).any(|slot| self.runs[slot].used && shares(slot)) {
            return Err(Errno::BUSY);
        }
        let slot = self.runs.iter().position(|run| !run.used).unwrap_or(self.runs.len());
        if slot == RUNS_MAX {
            return Err(Errno::AGAIN);
        }
        let key = self.make_key(key)?;
        if slot == self.runs.len() {
            self.runs.push(UNUSED);
        }
        self.runs[slot] = Indexed { used: true, key, pid: 0 };
        self.table.set_incarnation_last(key, incarnation);
        self.table.set_cgroup(slot, cgroup);
        self.table.set_run(slot, &Run::intent(key, incarnation));
        Ok(slot)
    }

    /// The clone succeeded.
    pub fn cloned(&mut self, slot: usize, pid: u32, now_ns: u64) {
        self.runs[slot].pid = pid;
        self.change(slot, |run| {
            run.state = State::Starting;
            run.pid = pid;
            run.started_ns = now_ns;
        });
    }

    /// Nothing was cloned: the run never existed.
    pub fn not_cloned(&mut self, slot: usize) {
        self.free_run(slot);
    }

    /// exec succeeded.
    pub fn executed(&mut self, slot: usize) {
        self.change(slot, |run| {
            if run.state == State::Starting {
                run.state = State::Running;
            }
        });
    }

    /// exec failed. If its asker hears of it the run never existed; else (`orphaned`: the asker is
    /// gone and a later owner saw it start) it becomes a tombstone like any other.
    pub fn not_executed(&mut self, slot: usize, orphaned: bool) {
        self.change(slot, |run| {
            if run.state == State::Starting {
                run.state = if orphaned { State::Running } else { State::Failed };
            }
        });
    }

    /// A child is dead but not reaped: writes its end down. Returns its slot; none for an orphan.
    /// `oom_kills` is the count in its cgroup now.
    pub fn ended(&mut self, dead: &Dead, oom_kills: u64, now_ns: u64) -> Option<usize> {
        let slot = self.find_pid(dead.pid)?;
        self.runs[slot].pid = 0;
        let key = self.runs[slot].key;
        let seen = self.table.oom_kills(key);
        self.table.set_oom_kills(key, oom_kills);
        // A group that was made anew counts from zero.
        let out_of_memory = oom_kills > seen && dead.status & 0x7f == 9;
        self.change(slot, |run| {
            let own = run.end.cause == Cause::Own;
            run.end = End {
                status: dead.status,
                cause: if own && out_of_memory { Cause::OutOfMemory } else { run.end.cause },
                ended_ns: now_ns,
                user_us: dead.usage.user_us,
                system_us: dead.usage.system_us,
                resident_max_kib: dead.usage.resident_max_kib,
            };
            if run.state != State::Failed {
                run.state = State::Ended;
            }
        });
        Some(slot)
    }

    /// An ended leader is reaped, and its cgroup was looked at.
    pub fn reaped(&mut self, slot: usize, populated: bool) -> Vec<Effect> {
        if self.table.run(slot).state == State::Failed {
            self.free_run(slot);
            return Vec::new();
        }
        if populated {
            return vec![Effect::Watch(slot), Effect::TellExited(slot)];
        }
        self.end_deadlines(slot);
        self.change(slot, |run| run.emptied = true);
        vec![Effect::TellExited(slot)]
    }

    /// The cgroup of an ended run is empty. Nothing comes of it a second time.
    pub fn emptied(&mut self, slot: usize) -> Option<Effect> {
        let run = self.table.run(slot);
        if run.state != State::Ended || run.emptied {
            return None;
        }
        self.end_deadlines(slot);
        self.change(slot, |run| run.emptied = true);
        Some(Effect::TellEmptied(slot))
    }

    /// Whether anything of the run may live.
    #[must_use]
    pub fn is_unstopped(&self, slot: usize) -> bool {
        let run = self.table.run(slot);
        run.state != State::Ended || !run.emptied
    }

    /// The owner signals the run: from now on an end is what was asked for.
    pub fn asked(&mut self, slot: usize) {
        self.change(slot, |run| {
            if run.state != State::Ended && run.end.cause == Cause::Own {
                run.end.cause = Cause::Asked;
            }
        });
    }

    /// A stop begins; its deadline is PID 1's from now on. A second one moves the deadline.
    pub fn stop(&mut self, slot: usize, deadline_ns: u64) {
        self.asked(slot);
        self.set_deadline(slot, Ends::Stop, Some(deadline_ns.max(1)));
        self.change(slot, |run| run.killed = false);
    }

    /// Sets, moves or clears the run's own deadline.
    ///
    /// # Errors
    /// `SRCH` if there is no such run, or it is stopped, or being killed already.
    pub fn set_own_deadline(
        &mut self,
        key: &str,
        incarnation: u64,
        deadline_ns: Option<u64>,
    ) -> Result<(), Errno> {
        let slot = self.find(key, incarnation).ok_or(Errno::SRCH)?;
        if !self.is_unstopped(slot) || self.table.run(slot).killed {
            return Err(Errno::SRCH);
        }
        self.set_deadline(slot, Ends::Run, deadline_ns.map(|deadline_ns| deadline_ns.max(1)));
        Ok(())
    }

    /// The next deadline of all.
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        self.deadlines.iter().map(|(deadline_ns, ..)| *deadline_ns).min()
    }

    /// What deadlines demand by now. Runs' own come first: who is killed for one has the time that
    /// the kernel needs, whatever its stop's deadline was.
    pub fn due(&mut self, now_ns: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        for slot in self.passed(now_ns, Ends::Run) {
            self.set_deadline(slot, Ends::Run, None);
            if !self.table.run(slot).killed {
                self.kill(slot, now_ns);
                effects.push(Effect::KillOverdue(slot));
            }
        }
        for slot in self.passed(now_ns, Ends::Stop) {
            if self.table.run(slot).killed {
                let again_ns = now_ns.saturating_add(STUCK_AGAIN_NS);
                self.set_deadline(slot, Ends::Stop, Some(again_ns));
                effects.push(Effect::TellStuck(slot));
            } else {
                self.kill(slot, now_ns);
                effects.push(Effect::Kill(slot));
            }
        }
        effects
    }

    /// Slots whose deadline of this kind has passed.
    fn passed(&self, now_ns: u64, ends: Ends) -> Vec<usize> {
        let passed =
            |(deadline_ns, _, of): &&(u64, usize, Ends)| *of == ends && *deadline_ns <= now_ns;
        self.deadlines.iter().filter(passed).map(|(_, slot, _)| *slot).collect()
    }

    /// From now on the run's end is by deadline, and who is left after a while is stuck.
    fn kill(&mut self, slot: usize, now_ns: u64) {
        self.set_deadline(slot, Ends::Stop, Some(now_ns.saturating_add(STUCK_AFTER_NS)));
        self.change(slot, |run| {
            run.killed = true;
            if run.state != State::Ended {
                run.end.cause = Cause::Deadline;
            }
        });
    }

    /// Keeps the owner's words about a key.
    ///
    /// # Errors
    /// `AGAIN` if the table is full.
    pub fn set_memo(&mut self, key: &str, memo: &[u8]) -> Result<(), Errno> {
        let slot = self.make_key(key)?;
        self.table.set_memo(slot, memo);
        Ok(())
    }

    /// Drops the tombstone of a stopped run.
    ///
    /// # Errors
    /// `SRCH` if there is no such run, `BUSY` while it is not stopped.
    pub fn forget_run(&mut self, key: &str, incarnation: u64) -> Result<(), Errno> {
        let slot = self.find(key, incarnation).ok_or(Errno::SRCH)?;
        if self.is_unstopped(slot) {
            return Err(Errno::BUSY);
        }
        self.free_run(slot);
        Ok(())
    }

    /// Drops a key, its memo, and the memory of its incarnations.
    ///
    /// # Errors
    /// `NOENT` if there is no such key, `BUSY` while it has runs.
    pub fn forget_key(&mut self, key: &str) -> Result<(), Errno> {
        let slot = self.find_key(key).ok_or(Errno::NOENT)?;
        if self.runs_of(slot).next().is_some() {
            return Err(Errno::BUSY);
        }
        self.table.free_key(slot);
        self.keys[slot] = None;
        Ok(())
    }

    fn find_key(&self, key: &str) -> Option<usize> {
        let hash = Some(hash_of(key));
        let same = self.keys.iter().enumerate().filter(|(_, known)| **known == hash);
        same.map(|(slot, _)| slot).find(|slot| self.table.key(*slot) == Some(key))
    }

    fn make_key(&mut self, key: &str) -> Result<usize, Errno> {
        if let Some(slot) = self.find_key(key) {
            return Ok(slot);
        }
        let slot = self.keys.iter().position(Option::is_none).unwrap_or(self.keys.len());
        if slot == KEYS_MAX {
            return Err(Errno::AGAIN);
        }
        if slot == self.keys.len() {
            self.keys.push(None);
        }
        self.keys[slot] = Some(hash_of(key));
        self.table.make_key(slot, key);
        Ok(slot)
    }

    fn runs_of(&self, key: usize) -> impl Iterator<Item = usize> + '_ {
        let slots = self.runs.iter().enumerate();
        slots.filter(move |(_, run)| run.used && run.key == key).map(|(slot, _)| slot)
    }

    fn free_run(&mut self, slot: usize) {
        self.end_deadlines(slot);
        self.runs[slot] = UNUSED;
        self.change(slot, |run| run.state = State::Free);
    }

    fn set_deadline(&mut self, slot: usize, ends: Ends, deadline_ns: Option<u64>) {
        self.deadlines.retain(|(_, of, kind)| (*of, *kind) != (slot, ends));
        self.deadlines.extend(deadline_ns.map(|deadline_ns| (deadline_ns, slot, ends)));
        self.change(slot, |run| match ends {
            Ends::Stop => run.stop_deadline_ns = deadline_ns,
            Ends::Run => run.deadline_ns = deadline_ns,
        });
    }

    fn end_deadlines(&mut self, slot: usize) {
        self.set_deadline(slot, Ends::Stop, None);
        self.set_deadline(slot, Ends::Run, None);
    }

    fn change(&mut self, slot: usize, change: impl FnOnce(&mut Run)) {
        let mut run = self.table.run(slot);
        change(&mut run);
        self.table.set_run(slot, &run);
    }
}

/// FNV-1a, 64 bits: enough to pass over other keys; equality is checked in the table.
fn hash_of(key: &str) -> u64 {
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
