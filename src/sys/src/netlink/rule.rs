//! Rules of policy routing: which table, if any, a packet's route is looked up in.

use super::{
    AF_INET, AF_INET6, NLM_F_CREATE, NLM_F_EXCLUDE, Netlink, Request, address_of, attributes,
    family_of, or_gone, or_there, u32_at,
};
use std::io;
use std::net::IpAddr;

/// `struct fib_rule_hdr`: family, destination's prefix, source's prefix, tos, table, two reserved
/// bytes, action, flags.
const FIXED_BYTES: usize = 12;

const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_GETRULE: u16 = 34;

const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FRA_TABLE: u16 = 15;
const FRA_UID_RANGE: u16 = 20;
const FRA_PROTOCOL: u16 = 21;

/// Actions of linux/fib_rules.h.
const FR_ACT_TO_TABLE: u8 = 1;
const FR_ACT_PROHIBIT: u8 = 8;

/// What a rule does with a packet that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Its route is looked up in this table.
    Table(u32),
    /// Nobody gets it: who sends it is told `EACCES`.
    Prohibit,
}

/// One rule. The kernel asks them in the order of their priorities, the lowest first; its own are 0
/// (this host's addresses), 32766 (the main table) and 32767.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Its place among all rules.
    pub priority: u32,
    /// About packets from here: address, leading bits that count.
    pub from: Option<(IpAddr, u8)>,
    /// About packets to there, likewise. One of `from` and `to` is given.
    pub to: Option<(IpAddr, u8)>,
    /// About packets of sockets of these users, both inclusive.
    pub users: Option<(u32, u32)>,
    /// What it does.
    pub action: Action,
    /// Who made it: [`super::PROTOCOL_STATIC`], or anybody's.
    pub protocol: u8,
}

impl Rule {
    pub(super) fn parse(kind: u16, body: &[u8]) -> Option<Self> {
        if kind != RTM_NEWRULE {
            return None;
        }
        let (to_bits, from_bits) = (*body.get(1)?, *body.get(2)?);
        let mut table = u32::from(*body.get(4)?);
        let (mut from, mut to, mut users) = (None, None, None);
        let (mut priority, mut protocol) = (0, 0);
        for (kind, value) in attributes(body.get(FIXED_BYTES..)?) {
            match kind {
                FRA_DST => to = Some((address_of(value)?, to_bits)),
                FRA_SRC => from = Some((address_of(value)?, from_bits)),
                FRA_PRIORITY => priority = u32_at(value, 0)?,
                FRA_TABLE => table = u32_at(value, 0)?,
                FRA_UID_RANGE => users = Some((u32_at(value, 0)?, u32_at(value, 4)?)),
                FRA_PROTOCOL => protocol = *value.first()?,
                _ => {}
            }
        }
        let action = match *body.get(7)? {
            FR_ACT_TO_TABLE => Action::Table(table),
            FR_ACT_PROHIBIT => Action::Prohibit,
            _ => return None,
        };
        // The kernel's own three rules are about everybody.
        (from.is_some() || to.is_some()).then_some(Self {
            priority,
            from,
            to,
            users,
            action,
            protocol,
        })
    }

    fn request(&self, kind: u16, flags: u16) -> io::Result<Request> {
        let (Some((address, _)), bits) =
            (self.to.or(self.from), |end: Option<(IpAddr, u8)>| end.map_or(0, |(_, bits)| bits))
        else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        let mut fixed = [0; FIXED_BYTES];
        fixed[0] = family_of(address);
        fixed[1] = bits(self.to);
        fixed[2] = bits(self.from);
        fixed[7] = match self.action {
            Action::Table(_) => FR_ACT_TO_TABLE,
            Action::Prohibit => FR_ACT_PROHIBIT,
        };
        let mut request = Request::new(kind, flags, &fixed);
        if let Some((to, _)) = self.to {
            request.address(FRA_DST, to);
        }
        if let Some((from, _)) = self.from {
            request.address(FRA_SRC, from);
        }
        request.number(FRA_PRIORITY, self.priority);
        if let Action::Table(table) = self.action {
            request.number(FRA_TABLE, table);
        }
        if let Some((first, last)) = self.users {
            let mut range = [0; 8];
            range[..4].copy_from_slice(&first.to_ne_bytes());
            range[4..].copy_from_slice(&last.to_ne_bytes());
            request.attribute(FRA_UID_RANGE, &range);
        }
        request.attribute(FRA_PROTOCOL, &[self.protocol]);
        Ok(request)
    }
}

impl Netlink {
    /// All rules of both families that are about somebody.
    ///
    /// # Errors
    /// Those of sendto(2), recvfrom(2) and rtnetlink(7); `EAFNOSUPPORT` of a kernel without policy
    /// routing. One without IPv6 has no rules of IPv6, which is no error.
    pub fn rules(&mut self) -> io::Result<Vec<Rule>> {
        let mut rules = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let mut fixed = [0; FIXED_BYTES];
            fixed[0] = family;
            match self.dump(RTM_GETRULE, &fixed, Rule::parse) {
                Err(error)
                    if family == AF_INET6 && error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
                found => rules.extend(found?),
            }
        }
        Ok(rules)
    }

    /// Adds a rule; one that is there already stays.
    ///
    /// # Errors
    /// `EAFNOSUPPORT` of a kernel without IPv6, `EOPNOTSUPP`, `EPERM`.
    pub fn add_rule(&mut self, rule: &Rule) -> io::Result<()> {
        or_there(self.tell(rule.request(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCLUDE)?))
    }

    /// Removes a rule; one that is gone already is no error.
    ///
    /// # Errors
    /// As [`Netlink::add_rule`].
    pub fn remove_rule(&mut self, rule: &Rule) -> io::Result<()> {
        or_gone(self.tell(rule.request(RTM_DELRULE, 0)?))
    }
}
