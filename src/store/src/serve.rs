//! The host's own store as a binary cache that can only be read.
//!
//! ```text
//!  /nix-cache-info             what Nix asks first
//!  /HASH.narinfo               Nix's database, or the narinfo of a fetch under way: signatures are
//!                              those that the path came with; one that has none is not served
//!  /nar/HASH-NARHASH.nar       the NAR, not compressed, made from the tree as it is sent
//! ```
//!
//! So it is a substituter to any Nix. What only peers of ours ask for is in the query of a NAR:
//! `?wait=begun` waits for a NAR that is being fetched from a cache here, `?wait=planned` also for
//! one that will be; in vain for up to [`HOLD`], then the answer is 503 with the bytes that the
//! fetch has brought so far. `offers` and `fetch::peers` say what that is good for.

use crate::database::PathInfo;
use crate::fetch::commit::blocking;
use crate::fetch::peers::COMING;
use crate::hash::Sha256;
use crate::nar;
use crate::narinfo::{Compression, NarInfo};
use crate::offers::{Offer, Stage};
use crate::path::{HASH_DIGITS, StorePath};
use crate::signature::Signature;
use crate::store::Store;
use crate::{base32, error};
use httpd::{Answer, Handler, Question, Write};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a peer's question for a NAR that is on its way is kept, at most. Shorter than any
/// timeout of a client's.
const HOLD: Duration = Duration::from_secs(1);

/// Its media types, as Nix's own caches have them.
const NARINFO: &str = "text/x-nix-narinfo";
const NAR: &str = "application/x-nix-nar";

/// Whether somebody at this address is served.
pub type Admit = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// What was served so far.
#[derive(Debug, Default)]
pub struct Served {
    /// NARs that were sent whole.
    pub nars: AtomicU64,
    /// Bytes of NARs, also of those that were not.
    pub bytes: AtomicU64,
    /// Requests from addresses that are not served.
    pub refused: AtomicU64,
    /// Requests that found the store unreadable.
    pub failed: AtomicU64,
}

/// Serves one store.
#[derive(Clone)]
pub struct Serve {
    store: Store,
    admit: Admit,
    served: Arc<Served>,
}

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted<'path> {
    CacheInfo,
    NarInfo(&'path str),
    Nar(&'path str, &'path str),
}

impl<'path> Wanted<'path> {
    fn parse(path: &'path str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        if path == "nix-cache-info" {
            return Some(Self::CacheInfo);
        }
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if let Some(hash) = path.strip_suffix(".narinfo") {
            return (hash.len() == HASH_DIGITS && digits(hash)).then_some(Self::NarInfo(hash));
        }
        let (hash, nar_hash) = path.strip_prefix("nar/")?.strip_suffix(".nar")?.split_once('-')?;
        let fits = hash.len() == HASH_DIGITS && nar_hash.len() == base32::length(32);
        (fits && digits(hash) && digits(nar_hash)).then_some(Self::Nar(hash, nar_hash))
    }
}

/// Where a NAR is asked for, relative to a cache of ours.
#[must_use]
pub(crate) fn nar_url(path: &StorePath, nar_hash: &Sha256) -> String {
    format!("nar/{}-{}.nar", path.hash_part(), nar_hash.base32())
}

impl Serve {
    /// Serves `store` to those whom `admit` admits.
    #[must_use]
    pub fn new(store: Store, admit: Admit) -> Self {
        Self { store, admit, served: Arc::default() }
    }

