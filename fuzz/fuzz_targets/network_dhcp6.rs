//! A datagram at the DHCPv6 client's port: no bytes may make the parser panic, and what it makes of
//! them is what a host can be given.
#![no_main]

use libfuzzer_sys::fuzz_target;
use network::dhcp6::message::{Reply, decode};

fuzz_target!(|bytes: &[u8]| {
    let Ok(reply) = decode(bytes, [0x52, 0x54, 0, 0, 0, 1]) else { return };
    let (Reply::Advertise(_, lease) | Reply::Lend(_, lease)) = reply else { return };
    assert!(lease.renew_s <= lease.rebind_s && !lease.address.is_multicast());
    for name in &lease.search {
        assert_eq!(network::names::domain(name).as_ref(), Some(name));
    }
});
