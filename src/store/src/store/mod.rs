//! A store: its folders, its database, its locks.

mod claims;
mod layout;

pub(crate) use claims::{Claim, Claims};
pub use layout::{Layout, STAGED_SUFFIX};

use crate::database::{Database, PathInfo};
use crate::error::{Error, Fault, Result, Step};
use crate::locks::BigLock;
use crate::offers::Offers;
use crate::path::StorePath;
use crate::roots;
use crate::temproots::{TempGuard, TempRoots};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An open store. A clone is another handle of the same.
///
/// A process opens a store once: the temporary roots of a process are one file.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    layout: Layout,
    database: Mutex<Database>,
    temproots: Arc<TempRoots>,
    claims: Arc<Claims>,
    offers: Arc<Offers>,
    _big_lock: BigLock,
}

impl Store {
    /// Opens the store under `root`: `/` on a host.
    ///
    /// # Errors
    /// There is no database, it is not of schema 10, or a Nix is changing it.
    pub fn open(root: &Path) -> Result<Self> {
        let layout = Layout::new(root);
        let folder = layout.database();
        if !folder.join("schema").exists() {
            return Err(Error::new(Step::Open, folder.display(), Fault::NoDatabase));
        }
        let big_lock = BigLock::take(&folder)?;
        let database = Database::open(&folder)?;
        Ok(Self::assemble(layout, database, big_lock))
    }

    /// Makes an empty store under `root`, whose `nix/store` may already hold paths.
    ///
    /// # Errors
    /// It has a database, or is not writable.
    pub fn create(root: &Path) -> Result<Self> {
        let layout = Layout::new(root);
        for folder in [layout.store(), layout.database(), layout.temproots(), layout.profiles()] {
            fs::create_dir_all(&folder).map_err(Error::io(Step::Open, &folder))?;
        }
        roots::prepare(&layout)?;
        let big_lock = BigLock::take(&layout.database())?;
        let database = Database::create(&layout.database())?;
        Ok(Self::assemble(layout, database, big_lock))
    }

    fn assemble(layout: Layout, database: Database, big_lock: BigLock) -> Self {
        let temproots = TempRoots::new(layout.state());
        let claims = Claims::new(layout.state().join("rollinit-fetch.lock"));
        let database = Mutex::new(database);
        let offers = Arc::default();
        Self(Arc::new(Inner { layout, database, temproots, claims, offers, _big_lock: big_lock }))
    }

    /// Where it lies.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// Where `path` lies under the root, or will.
    #[must_use]
    pub fn real_path(&self, path: &StorePath) -> PathBuf {
        self.0.layout.real(path)
    }

    /// Whether `path` is registered, and so are then all it refers to.
    ///
    /// # Errors
    /// The database fails.
    pub fn is_valid(&self, path: &StorePath) -> Result<bool> {
        self.database().is_valid(path)
    }

    /// What is registered of `path`.
    ///
    /// # Errors
    /// The database fails.
    pub fn info(&self, path: &StorePath) -> Result<Option<PathInfo>> {
        self.database().info(path)
    }

    /// `path` and all it refers to, over others too; empty if it is not valid.
    ///
    /// # Errors
    /// The database fails.
    pub fn closure(&self, path: &StorePath) -> Result<Vec<StorePath>> {
        self.database().closure(path)
    }

    /// Makes `path`, which is valid, and its closure stay until [`Self::remove_root`]. A root
    /// of that name that points elsewhere is replaced; durable when it returns.
    ///
    /// # Errors
    /// `path` is not valid, `name` no name, or the folder cannot be written.
    pub fn add_root(&self, name: &str, path: &StorePath) -> Result<()> {
        // A collector that runs has read the roots before this one.
        let guard = self.guard();
        guard.add(std::slice::from_ref(path))?;
        if !self.is_valid(path)? {
            return Err(Error::new(Step::Root, path, Fault::NotValid));
        }
        roots::prepare(self.layout())?;
        roots::set(self.layout(), name, path)
    }

    /// Removes a root; one that is not there is fine.
    ///
    /// # Errors
    /// `name` is no name, or the folder cannot be written.
    pub fn remove_root(&self, name: &str) -> Result<()> {
        // An occasion to let go of temporary roots that a running collector made us keep.
        drop(self.guard());
        roots::remove(self.layout(), name)
    }

    /// Our roots, by name.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn roots(&self) -> Result<Vec<(String, StorePath)>> {
        roots::list(self.layout())
    }

    /// A guard under which paths can be protected from the collector.
    #[must_use]
    pub fn guard(&self) -> TempGuard {
        self.0.temproots.guard()
    }

    pub(crate) fn offers(&self) -> &Arc<Offers> {
        &self.0.offers
    }

    pub(crate) fn claims(&self) -> &Arc<Claims> {
        &self.0.claims
    }

    pub(crate) fn database(&self) -> MutexGuard<'_, Database> {
        self.0.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
