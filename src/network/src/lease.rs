//! What a server lends: addresses, and what it says of the network around them.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A lease of DHCPv4, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lease4 {
    /// The address.
    pub address: Ipv4Addr,
    /// Leading bits that neighbours share.
    pub prefix_bits: u8,
    /// Who lends it.
    pub server: Ipv4Addr,
    /// Ways to elsewhere; to everywhere is one with no bits.
    pub routes: Vec<Route4>,
    /// Name servers, the best first.
    pub name_servers: Vec<IpAddr>,
    /// Domains to search.
    pub search: Vec<String>,
    /// What the network calls this host.
    pub host_name: Option<String>,
    /// The largest packet, in bytes.
    pub mtu_bytes: Option<u32>,
    /// Time servers.
    pub time_servers: Vec<Ipv4Addr>,
    /// How long it is lent, in seconds; none: for ever.
    pub lease_s: Option<u32>,
    /// When to ask its server again, and when anybody, in seconds from the beginning.
    pub renew_s: u32,
    /// See `renew_s`.
    pub rebind_s: u32,
}

/// One way to elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Route4 {
    /// Where to.
    pub destination: Ipv4Addr,
    /// Leading bits of it that count.
    pub prefix_bits: u8,
    /// Through whom; unspecified: it is on the link.
    pub gateway: Ipv4Addr,
}

/// A lease of DHCPv6, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lease6 {
    /// The address. DHCPv6 says nothing of neighbours: routers do.
    pub address: Ipv6Addr,
    /// Who lends it: its DUID.
    pub server: Vec<u8>,
    /// Name servers, the best first.
    pub name_servers: Vec<IpAddr>,
    /// Domains to search.
    pub search: Vec<String>,
    /// How long it is lent, in seconds; none: for ever.
    pub lease_s: Option<u32>,
    /// When to ask its server again, and when anybody, in seconds from the beginning.
    pub renew_s: u32,
    /// See `renew_s`.
    pub rebind_s: u32,
}

/// A lease, and since when it is ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Held<T> {
    /// What is lent.
    pub lease: T,
    /// When the request was sent that it answers: `CLOCK_BOOTTIME` in nanoseconds.
    pub since_ns: u64,
}
