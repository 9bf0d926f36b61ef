//! What PID 1 and stage 1 link, as cargo resolves it for the package alone.

use super::{Finding, Rule};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// The packages whose whole closure is on a short list, and where each lives.
const WATCHED: [(&str, &str); 2] = [("init", "src/init"), ("initrd", "initrd")];

/// Every crate that may be linked into PID 1 or stage 1: our rooms, wrappers of system calls, and
/// the port's codec. No parser of text, no async runtime, nothing that could become one unseen.
pub const LINKED: [&str; 15] = [
    "init",
    "initrd",
    "sys",
    "port",
    // System calls.
    "rustix",
    "linux-raw-sys",
    "bitflags",
    "nix",
    "libc",
    // cfg_if! of `nix`: a macro, no code.
    "cfg-if",
    // The codec of the port's frames.
    "postcard",
    "cobs",
    "serde",
    "serde_core",
    // The error type of `cobs`.
    "thiserror",
];

/// What stage 1 alone may link beside that: the reader and writer of partition tables. It runs
/// once, before anything can be lost by its end.
pub const LINKED_BY_STAGE1: [&str; 5] = ["disk", "gptman", "crc", "crc-catalog", "wincode"];

/// Checks what the watched packages link.
///
/// # Errors
/// `cargo tree` fails.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (package, folder) in WATCHED {
        let output = Command::new(env!("CARGO"))
            .current_dir(root)
            .args(["tree", "--locked", "--prefix", "none", "--format", "{p}"])
            .args(["--edges", "normal,no-proc-macro", "--package", package])
            .output()
            .context("tidy: run cargo tree")?;
        anyhow::ensure!(
            output.status.success(),
            "tidy: cargo tree --package {package}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let tree = String::from_utf8_lossy(&output.stdout);
        findings.extend(check_tree(package, &format!("{folder}/Cargo.toml"), &tree));
    }
    Ok(findings)
}

/// Checks the lines of `cargo tree --prefix none --format {p}`: `name version (source)`.
#[must_use]
pub fn check_tree(package: &str, file: &str, tree: &str) -> Vec<Finding> {
    let mut names: Vec<&str> =
        tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter(|name| !LINKED.contains(name))
        .filter(|name| package != "initrd" || !LINKED_BY_STAGE1.contains(name))
        .map(|name| Finding {
            rule: Rule::Closure,
            file: file.to_owned(),
            line: 0,
            message: format!(
                "`{package}` links `{name}`, which is not on PID 1's short list \
                 (xtask/src/tidy/closure.rs); system calls, `port` and its codec only"
            ),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_that_comes_along_with_another_is_found() {
        let tree = "init v0.1.0 (/w/src/init)\nport v0.1.0\nserde v1.0.229\ntokio v1.50.0\n\
                    memchr v2.8.0\ntokio v1.50.0 (*)\n";
        let found = check_tree("init", "src/init/Cargo.toml", tree);
        let rules: Vec<Rule> = found.iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, [Rule::Closure, Rule::Closure], "{found:?}");
        assert!(found[0].message.contains("memchr") && found[1].message.contains("tokio"));
    }

    /// What stage 1 needs for the disk's growth is still nothing for PID 1.
    #[test]
    fn partition_tables_are_stage_1s_business() {
        let tree = "gptman v3.1.1\ndisk v0.1.0\n";
        assert!(check_tree("initrd", "f", tree).is_empty());
        assert_eq!(check_tree("init", "f", tree).len(), 2);
    }

    #[test]
    fn the_short_list_itself_passes() {
        let tree: String = LINKED.iter().map(|name| format!("{name} v1.0.0\n")).collect();
        assert!(check_tree("init", "f", &tree).is_empty());
    }
}
