//! One static IPv4 address and one gateway: what a test guest needs of a network.
//!
//! By the ioctls of netdevice(7), on a datagram socket of the network namespace. [`crate::link`]
//! brings the interface up.

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

/// Bytes of an interface's name without its NUL (`IFNAMSIZ` less one).
pub const NAME_BYTES_MAX: usize = libc::IFNAMSIZ - 1;

/// Moves the calling thread, and what it starts from now on, into a network namespace of its own,
/// in which nothing is but `lo`, up.
///
/// # Errors
/// Those of unshare(2): `EPERM` without privilege; those of [`crate::link::bring_up`].
pub fn enter_own_namespace() -> io::Result<()> {
    // SAFETY: CLONE_NEWNET makes no descriptor invalid: a socket stays in the namespace it is of.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET)? };
    crate::link::bring_up("lo")
}

/// Connects from one of this host's addresses: what a probe does, so that it is told from users.
///
/// # Errors
/// Those of socket(2), bind(2) and connect(2).
pub fn connect_from(source: Ipv4Addr, target: SocketAddr) -> io::Result<TcpStream> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddr::from((source, 0)))?;
    rustix::net::connect(&socket, &target)?;
    Ok(socket.into())
}

/// Sets up the interfaces of this network namespace.
#[derive(Debug)]
pub struct Interfaces {
    socket: OwnedFd,
}

impl Interfaces {
    /// Opens the socket that the requests go through.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
        Ok(Self { socket })
    }

    /// Gives `name` its address and the prefix's mask (`SIOCSIFADDR`, `SIOCSIFNETMASK`).
    ///
    /// # Errors
    /// `ENODEV` without such an interface, `EPERM` without `CAP_NET_ADMIN`, `EINVAL` for a name or
    /// prefix that cannot be.
    pub fn set_address(&self, name: &str, address: Ipv4Addr, prefix_bits: u8) -> io::Result<()> {
        let shift = 32_u32.checked_sub(u32::from(prefix_bits)).ok_or(Errno::INVAL)?;
        let mask = Ipv4Addr::from(u32::MAX.checked_shl(shift).unwrap_or(0));
        let mut request = named(name)?;
        request.ifr_ifru.ifru_addr = socket_address(address);
        self.ask(libc::SIOCSIFADDR, &mut request)?;
        request.ifr_ifru.ifru_addr = socket_address(mask);
        self.ask(libc::SIOCSIFNETMASK, &mut request)
    }

    /// Sends what is for nobody nearer to `gateway` (`SIOCADDRT` with destination 0.0.0.0/0). A
    /// route that is there already is as good.
    ///
    /// # Errors
    /// `ENETUNREACH` if no interface that is up reaches the gateway; `EPERM`.
    pub fn add_default_route(&self, gateway: Ipv4Addr) -> io::Result<()> {
        // SAFETY: `rtentry` is plain integers and pointers, for which all-zero is a valid value.
        let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
        route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
        route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
        route.rt_gateway = socket_address(gateway);
        route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
        // SAFETY: the request reads one live `rtentry`; its device pointer may be null, and is.
        let result =
            unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCADDRT, &raw const route) };
        match result {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
                error => Err(error),
            },
        }
    }

    fn ask(&self, what: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: every request used here reads or writes one live `ifreq`.
        match unsafe { libc::ioctl(self.socket.as_raw_fd(), what, &raw mut *request) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// A request about the interface `name`.
fn named(name: &str) -> io::Result<libc::ifreq> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('\0') {
        return Err(Errno::INVAL.into());
    }
    // SAFETY: `ifreq` is integers and a union of such, for which all-zero is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

/// `sockaddr_in` in the clothes of `sockaddr`: family, port 0, the four bytes of the address.
fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    for (to, from) in data[2..6].iter_mut().zip(address.octets()) {
        *to = from.cast_signed();
    }
    libc::sockaddr { sa_family: libc::AF_INET.try_into().unwrap_or(2), sa_data: data }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An interface that is not there, names that cannot be and a prefix above 32 are refused.
    #[test]
    fn interfaces() {
        let interfaces = Interfaces::open().expect("socket");
        let address = Ipv4Addr::LOCALHOST;
        assert!(interfaces.set_address("no-such-one", address, 8).is_err());
        for wrong in ["", "a-name-above-the-cap", "l\0"] {
            let error = interfaces.set_address(wrong, address, 8).expect_err(wrong);
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        }
        assert!(interfaces.set_address("lo", address, 33).is_err());
    }

    /// The layout of `sockaddr_in` (ip(7)): two bytes of port, then the address, most significant
    /// byte first.
    #[test]
    fn address_layout() {
        let address = socket_address(Ipv4Addr::new(10, 0, 2, 15));
        assert_eq!(address.sa_family, 2);
        assert_eq!(&address.sa_data[..7], &[0, 0, 10, 0, 2, 15, 0]);
    }
}
