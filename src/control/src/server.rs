//! The server half: the supervisor supplies the answers ([`Backend`]), this carries them.
//!
//! [`run`] accepts on a socket that PID 1 keeps (so calls made while the supervisor restarts wait
//! in its queue) and gives each connection a task of its own: a `Stop` that takes its time holds
//! up nobody else. Everything runs on one thread, inside a `tokio::task::LocalSet`.

use crate::limits::{
    ACCEPT_PAUSE_MS, CALL_BYTES_MAX, CONNECTIONS_FOR_ROOT, CONNECTIONS_MAX, CONNECTIONS_PER_UID_MAX,
};
use crate::roles::{Peer, Policy, decide};
use crate::session::Session;
use crate::types::{Changed, Event, LogRecord, ProcessList, ShutdownKind, Status};
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use zlink::connection::socket::{self, ReadResult, Socket};
use zlink::tokio::unix as transport;
use zlink::{ReadyListener, Server};

/// An answer of the supervisor, awaited on the connection's own task.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, crate::Error>> + 'a>>;

/// What the supervisor answers. Roles are checked before any of these is called.
///
/// A caller that goes away does not end an answer in progress: what was begun is finished.
pub trait Backend {
    /// The host, and the service called `name`, or all.
    fn status<'a>(&'a self, name: Option<&'a str>) -> Answer<'a, Status>;

    /// What each service costs now.
    fn processes(&self) -> Answer<'_, ProcessList>;

    /// Brings a service up, down, or down and up; answers when it is there.
    fn change<'a>(&'a self, peer: &'a Peer, verb: Verb, name: &'a str) -> Answer<'a, Changed>;

    /// Lines of services' output.
    fn logs(&self, query: LogQuery) -> Answer<'_, Feed<LogRecord>>;

    /// What happened lately, and, if `follow`, what happens.
    fn events(&self, follow: bool) -> Answer<'_, Feed<Event>>;

    /// Begins to take the host down; answers once that is under way.
    fn shutdown<'a>(&'a self, peer: &'a Peer, kind: ShutdownKind) -> Answer<'a, ()>;

    /// `CLOCK_MONOTONIC` now, in nanoseconds.
    fn now_ns(&self) -> u64;

    /// A line for the supervisor's own log: a connection refused, a peer that broke the protocol.
    fn say(&self, message: &str);
}

/// The verbs that change a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Up: done when ready.
    Start,
    /// Down: done when stopped.
    Stop,
    /// Down if it is up, then up: done when ready.
    Restart,
}

/// Which lines `GetLogs` wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// Of this service, or of all.
    pub service: Option<String>,
    /// The last so many that are there already; at most `limits::LOG_LINES_MAX`.
    pub lines: u32,
    /// And those to come.
    pub follow: bool,
}

/// Records that are there, and those to come.
#[derive(Debug)]
pub struct Feed<T> {
    /// What is there already, oldest first.
    pub backlog: Vec<T>,
    /// Records that are known to have been lost before the backlog.
    pub lost: u64,
    /// What is to come, through a channel of `limits::FEED_BATCHES_MAX`; the sender counts what
    /// it has to drop. `None` if nothing is to come. The receiver is dropped when the caller goes
    /// away, the sender to end the feed.
    pub live: Option<mpsc::Receiver<Batch<T>>>,
}

/// Some records of a feed.
#[derive(Debug)]
pub struct Batch<T> {
    /// Oldest first.
    pub records: Vec<T>,
    /// Records that were lost before these.
    pub lost: u64,
}

/// Finds out who is at the other end, from the kernel.
pub type Identify = dyn Fn(&StdUnixStream) -> io::Result<Peer>;

/// Serves `listener` for ever: accepts, identifies, and gives each connection a local task.
///
/// Must run inside a `tokio::task::LocalSet` of a current-thread runtime with io and time enabled.
///
/// # Errors
/// Only if `listener` cannot be registered with the runtime at all. Failing accepts and peers that
/// cannot be served are said through [`Backend::say`].
pub async fn run(
    listener: std::os::unix::net::UnixListener,
    policy: Policy,
    identify: Rc<Identify>,
    backend: Rc<dyn Backend>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let guests = Rc::new(RefCell::new(Guests::default()));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                backend.say(&format!("control socket: accept failed: {error}"));
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                continue;
            }
        };
        if let Err(error) = admit(stream, policy, &identify, &backend, &guests) {
            backend.say(&format!("control socket: a connection was not served: {error}"));
        }
    }
}

/// Identifies one peer and starts its task, if there is room.
fn admit(
    stream: UnixStream,
    policy: Policy,
    identify: &Rc<Identify>,
    backend: &Rc<dyn Backend>,
    guests: &Rc<RefCell<Guests>>,
) -> io::Result<()> {
    let stream = stream.into_std()?;
    let peer = identify(&stream)?;
    let free_of_quota = peer.uid == 0 || peer.uid == policy.own_uid;
    let Some(seat) = Guests::seat(guests, peer.uid, free_of_quota) else {
        return Err(io::Error::other(format!(
            "too many connections: {CONNECTIONS_MAX} in all, {CONNECTIONS_PER_UID_MAX} for a uid; \
             this one was of uid {}, pid {}",
            peer.uid, peer.pid
        )));
    };
    let backend = Rc::clone(backend);
    tokio::task::spawn_local(async move {
        let _seat = seat;
        let name = format!("uid {}, pid {}", peer.uid, peer.pid);
        if let Err(error) = serve(stream, peer, policy, Rc::clone(&backend)).await {
            backend.say(&format!("control socket: connection of {name}: {error}"));
        }
    });
    Ok(())
}

