//! Network links: netdevice(7)'s one call that a boot needs.

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io;
use std::os::fd::AsRawFd;

/// Brings a link up, as `ip link set lo up` does; one that is up stays so. For `lo` the kernel adds
/// 127.0.0.1 and ::1 by itself.
///
/// # Errors
/// `EINVAL` for a name of more than 15 bytes; those of socket(2) and netdevice(7): `ENODEV` if
/// there is no such link, `EPERM` without privilege.
pub fn bring_up(name: &str) -> io::Result<()> {
    // SAFETY: all bytes zero is a valid ifreq: a plain C struct of arrays, integers and pointers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() || name.contains('\0') {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte.cast_signed();
    }
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let number = socket.as_raw_fd();
    // SAFETY: the pointer is to a live ifreq whose name ends in NUL; the kernel writes its flags.
    if unsafe { libc::ioctl(number, libc::SIOCGIFFLAGS, &raw mut request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: SIOCGIFFLAGS has just filled this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | 1; // IFF_UP of netdevice(7)
    // SAFETY: as for the first call; the kernel only reads.
    if unsafe { libc::ioctl(number, libc::SIOCSIFFLAGS, &raw const request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors come from the right call: a link that is not there, a name that cannot be.
    #[test]
    fn unknown_links_are_errors() {
        let error = bring_up("no-such-link").expect_err("there is none");
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        let error = bring_up("a-name-much-too-long").expect_err("it cannot be");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}
