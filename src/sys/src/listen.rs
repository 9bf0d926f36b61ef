//! Listening sockets, made once by the supervisor and kept in PID 1.

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with, sockopt,
};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// A step towards a listening socket that failed.
#[derive(Debug)]
pub struct ListenError {
    /// The call: `socket`, `bind`, `listen`…
    pub step: &'static str,
    /// What the kernel said.
    pub error: io::Error,
}

impl std::fmt::Display for ListenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.step, self.error)
    }
}

impl std::error::Error for ListenError {}

/// Names the step of an error.
fn at(step: &'static str) -> impl Fn(Errno) -> ListenError {
    move |errno| ListenError { step, error: errno.into() }
}

/// Who may connect to a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixAccess {
    /// Mode bits of the node.
    pub mode: u32,
    /// Its owner.
    pub user: u32,
    /// Its group.
    pub group: u32,
}

/// A TCP listener: close-on-exec, blocking (tenants expect that), `SO_REUSEADDR`, and for `[::]`
/// IPv4 as well.
///
/// # Errors
/// [`ListenError`]; `EADDRINUSE` at `bind` or `listen` if another program has the address.
pub fn tcp(address: SocketAddr, backlog: u32) -> Result<OwnedFd, ListenError> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(at("socket"))?;
    // Without it a restart waits for connections in TIME_WAIT.
    sockopt::set_socket_reuseaddr(&socket, true).map_err(at("SO_REUSEADDR"))?;
    if address.is_ipv6() {
        // The host's default may say otherwise; "[::]:80" shall mean the same everywhere.
        sockopt::set_ipv6_v6only(&socket, false).map_err(at("IPV6_V6ONLY"))?;
    }
    bind(&socket, &address).map_err(at("bind"))?;
    self::listen_again(&socket, backlog)?;
    Ok(socket)
}

/// A unix stream listener with the given mode and owner, in place of a socket left behind.
///
/// Only the kept descriptor makes a unix socket ours; a node nobody of us holds is stale, and
/// `bind` would refuse it for ever.
///
/// # Errors
/// [`ListenError`]; `EEXIST` at `bind` if the path is there and is no socket.
pub fn unix(path: &Path, access: UnixAccess, backlog: u32) -> Result<OwnedFd, ListenError> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(at("socket"))?;
    // bind(2) gives the node the socket inode's mode: no moment with a wider one. The umask still
    // takes bits away, so chmod follows.
    let mode = Mode::from_raw_mode(access.mode);
    rustix::fs::fchmod(&socket, mode).map_err(at("fchmod"))?;
    remove_stale(path)?;
    bind(&socket, &SocketAddrUnix::new(path).map_err(at("address"))?).map_err(at("bind"))?;
    std::os::unix::fs::chown(path, Some(access.user), Some(access.group))
        .map_err(|error| ListenError { step: "chown", error })?;
    rustix::fs::chmod(path, mode).map_err(at("chmod"))?;
    listen_again(&socket, backlog)?;
    Ok(socket)
}

/// Removes a socket at `path`; leaves anything else alone.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            rustix::fs::unlink(path).map_err(at("unlink"))
        }
        Ok(_) => Err(ListenError { step: "bind", error: Errno::EXIST.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(ListenError { step: "lstat", error }),
    }
}

/// Listens, or listens again on a socket that a tenant shut down.
///
/// # Errors
/// [`ListenError`] of listen(2).
pub fn listen_again(socket: impl AsFd, backlog: u32) -> Result<(), ListenError> {
    listen(socket, i32::try_from(backlog).unwrap_or(i32::MAX)).map_err(at("listen"))
}

/// Whether the socket listens now (`SO_ACCEPTCONN`); false for datagram sockets.
///
/// # Errors
/// Those of getsockopt(2): `ENOTSOCK` if it is no socket.
pub fn is_listening(socket: impl AsFd) -> io::Result<bool> {
    Ok(sockopt::socket_acceptconn(socket)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{Shutdown, shutdown};
    use std::net::{Ipv6Addr, TcpListener, TcpStream};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    /// `[::]` must take IPv4 connections, and a listener that a tenant shut down must take them
    /// again after `listen_again`. The port is a fixed one: the kernel gives a port it chose
    /// itself back at shutdown, which is why definitions with port 0 are refused.
    #[test]
    fn tcp_takes_both_families_and_comes_back_after_shutdown() {
        let free = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("free port");
        let port = free.local_addr().expect("address").port();
        drop(free);
        let socket = tcp((Ipv6Addr::UNSPECIFIED, port).into(), 16).expect("listen");
        TcpStream::connect(("127.0.0.1", port)).expect("IPv4");
        assert!(is_listening(&socket).expect("query"));
        shutdown(&socket, Shutdown::Both).expect("shutdown");
        assert!(!is_listening(&socket).expect("query"));
        TcpStream::connect(("127.0.0.1", port)).expect_err("nobody listens");
        listen_again(&socket, 16).expect("again");
        TcpStream::connect(("127.0.0.1", port)).expect("IPv4 again");
    }

    /// A taken address must be reported at its step with EADDRINUSE.
    #[test]
    fn tcp_names_the_step_that_failed() {
        let first = tcp(([127, 0, 0, 1], 0).into(), 1).expect("listen");
        let address =
            TcpListener::from(first.try_clone().expect("clone")).local_addr().expect("address");
        let failed = tcp(address, 1).expect_err("taken");
        assert_eq!(failed.error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(failed.step, "bind");
    }

    /// A stale socket is replaced, the mode survives a strict umask, and a plain file stays.
    #[test]
    fn unix_replaces_only_sockets() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("web.socket");
        let access = UnixAccess {
            mode: 0o666,
            user: rustix::process::getuid().as_raw(),
            group: rustix::process::getgid().as_raw(),
        };
        drop(unix(&path, access, 4).expect("first"));
        UnixStream::connect(&path).expect_err("stale");
        let _socket = unix(&path, access, 4).expect("second");
        UnixStream::connect(&path).expect("connect");
        let mode = std::fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o666);

        let file = directory.path().join("precious");
        std::fs::write(&file, b"words").expect("write");
        unix(&file, access, 4).expect_err("no socket");
        assert_eq!(std::fs::read(&file).expect("read"), b"words");
    }
}
