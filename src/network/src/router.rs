//! What routers say of name servers, in options of their advertisements (RFC 8106). The kernel
//! does the rest of an advertisement by itself and hands these to whoever listens.

use crate::limits::{NAME_SERVERS_MAX, SEARCH_MAX};
use crate::names;
use std::net::{IpAddr, Ipv6Addr};

/// Option types of RFC 8106.
const NAME_SERVERS: u8 = 25;
const SEARCH: u8 = 31;

/// An option's length counts units of so many bytes (RFC 4861).
const UNIT_BYTES: usize = 8;

/// One option, and how long it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterOption {
    /// What it says.
    pub word: RouterWord,
    /// How long it holds, in seconds; 0: no longer.
    pub lifetime_s: u32,
}

/// What an option says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouterWord {
    /// Name servers.
    NameServers(Vec<IpAddr>),
    /// Domains to search.
    Search(Vec<String>),
}

/// Reads one option; none if it is of another kind, or malformed.
#[must_use]
pub fn read(option: &[u8]) -> Option<RouterOption> {
    let length = usize::from(*option.get(1)?) * UNIT_BYTES;
    let option = option.get(..length)?;
    let lifetime_s = u32::from_be_bytes(option.get(4..8)?.try_into().ok()?);
    let rest = &option[8..];
    let word = match option[0] {
        NAME_SERVERS => RouterWord::NameServers(addresses(rest)),
        SEARCH => RouterWord::Search(search(rest)?),
        _ => return None,
    };
    Some(RouterOption { word, lifetime_s })
}

/// Addresses one after the other that can be a name server's.
pub(crate) fn addresses(bytes: &[u8]) -> Vec<IpAddr> {
    let (addresses, _) = bytes.as_chunks::<16>();
    let addresses = addresses.iter().map(|octets| Ipv6Addr::from(*octets));
    let sound = |address: &Ipv6Addr| !address.is_unspecified() && !address.is_multicast();
    addresses.filter(sound).map(IpAddr::V6).take(NAME_SERVERS_MAX).collect()
}

/// Names one after the other, each a row of labels that ends with an empty one (RFC 1035, without
/// compression); what is left is filled with zeros.
pub(crate) fn search(mut bytes: &[u8]) -> Option<Vec<String>> {
    let mut found = Vec::new();
    while bytes.first().is_some_and(|length| *length != 0) && found.len() < SEARCH_MAX {
        let mut labels: Vec<&str> = Vec::new();
        loop {
            let (length, rest) = bytes.split_first()?;
            if *length == 0 {
                bytes = rest;
                break;
            }
            let label = rest.get(..usize::from(*length))?;
            labels.push(std::str::from_utf8(label).ok()?);
            bytes = &rest[label.len()..];
        }
        found.extend(names::domain(&labels.join(".")));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(kind: u8, lifetime_s: u32, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend_from_slice(&lifetime_s.to_be_bytes());
        bytes.extend_from_slice(rest);
        bytes.resize(bytes.len().next_multiple_of(UNIT_BYTES), 0);
        bytes[1] = u8::try_from(bytes.len() / UNIT_BYTES).expect("small");
        bytes
    }

    /// Both kinds as RFC 8106 draws them, cut anywhere without harm.
    #[test]
    fn options_of_routers() {
        let server: Ipv6Addr = "fd00:ec2::253".parse().expect("an address");
        let servers = option(NAME_SERVERS, 600, &server.octets());
        let word = RouterWord::NameServers(vec![server.into()]);
        assert_eq!(read(&servers), Some(RouterOption { word, lifetime_s: 600 }));
        let search = option(SEARCH, 0, b"\x03ec2\x08internal\0\x01a\0");
        let word = RouterWord::Search(vec!["ec2.internal".to_owned(), "a".to_owned()]);
        assert_eq!(read(&search), Some(RouterOption { word, lifetime_s: 0 }));
        for bytes in [&servers, &search] {
            for length in 0..bytes.len() {
                assert_eq!(read(&bytes[..length]), None, "cut to {length}");
            }
        }
        assert_eq!(read(&option(3, 600, &[0; 16])), None, "a prefix is the kernel's");
        assert_eq!(read(&option(SEARCH, 600, b"\x3fa")), None, "a label that is cut");
    }
}
