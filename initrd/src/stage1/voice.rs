//! What stage 1 says, and how it fails.

use std::fmt;
use sys::clock::{NS_PER_S, monotonic_ns};
use sys::console::Console;
use sys::kmsg::{self, Kmsg, Priority};
use sys::poll;

/// Time between the words about a failure and the reboot, in seconds: to read a screen, or for a
/// cloud's console log to take them.
const REBOOT_S: u64 = 10;

/// A failure ends the boot: what was being done, to what, and what a person can do about it.
#[derive(Debug)]
pub struct Failure {
    /// What was being done: `find the root device`.
    pub step: &'static str,
    /// To what: `/dev/vda1`.
    pub object: String,
    /// What went wrong.
    pub cause: String,
    /// What was there instead, a line each.
    pub seen: Vec<String>,
    /// What to do.
    pub cure: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "cannot {}: {}: {}", self.step, self.object, self.cause)?;
        for seen in &self.seen {
            writeln!(f, "  seen: {seen}")?;
        }
        write!(f, "  cure: {}", self.cure)
    }
}

/// The kernel's log, and the console where that does not print.
#[derive(Debug)]
pub struct Voice {
    kmsg: Option<Kmsg>,
    console: Console,
}

impl Voice {
    /// Opens both; either may be missing.
    #[must_use]
    pub fn open() -> Self {
        Self { kmsg: Kmsg::open().ok(), console: Console::open() }
    }

    /// Says one line: to the log, and to the console if it is important and the log does not
    /// print it there.
    pub fn say(&mut self, priority: Priority, text: &str) {
        let line = format!("rollinit-stage1: {text}");
        let logged =
            self.kmsg.as_mut().is_some_and(|kmsg| kmsg.write_line(priority, line.as_bytes()));
        let printed = logged && (priority as u8) < kmsg::console_level();
        if !printed && priority <= Priority::Notice {
            self.console.write_line(line.as_bytes());
        }
    }

    /// Says why the boot ends here, then reboots.
    pub fn fail(&mut self, failure: &Failure) -> ! {
        for line in failure.to_string().lines() {
            self.say(Priority::Error, line);
        }
        let deadline_ns = monotonic_ns() + REBOOT_S * NS_PER_S;
        let mut left_s = REBOOT_S;
        while left_s > 0 {
            self.say(Priority::Error, &format!("  next: reboot in {left_s} s"));
            left_s = left_s.saturating_sub(REBOOT_S / 2);
            wait_until(deadline_ns - left_s * NS_PER_S);
        }
        self.say(Priority::Error, "  next: reboot now");
        let error = sys::reboot::end(sys::reboot::Ending::Restart);
        // Nothing is left to try; PID 1 must not end, or the kernel panics over the words above.
        self.say(Priority::Error, &format!("reboot: {error}; switch the machine off and on"));
        loop {
            wait_until(u64::MAX);
        }
    }
}

/// Waits for a time of `CLOCK_MONOTONIC`. Signals and errors only make it look again.
fn wait_until(deadline_ns: u64) {
    while monotonic_ns() < deadline_ns {
        let _ = poll::until(&mut [], Some(deadline_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A failure has its step, object and cause in the first line, which a grep finds, then what
    /// was seen, then the cure.
    #[test]
    fn failure_in_words() {
        let failure = Failure {
            step: "find the root device",
            object: "/dev/vdz".to_owned(),
            cause: "it did not appear within 30 s".to_owned(),
            seen: vec!["vda 64 MiB".to_owned()],
            cure: "correct root=".to_owned(),
        };
        assert_eq!(
            failure.to_string(),
            "cannot find the root device: /dev/vdz: it did not appear within 30 s\n  \
             seen: vda 64 MiB\n  cure: correct root="
        );
    }
}
