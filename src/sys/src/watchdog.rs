//! The kernel's watchdog: a host whose feeder stops is reset (linux/watchdog.h,
//! Documentation/watchdog/watchdog-api.rst).

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

/// The first watchdog of the host; opening it starts it.
pub const DEVICE: &str = "/dev/watchdog";

/// linux/watchdog.h: `_IOWR('W', 6, int)`.
const WDIOC_SETTIMEOUT: libc::Ioctl = 0xc004_5706_u32 as libc::Ioctl;

/// Written before the descriptor is closed, it stops a watchdog that can be stopped.
const MAGIC_CLOSE: u8 = b'V';

/// A running watchdog. Dropped without [`Watchdog::stop`] it goes on, and resets the host.
#[derive(Debug)]
pub struct Watchdog {
    device: File,
    timeout: Duration,
}

impl Watchdog {
    /// Starts the watchdog at `path`, to reset the host when it was not fed for `timeout`. A device
    /// that cannot be told keeps its own timeout.
    ///
    /// # Errors
    /// Those of open(2): `ENOENT` without one, `EBUSY` if somebody else feeds it.
    pub fn start(path: &Path, timeout: Duration) -> io::Result<Self> {
        let device = File::options().write(true).open(path)?;
        let mut seconds = i32::try_from(timeout.as_secs().max(1)).unwrap_or(i32::MAX);
        // SAFETY: the descriptor is open, and the kernel uses one int behind the pointer.
        let answer = unsafe { libc::ioctl(device.as_raw_fd(), WDIOC_SETTIMEOUT, &raw mut seconds) };
        let granted = u64::try_from(seconds).ok().filter(|_| answer == 0);
        let timeout = granted.map_or(timeout, Duration::from_secs);
        Ok(Self { device, timeout })
    }

    /// The time within which it must be fed, as the device took it.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Puts the reset off for another timeout. Waits for nothing.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn feed(&self) -> io::Result<()> {
        (&self.device).write_all(&[0])
    }

    /// Stops it, if it can be stopped: a halted host shall stay halted.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn stop(self) -> io::Result<()> {
        (&self.device).write_all(&[MAGIC_CLOSE])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each food is one byte that is not the magic one; only the stop writes that. (A file stands
    /// in: it takes the bytes, and refuses the timeout, which then stays as asked for.)
    #[test]
    fn only_the_stop_writes_the_magic_letter() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let watchdog = Watchdog::start(file.path(), Duration::from_secs(60)).expect("opened");
        assert_eq!(watchdog.timeout(), Duration::from_secs(60));
        watchdog.feed().expect("fed");
        watchdog.feed().expect("fed");
        assert_eq!(std::fs::read(file.path()).expect("read"), [0, 0]);
        watchdog.stop().expect("stopped");
        assert_eq!(std::fs::read(file.path()).expect("read"), [0, 0, b'V']);
        let missing = Watchdog::start(Path::new("/nonexistent/watchdog"), Duration::from_secs(1));
        assert_eq!(missing.expect_err("none").kind(), io::ErrorKind::NotFound);
    }
}
