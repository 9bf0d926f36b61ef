//! What fetches under way will bring, for peers who want the same.
//!
//! Hosts of a group begin to fetch a release at about the same time. Whoever of them a path falls
//! to (`fetch::peers`) gets it from a cache, and the others wait for that host instead of asking
//! the cache too. So a host tells of paths before they are valid: a path is offered from when its
//! fetch begins, and given as soon as it is unpacked and found right, under its staging name.

use crate::narinfo::NarInfo;
use crate::path::StorePath;
use crate::plan::Missing;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How far a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It will be fetched, from somebody.
    Planned,
    /// It is being fetched from a cache, and so waits for no other host.
    Begun,
    /// It is here, whole, and perhaps not valid yet.
    Here,
}

/// One path of a fetch under way.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    missing: Arc<Vec<Missing>>,
    index: usize,
    stage: Arc<watch::Sender<Stage>>,
    /// Bytes that the fetch has brought of all its paths: as long as they grow, it goes on.
    brought_bytes: Arc<AtomicU64>,
}

impl Offer {
    /// What is known of the path.
    pub(crate) fn narinfo(&self) -> &NarInfo {
        &self.missing[self.index].narinfo
    }

    /// How far it is, now and later. It ends with the fetch.
    pub(crate) fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// Bytes that its fetch has brought so far.
    pub(crate) fn brought_bytes(&self) -> u64 {
        self.brought_bytes.load(Ordering::Relaxed)
    }
}

/// All of a store, by hash part.
#[derive(Debug, Default)]
pub(crate) struct Offers(Mutex<HashMap<String, Offer>>);

/// The paths of one fetch; taken back when dropped.
#[derive(Debug)]
pub(crate) struct Offered {
    offers: Arc<Offers>,
    missing: Arc<Vec<Missing>>,
}

impl Offers {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Offer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers what a fetch is about to bring. No other fetch has any of it: they are claimed.
    pub(crate) fn offer(
        self: &Arc<Self>,
        missing: &Arc<Vec<Missing>>,
        brought_bytes: &Arc<AtomicU64>,
    ) -> Offered {
        let mut offers = self.lock();
        for (index, one) in missing.iter().enumerate() {
            let stage = Arc::new(watch::Sender::new(Stage::Planned));
            let (missing, brought_bytes) = (Arc::clone(missing), Arc::clone(brought_bytes));
            let offer = Offer { missing, index, stage, brought_bytes };
            offers.insert(one.narinfo.path.hash_part().to_owned(), offer);
        }
        Offered { offers: Arc::clone(self), missing: Arc::clone(missing) }
    }

    /// The path of that hash part, if a fetch under way brings it.
    pub(crate) fn find(&self, hash_part: &str) -> Option<Offer> {
        self.lock().get(hash_part).cloned()
    }

    /// A path is so far now.
    pub(crate) fn set(&self, path: &StorePath, stage: Stage) {
        if let Some(offer) = self.lock().get(path.hash_part()) {
            offer.stage.send_replace(stage);
        }
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        let mut offers = self.offers.lock();
        for one in self.missing.iter() {
            offers.remove(one.narinfo.path.hash_part());
        }
    }
}
