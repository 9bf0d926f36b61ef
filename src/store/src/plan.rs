//! What a closure lacks here, and whether it may and can be fetched: asked before its first byte.
//!
//! The walk begins at the top. Each path that it meets is protected from the collector, then looked
//! up in the database: a valid one ends its branch, for all below it is valid too. Of the others
//! the narinfo is asked from the caches, as many at once as the options allow, each as soon as it
//! is known of; there is no order to keep, since nothing is registered before all is there.

use crate::error::{Error, Fault, Result, Step};
use crate::fetch::caches::{Caches, Patience, Refusal};
use crate::fetch::commit::blocking;
use crate::fetch::peers::Blame;
use crate::narinfo::{Compression, NARINFO_BYTES_MAX, NarInfo};
use crate::path::StorePath;
use crate::signature::SignatureError;
use crate::space;
use crate::store::Store;
use crate::temproots::TempGuard;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Paths of one closure at most. A whole NixOS with a desktop has some 3,000; each costs a
/// narinfo in memory and, at the end, a lock's descriptor.
pub const CLOSURE_PATHS_MAX: usize = 50_000;

/// A path to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What the cache says of it, with a trusted signature.
    pub narinfo: NarInfo,
    /// Which cache said so, as an index into [`Caches::addresses`]; none: a peer did.
    pub cache: Option<usize>,
}

/// What there is to do for one closure. As long as it lives, the collector spares all of it.
#[derive(Debug)]
pub struct Plan {
    /// The path that was asked for.
    pub top: StorePath,
    /// Paths of the closure.
    pub total: usize,
    /// Those to fetch, the largest first.
    pub missing: Arc<Vec<Missing>>,
    /// Bytes of their NARs.
    pub nar_bytes: u64,
    /// Bytes to download, as the caches say, unsigned: for screens only.
    pub download_bytes: u64,
    /// Bytes that are free where the store lies.
    pub free_bytes: u64,
    pub(crate) guard: TempGuard,
}

impl Plan {
    /// Whether all is there already.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty()
    }

    /// The caches that have what is missing, in order, and how many paths each. Peers may have it
    /// too.
    #[must_use]
    pub fn sources(&self, caches: &Caches) -> Vec<(String, usize)> {
        let is_of = |missing: &&Missing, index| missing.cache == Some(index);
        let count = |index| self.missing.iter().filter(|missing| is_of(missing, index)).count();
        let addresses = caches.addresses().iter().enumerate();
        addresses
            .map(|(index, address)| (address.clone(), count(index)))
            .filter(|(_, paths)| *paths > 0)
            .collect()
    }
}

/// Plans the fetch of `top` and all it refers to. What is valid here needs no cache. Dropping the
/// future ends the walk; nothing of it stays.
///
/// # Errors
/// A path is nowhere to be had, not signed by a trusted key, not readable here, or the disk has
/// no room for all of them.
pub async fn plan(store: &Store, caches: &Caches, top: &StorePath) -> Result<Plan> {
    let walk = Walk::new(store, caches).run(top).await?;
    check_cycles(&walk.missing)?;
    let folder = store.layout().store();
    let free = sys::files::free(&folder).map_err(Error::io(Step::Plan, &folder))?;
    let sizes = || walk.missing.iter().map(|missing| missing.narinfo.nar_size);
    space::check(space::need(sizes(), free.block_bytes), free, &folder)?;
    let present = store.database().count_closure(&walk.present)?;
    let mut missing = walk.missing;
    // The largest first: else the last one to begin would keep the others waiting.
    missing.sort_by(|a, b| {
        let key = |missing: &Missing| std::cmp::Reverse(missing.narinfo.nar_size);
        key(a).cmp(&key(b)).then_with(|| a.narinfo.path.cmp(&b.narinfo.path))
    });
    Ok(Plan {
        top: top.clone(),
        total: present + missing.len(),
        nar_bytes: missing.iter().map(|missing| missing.narinfo.nar_size).sum(),
        download_bytes: missing.iter().filter_map(|missing| missing.narinfo.file_size).sum(),
        free_bytes: free.bytes,
        missing: Arc::new(missing),
        guard: walk.guard,
    })
}

