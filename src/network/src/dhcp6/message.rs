//! Messages of DHCPv6 (RFC 8415) about one address: ours as bytes, a server's as a [`Reply`] that
//! was checked. The codec is crate `dhcproto`'s.

use crate::lease::Lease6;
use crate::limits::{NAME_SERVERS_MAX, SEARCH_MAX};
use crate::names;
use dhcproto::v6::{
    Decodable, Decoder, DhcpOption, DhcpOptions, Encodable, Encoder, IAAddr, IANA, Message,
    MessageType, ORO, OptionCode, Status,
};
use std::net::{IpAddr, Ipv6Addr};

/// `infinity` among times in seconds.
const FOR_EVER: u32 = u32::MAX;

/// Bytes of a server's DUID: RFC 8415, section 11.1.
const DUID_BYTES_MAX: usize = 130;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who lends addresses?
    Solicit,
    /// This server's offer.
    Request,
    /// Prolong it, of its server.
    Renew,
    /// Prolong it, of anybody.
    Rebind,
}

/// A message of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it asks for.
    pub kind: Kind,
    /// The transaction: 24 bits.
    pub id: u32,
    /// How long we have been at it, in hundredths of a second.
    pub elapsed_cs: u16,
    /// The server that it is for.
    pub server: Option<Vec<u8>>,
    /// The address that we have or were offered.
    pub address: Option<Ipv6Addr>,
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// You might have this.
    Advertise(u32, Box<Lease6>),
    /// This is yours.
    Lend(u32, Box<Lease6>),
    /// There is none for you, or no longer; and why.
    Refuse(u32, String),
}

/// Why a message is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is for another host, or not from a server: nothing to speak of.
    #[error("it is not for us")]
    NotOurs,
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Malformed(String),
    /// It can be read and makes no sense.
    #[error("it makes no sense: {0}")]
    Senseless(&'static str),
}

/// Who we are: type 3 (link-layer address) on Ethernet, so the same in every boot, without a file.
#[must_use]
pub fn own_duid(mac: [u8; 6]) -> Vec<u8> {
    [&[0, 3, 0, 1], &mac[..]].concat()
}

/// Which of our interfaces it is.
fn own_association(mac: [u8; 6]) -> u32 {
    u32::from_be_bytes([mac[2], mac[3], mac[4], mac[5]])
}

/// The bytes of a request.
///
/// # Errors
/// None that any [`Request`] leads to; the codec's type says that there may be.
pub fn encode(request: &Request, mac: [u8; 6]) -> Result<Vec<u8>, Refusal> {
    let kind = match request.kind {
        Kind::Solicit => MessageType::Solicit,
        Kind::Request => MessageType::Request,
        Kind::Renew => MessageType::Renew,
        Kind::Rebind => MessageType::Rebind,
    };
    let mut message = Message::new(kind);
    message.set_xid_num(request.id);
    let options = message.opts_mut();
    options.insert(DhcpOption::ClientId(own_duid(mac)));
    if let Some(server) = &request.server {
        options.insert(DhcpOption::ServerId(server.clone()));
    }
    options.insert(DhcpOption::ElapsedTime(request.elapsed_cs));
    let opts = vec![OptionCode::DomainNameServers, OptionCode::DomainSearchList];
    options.insert(DhcpOption::ORO(ORO { opts }));
    let mut association = IANA { id: own_association(mac), t1: 0, t2: 0, opts: DhcpOptions::new() };
    if let Some(addr) = request.address {
        let opts = DhcpOptions::new();
        let address = IAAddr { addr, preferred_life: 0, valid_life: 0, opts };
        association.opts.insert(DhcpOption::IAAddr(address));
    }
    options.insert(DhcpOption::IANA(association));
    let mut bytes = Vec::new();
    let written = message.encode(&mut Encoder::new(&mut bytes));
    written.map_err(|error| Refusal::Malformed(error.to_string()))?;
    Ok(bytes)
}

