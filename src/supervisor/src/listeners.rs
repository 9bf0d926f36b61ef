//! The sockets of apps' sides: who of the two takes a connection, and when a queue is empty.
//!
//! Each side of an app has a TCP socket of its own, all in one `SO_REUSEPORT` group
//! (`sys::reuseport`), kept by PID 1; these are duplicates. The order of a group is that of
//! listening. A side that nobody shall reach does not listen, so whoever listens alone is in front,
//! and the one that joins stands behind. The kernel does not tell the order of two that listen, so
//! who is in front is kept in PID 1, as the memo [`memo_key`], before a second one joins.
//!
//! That is mostly the side that serves. Only when its tenant shuts its socket down while the other
//! side listens, it comes back behind that one, and programs are turned round. (To put it in front
//! again the other side would have to leave for a moment, and its tenant would see its listener
//! end.)

use crate::identity::Identity;
use crate::port::PortError;
use crate::shell::Shell;
use crate::sockets;
use crate::spawn::listen_name;
use port::Request;
use port::request::Set;
use service::definition::Listen;
use service::{Event, Program, Side};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use sys::clock::{NS_PER_MS, NS_PER_S};
use sys::listen::is_listening;
use sys::rendezvous::listen_again;
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
    /// By app: a bit for each of its grouped sockets, in their order, that says which side is in
    /// front where both listen.
    fronts: BTreeMap<String, u64>,
}

/// The key in PID 1 of the memo that says which sides are in front.
#[must_use]
pub fn memo_key(app: &str) -> String {
    format!("{MEMO_PREFIX}{app}")
}

const MEMO_PREFIX: &str = "@group/";

/// The version of the memo, its first byte.
const MEMO_VERSION: u8 = 1;

// A bit for each socket.
const _: () = assert!(service::limits::LISTEN_MAX <= 64);

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

    /// Takes in what an earlier supervisor knew of an app's groups, if the key is of that kind.
    pub fn recall(&mut self, key: &str, memo: &[u8]) {
        let Some(app) = key.strip_prefix(MEMO_PREFIX) else { return };
        match memo.split_first() {
            Some((&MEMO_VERSION, bits)) if bits.len() == 8 => {
                let bits = bits.first_chunk().map_or(0, |bits| u64::from_le_bytes(*bits));
                self.fronts.insert(app.to_owned(), bits);
            }
            _ => tracing::error!("{app}: which of its sides is in front was remembered wrongly"),
        }
    }

    /// Forgets who is in front of the group of an app whose own memo has this key; returns the key
    /// under which PID 1 remembers it.
    pub fn forget_app(&mut self, memo_key: &str) -> Option<String> {
        let app = memo_key.strip_prefix("@app/")?;
        self.waits.remove(app);
        self.fronts.remove(app).map(|_| format!("{MEMO_PREFIX}{app}"))
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

/// One group: the sockets of both sides at one address.
#[derive(Debug)]
struct Group<'a> {
    first: &'a OwnedFd,
    other: Option<&'a OwnedFd>,
    /// The other one's tenant lives.
    other_lives: bool,
    backlog: u32,
}