struct Walk<'plan> {
    store: &'plan Store,
    caches: &'plan Caches,
    guard: Arc<TempGuard>,
    seen: HashSet<StorePath>,
    /// Seen, and not yet looked up.
    fresh: Vec<StorePath>,
    /// To be asked of the caches.
    queue: Vec<StorePath>,
    running: JoinSet<Result<Missing>>,
    present: Vec<StorePath>,
    missing: Vec<Missing>,
}

/// What a walk found.
struct Walked {
    present: Vec<StorePath>,
    missing: Vec<Missing>,
    guard: TempGuard,
}

impl<'plan> Walk<'plan> {
    fn new(store: &'plan Store, caches: &'plan Caches) -> Self {
        Self {
            store,
            caches,
            guard: Arc::new(store.guard()),
            seen: HashSet::new(),
            fresh: Vec::new(),
            queue: Vec::new(),
            running: JoinSet::new(),
            present: Vec::new(),
            missing: Vec::new(),
        }
    }

    async fn run(mut self, top: &StorePath) -> Result<Walked> {
        self.see(top)?;
        loop {
            self.look_up().await?;
            while self.running.len() < self.caches.options().parallel_narinfos.max(1) {
                let Some(path) = self.queue.pop() else { break };
                self.running.spawn(ask(self.caches.clone(), path));
            }
            let Some(first) = self.running.join_next().await else { break };
            self.take(first)?;
            while let Some(next) = self.running.try_join_next() {
                self.take(next)?;
            }
        }
        // A guard of its own before this walk's ends, so that nothing is released in between.
        let guard = self.store.guard();
        Ok(Walked { present: self.present, missing: self.missing, guard })
    }

    fn see(&mut self, path: &StorePath) -> Result<()> {
        if self.seen.contains(path) {
            return Ok(());
        }
        if self.seen.len() == CLOSURE_PATHS_MAX {
            let fault = Fault::TooManyPaths { limit: CLOSURE_PATHS_MAX };
            return Err(Error::new(Step::Plan, path, fault));
        }
        self.seen.insert(path.clone());
        self.fresh.push(path.clone());
        Ok(())
    }

    /// Protects what is fresh, then asks whether it is valid: in the other order a collector could
    /// take it in between.
    async fn look_up(&mut self) -> Result<()> {
        if self.fresh.is_empty() {
            return Ok(());
        }
        let fresh = std::mem::take(&mut self.fresh);
        let (guard, store) = (Arc::clone(&self.guard), self.store.clone());
        let (present, absent) = blocking(move || {
            guard.add(&fresh)?;
            let database = store.database();
            let (mut present, mut absent) = (Vec::new(), Vec::new());
            for path in fresh {
                let place = if database.is_valid(&path)? { &mut present } else { &mut absent };
                place.push(path);
            }
            Ok((present, absent))
        })
        .await?;
        self.present.extend(present);
        self.queue.extend(absent);
        Ok(())
    }

    fn take(
        &mut self,
        joined: std::result::Result<Result<Missing>, tokio::task::JoinError>,
    ) -> Result<()> {
        let missing = match joined {
            Ok(asked) => asked?,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Err(Error::new(Step::Plan, "runtime", Fault::Cancelled)),
        };
        for reference in &missing.narinfo.references {
            self.see(reference)?;
        }
        self.missing.push(missing);
        Ok(())
    }
}

/// Asks the peers and then the caches for the narinfo of `path`.
async fn ask(caches: Caches, path: StorePath) -> Result<Missing> {
    let failed = |fault| Error::new(Step::Plan, &path, fault);
    if caches.keys().keys().is_empty() && !caches.addresses().is_empty() {
        return Err(failed(Fault::Nothing("key")));
    }
    if let Some(narinfo) = ask_peers(&caches, &path).await {
        return Ok(Missing { narinfo, cache: None });
    }
    if caches.addresses().is_empty() {
        return Err(failed(Fault::Nothing("cache")));
    }
    let (narinfo, cache) = ask_caches(&caches, &path).await.map_err(failed)?;
    Ok(Missing { narinfo, cache: Some(cache) })
}

