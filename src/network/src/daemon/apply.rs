//! The kernel, made what the plan says. Whatever carries our mark and is in no plan goes; what
//! others made is not touched.

use super::Daemon;
use network::plan::{Lent, Plan};
use std::io;
use sys::netlink::{Address, PROTOCOL_DHCP};

impl Daemon {
    /// Does what is missing, removes what is too much; one line each of what the kernel refused.
    pub(super) fn apply(&mut self) -> Vec<String> {
        let lent: Vec<Lent<'_>> = self.interfaces.iter().map(super::Interface::lent).collect();
        let plan = Plan::new(&lent);
        let mut refused = Vec::new();
        if let Err(error) = self.apply_all(&plan, &mut refused) {
            refused.push(format!("list addresses, routes and rules: {error}"));
        }
        refused
    }

    fn is_of_ours(&self, link: u32) -> bool {
        self.interfaces.iter().any(|interface| interface.link.index == link)
    }

    /// What is new comes first, so that nothing is without a way in between.
    fn apply_all(&mut self, plan: &Plan, refused: &mut Vec<String>) -> io::Result<()> {
        self.set_mtus(plan, refused);
        let mut told = |what: String, result: io::Result<()>| match result {
            Ok(()) => {}
            Err(error) => refused.push(format!("{what}: {error}")),
        };
        let addresses = self.netlink.addresses()?;
        for address in &plan.addresses {
            // Before Linux 5.18 an address has no mark: it is the same if it is the same.
            if !addresses.iter().any(|there| is_same(there, address)) {
                let what = format!("add the address {}", address.address);
                told(what, self.netlink.add_address(address));
            }
        }
        let routes = self.netlink.routes()?;
        for route in plan.routes.iter().filter(|route| !routes.contains(route)) {
            let what = format!("add the route to {}/{}", route.destination, route.prefix_bits);
            told(what, self.netlink.add_route(route));
        }
        let rules = self.netlink.rules()?;
        for rule in plan.rules.iter().filter(|rule| !rules.contains(rule)) {
            told("add a rule".to_owned(), self.netlink.add_rule(rule));
        }
        let is_ours = |protocol: u8| protocol == PROTOCOL_DHCP;
        for rule in rules.iter().filter(|rule| is_ours(rule.protocol)) {
            if !plan.rules.contains(rule) {
                told("remove a rule".to_owned(), self.netlink.remove_rule(rule));
            }
        }
        for route in routes.iter().filter(|route| is_ours(route.protocol)) {
            if !plan.routes.contains(route) && self.is_of_ours(route.link) {
                let what = format!("remove the route to {}", route.destination);
                told(what, self.netlink.remove_route(route));
            }
        }
        for address in addresses.iter().filter(|address| is_ours(address.protocol)) {
            let stays = plan.addresses.iter().any(|planned| is_same(planned, address));
            if !stays && self.is_of_ours(address.link) {
                let what = format!("remove the address {}", address.address);
                told(what, self.netlink.remove_address(address));
            }
        }
        Ok(())
    }

    fn set_mtus(&mut self, plan: &Plan, refused: &mut Vec<String>) {
        for (index, mtu_bytes) in &plan.mtus_bytes {
            let link = self.interfaces.iter().find(|one| one.link.index == *index);
            let Some(link) = link.map(|one| &one.link).filter(|one| one.mtu_bytes != *mtu_bytes)
            else {
                continue;
            };
            if let Err(error) = self.netlink.set_mtu(*index, *mtu_bytes) {
                let name = &link.name;
                refused.push(format!("{name}: send packets of {mtu_bytes} bytes: {error}"));
            }
        }
    }
}

fn is_same(one: &Address, other: &Address) -> bool {
    (one.link, one.address, one.prefix_bits) == (other.link, other.address, other.prefix_bits)
}
