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

/// Files of `qemu-tests/guests` that are parts of others.
const PARTS: [&str; 4] = ["agent", "cache", "releases", "systems"];

/// The configurations in `qemu-tests/guests` that are whole guests, by name.
///
/// # Errors
/// The folder cannot be read.
pub fn configurations(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root.join("qemu-tests/guests")).context("list the guests")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(name) = name.strip_suffix(".nix").filter(|name| !PARTS.contains(name)) {
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
    if is_fresh(root, &out, &OUTPUTS)? {
        return Ok(out);
    }
    step(&format!("image {configuration}"), || {
        let mut command = nix_build(root, &out);
        command.arg("--configuration");
        command.arg(root.join(format!("qemu-tests/guests/{configuration}.nix")));
        run(&mut command)?;
        remember(root, &out, &OUTPUTS)
    })?;
    Ok(out)
}

/// Builds the releases that tests swap, and a signed binary cache with them all, in `target/cache`.
///
/// # Errors
/// Nix fails: its words are on standard error.
pub fn build_releases(root: &Path) -> Result<()> {
    let out = target(root).join("cache");
    let outputs = ["result", "files/nix-cache-info"];
    if is_fresh(root, &out, &outputs)? {
        return Ok(());
    }
    step("releases and their binary cache", || {
        let mut command = nix_build(root, &out);
        command.arg("--paths").arg(root.join("qemu-tests/guests/releases.nix"));
        command.arg("--cache").arg(out.join("files"));
        command.arg("--secret-key").arg(out.join("key"));
        run(&mut command)?;
        remember(root, &out, &outputs)
    })
}

/// Deletes what no image and no release refers to any more: each build of the programs leaves the
/// images of the one before, 3 GB.
///
/// # Errors
/// Nix fails: its words are on standard error.
pub fn collect(root: &Path) -> Result<()> {
    let mut command = Command::new(root.join("nixos/build.sh"));
    run(command.arg("--collect").arg("--target").arg(target(root)))
}

/// Makes the tests' key, if there is none, and puts its public half where guests find it.
///
/// # Errors
/// Nix is missing, or a file cannot be written.
pub fn make_key(root: &Path) -> Result<()> {
    let folder = target(root).join("cache");
    let (secret, public) = (folder.join("key"), folder.join("key.public"));
    if !public.exists() {
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let mut command = Command::new("nix-store");
        command.args(["--generate-binary-cache-key", "rollinit-test-1"]);
        run(command.arg(&secret).arg(&public))?;
    }
    let key = std::fs::read_to_string(&public).context("read the cache's public key")?;
    let file = build::out(root).join("test-apps/cache-key");
    if std::fs::read_to_string(&file).ok().as_deref() != Some(key.trim()) {
        std::fs::write(&file, key.trim()).context("write the cache's public key")?;
    }
    Ok(())
}

fn nix_build(root: &Path, out: &Path) -> Command {
    let mut command = Command::new(root.join("nixos/build.sh"));
    command.arg("--out").arg(out).arg("--target").arg(target(root));
    command.arg("--rollinit").arg(build::out(root));
    command.arg("--test-apps").arg(build::out(root).join("test-apps"));
    command
}

/// Whether `out` was made of what is there now.
fn is_fresh(root: &Path, out: &Path, outputs: &[&str]) -> Result<bool> {
    let digest = digest(root)?;
    let fresh = std::fs::read_to_string(out.join("inputs")).is_ok_and(|kept| kept == digest);
    Ok(fresh && outputs.iter().all(|name| out.join(name).exists()))
}

fn remember(root: &Path, out: &Path, outputs: &[&str]) -> Result<()> {
    for name in outputs {
        ensure!(out.join(name).exists(), "nixos/build.sh left no {name}");
    }
    std::fs::write(out.join("inputs"), digest(root)?).context("write the digest of the inputs")
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
