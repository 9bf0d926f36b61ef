//! Other hosts of the group, which are asked before any cache, and nothing that they say believed.
//!
//! # Who fetches what from whom
//!
//! Hosts of a group begin to fetch the same closure at about the same time, and the caches shall
//! send it about once. So each path falls to one host, the same in everybody's eyes: all hosts are
//! ranked by a hash of path and name, differently for each path. A host that wants a path
//!
//! 1. asks the peers ranked before it and waits for one that has the path, is getting it from a
//!    cache, or only plans to;
//! 2. asks those ranked behind it, and waits for one that has it or is getting it from a cache;
//! 3. gets it from a cache, having said so. Then it asks the ones ranked before it once more, and
//!    steps back if one of them has begun meanwhile: of two that look at each other, at least the
//!    second to speak sees what the first one said.
//!
//! Nobody who gets a path from a cache waits for anybody, and plans are waited for only along the
//! ranking: no circle of hosts waits for each other. What falls to this host itself is fetched
//! first ([`Peers::rank`]), so what the others wait for does not stand behind what it waits for.
//! Where two hosts know of different peers, a wait may be in vain; each ends.
//!
//! # What a bad peer costs
//!
//! One wait, once, then it is left out for a while: it is not reachable, it takes too long, nothing
//! moves, or what it sends is not what a trusted key signed. The path then comes from the next one,
//! or from a cache. A peer that is busy, or lacks the path, is not to blame.

use crate::fetch::caches::{Refusal, get_small, transient};
use crate::hash::Sha256;
use crate::narinfo::{NARINFO_BYTES_MAX, NarInfo};
use crate::path::StorePath;
use crate::serve::nar_url;
use reqwest::{Client, Response, StatusCode};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// Peers asked for one path at most: all of a small group. In a large one the first three by rank
/// are those who get the path first, so asking more would find little.
const ASKED_MAX: usize = 3;

/// Connections kept open to one peer while nothing is asked of it: both ends pay for them.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// Peers known at most: a rank is computed of each for each path.
pub const PEERS_MAX: usize = 256;

/// How long peers are waited for. The defaults are for a network that hosts share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A connection.
    pub connect: Duration,
    /// A peer that sends nothing: a disk that is slow to read gets its time.
    pub stall: Duration,
    /// A narinfo, as a whole.
    pub narinfo: Duration,
    /// A peer that says that a path is coming while nothing comes to it.
    pub still: Duration,
    /// One path, however much comes to its peer meanwhile. A peer that only says so costs this.
    pub path: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            stall: Duration::from_secs(5),
            narinfo: Duration::from_secs(3),
            still: Duration::from_secs(10),
            path: Duration::from_secs(120),
        }
    }
}

/// Between two questions for a path that is coming, at least: a peer that keeps its word holds each
/// for longer.
const ASK_PERIOD: Duration = Duration::from_millis(250);

/// Slower than this, in bytes a second, a peer is worse than any cache.
pub(crate) const RATE_MIN_BYTES_PER_S: u64 = 256 << 10;

/// How long a NAR may be waited for before its rate counts.
pub(crate) const RATE_AFTER: Duration = Duration::from_secs(3);

/// How long a peer that could not be reached, or was slow, is left out; it doubles each time.
const BAN_FIRST: Duration = Duration::from_secs(5);

/// The longest that it doubles to.
const BAN_LONGEST: Duration = Duration::from_secs(300);

/// How long a peer is left out that sent other bytes than were signed. A disk that rots does not
/// heal, and who lies goes on.
const BAN_LIAR: Duration = Duration::from_secs(600);

/// The field of an answer by which a peer says how much its fetch has brought so far.
pub(crate) const COMING: &str = "rollinit-coming-bytes";

/// Other hosts, and how they behaved. A clone is another handle of the same.
#[derive(Clone, Debug)]
pub struct Peers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    patience: Patience,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Our own name in the ranking; empty if we serve nobody, and so rank last.
    own: String,
    peers: Vec<Peer>,
    /// Bans since somebody last asked for them.
    news: Vec<Ban>,
    bans: u64,
}

#[derive(Clone, Debug)]
struct Peer {
    name: String,
    address: String,
    /// Bans in a row.
    strikes: u32,
    until: Option<Instant>,
}

