//! Who fetches what, so that each path is fetched at most once however many want it.
//!
//! Within this process a fetch claims all its missing paths at once, or waits until no other has
//! any of them: nobody holds some and waits for others, so two never wait for each other. Among
//! processes of ours one at a time stages paths, which a lock file says.

use crate::error::{Error, Fault, Result, Step};
use crate::locks::{LOCK_PERIOD, PATH_LOCK_TIMEOUT, open_lock};
use crate::path::StorePath;
use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The claims in one store.
#[derive(Debug)]
pub(crate) struct Claims {
    lock_file: PathBuf,
    held: Mutex<Held>,
    released: Notify,
}

#[derive(Debug, Default)]
struct Held {
    paths: HashSet<StorePath>,
    staging: Weak<File>,
}

/// Paths that one fetch alone stages and registers; given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    claims: Arc<Claims>,
    paths: Vec<StorePath>,
    /// Whether no other fetch of this process had staged anything when this one began.
    pub(crate) first: bool,
    _staging: Arc<File>,
}

/// What came of one look.
enum Tried {
    Taken(Claim),
    /// Another fetch of this process has some of them.
    Overlaps,
    /// Another process stages.
    Elsewhere,
}

impl Claims {
    pub(crate) fn new(lock_file: PathBuf) -> Arc<Self> {
        Arc::new(Self { lock_file, held: Mutex::default(), released: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims `paths`, waiting for other fetches of this process as long as they take, and for
    /// another process up to [`PATH_LOCK_TIMEOUT`].
    pub(crate) async fn take(self: &Arc<Self>, paths: Vec<StorePath>) -> Result<Claim> {
        let mut elsewhere_since = None;
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            // Registered before the look, so that a release in between is not missed.
            released.as_mut().enable();
            match self.try_take(&paths)? {
                Tried::Taken(claim) => return Ok(claim),
                Tried::Overlaps => released.await,
                Tried::Elsewhere => {
                    let waited = elsewhere_since.get_or_insert_with(Instant::now).elapsed();
                    if waited >= PATH_LOCK_TIMEOUT {
                        let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
                        let fault = Fault::Locked { waited_ms };
                        return Err(Error::new(Step::Fetch, self.lock_file.display(), fault));
                    }
                    tokio::time::sleep(LOCK_PERIOD).await;
                }
            }
        }
    }

    fn try_take(self: &Arc<Self>, paths: &[StorePath]) -> Result<Tried> {
        let mut held = self.lock();
        if paths.iter().any(|path| held.paths.contains(path)) {
            return Ok(Tried::Overlaps);
        }
        let (staging, first) = match held.staging.upgrade() {
            Some(staging) => (staging, false),
            None => match self.staging()? {
                Some(staging) => (Arc::new(staging), true),
                None => return Ok(Tried::Elsewhere),
            },
        };
        held.staging = Arc::downgrade(&staging);
        held.paths.extend(paths.iter().cloned());
        let claims = Arc::clone(self);
        Ok(Tried::Taken(Claim { claims, paths: paths.to_vec(), first, _staging: staging }))
    }

    /// The lock of this process among those of ours, unless another one has it.
    fn staging(&self) -> Result<Option<File>> {
        let path = &self.lock_file;
        let file = open_lock(path).map_err(Error::io(Step::Fetch, path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Error::io(Step::Fetch, path)(error)),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut held = self.claims.lock();
        for path in &self.paths {
            held.paths.remove(path);
        }
        drop(held);
        self.claims.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(letter: char) -> StorePath {
        let hash = letter.to_string().repeat(32);
        format!("/nix/store/{hash}-x").parse().expect("a store path")
    }

    #[tokio::test]
    async fn overlapping_claims_follow_each_other_and_others_go_side_by_side() {
        let folder = tempfile::tempdir().expect("a folder");
        let claims = Claims::new(folder.path().join("lock"));
        let first = claims.take(vec![path('a'), path('b')]).await.expect("free");
        let beside = claims.take(vec![path('c')]).await.expect("free");
        assert!(first.first && !beside.first);
        let waiting = tokio::spawn({
            let claims = Arc::clone(&claims);
            async move { claims.take(vec![path('b'), path('c')]).await.map(|claim| claim.first) }
        });
        tokio::task::yield_now().await;
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "`c` is still claimed");
        drop(beside);
        waiting.await.expect("no panic").expect("claimed");
    }

    #[tokio::test(start_paused = true)]
    async fn another_process_that_stages_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let (ours, theirs) = (folder.path().join("lock"), folder.path().join("lock"));
        let claim = Claims::new(ours).take(vec![path('a')]).await.expect("free");
        let other = Claims::new(theirs);
        let error = other.take(vec![path('b')]).await.expect_err("held");
        assert!(matches!(error.fault, Fault::Locked { .. }), "{error}");
        drop(claim);
        other.take(vec![path('b')]).await.expect("free again");
    }
}
