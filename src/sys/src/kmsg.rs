//! `/dev/kmsg`: one line to the kernel's log.
//!
//! The kernel keeps it (`dmesg`), stamps it, and prints it on every console whose log level allows.
//! Source of the format: Documentation/ABI/testing/dev-kmsg.

use crate::clock::{NS_PER_MS, NS_PER_S};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

/// One record in bytes, prefix included. The kernel's own cap is 1024 less its prefix
/// (`LOG_LINE_MAX`); beyond it a write fails with `EINVAL` and says nothing at all.
pub const LINE_BYTES_MAX: usize = 960;

/// syslog(3)'s levels, the ones used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// The boot or the shutdown fails.
    Error = 3,
    /// Something is missing or left behind; it goes on.
    Warning = 4,
    /// What an operator wants to see once: a shutdown and who asked for it.
    Notice = 5,
    /// A step done.
    Information = 6,
    /// Of use to who debugs rollinit itself.
    Debug = 7,
}

/// The kernel's log, open for writing.
#[derive(Debug)]
pub struct Kmsg {
    file: File,
    dropped: u64,
}

impl Kmsg {
    /// Opens `/dev/kmsg`, close-on-exec and non-blocking.
    ///
    /// # Errors
    /// Of `open(2)`: no `/dev`, or not root.
    pub fn open() -> io::Result<Self> {
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = File::options().write(true).custom_flags(flags).open("/dev/kmsg")?;
        Ok(Self { file, dropped: 0 })
    }

    /// Writes one line; control bytes become spaces, what is too long is cut. False: it is dropped
    /// and counted.
    pub fn write_line(&mut self, priority: Priority, text: &[u8]) -> bool {
        let mut buffer = [0; LINE_BYTES_MAX];
        let length = format_record(priority, text, &mut buffer);
        let written = self.file.write(&buffer[..length]).is_ok();
        self.dropped += u64::from(!written);
        written
    }

    /// Lines that the kernel did not take since [`Kmsg::open`].
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// A line that took longer than this met a slow console. 80 bytes at 115,200 baud take 7 ms.
pub const SLOW_NS: u64 = 30 * NS_PER_MS;

/// How long a console that was slow is spared.
pub const SPARED_NS: u64 = 10 * NS_PER_S;

/// Whether the console is slow at the moment: the kernel prints in the course of the write, and a
/// wedged serial line costs it 10 ms per 16 bytes (`wait_for_lsr` of the 8250 driver). Spared means
/// that lines are written at [`Priority::Debug`], which no console prints and the log keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slow {
    until_ns: u64,
}

impl Slow {
    /// Whether to spare it.
    #[must_use]
    pub fn is_spared(self, now_ns: u64) -> bool {
        now_ns < self.until_ns
    }

    /// A line was written between the two times.
    pub fn took(&mut self, before_ns: u64, after_ns: u64) {
        if after_ns.saturating_sub(before_ns) > SLOW_NS {
            self.until_ns = after_ns + SPARED_NS;
        }
    }
}

/// Writes `<priority>text` and a line feed into `buffer`; returns the length in bytes.
fn format_record(priority: Priority, text: &[u8], buffer: &mut [u8; LINE_BYTES_MAX]) -> usize {
    buffer[0] = b'<';
    buffer[1] = b'0' + priority as u8;
    buffer[2] = b'>';
    let length = text.len().min(LINE_BYTES_MAX - 4);
    for (slot, byte) in buffer[3..].iter_mut().zip(&text[..length]) {
        *slot = if byte.is_ascii_control() { b' ' } else { *byte };
    }
    buffer[3 + length] = b'\n';
    length + 4
}

/// The console's log level: the kernel prints a line if its priority is below this number. From the
/// first word of `/proc/sys/kernel/printk` (Documentation/admin-guide/sysctl/kernel.rst); the
/// kernel's default of 7 if that cannot be read.
#[must_use]
pub fn console_level() -> u8 {
    let words = std::fs::read("/proc/sys/kernel/printk").unwrap_or_default();
    match words.first() {
        Some(digit) if digit.is_ascii_digit() => digit - b'0',
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A forged second record or an escape sequence inside a service's name must not get through:
    /// the only line feed is the last byte.
    #[test]
    fn record_is_one_line_and_fits() {
        let mut buffer = [0; LINE_BYTES_MAX];
        let length = format_record(Priority::Error, b"a\n<0>b\x1b[2J", &mut buffer);
        assert_eq!(&buffer[..length], b"<3>a <0>b [2J\n");
        let length = format_record(Priority::Debug, &[b'x'; 4096], &mut buffer);
        assert_eq!(length, LINE_BYTES_MAX);
        assert_eq!(&buffer[..4], b"<7>x");
        assert_eq!(buffer[length - 1], b'\n');
    }

    /// One slow line spares the console for a while, quick ones do not.
    #[test]
    fn a_slow_console_is_spared() {
        let mut slow = Slow::default();
        slow.took(NS_PER_S, NS_PER_S + SLOW_NS);
        assert!(!slow.is_spared(NS_PER_S + SLOW_NS));
        slow.took(NS_PER_S, 2 * NS_PER_S);
        assert!(slow.is_spared(2 * NS_PER_S) && !slow.is_spared(2 * NS_PER_S + SPARED_NS));
    }
}
