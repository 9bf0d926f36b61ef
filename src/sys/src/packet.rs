//! Sockets of a DHCP client: one that works before the host has an address, and ordinary ones that
//! stay on one interface.
//!
//! Sources: packet(7), socket(7), and bpf(4) of the BSDs for the classic instructions.

use crate::netlink::MAC_BYTES;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Ethernet's word for IPv4 (`ETH_P_IP`).
const ETHER_IPV4: u16 = 0x0800;

/// Everybody on an Ethernet.
const EVERYBODY: [u8; MAC_BYTES] = [0xff; MAC_BYTES];

/// Bytes of a packet that are read; DHCP's own answers are below 1500.
pub const PACKET_BYTES_MAX: usize = 2048;

/// A socket that sends and hears IPv4 packets on one interface below the host's own IP: header
/// first, whatever addresses the host has. Non-blocking. It hears UDP to one port alone.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    link: u32,
}

impl PacketSocket {
    /// Opens one on the interface with this number, for UDP to `port`.
    ///
    /// # Errors
    /// Those of socket(2), setsockopt(2) and bind(2): `EPERM` without `CAP_NET_RAW`, `ENODEV` if
    /// there is no such interface.
    pub fn open(link: u32, port: u16) -> io::Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // Protocol 0: it hears nothing until it has its filter and its interface.
        // SAFETY: socket(2) takes plain numbers.
        let number = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let socket = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(number) };
        attach_filter(socket.as_fd(), port)?;
        let own = Self { socket, link };
        let address = own.address(ETHER_IPV4, EVERYBODY);
        // SAFETY: bind(2) reads one live sockaddr_ll of the length given.
        let bound = unsafe {
            libc::bind(own.socket.as_raw_fd(), (&raw const address).cast(), length_of_address())
        };
        if bound == 0 { Ok(own) } else { Err(io::Error::last_os_error()) }
    }

    fn address(&self, protocol: u16, mac: [u8; MAC_BYTES]) -> libc::sockaddr_ll {
        // SAFETY: all bytes zero is a valid sockaddr_ll: plain integers and an array.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or_default();
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = self.link.cast_signed();
        address.sll_halen = u8::try_from(MAC_BYTES).unwrap_or_default();
        address.sll_addr[..MAC_BYTES].copy_from_slice(&mac);
        address
    }

    /// Sends one IPv4 packet to everybody on the link.
    ///
    /// # Errors
    /// Those of sendto(2): `ENETDOWN`, `ENOBUFS`, `EMSGSIZE`.
    pub fn broadcast(&self, packet: &[u8]) -> io::Result<()> {
        let address = self.address(ETHER_IPV4, EVERYBODY);
        // SAFETY: the packet and the address are live for the call and have the lengths given.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const address).cast(),
                length_of_address(),
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next packet that came; none if there is none now.
    ///
    /// # Errors
    /// Those of recvfrom(2) other than `EAGAIN` and `EINTR`: `ENETDOWN` when the interface went.
    pub fn receive<'b>(&self, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        receive(self.socket.as_fd(), buffer)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn length_of_address() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or(0)
}

/// IPv4, UDP, no later fragment, to `port`. Offsets are those of an IPv4 header, which is where a
/// packet of `SOCK_DGRAM` begins.
fn filter(port: u16) -> [libc::sock_filter; 9] {
    const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
    const LOAD_HALF: u16 = 0x28; // BPF_LD | BPF_H | BPF_ABS
    const LOAD_HALF_BEHIND_X: u16 = 0x48; // BPF_LD | BPF_H | BPF_IND
    const X_IS_HEADER: u16 = 0xb1; // BPF_LDX | BPF_B | BPF_MSH
    const IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const IF_ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const UDP: u32 = 17;
    const FRAGMENT_OFFSET: u32 = 0x1fff;
    let one = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    [
        one(LOAD_BYTE, 0, 0, 9),
        one(IF_EQUAL, 0, 6, UDP),
        one(LOAD_HALF, 0, 0, 6),
        one(IF_ANY_BIT, 4, 0, FRAGMENT_OFFSET),
        one(X_IS_HEADER, 0, 0, 0),
        one(LOAD_HALF_BEHIND_X, 0, 0, 2),
        one(IF_EQUAL, 0, 1, u32::from(port)),
        one(RETURN, 0, 0, u32::MAX),
        one(RETURN, 0, 0, 0),
    ]
}

