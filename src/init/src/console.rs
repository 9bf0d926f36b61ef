//! PID 1's voice: one bounded line at a time, to whoever listens, waiting for nobody.
//!
//! Kernel mode: each line goes to the kernel's log, which prints it on the consoles if its priority
//! is below their level. An important line that the kernel would not print (`quiet`) is written to
//! `/dev/console` as well, so it is seen once in either case.
//!
//! The kernel prints synchronously: on a serial line that is wedged by flow control each 16 bytes
//! cost the writer 10 ms (`wait_for_lsr` of the 8250 driver). So a line that took long makes the
//! console *slow* for a while: lines then go to the log at a priority that no console prints, and
//! important ones to `/dev/console` by a write that does not wait. What that does not take is
//! dropped, counted, and the count is said with the next line that gets through; the log has all.
//!
//! Contained: standard error, asked first whether it takes a line at once.

use crate::options::Mode;
use std::cell::RefCell;
use std::fmt::{self, Write as _};
use sys::clock::monotonic_ns;
use sys::kmsg::{self, Kmsg, Priority, Slow};

/// One line in bytes, prefix included; longer is cut.
const LINE_BYTES_MAX: usize = 512;

/// Lines kept while there is no `/dev/kmsg` yet: what the first mounts have to say.
const EARLY_LINES_MAX: usize = 16;

/// Where PID 1 speaks.
#[derive(Debug)]
pub struct Console {
    mode: Mode,
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    kmsg: Option<Kmsg>,
    console: Option<sys::console::Console>,
    /// Lines said before there was a log.
    early: Vec<(Priority, Line)>,
    slow: Slow,
    /// Lines that were dropped since the last that got through.
    dropped: u64,
}

impl Console {
    /// Opens what is there; what is not is tried again with each line.
    #[must_use]
    pub fn open(mode: Mode) -> Self {
        let console = Self { mode, inner: RefCell::default() };
        console.inner.borrow_mut().reopen(mode);
        console
    }

    /// Says one line, without its end. Never waits and never fails.
    pub fn say(&self, priority: Priority, text: fmt::Arguments<'_>) {
        // Borrowed twice only if formatting `text` spoke itself; then that line is lost, not PID 1.
        let Ok(mut inner) = self.inner.try_borrow_mut() else { return };
        let line = Line::new(text);
        match self.mode {
            Mode::Contained => inner.say_contained(&line),
            Mode::Kernel => inner.say_kernel(priority, line),
        }
    }
}

impl Inner {
    fn reopen(&mut self, mode: Mode) {
        if mode == Mode::Kernel && self.kmsg.is_none() {
            self.kmsg = Kmsg::open().ok();
            self.console = self.kmsg.is_some().then(sys::console::Console::open);
        }
    }

    fn say_contained(&mut self, line: &Line) {
        let told = self.dropped == 0 || self.say_dropped(sys::console::write_standard_error);
        let written = told && sys::console::write_standard_error(line.with_end());
        self.dropped += u64::from(!written);
    }

    fn say_kernel(&mut self, priority: Priority, line: Line) {
        self.reopen(Mode::Kernel);
        if self.kmsg.is_none() {
            return self.keep(priority, line);
        }
        for (priority, line) in std::mem::take(&mut self.early) {
            self.write(priority, &line);
        }
        self.write(priority, &line);
    }

    /// Keeps a line for the log that is not there yet.
    fn keep(&mut self, priority: Priority, line: Line) {
        if self.early.len() < EARLY_LINES_MAX {
            self.early.push((priority, line));
        } else {
            self.dropped += 1;
        }
    }

    fn write(&mut self, priority: Priority, line: &Line) {
        let Some(kmsg) = &mut self.kmsg else { return };
        let before_ns = monotonic_ns();
        let spared = self.slow.is_spared(before_ns);
        let logged_at = if spared { Priority::Debug } else { priority };
        let logged = kmsg.write_line(logged_at, line.text());
        self.slow.took(before_ns, monotonic_ns());
        // Zero to three are printed even by `quiet`'s level of 4.
        let printed = logged && (logged_at as u8) < kmsg::console_level();
        if printed || priority > Priority::Notice {
            return;
        }
        let Some(mut console) = self.console.take() else { return };
        let told =
            self.dropped == 0 || self.say_dropped(|text| console.write_line(text.trim_ascii_end()));
        let written = told && console.write_line(line.text());
        self.dropped += u64::from(!written);
        self.console = Some(console);
    }

    /// Says how many lines were dropped; true if that got through.
    fn say_dropped(&mut self, write: impl FnOnce(&[u8]) -> bool) -> bool {
        let text = Line::new(format_args!("{} lines for the console were dropped", self.dropped));
        let written = write(text.with_end());
        if written {
            self.dropped = 0;
        }
        written
    }
}

/// A line on its way, cut to its limit; its last byte is kept for the end of the line.
#[derive(Clone, Debug)]
struct Line {
    bytes: [u8; LINE_BYTES_MAX],
    length: usize,
}

impl Line {
    fn new(text: fmt::Arguments<'_>) -> Self {
        let mut line = Self { bytes: [0; LINE_BYTES_MAX], length: 0 };
        // What does not fit is cut, and a `Display` that fails has said what it could.
        let _ = line.write_str("rollinit-init: ").and_then(|()| line.write_fmt(text));
        line.bytes[line.length] = b'\n';
        line
    }

    fn text(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn with_end(&self) -> &[u8] {
        &self.bytes[..=self.length]
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LINE_BYTES_MAX - 1 - self.length;
        let taken = text.len().min(room);
        for (slot, byte) in self.bytes[self.length..].iter_mut().zip(&text.as_bytes()[..taken]) {
            *slot = if byte.is_ascii_control() { b' ' } else { *byte };
        }
        self.length += taken;
        if taken == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line whatever is said: control bytes are spaces, and what is too long is cut, not split.
    #[test]
    fn a_line_is_one_line() {
        let line = Line::new(format_args!("a\nb\x1b[2J {}", "x".repeat(2 * LINE_BYTES_MAX)));
        assert!(line.text().starts_with(b"rollinit-init: a b [2J xxx"));
        assert_eq!(line.with_end().len(), LINE_BYTES_MAX);
        assert_eq!(line.with_end().iter().filter(|byte| **byte == b'\n').count(), 1);
    }

    /// Without `/dev/kmsg` the first lines wait for it, and only what is beyond the cap is counted
    /// as dropped.
    #[test]
    fn early_lines_wait() {
        let mut inner = Inner::default();
        for _ in 0..EARLY_LINES_MAX + 3 {
            inner.keep(Priority::Notice, Line::new(format_args!("early")));
        }
        assert_eq!((inner.early.len(), inner.dropped), (EARLY_LINES_MAX, 3));
    }

    /// Dropped lines are said, once, by the next write that gets through.
    #[test]
    fn drops_are_said() {
        let mut inner = Inner { dropped: 4, ..Inner::default() };
        assert!(!inner.say_dropped(|_| false));
        assert_eq!(inner.dropped, 4);
        let mut said = Vec::new();
        assert!(inner.say_dropped(|text| {
            said = text.to_vec();
            true
        }));
        assert_eq!(said, b"rollinit-init: 4 lines for the console were dropped\n");
        assert_eq!(inner.dropped, 0);
    }
}
