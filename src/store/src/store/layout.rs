//! Where a store lies under its root directory.

use crate::path::StorePath;
use std::path::{Path, PathBuf};

/// The folders of a store. Paths are always called `/nix/store/…`; they lie under `root`, which is
/// `/` on a host and another folder for a store that is being made or tested (Nix calls it
/// `local?root=ROOT`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The store under `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the paths lie.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.root.join("nix/store")
    }

    /// Where Nix keeps its state.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("nix/var/nix")
    }

    /// Where the database lies.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.state().join("db")
    }

    /// Where processes say what the collector must not take.
    #[must_use]
    pub fn temproots(&self) -> PathBuf {
        self.state().join("temproots")
    }

    /// Where roots lie.
    #[must_use]
    pub fn gcroots(&self) -> PathBuf {
        self.state().join("gcroots")
    }

    /// Where our own roots lie.
    #[must_use]
    pub fn own_roots(&self) -> PathBuf {
        self.gcroots().join("rollinit")
    }

    /// Where the profiles of apps lie.
    #[must_use]
    pub fn profiles(&self) -> PathBuf {
        self.state().join("profiles/rollinit")
    }

    /// Where `path` lies, or will.
    #[must_use]
    pub fn real(&self, path: &StorePath) -> PathBuf {
        self.store().join(path.base_name())
    }

    /// Where `path` lies until it is whole. It has the path's own hash, so whoever protects the
    /// path from the collector protects this too.
    #[must_use]
    pub fn staged(&self, path: &StorePath) -> PathBuf {
        self.store().join(format!("{}{STAGED_SUFFIX}", path.base_name()))
    }

    /// The file whose lock says who may make or remove `path`.
    #[must_use]
    pub fn lock(&self, path: &StorePath) -> PathBuf {
        self.store().join(format!("{}.lock", path.base_name()))
    }
}

/// What ends the name of a path that is not whole yet.
pub const STAGED_SUFFIX: &str = ".part";
