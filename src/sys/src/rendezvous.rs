//! Sockets that outlive who reads them: the checks PID 1 makes before it keeps or passes one.

use rustix::io::Errno;
use rustix::net::SocketType;
use std::io;
use std::os::fd::BorrowedFd;

/// Whether this is an internet socket without a port: nobody could ever find it.
#[must_use]
pub fn lacks_port(fd: BorrowedFd<'_>) -> bool {
    let Ok(address) = rustix::net::getsockname(fd) else { return false };
    std::net::SocketAddr::try_from(address).is_ok_and(|address| address.port() == 0)
}

/// Listens again on a stream socket that a tenant shut down (`SO_ACCEPTCONN` is 0 then); one that
/// listens, one that is connected and what is no stream socket stay as they are. True if it did.
///
/// A shut-down AF_UNIX listener keeps `SO_ACCEPTCONN` (unix_shutdown of the kernel), so it is not
/// seen here.
///
/// # Errors
/// Those of listen(2): `EADDRINUSE` when somebody else took the address meanwhile.
pub fn listen_again(fd: BorrowedFd<'_>, backlog: u32) -> io::Result<bool> {
    match rustix::net::sockopt::socket_type(fd) {
        Ok(SocketType::STREAM | SocketType::SEQPACKET) => {}
        _ => return Ok(false),
    }
    let connected = rustix::net::getpeername(fd).is_ok();
    if connected || rustix::net::sockopt::socket_acceptconn(fd)? {
        return Ok(false);
    }
    // A tenant that shut it down once more than it listened left a mark, with which everything it
    // accepts would be at its end at once. To be connected to nobody takes it away and nothing
    // else. AF_UNIX knows no such call and no such mark.
    let _ = rustix::net::connect_unspec(fd);
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    match rustix::net::listen(fd, backlog) {
        Ok(()) => Ok(true),
        // A socket pair is neither connected by name nor able to listen.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Shuts a socket down for all who hold it, as a tenant may do by mistake.
///
/// # Errors
/// Those of shutdown(2).
pub fn shut_down(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::net::shutdown(fd, rustix::net::Shutdown::Both)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    /// A tenant's `shutdown` ends a listener; afterwards the same socket on the same port takes
    /// connections again, and a healthy one is left alone.
    #[test]
    fn a_shut_down_listener_listens_again() {
        // A port of its own choice first, then the same by number: the kernel lets go of a port
        // that it chose itself as soon as the socket is shut down.
        let chosen = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = chosen.local_addr().expect("address");
        drop(chosen);
        let listener = TcpListener::bind(address).expect("bind by number");
        assert!(!listen_again(listener.as_fd(), 8).expect("healthy"));
        shut_down(listener.as_fd()).expect("shutdown");
        TcpStream::connect(address).expect_err("refused while shut down");
        assert!(listen_again(listener.as_fd(), 8).expect("again"));
        TcpStream::connect(address).expect("accepted again");
    }

    /// Tenants that shut it down twice, as several workers with one listener do: who is accepted
    /// afterwards is heard.
    #[test]
    fn a_listener_shut_down_twice_hears_again() {
        use std::io::{Read, Write};
        let chosen = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = chosen.local_addr().expect("address");
        drop(chosen);
        let listener = TcpListener::bind(address).expect("bind by number");
        shut_down(listener.as_fd()).expect("shutdown");
        shut_down(listener.as_fd()).expect_err("it is not connected; and marked all the same");
        assert!(listen_again(listener.as_fd(), 8).expect("again"));
        let mut client = TcpStream::connect(address).expect("accepted again");
        client.write_all(b"x").expect("write");
        let (mut server, _) = listener.accept().expect("accept");
        let mut heard = [0];
        assert_eq!(server.read(&mut heard).expect("read"), 1);
    }

    /// Unbound internet sockets have no port; bound ones and unix ones are fine.
    #[test]
    fn port_zero_is_seen() {
        use rustix::net::{AddressFamily, socket};
        let unbound = socket(AddressFamily::INET, SocketType::STREAM, None).expect("socket");
        assert!(lacks_port(unbound.as_fd()));
        let bound = TcpListener::bind("127.0.0.1:0").expect("bind");
        assert!(!lacks_port(bound.as_fd()));
        let unix = socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("socket");
        assert!(!lacks_port(unix.as_fd()));
    }
}
