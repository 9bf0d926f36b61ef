//! The owner's end of the port: packets out in order, packets in as owned values.
//!
//! Nothing waits for an answer once the supervisor runs: requests are queued in the order of the
//! effects they carry out, and their answers come back as messages like all others. Only while it
//! attaches does it ask and wait, one request at a time.

use crate::translate;
use crate::watch::{Watched, watch};
use port::limits::{FRAME_BYTES_MAX, SPECIFICATION_BYTES_MAX};
use port::{Answer, Message, Page, Request, SnapshotEnd, Spawn};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use sys::seqpacket::{self, Received};
use tokio::io::Interest;

/// Packets that wait for room in PID 1's queue. PID 1 reads whenever it turns, and a host of 1,000
/// services starts with some 8,000; beyond it something is wrong with PID 1.
const OUTGOING_MAX: usize = 65_536;

/// What ends the supervisor: it starts anew and finds everything where it was.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// PID 1 closed the connection, or is gone.
    #[error("PID 1 closed the port")]
    Closed,
    /// A system call on the port failed.
    #[error("port: {step}: {error}")]
    Call {
        /// Which.
        step: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
    /// A packet that makes no sense: the two do not understand each other.
    #[error("port: a packet of PID 1 cannot be read: {0}")]
    Decode(String),
    /// PID 1 refused what no owner can do without.
    #[error("port: PID 1 refused {verb}: {error}")]
    Refused {
        /// The request.
        verb: &'static str,
        /// Why.
        error: io::Error,
    },
    /// Pages of the snapshot are missing.
    #[error("port: the snapshot has {got} of {want} {what}")]
    Incomplete {
        /// Keys, runs or kept names.
        what: &'static str,
        /// How many PID 1 sent by its own count.
        want: u32,
        /// How many arrived.
        got: usize,
    },
    /// PID 1 does not read.
    #[error("port: {OUTGOING_MAX} requests wait and PID 1 reads none")]
    Stalled,
}

/// A message of PID 1, owned.
#[derive(Debug)]
pub enum Incoming {
    /// The answer to a request.
    Answer {
        /// The request's.
        sequence: u64,
        /// What it says.
        answer: Answer,
        /// The descriptor that came with it.
        fd: Option<OwnedFd>,
    },
    /// Something happened to a run, or the machine shall end.
    Event(service::Event),
    /// A page of a snapshot: a key.
    Key(service::snapshot::Key),
    /// A page of a snapshot: a run.
    Run(service::snapshot::Run),
    /// A page of a snapshot: a name in the fd store.
    Kept(String),
    /// The last word of a snapshot.
    SnapshotEnd(SnapshotEnd),
}

/// A packet on its way out.
#[derive(Debug)]
struct Packet {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

/// The connection.
#[derive(Debug)]
pub struct Port {
    socket: Watched,
    sequence: Cell<u64>,
    outgoing: RefCell<VecDeque<Packet>>,
    /// Of [`FRAME_BYTES_MAX`]: outgoing frames are encoded, incoming packets received here.
    buffer: RefCell<Vec<u8>>,
}

fn call(step: &'static str) -> impl Fn(io::Error) -> PortError {
    move |error| PortError::Call { step, error }
}

impl Port {
    /// Takes over the socket.
    ///
    /// # Errors
    /// [`PortError::Call`] if it cannot be registered with the runtime.
    pub fn new(socket: OwnedFd) -> Result<Self, PortError> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let socket = watch(socket, interest).map_err(call("register"))?;
        Ok(Self {
            socket,
            sequence: Cell::new(0),
            outgoing: RefCell::new(VecDeque::new()),
            buffer: RefCell::new(vec![0; FRAME_BYTES_MAX]),
        })
    }

    /// Queues a request; returns its sequence, under which the answer comes.
    ///
    /// # Errors
    /// [`PortError`]; a request that cannot be encoded is a mistake of ours and said as `Decode`.
    pub fn send(&self, request: &Request<'_>, fds: Vec<OwnedFd>) -> Result<u64, PortError> {
        let sequence = self.next_sequence();
        let mut buffer = self.buffer.borrow_mut();
        let length = request
            .encode(sequence, &mut buffer)
            .map_err(|error| PortError::Decode(format!("not one, but ours: {error}")))?;
        self.queue(&buffer[..length], fds)?;
        Ok(sequence)
    }

    /// Queues a spawn, its body in a memfd if it is above a frame. `Err` inside: the definition is
    /// too large or makes no sense, and nothing was sent.
    ///
    /// # Errors
    /// [`PortError`] if the port is broken.
    pub fn send_spawn(
        &self,
        spawn: &Spawn<'_>,
        mut fds: Vec<OwnedFd>,
    ) -> Result<Result<u64, String>, PortError> {
        let sequence = self.next_sequence();
        let mut buffer = self.buffer.borrow_mut();
        match Request::Spawn(*spawn).encode(sequence, &mut buffer) {
            Ok(length) => self.queue(&buffer[..length], fds)?,
            Err(port::EncodeError::Field(field)) => {
                return Ok(Err(format!("{field} is above its cap")));
            }
            Err(port::EncodeError::Full) => {
                let mut body = vec![0; SPECIFICATION_BYTES_MAX];
                let Ok((frame, length)) = spawn.encode_apart(sequence, &mut body) else {
                    let words = "arguments and environment are above";
                    return Ok(Err(format!("{words} {SPECIFICATION_BYTES_MAX} bytes")));
                };
                match sys::memory::memfd_with(c"rollinit-spawn", &body[..length]) {
                    Ok(memfd) => fds.insert(0, memfd),
                    Err(error) => return Ok(Err(format!("memfd: {error}"))),
                }
                self.queue(&frame, fds)?;
            }
        }
        Ok(Ok(sequence))
    }

