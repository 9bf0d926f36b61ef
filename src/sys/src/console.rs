//! `/dev/console`, written without ever waiting for it.
//!
//! Opened `O_NOCTTY | O_NONBLOCK`: a console without a line behind it cannot hold us at open, one
//! that is stopped by flow control answers `EAGAIN`, and the line is dropped and counted. The
//! descriptor is kept and not opened per write, because the *last* close of a serial console waits
//! up to 30 s for its output to drain (`closing_wait`). After a hangup it answers `EIO` and is
//! opened anew; closing a hung-up one waits for nothing.

use rustix::event::{PollFd, PollFlags, Timespec};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

/// The console.
#[derive(Debug)]
pub struct Console {
    file: Option<File>,
    dropped: u64,
}

fn open() -> io::Result<File> {
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
    File::options().write(true).custom_flags(flags).open("/dev/console")
}

impl Console {
    /// Opens it if it is there; one that is not is tried again at each write.
    #[must_use]
    pub fn open() -> Self {
        Self { file: open().ok(), dropped: 0 }
    }

    /// Writes one line, a carriage return and line feed added. False: it is dropped and counted.
    pub fn write_line(&mut self, text: &[u8]) -> bool {
        let mut line = Vec::with_capacity(text.len() + 2);
        line.extend_from_slice(text);
        line.extend_from_slice(b"\r\n");
        let written = self.write_once(&line) || (self.file.is_none() && self.write_once(&line));
        self.dropped += u64::from(!written);
        written
    }

    /// One try. Afterwards no file is held if the console hung up.
    fn write_once(&mut self, line: &[u8]) -> bool {
        if self.file.is_none() {
            self.file = open().ok();
        }
        let Some(file) = &mut self.file else { return false };
        match file.write(line) {
            Ok(count) => count == line.len(),
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.file = None;
                }
                false
            }
        }
    }

    /// Lines dropped since [`Console::open`].
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// Writes to an inherited stream only if it takes the bytes at once.
///
/// `O_NONBLOCK` belongs to the open file description and would leak into whoever shares it, so the
/// stream is asked first: a pipe that polls writable takes `PIPE_BUF` (4096) bytes, and no more are
/// offered.
pub fn write_if_ready(stream: BorrowedFd<'_>, bytes: &[u8]) -> bool {
    const PIPE_BYTES: usize = 4096;
    let mut polled = [PollFd::from_borrowed_fd(stream, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let ready = rustix::event::poll(&mut polled, Some(&now)).is_ok()
        && polled[0].revents().contains(PollFlags::OUT);
    let bytes = &bytes[..bytes.len().min(PIPE_BYTES)];
    ready && rustix::io::write(stream, bytes).is_ok_and(|count| count == bytes.len())
}

/// [`write_if_ready`] on standard error.
pub fn write_standard_error(bytes: &[u8]) -> bool {
    write_if_ready(io::stderr().as_fd(), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills a pipe that nobody reads. If the write waited, the test would hang instead of ending.
    #[test]
    fn full_pipe_is_not_waited_for() {
        let (reader, writer) = rustix::pipe::pipe().expect("pipe");
        let line = [b'x'; 1000];
        let written = (0..200).filter(|_| write_if_ready(writer.as_fd(), &line)).count();
        assert!((1..200).contains(&written), "{written} lines went into a pipe of 64 KiB");
        drop(reader);
    }
}