/// Reads what came to the client's port.
///
/// # Errors
/// [`Refusal`].
pub fn decode(bytes: &[u8], mac: [u8; 6]) -> Result<Reply, Refusal> {
    let message = Message::decode(&mut Decoder::new(bytes))
        .map_err(|error| Refusal::Malformed(error.to_string()))?;
    let is_offer = match message.msg_type() {
        MessageType::Advertise => true,
        MessageType::Reply => false,
        _ => return Err(Refusal::NotOurs),
    };
    let options = message.opts();
    match options.get(OptionCode::ClientId) {
        Some(DhcpOption::ClientId(duid)) if *duid == own_duid(mac) => {}
        _ => return Err(Refusal::NotOurs),
    }
    let id = message.xid_num();
    if let Some(why) = refusal(options) {
        return Ok(Reply::Refuse(id, why));
    }
    let Some(DhcpOption::IANA(association)) = options.get(OptionCode::IANA) else {
        return Err(Refusal::Senseless("there is no address in it"));
    };
    if association.id != own_association(mac) {
        return Err(Refusal::NotOurs);
    }
    if let Some(why) = refusal(&association.opts) {
        return Ok(Reply::Refuse(id, why));
    }
    match lease(options, association)? {
        Some(lease) if is_offer => Ok(Reply::Advertise(id, Box::new(lease))),
        Some(lease) => Ok(Reply::Lend(id, Box::new(lease))),
        None => Ok(Reply::Refuse(id, "the address holds no longer".to_owned())),
    }
}

/// A status that is no success.
fn refusal(options: &DhcpOptions) -> Option<String> {
    let Some(DhcpOption::StatusCode(code)) = options.get(OptionCode::StatusCode) else {
        return None;
    };
    let words: String = code.msg.chars().filter(|c| !c.is_control()).take(80).collect();
    (code.status != Status::Success).then(|| format!("{:?} {words}", code.status))
}

/// The first address that can be used; none if it is taken back.
fn lease(options: &DhcpOptions, association: &IANA) -> Result<Option<Lease6>, Refusal> {
    use Refusal::Senseless;
    let Some(DhcpOption::ServerId(server)) = options.get(OptionCode::ServerId) else {
        return Err(Senseless("the server does not say who it is"));
    };
    if server.is_empty() || server.len() > DUID_BYTES_MAX {
        return Err(Senseless("the server's identity has no sound length"));
    }
    let Some(DhcpOption::IAAddr(address)) = association.opts.get(OptionCode::IAAddr) else {
        return Err(Senseless("there is no address in it"));
    };
    let IAAddr { addr, valid_life: valid_s, .. } = *address;
    if addr.is_unspecified() || addr.is_loopback() || addr.is_multicast() {
        return Err(Senseless("the address is none that a host can have"));
    }
    if valid_s == 0 {
        return Ok(None);
    }
    // Zero leaves it to us: RFC 8415, section 21.4, recommends these shares.
    let or = |seconds: u32, share: u32| match seconds {
        0 => share,
        seconds => seconds.min(valid_s),
    };
    let rebind_s = or(association.t2, valid_s / 5 * 4);
    let renew_s = or(association.t1, valid_s / 2).min(rebind_s);
    Ok(Some(Lease6 {
        address: addr,
        server: server.clone(),
        name_servers: name_servers(options),
        search: search(options),
        lease_s: (valid_s != FOR_EVER).then_some(valid_s),
        renew_s,
        rebind_s,
    }))
}

fn name_servers(options: &DhcpOptions) -> Vec<IpAddr> {
    let Some(DhcpOption::DomainNameServers(list)) = options.get(OptionCode::DomainNameServers)
    else {
        return Vec::new();
    };
    let sound = |address: &&Ipv6Addr| !address.is_unspecified() && !address.is_multicast();
    list.iter().filter(sound).map(|address| IpAddr::V6(*address)).take(NAME_SERVERS_MAX).collect()
}

fn search(options: &DhcpOptions) -> Vec<String> {
    match options.get(OptionCode::DomainSearchList) {
        Some(DhcpOption::DomainSearchList(list)) => {
            let names = list.iter().filter_map(|name| names::domain(&name.to_ascii()));
            names.take(SEARCH_MAX).collect()
        }
        _ => Vec::new(),
    }
}
