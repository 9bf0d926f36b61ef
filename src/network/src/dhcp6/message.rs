//! Messages of DHCPv6 (RFC 8415) about one address: ours as bytes, a server's as a [`Reply`] that
//! was checked.
//!
//! A host needs seven of its options, all of them plain bytes, so they are read and written here.
//! (The codec that reads DHCPv4 here subtracts from lengths of DHCPv6 options before it looks at
//! them, and so panics at what anybody on the link may send.)

use crate::lease::Lease6;
use crate::router;
use std::net::{IpAddr, Ipv6Addr};

/// Types of messages: RFC 8415, section 7.3.
const SOLICIT: u8 = 1;
const ADVERTISE: u8 = 2;
const REQUEST: u8 = 3;
const RENEW: u8 = 5;
const REBIND: u8 = 6;
const REPLY: u8 = 7;

/// Options: section 21; the last two are of RFC 3646.
const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const ASSOCIATION: u16 = 3;
const ADDRESS: u16 = 5;
const OPTION_REQUEST: u16 = 6;
const ELAPSED_TIME: u16 = 8;
const STATUS: u16 = 13;
const NAME_SERVERS: u16 = 23;
const SEARCH: u16 = 24;

/// Bytes before the options: of a message, of an association, of an address within it.
const MESSAGE_BYTES: usize = 4;
const ASSOCIATION_BYTES: usize = 12;
const ADDRESS_BYTES: usize = 24;

/// `infinity` among times in seconds.
const FOR_EVER: u32 = u32::MAX;

/// Bytes of a server's DUID: RFC 8415, section 11.1.
const DUID_BYTES_MAX: usize = 130;

/// Letters of a server's reason that are shown.
const WHY_CHARS_MAX: usize = 80;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is for another host, or not from a server: nothing to speak of.
    #[error("it is not for us")]
    NotOurs,
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
fn own_association(mac: [u8; 6]) -> [u8; 4] {
    [mac[2], mac[3], mac[4], mac[5]]
}

/// The bytes of a request.
#[must_use]
pub fn encode(request: &Request, mac: [u8; 6]) -> Vec<u8> {
    let kind = match request.kind {
        Kind::Solicit => SOLICIT,
        Kind::Request => REQUEST,
        Kind::Renew => RENEW,
        Kind::Rebind => REBIND,
    };
    let [_, high, middle, low] = request.id.to_be_bytes();
    let mut bytes = vec![kind, high, middle, low];
    put(&mut bytes, CLIENT_ID, &own_duid(mac));
    if let Some(server) = &request.server {
        put(&mut bytes, SERVER_ID, server);
    }
    put(&mut bytes, ELAPSED_TIME, &request.elapsed_cs.to_be_bytes());
    let wanted = [NAME_SERVERS, SEARCH].map(u16::to_be_bytes);
    put(&mut bytes, OPTION_REQUEST, &wanted.concat());
    // T1, T2 and lifetimes of zero: the server shall say.
    let mut association = [&own_association(mac)[..], &[0; 8]].concat();
    if let Some(address) = request.address {
        put(&mut association, ADDRESS, &[&address.octets()[..], &[0; 8]].concat());
    }
    put(&mut bytes, ASSOCIATION, &association);
    bytes
}

fn put(bytes: &mut Vec<u8>, code: u16, value: &[u8]) {
    bytes.extend_from_slice(&code.to_be_bytes());
    bytes.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend_from_slice(value);
}

/// Options one after the other; one that is cut ends them.
fn options(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = bytes.split_first_chunk::<4>()?;
        let code = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = rest.get(..length)?;
        bytes = &rest[length..];
        Some((code, value))
    })
}

fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    options(bytes).find(|(code, _)| *code == wanted).map(|(_, value)| value)
}

