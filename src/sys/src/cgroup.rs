//! Control groups, version 2: find, make, watch, signal, kill. By relative path under a root, so
//! that no descriptor per group is kept and a name can never lead out of the tree.
//!
//! Formats: Documentation/admin-guide/cgroup-v2.rst of the kernel.

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Bytes read of one small control file (`cgroup.events`, `memory.events`): a few short lines.
const CONTROL_BYTES_MAX: usize = 512;

/// Bytes read of `cgroup.procs` at once; read until its end.
const PROCESSES_CHUNK_BYTES: usize = 4096;

/// Processes looked at in one group. A fork bomb beyond it needs `cgroup.kill`, not signals.
const PROCESSES_MAX: usize = 65_536;

/// Groups within groups that a service may leave behind: what containers in it make is less deep.
const GROUPS_BELOW_MAX: u32 = 16;

/// Passes over a group whose members fork while they are signalled.
const SIGNAL_PASSES_MAX: usize = 8;

/// `/proc/self/mountinfo` in bytes; beyond it the cgroup mount is not looked for.
const MOUNTINFO_BYTES_MAX: u64 = 1024 * 1024;

/// The top of the tree that PID 1 manages: a directory of a cgroup2 mount.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    directory: OwnedFd,
}

/// One group, held only as long as it is worked on.
#[derive(Debug)]
pub struct Group {
    directory: OwnedFd,
}

/// The path of the cgroup2 mount, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)); none if
/// there is no such mount or no `/proc`.
#[must_use]
pub fn find_mount() -> Option<PathBuf> {
    use std::io::Read as _;
    let mut text = Vec::new();
    let file = std::fs::File::open("/proc/self/mountinfo").ok()?;
    file.take(MOUNTINFO_BYTES_MAX).read_to_end(&mut text).ok()?;
    text.split(|byte| *byte == b'\n').find_map(mount_of_line)
}

/// The mount point in a line of mountinfo, if its file system is cgroup2.
fn mount_of_line(line: &[u8]) -> Option<PathBuf> {
    let mut words = line.split(|byte| *byte == b' ');
    let mount_point = words.nth(4)?;
    words.find(|word| *word == b"-")?;
    if words.next()? != b"cgroup2" {
        return None;
    }
    // Space, tab, newline and backslash stand as three octal digits behind a backslash.
    let mut path = Vec::with_capacity(mount_point.len());
    let mut rest = mount_point;
    while let [first, tail @ ..] = rest {
        if let (b'\\', [a, b, c, after @ ..]) = (first, tail) {
            let octal = |digit: &u8| u32::from(digit.wrapping_sub(b'0') & 7);
            path.push(u8::try_from(octal(a) * 64 + octal(b) * 8 + octal(c)).ok()?);
            rest = after;
        } else {
            path.push(*first);
            rest = tail;
        }
    }
    Some(std::ffi::OsString::from_vec(path).into())
}

