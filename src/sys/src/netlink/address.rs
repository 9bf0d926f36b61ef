//! Addresses of interfaces.

use super::{
    AF_UNSPEC, NLM_F_CREATE, NLM_F_REPLACE, Netlink, Request, address_of, attributes, family_of,
    or_gone, u32_at,
};
use std::io;
use std::net::IpAddr;

/// `struct ifaddrmsg`: family, prefix, flags, scope, index.
const FIXED_BYTES: usize = 8;

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const IFA_PROTO: u16 = 11;

/// Of `IFA_FLAGS`: duplicate address detection failed, has not ended yet.
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_TENTATIVE: u32 = 0x40;

/// `RT_SCOPE_UNIVERSE`: it is good beyond this link.
const SCOPE_GLOBAL: u8 = 0;

/// One address of one interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The interface's number.
    pub link: u32,
    /// The address itself.
    pub address: IpAddr,
    /// Leading bits that its neighbours share.
    pub prefix_bits: u8,
    /// Metric of the route to the neighbours that the kernel makes of it; 0 is the kernel's own.
    pub metric: u32,
    /// Who made it: [`super::PROTOCOL_DHCP`], or anybody's. 0 before Linux 5.18.
    pub protocol: u8,
    /// It is good beyond the link.
    pub is_global: bool,
    /// It can be used: nobody else was found to have it.
    pub is_usable: bool,
}

impl Address {
    pub(super) fn parse(kind: u16, body: &[u8]) -> Option<Self> {
        if kind != RTM_NEWADDR {
            return None;
        }
        let (mut address, mut local) = (None, None);
        let mut flags = u32::from(*body.get(2)?);
        let (mut metric, mut protocol) = (0, 0);
        for (kind, value) in attributes(body.get(FIXED_BYTES..)?) {
            match kind {
                IFA_ADDRESS => address = address_of(value),
                IFA_LOCAL => local = address_of(value),
                IFA_FLAGS => flags = u32_at(value, 0)?,
                IFA_RT_PRIORITY => metric = u32_at(value, 0)?,
                IFA_PROTO => protocol = *value.first()?,
                _ => {}
            }
        }
        Some(Self {
            link: u32_at(body, 4)?,
            // On a point-to-point link `IFA_ADDRESS` is the other end.
            address: local.or(address)?,
            prefix_bits: *body.get(1)?,
            metric,
            protocol,
            is_global: *body.get(3)? == SCOPE_GLOBAL,
            is_usable: flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED) == 0,
        })
    }

    fn request(&self, kind: u16, flags: u16) -> Request {
        let mut fixed = [0; FIXED_BYTES];
        fixed[0] = family_of(self.address);
        fixed[1] = self.prefix_bits;
        fixed[4..8].copy_from_slice(&self.link.to_ne_bytes());
        let mut request = Request::new(kind, flags, &fixed);
        request.address(IFA_LOCAL, self.address);
        request.address(IFA_ADDRESS, self.address);
        request
    }
}

impl Netlink {
    /// All addresses of all interfaces.
    ///
    /// # Errors
    /// Those of sendto(2), recvfrom(2) and rtnetlink(7).
    pub fn addresses(&mut self) -> io::Result<Vec<Address>> {
        let mut fixed = [0; FIXED_BYTES];
        fixed[0] = AF_UNSPEC;
        self.dump(RTM_GETADDR, &fixed, Address::parse)
    }

    /// Gives an interface an address, for good; one that is there is made the same.
    ///
    /// # Errors
    /// `ENODEV` if the interface is gone, `EINVAL` for an address that cannot be, `EPERM`.
    pub fn add_address(&mut self, address: &Address) -> io::Result<()> {
        let mut request = address.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
        if let IpAddr::V4(own) = address.address
            && address.prefix_bits < 31
        {
            let host_bits = u32::MAX >> address.prefix_bits;
            request.address(IFA_BROADCAST, IpAddr::V4((own.to_bits() | host_bits).into()));
        }
        request.number(IFA_RT_PRIORITY, address.metric);
        request.attribute(IFA_PROTO, &[address.protocol]);
        self.tell(request)
    }

    /// Takes an address from an interface; one that is gone already is no error.
    ///
    /// # Errors
    /// `EPERM`, or those of sendto(2).
    pub fn remove_address(&mut self, address: &Address) -> io::Result<()> {
        or_gone(self.tell(address.request(RTM_DELADDR, 0)))
    }
}

/// Where all neighbours are reached at once.
const IFA_BROADCAST: u16 = 4;
