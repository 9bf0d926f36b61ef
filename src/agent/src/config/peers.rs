//! `[peers]` of `agent.toml`: that hosts of a group fetch closures from each other.
//!
//! Read once, when the agent starts. Without the section peers are on in a fleet, and off else.

use serde::Deserialize;
use std::net::{Ipv6Addr, SocketAddr};
use std::ops::Range;
use toml::Spanned;

/// The port where a host serves its store, unless the file says otherwise: none that IANA gave
/// away.
const PORT: u16 = 7465;

/// Hosts that the file may name: a group of more keeps a ledger.
const HOSTS_MAX: usize = 64;

/// What the section says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    /// Whether there are any; nothing: in a fleet.
    pub enable: Option<bool>,
    /// Where this host serves its store.
    pub listen: SocketAddr,
    /// Where the others find it: `ADDRESS:PORT`; nothing: where `listen` says, with the address of
    /// this host's way out.
    pub advertise: Option<String>,
    /// Peers beside those of the fleet: `ADDRESS:PORT`.
    pub hosts: Vec<String>,
    /// Whether also others than peers are served.
    pub open: bool,
    /// The most that is sent, in bytes a second of all peers together.
    pub bytes_per_second: Option<u64>,
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            enable: None,
            // Both families, where the kernel has both.
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)),
            advertise: None,
            hosts: Vec::new(),
            open: false,
            bytes_per_second: None,
        }
    }
}

/// The table as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct PeersTable {
    enable: Option<bool>,
    listen: Option<Spanned<String>>,
    advertise: Option<Spanned<String>>,
    hosts: Vec<Spanned<String>>,
    open: bool,
    bytes_per_second: Option<Spanned<u64>>,
}

impl PeersTable {
    /// Its meaning.
    ///
    /// # Errors
    /// Where it is wrong, and what to write instead.
    pub(super) fn read(self) -> Result<Peers, (Range<usize>, String)> {
        let default = Peers::default();
        let listen = self.listen.as_ref().map(address).transpose()?.unwrap_or(default.listen);
        let place = |text: &Spanned<String>| address(text).map(|address| address.to_string());
        if let Some(over) = self.hosts.get(HOSTS_MAX) {
            return Err((
                over.span(),
                format!("more than {HOSTS_MAX} hosts: let a fleet name them"),
            ));
        }
        if let Some(none) = self.bytes_per_second.as_ref().filter(|rate| *rate.get_ref() == 0) {
            return Err((none.span(), "0: write enable = false to serve nothing".to_owned()));
        }
        Ok(Peers {
            // Whoever names hosts means them.
            enable: self.enable.or((!self.hosts.is_empty()).then_some(true)),
            listen,
            advertise: self.advertise.as_ref().map(place).transpose()?,
            hosts: self.hosts.iter().map(place).collect::<Result<_, _>>()?,
            open: self.open,
            bytes_per_second: self.bytes_per_second.map(Spanned::into_inner),
        })
    }
}

/// `ADDRESS:PORT`, with a number for an address: no name is looked up for a peer.
pub(super) fn address(text: &Spanned<String>) -> Result<SocketAddr, (Range<usize>, String)> {
    text.get_ref().parse().map_err(|_| {
        let found = text.get_ref();
        (
            text.span(),
            format!("{found:?} is no ADDRESS:PORT; write \"10.0.0.5:{PORT}\" or \"[::]:{PORT}\""),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Peers, (Range<usize>, String)> {
        toml::from_str::<PeersTable>(text).expect("a table").read()
    }

    #[test]
    fn the_section_is_read() {
        assert_eq!(read("").expect("nothing"), Peers::default());
        let text = "listen = '127.0.0.1:0'\nhosts = ['10.0.0.7:7465']\nbytes-per-second = 1000";
        let peers = read(text).expect("whole");
        assert_eq!((peers.enable, peers.hosts.len()), (Some(true), 1));
        assert_eq!(peers.listen, SocketAddr::from(([127, 0, 0, 1], 0)));
        assert_eq!(read("enable = false").expect("off").enable, Some(false));
        for (text, at) in [
            ("listen = '10.0.0.5'", 9),
            ("hosts = ['web-1:7465']", 9),
            ("advertise = 'me'", 12),
            ("bytes-per-second = 0", 19),
        ] {
            assert_eq!(read(text).expect_err(text).0.start, at, "{text}");
        }
    }
}
