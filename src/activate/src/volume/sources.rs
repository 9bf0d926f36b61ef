//! What a volume's task waits for: the kernel's events, the agent's files, signals, a deadline.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use sys::clock::monotonic_ns;
use sys::poll::{self, PollFd, PollFlags};
use sys::signal::Signals;
use sys::uevent::{EVENT_BYTES_MAX, Heard, Listener};
use sys::watch::Watch;

/// Signals that mean: unmount and go. `SIGINT` is a person's.
const STOPPING: [u8; 2] = [2, 15];

/// A serial number or a trouble in bytes.
const TEXT_BYTES_MAX: u64 = 4096;

/// What woke the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// A block device or a file of the agent may have changed.
    Change,
    /// It is to stop.
    Stop,
    /// The deadline has come.
    Deadline,
}

/// All that can wake it.
#[derive(Debug)]
pub struct Sources {
    signals: Signals,
    events: Listener,
    files: Watch,
    folder: PathBuf,
    name: String,
}

impl Sources {
    /// Begins to listen to everything; what is looked at after this is not missed.
    ///
    /// # Errors
    /// Those of making the folder and of the system calls.
    pub fn open(folder: &Path, name: &str) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let sources = Self {
            signals: Signals::take_all()?,
            events: Listener::open()?,
            files: Watch::open(folder)?,
            folder: folder.to_owned(),
            name: name.to_owned(),
        };
        // Of an earlier start, which this one makes past.
        let _ = fs::remove_file(sources.file(".late"));
        Ok(sources)
    }

    fn file(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("{}{suffix}", self.name))
    }

    /// The serial number that the agent found.
    #[must_use]
    pub fn serial(&self) -> Option<String> {
        read(&self.file(""))
    }

    /// Why the agent finds none.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        read(&self.file(".problem"))
    }

    /// Notes that the volume did not come in time, for the agent to say so should it come.
    pub fn note_late(&self, serial: Option<&str>) {
        let _ = fs::write(self.file(".late"), serial.unwrap_or_default());
    }

    /// Waits until something happens or `CLOCK_MONOTONIC` reaches `deadline_ns`.
    ///
    /// # Errors
    /// Those of poll(2) and of reading what was polled.
    pub fn wait(&mut self, deadline_ns: Option<u64>) -> io::Result<Woken> {
        loop {
            while let Some(arrived) = self.signals.take()? {
                if STOPPING.contains(&arrived.signal) {
                    return Ok(Woken::Stop);
                }
            }
            let files = self.files.heard()?;
            if self.disks_changed()? || files {
                return Ok(Woken::Change);
            }
            if deadline_ns.is_some_and(|deadline_ns| monotonic_ns() >= deadline_ns) {
                return Ok(Woken::Deadline);
            }
            let polled = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
            let mut fds = [
                polled(self.signals.as_fd()),
                polled(self.events.as_fd()),
                polled(self.files.as_fd()),
            ];
            poll::until(&mut fds, deadline_ns)?;
        }
    }

    fn disks_changed(&self) -> io::Result<bool> {
        let mut buffer = [0; EVENT_BYTES_MAX];
        let mut changed = false;
        while let Some(heard) = self.events.hear(&mut buffer)? {
            changed |= match heard {
                Heard::Event(event) => event.value("SUBSYSTEM") == Some(b"block"),
                Heard::Lost => true,
                Heard::Noise => false,
            };
        }
        Ok(changed)
    }
}

fn read(path: &Path) -> Option<String> {
    let bytes = crate::files::read(path, TEXT_BYTES_MAX).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    (!text.is_empty()).then_some(text)
}
