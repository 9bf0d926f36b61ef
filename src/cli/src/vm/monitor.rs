//! QEMU's monitor (QMP): the power button.

use crate::exit::Failure;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// QEMU answers within milliseconds, or hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// Presses the guest's power button, as EC2's stop does.
///
/// # Errors
/// QEMU does not answer.
pub fn press_power(socket: &Path) -> Result<(), Failure> {
    let pressed = || -> io::Result<()> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        // Its greeting, then one answer a command; events in between end no wait.
        lines.next().transpose()?;
        for command in ["qmp_capabilities", "system_powerdown"] {
            writeln!(stream, "{{\"execute\": \"{command}\"}}")?;
            while let Some(line) = lines.next().transpose()? {
                if line.contains("\"return\"") {
                    break;
                }
            }
        }
        Ok(())
    };
    pressed().map_err(|error| {
        let what = format!("{}: cannot press the guest's power button", socket.display());
        Failure::local(&what, &error)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is the test's verdict")]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A QEMU of four lines, with an event before an answer.
    #[test]
    fn power_button() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("monitor");
        let listener = UnixListener::bind(&path).unwrap();
        let qemu = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            writeln!(stream, "{{\"QMP\": {{}}}}").unwrap();
            let mut heard = Vec::new();
            for _ in 0..2 {
                heard.push(lines.next().unwrap().unwrap());
                writeln!(stream, "{{\"event\": \"POWERDOWN\"}}\n{{\"return\": {{}}}}").unwrap();
            }
            heard
        });
        press_power(&path).unwrap();
        let heard = qemu.join().unwrap();
        assert_eq!(heard[1], "{\"execute\": \"system_powerdown\"}");
        assert!(press_power(&folder.path().join("none")).is_err());
    }
}
