//! Kernel uevents: what the kernel says when a device appears, changes or goes.
//!
//! A netlink datagram: `ACTION@DEVPATH`, then `KEY=VALUE` words, each ended by a NUL. Source:
//! lib/kobject_uevent.c of the kernel, netlink(7). Anybody may send to a netlink socket, so only
//! what comes from port 0, the kernel, counts. When the socket's buffer ran over, events are lost
//! for good and the reader has to look at `/sys` itself.

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One event in bytes: the kernel's `UEVENT_BUFFER_SIZE` and its header line.
pub const EVENT_BYTES_MAX: usize = 8192;

/// Buffer of the socket in bytes: some thousand events of a machine that finds all its devices.
const SOCKET_BYTES: usize = 4 * 1024 * 1024;

/// The kernel's own events (`1` is the kernel's group, `2` that of udev).
const KERNEL_GROUP: u32 = 1;

/// A socket that hears the kernel's events; non-blocking.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
}

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// An event.
    Event(Uevent<'a>),
    /// Events were lost: look at `/sys` itself.
    Lost,
    /// A datagram that is not the kernel's, or not an event. To be ignored.
    Noise,
}

/// One event; borrows from the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uevent<'a> {
    /// `add`, `change`, `remove`, ….
    pub action: &'a [u8],
    /// Below `/sys`: `/devices/pci0000:00/…/block/vda`.
    pub device_path: &'a [u8],
    words: &'a [u8],
}

impl<'a> Uevent<'a> {
    /// Reads one datagram; none if it has not the form of an event.
    #[must_use]
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let end = datagram.iter().position(|byte| *byte == 0)?;
        let (header, words) = (&datagram[..end], &datagram[end + 1..]);
        let at = header.iter().position(|byte| *byte == b'@')?;
        let (action, device_path) = (&header[..at], &header[at + 1..]);
        let fine = !action.is_empty() && device_path.starts_with(b"/");
        fine.then_some(Self { action, device_path, words })
    }

    /// The value of `KEY`: `SUBSYSTEM`, `DEVNAME`, ….
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&'a [u8]> {
        let mut words = self.words.split(|byte| *byte == 0);
        words.find_map(|word| word.strip_prefix(key.as_bytes())?.strip_prefix(b"="))
    }
}

impl Listener {
    /// Begins to listen. Who looks at `/sys` after this misses nothing.
    ///
    /// # Errors
    /// Those of socket(2) and bind(2).
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = Some(netlink::KOBJECT_UEVENT);
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol)?;
        // Without privilege the default of 208 KiB remains; more often `Lost` is all it costs.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BYTES);
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
        Ok(Self { socket })
    }

    /// The next that was heard; none if there is nothing now.
    ///
    /// # Errors
    /// Those of recvfrom(2), other than `EAGAIN`, `EINTR` and `ENOBUFS` ([`Heard::Lost`]).
    pub fn hear<'a>(&self, buffer: &'a mut [u8; EVENT_BYTES_MAX]) -> io::Result<Option<Heard<'a>>> {
        use rustix::io::Errno;
        let received = loop {
            match rustix::net::recvfrom(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                other => break other,
            }
        };
        let (length, sender) = match received {
            Ok((length, _, sender)) => (length, sender),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::NOBUFS) => return Ok(Some(Heard::Lost)),
            Err(error) => return Err(error.into()),
        };
        let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
        let from_kernel = sender.is_some_and(|sender| sender.pid() == 0);
        let event = from_kernel.then(|| Uevent::parse(&buffer[..length])).flatten();
        Ok(Some(event.map_or(Heard::Noise, Heard::Event)))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADD: &[u8] = b"add@/devices/virtual/block/loop0\0ACTION=add\0SUBSYSTEM=block\0\
        DEVNAME=loop0\0SEQNUM=12\0";

    /// An event as lib/kobject_uevent.c writes it. A key that ends like another is not that one.
    #[test]
    fn event_of_the_kernel() {
        let event = Uevent::parse(ADD).expect("an event");
        assert_eq!(event.action, b"add");
        assert_eq!(event.device_path, b"/devices/virtual/block/loop0");
        assert_eq!(event.value("SUBSYSTEM"), Some(&b"block"[..]));
        assert_eq!(event.value("DEVNAME"), Some(&b"loop0"[..]));
        assert_eq!(event.value("NAME"), None);
        assert_eq!(event.value("DEV"), None);
    }

    /// udev's own format, and every cut of a real event, are no event or one without words; the
    /// parser never reads out of bounds.
    #[test]
    fn everything_else_is_noise() {
        assert_eq!(Uevent::parse(b"libudev\0\xfe\xed\xca\xfe"), None);
        for wrong in [&b""[..], b"\0", b"@/x\0", b"add@x\0", b"add"] {
            assert_eq!(Uevent::parse(wrong), None, "{wrong:?}");
        }
        for length in 0..ADD.len() {
            if let Some(event) = Uevent::parse(&ADD[..length]) {
                assert_eq!(event.action, b"add");
            }
        }
    }

    /// A datagram from another process, however well it is formed, is noise: this test is that
    /// process. (Sending needs the same privilege as a container's root has; without it, skip.)
    #[test]
    fn other_senders_are_noise() {
        let listener = Listener::open().expect("a socket");
        let mut buffer = [0; EVENT_BYTES_MAX];
        let name = rustix::net::getsockname(&listener.socket).expect("its name");
        let port = SocketAddrNetlink::try_from(name).expect("netlink").pid();
        let to = SocketAddrNetlink::new(port, 0);
        let other = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(netlink::KOBJECT_UEVENT),
        )
        .expect("a socket");
        if rustix::net::sendto(&other, ADD, rustix::net::SendFlags::empty(), &to).is_err() {
            return;
        }
        // Real events of this machine may come first.
        let mut heard = Vec::new();
        while let Some(one) = listener.hear(&mut buffer).expect("it can be heard") {
            heard.push(match one {
                Heard::Event(event) => event.value("SEQNUM") == Some(b"12"),
                Heard::Lost | Heard::Noise => false,
            });
        }
        assert!(!heard.is_empty() && !heard.contains(&true), "the forged event counted");
    }
}