impl Group<'_> {
    fn listen(&self, socket: &OwnedFd) -> io::Result<()> {
        listen_again(socket.as_fd(), self.backlog).map(drop)
    }

    /// Who listens: the first, the other.
    fn listening(&self) -> io::Result<(bool, bool)> {
        Ok((is_listening(self.first)?, self.other.map_or(Ok(false), is_listening)?))
    }

    /// Whether the other one is in front, where `known` counts if both listen.
    fn is_reversed(&self, known: bool) -> io::Result<bool> {
        Ok(match self.listening()? {
            (true, true) => known,
            (first, other) => !first && other,
        })
    }

    /// Has those listen that shall, under the right program. Wherever it is interrupted, doing it
    /// again completes it, with the same `reversed` if both listen by then. The other one listens
    /// if it did before, or if its tenant lives.
    fn arrange(&self, program: Program, reversed: bool) -> io::Result<()> {
        let Self { first, other, .. } = *self;
        let (first_listens, other_listens) = self.listening()?;
        let steered = match program {
            Program::Nobody => {
                return [Some(first), other].into_iter().flatten().try_for_each(leave);
            }
            Program::Alone => {
                if !first_listens {
                    self.listen(first)?;
                }
                other.into_iter().try_for_each(leave)?;
                return attach(first, reuseport::Program::FIRST);
            }
            Program::Gate => reuseport::Program::GATE,
            Program::Switch => reuseport::Program::SECOND,
        };
        match other.filter(|_| reversed) {
            // Who joins meets the program.
            Some(other) => {
                attach(other, steered.reversed())?;
                if first_listens { Ok(()) } else { self.listen(first) }
            }
            None => {
                if !first_listens {
                    self.listen(first)?;
                }
                attach(first, steered)?;
                match other.filter(|_| self.other_lives && !other_listens) {
                    Some(other) => self.listen(other),
                    None => Ok(()),
                }
            }
        }
    }
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

    /// Whether a side has a program that runs.
    fn lives(&self, app: &str, side: Side) -> bool {
        let apps = self.machine.apps().into_iter().filter(|view| view.name == app);
        let mut runs = apps.flat_map(|view| [Some(view.serving), view.candidate]).flatten();
        runs.any(|run| run.side == side && run.view.pid.is_some())
    }

    /// Brings an app's groups into the order that was last wanted, if one was.
    pub(crate) fn arrange_app(&mut self, app: &str) -> Result<Result<(), String>, PortError> {
        let Some(&(first, program)) = self.listeners.arranged.get(app) else { return Ok(Ok(())) };
        for (number, listen) in self.grouped(app).iter().enumerate() {
            let address = sockets::address(listen);
            let failed = |error| Ok(Err(format!("listen {} ({address}): {error}", listen.name)));
            let name = |side: Side| listen_name(&side.key(app), &listen.name);
            if program != Program::Nobody
                && let Err((step, errno)) = self.bind(&name(first), listen)?
            {
                let error = io::Error::from_raw_os_error(errno);
                return Ok(Err(if errno == 0 { step } else { format!("{step}: {error}") }));
            }
            let front = self.listeners.fronts.get(app).map_or(0, |bits| bits >> number & 1);
            let known = (front == 1) != (first == Side::One);
            let Some(group) = self.find_group(app, first, listen) else { continue };
            let reversed = match group.is_reversed(known) {
                Ok(reversed) => reversed,
                Err(error) => return failed(error),
            };
            if reversed != known && !self.remember_front(app, number)? {
                return failed(io::ErrorKind::WouldBlock.into());
            }
            let Some(group) = self.find_group(app, first, listen) else { continue };
            if let Err(error) = group.arrange(program, reversed) {
                return failed(error);
            }
        }
        Ok(Ok(()))
    }

    fn find_group(&self, app: &str, first: Side, listen: &Listen) -> Option<Group<'_>> {
        let name = |side: Side| listen_name(&side.key(app), &listen.name);
        let socket = |side| self.listeners.sockets.get(&name(side));
        let other = socket(first.other());
        let other_lives = self.lives(app, first.other());
        let first = socket(first).or(other)?;
        Some(Group { first, other, other_lives, backlog: listen.backlog })
    }

    /// The other side is in front of a group now. False if PID 1 does not know it yet: then nobody
    /// may join.
    fn remember_front(&mut self, app: &str, number: usize) -> Result<bool, PortError> {
        let bits = self.listeners.fronts.entry(app.to_owned()).or_default();
        *bits ^= 1 << number;
        let mut memo = vec![MEMO_VERSION];
        memo.extend(bits.to_le_bytes());
        let key = memo_key(app);
        let set = Set { key: &key, memo: &memo };
        self.request("remember", &key, &Request::Set(set), Vec::new())?;
        if !self.port.is_flushed() {
            self.listeners.fronts.entry(app.to_owned()).and_modify(|bits| *bits ^= 1 << number);
            return Ok(false);
        }
        Ok(true)
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

    /// Runs a test on a thread in a network namespace of its own; needs root.
    fn isolated(test: impl FnOnce() + Send + 'static) {
        use std::os::unix::fs::MetadataExt;
        if std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() != 0) {
            return;
        }
        let test = || {
            sys::network::enter_own_namespace().expect("namespace");
            std::fs::write("/proc/sys/net/ipv4/tcp_migrate_req", "1").expect("sysctl");
            test();
        };
        std::thread::spawn(test).join().expect("no panic");
    }

    /// From whatever a dead supervisor or a tenant left behind (who listens, under which program)
    /// one arrangement makes what is wanted, and so does doing it twice. What waited in a queue is
    /// still there to be taken, and who listened and still shall was never interrupted: its queue
    /// did not move.
    #[test]
    fn any_group_is_put_in_order() {
        isolated(|| {
            let mut port = 8000;
            for listening in [&[][..], &[0], &[1], &[0, 1], &[1, 0]] {
                for before in [None, Some(Program::Gate), Some(Program::Switch)] {
                    for program in [Program::Gate, Program::Switch, Program::Alone] {
                        for lives in [false, true] {
                            port += 1;
                            check(port, listening, before, program, lives);
                        }
                    }
                }
            }
        });
    }

    fn check(
        port: u16,
        listening: &[usize],
        before: Option<Program>,
        program: Program,
        lives: bool,
    ) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let sides = [bound(address), bound(address)];
        let [first, other] = &sides;
        let group = Group { first, other: Some(other), other_lives: lives, backlog: BACKLOG };
        for side in listening {
            group.listen(&sides[*side]).expect("listen");
        }
        // What the memo says; where not both listen it may say anything.
        let mut known = listening.first() == Some(&1);
        if let (Some(before), Some(_)) = (before, listening.first()) {
            group.arrange(before, known).expect("arranged before");
            known = group.is_reversed(known).expect("query");
        }
        let waiting: Vec<_> = (0..COUNT).filter_map(|_| TcpStream::connect(address).ok()).collect();
        let lengths = || [first, other].map(|side| queued(side).expect("queue"));
        let before_lengths = lengths();
        for _twice in 0..2 {
            let reversed = group.is_reversed(known).expect("query");
            known = reversed;
            group.arrange(program, reversed).expect("arranged");
        }
        let here = format!("{listening:?} {before:?} {program:?} {lives}");
        let kept: u32 = lengths().into_iter().flatten().sum();
        assert_eq!(kept as usize, waiting.len(), "{here}: nobody who waited was lost");
        if program != Program::Alone {
            let moved = lengths().iter().zip(before_lengths).any(|(now, then)| *now < then);
            assert!(!moved, "{here}: a listener was interrupted");
        }
        taken(address, [first, other]);
        let second = program == Program::Switch && is_listening(other).expect("query");
        let expected = if second { [0, COUNT] } else { [COUNT, 0] };
        assert_eq!(taken(address, [first, other]), expected, "{here}");
        group.arrange(Program::Nobody, known).expect("arranged");
        assert_eq!(taken(address, [first, other]), [0, 0], "{here}: nobody");
    }

    /// What is remembered comes back, and nonsense does not.
    #[test]
    fn fronts_are_recalled() {
        let mut listeners = Listeners::default();
        let memo = [&[MEMO_VERSION][..], &5_u64.to_le_bytes()].concat();
        listeners.recall(&memo_key("web"), &memo);
        listeners.recall(&memo_key("short"), &memo[..8]);
        listeners.recall(&memo_key("other"), &[9; 9]);
        listeners.recall("@app/api", &memo);
        assert_eq!(listeners.fronts, BTreeMap::from([("web".to_owned(), 5)]));
    }
}
