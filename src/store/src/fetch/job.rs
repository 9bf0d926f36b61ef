//! One fetch under way: its caches, its memory, its counts; and one path of it.

use crate::error::{Error, Fault, Result, Step};
use crate::fetch::Source;
use crate::fetch::body::{Body, PIECES_MAX, Part, Stream, send};
use crate::fetch::caches::Caches;
use crate::fetch::commit::blocking;
use crate::fetch::frame;
use crate::fetch::peers::{Asked, Blame, Peers};
use crate::fetch::unpack::{self, Packing, UNPACKER_BYTES, UNPACKER_BYTES_MIN};
use crate::nar::Expected;
use crate::narinfo::{Compression, NarInfo};
use crate::offers::Stage;
use crate::plan::{self, Missing};
use crate::store::{Claim, Store};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How often progress is told between two finished paths, in milliseconds: a screen's pace.
const REPORT_PERIOD_MS: u64 = 100;

/// The unit in which memory is admitted.
const KIB: u64 = 1 << 10;

/// How far a fetch is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Paths unpacked and found right.
    pub paths_done: usize,
    /// Paths to fetch.
    pub paths_total: usize,
    /// Bytes downloaded.
    pub downloaded_bytes: u64,
    /// Bytes to download, as the caches say, unsigned.
    pub download_bytes: u64,
    /// Why nothing comes, if a cache is being waited for.
    pub waiting: Option<String>,
}

/// Who is told about progress.
pub type Report = Arc<dyn Fn(Progress) + Send + Sync>;

/// The means to end a fetch. A clone ends the same one.
#[derive(Clone, Debug)]
pub struct Cancel(Arc<watch::Sender<bool>>);

impl Default for Cancel {
    fn default() -> Self {
        Self::new()
    }
}

impl Cancel {
    /// Nothing is cancelled yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Cancels.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// Waits until somebody cancels.
    pub async fn cancelled(&self) {
        // The sender lives as long as `self`, so this ends only with `true`.
        let _ = self.0.subscribe().wait_for(|cancelled| *cancelled).await;
    }
}

/// One fetch under way.
pub(crate) struct Job {
    store: Store,
    caches: Caches,
    folder: Arc<OwnedFd>,
    /// What open unpackers may take together, in KiB.
    memory: Arc<Semaphore>,
    memory_kib_max: u32,
    /// Held by unpackers too: whoever waits for it must not meet one that still clears up.
    claim: Arc<Claim>,
    stop: Cancel,
    report: Report,
    began: Instant,
    reported_ms: AtomicU64,
    done: AtomicUsize,
    resumed: AtomicUsize,
    downloaded: Arc<AtomicU64>,
    from_peers: AtomicU64,
    sources: Mutex<BTreeMap<Source, usize>>,
    total: usize,
    download_bytes: u64,
    waiting: Mutex<Option<String>>,
}

impl Job {
    pub(crate) fn new(
        store: &Store,
        caches: &Caches,
        missing: &[Missing],
        download_bytes: u64,
        report: Report,
        claim: Arc<Claim>,
    ) -> Result<Arc<Self>> {
        let path = store.layout().store();
        let folder = sys::tree::open_path(&path).map_err(Error::io(Step::Fetch, &path))?;
        let options = caches.options();
        // One path with the largest window must always fit.
        let least = options.window_bytes_max + UNPACKER_BYTES;
        let memory_kib_max = kib(options.memory_bytes_max.max(least));
        Ok(Arc::new(Self {
            store: store.clone(),
            caches: caches.clone(),
            folder: Arc::new(folder),
            memory: Arc::new(Semaphore::new(memory_kib_max as usize)),
            memory_kib_max,
            claim,
            stop: Cancel::new(),
            report,
            began: Instant::now(),
            reported_ms: AtomicU64::new(0),
            done: AtomicUsize::new(0),
            resumed: AtomicUsize::new(0),
            downloaded: Arc::default(),
            from_peers: AtomicU64::new(0),
            sources: Mutex::default(),
            total: missing.len(),
            download_bytes,
            waiting: Mutex::default(),
        }))
    }

    pub(crate) fn parallel(&self) -> usize {
        self.caches.options().parallel_nars.max(1)
    }

    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    pub(crate) fn downloaded(&self) -> u64 {
        self.downloaded.load(Ordering::Relaxed)
    }

    pub(crate) fn downloaded_bytes(&self) -> &Arc<AtomicU64> {
        &self.downloaded
    }

    pub(crate) fn peer_bytes(&self) -> u64 {
        self.from_peers.load(Ordering::Relaxed)
    }

