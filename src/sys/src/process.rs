//! This process itself: standard streams, limits, niceness, file mode mask, subreaper.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};
use std::io;
use std::os::fd::BorrowedFd;

/// A resource limit as prlimit(2) takes it: number, soft, hard; `u64::MAX` is infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// `RLIMIT_*` number.
    pub resource: u8,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// The number of `RLIMIT_NOFILE` on x86-64 (asm-generic/resource.h).
pub const LIMIT_OPEN_FILES: u8 = 7;

/// This process's pid.
#[must_use]
pub fn pid() -> u32 {
    std::process::id()
}

/// Opens whatever of 0, 1, 2 is closed, so that no later descriptor becomes a standard stream.
/// On "/" and without reading it: `/dev` may not be there yet.
///
/// # Errors
/// Those of open(2) and dup3(2).
pub fn hold_standard_streams() -> io::Result<()> {
    for number in 0..3 {
        // SAFETY: only asks whether the number is open; nothing is read or closed through it.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        if rustix::io::fcntl_getfd(fd) == Err(Errno::BADF) {
            let placeholder = rustix::fs::open("/", OFlags::PATH, Mode::empty())?;
            put_on(number, &placeholder)?;
        }
    }
    Ok(())
}

/// Makes 0, 1 and 2 `/dev/null`.
///
/// # Errors
/// Those of open(2): `ENOENT` without `/dev`.
pub fn silence_standard_streams() -> io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    (0..3).try_for_each(|number| put_on(number, &null))
}

/// Makes a standard stream a duplicate of `fd`, inherited by children.
fn put_on(number: i32, fd: &std::os::fd::OwnedFd) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    if fd.as_raw_fd() == number {
        return Ok(());
    }
    match number {
        0 => rustix::stdio::dup2_stdin(fd)?,
        1 => rustix::stdio::dup2_stdout(fd)?,
        _ => rustix::stdio::dup2_stderr(fd)?,
    }
    Ok(())
}

/// Raises `RLIMIT_NOFILE` to `wanted`, or without privilege to its hard limit; returns what it was,
/// to be given to children. Neither limit is ever lowered: others in this process count on theirs.
///
/// # Errors
/// Those of prlimit(2).
pub fn raise_open_files(wanted: u64) -> io::Result<Limit> {
    let before = rustix::process::getrlimit(Resource::Nofile);
    // None is infinity, which fs.nr_open bounds.
    let hard = before.maximum.map(|hard| hard.max(wanted));
    let soft = before.current.map(|soft| soft.max(wanted));
    let full = Rlimit { current: soft, maximum: hard };
    let within = Rlimit { current: before.maximum, maximum: before.maximum };
    rustix::process::setrlimit(Resource::Nofile, full)
        .or_else(|_| rustix::process::setrlimit(Resource::Nofile, within))?;
    Ok(Limit {
        resource: LIMIT_OPEN_FILES,
        soft: before.current.unwrap_or(u64::MAX),
        hard: before.maximum.unwrap_or(u64::MAX),
    })
}

/// Sets this process's niceness, -20 to 19.
///
/// # Errors
/// Those of setpriority(2): `EACCES` without privilege.
pub fn set_nice(nice: i8) -> io::Result<()> {
    Ok(rustix::process::setpriority_process(None, i32::from(nice))?)
}

/// Lets this process go before every ordinary one (`SCHED_FIFO`), at the lowest real-time priority.
/// With the kernel's share for others taken away (kernel.sched_rt_runtime_us = -1) one that never
/// waits starves them all: what a watchdog is there for.
///
/// # Errors
/// Those of sched_setscheduler(2): `EPERM` without privilege.
pub fn go_first() -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: 1 };
    // SAFETY: the kernel reads one structure behind the pointer; 0 is this process.
    let answer = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Keeps this process's memory out of core dumps and out of the sight of other users' debuggers.
/// Only for root of the whole machine: anybody else would lose sight of its own `/proc/self`.
///
/// # Errors
/// Those of prctl(2).
pub fn forbid_dumps() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    use std::os::unix::fs::MetadataExt;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let own = std::fs::metadata("/proc/self").map(|own| own.uid());
    if own.is_ok_and(|uid| uid == rustix::process::geteuid().as_raw()) {
        return Ok(());
    }
    Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}

/// Sets the mask of new files' modes.
pub fn set_umask(mask: u32) {
    rustix::process::umask(Mode::from_raw_mode(mask));
}

/// Makes orphans below this process its children, as PID 1's always are.
///
/// # Errors
/// Those of prctl(2).
pub fn become_subreaper() -> io::Result<()> {
    // Any pid but none means "on".
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// A second descriptor for the same open file, close-on-exec.
///
/// # Errors
/// `EMFILE` when all are in use.
pub fn duplicate(fd: BorrowedFd<'_>) -> io::Result<std::os::fd::OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
}

/// `/dev/null`, for reading and writing, close-on-exec.
///
/// # Errors
/// Those of open(2).
pub fn open_null() -> io::Result<std::os::fd::OwnedFd> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    Ok(null)
}

/// Takes over a descriptor that this process was started with, by its number.
///
/// # Panics
/// If it is not open. Call it once for each number: who owns it twice closes it twice.
#[must_use]
pub fn adopt(number: i32) -> std::os::fd::OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: only asks whether the number is open.
    let open = unsafe { rustix::io::fcntl_getfd(BorrowedFd::borrow_raw(number)) }.is_ok();
    assert!(open, "descriptor {number} is not open");
    // SAFETY: it is open, and by the caller's word nobody else in this process owns it.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process with higher limits than are wanted keeps them: whoever raised the soft one counts
    /// on it, and the hard one its children get back, which an unprivileged one could not raise.
    #[test]
    fn no_limit_is_ever_lowered() {
        let before = rustix::process::getrlimit(Resource::Nofile);
        let returned = raise_open_files(64).expect("64 is below every default");
        let now = rustix::process::getrlimit(Resource::Nofile);
        assert_eq!((now.current, now.maximum), (before.current, before.maximum));
        assert_eq!(returned.soft, before.current.unwrap_or(u64::MAX));
        let low = Rlimit { current: Some(64), maximum: before.maximum };
        rustix::process::setrlimit(Resource::Nofile, low).expect("below the hard limit");
        raise_open_files(128).expect("below every default");
        let now = rustix::process::getrlimit(Resource::Nofile);
        rustix::process::setrlimit(Resource::Nofile, before).expect("up to the hard limit");
        assert_eq!((now.current, now.maximum), (Some(128), before.maximum));
    }
}
