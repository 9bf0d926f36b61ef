//! The pipe that carries a service's stdout and stderr.
//!
//! Both ends are kept in PID 1, so neither the service nor the reader sees an end of file when
//! the other is started again.

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Room in the pipe, in bytes: what a service may print while the reader is being restarted
/// (some 50 ms at 5 MB/s) before its write blocks. The kernel charges it only when filled.
pub const PIPE_BYTES: usize = 256 * 1024;

/// Both ends of a log pipe.
#[derive(Debug)]
pub struct LogPipe {
    /// Non-blocking, for the supervisor.
    pub read: OwnedFd,
    /// Blocking, for the services: `O_NONBLOCK` would lie on the open file description and so
    /// reach every program that prints.
    pub write: OwnedFd,
}

/// Makes a pipe, close-on-exec on both ends, only the read end non-blocking.
///
/// # Errors
/// Those of pipe2(2) and `F_SETFL`. A refused size (`EPERM` above the user's soft limit) is none:
/// the pipe keeps the kernel's default.
pub fn create() -> io::Result<LogPipe> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    // See above: the default size works too, only with less patience.
    let _ = fcntl_setpipe_size(&write, PIPE_BYTES);
    fcntl_setfl(&read, OFlags::NONBLOCK)?;
    Ok(LogPipe { read, write })
}

/// Reads what is there. `None`: nothing now. `Some(0)`: every write end is closed.
///
/// # Errors
/// Those of read(2) but `EAGAIN` and `EINTR`.
pub fn read(pipe: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match rustix::io::read(&pipe, &mut *buffer) {
            Ok(count) => return Ok(Some(count)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty pipe must say "nothing now" instead of blocking, give back what was written, and
    /// report the end only when the last writer is gone.
    #[test]
    fn reads_without_blocking_and_sees_the_end() {
        let LogPipe { read: reader, write: writer } = create().expect("pipe");
        let mut buffer = [0; 16];
        assert_eq!(read(&reader, &mut buffer).expect("empty"), None);
        rustix::io::write(&writer, b"words").expect("write");
        assert_eq!(read(&reader, &mut buffer).expect("full"), Some(5));
        assert_eq!(&buffer[..5], b"words");
        drop(writer);
        assert_eq!(read(&reader, &mut buffer).expect("ended"), Some(0));
    }

    /// The writer's description must stay blocking, or `echo` in a service would fail with EAGAIN.
    #[test]
    fn only_the_read_end_is_non_blocking() {
        let pipe = create().expect("pipe");
        let flags = |fd: &OwnedFd| rustix::fs::fcntl_getfl(fd).expect("flags");
        assert!(flags(&pipe.read).contains(OFlags::NONBLOCK));
        assert!(!flags(&pipe.write).contains(OFlags::NONBLOCK));
    }
}
