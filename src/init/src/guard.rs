//! What ends a boot that went wrong: the watchdog, and the trial of a new system.
//!
//! *The watchdog* is fed while the loop turns, and by nothing else: a kernel or a PID 1 that hangs
//! resets the host. A supervisor or a service that hangs does not; they have their own ways. It
//! runs through the end too, and is stopped for a halt only, since a halted host is looked at.
//!
//! *The trial*: the entry of a system that is tried says `rollinit.trial=SECONDS` on the kernel
//! command line, and the boot loader says by a variable that it counted this boot. Then somebody
//! must have blessed it by that time, which is a file in `/run`; else PID 1 reboots, whatever
//! became of those who should have. One look at a file in memory: PID 1 waits for nobody.

use crate::power::Asked;
use crate::turn::Init;
use port::event::PowerSource;
use port::request::ShutdownKind;
use std::path::Path;
use std::time::Duration;
use sys::clock::NS_PER_S;
use sys::kmsg::Priority;
use sys::watchdog::{DEVICE, Watchdog};

/// Time without food after which the host is reset, in seconds, unless `rollinit.watchdog=` says
/// another. PID 1's turns take microseconds; a host that is short of memory may starve it for long.
const WATCHDOG_S: u64 = 60;

/// The longest time that is obeyed, in seconds: above it a mistake would look like no watchdog.
const WATCHDOG_S_MAX: u64 = 3600;

/// It is fed so many times within its timeout: some may come late.
const FOODS: u64 = 4;

/// The word that says how long the watchdog waits; 0 for none.
const WATCHDOG: &str = "rollinit.watchdog";

/// The word that says how long a trial takes at most.
const TRIAL: &str = "rollinit.trial";

/// The boot loader's sign that it counted this boot (systemd.io/BOOT_LOADER_INTERFACE).
const COUNTED: &str =
    "/sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// The agent's sign, below the run-time folder, that this boot is blessed.
const BLESSED: &str = "blessed";

/// Watches over the boot.
#[derive(Debug, Default)]
pub struct Guard {
    watchdog: Option<Watchdog>,
    /// When it is fed next.
    food_ns: Option<u64>,
    /// When the trial is over.
    trial_ns: Option<u64>,
}

impl Guard {
    /// Of the kernel's PID 1: starts the watchdog, if there is one, and the trial, if it is one.
    pub fn start(say: &mut dyn FnMut(Priority, &str)) -> Self {
        let command_line = crate::boot::command_line();
        let seconds = |name| crate::boot::number_of(&command_line, name);
        let mut guard = Self::default();
        guard.start_watchdog(seconds(WATCHDOG).unwrap_or(WATCHDOG_S), say);
        if let Some(trial_s) = seconds(TRIAL).filter(|_| Path::new(COUNTED).exists()) {
            let text = format!("this boot is on trial: to be blessed within {trial_s} s");
            say(Priority::Notice, &text);
            guard.trial_ns = Some(trial_s.saturating_mul(NS_PER_S));
        }
        guard
    }

    fn start_watchdog(&mut self, seconds: u64, say: &mut dyn FnMut(Priority, &str)) {
        if seconds == 0 || !Path::new(DEVICE).exists() {
            return;
        }
        let timeout = Duration::from_secs(seconds.min(WATCHDOG_S_MAX));
        match Watchdog::start(Path::new(DEVICE), timeout) {
            Ok(watchdog) => {
                let seconds = watchdog.timeout().as_secs();
                say(
                    Priority::Information,
                    &format!("the watchdog resets a hang after {seconds} s"),
                );
                self.watchdog = Some(watchdog);
                self.food_ns = Some(0);
            }
            Err(error) => {
                say(Priority::Warning, &format!("{DEVICE}: {error}; a hang stays one"));
            }
        }
    }

    /// When it is due next.
    #[must_use]
    pub fn due_ns(&self) -> Option<u64> {
        [self.food_ns, self.trial_ns].into_iter().flatten().min()
    }

    /// Feeds the watchdog when it is due. A turn that feeds has come around.
    fn feed(&mut self, now_ns: u64) -> std::io::Result<()> {
        let Some(watchdog) = &self.watchdog else { return Ok(()) };
        if self.food_ns.is_none_or(|food_ns| food_ns > now_ns) {
            return Ok(());
        }
        let period_ns = watchdog.timeout().as_secs().saturating_mul(NS_PER_S) / FOODS;
        self.food_ns = Some(now_ns.saturating_add(period_ns));
        watchdog.feed()
    }

    /// Whether the trial's time is over in this moment.
    fn trial_ends(&mut self, now_ns: u64) -> bool {
        self.trial_ns.take_if(|trial_ns| *trial_ns <= now_ns).is_some()
    }

    /// Stops the watchdog: the host is halted, and stays so.
    pub fn stop(&mut self) {
        self.food_ns = None;
        if let Some(watchdog) = self.watchdog.take() {
            // One that cannot be stopped resets a halted host: nothing is left to be done about it.
            let _ = watchdog.stop();
        }
    }
}

impl Init {
    /// Deadlines of the watchdog and the trial.
    pub(crate) fn pass_time_of_the_guard(&mut self, now_ns: u64) {
        if let Err(error) = self.guard.feed(now_ns) {
            self.say(Priority::Error, format_args!("feed the watchdog: {error}"));
        }
        if !self.guard.trial_ends(now_ns) || self.options.run.join(BLESSED).exists() {
            return;
        }
        let text = "this boot was not blessed in time; rebooting, so that the loader falls back";
        self.say(Priority::Error, format_args!("{text}"));
        let (kind, source) = (ShutdownKind::Reboot, PowerSource::Trial);
        self.end_asked(Asked { kind, source, at_once: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watchdog is fed at once and then four times within its timeout, never twice for one; a
    /// trial ends once.
    #[test]
    fn food_and_the_trials_end_are_due_once() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let watchdog = Watchdog::start(file.path(), Duration::from_secs(40)).expect("opened");
        let fed = || std::fs::read(file.path()).expect("read").len();
        let mut guard =
            Guard { watchdog: Some(watchdog), food_ns: Some(0), trial_ns: Some(15 * NS_PER_S) };
        for _ in 0..3 {
            guard.feed(NS_PER_S).expect("fed");
        }
        assert_eq!((fed(), guard.due_ns()), (1, Some(11 * NS_PER_S)));
        guard.feed(11 * NS_PER_S).expect("fed");
        assert_eq!((fed(), guard.due_ns()), (2, Some(15 * NS_PER_S)));
        assert!(!guard.trial_ends(14 * NS_PER_S));
        assert!(guard.trial_ends(15 * NS_PER_S) && !guard.trial_ends(16 * NS_PER_S));
        guard.stop();
        assert_eq!((fed(), guard.due_ns()), (3, None), "the magic letter, and no more food");
        assert_eq!(Guard::default().due_ns(), None);
    }
}
