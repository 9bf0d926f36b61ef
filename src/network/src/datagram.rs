//! IPv4 and UDP headers around a DHCP message, for the time before the host has an address.
//!
//! Sources: RFC 791, RFC 768.

use std::net::Ipv4Addr;

const IP_BYTES: usize = 20;
const UDP_BYTES: usize = 8;
const UDP: u8 = 17;
/// Hops, as other hosts send: RFC 1700.
const TIME_TO_LIVE: u8 = 64;

/// The packet of a message from nobody to everybody.
#[must_use]
pub fn broadcast(message: &[u8], from_port: u16, to_port: u16) -> Vec<u8> {
    let udp_length = u16::try_from(UDP_BYTES + message.len()).unwrap_or(u16::MAX);
    let length = u16::try_from(IP_BYTES + UDP_BYTES + message.len()).unwrap_or(u16::MAX);
    let mut packet = Vec::with_capacity(usize::from(length));
    packet.extend_from_slice(&[0x45, 0]);
    packet.extend_from_slice(&length.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 0, TIME_TO_LIVE, UDP, 0, 0]);
    packet.extend_from_slice(&Ipv4Addr::UNSPECIFIED.octets());
    packet.extend_from_slice(&Ipv4Addr::BROADCAST.octets());
    let sum = checksum(&[&packet]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut udp = Vec::with_capacity(UDP_BYTES);
    for number in [from_port, to_port, udp_length, 0] {
        udp.extend_from_slice(&number.to_be_bytes());
    }
    // The checksum also covers a pseudo header: both addresses, the protocol, the length.
    let [high, low] = udp_length.to_be_bytes();
    let pseudo = [0, UDP, high, low];
    // A checksum of zero says that there is none; its other form is sent.
    let sum = match checksum(&[&packet[12..20], &pseudo, &udp, message]) {
        0 => u16::MAX,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(&udp);
    packet.extend_from_slice(message);
    packet
}

/// What a UDP datagram to `to_port` carries; none if a packet is none, or damaged.
///
/// The checksum of UDP is not looked at: between virtual machines of one host the sender leaves it
/// to a network card that the packet never meets.
#[must_use]
pub fn payload(packet: &[u8], to_port: u16) -> Option<&[u8]> {
    let first = *packet.first()?;
    let header_bytes = usize::from(first & 0xf) * 4;
    let header = packet.get(..header_bytes)?;
    if first >> 4 != 4 || header_bytes < IP_BYTES || header[9] != UDP || checksum(&[header]) != 0 {
        return None;
    }
    let number = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    if number(6)? & 0x3fff != 0 {
        return None; // a fragment: no DHCP server sends any
    }
    // Ethernet fills short packets up: the header's length counts.
    let udp = packet.get(header_bytes..usize::from(number(2)?))?;
    let length = usize::from(number(header_bytes + 4)?);
    (number(header_bytes + 2)? == to_port).then(|| udp.get(UDP_BYTES..length))?
}

/// RFC 1071 over the parts in a row, each but the last of an even number of bytes.
fn checksum(parts: &[&[u8]]) -> u16 {
    let pairs = parts.iter().flat_map(|part| part.chunks(2));
    let sum = pairs.fold(0_u32, |sum, pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        sum.wrapping_add(u32::from(u16::from_be_bytes([pair[0], low])))
    });
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What we send is what we would understand; its headers add up to zero, as receivers check.
    #[test]
    fn there_and_back() {
        for message in [&b""[..], b"x", b"hello", &[7; 1200]] {
            let packet = broadcast(message, 68, 67);
            assert_eq!(payload(&packet, 67), Some(message));
            assert_eq!(payload(&packet, 68), None);
            assert_eq!(checksum(&[&packet[..20]]), 0);
            let length = u16::try_from(packet.len() - 20).expect("small").to_be_bytes();
            let pseudo = [0, 17, length[0], length[1]];
            assert_eq!(checksum(&[&packet[12..20], &pseudo, &packet[20..]]), 0);
        }
    }

    /// Padding behind the packet is not the message; cuts, damage and lies are no packets.
    #[test]
    fn damage_is_no_packet() {
        let packet = broadcast(b"hello", 68, 67);
        let padded = [&packet[..], &[0; 20]].concat();
        assert_eq!(payload(&padded, 67), Some(&b"hello"[..]));
        for length in 0..packet.len() {
            assert_eq!(payload(&packet[..length], 67), None, "cut to {length}");
        }
        for at in 0..20 {
            let mut damaged = packet.clone();
            damaged[at] ^= 0x10;
            assert_eq!(payload(&damaged, 67), None, "byte {at}");
        }
        let mut lies = packet;
        lies[24..26].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(payload(&lies, 67), None);
        lies[24..26].copy_from_slice(&[0, 3]);
        assert_eq!(payload(&lies, 67), None);
    }
}
