//! The end: what PID 1 does once its owner has stopped the services, or could not.
//!
//! ```text
//! Terminating ──nobody left, or 5 s──▶ Killing ──nobody left, or 5 s──▶ Detaching ──▶ Over
//!   SIGTERM, SIGCONT to everything       SIGKILL, again each second       a helper:     reboot(2),
//!                                        until they are gone              sync, swap    or exit
//!                                                                         off, unmount, when
//!                                                                         read-only     contained
//! ```
//!
//! *Nobody left* is "no children": every process below PID 1 becomes its child when its parent
//! ends. Whoever outlives SIGKILL (asleep in the kernel, or traced) is named and left behind. The
//! helper does everything that may sleep for ever; if it is not done in time it is left behind too,
//! with whatever it could not write, and the machine still goes down. Contained, there is nothing
//! to detach. A step can only lead to a later one, so the end is always reached.
//!
//! Pure: [`Teardown::step`] takes the time and an event and returns effects; the rim is `end`.

use crate::detach;
use crate::options::Mode;
use port::request::ShutdownKind;
use std::io;
use sys::cgroup;
use sys::clock::NS_PER_S;
use sys::kmsg::Priority;
use sys::who;

/// Time for everything but services to end after SIGTERM: sessions, strays, the supervisor.
const TERMINATE_NS: u64 = 5 * NS_PER_S;

/// Time for processes to vanish after SIGKILL. Longer than a large process needs to be torn down;
/// what is left after it sleeps in the kernel and would for ever.
const KILL_NS: u64 = 5 * NS_PER_S;

/// SIGKILL is sent again this often: a process may be forked while all are being signalled.
const KILL_AGAIN_NS: u64 = NS_PER_S;

/// Time for writing out and unmounting everything. A full page cache of a small instance on a slow
/// volume (1 GB at 100 MB/s) needs 10 s; EC2 pulls the plug some minutes after a stop.
const DETACH_NS: u64 = 60 * NS_PER_S;

const SIGKILL: u8 = 9;
const SIGTERM: u8 = 15;
const SIGCONT: u8 = 18;

/// How far the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Terminating,
    Killing { again_ns: u64 },
    Detaching { helper: Option<u32> },
    Over,
}

/// Something happened during the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// PID 1 has no children any more.
    NobodyLeft,
    /// The helper was started under this pid.
    HelperStarted(u32),
    /// The helper could not be started; `errno`.
    HelperFailed(i32),
    /// A child was reaped; its raw wait status.
    Ended {
        /// Who.
        pid: u32,
        /// As wait4(2) gave it.
        status: i32,
    },
    /// Time passed.
    Tick,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Signal everything but PID 1.
    SignalAll(u8),
    /// Name who is left: they did not go within the time given to SIGKILL.
    NameSurvivors,
    /// Start the helper that detaches swap and file systems.
    StartHelper,
    /// reboot(2), or exit when contained. Nothing follows.
    Finish(ShutdownKind),
    /// Tell people.
    Say(Priority, String),
}

/// The state machine of the end.
#[derive(Debug)]
pub struct Teardown {
    kind: ShutdownKind,
    mode: Mode,
    stage: Stage,
    deadline_ns: u64,
}

impl Teardown {
    /// Begins the end.
    #[must_use]
    pub fn begin(kind: ShutdownKind, mode: Mode, now_ns: u64) -> (Self, Vec<Effect>) {
        let deadline_ns = now_ns + TERMINATE_NS;
        let teardown = Self { kind, mode, stage: Stage::Terminating, deadline_ns };
        let text = format!("{}: ending all other processes", word(kind));
        let effects = vec![
            Effect::Say(Priority::Notice, text),
            Effect::SignalAll(SIGTERM),
            Effect::SignalAll(SIGCONT),
        ];
        (teardown, effects)
    }

    /// When [`Event::Tick`] is due, in `CLOCK_MONOTONIC` nanoseconds.
    #[must_use]
    pub fn deadline_ns(&self) -> u64 {
        match self.stage {
            Stage::Killing { again_ns } => again_ns.min(self.deadline_ns),
            _ => self.deadline_ns,
        }
    }

    /// Takes one event and says what to do.
    pub fn step(&mut self, now_ns: u64, event: Event) -> Vec<Effect> {
        let late = now_ns >= self.deadline_ns;
        match (self.stage, event) {
            (Stage::Terminating | Stage::Killing { .. }, Event::NobodyLeft) => self.detach(now_ns),
            (Stage::Terminating, Event::Tick) if late => self.kill(now_ns),
            (Stage::Killing { .. }, Event::Tick) if late => {
                let mut effects = vec![Effect::NameSurvivors];
                effects.extend(self.detach(now_ns));
                effects
            }
            (Stage::Killing { again_ns }, Event::Tick) if now_ns >= again_ns => {
                self.stage = Stage::Killing { again_ns: now_ns + KILL_AGAIN_NS };
                vec![Effect::SignalAll(SIGKILL)]
            }
            (Stage::Detaching { .. }, Event::HelperStarted(pid)) => {
                self.stage = Stage::Detaching { helper: Some(pid) };
                Vec::new()
            }
            (Stage::Detaching { .. }, Event::HelperFailed(errno)) => {
                self.finish(Some(format!("cannot start the unmount helper: errno {errno}")))
            }
            (Stage::Detaching { helper: Some(helper) }, Event::Ended { pid, status })
                if pid == helper =>
            {
                let trouble = format!("the unmount helper ended with wait status {status:#x}");
                self.finish((status != 0).then_some(trouble))
            }
            (Stage::Detaching { .. }, Event::Tick) if late => {
                let seconds = DETACH_NS / NS_PER_S;
                self.finish(Some(format!("unmounting is not done after {seconds} s; left behind")))
            }
            // Strays, early ticks, and everything once it is over.
            _ => Vec::new(),
        }
    }