    pub(crate) fn sources(&self) -> Vec<(Source, usize)> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.iter().map(|(source, paths)| (source.clone(), *paths)).collect()
    }

    pub(crate) fn resumed(&self) -> usize {
        self.resumed.load(Ordering::Relaxed)
    }

    /// One path, to its staging name; on an error nothing of it is left.
    pub(crate) async fn fetch_one(&self, missing: &Missing) -> Result<()> {
        let narinfo = &missing.narinfo;
        let expected = Expected { hash: narinfo.nar_hash, size: narinfo.nar_size };
        let staged = self.store.layout().staged(&narinfo.path);
        let name = staged.file_name().map(OsString::from).unwrap_or_default();
        if self.has_already(&name, expected).await? {
            self.resumed.fetch_add(1, Ordering::Relaxed);
        } else {
            let failed = |fault| Error::new(Step::Fetch, &narinfo.path, fault);
            let source = self.bring(missing, expected, name).await.map_err(failed)?;
            let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            *sources.entry(source).or_default() += 1;
        }
        self.store.offers().set(&narinfo.path, Stage::Here);
        self.done.fetch_add(1, Ordering::Relaxed);
        self.tell(true);
        Ok(())
    }

    /// Whether an interrupted fetch left the whole path. What it left of a part is removed.
    async fn has_already(&self, name: &OsString, expected: Expected) -> Result<bool> {
        let (folder, name) = (Arc::clone(&self.folder), name.clone());
        let Ok(_) = sys::tree::look(folder.as_fd(), &name) else { return Ok(false) };
        let store = self.store.layout().store();
        blocking(move || {
            if unpack::is_whole(folder.as_fd(), &name, &expected) {
                return Ok(true);
            }
            let removed = sys::tree::remove(folder.as_fd(), &name);
            removed.map_err(Error::io(Step::Fetch, &store))?;
            Ok(false)
        })
        .await
    }

    /// From a peer if one has it or gets it, else from a cache; who it came from.
    async fn bring(
        &self,
        missing: &Missing,
        expected: Expected,
        name: OsString,
    ) -> std::result::Result<Source, Fault> {
        if let Some(source) = self.bring_from_peers(missing, expected, &name).await? {
            return Ok(source);
        }
        let (narinfo, cache) = match missing.cache {
            Some(cache) => (missing.narinfo.clone(), cache),
            None => self.ask_caches(missing).await?,
        };
        let address = &self.caches.addresses()[cache];
        let url = format!("{address}/{}", narinfo.url);
        let on_wait = Box::new(|last: Option<&str>| self.wait(address, last));
        let stream = Stream::new(&self.caches, url, expected.size, on_wait);
        self.receive(stream, &narinfo.compression, expected, name, false).await?;
        Ok(Source::Cache(address.clone()))
    }

    /// A peer told of the path, and no peer gives it: where a cache has it.
    async fn ask_caches(&self, missing: &Missing) -> std::result::Result<(NarInfo, usize), Fault> {
        let (told, path) = (&missing.narinfo, &missing.narinfo.path);
        if self.caches.addresses().is_empty() {
            return Err(Fault::Nothing("cache"));
        }
        let asked = self.unless_stopped(plan::ask_caches(&self.caches, path)).await?;
        let (narinfo, cache) = asked?;
        match narinfo.fingerprint() == told.fingerprint() {
            true => Ok((narinfo, cache)),
            false => Err(Fault::Differs),
        }
    }

    /// As `fetch::peers` tells it. When this returns `None`, others know that it is begun here.
    async fn bring_from_peers(
        &self,
        missing: &Missing,
        expected: Expected,
        name: &OsString,
    ) -> std::result::Result<Option<Source>, Fault> {
        let Some(peers) = self.caches.peers() else { return Ok(None) };
        let (narinfo, path) = (&missing.narinfo, &missing.narinfo.path);
        let order = peers.order(path);
        for asked in &order {
            if let Some(source) = self.bring_from(peers, asked, narinfo, expected, name).await? {
                return Ok(Some(source));
            }
        }
        self.store.offers().set(path, Stage::Begun);
        for asked in order.iter().filter(|asked| asked.is_before) {
            if !self.unless_stopped(peers.is_coming(asked, narinfo)).await? {
                continue;
            }
            self.store.offers().set(path, Stage::Planned);
            if let Some(source) = self.bring_from(peers, asked, narinfo, expected, name).await? {
                return Ok(Some(source));
            }
            self.store.offers().set(path, Stage::Begun);
        }
        Ok(None)
    }

    /// From one peer, if it has the path or gets it. Only a fault of this host is an error.
    async fn bring_from(
        &self,
        peers: &Peers,
        asked: &Asked,
        narinfo: &NarInfo,
        expected: Expected,
        name: &OsString,
    ) -> std::result::Result<Option<Source>, Fault> {
        let response = self.unless_stopped(peers.nar(asked, narinfo)).await?;
        let Some(response) = response else { return Ok(None) };
        let stream = Stream::of_peer(&self.caches, expected.size, response);
        let name = name.clone();
        match self.receive(stream, &Compression::None, expected, name, true).await {
            Ok(()) => {
                peers.praise(asked);
                Ok(Some(Source::Peer(asked.name.clone())))
            }
            Err(fault @ (Fault::Cancelled | Fault::Full | Fault::Io(_))) => Err(fault),
            Err(fault) => {
                let is_away = matches!(fault, Fault::Unreachable { .. } | Fault::Truncated { .. });
                let blame = if is_away { Blame::Away } else { Blame::Lied };
                let why = match fault {
                    Fault::Unreachable { last, .. } => format!("its NAR did not come: {last}"),
                    fault => fault.to_string(),
                };
                peers.blame(asked, blame, &why);
                Ok(None)
            }
        }
    }

    /// What nothing hangs on when it is dropped.
    async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> std::result::Result<T, Fault> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Fault::Cancelled),
            done = work => Ok(done),
        }
    }

    /// Downloads and unpacks side by side. Returns when both have ended.
    async fn receive(
        &self,
        stream: Stream<'_>,
        compression: &Compression,
        expected: Expected,
        name: OsString,
        is_peer: bool,
    ) -> std::result::Result<(), Fault> {
        let mut unpacking = None;
        // When the pump ends, so does its end of the channel, and then the unpacker.
        let pumped = tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Fault::Cancelled),
            pumped = self.pump(stream, compression, expected, name, &mut unpacking, is_peer) => {
                pumped
            }
        };
        let unpacked = match unpacking {
            None => Ok(()),
            Some(unpacking) => match unpacking.await {
                Ok(unpacked) => unpacked,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => Err(Fault::Cancelled),
            },
        };
        // Without its body the unpacker fails too; the reason is the pump's.
        pumped.and(unpacked)
    }

    async fn pump(
        &self,
        mut stream: Stream<'_>,
        compression: &Compression,
        expected: Expected,
        name: OsString,
        unpacking: &mut Option<JoinHandle<std::result::Result<(), Fault>>>,
        is_peer: bool,
    ) -> std::result::Result<(), Fault> {
        let (mut head, mut first) = (Vec::new(), Vec::new());
        while first.len() < frame::HEADER_BYTES_MAX {
            let Some(piece) = stream.next().await? else { break };
            self.count(piece.rest().len(), is_peer);
            first.extend_from_slice(
                &piece.rest()[..piece.rest().len().min(frame::HEADER_BYTES_MAX)],
            );
            head.push(piece);
        }
        let packing = self.packing(compression, &first)?;
        let permit = self.admit(packing, expected.size).await;
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        let (folder, claim) = (Arc::clone(&self.folder), Arc::clone(&self.claim));
        *unpacking = Some(tokio::task::spawn_blocking(move || {
            let body = Body::new(receiver);
            let unpacked = unpack::unpack(body, packing, &expected, folder.as_fd(), &name);
            drop((permit, claim));
            unpacked
        }));
        for piece in head {
            if !send(&sender, Part::Piece(piece)).await {
                return Ok(());
            }
        }
        while let Some(piece) = stream.next().await? {
            self.count(piece.rest().len(), is_peer);
            if !send(&sender, Part::Piece(piece)).await {
                return Ok(());
            }
        }
        send(&sender, Part::End).await;
        Ok(())
    }

    fn packing(
        &self,
        compression: &Compression,
        first: &[u8],
    ) -> std::result::Result<Packing, Fault> {
        match compression {
            Compression::None => Ok(Packing::None),
            Compression::Zstd => {
                let limit = self.caches.options().window_bytes_max;
                Ok(Packing::Zstd { window: frame::window(first, limit)? })
            }
            Compression::Xz => {
                Ok(Packing::Xz { dictionary: self.caches.options().window_bytes_max })
            }
            other => Err(Fault::Compression(other.to_string())),
        }
    }

    /// Waits for the memory that one unpacker takes. A window is touched only as far as the NAR
    /// fills it, and a NAR is not larger than was signed.
    async fn admit(&self, packing: Packing, nar_size: u64) -> Option<OwnedSemaphorePermit> {
        let window = match packing {
            Packing::None => 0,
            Packing::Zstd { window } | Packing::Xz { dictionary: window } => window.min(nar_size),
        };
        let needed = kib(window + UNPACKER_BYTES.min(UNPACKER_BYTES_MIN + nar_size));
        let needed = needed.min(self.memory_kib_max);
        // It is never closed; a fetch without the permit would only be less frugal.
        Arc::clone(&self.memory).acquire_many_owned(needed).await.ok()
    }

    fn count(&self, bytes: usize, is_peer: bool) {
        self.downloaded.fetch_add(bytes as u64, Ordering::Relaxed);
        if is_peer {
            self.from_peers.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        self.tell(false);
    }

    /// A cache is waited for, or not any more.
    fn wait(&self, address: &str, last: Option<&str>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_none() && last.is_none() {
            return;
        }
        *waiting = last.map(|last| format!("{address}: {last}"));
        drop(waiting);
        self.tell(true);
    }

    fn tell(&self, at_once: bool) {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let before = self.reported_ms.load(Ordering::Relaxed);
        if !at_once && now_ms < before + REPORT_PERIOD_MS {
            return;
        }
        self.reported_ms.store(now_ms, Ordering::Relaxed);
        (self.report)(Progress {
            paths_done: self.done.load(Ordering::Relaxed),
            paths_total: self.total,
            downloaded_bytes: self.downloaded(),
            // From peers it comes as it is, not compressed, and perhaps twice.
            download_bytes: self.download_bytes.max(self.from_peers.load(Ordering::Relaxed)),
            waiting: self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        });
    }
}

/// `bytes` in KiB, rounded up.
fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX)
}
