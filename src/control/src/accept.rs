//! Accepting on a control socket, the same for the supervisor's and the agent's: who comes in, how
//! many, and a task of its own for each.

use crate::limits::{
    ACCEPT_PAUSE_MS, CALL_BYTES_MAX, CONNECTIONS_FOR_ROOT, CONNECTIONS_MAX, CONNECTIONS_PER_UID_MAX,
};
use crate::roles::{Grant, Peer, Policy, decide};
use crate::server::Identify;
use std::cell::RefCell;
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use zlink::connection::socket::{self, ReadResult, Socket};
use zlink::tokio::unix as transport;
use zlink::{ReadyListener, Server, Service};

/// Who serves: makes the session of each connection, and has a log.
pub(crate) trait House {
    /// One connection's methods.
    type Session: Service<CappedStream>;

    /// The session of `visitor`.
    fn session(&self, visitor: Visitor) -> Self::Session;

    /// A line for the log.
    fn say(&self, message: &str);
}

/// A caller that was let in.
pub(crate) struct Visitor {
    /// Who that is.
    pub peer: Peer,
    /// What it may do.
    pub grant: Grant,
    /// A second descriptor of the connection, to see the peer leave.
    pub watch: Rc<UnixStream>,
}

/// Serves `listener` for ever.
pub(crate) async fn run<H>(
    listener: std::os::unix::net::UnixListener,
    policy: Policy,
    identify: Rc<Identify>,
    house: Rc<H>,
) -> io::Result<()>
where
    H: House + 'static,
{
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let guests = Rc::new(RefCell::new(Guests::default()));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                house.say(&format!("control socket: accept failed: {error}"));
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                continue;
            }
        };
        if let Err(error) = admit(stream, policy, &identify, &house, &guests) {
            house.say(&format!("control socket: a connection was not served: {error}"));
        }
    }
}

/// Identifies one peer and starts its task, if there is room.
fn admit<H>(
    stream: UnixStream,
    policy: Policy,
    identify: &Rc<Identify>,
    house: &Rc<H>,
    guests: &Rc<RefCell<Guests>>,
) -> io::Result<()>
where
    H: House + 'static,
{
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
    let house = Rc::clone(house);
    tokio::task::spawn_local(async move {
        let _seat = seat;
        let name = format!("uid {}, pid {}", peer.uid, peer.pid);
        if let Err(error) = serve(stream, peer, policy, &*house).await {
            house.say(&format!("control socket: connection of {name}: {error}"));
        }
    });
    Ok(())
}

/// Serves one accepted connection until its peer closes it.
pub(crate) async fn serve<H: House>(
    stream: StdUnixStream,
    peer: Peer,
    policy: Policy,
    house: &H,
) -> Result<(), zlink::Error> {
    let grant = decide(&peer, &policy);
    stream.set_nonblocking(true)?;
    let watch = Rc::new(UnixStream::from_std(stream.try_clone()?)?);
    let session = house.session(Visitor { peer, grant, watch });
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
