//! One interface: its sockets, its machines, and what routers say on it.

use super::files::{Files, Leases};
use super::{Failure, at};
use crate::options::Options;
use network::dhcp4::{self, message as message4};
use network::dhcp6::{self, message as message6};
use network::plan::Lent;
use network::retry::NS_PER_S;
use network::router::{self, RouterWord};
use network::state::{self, State};
use network::{datagram, limits};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use sys::netlink::Link;
use sys::packet::{LinkUdp, PACKET_BYTES_MAX, PacketSocket};

/// All servers and relays of DHCPv6 on a link: RFC 8415, section 7.1.
const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// Packets that are read of one socket in one turn: others want to be heard too.
const PACKETS_MAX: usize = 16;

/// Kinds of bad packets that are said; a network full of them shall not fill a log.
const SAID_MAX: usize = 8;

/// What a router said, and until when it holds: `CLOCK_BOOTTIME` in nanoseconds.
type Until<T> = (T, u64);

/// One interface that is looked after.
#[derive(Debug)]
pub struct Interface {
    /// As the kernel described it last.
    pub link: Link,
    mac: [u8; 6],
    packets: PacketSocket,
    /// Sends to one server once there is an address. What it hears the other one hears too.
    udp4: LinkUdp,
    udp6: Option<LinkUdp>,
    dhcp4: dhcp4::Machine,
    dhcp6: dhcp6::Machine,
    name_servers: Vec<Until<IpAddr>>,
    search: Vec<Until<String>>,
    /// Refusals of packets that were said already.
    said: BTreeSet<String>,
    /// Something is not as others were told.
    is_touched: bool,
}

impl Interface {
    /// One that was found, with the leases of before.
    ///
    /// # Errors
    /// No sockets: another DHCP client runs, or no privilege.
    pub fn new(now_ns: u64, link: Link, options: &Options, files: &Files) -> Result<Self, Failure> {
        let mac = link.mac.unwrap_or_default();
        let Leases { ipv4, ipv6, .. } = files.recall(&link.name, mac);
        let seed = || {
            let random = sys::entropy::random().map(|(bytes, _)| bytes).unwrap_or_default();
            // The card's number tells hosts apart where the kernel has no random numbers yet.
            let own = mac.iter().fold(now_ns, |seed, byte| seed << 8 ^ u64::from(*byte));
            random.first_chunk().map_or(own, |first| u64::from_ne_bytes(*first) ^ own)
        };
        let packets = PacketSocket::open(link.index, dhcp4::CLIENT_PORT)
            .map_err(at("open a packet socket"))?;
        let udp4 = LinkUdp::open(&link.name, dhcp4::CLIENT_PORT, false)
            .map_err(at("take UDP port 68 (does another DHCP client run?)"))?;
        let mut interface = Self {
            mac,
            packets,
            udp4,
            udp6: None,
            dhcp4: dhcp4::Machine::new(seed(), ipv4, options.keeps_expired),
            dhcp6: dhcp6::Machine::new(seed(), ipv6, options.keeps_expired),
            name_servers: Vec::new(),
            search: Vec::new(),
            said: BTreeSet::new(),
            is_touched: true,
            link: Link { has_carrier: false, ..link.clone() },
        };
        interface.accept_routers();
        interface.update(now_ns, link, files);
        Ok(interface)
    }

