//! Reaping: look at a dead child, write it down, then let it go.
//!
//! `peek` leaves the zombie in place (`WNOWAIT`), so its pid stays exact and its end is still
//! there should the caller fail before it has written it down. `release` is wait4(2) by pid.

use std::io;
use std::mem::MaybeUninit;

/// A dead child that is not reaped yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dead {
    /// Its pid.
    pub pid: u32,
    /// Raw wait status, as wait4(2) will give it.
    pub status: i32,
    /// What it and its reaped descendants used.
    pub usage: Usage,
}

/// The part of `struct rusage` that anybody asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User CPU time in microseconds.
    pub user_us: u64,
    /// System CPU time in microseconds.
    pub system_us: u64,
    /// Largest resident set in KiB.
    pub resident_max_kib: u64,
}

/// The next dead child, left unreaped; none if all that exist live, or if there are none.
///
/// # Errors
/// Those of waitid(2) other than `EINTR` (tried again) and `ECHILD` (none).
pub fn peek() -> io::Result<Option<Dead>> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    loop {
        // SAFETY: both pointers are to live, writable values of the types that the raw call
        // fills; unlike the libc wrapper it takes the rusage too.
        let result = unsafe {
            libc::syscall(
                libc::SYS_waitid,
                libc::P_ALL,
                0,
                info.as_mut_ptr(),
                options,
                usage.as_mut_ptr(),
            )
        };
        if result == 0 {
            break;
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::ECHILD) => return Ok(None),
            _ => return Err(error),
        }
    }
    // SAFETY: zeroed is a valid value of both plain C structs, and the kernel wrote over it.
    let (info, usage) = unsafe { (info.assume_init(), usage.assume_init()) };
    // SAFETY: waitid(2) fills the SIGCHLD members, or leaves all zero when nobody is dead.
    let (pid, code_or_signal) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let status = match info.si_code {
        libc::CLD_EXITED => (code_or_signal & 0xff) << 8,
        libc::CLD_DUMPED => code_or_signal | 0x80,
        _ => code_or_signal,
    };
    Ok(Some(Dead { pid: pid.cast_unsigned(), status, usage: Usage::from(&usage) }))
}

/// Reaps one dead child by its pid. False if there is no such zombie.
///
/// # Errors
/// Those of wait4(2) other than `EINTR` (tried again) and `ECHILD` (false).
pub fn release(pid: u32) -> io::Result<bool> {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return Ok(false) };
    loop {
        let mut status = 0;
        // SAFETY: `status` is a live int; a null rusage is allowed by wait4(2).
        let result =
            unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, std::ptr::null_mut()) };
        if result >= 0 {
            return Ok(result == pid);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::ECHILD) => return Ok(false),
            _ => return Err(error),
        }
    }
}

impl From<&libc::rusage> for Usage {
    fn from(usage: &libc::rusage) -> Self {
        let microseconds = |time: libc::timeval| {
            let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
            seconds.saturating_mul(1_000_000) + u64::try_from(time.tv_usec).unwrap_or(0)
        };
        Self {
            user_us: microseconds(usage.ru_utime),
            system_us: microseconds(usage.ru_stime),
            resident_max_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
        }
    }
}

/// Whether this process has children at all, living or dead.
#[must_use]
pub fn any_children() -> bool {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is live and writable; WNOWAIT leaves every child as it is.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) };
    result == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ECHILD)
}
