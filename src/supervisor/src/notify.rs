//! Notify sockets: one a run, so that the address says who speaks.

use crate::watch::{Held, Ticket};
use service::Notification;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use sys::notify::{DATAGRAM_BYTES_MAX, create, peek, receive};

/// Datagrams heard from one socket in a turn. The queue holds `net.unix.max_dgram_qlen` (512), so
/// this empties it, and a service that sends without end holds up nobody.
pub const TURN_DATAGRAMS: usize = 1024;

/// A run: whose and which.
pub type RunName = (String, u64);

/// A socket that is gone, or cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// All of them.
#[derive(Debug)]
pub struct Notify {
    directory: PathBuf,
    sockets: BTreeMap<RunName, Held>,
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
        self.sockets.insert((service.to_owned(), incarnation), held);
        Ok(ticket)
    }

    /// Whether the run has said something that nobody has acted on yet.
    #[must_use]
    pub fn has_words(&self, service: &str, incarnation: u64) -> bool {
        matches!(self.next(service, incarnation), Ok(Some(_)))
    }

    /// What the run said next, with the sender's pid. It stays there until [`Notify::done`]: should
    /// this supervisor die before its memo of it is with PID 1, the next one hears it too.
    ///
    /// # Errors
    /// The socket is gone or cannot be read, which is said.
    pub fn next(
        &self,
        service: &str,
        incarnation: u64,
    ) -> Result<Option<(Notification, u32)>, Broken> {
        let name = (service.to_owned(), incarnation);
        let held = self.sockets.get(&name).ok_or(Broken)?;
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        let datagram = peek(held.fd(), &mut buffer).map_err(|error| {
            tracing::error!("{service}: its notify socket cannot be read: {error}");
            Broken
        })?;
        Ok(datagram.map(|datagram| {
            // A datagram that was cut may say half a word; a status text loses its tail.
            let mut length = datagram.length.min(buffer.len());
            if datagram.truncated {
                length = buffer[..length].iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
                tracing::warn!(
                    "{service}: a notification above {DATAGRAM_BYTES_MAX} bytes was cut"
                );
            }
            (Notification::parse(&buffer[..length]), datagram.pid)
        }))
    }

    /// What [`Notify::next`] showed was acted on.
    pub fn done(&self, service: &str, incarnation: u64) {
        if let Some(held) = self.sockets.get(&(service.to_owned(), incarnation)) {
            // What cannot be read now cannot be read next time either, and is said then.
            let _ = receive(held.fd(), &mut [0; 1]);
        }
    }

    /// Drops a run's socket and its address.
    pub fn remove(&mut self, service: &str, incarnation: u64) {
        if self.sockets.remove(&(service.to_owned(), incarnation)).is_some() {
            // One that is gone already serves the purpose.
            let _ = std::fs::remove_file(self.path(service, incarnation));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixDatagram;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever a service sends, of whatever length: each datagram is one notification, in its
        /// order, and words behind the cut of a long one are not half understood.
        #[test]
        fn any_datagrams_are_taken(
            datagrams in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..6000), 0..6),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            let runtime = runtime.expect("runtime");
            let _inside = runtime.enter();
            let directory = tempfile::tempdir().expect("directory");
            let own = std::fs::metadata(directory.path()).expect("own");
            let mut notify = Notify::new(directory.path()).expect("notify");
            let (_ticket, _kept) = notify.bind(("web", 1), own.uid(), own.gid()).expect("bind");
            let sender = UnixDatagram::unbound().expect("sender");
            for datagram in &datagrams {
                // The word stands last: in a datagram that is cut it must not be heard.
                let words = [&datagram[..], b"\nREADY=1"].concat();
                sender.send_to(&words, notify.path("web", 1)).expect("send");
            }
            for datagram in &datagrams {
                let heard = notify.next("web", 1);
                prop_assert_eq!(&heard, &notify.next("web", 1), "a look leaves it there");
                let (notification, pid) = heard.ok().flatten().expect("a datagram");
                prop_assert_eq!(pid, std::process::id());
                let fits = datagram.len() + 8 <= DATAGRAM_BYTES_MAX;
                prop_assert_eq!(notification.ready, fits);
                prop_assert!(notify.has_words("web", 1));
                notify.done("web", 1);
            }
            prop_assert_eq!(notify.next("web", 1), Ok(None));
            notify.remove("web", 1);
            prop_assert!(!notify.path("web", 1).exists());
            prop_assert_eq!(notify.next("web", 1), Err(Broken));
        }
    }
}
