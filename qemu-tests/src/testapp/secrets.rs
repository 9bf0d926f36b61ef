//! `secrets`: a service that reads its credentials when it starts and when it is told to.

use super::arguments::Arguments;
use super::notify::say;
use super::{Failure, Outcome, at};
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn run(arguments: &mut Arguments) -> Outcome {
    let path: PathBuf = arguments.needed("FILE")?;
    arguments.finish()?;
    let mut signals = Signals::new([SIGHUP, SIGTERM]).map_err(at("watch signals"))?;
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY");
    let directory = PathBuf::from(
        directory.ok_or_else(|| Failure("CREDENTIALS_DIRECTORY is not set".to_owned()))?,
    );
    note(&path, "start", &directory)?;
    say("READY=1")?;
    for signal in signals.forever() {
        if signal == SIGTERM {
            break;
        }
        note(&path, "hup", &directory)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One write for all lines: a reader sees all of a time or nothing.
fn note(path: &Path, what: &str, directory: &Path) -> Result<(), Failure> {
    let entries = std::fs::read_dir(directory);
    let entries = entries.map_err(at(format!("list {}", directory.display())))?;
    let mut lines = Vec::new();
    for entry in entries {
        let path = entry.map_err(at("list credentials"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let value = std::fs::read_to_string(&path);
        let value = value.map_err(at(format!("read {}", path.display())))?;
        lines.push(format!("{what} {name} {value}\n"));
    }
    lines.sort();
    let file = File::options().append(true).create(true).open(path);
    let mut file = file.map_err(at(format!("open {}", path.display())))?;
    file.write_all(lines.concat().as_bytes()).map_err(at("write"))
}
