//! What the kernel is to be told, given all leases: addresses, routes, rules. Pure.
//!
//! The first interface (the one the host was born with) is the way out; further ones (EC2: further
//! ENIs) have their ways too, with worse metrics, and in a table of their own for what answers from
//! their addresses: what came in by an interface goes out by it. Without that table replies would
//! leave by the first one, whose network drops packets of foreign addresses.

use crate::lease::{Lease4, Lease6};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use sys::netlink::{Action, Address, PROTOCOL_DHCP, Route, Rule};

/// Metric of the first interface's routes. What an administrator adds without a metric is better.
const METRIC_FIRST: u32 = 100;

/// What each further interface has more.
const METRIC_STEP: u32 = 10;

/// The table of interface number n is this plus n: away from those that people number by hand.
const TABLE_FIRST: u32 = 10_000;

/// Priority of the rules that lead to those tables: before the main table (32766), behind whatever
/// people add by default.
const RULE_PRIORITY: u32 = 32_000;

/// An interface and what it was lent.
#[derive(Clone, Debug)]
pub struct Lent<'a> {
    /// Its number.
    pub link: u32,
    /// By DHCPv4.
    pub ipv4: Option<&'a Lease4>,
    /// By DHCPv6.
    pub ipv6: Option<&'a Lease6>,
}

/// All that shall be there, and be ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Addresses of interfaces.
    pub addresses: BTreeSet<Address>,
    /// Routes of all tables.
    pub routes: BTreeSet<Route>,
    /// Rules that lead to tables.
    pub rules: BTreeSet<Rule>,
    /// Largest packets, in bytes: interface, size.
    pub mtus_bytes: BTreeSet<(u32, u32)>,
}

