//! The fetch of a planned closure: NARs in parallel, each in one pass, then all at once made valid.
//!
//! Each NAR streams: download → decompress → hash → unpack, under the path's staging name. A
//! connection that dies is made anew and goes on at the byte it had got to. Nothing is valid before
//! everything is there; if one path is refused, all are removed again.
//!
//! What a killed fetch left under staging names is used by the next one that wants the same paths,
//! after its hash was found right, and removed by any other.

pub(crate) mod body;
pub mod caches;
pub(crate) mod commit;
mod frame;
mod job;
pub mod peers;
mod settle;
mod unpack;

pub use caches::{Caches, Options};
pub use job::{Cancel, Progress, Report};
pub use peers::Peers;

use crate::error::{Error, Fault, Result, Step};
use crate::path::StorePath;
use crate::plan::{Missing, Plan};
use crate::store::{Claim, STAGED_SUFFIX, Store};
use crate::temproots::TempGuard;
use commit::blocking;
use job::Job;
use std::collections::HashSet;
use std::fs;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) use unpack::dump_fault;

/// What a fetch brought. As long as it lives, the collector spares the closure: set a root first.
#[derive(Debug)]
pub struct Fetched {
    /// Paths that were fetched.
    pub paths: usize,
    /// Bytes that were downloaded for them.
    pub downloaded_bytes: u64,
    /// Of these, those that peers sent.
    pub peer_bytes: u64,
    /// Who sent how many of the paths: caches by address, peers by name.
    pub sources: Vec<(Source, usize)>,
    /// Of the paths, those that an interrupted fetch had already brought.
    pub resumed_paths: usize,
    /// How long it took.
    pub elapsed: std::time::Duration,
    _guard: TempGuard,
}

/// Who sent a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A peer, by its name.
    Peer(String),
    /// A cache, by its address.
    Cache(String),
}

/// Fetches what `plan` misses. When it returns, the whole closure is valid and on the disk.
///
/// `report` is called from any thread, some ten times a second. `cancel` ends the fetch; what it
/// had unpacked is removed before this returns. Dropping the future ends it too, but leaves that
/// to the next fetch.
///
/// # Errors
/// A path cannot be had, or is not what was signed; or the disk or the database fails. Then nothing
/// was registered, and nothing is left behind.
pub async fn fetch(
    store: &Store,
    caches: &Caches,
    plan: Plan,
    report: Report,
    cancel: &Cancel,
) -> Result<Fetched> {
    let began = Instant::now();
    let Plan { missing, guard, download_bytes, .. } = plan;
    if missing.is_empty() {
        let elapsed = began.elapsed();
        return Ok(Fetched {
            paths: 0,
            downloaded_bytes: 0,
            peer_bytes: 0,
            sources: Vec::new(),
            resumed_paths: 0,
            elapsed,
            _guard: guard,
        });
    }
    let paths = missing.iter().map(|missing| missing.narinfo.path.clone()).collect();
    let claim = tokio::select! {
        claim = store.claims().take(paths) => Arc::new(claim?),
        () = cancel.cancelled() => return Err(cancelled(&missing)),
    };
    if claim.first {
        sweep(store, &missing).await?;
    }
    let missing = own_first(caches, still_missing(store, missing).await?);
    let job = Job::new(store, caches, &missing, download_bytes, report, Arc::clone(&claim))?;
    let offered = store.offers().offer(&missing, job.downloaded_bytes());
    let mut done = run(&job, &missing, cancel).await;
    if done.is_ok() && !missing.is_empty() {
        done = commit::commit(store, &missing).await;
    }
    drop(offered);
    if let Err(error) = done {
        discard(store, &missing, claim).await;
        return Err(error);
    }
    Ok(Fetched {
        paths: missing.len(),
        downloaded_bytes: job.downloaded(),
        peer_bytes: job.peer_bytes(),
        sources: job.sources(),
        resumed_paths: job.resumed(),
        elapsed: began.elapsed(),
        _guard: guard,
    })
}

