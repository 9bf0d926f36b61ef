//! A guest's disk as a file of this machine, and its store as Debian's Nix sees it.
//!
//! Nothing is mounted but, in a mount namespace of its own, the copied store on `/nix`.

use super::image;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where the root partition begins, in MiB (`nixos/lib/image.nix`).
const PARTITION: &str = "skip=1";

/// Makes a disk that a guest may write to; `Boot::drive` takes it.
///
/// # Errors
/// There is no room.
pub fn copy(name: &str, from: &Path) -> Result<PathBuf> {
    let folder = image::target().join("qemu").join(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let disk = folder.join("disk.img");
    let mut command = Command::new("cp");
    command.args(["--sparse=always", "--no-preserve=mode"]).arg(from).arg(&disk);
    run(&mut command)?;
    Ok(disk)
}

/// The store of a disk, copied out.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Copies `/nix` out of `disk`, which no guest uses any more. The journal is replayed first:
    /// what reads the file system here does not look at it.
    ///
    /// # Errors
    /// There is no such file system, or no room.
    pub fn extract(disk: &Path) -> Result<Self> {
        let folder = disk.with_extension("store");
        if folder.exists() {
            // Directories of a store may not be written to, so not by `remove_dir_all`.
            run(Command::new("chmod").args(["-R", "u+w"]).arg(&folder))?;
            std::fs::remove_dir_all(&folder).context("remove the last store")?;
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        // A file of its own: e2fsck forgets an offset when it opens a file system again, which it
        // does after a replay.
        let partition = disk.with_extension("partition");
        run(Command::new("dd")
            .args(["status=none", "bs=1M", "conv=sparse", PARTITION])
            .arg(format!("if={}", disk.display()))
            .arg(format!("of={}", partition.display())))?;
        let partition = partition.display().to_string();
        let replay = program("e2fsck").args(["-E", "journal_only", "-p", &partition]).output()?;
        // 1: something was mended; the journal was.
        ensure!(matches!(replay.status.code(), Some(0 | 1)), "e2fsck: {replay:?}");
        let dump = format!("rdump /nix \"{}\"", folder.display());
        run(program("debugfs").args(["-R", &dump, &partition]))?;
        let configuration = folder.join("configuration");
        std::fs::create_dir_all(&configuration).context("make a folder")?;
        let text = "experimental-features = nix-command\nsubstituters =\nbuild-users-group =\n";
        std::fs::write(configuration.join("nix.conf"), text).context("write nix.conf")?;
        Ok(Self { folder })
    }

    /// Runs a program of Debian's nix-bin with this store as `/nix`; what it printed.
    ///
    /// # Errors
    /// It fails; the text has its words.
    pub fn nix(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("unshare");
        let rights = if is_root() { "-m" } else { "-rm" };
        command.args([rights, "--propagation", "private", "sh", "-c"]);
        command.arg("mount --bind \"$0\" /nix && exec \"$@\"").arg(self.folder.join("nix"));
        command.args(words).stdin(Stdio::null());
        command.env("NIX_REMOTE", "local").env("NIX_CONF_DIR", self.folder.join("configuration"));
        command.env("XDG_CACHE_HOME", self.folder.join("cache"));
        run(&mut command)
    }

    /// Has Nix compare the whole store with its database.
    ///
    /// # Errors
    /// They do not agree.
    pub fn verify(&self) -> Result<()> {
        self.nix(&["nix-store", "--verify", "--check-contents"]).map(drop)
    }

    /// Whether a store path is registered.
    #[must_use]
    pub fn is_valid(&self, path: &str) -> bool {
        self.nix(&["nix-store", "--check-validity", path]).is_ok()
    }

    /// Where a link below `/nix/var/nix` leads to, after as many links as there are.
    ///
    /// # Errors
    /// There is none.
    pub fn link(&self, name: &str) -> Result<String> {
        let link = format!("/nix/var/nix/{name}");
        self.nix(&["readlink", "-f", &link]).map(|text| text.trim().to_owned())
    }

    /// How many paths are in the store.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn count(&self) -> Result<usize> {
        let paths = self.nix(&["nix", "path-info", "--all"])?;
        Ok(paths.lines().count())
    }
}

/// A program of e2fsprogs, which is not in everybody's PATH.
fn program(name: &str) -> Command {
    let place = ["/usr/sbin", "/sbin"].map(|folder| Path::new(folder).join(name));
    let found = place.into_iter().find(|path| path.exists());
    Command::new(found.unwrap_or_else(|| PathBuf::from(name)))
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

fn run(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("run {command:?}"))?;
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    ensure!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    Ok(stdout.into_owned())
}
