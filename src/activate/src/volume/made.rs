//! Making a volume's file system, and checking one that recorded errors.

use super::settings::Volume;
use crate::report::{Problem, Report};
use disk::Device;
use disk::content::{self, Content};
use std::fs::File;
use std::io;
use std::process::{Command, Output};

/// Lines of a tool's words that are shown; the last are those that count.
const LINES_MAX: usize = 6;

/// fsck(8): errors were corrected, and the machine should be rebooted (if it was mounted, and it
/// is not).
const CORRECTED: i32 = 1 | 2;

/// Makes the file system on a volume that is blank, or on which this was begun before.
///
/// # Errors
/// The disk or the tool fails; the volume is then one that was not finished.
pub fn make(
    volume: &Volume,
    name: &str,
    device: &Device,
    held: &Content,
    report: &mut Report,
) -> Result<(), Problem> {
    let kind = &volume.file_system;
    report.say(format_args!("{name}: it holds {held}: making {kind} on {device}"));
    let failed = |step: &str, error: &dyn std::fmt::Display| {
        let message = format!("{step} {}: {error}", device.path.display());
        Problem::new(name, message, "see the kernel's log; it is begun again at the next start")
    };
    // Claimed, so that nobody who has it mounted or open for himself loses it; and given up again,
    // for the tool does the same.
    let claim = || sys::partition::claim(&device.path);
    let file = claim().map_err(|error| failed("claim", &error))?;
    content::mark(&file, device.bytes).map_err(|error| failed("write to", &error))?;
    drop(file);
    let output = run(&volume.make, device).map_err(|error| failed("make on", &error))?;
    if !output.status.success() {
        let text = format!("{} {}: {}", volume.make[0], output.status, words(&output));
        return Err(failed("make on", &text));
    }
    let file = claim().map_err(|error| failed("claim", &error))?;
    content::unmark(&file, device.bytes).map_err(|error| failed("write to", &error))
}

/// Checks a file system that recorded errors.
///
/// # Errors
/// It is damaged beyond what the tool mends by itself; it is not mounted then.
pub fn check(
    volume: &Volume,
    name: &str,
    device: &Device,
    report: &mut Report,
) -> Result<(), Problem> {
    report.say(format_args!("{name}: errors are recorded on {device}: checking it"));
    let path = device.path.display();
    let cure = format!("mend it by hand with {} {path}, from a snapshot first", volume.check[0]);
    let failed = |text: String| Problem::new(name, format!("check {path}: {text}"), &cure);
    let output = run(&volume.check, device).map_err(|error| failed(error.to_string()))?;
    report.say(format_args!("{name}: {}", words(&output)));
    match output.status.code() {
        Some(code) if code & !CORRECTED == 0 => Ok(()),
        _ => Err(failed(format!("{}: {}; not mounted", output.status, words(&output)))),
    }
}

fn run(words: &[String], device: &Device) -> io::Result<Output> {
    let (program, rest) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let null = File::open("/dev/null")?;
    Command::new(program).args(rest).arg(&device.path).stdin(null).output()
}

fn words(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES_MAX)..].join("; ")
}
