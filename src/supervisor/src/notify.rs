//! Notify sockets: one a run, so that the address says who speaks.

use crate::logs::Left;
use crate::watch::{Held, Ticket};
use service::Notification;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use sys::notify::{DATAGRAM_BYTES_MAX, create, receive};

/// Datagrams taken from one socket in a turn. The queue holds `net.unix.max_dgram_qlen` (512), so
/// this empties it, and a service that sends without end holds up nobody.
const TURN_DATAGRAMS: usize = 1024;

/// A run: whose and which.
pub type RunName = (String, u64);

/// A run's socket.
#[derive(Debug)]
struct Socket {
    held: Held,
    /// What was taken from it and not yet given out.
    early: Vec<(Notification, u32)>,
}

/// All of them.
#[derive(Debug)]
pub struct Notify {
    directory: PathBuf,
    sockets: BTreeMap<RunName, Socket>,
}

impl Notify {
    /// Sockets are bound in `directory`.
    ///
    /// # Errors
    /// Those of mkdir(2).
    pub fn new(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        Ok(Self { directory: directory.to_owned(), sockets: BTreeMap::new() })
    }

    /// Where a run's socket is bound: the value of `NOTIFY_SOCKET`.
    #[must_use]
    pub fn path(&self, service: &str, incarnation: u64) -> PathBuf {
        self.directory.join(format!("{service}.{incarnation}"))
    }

    /// Binds a run's socket for one user; returns a second descriptor for PID 1 to keep.
    ///
    /// # Errors
    /// Those of [`create`] and of registering it.
    pub fn bind(
        &mut self,
        (service, incarnation): (&str, u64),
        user: u32,
        group: u32,
    ) -> io::Result<(Ticket, OwnedFd)> {
        let socket = create(&self.path(service, incarnation), user, group)?;
        let kept = socket.try_clone()?;
        Ok((self.adopt(service, incarnation, socket)?, kept))
    }

    /// Listens on a socket that PID 1 kept.
    ///
    /// # Errors
    /// That of registering it.
    pub fn adopt(
        &mut self,
        service: &str,
        incarnation: u64,
        socket: OwnedFd,
    ) -> io::Result<Ticket> {
        let (held, ticket) = Held::new(socket)?;
        let socket = Socket { held, early: Vec::new() };
        self.sockets.insert((service.to_owned(), incarnation), socket);
        Ok(ticket)
    }

    /// Whether the run has said something that was not given out yet.
    pub fn has_words(&mut self, service: &str, incarnation: u64) -> bool {
        let (said, _) = self.drain(service, incarnation);
        let any = !said.is_empty();
        if let Some(socket) = self.sockets.get_mut(&(service.to_owned(), incarnation)) {
            socket.early = said;
        }
        any
    }

    /// Takes what the run said, with the senders' pids, at most one turn's worth.
    pub fn drain(&mut self, service: &str, incarnation: u64) -> (Vec<(Notification, u32)>, Left) {
        let Some(socket) = self.sockets.get_mut(&(service.to_owned(), incarnation)) else {
            return (Vec::new(), Left::Broken);
        };
        let mut said = std::mem::take(&mut socket.early);
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        for _ in 0..TURN_DATAGRAMS {
            match receive(socket.held.fd(), &mut buffer) {
                Ok(Some(datagram)) => {
                    // A datagram that was cut may say half a word; a status text loses its tail.
                    let mut length = datagram.length.min(buffer.len());
                    if datagram.truncated {
                        let end = buffer[..length].iter().rposition(|byte| *byte == b'\n');
                        length = end.unwrap_or(0);
                        tracing::warn!(
                            "{service}: a notification above {DATAGRAM_BYTES_MAX} bytes was cut"
                        );
                    }
                    said.push((Notification::parse(&buffer[..length]), datagram.pid));
                }
                Ok(None) => return (said, Left::Nothing),
                Err(error) => {
                    tracing::error!("{service}: its notify socket cannot be read: {error}");
                    return (said, Left::Broken);
                }
            }
        }
        (said, Left::More)
    }

    /// Drops a run's socket and its address.
    pub fn remove(&mut self, service: &str, incarnation: u64) {
        if self.sockets.remove(&(service.to_owned(), incarnation)).is_some() {
            // One that is gone already serves the purpose.
            let _ = std::fs::remove_file(self.path(service, incarnation));
        }
    }
}
