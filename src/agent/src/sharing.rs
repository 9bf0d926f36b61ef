//! Closures among the hosts of a group: this host serves its store to the others, and fetches from
//! them before it asks a cache.
//!
//! Who they are is learnt from what hosts say of themselves on the ledger ([`Sharing::learn`]), and
//! from the configuration. Whom to ask for what, and what a bad one costs, is decided in
//! `store::fetch::peers`; what is served, in `store::serve`. On in a fleet, else where `[peers]`
//! says so.

use crate::app::Tools;
use crate::config;
use control::agent::Level;
use rollout::fleet::Status;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use store::fetch::Peers;
use store::fetch::peers::{PEERS_MAX, Patience};
use store::serve::Serve;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::sleep;

/// The subject under which it is told of in `rollinit status`.
const SUBJECT: &str = "peers";

/// Which key says where the store is served.
const WHAT: &str = "[peers] listen";

/// Until an address that could not be had is tried again: the network may still be coming up.
const AGAIN: Duration = Duration::from_secs(2);

/// Until a store that could not be opened is tried again.
const STORE_AGAIN: Duration = Duration::from_secs(30);

/// Descriptors of an agent that serves: 256 connections, directories of 32 trees that are being
/// sent, and what a fetch takes meanwhile.
const OPEN_FILES: u64 = 4096;

/// This host's part in sharing.
#[derive(Debug)]
pub struct Sharing {
    settings: config::peers::Peers,
    peers: Option<Peers>,
    /// Where this host serves, as the others find it.
    address: RefCell<Option<String>>,
    /// What this host is called in its group, and its group: name and address of each.
    group: RefCell<(String, Vec<(String, String)>)>,
    /// Who is served.
    admitted: Arc<RwLock<BTreeSet<IpAddr>>>,
    in_fleet: Cell<bool>,
    bell: Notify,
}

impl Sharing {
    /// As `[peers]` says. Opens nothing yet.
    #[must_use]
    pub fn new(settings: config::peers::Peers) -> Self {
        let peers = match Peers::new(Patience::default()) {
            Ok(peers) => Some(peers),
            Err(error) => {
                tracing::error!("{error}; nothing is fetched from peers");
                None
            }
        };
        let sharing = Self {
            settings,
            peers,
            address: RefCell::default(),
            group: RefCell::default(),
            admitted: Arc::default(),
            in_fleet: Cell::new(false),
            bell: Notify::new(),
        };
        sharing.spread();
        sharing
    }

    /// Whether closures are shared at all.
    fn is_on(&self) -> bool {
        self.settings.enable.unwrap_or(self.in_fleet.get())
    }

    /// The peers to fetch from; none where nothing is shared.
    #[must_use]
    pub fn peers(&self) -> Option<Peers> {
        self.peers.clone().filter(|_| self.is_on())
    }

    /// Where this host serves its store, for its record on the ledger; nothing while it does not.
    #[must_use]
    pub fn address(&self) -> Option<String> {
        self.address.borrow().clone()
    }

    /// The host is in a fleet: closures are shared if nobody said otherwise.
    pub fn join(&self) {
        if !self.in_fleet.replace(true) {
            self.bell.notify_one();
        }
    }

    /// The host is in a fleet, whose living hosts say this; `own` is what it is called there.
    pub fn learn(&self, own: &str, members: &[Status]) {
        // What another host wrote: nothing is asked at what is no address.
        let is_address = |peer: &String| peer.parse::<SocketAddr>().is_ok();
        let place =
            |status: &Status| Some((status.host.clone(), status.peer.clone().filter(is_address)?));
        let others = members.iter().filter(|status| status.host != own).filter_map(place);
        let known = (own.to_owned(), others.take(PEERS_MAX).collect());
        self.join();
        if *self.group.borrow() != known {
            self.group.replace(known);
            self.spread();
        }
    }

