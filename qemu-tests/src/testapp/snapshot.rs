//! `status-file`: what a process was born with, written down for a test to look at.

use super::arguments::Arguments;
use super::signals::Termination;
use super::{Outcome, at, notify};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Files of `/proc/self` that are copied, each below a line `== NAME`.
const FILES: [&str; 4] = ["status", "limits", "cgroup", "oom_score_adj"];

pub(super) fn run(arguments: &mut Arguments) -> Outcome {
    let path: PathBuf = arguments.needed("PATH")?;
    arguments.finish()?;
    let text = collect()?;
    let termination = Termination::watch()?;
    // Whoever waits for the file must never see half of it.
    let part = path.with_extension("part");
    std::fs::write(&part, text).map_err(at(format!("write {}", part.display())))?;
    std::fs::rename(&part, &path).map_err(at(format!("name {}", path.display())))?;
    notify::say("READY=1")?;
    termination.wait()?;
    Ok(ExitCode::SUCCESS)
}

fn collect() -> Result<String, super::Failure> {
    let mut text = String::new();
    for name in FILES {
        let content = std::fs::read_to_string(format!("/proc/self/{name}"));
        let content = content.map_err(at(format!("read /proc/self/{name}")))?;
        let _ = write!(text, "== {name}\n{content}");
    }
    let directory = std::env::current_dir().map_err(at("the working directory"))?;
    let _ = writeln!(text, "== directory\n{}\n== environment", directory.display());
    for (name, value) in std::env::vars_os() {
        let _ = writeln!(text, "{}={}", name.display(), value.display());
    }
    let _ = writeln!(text, "== descriptors");
    let descriptors = std::fs::read_dir("/proc/self/fd").map_err(at("read /proc/self/fd"))?;
    for descriptor in descriptors.flatten() {
        // The one that this very listing is read through is gone when it is looked at afterwards,
        // but not yet.
        let Ok(target) = std::fs::read_link(descriptor.path()) else { continue };
        if target.starts_with("/proc") {
            continue;
        }
        let _ = writeln!(text, "{} {}", descriptor.file_name().display(), target.display());
    }
    Ok(text)
}