impl Plan {
    /// What follows from leases of interfaces, the first one first.
    #[must_use]
    pub fn new(lent: &[Lent<'_>]) -> Self {
        let mut plan = Self::default();
        let mut metric = METRIC_FIRST;
        for (place, lent) in lent.iter().enumerate() {
            if let Some(lease) = lent.ipv4 {
                plan.add_ipv4(lent.link, lease, metric);
                if place > 0 {
                    plan.add_table(lent.link, lease);
                }
            }
            if let Some(lease) = lent.ipv6 {
                plan.addresses.insert(address(lent.link, lease.address.into(), 128, metric));
            }
            metric += METRIC_STEP;
        }
        plan
    }

    fn add_ipv4(&mut self, link: u32, lease: &Lease4, metric: u32) {
        let own = address(link, lease.address.into(), lease.prefix_bits, metric);
        self.addresses.insert(own);
        self.routes.extend(routes(link, lease, metric, Route::MAIN));
        self.mtus_bytes.extend(lease.mtu_bytes.map(|mtu_bytes| (link, mtu_bytes)));
    }

    /// The same routes in the interface's own table, the one to its neighbours too.
    fn add_table(&mut self, link: u32, lease: &Lease4) {
        let table = TABLE_FIRST + link;
        self.routes.extend(routes(link, lease, METRIC_FIRST, table));
        let network = lease.address.to_bits() & mask(lease.prefix_bits);
        self.routes.insert(Route {
            destination: Ipv4Addr::from(network).into(),
            prefix_bits: lease.prefix_bits,
            gateway: None,
            is_onlink: false,
            link,
            source: Some(lease.address.into()),
            metric: METRIC_FIRST,
            table,
            protocol: PROTOCOL_DHCP,
        });
        self.rules.insert(Rule {
            priority: RULE_PRIORITY,
            from: Some((lease.address.into(), 32)),
            to: None,
            users: None,
            action: Action::Table(table),
            protocol: PROTOCOL_DHCP,
        });
    }
}

fn address(link: u32, address: IpAddr, prefix_bits: u8, metric: u32) -> Address {
    let (is_global, is_usable) = (true, true);
    Address { link, address, prefix_bits, metric, protocol: PROTOCOL_DHCP, is_global, is_usable }
}

fn routes(link: u32, lease: &Lease4, metric: u32, table: u32) -> impl Iterator<Item = Route> {
    let is_neighbour = |gateway: Ipv4Addr| {
        (gateway.to_bits() ^ lease.address.to_bits()) & mask(lease.prefix_bits) == 0
    };
    lease.routes.iter().map(move |route| {
        let gateway = Some(route.gateway).filter(|gateway| !gateway.is_unspecified());
        Route {
            destination: route.destination.into(),
            prefix_bits: route.prefix_bits,
            gateway: gateway.map(IpAddr::V4),
            // A gateway outside of the subnet is on the link all the same (hosters' /32).
            is_onlink: gateway.is_some_and(|gateway| !is_neighbour(gateway)),
            link,
            source: Some(lease.address.into()),
            metric,
            table,
            protocol: PROTOCOL_DHCP,
        }
    })
}

fn mask(prefix_bits: u8) -> u32 {
    u32::MAX.checked_shl(32_u32.saturating_sub(prefix_bits.into())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::Route4;

    fn lease(address: &str, gateway: &str) -> Lease4 {
        Lease4 {
            address: address.parse().expect("an address"),
            prefix_bits: 24,
            server: Ipv4Addr::new(10, 0, 0, 1),
            routes: vec![Route4 {
                destination: Ipv4Addr::UNSPECIFIED,
                prefix_bits: 0,
                gateway: gateway.parse().expect("an address"),
            }],
            name_servers: Vec::new(),
            search: Vec::new(),
            host_name: None,
            mtu_bytes: Some(9001),
            time_servers: Vec::new(),
            lease_s: None,
            renew_s: 1,
            rebind_s: 2,
        }
    }

    /// One interface needs no table; the second has one, a rule that leads to it, and worse ways in
    /// the main table.
    #[test]
    fn two_interfaces() {
        let (first, second) = (lease("10.0.0.5", "10.0.0.1"), lease("10.0.0.6", "10.0.0.1"));
        let lent = |link, lease| Lent { link, ipv4: Some(lease), ipv6: None };
        let one = Plan::new(&[lent(2, &first)]);
        assert_eq!((one.addresses.len(), one.routes.len(), one.rules.len()), (1, 1, 0));
        assert_eq!(one.mtus_bytes, [(2, 9001)].into());
        let two = Plan::new(&[lent(2, &first), lent(3, &second)]);
        assert!(two.routes.is_superset(&one.routes) && two.addresses.is_superset(&one.addresses));
        let rule = two.rules.first().expect("a rule");
        assert_eq!(rule.from, Some((second.address.into(), 32)));
        let Action::Table(table) = rule.action else { panic!("{rule:?}") };
        let own = two.routes.iter().filter(|route| route.table == table).collect::<Vec<_>>();
        assert_eq!(own.len(), 2, "neighbours and the way out: {own:?}");
        let metrics = |table| {
            let routes = two.routes.iter().filter(move |route| route.table == table);
            routes.map(|route| (route.link, route.metric)).collect::<Vec<_>>()
        };
        assert_eq!(metrics(Route::MAIN), [(2, 100), (3, 110)]);
    }

    /// A gateway beyond the subnet is on the link; one that is none is a route to neighbours.
    #[test]
    fn gateways() {
        let plan = |lease: &Lease4| {
            Plan::new(&[Lent { link: 2, ipv4: Some(lease), ipv6: None }]).routes.pop_first()
        };
        let far = plan(&lease("10.0.0.5", "192.0.2.1")).expect("a route");
        assert!(far.is_onlink && far.gateway.is_some());
        let near = plan(&lease("10.0.0.5", "10.0.0.1")).expect("a route");
        assert!(!near.is_onlink);
        let none = plan(&lease("10.0.0.5", "0.0.0.0")).expect("a route");
        assert_eq!((none.gateway, none.is_onlink), (None, false));
    }
}
