//! `task`: what a release runs once and waits for: a migration, a smoke test.

use super::arguments::Arguments;
use super::signals::Termination;
use super::{Outcome, at};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What is said by `sh` for a process that SIGTERM ended.
const TERMINATED: u8 = 143;

/// `task TEXT`: says and notes it, takes its time, and ends as told.
pub(super) fn run(arguments: &mut Arguments) -> Outcome {
    let code: u8 = arguments.option("--code", 0)?;
    let after_ms = arguments.option("--after-ms", 0)?;
    let note: Option<PathBuf> = arguments.option_if_any("--note")?;
    let text: String = arguments.needed("TEXT")?;
    arguments.finish()?;
    let termination = Termination::watch()?;
    println!("{text}");
    if let Some(path) = note {
        let file = File::options().append(true).create(true).open(&path);
        let mut file = file.map_err(at(format!("open {}", path.display())))?;
        file.write_all(format!("{text}\n").as_bytes()).map_err(at("write"))?;
    }
    let asked_to_end = termination.wait_for(Duration::from_millis(after_ms))?;
    Ok(ExitCode::from(if asked_to_end { TERMINATED } else { code }))
}
