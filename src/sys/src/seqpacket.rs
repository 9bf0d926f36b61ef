//! Packets with descriptors over a connected `SOCK_SEQPACKET` pair; never waiting.

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Descriptors that one packet may carry. The port allows as many; more are cut by the kernel.
pub const PACKET_FDS_MAX: usize = 8;

/// What one receive gave.
#[derive(Debug)]
pub enum Received {
    /// A packet of this many bytes lies in the buffer.
    Packet {
        /// Its length in bytes.
        bytes: usize,
        /// It was longer than the buffer; what lies there is only its head.
        cut: bool,
        /// The kernel could not hand over all its descriptors (too many, or no free ones here).
        fds_lost: bool,
    },
    /// Nothing is there now.
    Nothing,
    /// The peer is gone, or sent a packet without bytes, which nobody may.
    Closed,
}

/// A connected pair; both ends close-on-exec, the first non-blocking (its owner polls), the
/// second as its receiver wants it.
///
/// # Errors
/// Those of socketpair(2).
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (first, second) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::fs::fcntl_setfl(&first, rustix::fs::fcntl_getfl(&first)? | OFlags::NONBLOCK)?;
    Ok((first, second))
}

/// Receives one packet; its descriptors are appended to `fds`, close-on-exec.
///
/// # Errors
/// Those of recvmsg(2) that are none of [`Received`].
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PACKET_FDS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = loop {
        let mut parts = [IoSliceMut::new(buffer)];
        match rustix::net::recvmsg(socket, &mut parts, &mut ancillary, flags) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Received::Nothing),
            Err(Errno::CONNRESET) => return Ok(Received::Closed),
            Err(error) => return Err(error.into()),
            Ok(received) => break received,
        }
    };
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received_fds) = message {
            fds.extend(received_fds);
        }
    }
    if received.bytes == 0 {
        return Ok(Received::Closed);
    }
    Ok(Received::Packet {
        bytes: received.bytes,
        cut: received.flags.contains(ReturnFlags::TRUNC),
        fds_lost: received.flags.contains(ReturnFlags::CTRUNC),
    })
}

/// Sends one packet with descriptors. False if the peer's queue is full: try again when the socket
/// is writable.
///
/// # Errors
/// Those of sendmsg(2): `EPIPE` and `ECONNRESET` when the peer is gone.
pub fn send(socket: BorrowedFd<'_>, packet: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<bool> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PACKET_FDS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        match rustix::net::sendmsg(socket, &[IoSlice::new(packet)], &mut ancillary, flags) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    /// A descriptor arrives as another number for the same pipe; a long packet is seen as cut.
    #[test]
    fn packets_carry_descriptors_and_show_cuts() {
        let (ours, theirs) = pair().expect("pair");
        let (reader, writer) = rustix::pipe::pipe().expect("pipe");
        assert!(send(theirs.as_fd(), b"hello", &[writer.as_fd()]).expect("send"));
        let (mut buffer, mut fds) = ([0; 5], Vec::new());
        let received = receive(ours.as_fd(), &mut buffer, &mut fds).expect("receive");
        assert!(matches!(received, Received::Packet { bytes: 5, cut: false, fds_lost: false }));
        rustix::io::write(&fds[0], b"x").expect("write");
        let mut byte = [0];
        assert_eq!(rustix::io::read(&reader, &mut byte).expect("read"), 1);
        assert!(send(theirs.as_fd(), b"longer", &[]).expect("send"));
        let received = receive(ours.as_fd(), &mut buffer, &mut fds).expect("receive");
        assert!(matches!(received, Received::Packet { cut: true, .. }));
    }

    /// An empty queue, a full queue and a dead peer are three different answers, none of them a
    /// wait: the full queue is filled until the kernel says so.
    #[test]
    fn nothing_full_and_closed_are_told_apart() {
        let (ours, theirs) = pair().expect("pair");
        let (mut buffer, mut fds) = ([0; 16], Vec::new());
        let received = receive(ours.as_fd(), &mut buffer, &mut fds).expect("receive");
        assert!(matches!(received, Received::Nothing));
        let packet = [0; 16 * 1024];
        while send(ours.as_fd(), &packet, &[]).expect("send") {}
        drop(theirs);
        let received = receive(ours.as_fd(), &mut buffer, &mut fds).expect("receive");
        assert!(matches!(received, Received::Closed));
        assert!(send(ours.as_fd(), b"x", &[]).is_err());
    }
}
