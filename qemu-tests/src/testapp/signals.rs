//! The signals that ask a service to end, as something to wait for.

use super::{Failure, at};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use sys::poll::{PollFd, PollFlags};

/// Becomes readable once SIGTERM or SIGINT came, and stays so: any number of threads may wait.
#[derive(Debug)]
pub(super) struct Termination {
    reader: UnixStream,
}

impl Termination {
    /// Watches for the signals from here on.
    pub(super) fn watch() -> Result<Self, Failure> {
        let (reader, writer) = UnixStream::pair().map_err(at("a socket pair"))?;
        for signal in [SIGTERM, SIGINT] {
            let writer = writer.try_clone().map_err(at("duplicate a socket"))?;
            pipe::register(signal, writer).map_err(at("watch signals"))?;
        }
        Ok(Self { reader })
    }

    /// Waits for a signal.
    pub(super) fn wait(&self) -> Result<(), Failure> {
        let mut reader = &self.reader;
        reader.read_exact(&mut [0]).map_err(at("wait for a signal"))
    }

    /// Waits for a signal for at most so long; whether it came.
    pub(super) fn wait_for(&self, time: Duration) -> Result<bool, Failure> {
        let deadline_ns = sys::clock::monotonic_ns() + nanoseconds(time);
        while sys::clock::monotonic_ns() < deadline_ns {
            let mut fds = [PollFd::new(self, PollFlags::IN)];
            sys::poll::until(&mut fds, Some(deadline_ns)).map_err(at("poll"))?;
            if !fds[0].revents().is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A duration in nanoseconds; those of centuries are cut.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

impl AsFd for Termination {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