fn seconds(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Reads what came to the client's port.
///
/// # Errors
/// [`Refusal`].
pub fn decode(bytes: &[u8], mac: [u8; 6]) -> Result<Reply, Refusal> {
    let Some(([kind, high, middle, low], rest)) = bytes.split_first_chunk::<MESSAGE_BYTES>() else {
        return Err(Refusal::NotOurs);
    };
    let is_offer = *kind == ADVERTISE;
    let is_ours = find(rest, CLIENT_ID) == Some(&own_duid(mac)[..]);
    if !is_ours || !(is_offer || *kind == REPLY) {
        return Err(Refusal::NotOurs);
    }
    let id = u32::from_be_bytes([0, *high, *middle, *low]);
    if let Some(why) = refusal(rest) {
        return Ok(Reply::Refuse(id, why));
    }
    let mut associations = options(rest).filter(|(code, _)| *code == ASSOCIATION);
    let own = associations.find(|(_, value)| value.starts_with(&own_association(mac)));
    let Some((_, association)) = own else {
        return Err(Refusal::Senseless("there is nothing in it for our interface"));
    };
    if let Some(why) = refusal(association.get(ASSOCIATION_BYTES..).unwrap_or_default()) {
        return Ok(Reply::Refuse(id, why));
    }
    match lease(rest, association)? {
        Some(lease) if is_offer => Ok(Reply::Advertise(id, Box::new(lease))),
        Some(lease) => Ok(Reply::Lend(id, Box::new(lease))),
        None => Ok(Reply::Refuse(id, "the address holds no longer".to_owned())),
    }
}

/// A status that is no success (0).
fn refusal(bytes: &[u8]) -> Option<String> {
    let ([high, low], words) = find(bytes, STATUS)?.split_first_chunk::<2>()?;
    let code = u16::from_be_bytes([*high, *low]);
    let words = String::from_utf8_lossy(words);
    let words: String = words.chars().filter(|c| !c.is_control()).take(WHY_CHARS_MAX).collect();
    (code != 0).then(|| format!("status {code} {words}"))
}

/// The first address that can be used; none if it is taken back.
fn lease(bytes: &[u8], association: &[u8]) -> Result<Option<Lease6>, Refusal> {
    use Refusal::Senseless;
    let server = find(bytes, SERVER_ID).unwrap_or_default();
    if server.is_empty() || server.len() > DUID_BYTES_MAX {
        return Err(Senseless("the server does not say who it is"));
    }
    let within = association.get(ASSOCIATION_BYTES..).unwrap_or_default();
    let address = find(within, ADDRESS).and_then(|value| value.first_chunk::<ADDRESS_BYTES>());
    let (Some(value), Some(renew_s), Some(rebind_s)) =
        (address, seconds(association, 4), seconds(association, 8))
    else {
        return Err(Senseless("there is no address in it"));
    };
    let address: [u8; 16] = value.first_chunk().copied().unwrap_or_default();
    let address = Ipv6Addr::from(address);
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        return Err(Senseless("the address is none that a host can have"));
    }
    let valid_s = seconds(value, 20).unwrap_or(0);
    if valid_s == 0 {
        return Ok(None);
    }
    // Zero leaves it to us: RFC 8415, section 21.4, recommends these shares.
    let or = |said_s: u32, share_s: u32| match said_s {
        0 => share_s,
        said_s => said_s.min(valid_s),
    };
    let rebind_s = or(rebind_s, valid_s / 5 * 4);
    Ok(Some(Lease6 {
        address,
        server: server.to_vec(),
        name_servers: name_servers(bytes),
        search: find(bytes, SEARCH).and_then(router::search).unwrap_or_default(),
        lease_s: (valid_s != FOR_EVER).then_some(valid_s),
        renew_s: or(renew_s, valid_s / 2).min(rebind_s),
        rebind_s,
    }))
}

fn name_servers(bytes: &[u8]) -> Vec<IpAddr> {
    router::addresses(find(bytes, NAME_SERVERS).unwrap_or_default())
}