/// What a peer says counts if a trusted key signed it; what it says wrong counts against it.
async fn ask_peers(caches: &Caches, path: &StorePath) -> Option<NarInfo> {
    let peers = caches.peers()?;
    for asked in peers.order(path) {
        let Some(bytes) = peers.narinfo(&asked, path).await else { continue };
        match read(&bytes, path, caches) {
            Ok(narinfo) => return Some(narinfo),
            // It may trust others than we do.
            Err(Fault::Unsigned | Fault::UntrustedKey { .. }) => {}
            Err(fault) => peers.blame(&asked, Blame::Lied, &fault.to_string()),
        }
    }
    None
}

/// Asks the caches, in order; the narinfo, and which of them has it.
pub(crate) async fn ask_caches(
    caches: &Caches,
    path: &StorePath,
) -> std::result::Result<(NarInfo, usize), Fault> {
    let mut patience = Patience::new(caches.options(), path.hash_part());
    loop {
        let mut refused = None;
        let mut unreachable = None;
        for (cache, address) in caches.addresses().iter().enumerate() {
            let url = format!("{address}/{}.narinfo", path.hash_part());
            match caches.get_small(&url, NARINFO_BYTES_MAX).await {
                Ok(bytes) => match read(&bytes, path, caches) {
                    Ok(narinfo) => return Ok((narinfo, cache)),
                    Err(fault) => refused = refused.or(Some(fault)),
                },
                Err(Refusal::Missing) => {}
                Err(Refusal::Status(status)) => {
                    refused = refused.or(Some(Fault::Status { status, url }));
                }
                Err(Refusal::Transient(last) | Refusal::Busy(last)) => {
                    unreachable = unreachable.or(Some(format!("{address}: {last}")));
                }
            }
        }
        // What a cache that is away might have counts more than what another one has wrong.
        match (unreachable, refused) {
            (Some(last), _) => patience.pause(last).await?,
            (None, Some(fault)) => return Err(fault),
            (None, None) => return Err(Fault::NotFound { caches: caches.addresses().len() }),
        }
    }
}

/// The narinfo, if it is one, signed by somebody trusted, of a NAR that can be read here.
fn read(bytes: &[u8], path: &StorePath, caches: &Caches) -> std::result::Result<NarInfo, Fault> {
    let narinfo = NarInfo::parse(bytes, path).map_err(Fault::NarInfo)?;
    narinfo.verify(caches.keys()).map_err(|error| match error {
        SignatureError::Unsigned => Fault::Unsigned,
        SignatureError::Untrusted(signers) => Fault::UntrustedKey { signers },
        SignatureError::Wrong(key) => Fault::FalseSignature { key },
    })?;
    match &narinfo.compression {
        Compression::None | Compression::Zstd | Compression::Xz => Ok(narinfo),
        other => Err(Fault::Compression(other.to_string())),
    }
}

/// Refuses paths that refer to each other in a circle: Nix makes none, and could not delete one.
fn check_cycles(missing: &[Missing]) -> Result<()> {
    let by_path: HashMap<&StorePath, &NarInfo> =
        missing.iter().map(|missing| (&missing.narinfo.path, &missing.narinfo)).collect();
    // Present: being visited (true), or done (false).
    let mut visited: HashMap<&StorePath, bool> = HashMap::new();
    for start in by_path.keys() {
        if visited.contains_key(start) {
            continue;
        }
        visited.insert(start, true);
        let mut open = vec![(*start, by_path[start].references.iter())];
        while let Some((path, references)) = open.last_mut() {
            let path = *path;
            let Some(next) = references.next() else {
                visited.insert(path, false);
                open.pop();
                continue;
            };
            let Some(narinfo) = by_path.get(next).filter(|_| next != path) else { continue };
            match visited.get(next) {
                Some(true) => {
                    return Err(Error::new(Step::Plan, path, Fault::Cycle(next.clone())));
                }
                Some(false) => {}
                None => {
                    visited.insert(next, true);
                    open.push((next, narinfo.references.iter()));
                }
            }
        }
    }
    Ok(())
}
