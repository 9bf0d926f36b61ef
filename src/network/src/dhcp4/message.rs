//! Messages of DHCPv4 (RFC 2131, options of RFC 2132, 3397 and 3442): ours as bytes, a server's
//! as a [`Reply`] that was checked.
//!
//! The codec is crate `dhcproto`'s. It is given the options that we read and no others, since its
//! readers of rare ones trust their lengths; and what it reads is a stranger's word still: every
//! address, name and number is looked at before anything is made of it.

use crate::lease::{Lease4, Route4};
use crate::limits::{
    MESSAGE_BYTES_MAX, MTU_BYTES_MIN, NAME_SERVERS_MAX, ROUTES_MAX, SEARCH_MAX, TIME_SERVERS_MAX,
};
use crate::names;
use dhcproto::v4::{
    Decodable, Decoder, DhcpOption, DhcpOptions, Encodable, Encoder, Message, MessageType, Opcode,
    OptionCode,
};
use std::net::{IpAddr, Ipv4Addr};

/// `infinity` of RFC 2131 among times in seconds.
const FOR_EVER: u32 = u32::MAX;

/// Shortest lease that makes sense, in seconds: below it a host would do nothing but ask.
const LEASE_S_MIN: u32 = 10;

/// What is asked for. RFC 3442 wants 121 before 3.
const WANTED: [OptionCode; 11] = [
    OptionCode::SubnetMask,
    OptionCode::ClasslessStaticRoute,
    OptionCode::Router,
    OptionCode::DomainNameServer,
    OptionCode::Hostname,
    OptionCode::DomainName,
    OptionCode::DomainSearch,
    OptionCode::InterfaceMtu,
    OptionCode::NtpServers,
    OptionCode::Renewal,
    OptionCode::Rebinding,
];

/// What is read beside that: lease time, kind, server, its words.
const READ: [u8; 4] = [51, 53, 54, 56];

/// Bytes before the options: the fixed part (RFC 2131, section 2) and the magic cookie.
const FIXED_BYTES: usize = 240;

/// RFC 2132: an option without a length, and the one that ends them.
const PAD: u8 = 0;
const END: u8 = 255;

/// A message of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whether it asks who lends addresses, or for one.
    pub is_discover: bool,
    /// The transaction.
    pub id: u32,
    /// How long we have been at it, in seconds.
    pub seconds: u16,
    /// The address that we use already.
    pub own: Option<Ipv4Addr>,
    /// The address that we want.
    pub wanted: Option<Ipv4Addr>,
    /// The server whose offer we take.
    pub server: Option<Ipv4Addr>,
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// You might have this.
    Offer(u32, Box<Lease4>),
    /// This is yours.
    Ack(u32, Box<Lease4>),
    /// You cannot have what you asked for; and why, if it says.
    Nak(u32, String),
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

/// The bytes of a request.
///
/// # Errors
/// None that any [`Request`] leads to; the codec's type says that there may be.
pub fn encode(request: &Request, mac: [u8; 6]) -> Result<Vec<u8>, Refusal> {
    let mut message = Message::default();
    message.set_xid(request.id).set_secs(request.seconds).set_chaddr(&mac);
    message.set_ciaddr(request.own.unwrap_or(Ipv4Addr::UNSPECIFIED));
    let options = message.opts_mut();
    let kind = if request.is_discover { MessageType::Discover } else { MessageType::Request };
    options.insert(DhcpOption::MessageType(kind));
    // Type 1 is Ethernet: the identity that a server would make up by itself.
    options.insert(DhcpOption::ClientIdentifier([&[1], &mac[..]].concat()));
    options.insert(DhcpOption::MaxMessageSize(MESSAGE_BYTES_MAX));
    options.insert(DhcpOption::ParameterRequestList(WANTED.to_vec()));
    if let Some(wanted) = request.wanted {
        options.insert(DhcpOption::RequestedIpAddress(wanted));
    }
    if let Some(server) = request.server {
        options.insert(DhcpOption::ServerIdentifier(server));
    }
    let mut bytes = Vec::new();
    let written = message.encode(&mut Encoder::new(&mut bytes));
    written.map_err(|error| Refusal::Malformed(error.to_string()))?;
    // RFC 1542: a BOOTP message has at least 300 bytes, and old relays insist.
    bytes.resize(bytes.len().max(300), 0);
    Ok(bytes)
}

