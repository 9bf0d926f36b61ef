//! Where a restartable process of ours says things: the kernel's log, or its stderr.
//!
//! A line that is not taken at once is dropped and counted; the count is said with the next line
//! that gets through. Nothing here waits, but for the kernel's own printing: a console that was
//! slow to take a line is spared the next ones, which then are in the log alone.

use crate::clock::monotonic_ns;
use crate::kmsg::{Kmsg, Priority, Slow};
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// The device number of /dev/null: major 1, minor 3 (Documentation/admin-guide/devices.txt).
const DEV_NULL: u64 = 0x103;

/// Where lines go.
#[derive(Debug)]
pub struct LogSink {
    place: Place,
    /// Begins every line; empty for none.
    name: &'static str,
    dropped: u64,
}

#[derive(Debug)]
enum Place {
    Kmsg(Kmsg, Slow),
    /// A terminal, a file, or the log pipe that PID 1 keeps.
    Stderr,
}

impl LogSink {
    /// Chooses the place: who has /dev/null as stderr speaks to the kernel's log; in every other
    /// case somebody reads stderr. `name` begins every line.
    #[must_use]
    pub fn choose(name: &'static str) -> Self {
        let is_null = std::fs::metadata("/proc/self/fd/2").is_ok_and(|metadata| {
            metadata.file_type().is_char_device() && metadata.rdev() == DEV_NULL
        });
        let kmsg = if is_null { Kmsg::open().ok() } else { None };
        let place = kmsg.map_or(Place::Stderr, |kmsg| Place::Kmsg(kmsg, Slow::default()));
        Self { place, name, dropped: 0 }
    }

    /// The kernel's log, whatever stderr is.
    ///
    /// # Errors
    /// Of `open(2)`: no `/dev/kmsg`, or not root.
    pub fn kernel(name: &'static str) -> std::io::Result<Self> {
        let place = Place::Kmsg(Kmsg::open()?, Slow::default());
        Ok(Self { place, name, dropped: 0 })
    }

    /// Without the name where somebody reads stderr who knows whose it is.
    #[must_use]
    pub fn unnamed_on_stderr(mut self) -> Self {
        if matches!(self.place, Place::Stderr) {
            self.name = "";
        }
        self
    }

    /// Writes one line.
    pub fn write(&mut self, priority: Priority, text: &str) {
        let colon = if self.name.is_empty() { "" } else { ": " };
        let mut line = format!("{}{colon}{text}", self.name);
        if self.dropped > 0 {
            // Writing to a string cannot fail.
            let _ = write!(line, " ({} lines before this one were dropped)", self.dropped);
        }
        let written = match &mut self.place {
            Place::Kmsg(kmsg, slow) => {
                let before_ns = monotonic_ns();
                let spared = slow.is_spared(before_ns);
                let logged_at = if spared { Priority::Debug } else { priority };
                let written = kmsg.write_line(logged_at, line.as_bytes());
                slow.took(before_ns, monotonic_ns());
                written
            }
            Place::Stderr => {
                line.push('\n');
                std::io::stderr().write_all(line.as_bytes()).is_ok()
            }
        };
        self.dropped = if written { 0 } else { self.dropped + 1 };
    }
}