impl Root {
    /// Opens the top of the tree.
    ///
    /// # Errors
    /// Those of open(2); `ENODEV` if `path` is on no cgroup2 file system.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        // linux/magic.h: CGROUP2_SUPER_MAGIC.
        if rustix::fs::fstatfs(&directory)?.f_type != 0x6367_7270 {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        Ok(Self { path: path.to_owned(), directory })
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a group below, or the root itself for the empty path. Links, mounts and `..` on the
    /// way are refused.
    ///
    /// # Errors
    /// Those of openat2(2): `ENOENT` above all.
    pub fn group(&self, relative: &str) -> io::Result<Group> {
        let relative = if relative.is_empty() { "." } else { relative };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let directory = openat2(&self.directory, relative, flags, Mode::empty(), within)?;
        Ok(Group { directory })
    }

    /// Makes a group and those above it; one that exists is fine.
    ///
    /// # Errors
    /// Those of mkdirat(2) and openat2(2).
    pub fn make(&self, relative: &str) -> io::Result<Group> {
        let make = |path: &str| match rustix::fs::mkdirat(
            &self.directory,
            path,
            Mode::from_raw_mode(0o755),
        ) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error),
        };
        match make(relative) {
            // Rare: every call with a path costs the kernel a page.
            Err(Errno::NOENT) => {
                let ends = relative.match_indices('/').map(|(at, _)| at);
                ends.chain([relative.len()]).try_for_each(|end| make(&relative[..end]))?;
            }
            made => made?,
        }
        self.group(relative)
    }

    /// Makes a group that was never killed, in place of an empty one and those below it. All that
    /// was written to the old one is forgotten.
    ///
    /// # Errors
    /// `EBUSY` while a process is in it, zombies included; those of rmdir(2) and [`Root::make`].
    pub fn renew(&self, relative: &str) -> io::Result<Group> {
        self.remove(relative, GROUPS_BELOW_MAX)?;
        self.make(relative)
    }

    fn remove(&self, relative: &str, depth: u32) -> io::Result<()> {
        let entries = match std::fs::read_dir(self.path.join(relative)) {
            Ok(entries) if depth > 0 => entries,
            Ok(_) => return Err(Errno::LOOP.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                let name = entry.file_name();
                let name = name.to_str().ok_or(Errno::ILSEQ)?;
                self.remove(&format!("{relative}/{name}"), depth - 1)?;
            }
        }
        match rustix::fs::unlinkat(&self.directory, relative, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Group {
    /// Writes one control file. Never a `memory.*` limit from PID 1: that reclaims in the writer.
    ///
    /// # Errors
    /// Those of openat(2) and write(2): `ENOENT` when its controller is off.
    pub fn write(&self, file: &str, text: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, file, flags, Mode::empty())?;
        rustix::io::write(&file, text.as_bytes())?;
        Ok(())
    }

    /// Kills every process in it and below, forking ones too (`cgroup.kill`, Linux 5.14).
    ///
    /// From then on nobody can be born into the group: measured on Linux 6.18, whoever is cloned
    /// into it by `CLONE_INTO_CGROUP` is killed at once, however long ago the kill was.
    /// [`Root::renew`] it before its next use.
    ///
    /// # Errors
    /// Those of openat(2) and write(2).
    pub fn kill(&self) -> io::Result<()> {
        self.write("cgroup.kill", "1")
    }

    /// Whether a process, zombies apart, is in it or below.
    ///
    /// # Errors
    /// Those of openat(2) and read(2); `ENODEV` once it was removed.
    pub fn populated(&self) -> io::Result<bool> {
        Ok(self.counter("cgroup.events", "populated")? != 0)
    }

    /// Whether it is frozen: what is cloned into it does not run.
    ///
    /// # Errors
    /// As [`Group::populated`].
    pub fn frozen(&self) -> io::Result<bool> {
        Ok(self.counter("cgroup.events", "frozen")? != 0)
    }

    /// How many processes the OOM killer took here; 0 without the memory controller.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        self.counter("memory.events", "oom_kill").unwrap_or(0)
    }

    /// The number behind `name` in a flat-keyed file; 0 if the name is not there.
    fn counter(&self, file: &str, name: &str) -> io::Result<u64> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, file, flags, Mode::empty())?;
        let mut buffer = [0; CONTROL_BYTES_MAX];
        let bytes = rustix::io::read(&file, &mut buffer)?;
        let lines = buffer[..bytes].split(|byte| *byte == b'\n');
        let value = lines.filter_map(|line| line.strip_prefix(name.as_bytes())).find_map(|rest| {
            let digits = rest.strip_prefix(b" ")?;
            digits.iter().try_fold(0_u64, |sum, digit| {
                let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
                sum.checked_mul(10)?.checked_add(digit)
            })
        });
        Ok(value.unwrap_or(0))
    }

    /// The processes in it (not below), in the kernel's order, at most [`PROCESSES_MAX`].
    ///
    /// # Errors
    /// Those of openat(2) and read(2).
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, "cgroup.procs", flags, Mode::empty())?;
        let mut pids = Vec::new();
        let mut chunk = [0; PROCESSES_CHUNK_BYTES];
        let mut pid = 0_u32;
        loop {
            let bytes = rustix::io::read(&file, &mut chunk)?;
            if bytes == 0 || pids.len() >= PROCESSES_MAX {
                return Ok(pids);
            }
            for byte in &chunk[..bytes] {
                if byte.is_ascii_digit() {
                    pid = pid.wrapping_mul(10).wrapping_add(u32::from(byte - b'0'));
                } else {
                    // 0 stands for a process outside of our pid namespace.
                    pids.extend((pid != 0).then_some(pid));
                    pid = 0;
                }
            }
        }
    }

    /// Sends a signal to every process in it. A pid is signalled through its pidfd, and only if
    /// it is still listed after that was opened, so a number that was given to another process
    /// meanwhile is never hit. Repeated until no new process shows up. Returns how many it hit.
    ///
    /// # Errors
    /// Those of reading `cgroup.procs`; `EINVAL` for a number that is no signal.
    pub fn signal(&self, signal: u8) -> io::Result<usize> {
        let signal = signal_of(signal)?;
        let mut hit: Vec<u32> = Vec::new();
        for _ in 0..SIGNAL_PASSES_MAX {
            let mut held = Vec::new();
            for pid in self.processes()? {
                if !hit.contains(&pid)
                    && let Some(named) = i32::try_from(pid).ok().and_then(Pid::from_raw)
                    && let Ok(pidfd) = pidfd_open(named, PidfdFlags::empty())
                {
                    held.push((pid, pidfd));
                }
            }
            if held.is_empty() {
                break;
            }
            let listed = self.processes()?;
            for (pid, pidfd) in held {
                if listed.contains(&pid) && pidfd_send_signal(&pidfd, signal).is_ok() {
                    hit.push(pid);
                }
            }
        }
        Ok(hit.len())
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// The signal of this number, 1 to 64, real-time ones too.
fn signal_of(signal: u8) -> io::Result<Signal> {
    if !(1..=64).contains(&signal) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: the number only travels to the kernel, which knows 1 to 64; the numbers that glibc
    // keeps for its threads are meant for other processes here, never raised in this one.
    Ok(unsafe { Signal::from_raw_unchecked(i32::from(signal)) })
}

/// Signals one process that the caller has not reaped, so that the pid is exact.
///
/// # Errors
/// Those of kill(2); `EINVAL` for numbers that are no signal or no pid.
pub fn signal_process(pid: u32, signal: u8) -> io::Result<()> {
    Ok(rustix::process::kill_process(pid_of(pid)?, signal_of(signal)?)?)
}

/// Signals the process group led by a process that the caller has not reaped.
///
/// # Errors
/// As [`signal_process`].
pub fn signal_process_group(leader: u32, signal: u8) -> io::Result<()> {
    Ok(rustix::process::kill_process_group(pid_of(leader)?, signal_of(signal)?)?)
}

fn pid_of(pid: u32) -> io::Result<Pid> {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0).and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}

