//! Where things are, and how commands are run: said on standard error before they start.

use anyhow::{Context, Result, bail};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The one target: static binaries need it named (`.cargo/config.toml`).
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The workspace's root folder.
///
/// # Errors
/// This binary was built elsewhere and the folder is gone.
pub fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.parent().context("xtask has no parent folder")?;
    anyhow::ensure!(root.join("Cargo.toml").is_file(), "no workspace at {}", root.display());
    Ok(root.to_owned())
}

/// Cargo's target folder, honouring `CARGO_TARGET_DIR`.
#[must_use]
pub fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |path| root.join(path))
}

/// `cargo` as the one that runs us, in the workspace.
#[must_use]
pub fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root);
    command
}

/// A step with a name: one line when it starts, its time when it ends.
///
/// # Errors
/// Those of the step.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut screen = std::io::stderr();
    let terminal = screen.is_terminal();
    let (bold, plain) = if terminal { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    writeln!(screen, "{bold}==> {name}{plain}")?;
    let start = Instant::now();
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    let verdict = if result.is_ok() { "done" } else { "FAILED" };
    writeln!(screen, "{bold}<== {name}: {verdict} in {seconds:.1} s{plain}")?;
    result
}

/// Runs a command with our standard streams.
///
/// # Errors
/// It cannot be started or fails; the text has the command line.
pub fn run(command: &mut Command) -> Result<()> {
    let line = command_line(command);
    eprintln!("  $ {line}");
    let status = command.status().with_context(|| format!("cannot run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Whether a program is in `PATH`.
#[must_use]
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .any(|folder| folder.join(name).is_file())
}

fn command_line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}
