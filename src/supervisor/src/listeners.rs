//! The sockets of apps' sides: who of the two takes a connection, and when a queue is empty.
//!
//! Each side of an app has a TCP socket of its own, all in one `SO_REUSEPORT` group
//! (`sys::reuseport`). The order of a group is that of listening, and here it is an invariant, not
//! a memory: a side that nobody shall reach does not listen, so whoever shall be first listens
//! before the other one. What is found otherwise is put in order without a moment in which nobody
//! listens. PID 1 keeps the sockets; these are duplicates.

use crate::identity::Identity;
use crate::port::PortError;
use crate::shell::Shell;
use crate::sockets;
use crate::spawn::listen_name;
use service::definition::Listen;
use service::{Event, Program, Side};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use sys::clock::{NS_PER_MS, NS_PER_S};
use sys::listen::{is_listening, listen_again};
use sys::reuseport::{self, attach, leave, queued};
use sys::user::Accounts;

/// So long nobody may have waited for an accept until a queue counts as empty: who saw the program
/// of before and is not in the queue yet has come by then, or tries again.
const EMPTY_FOR_NS: u64 = NS_PER_S;

/// How often a queue is looked at: the kernel does not tell when it changes. Far below a second,
/// and 50 system calls a second.
const LOOK_NS: u64 = 20 * NS_PER_MS;

/// All sockets of apps' sides, and what is to become of them.
#[derive(Debug, Default)]
pub struct Listeners {
    /// By their names in PID 1's fd store.
    sockets: BTreeMap<String, OwnedFd>,
    /// How each app's groups were last arranged.
    arranged: BTreeMap<String, (Side, Program)>,
    waits: BTreeMap<String, Wait>,
}

/// Somebody waits for a side's queues to be empty.
#[derive(Debug)]
struct Wait {
    request: u64,
    sockets: Vec<String>,
    empty_since_ns: Option<u64>,
    next_look_ns: u64,
}

impl Listeners {
    /// Holds a socket that PID 1 keeps under `name`.
    pub fn hold(&mut self, name: &str, socket: OwnedFd) {
        self.sockets.insert(name.to_owned(), socket);
    }

    /// Lets a socket go.
    pub fn drop_socket(&mut self, name: &str) {
        self.sockets.remove(name);
    }

    /// When queues are to be looked at again: `CLOCK_MONOTONIC` in nanoseconds.
    #[must_use]
    pub fn look_ns(&self) -> Option<u64> {
        self.waits.values().map(|wait| wait.next_look_ns).min()
    }

    /// Whether no connection waits at these sockets; none if none of them listens.
    fn are_empty(&self, names: &[String]) -> Option<bool> {
        let lengths = names.iter().filter_map(|name| {
            queued(self.sockets.get(name)?).unwrap_or_else(|error| {
                tracing::error!("{name}: its queue cannot be read: {error}; taken as empty");
                None
            })
        });
        lengths.map(|length| length == 0).reduce(|one, other| one && other)
    }

    /// Looks at what is awaited; returns the apps and requests whose wait is over.
    fn look(&mut self, now_ns: u64) -> Vec<(String, u64)> {
        let mut waits = std::mem::take(&mut self.waits);
        let mut over = Vec::new();
        waits.retain(|app, wait| {
            if now_ns < wait.next_look_ns {
                return true;
            }
            wait.next_look_ns = now_ns + LOOK_NS;
            wait.empty_since_ns = match self.are_empty(&wait.sockets) {
                Some(true) => wait.empty_since_ns.or(Some(now_ns)),
                Some(false) => None,
                None => Some(0),
            };
            let is_over = wait.empty_since_ns.is_some_and(|at| now_ns - at >= EMPTY_FOR_NS);
            if is_over {
                over.push((app.clone(), wait.request));
            }
            !is_over
        });
        self.waits = waits;
        over
    }
}

