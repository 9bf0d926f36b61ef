//! Waiting for a file to appear or change: inotify(7) on its directory.

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Read at a time in bytes: an event with the longest name has 272.
const BUFFER_BYTES: usize = 4096;

/// Hears of names that appear in a directory, come there by a rename, were written, or go.
/// Non-blocking; poll it for reading.
#[derive(Debug)]
pub struct Watch {
    events: OwnedFd,
}

impl Watch {
    /// Begins to listen. Who looks at the directory after this misses nothing.
    ///
    /// # Errors
    /// `ENOENT` if there is no such directory, `EMFILE` or `ENOSPC` at the limits of inotify(7).
    pub fn open(directory: &Path) -> io::Result<Self> {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let what = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&events, directory, what)?;
        Ok(Self { events })
    }

    /// Takes all that was heard. True: something was, so look again; what it was, the directory
    /// tells.
    ///
    /// # Errors
    /// Those of read(2) but `EAGAIN` and `EINTR`.
    pub fn heard(&self) -> io::Result<bool> {
        let mut any = false;
        self.take(|_| any = true)?;
        Ok(any)
    }

    /// Takes all that was heard. How often `name` came by a rename: no two are taken for one.
    ///
    /// # Errors
    /// As [`Watch::heard`].
    pub fn arrivals(&self, name: &str) -> io::Result<usize> {
        let mut count = 0;
        self.take(|event| {
            let is_it = event.file_name().is_some_and(|found| found.to_bytes() == name.as_bytes());
            count += usize::from(is_it && event.events().contains(ReadFlags::MOVED_TO));
        })?;
        Ok(count)
    }

    fn take(&self, mut each: impl FnMut(&inotify::Event<'_>)) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = inotify::Reader::new(&self.events, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => each(&event),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new file and a renamed one are heard, once; a quiet directory is not.
    #[test]
    fn names_are_heard() {
        let directory = tempfile::tempdir().expect("a directory");
        let watch = Watch::open(directory.path()).expect("a watch");
        assert!(!watch.heard().expect("read"), "nothing happened");
        std::fs::write(directory.path().join("a.new"), "x").expect("a file");
        assert!(watch.heard().expect("read"));
        assert!(!watch.heard().expect("read"), "it was taken");
        std::fs::rename(directory.path().join("a.new"), directory.path().join("a"))
            .expect("renamed");
        assert!(watch.heard().expect("read"));
        for _ in 0..3 {
            std::fs::write(directory.path().join("a.new"), "x").expect("a file");
            std::fs::rename(directory.path().join("a.new"), directory.path().join("a"))
                .expect("renamed");
            std::fs::write(directory.path().join("b"), "x").expect("a file");
        }
        assert_eq!(watch.arrivals("a").expect("read"), 3, "each of them, and nothing else");
        assert_eq!(watch.arrivals("a").expect("read"), 0, "they were taken");
        let missing = Watch::open(&directory.path().join("none")).expect_err("there is none");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
