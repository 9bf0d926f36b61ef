//! A packet at the DHCPv4 client's port: no bytes may make the parsers panic, and what they make of
//! them is what a host can be given.
#![no_main]

use libfuzzer_sys::fuzz_target;
use network::dhcp4::message::{Reply, decode};

fuzz_target!(|bytes: &[u8]| {
    let payload = network::datagram::payload(bytes, 68).unwrap_or(bytes);
    let Ok(reply) = decode(payload, [0x52, 0x54, 0, 0, 0, 1]) else { return };
    let (Reply::Offer(_, lease) | Reply::Ack(_, lease)) = reply else { return };
    assert!(lease.renew_s <= lease.rebind_s && (1..=32).contains(&lease.prefix_bits));
    assert!(!lease.address.is_unspecified() && !lease.address.is_loopback());
    for name in lease.search.iter().chain(&lease.host_name) {
        assert_eq!(network::names::domain(name).as_ref(), Some(name));
    }
    network::plan::Plan::new(&[network::plan::Lent { link: 2, ipv4: Some(&lease), ipv6: None }]);
});
