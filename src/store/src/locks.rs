//! The locks that Nix's programs and we take of each other: flock(2) on files that Nix names.
//!
//! * `db/big-lock`, shared, as long as the store is open: a Nix that wants to change the schema
//!   waits.
//! * `gc.lock`, shared, while temporary roots are written; the collector holds it exclusively.
//! * `PATH.lock`, exclusively, by whoever makes or removes PATH. Whoever is done unlinks it and
//!   then writes a byte into what it unlinked; so whoever locks a file that is not empty has locked
//!   a file without a name, and must open the name anew.

use crate::error::{Error, Fault, Result, Step};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// How long a path's lock is waited for. A Nix that builds or fetches the same path holds it for
/// as long as that takes; a minute tells a moment from a fetch that had better be tried again.
pub const PATH_LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a lock that another process holds is tried again: flock(2) cannot be awaited.
pub(crate) const LOCK_PERIOD: Duration = Duration::from_millis(20);

/// Opens a lock file as Nix does, making it if need be.
///
/// # Errors
/// Those of open(2).
pub fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// The store's shared lock.
#[derive(Debug)]
pub struct BigLock {
    _file: File,
}

impl BigLock {
    /// Takes it.
    ///
    /// # Errors
    /// A Nix that changes the schema holds it; or the file cannot be opened.
    pub fn take(database: &Path) -> Result<Self> {
        let path = database.join("big-lock");
        let file = open_lock(&path).map_err(Error::io(Step::Open, &path))?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                Err(Error::new(Step::Open, path.display(), Fault::Locked { waited_ms: 0 }))
            }
            Err(TryLockError::Error(error)) => Err(Error::io(Step::Open, &path)(error)),
        }
    }
}

/// The lock of one path; unlinked when dropped.
#[derive(Debug)]
pub struct PathLock {
    path: PathBuf,
    file: File,
}

impl PathLock {
    /// Takes the lock file at `path`, waiting for another process up to [`PATH_LOCK_TIMEOUT`].
    ///
    /// # Errors
    /// It is held for longer, or cannot be opened.
    pub async fn take(path: PathBuf) -> Result<Self> {
        let began = Instant::now();
        loop {
            if let Some(lock) = Self::try_take(&path).map_err(Error::io(Step::Register, &path))? {
                return Ok(lock);
            }
            let waited = began.elapsed();
            if waited >= PATH_LOCK_TIMEOUT {
                let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
                let fault = Fault::Locked { waited_ms };
                return Err(Error::new(Step::Register, path.display(), fault));
            }
            tokio::time::sleep(LOCK_PERIOD).await;
        }
    }

    /// Takes it, or says at once that another has it.
    fn try_take(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let file = open_lock(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            if file.metadata()?.len() == 0 {
                return Ok(Some(Self { path: path.to_path_buf(), file }));
            }
        }
    }
}

impl Drop for PathLock {
    fn drop(&mut self) {
        // Both are courtesies: a lock file that stays behind is one that nobody holds.
        if std::fs::remove_file(&self.path).is_ok() {
            let _ = self.file.write_all(b"d");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_lock_leaves_no_file_and_marks_what_it_unlinked() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.lock");
        let lock = PathLock::take(path.clone()).await.expect("free");
        let waiter = File::open(&path).expect("another has it open");
        assert!(PathLock::try_take(&path).expect("open").is_none(), "it is held");
        drop(lock);
        assert!(!path.exists());
        assert_eq!(waiter.metadata().expect("stat").len(), 1, "the waiter sees that it is stale");
        assert!(PathLock::try_take(&path).expect("open").is_some(), "a new one is free");
    }

    #[test]
    fn the_big_lock_is_shared_and_refuses_beside_an_exclusive_holder() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = BigLock::take(folder.path()).expect("free");
        let second = BigLock::take(folder.path()).expect("shared");
        drop((first, second));
        let upgrading = open_lock(&folder.path().join("big-lock")).expect("open");
        upgrading.lock().expect("exclusive");
        let error = BigLock::take(folder.path()).expect_err("held");
        assert!(matches!(error.fault, Fault::Locked { .. }), "{error}");
    }
}