/// What a process sleeps in, from `/proc/PID/wchan`; empty if it runs or cannot be looked at.
#[must_use]
pub fn sleeps_in(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default()
}

/// One inotify instance for the `cgroup.events` of all groups that are being waited for.
#[derive(Debug)]
pub struct Watcher {
    inotify: OwnedFd,
}

impl Watcher {
    /// A new instance, non-blocking, close-on-exec.
    ///
    /// # Errors
    /// Those of inotify_init1(2).
    pub fn new() -> io::Result<Self> {
        Ok(Self { inotify: inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)? })
    }

    /// Watches a group below `root`; returns the watch's number. The caller reads `populated`
    /// again afterwards, since a change before the watch is not reported.
    ///
    /// # Errors
    /// Those of inotify_add_watch(2): `ENOSPC` above the user's limit, `ENOENT`.
    pub fn watch(&self, root: &Root, relative: &str) -> io::Result<i32> {
        let path = root.path.join(relative).join("cgroup.events");
        Ok(inotify::add_watch(&self.inotify, path, WatchFlags::MODIFY)?)
    }

    /// Ends a watch. One that the kernel ended already (its group was removed) is fine.
    pub fn unwatch(&self, watch: i32) {
        let _ = inotify::remove_watch(&self.inotify, watch);
    }

    /// The numbers of the watches that changed since; empty if none.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn changed(&self) -> io::Result<Vec<i32>> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut watches = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => watches.push(event.wd()),
                Err(Errno::AGAIN) => return Ok(watches),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A renewed group is another one (its inode differs), and what lay below it is gone. Without
    /// a cgroup2 mount to write to there is nothing to see.
    #[test]
    fn renewed_groups_are_new() {
        use std::os::unix::fs::MetadataExt;
        let Some(root) = find_mount().and_then(|path| Root::open(&path).ok()) else { return };
        let name = format!("rollinit-renew-{}", std::process::id());
        if root.make(&format!("{name}/below/deeper")).is_err() {
            return;
        }
        let inode = || std::fs::metadata(root.path().join(&name)).expect("group").ino();
        let before = inode();
        root.renew(&name).expect("renew");
        assert_ne!(inode(), before);
        assert!(!root.path().join(&name).join("below").exists());
        root.remove(&name, 1).expect("remove");
    }

    /// A line as the kernel writes it, with an escaped space in the path; other types are passed.
    #[test]
    fn mountinfo_lines() {
        let line = b"41 31 0:38 / /sys/fs/c\\040group rw,relatime shared:9 - cgroup2 cgroup2 rw";
        assert_eq!(mount_of_line(line), Some(PathBuf::from("/sys/fs/c group")));
        assert_eq!(mount_of_line(b"31 23 0:28 / /sys rw - tmpfs tmpfs rw"), None);
        assert_eq!(mount_of_line(b"31 23"), None);
    }
}