/// Reads what came to the client's port.
///
/// # Errors
/// [`Refusal`].
pub fn decode(bytes: &[u8], mac: [u8; 6]) -> Result<Reply, Refusal> {
    let message = Message::decode(&mut Decoder::new(&sieve(bytes)))
        .map_err(|error| Refusal::Malformed(error.to_string()))?;
    // The address may be cut short by what the message says of its length.
    let is_ours = bytes.get(28..34) == Some(&mac[..]);
    if message.opcode() != Opcode::BootReply || !is_ours {
        return Err(Refusal::NotOurs);
    }
    let id = message.xid();
    match message.opts().msg_type() {
        Some(MessageType::Offer) => Ok(Reply::Offer(id, Box::new(lease(&message)?))),
        Some(MessageType::Ack) => Ok(Reply::Ack(id, Box::new(lease(&message)?))),
        Some(MessageType::Nak) => Ok(Reply::Nak(id, why(message.opts()))),
        _ => Err(Refusal::NotOurs),
    }
}

/// The message with no options but those that we read. One that is cut ends them.
fn sieve(bytes: &[u8]) -> Vec<u8> {
    let (fixed, mut rest) = bytes.split_at(bytes.len().min(FIXED_BYTES));
    let mut sieved = fixed.to_vec();
    while let Some((code, behind)) = rest.split_first() {
        if *code == PAD {
            rest = behind;
            continue;
        }
        let length = behind.first().map_or(0, |length| 1 + usize::from(*length));
        let Some(option) = behind.get(..length).filter(|_| *code != END && length > 0) else {
            break;
        };
        if READ.contains(code) || WANTED.iter().any(|wanted| u8::from(*wanted) == *code) {
            sieved.push(*code);
            sieved.extend_from_slice(option);
        }
        rest = &behind[length..];
    }
    sieved.push(END);
    sieved
}

fn why(options: &DhcpOptions) -> String {
    let Some(DhcpOption::Message(text)) = options.get(OptionCode::Message) else {
        return String::new();
    };
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// An address that a host may have.
fn is_host(address: Ipv4Addr) -> bool {
    let is_special = address.is_unspecified() || address.is_loopback() || address.is_broadcast();
    !is_special && !address.is_multicast() && address.octets()[0] != 0
}

fn hosts(list: &[Ipv4Addr], count_max: usize) -> Vec<Ipv4Addr> {
    list.iter().copied().filter(|address| is_host(*address)).take(count_max).collect()
}

fn lease(message: &Message) -> Result<Lease4, Refusal> {
    use Refusal::Senseless;
    let options = message.opts();
    let address = message.yiaddr();
    if !is_host(address) {
        return Err(Senseless("the address is none that a host can have"));
    }
    let Some(DhcpOption::ServerIdentifier(server)) = options.get(OptionCode::ServerIdentifier)
    else {
        return Err(Senseless("the server does not say who it is"));
    };
    let Some(DhcpOption::SubnetMask(mask)) = options.get(OptionCode::SubnetMask) else {
        return Err(Senseless("there is no subnet mask"));
    };
    let prefix_bits = prefix_of(*mask).ok_or(Senseless("the subnet mask has gaps"))?;
    let lease_s = match options.get(OptionCode::AddressLeaseTime) {
        Some(DhcpOption::AddressLeaseTime(seconds)) => *seconds,
        _ => return Err(Senseless("there is no lease time")),
    };
    if lease_s < LEASE_S_MIN {
        return Err(Senseless("the lease is shorter than ten seconds"));
    }
    let (renew_s, rebind_s) = times(options, lease_s);
    Ok(Lease4 {
        address,
        prefix_bits,
        server: *server,
        routes: routes(options),
        name_servers: name_servers(options),
        search: search(options),
        host_name: match options.get(OptionCode::Hostname) {
            Some(DhcpOption::Hostname(name)) => names::domain(name),
            _ => None,
        },
        mtu_bytes: match options.get(OptionCode::InterfaceMtu) {
            Some(DhcpOption::InterfaceMtu(bytes)) => {
                Some(u32::from(*bytes)).filter(|bytes| *bytes >= MTU_BYTES_MIN)
            }
            _ => None,
        },
        time_servers: match options.get(OptionCode::NtpServers) {
            Some(DhcpOption::NtpServers(list)) => hosts(list, TIME_SERVERS_MAX),
            _ => Vec::new(),
        },
        lease_s: (lease_s != FOR_EVER).then_some(lease_s),
        renew_s,
        rebind_s,
    })
}

/// Leading ones, if nothing but zeros follows.
fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let ones = mask.to_bits().leading_ones();
    (mask.to_bits().checked_shl(ones).unwrap_or(0) == 0 && ones > 0)
        .then(|| u8::try_from(ones).ok())?
}

