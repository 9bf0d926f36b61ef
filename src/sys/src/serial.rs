//! Serial lines as plain byte streams, for the test agent.

use rustix::fs::{Mode, OFlags};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs::File;
use std::io;
use std::path::Path;

/// Opens a terminal for bytes that nobody touches: no echo, no line editing, no signals from it,
/// and it does not become our controlling terminal.
///
/// # Errors
/// Those of open(2); `ENOTTY` at what is no terminal.
pub fn open_raw(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let line = rustix::fs::open(path, flags, Mode::empty())?;
    let mut attributes = tcgetattr(&line)?;
    attributes.make_raw();
    tcsetattr(&line, OptionalActions::Now, &attributes)?;
    Ok(File::from(line))
}

/// Opens a terminal for writes that answer `EAGAIN` instead of waiting.
///
/// # Errors
/// Those of open(2).
pub fn open_nonblocking(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::io::{ErrorKind, Read, Write};
    use std::os::unix::ffi::OsStrExt;

    /// A pseudo-terminal: what is written to the raw line comes out at the other end with every
    /// byte as it was (a cooked one would turn the line feed into two bytes, and echo), and a
    /// non-blocking writer is told when the line takes no more.
    #[test]
    fn bytes_stay_bytes() {
        let control = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&control).expect("grant");
        unlockpt(&control).expect("unlock");
        let name = ptsname(&control, Vec::new()).expect("name");
        let path = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let mut line = open_raw(path).expect("open");
        let mut control = File::from(control);
        control.write_all(b"asked\n").expect("write");
        line.write_all(b"a\n\x03b").expect("write");
        let mut bytes = [0; 4];
        control.read_exact(&mut bytes).expect("read");
        assert_eq!(&bytes, b"a\n\x03b");
        let mut flood = open_nonblocking(path).expect("open");
        let full = loop {
            if let Err(error) = flood.write(&[b'x'; 512]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        assert!(open_raw(Path::new("/dev/null")).is_err());
    }
}
