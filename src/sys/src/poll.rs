//! Waiting: one poll(2) with an absolute deadline.

use crate::clock::{NS_PER_S, monotonic_ns};
use rustix::event::Timespec;
use rustix::io::Errno;
use std::io;

pub use rustix::event::{PollFd, PollFlags};

/// Waits until a descriptor is ready or `CLOCK_MONOTONIC` reaches `deadline_ns`; none waits for
/// ever. A signal ends the wait like a deadline does: the caller looks around and waits again.
///
/// # Errors
/// Those of poll(2) other than `EINTR`: `ENOMEM`, or `EINVAL` above `RLIMIT_NOFILE` entries.
pub fn until(fds: &mut [PollFd<'_>], deadline_ns: Option<u64>) -> io::Result<()> {
    let timeout = deadline_ns.map(|deadline_ns| {
        let left_ns = deadline_ns.saturating_sub(monotonic_ns());
        Timespec {
            tv_sec: i64::try_from(left_ns / NS_PER_S).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(left_ns % NS_PER_S).unwrap_or(0),
        }
    });
    match rustix::event::poll(fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    /// A deadline in the past returns at once with nothing ready; a written pipe is ready.
    #[test]
    fn deadline_and_readiness() {
        let (reader, writer) = rustix::pipe::pipe().expect("pipe");
        let mut fds = [PollFd::from_borrowed_fd(reader.as_fd(), PollFlags::IN)];
        until(&mut fds, Some(0)).expect("poll");
        assert!(fds[0].revents().is_empty());
        rustix::io::write(&writer, b"x").expect("write");
        until(&mut fds, None).expect("poll");
        assert!(fds[0].revents().contains(PollFlags::IN));
    }
}