    /// What was served so far, and will be.
    #[must_use]
    pub fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served)
    }

    async fn try_answer(&self, question: &Question) -> error::Result<Answer> {
        match Wanted::parse(&question.path) {
            None => Ok(Answer::missing()),
            Some(Wanted::CacheInfo) => {
                // Nix's own caches have 50 and 40; lower is asked first.
                let text = "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n";
                Ok(Answer::text(200, text))
            }
            Some(Wanted::NarInfo(hash)) => Ok(match self.narinfo(hash).await? {
                None => Answer::missing(),
                Some(narinfo) => {
                    let text = narinfo.to_string();
                    Answer::Text { status: 200, kind: NARINFO, fields: Vec::new(), text }
                }
            }),
            Some(Wanted::Nar(hash, nar_hash)) => self.nar(hash, nar_hash, &question.query).await,
        }
    }

    /// As a peer is told it: with our own address of the NAR, and the signatures that it came with.
    async fn narinfo(&self, hash_part: &str) -> error::Result<Option<NarInfo>> {
        let narinfo = match self.store.offers().find(hash_part) {
            Some(offer) => Some(offer.narinfo().clone()),
            None => self.registered(hash_part).await?,
        };
        Ok(narinfo.filter(|narinfo| !narinfo.signatures.is_empty()).map(|narinfo| NarInfo {
            url: nar_url(&narinfo.path, &narinfo.nar_hash),
            compression: Compression::None,
            file_hash: Some(narinfo.nar_hash),
            file_size: Some(narinfo.nar_size),
            ..narinfo
        }))
    }

    async fn registered(&self, hash_part: &str) -> error::Result<Option<NarInfo>> {
        let (store, hash_part) = (self.store.clone(), hash_part.to_owned());
        blocking(move || {
            let database = store.database();
            let Some(path) = database.find(&hash_part)? else { return Ok(None) };
            Ok(database.info(&path)?.map(narinfo))
        })
        .await
    }

    async fn nar(&self, hash_part: &str, nar_hash: &str, query: &str) -> error::Result<Answer> {
        if let Some(offer) = self.store.offers().find(hash_part)
            && let Some(answer) = wait(&offer, query).await
        {
            return Ok(answer);
        }
        // Whole under its staging name, or valid; the fetch may have ended while we waited.
        let narinfo = match self.store.offers().find(hash_part) {
            Some(offer) if *offer.stage().borrow() == Stage::Here => Some(offer.narinfo().clone()),
            _ => self.registered(hash_part).await?,
        };
        let wanted = |narinfo: &NarInfo| {
            narinfo.nar_hash.base32() == nar_hash && !narinfo.signatures.is_empty()
        };
        Ok(match narinfo.filter(wanted) {
            None => Answer::missing(),
            Some(narinfo) => {
                Answer::Stream { kind: NAR, length: narinfo.nar_size, write: self.writer(narinfo) }
            }
        })
    }

    /// Sends a tree as a NAR. One that is not any more what it was is never sent whole: its last
    /// bytes stay here.
    fn writer(&self, narinfo: NarInfo) -> Write {
        let (store, served) = (self.store.clone(), Arc::clone(&self.served));
        Box::new(move |to| {
            let folder = sys::tree::open_path(&store.layout().store())?;
            let staged = store.layout().staged(&narinfo.path);
            let staged = staged.file_name().unwrap_or_default();
            let is_staged = sys::tree::look(folder.as_fd(), staged).is_ok();
            let own = narinfo.path.base_name().as_ref();
            let mut to = Counted { to, served: &served };
            let name = if is_staged { staged } else { own };
            let dumped = nar::dump(folder.as_fd(), name, &mut to).map_err(io::Error::other)?;
            if dumped.hash != narinfo.nar_hash {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not what it was"));
            }
            served.nars.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    }
}

impl Handler for Serve {
    async fn answer(&self, question: Question) -> Answer {
        if !(self.admit)(question.from.ip()) {
            self.served.refused.fetch_add(1, Ordering::Relaxed);
            return Answer::text(403, "this host serves its group only\n");
        }
        match self.try_answer(&question).await {
            Ok(answer) => answer,
            // Who serves has no log; it is counted.
            Err(_) => {
                self.served.failed.fetch_add(1, Ordering::Relaxed);
                Answer::text(500, "the store cannot be read now\n")
            }
        }
    }
}

impl std::fmt::Debug for Serve {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Serve").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Waits for a path that is on its way, as far as the query wants to; an answer if there is still
/// nothing to send.
async fn wait(offer: &Offer, query: &str) -> Option<Answer> {
    let (is_held, planned_too) = match query {
        "wait=begun" => (true, false),
        "wait=planned" => (true, true),
        "ask=planned" => (false, true),
        _ => (false, false),
    };
    let coming = |stage: &Stage| match stage {
        Stage::Here => false,
        Stage::Begun => is_held || planned_too,
        Stage::Planned => planned_too,
    };
    let mut stage = offer.stage();
    if is_held {
        let over = stage.wait_for(|stage| !coming(stage));
        // An end of the wait and an end of the fetch lead to the same look.
        let _ = tokio::time::timeout(HOLD, over).await;
    }
    let now = *stage.borrow();
    // The sender goes with the fetch; what is known then is the database's.
    let is_over = stage.has_changed().is_err();
    (coming(&now) && !is_over).then(|| Answer::Text {
        status: 503,
        kind: "text/plain; charset=utf-8",
        fields: vec![(COMING, offer.brought_bytes().to_string())],
        text: "it is on its way to this host\n".to_owned(),
    })
}

/// What the database has, as a narinfo. A signature that cannot be read is nobody's.
fn narinfo(info: PathInfo) -> NarInfo {
    let read = |text: &String| Signature::parse(text.as_bytes());
    NarInfo {
        url: String::new(),
        compression: Compression::None,
        file_hash: None,
        file_size: None,
        nar_hash: info.nar_hash,
        nar_size: info.nar_size,
        references: info.references.into_iter().collect(),
        deriver: info.deriver,
        signatures: info.signatures.iter().filter_map(read).collect(),
        content_address: info.content_address,
        path: info.path,
    }
}

/// Counts what goes through.
struct Counted<'served, 'to> {
    to: &'to mut dyn io::Write,
    served: &'served Served,
}

impl io::Write for Counted<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.served.bytes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_cache_has_is_asked_for() {
        let (hash, nar) = ("0".repeat(32), "1".repeat(52));
        let narinfo = format!("/{hash}.narinfo");
        assert_eq!(Wanted::parse(&narinfo), Some(Wanted::NarInfo(&hash)));
        let url = format!("/nar/{hash}-{nar}.nar");
        assert_eq!(Wanted::parse(&url), Some(Wanted::Nar(&hash, &nar)));
        assert_eq!(Wanted::parse("/nix-cache-info"), Some(Wanted::CacheInfo));
        for other in [
            "",
            "/",
            "/x.narinfo",
            "/nar/x-y.nar",
            "/../etc/passwd",
            "nix-cache-info",
            &format!("/{}.narinfo", "%".repeat(32)),
            &format!("/nar/{hash}.nar"),
            &format!("/nar/{hash}-{nar}.nar.xz"),
            &format!("/nar/{nar}-{hash}.nar"),
        ] {
            assert_eq!(Wanted::parse(other), None, "{other}");
        }
    }
}