    /// Tells those who fetch, and those who serve, who the peers are.
    fn spread(&self) {
        let group = self.group.borrow();
        let address = self.address();
        // Outside of a fleet a host is called by where it serves: alike in everybody's eyes.
        let own = match (&*group.0, &address) {
            (_, None) => "",
            ("", Some(address)) => address,
            (name, Some(_)) => name,
        };
        let mut all = group.1.clone();
        for host in &self.settings.hosts {
            let is_own = address.as_ref() == Some(host);
            if !is_own && !all.iter().any(|(_, known)| known == host) {
                all.push((host.clone(), host.clone()));
            }
        }
        let admitted = all.iter().filter_map(|(_, address)| ip(address)).collect();
        *self.admitted.write().unwrap_or_else(PoisonError::into_inner) = admitted;
        if let Some(peers) = &self.peers {
            peers.set(own, all);
        }
    }

    /// Whether somebody at that address is served.
    fn admit(&self) -> store::serve::Admit {
        let (open, admitted) = (self.settings.open, Arc::clone(&self.admitted));
        Arc::new(move |from: IpAddr| {
            let admitted = admitted.read().unwrap_or_else(PoisonError::into_inner);
            open || admitted.contains(&from.to_canonical())
        })
    }

    /// Says which peers were left out since this was last called.
    pub fn account(&self) {
        let Some(peers) = &self.peers else { return };
        for ban in peers.take_bans() {
            let (name, address, seconds) = (ban.name, ban.address, ban.within.as_secs());
            tracing::warn!("peer {name} at {address} is left out for {seconds} s: {}", ban.why);
        }
    }

    /// Where the others find a socket that is bound there.
    fn advertised(&self, bound: SocketAddr) -> Option<String> {
        if let Some(advertise) = &self.settings.advertise {
            return Some(advertise.clone());
        }
        let address = if bound.ip().is_unspecified() { way_out(bound)? } else { bound.ip() };
        Some(SocketAddr::new(address, bound.port()).to_string())
    }
}

/// Serves this host's store for the life of the agent, from when there is somebody to serve.
pub async fn run(tools: Rc<Tools>) {
    let sharing = &tools.sharing;
    if let Some(peers) = &sharing.peers {
        tools.events.metrics().fetches_from(peers.clone());
    }
    while !sharing.is_on() {
        if sharing.settings.enable == Some(false) {
            return;
        }
        sharing.bell.notified().await;
    }
    let store = loop {
        match tools.closures.store() {
            Ok(store) => break store,
            Err(error) => tracing::warn!("the store cannot be served: {}", error.reason),
        }
        sleep(STORE_AGAIN).await;
    };
    if let Err(error) = sys::process::raise_open_files(OPEN_FILES) {
        tracing::warn!("open files cannot be raised to {OPEN_FILES}: {error}");
    }
    let listener = listen(sharing.settings.listen, WHAT).await;
    let bound = listener.local_addr().unwrap_or(sharing.settings.listen);
    let serve = Serve::new(store, sharing.admit());
    tools.events.metrics().serves(serve.served());
    let limits = httpd::Limits {
        stream_bytes_per_second: sharing.settings.bytes_per_second,
        ..httpd::Limits::default()
    };
    let serving = tokio::task::spawn_local(self::serve(listener, WHAT, limits, serve));
    loop {
        if let Some(address) = sharing.advertised(bound) {
            tracing::info!("serves its store to its group at {address}");
            sharing.address.replace(Some(address));
            sharing.spread();
            // The fleet's task tells the others.
            tools.moved.notify_one();
            tools.standing.clear(SUBJECT);
            break;
        }
        let text = "no peer can be told where this host serves its store: it has no way out";
        let cure = "see the network, or write [peers] advertise in agent.toml";
        tools.standing.set(&tools.console, SUBJECT, Level::Warning, text, Some(cure));
        sleep(AGAIN).await;
    }
    // It ends with the agent.
    let _ = serving.await;
}

/// Listens there, as soon as that can be had; what is wrong is said once.
pub async fn listen(on: SocketAddr, what: &str) -> TcpListener {
    let mut is_said = false;
    loop {
        match bind(on).await {
            Ok(listener) => return listener,
            Err(error) if !is_said => {
                tracing::warn!("{what} {on}: {error}; tried again until it can be had");
                is_said = true;
            }
            Err(_) => {}
        }
        sleep(AGAIN).await;
    }
}