    /// Has the kernel listen to routers, also on a host that forwards packets (containers).
    fn accept_routers(&self) {
        let path = format!("/proc/sys/net/ipv6/conf/{}/accept_ra", self.link.name);
        match std::fs::write(&path, "2") {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!("write {path}: {error}; routers may not be listened to");
            }
            _ => {}
        }
    }

    /// Whether this is that link: the number alone may be another card's by now.
    pub fn is(&self, link: &Link) -> bool {
        (self.link.index, &self.link.name, Some(self.mac)) == (link.index, &link.name, link.mac)
    }

    /// What the kernel says of it now.
    pub fn update(&mut self, now_ns: u64, link: Link, files: &Files) {
        let (has_carrier, is_managed) = (link.has_carrier, link.has_carrier && link.is_managed);
        if has_carrier != self.link.has_carrier {
            let has = if has_carrier { "has a carrier" } else { "lost its carrier" };
            tracing::info!("{}: {has}", link.name);
        }
        self.is_touched |= link != self.link;
        self.link = link;
        let effects = self.dhcp4.step(now_ns, dhcp4::Event::Carrier(has_carrier));
        self.carry_out4(effects, files);
        let effects = self.dhcp6.step(now_ns, dhcp6::Event::Managed(is_managed));
        self.carry_out6(effects, files);
    }

    /// What to wait for.
    pub fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let udp6 = self.udp6.as_ref().map(AsFd::as_fd);
        [self.packets.as_fd(), self.udp4.as_fd()].into_iter().chain(udp6)
    }

    /// When [`Interface::turn`] is due without anything heard.
    pub fn deadline_ns(&self) -> Option<u64> {
        let ends = self.name_servers.iter().map(|(_, until_ns)| *until_ns);
        let ends = ends.chain(self.search.iter().map(|(_, until_ns)| *until_ns));
        let machines = [self.dhcp4.deadline_ns(), self.dhcp6.deadline_ns()];
        machines.into_iter().flatten().chain(ends).min()
    }

    /// Hears servers and lets time pass; whether anything is not as others were told.
    pub fn turn(&mut self, now_ns: u64, files: &Files) -> bool {
        self.hear4(now_ns, files);
        self.hear6(now_ns, files);
        let effects = self.dhcp4.step(now_ns, dhcp4::Event::Tick);
        self.carry_out4(effects, files);
        let effects = self.dhcp6.step(now_ns, dhcp6::Event::Tick);
        self.carry_out6(effects, files);
        let count = self.name_servers.len() + self.search.len();
        self.name_servers.retain(|(_, until_ns)| *until_ns > now_ns);
        self.search.retain(|(_, until_ns)| *until_ns > now_ns);
        self.is_touched |= count != self.name_servers.len() + self.search.len();
        std::mem::take(&mut self.is_touched)
    }

    fn hear4(&mut self, now_ns: u64, files: &Files) {
        let mut buffer = [0; PACKET_BYTES_MAX];
        for _ in 0..PACKETS_MAX {
            // An error says that the link went down, which the kernel also tells of.
            let Ok(Some(packet)) = self.packets.receive(&mut buffer) else { break };
            let Some(bytes) = datagram::payload(packet, dhcp4::CLIENT_PORT) else { continue };
            match message4::decode(bytes, self.mac) {
                Ok(reply) => {
                    let effects = self.dhcp4.step(now_ns, dhcp4::Event::Reply(reply));
                    self.carry_out4(effects, files);
                }
                Err(message4::Refusal::NotOurs) => {}
                Err(refusal) => self.refused(&refusal),
            }
        }
        // The kernel's own socket at the port gets the same: it is emptied, never to be full.
        for _ in 0..PACKETS_MAX {
            let Ok(Some(_)) = self.udp4.receive(&mut buffer) else { break };
        }
    }

    fn hear6(&mut self, now_ns: u64, files: &Files) {
        let mut buffer = [0; PACKET_BYTES_MAX];
        for _ in 0..PACKETS_MAX {
            let Some(socket) = &self.udp6 else { break };
            let Ok(Some(bytes)) = socket.receive(&mut buffer) else { break };
            match message6::decode(bytes, self.mac) {
                Ok(reply) => {
                    let effects = self.dhcp6.step(now_ns, dhcp6::Event::Reply(reply));
                    self.carry_out6(effects, files);
                }
                Err(message6::Refusal::NotOurs) => {}
                Err(refusal) => self.refused(&refusal),
            }
        }
    }

    fn refused(&mut self, refusal: &impl std::fmt::Display) {
        let text = refusal.to_string();
        if self.said.len() < SAID_MAX && self.said.insert(text.clone()) {
            tracing::warn!("{}: a message of a DHCP server is not taken: {text}", self.link.name);
        }
    }

    fn carry_out4(&mut self, effects: Vec<dhcp4::Effect>, files: &Files) {
        for effect in effects {
            match effect {
                dhcp4::Effect::Send(request, to) => self.send4(&request, to.map(IpAddr::V4)),
                dhcp4::Effect::Say(text) => tracing::info!("{}: {text}", self.link.name),
                dhcp4::Effect::Hold(_) | dhcp4::Effect::Drop => self.changed(files),
            }
        }
    }

    fn carry_out6(&mut self, effects: Vec<dhcp6::Effect>, files: &Files) {
        for effect in effects {
            match effect {
                dhcp6::Effect::Send(request) => self.send6(&request),
                dhcp6::Effect::Say(text) => tracing::info!("{}: {text}", self.link.name),
                dhcp6::Effect::Hold(_) | dhcp6::Effect::Drop => self.changed(files),
            }
        }
    }

    /// The machines hold the leases; here they are written down.
    fn changed(&mut self, files: &Files) {
        self.is_touched = true;
        let leases = Leases {
            mac: self.mac,
            ipv4: self.dhcp4.held().cloned(),
            ipv6: self.dhcp6.held().cloned(),
        };
        if let Err(failure) = files.remember(&self.link.name, &leases) {
            tracing::error!("{failure}; a restart of this daemon will ask for leases anew");
        }
    }

    /// What is not sent is sent again: the machine's delays see to that.
    fn send4(&self, request: &message4::Request, to: Option<IpAddr>) {
        let Ok(bytes) = message4::encode(request, self.mac) else { return };
        let sent = match to {
            None => self.packets.broadcast(&datagram::broadcast(
                &bytes,
                dhcp4::CLIENT_PORT,
                dhcp4::SERVER_PORT,
            )),
            Some(server) => {
                let server = SocketAddr::new(server, dhcp4::SERVER_PORT);
                self.udp4.send(&bytes, server, self.link.index)
            }
        };
        if let Err(error) = sent {
            tracing::warn!("{}: ask a DHCP server: {error}", self.link.name);
        }
    }

    fn send6(&mut self, request: &message6::Request) {
        let bytes = message6::encode(request, self.mac);
        if self.udp6.is_none() {
            match LinkUdp::open(&self.link.name, dhcp6::CLIENT_PORT, true) {
                Ok(socket) => self.udp6 = Some(socket),
                Err(error) => {
                    tracing::warn!("{}: take UDP port 546: {error}", self.link.name);
                    return;
                }
            }
        }
        let Some(socket) = &self.udp6 else { return };
        let to = SocketAddr::new(ALL_SERVERS.into(), dhcp6::SERVER_PORT);
        if let Err(error) = socket.send(&bytes, to, self.link.index) {
            tracing::warn!("{}: ask a DHCPv6 server: {error}", self.link.name);
        }
    }

    /// Takes an option of a router's advertisement.
    pub fn router_says(&mut self, now_ns: u64, option: &[u8]) {
        let Some(option) = router::read(option) else { return };
        let until_ns = now_ns.saturating_add(u64::from(option.lifetime_s) * NS_PER_S);
        self.is_touched = true;
        match option.word {
            RouterWord::NameServers(list) => {
                renew(&mut self.name_servers, list, until_ns, limits::NAME_SERVERS_MAX);
            }
            RouterWord::Search(list) => {
                renew(&mut self.search, list, until_ns, limits::SEARCH_MAX);
            }
        }
    }

    /// What was lent on it.
    pub fn lent(&self) -> Lent<'_> {
        Lent {
            link: self.link.index,
            ipv4: self.dhcp4.held().map(|held| &held.lease),
            ipv6: self.dhcp6.held().map(|held| &held.lease),
        }
    }

    /// What it has to say of names and time.
    pub fn contribute(&self, now_ns: u64, state: &mut State) {
        let Lent { ipv4, ipv6, .. } = self.lent();
        if let Some(lease) = ipv4 {
            state.name_servers.extend(&lease.name_servers);
            state.search.extend(lease.search.iter().cloned());
            state.time_servers.extend(lease.time_servers.iter().copied().map(IpAddr::V4));
            state.host_name = state.host_name.take().or_else(|| lease.host_name.clone());
        }
        if let Some(lease) = ipv6 {
            state.name_servers.extend(&lease.name_servers);
            state.search.extend(lease.search.iter().cloned());
        }
        let holds = |until_ns: &u64| *until_ns > now_ns;
        let servers = self.name_servers.iter().filter(|(_, until_ns)| holds(until_ns));
        state.name_servers.extend(servers.map(|(server, _)| *server));
        let search = self.search.iter().filter(|(_, until_ns)| holds(until_ns));
        state.search.extend(search.map(|(domain, _)| domain.clone()));
    }

    /// How it stands, with the addresses that the kernel says can be used.
    pub fn describe(&self, addresses: Vec<String>) -> state::Interface {
        let mac = self.mac.map(|byte| format!("{byte:02x}")).join(":");
        let routes = self.lent().ipv4.map(|lease| lease.routes.as_slice()).unwrap_or_default();
        let default = routes.iter().find(|route| route.prefix_bits == 0);
        state::Interface {
            name: self.link.name.clone(),
            mac,
            carrier: self.link.has_carrier,
            mtu_bytes: self.link.mtu_bytes,
            addresses,
            gateway: default.map(|route| IpAddr::V4(route.gateway)),
            dhcp4: self.dhcp4.phase().word().to_owned(),
            dhcp6: self.dhcp6.phase().word().to_owned(),
        }
    }
}

/// What is said again holds as long as it was said last.
fn renew<T: PartialEq>(list: &mut Vec<Until<T>>, said: Vec<T>, until_ns: u64, count_max: usize) {
    list.retain(|(known, _)| !said.contains(known));
    list.extend(said.into_iter().map(|one| (one, until_ns)));
    // The oldest go.
    let excess = list.len().saturating_sub(count_max);
    list.drain(..excess);
}
