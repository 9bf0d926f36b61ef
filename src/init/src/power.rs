//! Who may ask PID 1 to end the machine, by which way, and for what.
//!
//! Three ways in: the ACPI power button (EC2's stop, QMP `system_powerdown`), ctrl-alt-del (the
//! kernel sends `SIGINT` once its own immediate reboot is disabled), and the signals that agents
//! send to PID 1: `SIGPWR` and the numbers of systemd(1), "Signals". The numbers are glibc's, whose
//! `SIGRTMIN` is 34, since that is what `kill -s SIGRTMIN+4 1` sends.

use crate::options::Mode;
use port::event::PowerSource;
use port::request::ShutdownKind;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use sys::acpi;

const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;
const SIGPWR: u8 = 30;
/// glibc's `SIGRTMIN`; the kernel's own is 32, and glibc keeps two for its threads.
const REAL_TIME_MIN: u8 = 34;

/// Somebody asks for the machine to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What it shall end in.
    pub kind: ShutdownKind,
    /// How it came in.
    pub source: PowerSource,
    /// Without stopping the services in order first.
    pub at_once: bool,
}

/// What a signal to PID 1 asks for; none if it asks for nothing.
///
/// `SIGRTMIN+6` and `+16` (kexec) ask for a reboot: nobody has loaded a kernel.
#[must_use]
pub fn asked_by_signal(signal: u8, mode: Mode) -> Option<Asked> {
    let gently = |kind| Some(Asked { kind, source: PowerSource::Signal(signal), at_once: false });
    let at_once = |kind| Some(Asked { kind, source: PowerSource::Signal(signal), at_once: true });
    match (signal, mode) {
        (SIGINT, Mode::Kernel) => Some(Asked {
            kind: ShutdownKind::Reboot,
            source: PowerSource::CtrlAltDel,
            at_once: false,
        }),
        // Ctrl-C in a terminal, and what a container engine sends to stop a container.
        (SIGINT | SIGTERM, Mode::Contained) | (SIGPWR, _) => gently(ShutdownKind::PowerOff),
        _ => match signal.checked_sub(REAL_TIME_MIN)? {
            3 => gently(ShutdownKind::Halt),
            4 => gently(ShutdownKind::PowerOff),
            5 | 6 => gently(ShutdownKind::Reboot),
            13 => at_once(ShutdownKind::Halt),
            14 => at_once(ShutdownKind::PowerOff),
            15 | 16 => at_once(ShutdownKind::Reboot),
            _ => None,
        },
    }
}

/// The power button.
#[derive(Debug)]
pub struct Button {
    acpi: acpi::Listener,
}

impl Button {
    /// Listens for it. Works before the `button` driver is loaded, too.
    ///
    /// # Errors
    /// `ENOENT` on a machine without ACPI. Not fatal: the other ways in remain.
    pub fn open() -> io::Result<Self> {
        Ok(Self { acpi: acpi::Listener::open()? })
    }

    /// What was asked for since the last look. Presses that came together are one.
    ///
    /// # Errors
    /// Those of recv(2). `ENOBUFS`, events were lost, counts as nothing: a person presses again.
    pub fn read(&self) -> io::Result<Option<Asked>> {
        let pressed = self.acpi.power_pressed()?;
        Ok(pressed.then_some(Asked {
            kind: ShutdownKind::PowerOff,
            source: PowerSource::PowerButton,
            at_once: false,
        }))
    }
}

impl AsFd for Button {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.acpi.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(signal: u8, mode: Mode) -> Option<(ShutdownKind, bool)> {
        asked_by_signal(signal, mode).map(|asked| (asked.kind, asked.at_once))
    }

    /// The numbers that agents really send, as `kill -l` of glibc prints them.
    #[test]
    fn signals_by_number() {
        assert_eq!(kind_of(38, Mode::Kernel), Some((ShutdownKind::PowerOff, false)));
        assert_eq!(kind_of(39, Mode::Kernel), Some((ShutdownKind::Reboot, false)));
        assert_eq!(kind_of(37, Mode::Kernel), Some((ShutdownKind::Halt, false)));
        assert_eq!(kind_of(48, Mode::Kernel), Some((ShutdownKind::PowerOff, true)));
        assert_eq!(kind_of(30, Mode::Kernel), Some((ShutdownKind::PowerOff, false)));
    }

    /// Ctrl-alt-del reboots a machine; ctrl-C in a terminal ends a contained one.
    #[test]
    fn interrupt_depends_on_the_mode() {
        let asked = asked_by_signal(SIGINT, Mode::Kernel).expect("it asks");
        assert_eq!(asked.source, PowerSource::CtrlAltDel);
        assert_eq!(asked.kind, ShutdownKind::Reboot);
        assert_eq!(kind_of(SIGINT, Mode::Contained), Some((ShutdownKind::PowerOff, false)));
    }

    /// A stray `kill 1` must not take a server down, nor a signal that means nothing.
    #[test]
    fn other_signals_ask_for_nothing() {
        for signal in [1, SIGTERM, 10, 12, 17, 34, 36, 64] {
            assert_eq!(asked_by_signal(signal, Mode::Kernel), None, "signal {signal}");
        }
    }
}