    fn kill(&mut self, now_ns: u64) -> Vec<Effect> {
        self.stage = Stage::Killing { again_ns: now_ns + KILL_AGAIN_NS };
        self.deadline_ns = now_ns + KILL_NS;
        let seconds = TERMINATE_NS / NS_PER_S;
        let text = format!("processes are left {seconds} s after SIGTERM; killing them");
        vec![Effect::Say(Priority::Warning, text), Effect::SignalAll(SIGKILL)]
    }

    fn detach(&mut self, now_ns: u64) -> Vec<Effect> {
        match self.mode {
            Mode::Contained => self.finish(None),
            Mode::Kernel => {
                self.stage = Stage::Detaching { helper: None };
                self.deadline_ns = now_ns + DETACH_NS;
                let text = "writing out and unmounting file systems".to_owned();
                vec![Effect::Say(Priority::Notice, text), Effect::StartHelper]
            }
        }
    }

    fn finish(&mut self, trouble: Option<String>) -> Vec<Effect> {
        self.stage = Stage::Over;
        self.deadline_ns = u64::MAX;
        let mut effects = Vec::new();
        effects.extend(trouble.map(|text| Effect::Say(Priority::Error, text)));
        effects.push(Effect::Say(Priority::Notice, format!("{} now", word(self.kind))));
        effects.push(Effect::Finish(self.kind));
        effects
    }
}

/// The word for people.
#[must_use]
pub fn word(kind: ShutdownKind) -> &'static str {
    match kind {
        ShutdownKind::PowerOff => "power-off",
        ShutdownKind::Reboot => "reboot",
        ShutdownKind::Halt => "halt",
    }
}

/// Signals everything but PID 1. On the machine's own PID 1 that is one call, which misses nobody;
/// contained, it is everything below our part of the cgroup tree and our children.
///
/// # Errors
/// Those of kill(2) and of the cgroup files; nobody there is fine.
pub fn signal_all(signal: u8, mode: Mode, root: Option<&cgroup::Root>) -> io::Result<()> {
    if mode == Mode::Kernel {
        return who::signal_everything(signal);
    }
    if let Some(root) = root
        && signal == SIGKILL
    {
        for group in ["services", "rollinit"] {
            match root.group(group).and_then(|group| group.kill()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    for pid in who::children()? {
        match cgroup::signal_process(pid, signal) {
            Err(error) if error.raw_os_error() != Some(ESRCH) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

const ESRCH: i32 = 3;

/// Starts the helper; [`Event::HelperStarted`] or [`Event::HelperFailed`] is to be stepped next.
#[must_use]
pub fn start_helper() -> Event {
    match sys::helper::start(detach::run) {
        Ok(pid) => Event::HelperStarted(pid),
        Err(error) => Event::HelperFailed(error.raw_os_error().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = NS_PER_S;

    fn begun(mode: Mode) -> Teardown {
        Teardown::begin(ShutdownKind::PowerOff, mode, 0).0
    }

    fn finishes(effects: &[Effect]) -> bool {
        effects.contains(&Effect::Finish(ShutdownKind::PowerOff))
    }

    /// Nothing is killed that ends in time, and the machine goes down when the helper is done.
    #[test]
    fn a_calm_end() {
        let mut teardown = begun(Mode::Kernel);
        let effects = teardown.step(S, Event::NobodyLeft);
        assert_eq!(effects.last(), Some(&Effect::StartHelper));
        teardown.step(S, Event::HelperStarted(7));
        assert!(teardown.step(S, Event::Ended { pid: 6, status: 0 }).is_empty(), "a stray");
        assert!(finishes(&teardown.step(2 * S, Event::Ended { pid: 7, status: 0 })));
        assert!(teardown.step(3 * S, Event::Tick).is_empty(), "it is over");
    }

    /// Contained there is nothing to unmount: the last process's end is the end.
    #[test]
    fn contained_ends_without_a_helper() {
        assert!(finishes(&begun(Mode::Contained).step(S, Event::NobodyLeft)));
    }

    /// Whatever hangs, and whatever is reported in between, ticks alone bring the machine down in
    /// bounded time: processes that ignore SIGKILL, then a helper that never comes back.
    #[test]
    fn ticks_alone_reach_the_end() {
        let mut teardown = begun(Mode::Kernel);
        let mut now_ns = 0;
        let mut signals = 0;
        loop {
            let next_ns = teardown.deadline_ns();
            assert!(next_ns > now_ns, "time must be given to every stage");
            now_ns = next_ns;
            let effects = teardown.step(now_ns, Event::Tick);
            signals += effects.iter().filter(|e| matches!(e, Effect::SignalAll(_))).count();
            if effects.contains(&Effect::StartHelper) {
                assert!(effects.contains(&Effect::NameSurvivors));
                teardown.step(now_ns, Event::HelperStarted(7));
            }
            if finishes(&effects) {
                break;
            }
        }
        assert_eq!(now_ns, TERMINATE_NS + KILL_NS + DETACH_NS);
        assert_eq!(signals, 5, "SIGKILL at once and each second after");
    }

    /// A helper that cannot even be started, or fails, is said, and the machine goes down.
    #[test]
    fn a_helper_that_fails_does_not_hold_the_end() {
        for event in [Event::HelperFailed(12), Event::Ended { pid: 7, status: 0x100 }] {
            let mut teardown = begun(Mode::Kernel);
            teardown.step(S, Event::NobodyLeft);
            teardown.step(S, Event::HelperStarted(7));
            let effects = teardown.step(S, event);
            assert!(matches!(&effects[0], Effect::Say(Priority::Error, _)));
            assert!(finishes(&effects));
        }
    }
}