fn cancelled(missing: &[Missing]) -> Error {
    let object = missing.first().map(|missing| missing.narinfo.path.to_string());
    Error::new(Step::Fetch, object.unwrap_or_default(), Fault::Cancelled)
}

/// All NARs; the first failure ends the others. Returns when nothing of it runs any more.
async fn run(job: &Arc<Job>, missing: &Arc<Vec<Missing>>, cancel: &Cancel) -> Result<()> {
    let mut outcome = Ok(());
    let mut running = JoinSet::new();
    let mut next = 0;
    loop {
        while outcome.is_ok() && next < missing.len() && running.len() < job.parallel() {
            let (job, missing, index) = (Arc::clone(job), Arc::clone(missing), next);
            running.spawn(async move { job.fetch_one(&missing[index]).await });
            next += 1;
        }
        let joined = tokio::select! {
            joined = running.join_next() => joined,
            () = cancel.cancelled(), if outcome.is_ok() => {
                outcome = Err(cancelled(missing));
                job.stop();
                continue;
            }
        };
        let result = match joined {
            None => return outcome,
            Some(Ok(result)) => result,
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Some(Err(_)) => Err(cancelled(missing)),
        };
        if outcome.is_ok() && result.is_err() {
            outcome = result;
            job.stop();
        }
    }
}

/// Those that no other fetch made valid since the plan.
async fn still_missing(store: &Store, missing: Arc<Vec<Missing>>) -> Result<Arc<Vec<Missing>>> {
    let store = store.clone();
    blocking(move || {
        let database = store.database();
        let mut valid = HashSet::new();
        for one in missing.iter() {
            if database.is_valid(&one.narinfo.path)? {
                valid.insert(&one.narinfo.path);
            }
        }
        if valid.is_empty() {
            return Ok(Arc::clone(&missing));
        }
        let others = missing.iter().filter(|one| !valid.contains(&one.narinfo.path));
        Ok(Arc::new(others.cloned().collect()))
    })
    .await
}

/// What falls to this host, and so is waited for by others, comes first; else it might stand behind
/// what this one waits for. Within that the largest stay first.
fn own_first(caches: &Caches, missing: Arc<Vec<Missing>>) -> Arc<Vec<Missing>> {
    let Some(peers) = caches.peers() else { return missing };
    let mut sorted = Vec::clone(&missing);
    sorted.sort_by_cached_key(|missing| peers.rank(&missing.narinfo.path));
    Arc::new(sorted)
}

/// Removes what killed fetches left under staging names, but what this one can use.
async fn sweep(store: &Store, missing: &Arc<Vec<Missing>>) -> Result<()> {
    let (store, missing) = (store.clone(), Arc::clone(missing));
    blocking(move || {
        let wanted: HashSet<&str> =
            missing.iter().map(|missing| missing.narinfo.path.base_name()).collect();
        let folder = store.layout().store();
        let failed = || Error::io(Step::Fetch, &folder);
        for entry in fs::read_dir(&folder).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            let staged = name.to_str().and_then(|name| name.strip_suffix(STAGED_SUFFIX));
            // A path of Nix's may end so too; but then it is valid.
            let is_path = |base: &&str| StorePath::from_base_name(base.as_bytes()).is_ok();
            let Some(base) = staged.filter(is_path) else { continue };
            let whole = StorePath::from_base_name(name.as_encoded_bytes());
            let valid = whole.map_or(Ok(false), |path| store.is_valid(&path))?;
            if !valid && !wanted.contains(base) {
                commit::remove(&store, &name).map_err(failed())?;
            }
        }
        Ok(())
    })
    .await
}

/// Removes all that was staged, and only then gives up the claim.
async fn discard(store: &Store, missing: &Arc<Vec<Missing>>, claim: Arc<Claim>) {
    let (store, missing) = (store.clone(), Arc::clone(missing));
    let removed = blocking(move || {
        for missing in missing.iter() {
            let staged = store.layout().staged(&missing.narinfo.path);
            // What cannot be removed now, the next fetch or collection removes.
            let _ = commit::remove(&store, staged.file_name().unwrap_or_default());
        }
        drop(claim);
        Ok(())
    });
    let _ = removed.await;
}