/// T1 and T2: the server's if they are in order, else a half and seven eighths of the lease.
fn times(options: &DhcpOptions, lease_s: u32) -> (u32, u32) {
    let rebind_s = match options.get(OptionCode::Rebinding) {
        Some(DhcpOption::Rebinding(seconds)) if *seconds < lease_s && *seconds > 0 => *seconds,
        _ => lease_s - lease_s / 8,
    };
    let renew_s = match options.get(OptionCode::Renewal) {
        Some(DhcpOption::Renewal(seconds)) if *seconds < rebind_s && *seconds > 0 => *seconds,
        _ => rebind_s.min(lease_s / 2),
    };
    (renew_s, rebind_s)
}

/// RFC 3442: where there are classless routes the routers count for nothing.
fn routes(options: &DhcpOptions) -> Vec<Route4> {
    if let Some(DhcpOption::ClasslessStaticRoute(list)) =
        options.get(OptionCode::ClasslessStaticRoute)
    {
        let sound = |gateway: Ipv4Addr| gateway.is_unspecified() || is_host(gateway);
        return list
            .iter()
            .filter(|(_, gateway)| sound(*gateway))
            .map(|(net, gateway)| Route4 {
                destination: net.network(),
                prefix_bits: net.prefix_len(),
                gateway: *gateway,
            })
            .take(ROUTES_MAX)
            .collect();
    }
    let Some(DhcpOption::Router(list)) = options.get(OptionCode::Router) else {
        return Vec::new();
    };
    let destination = Ipv4Addr::UNSPECIFIED;
    let best = list.iter().copied().find(|gateway| is_host(*gateway));
    best.map(|gateway| Route4 { destination, prefix_bits: 0, gateway }).into_iter().collect()
}

fn name_servers(options: &DhcpOptions) -> Vec<IpAddr> {
    match options.get(OptionCode::DomainNameServer) {
        Some(DhcpOption::DomainNameServer(list)) => {
            hosts(list, NAME_SERVERS_MAX).into_iter().map(IpAddr::V4).collect()
        }
        _ => Vec::new(),
    }
}

/// The search list if there is one, else the domain. Several in the domain's option, as EC2 lets
/// its users write, are a search list too.
fn search(options: &DhcpOptions) -> Vec<String> {
    if let Some(DhcpOption::DomainSearch(list)) = options.get(OptionCode::DomainSearch) {
        let names = list.iter().filter_map(|name| names::domain(&name.to_ascii()));
        return names.take(SEARCH_MAX).collect();
    }
    match options.get(OptionCode::DomainName) {
        Some(DhcpOption::DomainName(text)) => {
            text.split_ascii_whitespace().filter_map(names::domain).take(SEARCH_MAX).collect()
        }
        _ => Vec::new(),
    }
}
