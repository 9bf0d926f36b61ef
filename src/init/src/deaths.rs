//! Deaths: look, write down, reap, see whether the cgroup is empty, tell the owner.

use crate::children::Effect;
use crate::turn::{Init, Watched};
use port::Event;
use port::limits::{STUCK_PIDS_MAX, WCHAN_BYTES_MAX};
use port::packed::Numbers;
use sys::clock::{NS_PER_MS, monotonic_ns};
use sys::kmsg::Priority;
use sys::reap::{self, Dead};

/// Children reaped in one turn; the others wait for the next, after everybody else had theirs.
const REAPED_PER_TURN: usize = 256;

/// `SIGKILL`, in a signal and in a wait status.
const SIGKILL: u8 = 9;

/// Where the owner lives, below the cgroup root.
pub(crate) const OWNER_CGROUP: &str = "rollinit/supervisor";

impl Init {
    /// Reaps who is dead, a bounded number at a time. One wake-up may stand for many deaths.
    pub(crate) fn reap(&mut self) {
        for _ in 0..REAPED_PER_TURN {
            match reap::peek() {
                Ok(Some(dead)) => self.bury(&dead),
                Ok(None) => {
                    self.dead_wait = false;
                    return self.nobody_left();
                }
                Err(error) => {
                    self.dead_wait = false;
                    return self.say(Priority::Error, format_args!("waitid: {error}"));
                }
            }
        }
    }

    /// One death. Its end is in the table before the kernel forgets it.
    fn bury(&mut self, dead: &Dead) {
        // Dead, it has said how exec went; that comes before its end.
        self.resolve_start_of(dead.pid);
        let now_ns = monotonic_ns();
        let killed = dead.status & 0x7f == i32::from(SIGKILL);
        let slot = self.children.find_pid(dead.pid);
        let oom_kills = slot.filter(|_| killed).map_or(0, |slot| self.oom_kills(slot));
        if slot.is_some() {
            self.children.ended(dead, oom_kills, now_ns);
        }
        let is_owner = self.owner.pid() == Some(dead.pid);
        if is_owner {
            self.drain_requests();
        }
        if let Err(error) = reap::release(dead.pid) {
            self.say(Priority::Error, format_args!("wait4 of {}: {error}", dead.pid));
        }
        if let Some(slot) = slot {
            let populated = self.is_populated(slot);
            let effects = self.children.reaped(slot, populated);
            self.perform(effects);
        } else if is_owner {
            self.owner_died(dead, now_ns);
        } else {
            self.orphans += 1;
        }
        self.ended_in_the_end(dead);
    }

    /// The owner is gone; another one is started.
    fn owner_died(&mut self, dead: &Dead, now_ns: u64) {
        self.hang_up_ns = None;
        let verdict = self.owner.died(now_ns);
        if self.teardown.is_some() {
            return;
        }
        let pause_ms = verdict.pause_ns / NS_PER_MS;
        self.say(
            Priority::Warning,
            format_args!(
                "supervisor {} ended (wait status {:#x}); next in {pause_ms} ms, services stay",
                dead.pid, dead.status
            ),
        );
        self.say_if_loud(verdict);
        self.end_without_owner();
    }

    /// Does what the children's core decided.
    pub(crate) fn perform(&mut self, effects: impl IntoIterator<Item = Effect>) {
        for effect in effects {
            match effect {
                Effect::TellExited(slot) => {
                    let run = self.children.table().run(slot);
                    let key = self.children.key_of(slot);
                    let (incarnation, end, emptied) = (run.incarnation, run.end, run.emptied);
                    if let Some(connection) = &mut self.connection {
                        connection.tell(Event::Exited { key, incarnation, end, emptied });
                    }
                }
                Effect::TellEmptied(slot) => {
                    let incarnation = self.children.table().run(slot).incarnation;
                    let key = self.children.key_of(slot);
                    if let Some(connection) = &mut self.connection {
                        connection.tell(Event::Emptied { key, incarnation });
                    }
                }
                Effect::Kill(slot) => self.kill_run(slot, "did not stop in time"),
                Effect::KillOverdue(slot) => self.kill_run(slot, "has passed its deadline"),
                Effect::Watch(slot) => self.watch(slot),
                Effect::TellStuck(slot) => self.tell_stuck(slot),
            }
        }
    }

    /// A deadline passed: which, `why` tells.
    fn kill_run(&mut self, slot: usize, why: &str) {
        let key = self.children.key_of(slot);
        let incarnation = self.children.table().run(slot).incarnation;
        self.say(Priority::Notice, format_args!("{key}.{incarnation} {why}; killing its cgroup"));
        if let Err(error) = self.kill_all_of(slot) {
            let key = self.children.key_of(slot);
            self.say(
                Priority::Error,
                format_args!("kill {key}.{incarnation}: {error}; tried again when it is stuck"),
            );
        }
    }

