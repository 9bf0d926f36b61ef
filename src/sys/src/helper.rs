//! A child that runs code of this program, for work that may sleep for ever.
//!
//! PID 1 never unmounts or syncs by itself: it starts a helper, gives it a deadline, and leaves it
//! behind if it is stuck. The helper is a plain copy and execs nothing, since the disk that holds
//! our image may be the one that is stuck.

use std::io;

/// Starts `work` in a copy of this process; returns its pid. The copy ends with the byte that
/// `work` returns, 70 if it panics. The caller reaps it like any child.
///
/// # Errors
/// `EINVAL` if this process has more than one thread (in the copy the others would be missing, with
/// whatever locks they hold); else those of fork(2).
pub fn start(work: impl FnOnce() -> u8) -> io::Result<u32> {
    // unshare(2): CLONE_THREAD does nothing in a process of one thread and is EINVAL in others.
    // SAFETY: the call takes no pointer and changes nothing.
    if unsafe { libc::unshare(libc::CLONE_THREAD) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: there is one thread, so the copy has all of what this process has; it never returns
    // from this function.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: ends the copy without running the parent's exit handlers a second time.
            unsafe { libc::_exit(i32::from(ended.unwrap_or(PANICKED))) }
        }
        pid => Ok(pid.cast_unsigned()),
    }
}

/// Exit status of a helper that panicked (sysexits.h: EX_SOFTWARE).
const PANICKED: u8 = 70;
