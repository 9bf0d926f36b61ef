//! What a guest is booted from: files that `cargo xtask image` had Nix build.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// A guest's disk, kernel and words, as `nixos/build.sh` leaves them (docs/nix.md).
#[derive(Clone, Debug)]
pub struct Image {
    /// Where all of it is linked.
    pub folder: PathBuf,
    /// The kernel command line: `root=PARTUUID=… init=/nix/store/…` and more.
    pub command_line: String,
}

/// The workspace's root folder.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Cargo's target folder, honouring `CARGO_TARGET_DIR`.
#[must_use]
pub fn target() -> PathBuf {
    let root = workspace();
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |path| root.join(path))
}

impl Image {
    /// The image of a configuration of `qemu-tests/guests`, which must have been built.
    ///
    /// # Errors
    /// It was not; the text has the command.
    pub fn open(configuration: &str) -> Result<Self> {
        let folder = target().join("image").join(configuration);
        let command_line = std::fs::read_to_string(folder.join("command-line"))
            .with_context(|| format!("no image; write: cargo xtask image {configuration}"))?;
        Ok(Self { folder, command_line: command_line.trim().to_owned() })
    }

    /// The raw disk. Never written: guests get it with `snapshot=on`.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.folder.join("image")
    }

    /// The system, as the guest sees it: `/nix/store/…`.
    ///
    /// # Errors
    /// The image was not built.
    pub fn toplevel(&self) -> Result<String> {
        let file = self.folder.join("toplevel");
        let text = std::fs::read_to_string(&file);
        Ok(text.with_context(|| format!("read {}", file.display()))?.trim().to_owned())
    }

    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.folder.join("kernel")
    }

    /// The initramfs.
    #[must_use]
    pub fn initrd(&self) -> PathBuf {
        self.folder.join("initrd")
    }

    /// The service definitions, as they are in the guest.
    #[must_use]
    pub fn definitions(&self) -> PathBuf {
        self.folder.join("definitions")
    }
}
