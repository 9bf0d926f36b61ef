//! Links: interfaces of the network.

use super::{AF_INET6, AF_UNSPEC, Netlink, Request, attributes, u16_at, u32_at};
use std::io;

/// `struct ifinfomsg`: family, padding, type, index, flags, mask of flags to change.
const FIXED_BYTES: usize = 16;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_AF_SPEC: u16 = 26;

/// Within `IFLA_AF_SPEC`'s part of IPv6, linux/if_link.h: the flags of `struct inet6_dev`.
const IFLA_INET6_FLAGS: u16 = 1;

/// The last router advertisement says that addresses come by DHCPv6 (net/if_inet6.h).
const IF_RA_MANAGED: u32 = 0x40;

/// netdevice(7).
const IFF_UP: u32 = 0x1;
const IFF_LOOPBACK: u32 = 0x8;
const IFF_LOWER_UP: u32 = 0x10000;

/// `ARPHRD_ETHER` of linux/if_arp.h.
const ETHERNET: u16 = 1;

/// Bytes of an Ethernet address.
pub const MAC_BYTES: usize = 6;

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address; none if it is no Ethernet.
    pub mac: Option<[u8; MAC_BYTES]>,
    /// The largest packet, in bytes.
    pub mtu_bytes: u32,
    /// Somebody brought it up.
    pub is_up: bool,
    /// There is a carrier.
    pub has_carrier: bool,
    /// The loopback.
    pub is_loopback: bool,
    /// A router says that addresses come by DHCPv6.
    pub is_managed: bool,
}

impl Link {
    /// Reads a message's body.
    pub(super) fn parse(kind: u16, body: &[u8]) -> Option<Self> {
        if kind != RTM_NEWLINK {
            return None;
        }
        let flags = u32_at(body, 8)?;
        let mut link = Self {
            index: u32_at(body, 4)?,
            name: String::new(),
            mac: None,
            mtu_bytes: 0,
            is_up: flags & IFF_UP != 0,
            has_carrier: flags & IFF_LOWER_UP != 0,
            is_loopback: flags & IFF_LOOPBACK != 0,
            is_managed: false,
        };
        let is_ethernet = u16_at(body, 2)? == ETHERNET;
        for (kind, value) in attributes(body.get(FIXED_BYTES..)?) {
            match kind {
                IFLA_IFNAME => {
                    let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
                    link.name = String::from_utf8(name.to_vec()).ok()?;
                }
                IFLA_ADDRESS if is_ethernet => link.mac = value.try_into().ok(),
                IFLA_MTU => link.mtu_bytes = u32_at(value, 0)?,
                IFLA_AF_SPEC => link.is_managed = is_managed(value),
                _ => {}
            }
        }
        Some(link)
    }
}

fn is_managed(families: &[u8]) -> bool {
    let own = attributes(families).find(|(family, _)| *family == u16::from(AF_INET6));
    own.and_then(|(_, values)| attributes(values).find(|(kind, _)| *kind == IFLA_INET6_FLAGS))
        .and_then(|(_, value)| u32_at(value, 0))
        .is_some_and(|flags| flags & IF_RA_MANAGED != 0)
}

impl Netlink {
    /// All interfaces, in the order of their numbers.
    ///
    /// # Errors
    /// Those of sendto(2), recvfrom(2) and rtnetlink(7).
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let mut fixed = [0; FIXED_BYTES];
        fixed[0] = AF_UNSPEC;
        let mut links = self.dump(RTM_GETLINK, &fixed, Link::parse)?;
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// Brings an interface up; one that is up stays so.
    ///
    /// # Errors
    /// `ENODEV` if it is gone, `EPERM` without privilege, or what its driver says.
    pub fn bring_up(&mut self, index: u32) -> io::Result<()> {
        let mut fixed = [0; FIXED_BYTES];
        fixed[4..8].copy_from_slice(&index.to_ne_bytes());
        fixed[8..12].copy_from_slice(&IFF_UP.to_ne_bytes());
        fixed[12..16].copy_from_slice(&IFF_UP.to_ne_bytes());
        self.tell(Request::new(RTM_NEWLINK, 0, &fixed))
    }

    /// Sets the largest packet of an interface, in bytes.
    ///
    /// # Errors
    /// `EINVAL` if the device cannot; `ENODEV`, `EPERM`.
    pub fn set_mtu(&mut self, index: u32, mtu_bytes: u32) -> io::Result<()> {
        let mut fixed = [0; FIXED_BYTES];
        fixed[4..8].copy_from_slice(&index.to_ne_bytes());
        let mut request = Request::new(RTM_NEWLINK, 0, &fixed);
        request.number(IFLA_MTU, mtu_bytes);
        self.tell(request)
    }
}