    fn next_sequence(&self) -> u64 {
        self.sequence.set(self.sequence.get() + 1);
        self.sequence.get()
    }

    fn queue(&self, bytes: &[u8], fds: Vec<OwnedFd>) -> Result<(), PortError> {
        let mut outgoing = self.outgoing.borrow_mut();
        if outgoing.is_empty() && self.try_send(bytes, &fds)? {
            return Ok(());
        }
        if outgoing.len() >= OUTGOING_MAX {
            return Err(PortError::Stalled);
        }
        outgoing.push_back(Packet { bytes: bytes.to_vec(), fds });
        Ok(())
    }

    fn try_send(&self, bytes: &[u8], fds: &[OwnedFd]) -> Result<bool, PortError> {
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        seqpacket::send(self.socket.get_ref().as_fd(), bytes, &fds).map_err(|error| {
            match error.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => PortError::Closed,
                _ => PortError::Call { step: "send", error },
            }
        })
    }

    /// The next message; meanwhile queued requests go out. Safe to be dropped and called again.
    ///
    /// # Errors
    /// [`PortError`]: the supervisor should end and be started anew.
    pub async fn next(&self) -> Result<Incoming, PortError> {
        loop {
            if let Some(incoming) = self.receive()? {
                return Ok(incoming);
            }
            let blocked = !self.flush()?;
            // Writability is awaited only if something waits for it: a socket is mostly writable.
            let interest =
                if blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            let mut guard = self.socket.ready(interest).await.map_err(call("wait"))?;
            if let Some(incoming) = self.receive()? {
                return Ok(incoming);
            }
            let still_blocked = !self.flush()?;
            guard.clear_ready_matching(tokio::io::Ready::READABLE);
            if still_blocked {
                guard.clear_ready_matching(tokio::io::Ready::WRITABLE);
            }
        }
    }

    /// Whether PID 1 has all that was sent: it acts on it even if we end now.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.outgoing.borrow().is_empty()
    }

    /// Sends what waits; false if something still does.
    fn flush(&self) -> Result<bool, PortError> {
        let mut outgoing = self.outgoing.borrow_mut();
        while let Some(packet) = outgoing.front() {
            if !self.try_send(&packet.bytes, &packet.fds)? {
                return Ok(false);
            }
            outgoing.pop_front();
        }
        Ok(true)
    }

    /// Takes one packet, if one is there.
    fn receive(&self) -> Result<Option<Incoming>, PortError> {
        let mut buffer = self.buffer.borrow_mut();
        let mut fds = Vec::new();
        let socket = self.socket.get_ref().as_fd();
        let received =
            seqpacket::receive(socket, &mut buffer, &mut fds).map_err(call("receive"))?;
        let packet = match received {
            Received::Nothing => return Ok(None),
            Received::Closed => return Err(PortError::Closed),
            Received::Packet { cut: true, .. } => {
                return Err(PortError::Decode("longer than a frame".to_owned()));
            }
            Received::Packet { fds_lost: true, .. } => {
                let words = "its descriptors were lost (is RLIMIT_NOFILE too low?)";
                return Err(PortError::Decode(words.to_owned()));
            }
            Received::Packet { bytes, .. } => &buffer[..bytes],
        };
        let message =
            Message::decode(packet).map_err(|error| PortError::Decode(error.to_string()))?;
        Ok(Some(owned(&message, fds)))
    }

    /// Sends a request and waits for its answer; what else arrives goes to `aside`.
    ///
    /// # Errors
    /// [`PortError`].
    pub async fn ask(
        &self,
        request: &Request<'_>,
        fds: Vec<OwnedFd>,
        aside: &mut Vec<Incoming>,
    ) -> Result<(Answer, Option<OwnedFd>), PortError> {
        let asked = self.send(request, fds)?;
        loop {
            match self.next().await? {
                Incoming::Answer { sequence, answer, fd } if sequence == asked => {
                    return Ok((answer, fd));
                }
                other => aside.push(other),
            }
        }
    }
}

/// A decoded message without its packet.
fn owned(message: &Message<'_>, mut fds: Vec<OwnedFd>) -> Incoming {
    match message {
        Message::Answer(sequence, answer) => {
            Incoming::Answer { sequence: *sequence, answer: *answer, fd: fds.pop() }
        }
        Message::Event(event) => Incoming::Event(translate::event(event)),
        Message::Page(Page::Key(entry)) => Incoming::Key(translate::key(entry)),
        Message::Page(Page::Run(entry)) => Incoming::Run(translate::run(entry)),
        Message::Page(Page::Kept(entry)) => Incoming::Kept(entry.name.to_owned()),
        Message::SnapshotEnd(end) => Incoming::SnapshotEnd(*end),
    }
}
