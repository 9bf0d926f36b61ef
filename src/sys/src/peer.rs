//! Who is at the other end of a unix socket, as the kernel knows it.

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::FdFlags;
use rustix::net::{SocketType, sockopt};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Supplementary groups read of one peer. A peer with more counts as having only these; the
/// kernel allows 65,536 (`NGROUPS_MAX`), people have a few.
pub const PEER_GROUPS_MAX: usize = 256;

/// Bytes of `/proc/PID/cgroup` that are looked at: on cgroup v2 it is one line.
const CGROUP_FILE_BYTES_MAX: u64 = 8192;

/// The peer when it connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its pid in our pid namespace; 0 if it has none there.
    pub pid: u32,
    /// Effective user.
    pub user: u32,
    /// Effective primary group.
    pub group: u32,
    /// Supplementary groups (`SO_PEERGROUPS`); `SO_PEERCRED` does not carry them.
    pub groups: Vec<u32>,
}

/// Reads `SO_PEERCRED` and `SO_PEERGROUPS` of a connected unix socket (unix(7), socket(7)).
///
/// # Errors
/// Those of getsockopt(2); `ERANGE` if the peer is in more than [`PEER_GROUPS_MAX`] groups.
pub fn credentials(socket: impl AsFd) -> io::Result<Peer> {
    let descriptor = socket.as_fd().as_raw_fd();
    let mut credentials = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = socklen(size_of::<libc::ucred>());
    // SAFETY: the pointers are to a live `ucred` and to its length, and the kernel writes at most
    // `length` bytes of plain integers.
    let result = unsafe {
        libc::getsockopt(
            descriptor,
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut groups = vec![0_u32; PEER_GROUPS_MAX];
    let mut length = socklen(PEER_GROUPS_MAX * size_of::<u32>());
    // SAFETY: the pointer is to `PEER_GROUPS_MAX` live u32s, `length` is their size in bytes, and
    // the kernel writes at most that many bytes.
    let result = unsafe {
        libc::getsockopt(
            descriptor,
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(length as usize / size_of::<u32>());
    let pid = u32::try_from(credentials.pid).unwrap_or(0);
    Ok(Peer { pid, user: credentials.uid, group: credentials.gid, groups })
}

fn socklen(bytes: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(bytes).unwrap_or(libc::socklen_t::MAX)
}

/// The cgroup v2 path of a living process, relative to the cgroup root (`/services/web.0`), or
/// `None` if it has none in the v2 hierarchy.
///
/// # Errors
/// `NotFound` or `ESRCH` if no such process is left; those of reading /proc.
pub fn cgroup(pid: u32) -> io::Result<Option<String>> {
    use std::io::Read as _;
    let mut text = Vec::new();
    std::fs::File::open(format!("/proc/{pid}/cgroup"))?
        .take(CGROUP_FILE_BYTES_MAX)
        .read_to_end(&mut text)?;
    Ok(parse_cgroup(&text))
}

/// The path on the `0::` line (cgroups(7)); other lines are v1 hierarchies.
fn parse_cgroup(text: &[u8]) -> Option<String> {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::"))?;
    String::from_utf8(line.to_vec()).ok()
}

/// Set once [`inherited`] gave a descriptor away.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes over the connected `SOCK_SEQPACKET` socket that whoever started this process left open as
/// `number`; from here on it is close-on-exec and non-blocking. Works once in a process.
///
/// # Errors
/// `EBADF` if nothing is open there, `ENOTSOCK` or `EPROTOTYPE` if it is something else, `EBUSY` a
/// second time.
pub fn inherited(number: i32) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    // SAFETY: `number` is not negative, and the borrow is used for queries alone, which fail with
    // EBADF if nothing is open there.
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    if sockopt::socket_type(socket)? != SocketType::SEQPACKET {
        return Err(io::Error::from_raw_os_error(libc::EPROTOTYPE));
    }
    // SAFETY: the query above showed that it is open. It was open before this process ran a line
    // of ours, so no object of ours owns it, and `TAKEN` lets nobody take it twice.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    fcntl_setfl(&socket, fcntl_getfl(&socket)? | OFlags::NONBLOCK)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    /// Over our own socket pair the peer is ourselves, with the groups /proc names.
    #[test]
    fn the_peer_of_our_own_socket_pair_is_us() {
        let (socket, _other) = UnixStream::pair().expect("pair");
        let peer = credentials(&socket).expect("credentials");
        assert_eq!(peer.pid, std::process::id());
        assert_eq!(peer.user, rustix::process::geteuid().as_raw());
        let status = std::fs::read_to_string("/proc/self/status").expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).expect("groups");
        let expected: Vec<u32> =
            line.split_whitespace().map(|word| word.parse().expect("number")).collect();
        assert_eq!(peer.groups, expected);
    }

    /// Only the v2 line counts, wherever it stands.
    #[test]
    fn the_v2_line_is_found_among_others() {
        let hybrid = b"4:memory:/a\n1:name=systemd:/b\n0::/services/web.0\n";
        assert_eq!(parse_cgroup(hybrid).as_deref(), Some("/services/web.0"));
        assert_eq!(parse_cgroup(b"4:memory:/a\n"), None);
        assert!(cgroup(std::process::id()).is_ok());
    }
}
