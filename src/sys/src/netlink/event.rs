//! What the kernel says when links, addresses or routes change.

use super::{READ_BYTES_MAX, messages, open, u16_at, u32_at};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Groups of linux/rtnetlink.h: links, addresses and routes of both families, IPv6's own of links,
/// and options of router advertisements.
const GROUPS: [u32; 7] = [1, 5, 7, 9, 11, 12, 20];

const RTM_NEWNDUSEROPT: u16 = 68;

/// `struct nduseroptmsg`: family, padding, length of the options, interface, type and code of the
/// ICMPv6 message, padding.
const OPTION_FIXED_BYTES: usize = 16;

/// Messages of one read; more are `Changed` anyway.
const HEARD_MAX: usize = 256;

/// A socket that hears of changes; non-blocking.
#[derive(Debug)]
pub struct Events {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Something is not as it was, or events were lost: look again.
    Changed,
    /// An option of a router advertisement that the kernel leaves to others: interface, and the
    /// option as it came from the network.
    RouterOption(u32, Vec<u8>),
}

impl Events {
    /// Begins to listen. Who looks after this misses nothing.
    ///
    /// # Errors
    /// Those of socket(2) and bind(2).
    pub fn open() -> io::Result<Self> {
        let groups = GROUPS.iter().fold(0, |groups, group| groups | 1 << (group - 1));
        let socket = open(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, groups)?;
        Ok(Self { socket, buffer: vec![0; READ_BYTES_MAX] })
    }

    /// The next that was heard; empty if there is nothing now.
    ///
    /// # Errors
    /// Those of recvfrom(2), other than `EAGAIN`, `EINTR` and `ENOBUFS`.
    pub fn hear(&mut self) -> io::Result<Vec<Heard>> {
        let length = loop {
            match rustix::net::recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => break length,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Vec::new()),
                Err(Errno::NOBUFS) => return Ok(vec![Heard::Changed]),
                Err(error) => return Err(error.into()),
            }
        };
        let bytes = self.buffer.get(..length).unwrap_or_default();
        let mut heard: Vec<Heard> = messages(bytes)
            .take(HEARD_MAX)
            .map(|message| match message.kind {
                RTM_NEWNDUSEROPT => option(message.body).unwrap_or(Heard::Changed),
                _ => Heard::Changed,
            })
            .collect();
        heard.dedup();
        Ok(heard)
    }
}

fn option(body: &[u8]) -> Option<Heard> {
    let length = usize::from(u16_at(body, 2)?);
    let link = u32_at(body, 4)?;
    let option = body.get(OPTION_FIXED_BYTES..OPTION_FIXED_BYTES + length)?;
    Some(Heard::RouterOption(link, option.to_vec()))
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
