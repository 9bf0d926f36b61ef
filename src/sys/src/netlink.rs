//! rtnetlink(7): links, addresses, routes and policy rules of the kernel, asked and set.
//!
//! Is: the frames of netlink(7), and what the four kinds of objects look like in them. Sources:
//! netlink(7), rtnetlink(7), and of the kernel's headers linux/netlink.h, rtnetlink.h, if_addr.h,
//! if_link.h, fib_rules.h. The kernel answers a request before the call that sends it returns, so
//! nothing here waits. Numbers are in the machine's byte order, addresses in the network's.

mod address;
mod event;
mod link;
mod route;
mod rule;

pub use address::Address;
pub use event::{Events, Heard};
pub use link::{Link, MAC_BYTES};
pub use route::Route;
pub use rule::{Action, Rule};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

/// Bytes of one read: the kernel fills at most 32 KiB of a dump at a time (`NLMSG_GOODSIZE` and
/// af_netlink.c).
pub const READ_BYTES_MAX: usize = 64 * 1024;

/// How often a dump is begun again that the kernel changed under us.
const DUMPS_MAX: u32 = 16;

/// Bytes of `struct nlmsghdr` and of `struct nlattr`.
const HEADER_BYTES: usize = 16;
const ATTRIBUTE_BYTES: usize = 4;

/// Types of messages that belong to netlink itself.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// Flags of a message.
const NLM_F_REQUEST: u16 = 0x001;
const NLM_F_ACK: u16 = 0x004;
const NLM_F_DUMP_INTERRUPTED: u16 = 0x010;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCLUDE: u16 = 0x200;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE: u16 = 0x400;

/// Of an attribute's type: it is nested, it is in network byte order.
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Families of addresses.
const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Who made an object that a DHCP client made: `RTPROT_DHCP` of rtnetlink.h. Routes, rules and
/// (since Linux 5.18) addresses carry it, so that ours are known again after a restart.
pub const PROTOCOL_DHCP: u8 = 16;

/// Who made an object of the administrator's: `RTPROT_STATIC`.
pub const PROTOCOL_STATIC: u8 = 4;

/// A message on its way to the kernel.
#[derive(Debug)]
struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A message of this type, its fixed part first.
    fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend_from_slice(fixed);
        Self { bytes }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(ATTRIBUTE_BYTES + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(ATTRIBUTE_BYTES), 0);
    }

    fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    fn address(&mut self, kind: u16, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.attribute(kind, &address.octets()),
            IpAddr::V6(address) => self.attribute(kind, &address.octets()),
        }
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// One message from the kernel; borrows from what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

/// The messages of one read. Whatever is cut or makes no sense ends them.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let body = bytes.get(HEADER_BYTES..length)?;
        let message = Message {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            body,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes behind a message's fixed part, or within a nested one.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & NLA_TYPE_MASK;
        let value = bytes.get(ATTRIBUTE_BYTES..length)?;
        bytes = bytes.get(length.next_multiple_of(ATTRIBUTE_BYTES)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// An address of four or sixteen bytes.
fn address_of(value: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(value).ok().map(|octets| Ipv6Addr::from(octets).into())
}

const fn family_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    }
}

/// The address that stands for all of a family.
const fn unspecified(family: u8) -> IpAddr {
    match family {
        AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// A socket on which the kernel is asked and told, one request at a time.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens the socket. It stays in the network namespace of the calling thread.
    ///
    /// # Errors
    /// Those of socket(2) and bind(2).
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: open(SocketFlags::CLOEXEC, 0)?, sequence: 0 })
    }

    fn send(&mut self, request: Request) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = request.finish(self.sequence);
        rustix::net::send(&self.socket, &bytes, SendFlags::empty())?;
        Ok(())
    }

    /// Has the kernel do what a request says.
    fn tell(&mut self, mut request: Request) -> io::Result<()> {
        let flags = u16_at(&request.bytes, 6).unwrap_or(0) | NLM_F_ACK;
        request.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.send(request)?;
        let mut buffer = vec![0; READ_BYTES_MAX];
        loop {
            let bytes = self.read(&mut buffer)?;
            for message in messages(bytes) {
                if message.sequence == self.sequence && message.kind == NLMSG_ERROR {
                    return status(message.body);
                }
            }
        }
    }

    /// All objects of a kind: `see` gets each message's type and body.
    fn dump<T>(
        &mut self,
        kind: u16,
        fixed: &[u8],
        see: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let mut buffer = vec![0; READ_BYTES_MAX];
        for _ in 0..DUMPS_MAX {
            self.send(Request::new(kind, NLM_F_DUMP, fixed))?;
            if let Some(found) = self.dumped(&mut buffer, &see)? {
                return Ok(found);
            }
        }
        Err(io::Error::other("it changed each time that it was read"))
    }

    /// The answer to one dump; none if the kernel says that it changed meanwhile.
    fn dumped<T>(
        &self,
        buffer: &mut [u8],
        see: &impl Fn(u16, &[u8]) -> Option<T>,
    ) -> io::Result<Option<Vec<T>>> {
        let mut found = Vec::new();
        let mut is_whole = true;
        loop {
            let bytes = self.read(buffer)?;
            for message in messages(bytes).filter(|one| one.sequence == self.sequence) {
                is_whole &= message.flags & NLM_F_DUMP_INTERRUPTED == 0;
                match message.kind {
                    NLMSG_DONE => return Ok(is_whole.then_some(found)),
                    NLMSG_ERROR => {
                        status(message.body)?;
                        return Ok(is_whole.then_some(found));
                    }
                    kind => found.extend(see(kind, message.body)),
                }
            }
        }
    }

    fn read<'b>(&self, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let length = loop {
            match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((length, _)) => break length,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        match buffer.get(..length) {
            Some(bytes) if length > 0 => Ok(bytes),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// A socket of rtnetlink that is a member of these groups: bit `n - 1` for group `n`.
fn open(flags: SocketFlags, groups: u32) -> io::Result<OwnedFd> {
    // NETLINK_ROUTE is protocol 0, netlink's own default.
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// `struct nlmsgerr`: zero, or an error's number negated.
fn status(body: &[u8]) -> io::Result<()> {
    match u32_at(body, 0).map(u32::cast_signed) {
        Some(0) => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(number.saturating_neg())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// What is there already is as good as made.
fn or_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

/// What is gone already is as good as removed.
fn or_gone(result: io::Result<()>) -> io::Result<()> {
    const GONE: [i32; 4] = [libc::ENOENT, libc::ESRCH, libc::EADDRNOTAVAIL, libc::ENODEV];
    match result {
        Err(error) if error.raw_os_error().is_some_and(|number| GONE.contains(&number)) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
