//! The receiving end of sd_notify(3): a datagram socket with the sender's credentials.
//!
//! One socket per incarnation, so the address says whose words they are; the pid that comes with
//! a datagram serves only rules about *which* process of a service may speak.

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with, sockopt,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// One datagram's bytes that are looked at: systemd's own cap (`NOTIFY_BUFFER_MAX`, one page).
pub const DATAGRAM_BYTES_MAX: usize = 4096;

/// What came in, beside the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Bytes written into the caller's buffer.
    pub length: usize,
    /// The sender as the kernel saw it when it sent; 0 if it lies outside our pid namespace.
    pub pid: u32,
    /// The datagram was longer than the buffer; its rest is lost.
    pub truncated: bool,
}

/// Binds a notify socket: non-blocking, 0600 from the moment it can be seen, owned by the one
/// user that may write to it. A socket left behind under the same path is replaced.
///
/// # Errors
/// Those of socket(2), fchmod(2), unlink(2), bind(2) and chown(2).
pub fn create(path: &Path, user: u32, group: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    sockopt::set_socket_passcred(&socket, true)?;
    // bind(2) gives the node the socket inode's mode: no moment with a wider one.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    std::os::unix::fs::chown(path, Some(user), Some(group))?;
    Ok(socket)
}

/// Takes one datagram. `None`: nothing now. Descriptors that came with it are closed.
///
/// # Errors
/// Those of recvmsg(2) but `EAGAIN` and `EINTR`.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<Datagram>> {
    receive_with(socket.as_fd(), buffer, 0)
}

/// Looks at the next datagram and leaves it where it is: who dies before it has acted on what it
/// read leaves the words to its successor.
///
/// # Errors
/// As [`receive`].
pub fn peek(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<Datagram>> {
    receive_with(socket.as_fd(), buffer, libc::MSG_PEEK)
}

fn receive_with(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: i32,
) -> io::Result<Option<Datagram>> {
    let descriptor = socket.as_raw_fd();
    let mut control = Control([0; CONTROL_BYTES]);
    loop {
        let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: `msghdr` is plain integers and pointers, for which all-zero is a valid value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut slice;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_BYTES;
        let flags = flags | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: `header` points to one live iovec over `buffer` and to `control`, both with
        // their true lengths, and nothing else refers to them during the call.
        let count = unsafe { libc::recvmsg(descriptor, &raw mut header, flags) };
        if let Ok(length) = usize::try_from(count) {
            let truncated = header.msg_flags & libc::MSG_TRUNC != 0;
            return Ok(Some(Datagram { length, pid: sender(&header), truncated }));
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => return Ok(None),
            _ => return Err(error),
        }
    }
}

/// Room for one `SCM_CREDENTIALS` alone: the kernel closes descriptors that find no room.
const CONTROL_BYTES: usize = 32;

/// Bytes of the `ucred` in it: pid, uid, gid.
const UCRED_BYTES: u32 = 12;

/// Control bytes, aligned as cmsg(3) wants them.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// The pid in the first control message. By hand and not by rustix, whose `Pid` cannot be 0: the
/// kernel writes 0 for a sender outside our pid namespace.
fn sender(header: &libc::msghdr) -> u32 {
    // SAFETY: `header` was filled by a successful recvmsg and its control bytes are live.
    let first = unsafe { libc::CMSG_FIRSTHDR(header) };
    if first.is_null() {
        return 0;
    }
    // SAFETY: not null, so a whole `cmsghdr` lies in the control bytes.
    let message = unsafe { first.read_unaligned() };
    let is_credentials =
        message.cmsg_level == libc::SOL_SOCKET && message.cmsg_type == libc::SCM_CREDENTIALS;
    // SAFETY: a constant computation on a small length.
    let whole = unsafe { libc::CMSG_LEN(UCRED_BYTES) } as usize;
    if !is_credentials || message.cmsg_len < whole {
        return 0;
    }
    // SAFETY: the message is long enough for a `ucred` behind its header.
    let credentials = unsafe { libc::CMSG_DATA(first).cast::<libc::ucred>().read_unaligned() };
    u32::try_from(credentials.pid).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::UnixDatagram;

    /// A datagram must arrive with its bytes and our own pid, the node must be 0600, and a second
    /// bind over the first must win instead of failing with EADDRINUSE.
    #[test]
    fn receives_with_the_senders_pid() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("web.1");
        let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
        drop(create(&path, user.as_raw(), group.as_raw()).expect("first"));
        let socket = create(&path, user.as_raw(), group.as_raw()).expect("second");
        let metadata = std::fs::metadata(&path).expect("metadata");
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
        assert_eq!(metadata.uid(), user.as_raw());

        let mut buffer = [0; 8];
        assert_eq!(receive(&socket, &mut buffer).expect("empty"), None);
        let sender = UnixDatagram::unbound().expect("sender");
        sender.send_to(b"READY=1", &path).expect("short");
        sender.send_to(b"STATUS=long", &path).expect("long");
        let pid = std::process::id();
        let seen = peek(&socket, &mut buffer).expect("peek").expect("datagram");
        let short = receive(&socket, &mut buffer).expect("receive").expect("datagram");
        assert_eq!(seen, short, "a look leaves it there");
        assert_eq!(short, Datagram { length: 7, pid, truncated: false });
        assert_eq!(&buffer[..7], b"READY=1");
        let long = receive(&socket, &mut buffer).expect("receive").expect("datagram");
        assert_eq!(long, Datagram { length: 8, pid, truncated: true });
    }
}