    /// Kills everything of a run: its cgroup, or, born in ours, its process group.
    pub(crate) fn kill_all_of(&self, slot: usize) -> std::io::Result<()> {
        match (self.children.table().cgroup(slot), &self.root) {
            (cgroup, Some(root)) if !cgroup.is_empty() => root.group(cgroup)?.kill(),
            _ => sys::cgroup::signal_process_group(self.children.table().run(slot).pid, SIGKILL),
        }
    }

    fn oom_kills(&self, slot: usize) -> u64 {
        let cgroup = self.children.table().cgroup(slot);
        let root = self.root.as_ref().filter(|_| !cgroup.is_empty());
        root.and_then(|root| root.group(cgroup).ok()).map_or(0, |group| group.oom_kills())
    }

    /// Whether anything is left in a run's cgroup. One that was removed is empty.
    pub(crate) fn is_populated(&self, slot: usize) -> bool {
        let cgroup = self.children.table().cgroup(slot);
        let Some(root) = self.root.as_ref().filter(|_| !cgroup.is_empty()) else { return false };
        match root.group(cgroup).and_then(|group| group.populated()) {
            Ok(populated) => populated,
            Err(error) => !is_gone(&error),
        }
    }

    /// Waits for a run's cgroup to be empty; what changed before the watch is looked at now.
    fn watch(&mut self, slot: usize) {
        let cgroup = self.children.table().cgroup(slot);
        let watch = match (&self.watcher, &self.root) {
            (Some(watcher), Some(root)) => watcher.watch(root, cgroup).ok(),
            _ => None,
        };
        self.watched.push(Watched { slot, watch });
        self.look_at(slot);
    }

    /// Inotify says that some of the watched changed.
    pub(crate) fn look_at_changed(&mut self) {
        let Some(watcher) = &self.watcher else { return };
        match watcher.changed() {
            Ok(changed) => {
                let is_changed = |watched: &&Watched| {
                    watched.watch.is_some_and(|watch| changed.contains(&watch))
                };
                let slots: Vec<usize> =
                    self.watched.iter().filter(is_changed).map(|watched| watched.slot).collect();
                slots.into_iter().for_each(|slot| self.look_at(slot));
            }
            Err(error) => self.say(Priority::Error, format_args!("inotify: {error}")),
        }
    }

    /// Ends the watch of a run whose cgroup is empty.
    pub(crate) fn look_at(&mut self, slot: usize) {
        if self.is_populated(slot) {
            return;
        }
        let Some(at) = self.watched.iter().position(|watched| watched.slot == slot) else { return };
        if let (Some(watch), Some(watcher)) = (self.watched.swap_remove(at).watch, &self.watcher) {
            watcher.unwatch(watch);
        }
        let effect = self.children.emptied(slot);
        self.perform(effect);
    }

    /// Killed, and still there: say who and in what they sleep, and kill again.
    fn tell_stuck(&mut self, slot: usize) {
        let run = self.children.table().run(slot);
        let cgroup = self.children.table().cgroup(slot);
        let group = self.root.as_ref().filter(|_| !cgroup.is_empty());
        let group = group.and_then(|root| root.group(cgroup).ok());
        let mut pids = group.and_then(|group| group.processes().ok()).unwrap_or_default();
        if pids.is_empty() && run.pid != 0 {
            pids.push(run.pid);
        }
        pids.truncate(STUCK_PIDS_MAX);
        let mut wchan = pids.first().map(|pid| sys::cgroup::sleeps_in(*pid)).unwrap_or_default();
        wchan.truncate(WCHAN_BYTES_MAX);
        let key = self.children.key_of(slot);
        let incarnation = run.incarnation;
        self.say(
            Priority::Error,
            format_args!("{key}.{incarnation} is stuck after SIGKILL: {pids:?} in {wchan:?}"),
        );
        let bytes: Vec<u8> = pids.iter().flat_map(|pid| pid.to_le_bytes()).collect();
        if let (Some(connection), Ok(pids)) = (&mut self.connection, Numbers::new(&bytes, "pids")) {
            connection.tell(Event::Stuck { key, incarnation, pids, wchan: &wchan });
        }
        // What could not be killed because of an error then may be now.
        let _ = self.kill_all_of(slot);
    }
}

/// Whether a cgroup file failed because the group was removed.
fn is_gone(error: &std::io::Error) -> bool {
    const ENODEV: i32 = 19;
    error.kind() == std::io::ErrorKind::NotFound || error.raw_os_error() == Some(ENODEV)
}