/// Brings the two sockets of one group into order and gives it its program. Wherever it is
/// interrupted, doing it again completes it.
fn arrange(
    first: &OwnedFd,
    other: Option<&OwnedFd>,
    program: Program,
    backlog: u32,
) -> io::Result<()> {
    let listen = |socket: &OwnedFd| listen_again(socket, backlog).map_err(|error| error.error);
    if program == Program::Nobody {
        return [Some(first), other].into_iter().flatten().try_for_each(leave);
    }
    let other = other.map(|socket| Ok::<_, io::Error>((socket, is_listening(socket)?)));
    let other = other.transpose()?.filter(|(_, listens)| *listens).map(|(socket, _)| socket);
    if !is_listening(first)? {
        let Some(other) = other else {
            listen(first)?;
            return steer(first, program);
        };
        // A tenant shut it down. Until it is the first again the other takes all, whose queue then
        // moves over to it.
        attach(other, reuseport::Program::First)?;
        listen(first)?;
        leave(other)?;
        if program != Program::Alone {
            steer(first, program)?;
            return listen(other);
        }
    } else if program == Program::Alone
        && let Some(other) = other
    {
        leave(other)?;
    }
    steer(first, program)
}

fn steer(first: impl AsFd, program: Program) -> io::Result<()> {
    attach(
        first,
        match program {
            Program::Gate => reuseport::Program::Gate,
            Program::Switch => reuseport::Program::Second,
            Program::Alone | Program::Nobody => reuseport::Program::First,
        },
    )
}

impl Shell {
    /// Carries out `Effect::Group`.
    pub(crate) fn group(
        &mut self,
        app: String,
        request: u64,
        first: Side,
        program: Program,
    ) -> Result<(), PortError> {
        self.listeners.waits.remove(&app);
        self.listeners.arranged.insert(app.clone(), (first, program));
        let failure = self.arrange_app(&app)?.err();
        if let Some(failure) = &failure {
            tracing::error!("{app}: its sockets are not in order: {failure}");
        }
        self.caused.push_back(Event::Grouped { app, request, failure });
        Ok(())
    }

    /// Carries out `Effect::AwaitEmpty`.
    pub(crate) fn await_empty(&mut self, app: String, request: u64, side: Side) {
        let sockets = self.grouped(&app);
        let sockets = sockets.iter().map(|listen| listen_name(&side.key(&app), &listen.name));
        let sockets = sockets.collect();
        let wait = Wait { request, sockets, empty_since_ns: None, next_look_ns: 0 };
        self.listeners.waits.insert(app, wait);
        self.look_at_queues();
    }

    /// Looks at awaited queues; those that are empty for long enough become events.
    pub(crate) fn look_at_queues(&mut self) {
        let over = self.listeners.look(sys::clock::monotonic_ns());
        let events = over.into_iter().map(|(app, request)| Event::QueueEmpty { app, request });
        self.caused.extend(events);
    }

    fn grouped(&self, app: &str) -> Vec<Listen> {
        let app = self.machine.app(app);
        let listen = app.map_or(&[][..], |app| app.template.listen.as_slice());
        listen.iter().filter(|listen| listen.grouped).cloned().collect()
    }

    /// Brings an app's groups into the order that was last wanted, if one was.
    pub(crate) fn arrange_app(&mut self, app: &str) -> Result<Result<(), String>, PortError> {
        let Some(&(first, program)) = self.listeners.arranged.get(app) else { return Ok(Ok(())) };
        for listen in self.grouped(app) {
            let name = |side: Side| listen_name(&side.key(app), &listen.name);
            if program != Program::Nobody
                && let Err((step, errno)) = self.bind(&name(first), &listen)?
            {
                let error = io::Error::from_raw_os_error(errno);
                return Ok(Err(if errno == 0 { step } else { format!("{step}: {error}") }));
            }
            let socket = |side| self.listeners.sockets.get(&name(side));
            let Some(front) = socket(first).or(socket(first.other())) else { continue };
            let arranged = arrange(front, socket(first.other()), program, listen.backlog);
            if let Err(error) = arranged {
                let address = sockets::address(&listen);
                return Ok(Err(format!("listen {} ({address}): {error}", listen.name)));
            }
        }
        Ok(Ok(()))
    }

