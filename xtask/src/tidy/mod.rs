//! `cargo xtask tidy`: the rules of the house that a compiler does not know.
//!
//! Each rule lives in a file of its own with a test that shows it biting on a bad sample:
//! * [`manifest`]: which room may depend on which, and whom it may hire from outside;
//! * [`closure`]: what PID 1 and stage 1 link, down to the last crate;
//! * [`source`]: where `unsafe` may be and what must stand above it, how long things may get,
//!   what a crate says about itself, and that nothing is left half done;
//! * [`tables`]: that tests which tables of docs/ name are there.

pub mod closure;
pub mod manifest;
pub mod source;
pub mod tables;

use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// What a finding breaks. The names are what `--json` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// A room depends on a room that the code map does not grant it.
    Edge,
    /// A room hires a crate that is not on its list.
    Hire,
    /// PID 1 or stage 1 links a crate that is not on the short list.
    Closure,
    /// `unsafe` outside `src/sys`.
    Unsafe,
    /// `unsafe` without its SAFETY line.
    Safety,
    /// A file longer than [`source::FILE_LINES_MAX`].
    FileLength,
    /// A function longer than [`source::FUNCTION_LINES_MAX`].
    FunctionLength,
    /// A line wider than [`source::COLUMNS_MAX`].
    Columns,
    /// A crate root without a crate doc.
    CrateDoc,
    /// A mark of work left undone.
    Leftover,
    /// A file that cannot be read as Rust.
    Syntax,
    /// A table of docs/ names a test that is not there.
    NamedTest,
}

/// One broken rule at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it breaks.
    pub rule: Rule,
    /// File, relative to the workspace root.
    pub file: String,
    /// Line from 1; 0 when it is about the file as a whole.
    pub line: usize,
    /// What is wrong, and what to do instead.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.file, self.message),
            line => write!(out, "{}:{}: {}", self.file, line, self.message),
        }
    }
}

/// All findings in the workspace at `root`, in the order of files.
///
/// # Errors
/// A file or the dependency tree cannot be read.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = manifest::check(root)?;
    findings.extend(closure::check(root)?);
    findings.extend(tables::check(root)?);
    for path in rust_files(root)? {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("tidy: read {}", path.display()))?;
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        findings.extend(source::check(&name, &text));
    }
    Ok(findings)
}

/// The command: prints the findings, fails when there are any.
///
/// # Errors
/// There are findings, or something cannot be read.
pub fn run(root: &Path, json: bool) -> Result<()> {
    let findings = check(root)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        for finding in &findings {
            println!("{finding}");
        }
    }
    anyhow::ensure!(findings.is_empty(), "tidy: {} findings", findings.len());
    Ok(())
}

/// Where Rust of ours lies, relative to the root.
const ROOTS: [&str; 5] = ["src", "initrd", "qemu-tests", "xtask", "fuzz"];

fn rust_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories: Vec<PathBuf> =
        ROOTS.iter().map(|name| root.join(name)).filter(|path| path.is_dir()).collect();
    while let Some(directory) = directories.pop() {
        let entries = std::fs::read_dir(&directory)
            .with_context(|| format!("tidy: list {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target") {
                    directories.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules hold for the workspace that carries them, so `cargo test` alone says it too.
    #[test]
    fn this_workspace_is_tidy() {
        let root = crate::workspace::root().expect("the workspace root");
        let findings = check(&root).expect("a readable workspace");
        let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(text.is_empty(), "{}", text.join("\n"));
    }
}
