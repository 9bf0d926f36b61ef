//! The end that must not happen: a panic or a fault says one line, then the machine restarts.
//!
//! A panic of PID 1 is a bug; so is a fault. Neither may end PID 1, since the kernel would panic in
//! turn and, without `panic=`, hang for ever.

use crate::options::Mode;
use std::io;
use sys::signal::{self, AfterCrash};

/// Arms both ways: from now on a panic or a fault ends the machine, or a contained process, with
/// one line that says why.
///
/// # Errors
/// Those of opening the log and of installing handlers; panics are armed in any case.
pub fn arm(mode: Mode) -> io::Result<()> {
    std::panic::set_hook(Box::new(|panic| {
        signal::say_crash(format_args!("{panic}"));
        signal::end_after_crash();
    }));
    let after = match mode {
        Mode::Kernel => AfterCrash::Reboot,
        Mode::Contained => AfterCrash::Exit,
    };
    signal::install_fault_handlers(signal::open_crash_log(after)?, after)
}
