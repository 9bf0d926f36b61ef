//! The fuzzers' corpus as a plain test, and what is made of it: real answers of dnsmasq, whole, cut
//! anywhere and with each byte damaged.

use network::dhcp4::message as message4;
use network::dhcp6::message as message6;
use network::router::{self, RouterWord};
use network::{datagram, lease::Route4};
use std::net::{IpAddr, Ipv4Addr};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];

/// Calls `check` with each file of a target's corpus.
fn replay(target: &str, check: impl Fn(&str, &[u8])) {
    for seed in replay::seeds(target) {
        check(&seed.name, &seed.bytes);
    }
}

/// Calls `look` with every cut of the bytes, and with every byte in turn set to odd values.
fn spoil(bytes: &[u8], look: impl Fn(&[u8])) {
    replay::spoil(bytes, &[0, 1, 0x7f, 0x80, 0xfe, 0xff], look);
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// dnsmasq was told to give a classless way out beside a router, EC2's kind of names, a small MTU
/// and a T1 of three seconds.
#[test]
fn answers_of_a_dhcpv4_server() {
    replay("network_dhcp4", |name, packet| {
        let bytes = datagram::payload(packet, 68).expect("a whole packet");
        let reply = message4::decode(bytes, MAC).expect("an answer to us");
        let lease = match (name, reply) {
            ("dnsmasq-offer", message4::Reply::Offer(_, lease)) => lease,
            ("dnsmasq-ack", message4::Reply::Ack(_, lease)) => lease,
            other => panic!("{other:?}"),
        };
        assert_eq!((lease.server, lease.prefix_bits), (Ipv4Addr::new(10, 7, 0, 1), 24));
        let route = |destination: [u8; 4], prefix_bits, last| Route4 {
            destination: destination.into(),
            prefix_bits,
            gateway: Ipv4Addr::new(10, 7, 0, last),
        };
        assert_eq!(lease.routes, [route([0; 4], 0, 1), route([192, 0, 2, 0], 24, 2)]);
        assert_eq!(lease.name_servers, [address("10.7.0.53")]);
        assert_eq!(lease.search, ["ec2.internal", "example.org"]);
        assert_eq!(lease.host_name.as_deref(), Some("ip-10-7-0-5"));
        assert_eq!((lease.mtu_bytes, lease.lease_s, lease.renew_s), (Some(1400), Some(120), 3));
        assert_eq!(lease.time_servers, [Ipv4Addr::new(169, 254, 169, 123)]);
        let others = message4::decode(bytes, [0x52, 0x54, 0, 0, 0, 2]);
        assert_eq!(others, Err(message4::Refusal::NotOurs));
        spoil(bytes, |bytes| drop(message4::decode(bytes, MAC)));
        spoil(packet, |packet| {
            let _ = datagram::payload(packet, 68);
        });
    });
}

#[test]
fn answers_of_a_dhcpv6_server() {
    replay("network_dhcp6", |name, bytes| {
        let reply = message6::decode(bytes, MAC).expect("an answer to us");
        let lease = match (name, reply) {
            ("dnsmasq-advertise", message6::Reply::Advertise(_, lease)) => lease,
            ("dnsmasq-reply", message6::Reply::Lend(_, lease)) => lease,
            other => panic!("{other:?}"),
        };
        assert!(lease.address.to_string().starts_with("fd07::1"), "{}", lease.address);
        assert_eq!(lease.name_servers, [address("fd07::53")]);
        assert_eq!(lease.search, ["ec2.internal"]);
        assert_eq!(lease.lease_s, Some(300));
        assert!(lease.renew_s < lease.rebind_s && lease.rebind_s < 300);
        let others = message6::decode(bytes, [0x52, 0x54, 0, 0, 0, 2]);
        assert_eq!(others, Err(message6::Refusal::NotOurs));
        spoil(bytes, |bytes| drop(message6::decode(bytes, MAC)));
    });
}

#[test]
fn options_of_a_router() {
    replay("network_router", |name, bytes| {
        let word = router::read(bytes).expect("an option of ours").word;
        let expected = match name {
            "name-servers" => RouterWord::NameServers(vec![address("fd07::53")]),
            _ => RouterWord::Search(vec!["ec2.internal".to_owned()]),
        };
        assert_eq!(word, expected);
        spoil(bytes, |bytes| drop(router::read(bytes)));
    });
}

proptest::proptest! {
    /// Options of any code, length and content: a panic of the codec would end the daemon.
    #[test]
    fn options_of_strangers(
        options in proptest::collection::vec(
            (0..=255_u8, proptest::collection::vec(0..=255_u8, 0..40), 0..=255_u8),
            0..12,
        ),
    ) {
        let mut four = vec![0; 240];
        four[..4].copy_from_slice(&[2, 1, 6, 0]);
        four[28..34].copy_from_slice(&MAC);
        four[236..].copy_from_slice(&[99, 130, 83, 99]);
        four.extend_from_slice(&[53, 1, 5]);
        let mut six = vec![7, 0, 0, 1];
        six.extend_from_slice(&[&[0, 1, 0, 10, 0, 3, 0, 1], &MAC[..]].concat());
        for (code, value, lie) in &options {
            // One in four lies about its length.
            let length = u8::try_from(value.len()).unwrap_or(0);
            let length = if lie % 4 == 0 { *lie } else { length };
            four.extend_from_slice(&[*code, length]);
            four.extend_from_slice(value);
            six.extend_from_slice(&[0, code % 32, 0, length]);
            six.extend_from_slice(value);
        }
        let _ = message4::decode(&four, MAC);
        let _ = message6::decode(&six, MAC);
    }
}

/// Ours can be read by the codec's other half, and a server's refusal by us.
#[test]
fn requests_are_what_rfc_2131_wants() {
    use dhcproto::v4::{Decodable, Decoder, DhcpOption, Message, OptionCode};
    let request = message4::Request {
        is_discover: false,
        id: 7,
        seconds: 3,
        own: None,
        wanted: Some(Ipv4Addr::new(10, 0, 0, 5)),
        server: Some(Ipv4Addr::new(10, 0, 0, 1)),
    };
    let bytes = message4::encode(&request, MAC).expect("bytes");
    assert!(bytes.len() >= 300, "RFC 1542");
    let message = Message::decode(&mut Decoder::new(&bytes)).expect("a message");
    assert_eq!((message.xid(), message.secs(), message.chaddr()), (7, 3, &MAC[..]));
    assert!(message.ciaddr().is_unspecified());
    let options = message.opts();
    let wanted = DhcpOption::RequestedIpAddress(Ipv4Addr::new(10, 0, 0, 5));
    assert_eq!(options.get(OptionCode::RequestedIpAddress), Some(&wanted));
    let Some(DhcpOption::ParameterRequestList(list)) =
        options.get(OptionCode::ParameterRequestList)
    else {
        panic!("{options:?}")
    };
    let place = |code| list.iter().position(|one| *one == code).expect("asked for");
    assert!(place(OptionCode::ClasslessStaticRoute) < place(OptionCode::Router), "RFC 3442");
}

/// What a server must not be believed: each alone makes the whole answer nothing, or is left out.
#[test]
fn answers_that_make_no_sense() {
    use dhcproto::v4::{
        DhcpOption as O, Encodable, Encoder, Message, MessageType, Opcode, OptionCode,
    };
    let answer = |change: &dyn Fn(&mut Message)| {
        let mut message = Message::default();
        message.set_opcode(Opcode::BootReply).set_chaddr(&MAC).set_xid(7);
        message.set_yiaddr(Ipv4Addr::new(10, 0, 0, 5));
        for option in [
            O::MessageType(MessageType::Ack),
            O::ServerIdentifier(Ipv4Addr::new(10, 0, 0, 1)),
            O::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
            O::AddressLeaseTime(3600),
            O::Router(vec![Ipv4Addr::new(10, 0, 0, 1)]),
        ] {
            message.opts_mut().insert(option);
        }
        change(&mut message);
        let mut bytes = Vec::new();
        message.encode(&mut Encoder::new(&mut bytes)).expect("bytes");
        message4::decode(&bytes, MAC)
    };
    let lease = |change: &dyn Fn(&mut Message)| match answer(change) {
        Ok(message4::Reply::Ack(7, lease)) => *lease,
        other => panic!("{other:?}"),
    };
    assert_eq!(lease(&|_| ()).routes.len(), 1);
    let with = |option: O| answer(&move |message| drop(message.opts_mut().insert(option.clone())));
    for senseless in [
        with(O::SubnetMask(Ipv4Addr::new(255, 0, 255, 0))),
        with(O::SubnetMask(Ipv4Addr::UNSPECIFIED)),
        with(O::AddressLeaseTime(0)),
        answer(&|message| {
            message.set_yiaddr(Ipv4Addr::LOCALHOST);
        }),
        answer(&|message| {
            message.set_yiaddr(Ipv4Addr::new(224, 0, 0, 1));
        }),
        answer(&|message| drop(message.opts_mut().remove(OptionCode::ServerIdentifier))),
        answer(&|message| drop(message.opts_mut().remove(OptionCode::AddressLeaseTime))),
    ] {
        assert!(matches!(senseless, Err(message4::Refusal::Senseless(_))), "{senseless:?}");
    }
    let with = |option: O| lease(&move |message| drop(message.opts_mut().insert(option.clone())));
    assert_eq!(with(O::Hostname("a\nnameserver 6.6.6.6".to_owned())).host_name, None);
    assert_eq!(with(O::DomainName("a b..c d".to_owned())).search, ["a", "d"]);
    assert_eq!(with(O::InterfaceMtu(576)).mtu_bytes, None, "IPv6 would end");
    assert_eq!(with(O::DomainNameServer(vec![Ipv4Addr::UNSPECIFIED])).name_servers.len(), 0);
    assert_eq!(with(O::Router(vec![Ipv4Addr::BROADCAST])).routes.len(), 0);
    let times = with(O::Renewal(9999));
    assert_eq!((times.renew_s, times.rebind_s), (1800, 3150), "T1 beyond the lease");
    assert_eq!(with(O::AddressLeaseTime(u32::MAX)).lease_s, None);
}
