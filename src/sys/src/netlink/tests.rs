//! Against the kernel, in a network namespace of the test's own; and parsers against noise.

use super::*;
use crate::network::enter_own_namespace;

/// Runs `test` on a thread in its own network namespace. Without privilege there is none: skipped.
fn apart(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| match enter_own_namespace() {
        Ok(()) => test(),
        Err(error) => eprintln!("skipped: no network namespace: {error}"),
    });
    thread.join().expect("the test's thread");
}

/// Two ends of a cable, `near` and `far`, both up. Needs iproute2: `cargo xtask setup`.
fn cable(netlink: &mut Netlink) -> Link {
    let words = ["link", "add", "near", "type", "veth", "peer", "name", "far"];
    let status = std::process::Command::new("ip").args(words).status().expect("run ip");
    assert!(status.success(), "ip link add: {status}");
    for link in netlink.links().expect("links").iter().skip(1) {
        netlink.bring_up(link.index).expect("up");
    }
    let links = netlink.links().expect("links");
    links.into_iter().find(|link| link.name == "near").expect("near")
}

fn own(link: u32, address: &str, prefix_bits: u8) -> Address {
    Address {
        link,
        address: address.parse().expect("an address"),
        prefix_bits,
        metric: 77,
        protocol: PROTOCOL_DHCP,
        is_global: true,
        is_usable: true,
    }
}

/// Proof: what is set is what is read, for each kind of object and both families; what is there
/// twice or removed twice is no error; events come of all of it.
#[test]
fn objects_come_back_as_they_were_set() {
    apart(|| {
        let mut netlink = Netlink::open().expect("socket");
        let mut events = Events::open().expect("events");
        let links = netlink.links().expect("links");
        let lo = links.iter().find(|link| link.name == "lo").expect("lo");
        assert!(lo.is_loopback && lo.is_up && lo.has_carrier && lo.mac.is_none());
        let near = cable(&mut netlink);
        assert!(near.is_up && near.has_carrier && !near.is_loopback && near.mac.is_some());
        netlink.set_mtu(near.index, 9001).expect("mtu");
        let links = netlink.links().expect("links");
        assert!(links.iter().any(|link| (link.index, link.mtu_bytes) == (near.index, 9001)));

        for (address, bits) in [("10.9.8.7", 24), ("fd00:9::7", 64)] {
            let address = own(near.index, address, bits);
            netlink.add_address(&address).expect("add");
            netlink.add_address(&address).expect("again");
            let found = netlink.addresses().expect("addresses");
            let known = |one: &&Address| one.protocol == PROTOCOL_DHCP;
            let mut found: Vec<_> = found.iter().filter(known).cloned().collect();
            // Whether IPv6 has looked for others with this address depends on how fast we are.
            found.iter_mut().for_each(|one| one.is_usable = true);
            assert_eq!(found, std::slice::from_ref(&address), "{found:?}");
            route_and_rule(&mut netlink, &address);
            netlink.remove_address(&address).expect("remove");
            netlink.remove_address(&address).expect("and again");
        }
        let heard = events.hear().expect("events");
        assert!(heard.contains(&Heard::Changed), "{heard:?}");
    });
}

fn route_and_rule(netlink: &mut Netlink, address: &Address) {
    let is_v4 = address.address.is_ipv4();
    let at = |v4: &str, v6: &str| -> IpAddr { if is_v4 { v4 } else { v6 }.parse().expect("one") };
    let route = Route {
        destination: at("0.0.0.0", "::"),
        prefix_bits: 0,
        gateway: Some(at("10.9.8.1", "fd00:9::1")),
        is_onlink: false,
        link: address.link,
        // IPv6 refuses one that it still looks for elsewhere.
        source: is_v4.then_some(address.address),
        metric: 512,
        table: 1001,
        protocol: PROTOCOL_DHCP,
    };
    netlink.add_route(&route).expect("route");
    netlink.add_route(&route).expect("again");
    let found = netlink.routes().expect("routes");
    assert!(found.contains(&route), "{route:?} among {found:?}");
    netlink.remove_route(&route).expect("remove");
    netlink.remove_route(&route).expect("and again");
    assert!(!netlink.routes().expect("routes").contains(&route));

    let rule = Rule {
        priority: 100,
        from: None,
        to: Some((at("169.254.169.254", "fd00:ec2::254"), if is_v4 { 32 } else { 128 })),
        users: Some((1, 4_294_967_294)),
        action: Action::Prohibit,
        protocol: PROTOCOL_STATIC,
    };
    let from = Some((address.address, if is_v4 { 32 } else { 128 }));
    let table = Action::Table(1001);
    let second = Rule { from, to: None, users: None, action: table, priority: 99, ..rule.clone() };
    for rule in [&rule, &second] {
        netlink.add_rule(rule).expect("rule");
        netlink.add_rule(rule).expect("again");
        let found = netlink.rules().expect("rules");
        assert_eq!(found.iter().filter(|one| *one == rule).count(), 1, "{found:?}");
    }
    for rule in [&rule, &second] {
        netlink.remove_rule(rule).expect("remove");
        netlink.remove_rule(rule).expect("and again");
    }
    assert_eq!(netlink.rules().expect("rules"), []);
}

/// What cannot be is the kernel's error, not a panic and not silence.
#[test]
fn refusals_are_errors() {
    apart(|| {
        let mut netlink = Netlink::open().expect("socket");
        let nowhere = own(4242, "10.9.8.7", 24);
        let error = netlink.add_address(&nowhere).expect_err("no such link");
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        let error = netlink.bring_up(4242).expect_err("no such link");
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        let aimless = Rule {
            priority: 1,
            from: None,
            to: None,
            users: None,
            action: Action::Prohibit,
            protocol: 4,
        };
        let error = netlink.add_rule(&aimless).expect_err("about everybody");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    });
}

/// Every cut and every flipped byte of real messages is read without a panic, and lengths that lie
/// end the reading.
#[test]
fn noise_is_read_without_harm() {
    let mut request = Request::new(20, 0, &[2, 24, 0, 0, 1, 0, 0, 0]);
    request.attribute(2, &[10, 9, 8, 7]);
    request.number(8, 0x80);
    let whole = [request.finish(1), Request::new(16, 0, &[0; 16]).finish(2)].concat();
    let look = |bytes: &[u8]| {
        for message in messages(bytes) {
            for kind in [16, 20, 24, 32] {
                let _ = (Link::parse(kind, message.body), Address::parse(kind, message.body));
                let _ = (Route::parse(kind, message.body), Rule::parse(kind, message.body));
            }
        }
    };
    assert_eq!(messages(&whole).count(), 2);
    for length in 0..whole.len() {
        look(&whole[..length]);
        for value in [0, 1, 0x7f, 0xff] {
            let mut flipped = whole.clone();
            flipped[length] = value;
            look(&flipped);
        }
    }
    assert_eq!(messages(&[0; 64]).count(), 0);
    assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
}
