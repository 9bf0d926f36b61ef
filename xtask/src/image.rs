//! `cargo xtask image`: guests, built by Nix from `qemu-tests/guests`.
//!
//! What is cached is Nix's own doing: a store path is named by all that goes into it. Beside it we
//! keep a digest of our inputs, so that a call with nothing changed does not even start Nix.

use crate::build;
use crate::workspace::{run, step, target};
use anyhow::{Context, Result, ensure};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What must be there when Nix is done, for the digest to be believed.
const OUTPUTS: [&str; 5] = ["image", "kernel", "initrd", "definitions", "command-line"];

/// The configurations in `qemu-tests/guests` that are whole guests, by name.
///
/// # Errors
/// The folder cannot be read.
pub fn configurations(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root.join("qemu-tests/guests")).context("list the guests")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // agent.nix is a part of the others.
        if let Some(name) = name.strip_suffix(".nix").filter(|name| *name != "agent") {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Builds one guest's image from the programs in `target/out`; returns its folder.
///
/// # Errors
/// There is no such configuration, or Nix fails: its words are on standard error.
pub fn build(root: &Path, configuration: &str) -> Result<PathBuf> {
    let names = configurations(root)?;
    let known = names.iter().any(|name| name == configuration);
    ensure!(known, "no guest `{configuration}`; there are: {}", names.join(", "));
    let out = target(root).join("image").join(configuration);
    let digest_file = out.join("inputs");
    let digest = digest(root)?;
    let fresh = std::fs::read_to_string(&digest_file).is_ok_and(|kept| kept == digest);
    if fresh && OUTPUTS.iter().all(|name| out.join(name).exists()) {
        return Ok(out);
    }
    step(&format!("image {configuration}"), || {
        let mut command = Command::new(root.join("nixos/build.sh"));
        command.arg("--out").arg(&out).arg("--target").arg(target(root));
        command.arg("--configuration");
        command.arg(root.join(format!("qemu-tests/guests/{configuration}.nix")));
        command.arg("--rollinit").arg(build::out(root));
        command.arg("--test-apps").arg(build::out(root).join("test-apps"));
        run(&mut command)?;
        for name in OUTPUTS {
            ensure!(out.join(name).exists(), "nixos/build.sh left no {name}");
        }
        std::fs::write(&digest_file, &digest).context("write the digest of the inputs")
    })?;
    Ok(out)
}

/// A digest of the contents of everything an image is made of. Only ever compared with one that the
/// same program wrote; a false match would need two different trees with the same 64 bits.
fn digest(root: &Path) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    let mut folders = vec![build::out(root), root.join("nixos"), root.join("qemu-tests/guests")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    for path in files {
        let content = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        path.hash(&mut hasher);
        content.hash(&mut hasher);
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}
