//! Routes.

use super::{
    AF_UNSPEC, NLM_F_CREATE, NLM_F_REPLACE, Netlink, Request, address_of, attributes, family_of,
    or_gone, u32_at, unspecified,
};
use std::io;
use std::net::IpAddr;

/// `struct rtmsg`: family, destination's prefix, source's prefix, tos, table, protocol, scope,
/// type, flags.
const FIXED_BYTES: usize = 12;

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;

/// `RTN_UNICAST`, `RT_SCOPE_UNIVERSE`, `RT_SCOPE_LINK`.
const UNICAST: u8 = 1;
const SCOPE_GLOBAL: u8 = 0;
const SCOPE_LINK: u8 = 253;

/// The gateway is on the link, whatever the addresses say.
const RTNH_F_ONLINK: u32 = 4;

/// The route was cloned out of another one; not an entry of a table.
const RTM_F_CLONED: u32 = 0x200;

/// The main table, in which everybody looks.
pub const TABLE_MAIN: u32 = 254;

/// A unicast route through one interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Where to: the network's address.
    pub destination: IpAddr,
    /// Leading bits of the destination that count.
    pub prefix_bits: u8,
    /// Through whom; none: the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The gateway is on the link although no address says so.
    pub is_onlink: bool,
    /// Number of the interface.
    pub link: u32,
    /// Source address of packets that have none yet.
    pub source: Option<IpAddr>,
    /// The lower, the better.
    pub metric: u32,
    /// Table it is in: [`Route::MAIN`], or one that rules lead to.
    pub table: u32,
    /// Who made it: [`super::PROTOCOL_DHCP`], or anybody's.
    pub protocol: u8,
}

impl Route {
    /// The table in which everybody looks.
    pub const MAIN: u32 = TABLE_MAIN;

    pub(super) fn parse(kind: u16, body: &[u8]) -> Option<Self> {
        let (family, flags) = (*body.first()?, u32_at(body, 8)?);
        if kind != RTM_NEWROUTE || *body.get(7)? != UNICAST || flags & RTM_F_CLONED != 0 {
            return None;
        }
        let mut route = Self {
            destination: unspecified(family),
            prefix_bits: *body.get(1)?,
            gateway: None,
            is_onlink: flags & RTNH_F_ONLINK != 0,
            link: 0,
            source: None,
            metric: 0,
            table: u32::from(*body.get(4)?),
            protocol: *body.get(5)?,
        };
        for (kind, value) in attributes(body.get(FIXED_BYTES..)?) {
            match kind {
                RTA_DST => route.destination = address_of(value)?,
                RTA_OIF => route.link = u32_at(value, 0)?,
                RTA_GATEWAY => route.gateway = address_of(value),
                RTA_PRIORITY => route.metric = u32_at(value, 0)?,
                RTA_PREFSRC => route.source = address_of(value),
                RTA_TABLE => route.table = u32_at(value, 0)?,
                _ => {}
            }
        }
        // Several next hops, or none: not of our make.
        (route.link != 0).then_some(route)
    }

    fn request(&self, kind: u16, flags: u16) -> Request {
        let is_removed = kind == RTM_DELROUTE;
        let mut fixed = [0; FIXED_BYTES];
        fixed[0] = family_of(self.destination);
        fixed[1] = self.prefix_bits;
        fixed[4] = u8::try_from(self.table).unwrap_or(0);
        fixed[5] = self.protocol;
        fixed[6] = match (self.destination, self.gateway) {
            (IpAddr::V4(_), None) => SCOPE_LINK,
            _ => SCOPE_GLOBAL,
        };
        fixed[7] = UNICAST;
        if self.is_onlink && !is_removed {
            fixed[8..12].copy_from_slice(&RTNH_F_ONLINK.to_ne_bytes());
        }
        let mut request = Request::new(kind, flags, &fixed);
        if self.prefix_bits > 0 {
            request.address(RTA_DST, self.destination);
        }
        request.number(RTA_TABLE, self.table);
        request.number(RTA_OIF, self.link);
        request.number(RTA_PRIORITY, self.metric);
        if let Some(gateway) = self.gateway {
            request.address(RTA_GATEWAY, gateway);
        }
        if let Some(source) = self.source {
            request.address(RTA_PREFSRC, source);
        }
        request
    }
}

impl Netlink {
    /// All unicast routes with one next hop, of all tables.
    ///
    /// # Errors
    /// Those of sendto(2), recvfrom(2) and rtnetlink(7).
    pub fn routes(&mut self) -> io::Result<Vec<Route>> {
        let mut fixed = [0; FIXED_BYTES];
        fixed[0] = AF_UNSPEC;
        self.dump(RTM_GETROUTE, &fixed, Route::parse)
    }

    /// Makes a route; one to the same place with the same metric is replaced.
    ///
    /// # Errors
    /// `ENETUNREACH` if the gateway is on no link, `ENETDOWN`, `EINVAL`, `EPERM`.
    pub fn add_route(&mut self, route: &Route) -> io::Result<()> {
        self.tell(route.request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE))
    }

    /// Removes a route; one that is gone already is no error.
    ///
    /// # Errors
    /// `EPERM`, or those of sendto(2).
    pub fn remove_route(&mut self, route: &Route) -> io::Result<()> {
        or_gone(self.tell(route.request(RTM_DELROUTE, 0)))
    }
}
