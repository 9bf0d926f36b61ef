//! reboot(2): the last call of a machine, and who may cause it.

use rustix::system::RebootCommand;
use std::io;

/// What the machine ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Power off.
    PowerOff,
    /// Reboot.
    Restart,
    /// Stop with the power on.
    Halt,
}

/// Makes ctrl-alt-del a `SIGINT` to PID 1 instead of a reboot without sync.
///
/// # Errors
/// `EPERM` without privilege; `EINVAL` outside of the first pid namespace.
pub fn disable_ctrl_alt_del() -> io::Result<()> {
    Ok(rustix::system::reboot(RebootCommand::CadOff)?)
}

/// Ends the machine at once, without sync. Returns only if it failed.
#[must_use]
pub fn end(ending: Ending) -> io::Error {
    let command = match ending {
        Ending::PowerOff => RebootCommand::PowerOff,
        Ending::Restart => RebootCommand::Restart,
        Ending::Halt => RebootCommand::Halt,
    };
    match rustix::system::reboot(command) {
        Ok(()) => io::Error::other("reboot(2) returned"),
        Err(error) => error.into(),
    }
}