/// Serves one accepted connection until its peer closes it.
///
/// A message that is too long or is not Varlink closes the connection; a peer without a role is
/// answered `NotPermitted` to everything but the description of the interface.
///
/// # Errors
/// If the stream cannot be registered with the runtime.
pub async fn serve(
    stream: StdUnixStream,
    peer: Peer,
    policy: Policy,
    backend: Rc<dyn Backend>,
) -> Result<(), zlink::Error> {
    let grant = decide(&peer, &policy);
    stream.set_nonblocking(true)?;
    let watch = UnixStream::from_std(stream.try_clone()?)?;
    let session = Session::new(peer, grant, Rc::new(watch), backend);
    let socket = CappedStream(transport::Stream::try_from(stream)?);
    Server::new(ReadyListener::new(socket), session).run().await
}

/// Who is connected, by uid.
#[derive(Debug, Default)]
struct Guests {
    uids: Vec<u32>,
}

impl Guests {
    /// A seat for one connection of `uid`, given back when it is dropped.
    fn seat(guests: &Rc<RefCell<Guests>>, uid: u32, free_of_quota: bool) -> Option<Seat> {
        let mut inside = guests.borrow_mut();
        let of_uid = inside.uids.iter().filter(|&&other| other == uid).count();
        let room = if free_of_quota {
            inside.uids.len() < CONNECTIONS_MAX
        } else {
            inside.uids.len() < CONNECTIONS_MAX - CONNECTIONS_FOR_ROOT
                && of_uid < CONNECTIONS_PER_UID_MAX
        };
        if !room {
            return None;
        }
        inside.uids.push(uid);
        Some(Seat { guests: Rc::clone(guests), uid })
    }
}

/// A place among the connections served.
struct Seat {
    guests: Rc<RefCell<Guests>>,
    uid: u32,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut guests = self.guests.borrow_mut();
        if let Some(index) = guests.uids.iter().position(|&uid| uid == self.uid) {
            guests.uids.swap_remove(index);
        }
    }
}

/// A stream that refuses calls longer than [`CALL_BYTES_MAX`]; zlink alone would buffer 100 MiB.
/// Descriptors that a peer sends along are closed: no method takes any.
#[derive(Debug)]
pub(crate) struct CappedStream(transport::Stream);

impl Socket for CappedStream {
    type ReadHalf = CappedRead;
    type WriteHalf = <transport::Stream as Socket>::WriteHalf;

    fn split(self) -> (Self::ReadHalf, Self::WriteHalf) {
        let (inner, write) = self.0.split();
        (CappedRead { inner, pending_bytes: 0 }, write)
    }
}

/// The reading half of a [`CappedStream`].
#[derive(Debug)]
pub(crate) struct CappedRead {
    inner: <transport::Stream as Socket>::ReadHalf,
    /// Bytes since the last NUL, which ends a Varlink message.
    pending_bytes: usize,
}

impl socket::ReadHalf for CappedRead {
    async fn read(&mut self, buffer: &mut [u8]) -> zlink::Result<ReadResult> {
        let mut result = self.inner.read(buffer).await?;
        drop(result.take_fds());
        let read = &buffer[..result.bytes_read()];
        self.pending_bytes = match read.iter().rposition(|&byte| byte == 0) {
            Some(end) => read.len() - end - 1,
            None => self.pending_bytes + read.len(),
        };
        if self.pending_bytes > CALL_BYTES_MAX {
            return Err(zlink::Error::BufferOverflow);
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::{CONNECTIONS_FOR_ROOT, CONNECTIONS_MAX, CONNECTIONS_PER_UID_MAX, Guests};
    use std::cell::RefCell;
    use std::rc::Rc;

    /// One user cannot take every seat, all users together leave root's, and seats come back.
    #[test]
    fn seats() {
        let guests = Rc::new(RefCell::new(Guests::default()));
        let mut seats: Vec<_> =
            (0..CONNECTIONS_PER_UID_MAX).map(|_| Guests::seat(&guests, 1000, false)).collect();
        assert!(seats.iter().all(Option::is_some));
        assert!(Guests::seat(&guests, 1000, false).is_none());

        for uid in 1001.. {
            let Some(seat) = Guests::seat(&guests, uid, false) else { break };
            seats.push(Some(seat));
        }
        assert_eq!(seats.len(), CONNECTIONS_MAX - CONNECTIONS_FOR_ROOT);
        for _ in 0..CONNECTIONS_FOR_ROOT {
            seats.push(Some(Guests::seat(&guests, 0, true).unwrap()));
        }
        assert!(Guests::seat(&guests, 0, true).is_none());
        seats.remove(0);
        assert!(Guests::seat(&guests, 0, true).is_some());
    }
}
