//! Two listeners on one address, and a program in the kernel that says which takes a connection.
//!
//! Listeners with `SO_REUSEPORT` on one address are a group; a listener's *index* in it is the
//! order in which they began to listen. The group's classic BPF program returns the index of the
//! listener that takes a new connection (socket(7), `SO_ATTACH_REUSEPORT_CBPF`). What is no index
//! is as no answer: the kernel then chooses by hash, and with one listener takes that.
//!
//! When the first of two listeners leaves, the second becomes the first. With the sysctl
//! `net.ipv4.tcp_migrate_req` what waited in the queue of the one that left goes to the other.

use crate::listen::ListenError;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, bind, socket_with, sockopt};
use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Where probes come from: nobody else on a host binds to it, and from outside it is martian.
pub const PROBE_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// Who takes a new connection to a group: indexes of its listeners. With one that there is not, as
/// with any while there is but one listener, the kernel chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Program {
    /// Whoever it is.
    pub users: u32,
    /// Who comes from [`PROBE_ADDRESS`].
    pub probes: u32,
}

impl Program {
    /// Users come to the first, probes to the second.
    pub const GATE: Self = Self { users: 0, probes: 1 };
    /// All come to the first.
    pub const FIRST: Self = Self { users: 0, probes: 0 };
    /// All come to the second.
    pub const SECOND: Self = Self { users: 1, probes: 1 };

    /// The same of a group whose two listeners stand the other way round.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self { users: 1 - self.users % 2, probes: 1 - self.probes % 2 }
    }
}

/// A TCP socket that is bound to `address` with `SO_REUSEPORT` and does not listen yet:
/// close-on-exec, blocking (tenants expect that), for `[::]` IPv4 as well.
///
/// # Errors
/// [`ListenError`]; `EADDRINUSE` at `bind` if another program has the address.
pub fn tcp(address: SocketAddr) -> Result<OwnedFd, ListenError> {
    let at = |step| move |errno: Errno| ListenError { step, error: errno.into() };
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(at("socket"))?;
    // Without it connections in TIME_WAIT would be in the way.
    sockopt::set_socket_reuseaddr(&socket, true).map_err(at("SO_REUSEADDR"))?;
    sockopt::set_socket_reuseport(&socket, true).map_err(at("SO_REUSEPORT"))?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false).map_err(at("IPV6_V6ONLY"))?;
    }
    bind(&socket, &address).map_err(at("bind"))?;
    Ok(socket)
}

/// Gives the group of `socket` a program, in place of an older one, for all its listeners.
///
/// # Errors
/// Those of setsockopt(2): `EINVAL` if the socket has no `SO_REUSEPORT`.
pub fn attach(socket: impl AsFd, program: Program) -> io::Result<()> {
    let mut instructions = instructions(program);
    let filter = libc::sock_fprog {
        len: u16::try_from(instructions.len()).unwrap_or(u16::MAX),
        filter: instructions.as_mut_ptr(),
    };
    // SAFETY: the option takes one `sock_fprog`, whose pointer is to `len` live instructions that
    // the kernel copies and checks before it uses them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            length_of::<libc::sock_fprog>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Connections that wait to be accepted; none if the socket does not listen.
///
/// # Errors
/// Those of getsockopt(2): `EOPNOTSUPP` if it is no TCP socket.
pub fn queued(socket: impl AsFd) -> io::Result<Option<u32>> {
    if !sockopt::socket_acceptconn(&socket)? {
        return Ok(None);
    }
    // SAFETY: all bytes zero is a valid `tcp_info`: plain integers.
    let mut information: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = length_of::<libc::tcp_info>();
    // SAFETY: the pointers are to a live `tcp_info` and to its length, and the kernel writes at
    // most `length` bytes of plain integers.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut information).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // Of a listener this field is the length of its queue (tcp_get_info of the kernel).
    Ok(Some(information.tcpi_unacked))
}

/// Has a listener listen no more; it can be told to listen again. It leaves its group, and what
/// waits in its queue goes to the other listener if `tcp_migrate_req` is on, else is reset.
/// One that does not listen is left alone: shutdown(2) would mark it, and whatever it accepted once
/// it listens again would be at its end before it began.
///
/// # Errors
/// Those of getsockopt(2) and shutdown(2).
pub fn leave(socket: impl AsFd) -> io::Result<()> {
    if sockopt::socket_acceptconn(&socket)? {
        rustix::net::shutdown(socket, Shutdown::Read)?;
    }
    Ok(())
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(libc::socklen_t::MAX)
}

/// The program in the kernel's words (linux/filter.h, linux/bpf_common.h). A load outside of the
/// packet ends it with 0, the first listener.
fn instructions(program: Program) -> Vec<libc::sock_filter> {
    const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
    const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    /// Offsets from here on are those of the network header.
    const NETWORK: u32 = libc::SKF_NET_OFF.cast_unsigned();
    const SOURCE: u32 = NETWORK + 12;
    let one = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap_or(u16::MAX),
        jt,
        jf,
        k,
    };
    let Program { users, probes } = program;
    vec![
        one(LOAD_BYTE, 0, 0, NETWORK),
        one(AND, 0, 0, 0xf0),
        // IP version 4, else a user.
        one(IF_EQUAL, 0, 3, 0x40),
        one(LOAD_WORD, 0, 0, SOURCE),
        one(IF_EQUAL, 0, 1, PROBE_ADDRESS.to_bits()),
        one(RETURN, 0, 0, probes),
        one(RETURN, 0, 0, users),
    ]
}
