//! What others read of the network: `state.json` and `resolv.conf`. Pure: values in, text out.

use crate::limits::{NAME_SERVERS_MAX, SEARCH_MAX};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::net::IpAddr;

/// `/run/rollinit/network/state.json`. Fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct State {
    /// Whether some interface has an address that can be used beyond its link.
    pub online: bool,
    /// What the network calls this host.
    pub host_name: Option<String>,
    /// Name servers, the best first.
    pub name_servers: Vec<IpAddr>,
    /// Domains to search.
    pub search: Vec<String>,
    /// Time servers.
    pub time_servers: Vec<IpAddr>,
    /// All interfaces that are looked after, the first one first.
    pub interfaces: Vec<Interface>,
}

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its Ethernet address.
    pub mac: String,
    /// Whether there is a carrier.
    pub carrier: bool,
    /// The largest packet, in bytes.
    pub mtu_bytes: u32,
    /// All addresses that can be used beyond the link, with their prefixes.
    pub addresses: Vec<String>,
    /// The IPv4 gateway.
    pub gateway: Option<IpAddr>,
    /// Where DHCPv4 stands, in words.
    pub dhcp4: String,
    /// Where DHCPv6 stands, in words.
    pub dhcp6: String,
}

impl State {
    /// The text of resolv.conf(5).
    #[must_use]
    pub fn resolv_conf(&self) -> String {
        let mut text = String::from("# from rollinit-network\n");
        for server in self.name_servers.iter().take(NAME_SERVERS_MAX) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "nameserver {server}");
        }
        if !self.search.is_empty() {
            let search: Vec<&str> =
                self.search.iter().take(SEARCH_MAX).map(String::as_str).collect();
            let _ = writeln!(text, "search {}", search.join(" "));
        }
        text
    }

    /// One line for `rollinit status`: who has which addresses, or what is waited for.
    #[must_use]
    pub fn summary(&self) -> String {
        if self.interfaces.is_empty() {
            return "no interface yet: is the driver's module loaded?".to_owned();
        }
        let line = |interface: &Interface| {
            let Interface { name, addresses, dhcp4, carrier, .. } = interface;
            match (addresses.as_slice(), carrier) {
                ([], true) => format!("{name}: {dhcp4}"),
                ([], false) => format!("{name}: no carrier"),
                (addresses, true) => format!("{name}: {}", addresses.join(", ")),
                (addresses, false) => format!("{name}: {}, no carrier", addresses.join(", ")),
            }
        };
        self.interfaces.iter().map(line).collect::<Vec<_>>().join("; ")
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = |list: &[IpAddr]| {
            let words: Vec<String> = list.iter().map(IpAddr::to_string).collect();
            if words.is_empty() { "none".to_owned() } else { words.join(", ") }
        };
        writeln!(f, "online        {}", if self.online { "yes" } else { "no" })?;
        writeln!(f, "host name     {}", self.host_name.as_deref().unwrap_or("none given"))?;
        writeln!(f, "name servers  {}", words(&self.name_servers))?;
        writeln!(f, "search        {}", self.search.join(", "))?;
        writeln!(f, "time servers  {}", words(&self.time_servers))?;
        for one in &self.interfaces {
            let Interface { name, mac, mtu_bytes, .. } = one;
            let carrier = if one.carrier { "carrier" } else { "no carrier" };
            writeln!(f, "\n{name}  {mac}, {carrier}, packets up to {mtu_bytes} bytes")?;
            writeln!(f, "  addresses   {}", one.addresses.join(", "))?;
            if let Some(gateway) = one.gateway {
                writeln!(f, "  gateway     {gateway}")?;
            }
            writeln!(f, "  DHCPv4      {}", one.dhcp4)?;
            writeln!(f, "  DHCPv6      {}", one.dhcp6)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file as resolv.conf(5) has it, and the three ways of a summary.
    #[test]
    fn texts() {
        let mut state = State::default();
        assert_eq!(state.resolv_conf(), "# from rollinit-network\n");
        assert!(state.summary().contains("module"));
        state.name_servers = vec!["10.0.0.2".parse().unwrap(), "fd00:ec2::253".parse().unwrap()];
        state.search = vec!["ec2.internal".to_owned(), "example.org".to_owned()];
        let text = "# from rollinit-network\nnameserver 10.0.0.2\nnameserver fd00:ec2::253\n\
                    search ec2.internal example.org\n";
        assert_eq!(state.resolv_conf(), text);
        let eth0 = Interface { name: "eth0".to_owned(), ..Interface::default() };
        let looking =
            Interface { carrier: true, dhcp4: "looking for a server".to_owned(), ..eth0.clone() };
        let up = Interface { addresses: vec!["10.0.0.5/24".to_owned()], ..looking.clone() };
        for (interface, summary) in [
            (eth0, "eth0: no carrier"),
            (looking, "eth0: looking for a server"),
            (up, "eth0: 10.0.0.5/24"),
        ] {
            state.interfaces = vec![interface];
            assert_eq!(state.summary(), summary);
        }
        let text = serde_json::to_string(&state).expect("JSON");
        assert_eq!(serde_json::from_str::<State>(&text).expect("read"), state);
    }
}
