//! Descriptors that a process was started with, such as those of `LISTEN_FDS`.

use rustix::io::{Errno, FdFlags};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

/// The first descriptor of `LISTEN_FDS`: sd_listen_fds(3).
pub const LISTEN_FDS_START: i32 = 3;

/// Takes descriptor `number`, which this process was started with, as its owner. It is
/// close-on-exec from then on.
///
/// What was inherited is told by a missing `FD_CLOEXEC`: everything this program opens has it. So
/// a number can be taken once, and none that belongs to somebody else in this program can. The
/// standard streams are nobody's to take.
///
/// # Errors
/// `EBADF` if it is not open, a standard stream, or was not inherited or is taken already.
pub fn take(number: i32) -> io::Result<OwnedFd> {
    if number < LISTEN_FDS_START {
        return Err(Errno::BADF.into());
    }
    // SAFETY: only asks about the number and marks it; a closed one answers EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = rustix::io::fcntl_getfd(borrowed)?;
    if flags.contains(FdFlags::CLOEXEC) {
        return Err(Errno::BADF.into());
    }
    rustix::io::fcntl_setfd(borrowed, flags | FdFlags::CLOEXEC)?;
    // SAFETY: open, and without FD_CLOEXEC until now: it came over execve(2), so no value of this
    // program owns it; the flag just set keeps a second call out.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    /// An inherited descriptor (here: one whose close-on-exec flag was taken away) is taken once;
    /// our own, closed ones and the standard streams are refused.
    #[test]
    fn taken_once() {
        let file = std::fs::File::open("/proc/self/status").expect("open");
        assert!(take(file.as_raw_fd()).is_err(), "it is owned");
        for number in [-1, 0, 1, 2, 1_000_000] {
            assert!(take(number).is_err(), "{number}");
        }
        let inherited = rustix::io::fcntl_dupfd_cloexec(&file, 500).expect("duplicate");
        rustix::io::fcntl_setfd(&inherited, FdFlags::empty()).expect("flag");
        let number = std::os::fd::IntoRawFd::into_raw_fd(inherited);
        let taken = take(number).expect("inherited");
        assert_eq!(taken.as_raw_fd(), number);
        assert!(take(number).is_err(), "taken already");
    }
}