/// A peer that is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Which.
    pub name: String,
    /// Where it serves.
    pub address: String,
    /// Why.
    pub why: String,
    /// For how long.
    pub within: Duration,
}

/// A peer to be asked for one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) name: String,
    address: String,
    /// It is ranked before us for this path: what it plans is waited for.
    pub(crate) is_before: bool,
}

/// What a peer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// Not reachable, or too slow.
    Away,
    /// It sent what nobody signed.
    Lied,
}

/// What a peer says of a NAR.
#[derive(Debug)]
pub(crate) enum Said {
    /// This is it.
    Here(Response),
    /// It will come.
    Coming,
    /// It has none to give now.
    No,
}

impl Peers {
    /// Nobody is known yet.
    ///
    /// # Errors
    /// No client can be made.
    pub fn new(patience: Patience) -> crate::Result<Self> {
        // The first to say it wins; another in this process says the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(concat!("rollinit/", env!("CARGO_PKG_VERSION")))
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(patience.connect)
            .read_timeout(patience.stall)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .no_proxy()
            .build()
            .map_err(|error| {
                let fault = crate::Fault::Address(error.to_string());
                crate::Error::new(crate::Step::Configure, "the client of peers", fault)
            })?;
        Ok(Self(Arc::new(Inner { client, patience, known: Mutex::default() })))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on these are the peers: name and `ADDRESS:PORT` of each. `own` is our own name as
    /// they know it; empty if we serve nobody. Bans stay.
    pub fn set(&self, own: &str, peers: impl IntoIterator<Item = (String, String)>) {
        let mut known = self.known();
        let before = std::mem::take(&mut known.peers);
        own.clone_into(&mut known.own);
        for (name, address) in peers {
            if name == own || known.peers.len() == PEERS_MAX {
                continue;
            }
            let same = |peer: &&Peer| peer.name == name && peer.address == address;
            let peer = before.iter().find(same).cloned();
            let fresh = || Peer { name: name.clone(), address, strikes: 0, until: None };
            known.peers.push(peer.unwrap_or_else(fresh));
        }
    }

    /// Bans since this was last asked for.
    #[must_use]
    pub fn take_bans(&self) -> Vec<Ban> {
        std::mem::take(&mut self.known().news)
    }

    /// Peers that are known.
    #[must_use]
    pub fn count(&self) -> usize {
        self.known().peers.len()
    }

    /// Bans so far.
    #[must_use]
    pub fn bans(&self) -> u64 {
        self.known().bans
    }

    /// Where we stand in the ranking for a path: 0 if it falls to us.
    pub(crate) fn rank(&self, path: &StorePath) -> usize {
        let known = self.known();
        let own = score(&known.own, path);
        let is_before = |peer: &&Peer| known.own.is_empty() || score(&peer.name, path) > own;
        known.peers.iter().filter(|peer| !peer.is_banned()).filter(is_before).count()
    }

    /// Whom to ask for a path, in order.
    pub(crate) fn order(&self, path: &StorePath) -> Vec<Asked> {
        let known = self.known();
        let own = score(&known.own, path);
        let mut ranked: Vec<(u64, &Peer)> = known
            .peers
            .iter()
            .filter(|peer| !peer.is_banned())
            .map(|peer| (score(&peer.name, path), peer))
            .collect();
        ranked.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        let asked = |(score, peer): (u64, &Peer)| Asked {
            name: peer.name.clone(),
            address: peer.address.clone(),
            is_before: known.own.is_empty() || score > own,
        };
        ranked.into_iter().take(ASKED_MAX).map(asked).collect()
    }

    /// It did not do well: leaves it out for a while.
    pub(crate) fn blame(&self, asked: &Asked, blame: Blame, why: &str) {
        let mut known = self.known();
        let same = |peer: &&mut Peer| peer.name == asked.name && peer.address == asked.address;
        let Some(peer) = known.peers.iter_mut().find(same) else { return };
        if peer.is_banned() {
            return;
        }
        let doubled = BAN_FIRST.saturating_mul(1 << peer.strikes.min(10)).min(BAN_LONGEST);
        let within = if blame == Blame::Lied { BAN_LIAR } else { doubled };
        peer.strikes += 1;
        peer.until = Some(Instant::now() + within);
        known.bans += 1;
        let (name, address, why) = (asked.name.clone(), asked.address.clone(), why.to_owned());
        if known.news.len() < PEERS_MAX {
            known.news.push(Ban { name, address, why, within });
        }
    }

    /// It did well: what it did before is forgotten.
    pub(crate) fn praise(&self, asked: &Asked) {
        let mut known = self.known();
        let same = |peer: &&mut Peer| peer.name == asked.name && peer.address == asked.address;
        if let Some(peer) = known.peers.iter_mut().find(same) {
            peer.strikes = 0;
        }
    }

    /// The narinfo of a path, as a peer has it; `None` if it gives none.
    pub(crate) async fn narinfo(&self, asked: &Asked, path: &StorePath) -> Option<Vec<u8>> {
        let url = format!("http://{}/{}.narinfo", asked.address, path.hash_part());
        let got =
            timeout(self.0.patience.narinfo, get_small(&self.0.client, &url, NARINFO_BYTES_MAX));
        match got.await {
            Ok(Ok(bytes)) => Some(bytes),
            Ok(Err(refusal)) => {
                self.weigh(asked, refusal);
                None
            }
            Err(_) => {
                self.blame(asked, Blame::Away, "its narinfo did not come in time");
                None
            }
        }
    }

    fn weigh(&self, asked: &Asked, refusal: Refusal) {
        // That it lacks the path, is busy, or does not know us yet, is no fault.
        if let Refusal::Transient(why) = refusal {
            self.blame(asked, Blame::Away, &why);
        }
    }

    /// Whether a peer that is ranked before us has begun with a path, or plans to.
    pub(crate) async fn is_coming(&self, asked: &Asked, narinfo: &NarInfo) -> bool {
        let url = url(asked, &narinfo.path, &narinfo.nar_hash, "ask=planned");
        let answer = self.0.client.head(url).send().await;
        answer.is_ok_and(|answer| {
            answer.status() == StatusCode::OK || answer.headers().contains_key(COMING)
        })
    }

    /// Waits until a peer has a NAR, as long as that can be hoped for.
    pub(crate) async fn nar(&self, asked: &Asked, narinfo: &NarInfo) -> Option<Response> {
        let wait = if asked.is_before { "wait=planned" } else { "wait=begun" };
        let url = url(asked, &narinfo.path, &narinfo.nar_hash, wait);
        let began = Instant::now();
        let (mut most, mut moved) = (0, began);
        while began.elapsed() < self.0.patience.path {
            let again_at = Instant::now() + ASK_PERIOD;
            match self.ask(asked, &url).await {
                (Said::Here(response), _) => return Some(response),
                (Said::No, _) => return None,
                (Said::Coming, bytes) if bytes > most => (most, moved) = (bytes, Instant::now()),
                (Said::Coming, _) if moved.elapsed() > self.0.patience.still => {
                    self.blame(asked, Blame::Away, "it waits for what does not come to it either");
                    return None;
                }
                (Said::Coming, _) => {}
            }
            sleep_until(again_at).await;
        }
        None
    }

    /// One question; with the bytes that have come to the peer, if it has to wait itself.
    async fn ask(&self, asked: &Asked, url: &str) -> (Said, u64) {
        let response = match self.0.client.get(url).send().await {
            Ok(response) => response,
            Err(error) => {
                self.weigh(asked, transient(&error));
                return (Said::No, 0);
            }
        };
        if response.status() == StatusCode::OK {
            return (Said::Here(response), 0);
        }
        let coming = response.headers().get(COMING);
        let bytes = coming.and_then(|text| text.to_str().ok()?.parse().ok());
        bytes.map_or((Said::No, 0), |bytes| (Said::Coming, bytes))
    }
}

impl Peer {
    fn is_banned(&self) -> bool {
        self.until.is_some_and(|until| until > Instant::now())
    }
}

fn url(asked: &Asked, path: &StorePath, nar_hash: &Sha256, query: &str) -> String {
    format!("http://{}/{}?{query}", asked.address, nar_url(path, nar_hash))
}

/// A number that all hosts compute alike, spread evenly over hosts and paths.
fn score(name: &str, path: &StorePath) -> u64 {
    let hash = Sha256::of(format!("{name} {}", path.hash_part()).as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_be_bytes(first)
}