/// Serves there for good, and says when the system gives it no connections.
pub async fn serve(
    listener: TcpListener,
    what: &'static str,
    limits: httpd::Limits,
    handler: impl httpd::Handler,
) {
    let complain = |error: &io::Error| {
        tracing::warn!("{what}: no connection can be taken: {error}; tried again");
    };
    httpd::serve(listener, limits, handler, complain).await;
}

/// All addresses of both families, or those of the one that the kernel has.
async fn bind(on: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(on).await {
        Err(error) if on.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            let older = TcpListener::bind((Ipv4Addr::UNSPECIFIED, on.port())).await;
            older.map_err(|_| error)
        }
        bound => bound,
    }
}

/// The address from which this host would reach another network: the kernel chooses it, and nothing
/// is sent. The addresses asked about are set aside for documentation (RFC 5737, RFC 3849).
fn way_out(bound: SocketAddr) -> Option<IpAddr> {
    const FAR_4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const FAR_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const ANY_PORT: u16 = 9;
    let from = |own: IpAddr, far: IpAddr| {
        let socket = UdpSocket::bind((own, 0)).ok()?;
        socket.connect((far, ANY_PORT)).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    let older = from(Ipv4Addr::UNSPECIFIED.into(), FAR_4.into());
    let newer = || from(Ipv6Addr::UNSPECIFIED.into(), FAR_6.into()).filter(|_| bound.is_ipv6());
    older.or_else(newer)
}

fn ip(address: &str) -> Option<IpAddr> {
    address.parse::<SocketAddr>().ok().map(|address| address.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(host: &str, peer: Option<&str>) -> Status {
        Status { host: host.to_owned(), peer: peer.map(str::to_owned), ..Status::default() }
    }

    /// In a fleet it is on by itself, and whoever serves there is served; others are not.
    #[test]
    fn the_group_is_learnt() {
        let sharing = Sharing::new(config::peers::Peers::default());
        assert!(sharing.peers().is_none());
        let admit = sharing.admit();
        let [friend, mapped, stranger]: [IpAddr; 3] =
            ["10.0.0.7", "::ffff:10.0.0.7", "10.0.0.8"].map(|text| text.parse().expect("one"));
        assert!(!admit(friend));
        let members = [
            status("a", Some("10.0.0.5:7465")),
            status("b", Some("10.0.0.7:7465")),
            status("c", None),
            status("d", Some("169.254.169.254/latest?")),
        ];
        sharing.learn("a", &members);
        assert_eq!(sharing.peers().expect("they are on").count(), 1);
        assert!(admit(friend) && admit(mapped) && !admit(stranger));
        sharing.learn("a", &members[..1]);
        assert!(!admit(friend), "it left the group");
    }

    /// The file may forbid it, name hosts without a fleet, and let everybody in.
    #[test]
    fn the_file_decides() {
        let off = config::peers::Peers { enable: Some(false), ..config::peers::Peers::default() };
        let sharing = Sharing::new(off);
        sharing.learn("a", &[status("b", Some("10.0.0.7:7465"))]);
        assert!(sharing.peers().is_none());
        let hosts = vec!["10.0.0.7:7465".to_owned()];
        let named =
            config::peers::Peers { enable: Some(true), hosts, ..config::peers::Peers::default() };
        let sharing = Sharing::new(named.clone());
        let stranger = "10.0.0.8".parse().expect("an address");
        assert!(sharing.peers().is_some() && !sharing.admit()(stranger));
        let open = Sharing::new(config::peers::Peers { open: true, ..named });
        assert!(open.admit()(stranger));
    }

    /// What is bound to all addresses is told with one that others reach.
    #[test]
    fn an_address_is_told() {
        let sharing = Sharing::new(config::peers::Peers::default());
        let one = SocketAddr::from(([10, 0, 0, 5], 7465));
        assert_eq!(sharing.advertised(one).as_deref(), Some("10.0.0.5:7465"));
        let advertise = Some("192.0.2.7:1".to_owned());
        let told = config::peers::Peers { advertise, ..config::peers::Peers::default() };
        assert_eq!(Sharing::new(told).advertised(one).as_deref(), Some("192.0.2.7:1"));
    }
}