    /// Binds a grouped socket and has it kept, once.
    pub(crate) fn bind(
        &mut self,
        name: &str,
        listen: &Listen,
    ) -> Result<Result<(), sockets::Failure>, PortError> {
        if self.listeners.sockets.contains_key(name) {
            return Ok(Ok(()));
        }
        let bound = sockets::bind(listen, &Identity::default(), &Accounts::default());
        let socket = match bound {
            Ok(socket) => socket,
            Err(failure) => return Ok(Err(failure)),
        };
        match socket.try_clone() {
            Ok(kept) => self.keep(name, kept)?,
            Err(error) => {
                return Ok(Err((format!("{name}: {error}"), error.raw_os_error().unwrap_or(0))));
            }
        }
        self.listeners.hold(name, socket);
        Ok(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

    const COUNT: usize = 16;
    const BACKLOG: u32 = 64;

    fn bound(address: SocketAddr) -> OwnedFd {
        reuseport::tcp(address).expect("bound")
    }

    /// How many connections of users each of the two takes.
    fn taken(address: SocketAddr, sides: [&OwnedFd; 2]) -> [usize; 2] {
        let streams: Vec<_> = (0..COUNT).filter_map(|_| TcpStream::connect(address).ok()).collect();
        let taken = sides.map(|side| {
            let listener = TcpListener::from(side.try_clone().expect("clone"));
            listener.set_nonblocking(true).expect("non-blocking");
            std::iter::from_fn(|| listener.accept().ok()).count()
        });
        drop(streams);
        taken
    }

    /// From whatever a dead supervisor or a tenant left behind (who listens, in which order, under
    /// which program) one arrangement makes what is wanted, and so does doing it twice. What waited
    /// in a queue is still there to be taken. In a network namespace of the test's own; needs root.
    #[test]
    fn any_group_is_put_in_order() {
        if std::fs::metadata("/proc/self").is_ok_and(|own| {
            use std::os::unix::fs::MetadataExt;
            own.uid() != 0
        }) {
            return;
        }
        let test = || {
            sys::network::enter_own_namespace().expect("namespace");
            std::fs::write("/proc/sys/net/ipv4/tcp_migrate_req", "1").expect("sysctl");
            let mut port = 8000;
            for listening in [&[][..], &[0], &[1], &[0, 1]] {
                for before in [None, Some(Program::Gate), Some(Program::Switch)] {
                    for program in [Program::Gate, Program::Switch, Program::Alone] {
                        port += 1;
                        check(port, listening, before, program);
                    }
                }
            }
        };
        std::thread::spawn(test).join().expect("no panic");
    }

    fn check(port: u16, listening: &[usize], before: Option<Program>, program: Program) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let sides = [bound(address), bound(address)];
        for side in listening {
            listen_again(&sides[*side], BACKLOG).expect("listen");
        }
        if let (Some(before), Some(side)) = (before, listening.first()) {
            steer(&sides[*side], before).expect("program");
        }
        let waiting: Vec<_> = (0..COUNT).filter_map(|_| TcpStream::connect(address).ok()).collect();
        assert_eq!(waiting.is_empty(), listening.is_empty());
        for _twice in 0..2 {
            arrange(&sides[0], Some(&sides[1]), program, BACKLOG).expect("arranged");
        }
        let here = format!("{listening:?} {before:?} {program:?}");
        let queues = [&sides[0], &sides[1]].map(|side| queued(side).expect("queue"));
        let kept: u32 = queues.into_iter().flatten().sum();
        assert_eq!(kept as usize, waiting.len(), "{here}: nobody who waited was lost");
        taken(address, [&sides[0], &sides[1]]);
        let second = program == Program::Switch && is_listening(&sides[1]).expect("query");
        let expected = if second { [0, COUNT] } else { [COUNT, 0] };
        assert_eq!(taken(address, [&sides[0], &sides[1]]), expected, "{here}");
        let alone = program == Program::Alone || !listening.contains(&1);
        assert_eq!(queued(&sides[1]).expect("queue").is_none(), alone, "{here}");
        arrange(&sides[0], Some(&sides[1]), Program::Nobody, BACKLOG).expect("arranged");
        assert_eq!(taken(address, [&sides[0], &sides[1]]), [0, 0], "{here}: nobody");
    }
}