fn attach_filter(socket: BorrowedFd<'_>, port: u16) -> io::Result<()> {
    let mut instructions = filter(port);
    let program = libc::sock_fprog {
        len: u16::try_from(instructions.len()).unwrap_or(u16::MAX),
        filter: instructions.as_mut_ptr(),
    };
    // SAFETY: the option takes one `sock_fprog`, whose pointer is to `len` live instructions that
    // the kernel copies and checks before it uses them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).unwrap_or(0),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A UDP socket that sends and hears on one interface alone. Non-blocking.
#[derive(Debug)]
pub struct LinkUdp {
    socket: OwnedFd,
}

impl LinkUdp {
    /// One at `port` of every address of the interface `name`: of IPv4, or of IPv6.
    ///
    /// # Errors
    /// Those of socket(2), setsockopt(2) and bind(2): `EADDRINUSE` if another client has the port.
    pub fn open(name: &str, port: u16, is_ipv6: bool) -> io::Result<Self> {
        let family = if is_ipv6 { AddressFamily::INET6 } else { AddressFamily::INET };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
        // SAFETY: the option reads `name.len()` live bytes; the kernel ends them with a NUL.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_BINDTODEVICE,
                name.as_ptr().cast(),
                libc::socklen_t::try_from(name.len()).unwrap_or(0),
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        let any: SocketAddr = if is_ipv6 {
            sockopt::set_ipv6_v6only(&socket, true)?;
            (Ipv6Addr::UNSPECIFIED, port).into()
        } else {
            (Ipv4Addr::UNSPECIFIED, port).into()
        };
        // A daemon that was started again finds the port free, whatever its predecessor left.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &any)?;
        Ok(Self { socket })
    }

    /// Sends one datagram. To a link-local address of IPv6 it goes through the interface `link`.
    ///
    /// # Errors
    /// Those of sendto(2): `EADDRNOTAVAIL` while the interface has no address to send from,
    /// `ENETUNREACH`, `EHOSTUNREACH`.
    pub fn send(&self, datagram: &[u8], to: SocketAddr, link: u32) -> io::Result<()> {
        let to = match to {
            SocketAddr::V6(to) => SocketAddrV6::new(*to.ip(), to.port(), 0, link).into(),
            to => to,
        };
        rustix::net::sendto(&self.socket, datagram, SendFlags::empty(), &to)?;
        Ok(())
    }

    /// The next datagram that came; none if there is none now.
    ///
    /// # Errors
    /// Those of recvfrom(2) other than `EAGAIN` and `EINTR`.
    pub fn receive<'b>(&self, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        receive(self.socket.as_fd(), buffer)
    }
}

impl AsFd for LinkUdp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn receive<'b>(socket: BorrowedFd<'_>, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
    loop {
        match rustix::net::recv(socket, &mut *buffer, RecvFlags::empty()) {
            Ok((length, _)) => return Ok(Some(buffer.get(..length).unwrap_or_default())),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the classic machine makes of a packet: the kernel's rules for the instructions used.
    fn passes(packet: &[u8], port: u16) -> bool {
        let (mut a, mut x, mut at) = (0_u32, 0_usize, 0_usize);
        let program = filter(port);
        let byte = |at: usize| packet.get(at).copied().map(u32::from);
        let half = |at: usize| Some(byte(at)? << 8 | byte(at + 1)?);
        loop {
            let libc::sock_filter { code, jt, jf, k } = program[at];
            let place = usize::try_from(k).expect("small");
            at += 1;
            let loaded = match code {
                0x30 => byte(place),
                0x28 => half(place),
                0x48 => half(x + place),
                0xb1 => {
                    x = usize::try_from((byte(place).unwrap_or(0) & 0xf) * 4).expect("small");
                    Some(a)
                }
                0x15 | 0x45 => {
                    let is = if code == 0x15 { a == k } else { a & k != 0 };
                    at += usize::from(if is { jt } else { jf });
                    Some(a)
                }
                _ => return k != 0,
            };
            // A load beyond the packet ends the program: it does not pass.
            let Some(loaded) = loaded else { return false };
            a = loaded;
        }
    }

    fn packet(protocol: u8, fragment: u16, header_words: u8, port: u16) -> Vec<u8> {
        let mut packet = vec![0; usize::from(header_words) * 4 + 8];
        packet[0] = 0x40 | header_words;
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet[9] = protocol;
        let at = usize::from(header_words) * 4 + 2;
        packet[at..at + 2].copy_from_slice(&port.to_be_bytes());
        packet
    }

    /// UDP to the port passes, with IP options too; others and later fragments do not.
    #[test]
    fn filter_lets_one_port_through() {
        assert!(passes(&packet(17, 0, 5, 68), 68));
        assert!(passes(&packet(17, 0x4000, 5, 68), 68), "don't fragment");
        assert!(passes(&packet(17, 0, 15, 68), 68), "options");
        assert!(!passes(&packet(17, 0, 5, 67), 68));
        assert!(!passes(&packet(6, 0, 5, 68), 68));
        assert!(!passes(&packet(17, 1, 5, 68), 68));
        assert!(!passes(&[], 68) && !passes(&packet(17, 0, 5, 68)[..20], 68));
    }
}
