//! A group of two listeners, asked by users and by probes. Each test runs on a thread in a network
//! namespace of its own, so that its ports and `tcp_migrate_req` are its own too. Needs root.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use sys::reuseport::{self, PROBE_ADDRESS, Program};
use sys::{listen, network};

/// Connections of each kind: enough that a choice by hash would be seen.
const COUNT: usize = 32;

const BACKLOG: u32 = 128;
const PORT: u16 = 8080;

/// A user of the host, one from another of its addresses, and the probe.
const USERS: [Ipv4Addr; 2] = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 3, 2, 1)];

fn isolated(test: impl FnOnce() + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let run = move || {
        network::enter_own_namespace().unwrap();
        test();
    };
    std::thread::spawn(run).join().unwrap();
}

fn set_migration(on: bool) {
    let value = if on { "1" } else { "0" };
    std::fs::write("/proc/sys/net/ipv4/tcp_migrate_req", value).unwrap();
}

/// A side of the test: bound like the supervisor does, listening when it is told to.
struct Side {
    socket: OwnedFd,
}

impl Side {
    fn bound(address: SocketAddr) -> Self {
        Self { socket: reuseport::tcp(address).unwrap() }
    }

    fn listen(&self) {
        listen::listen_again(&self.socket, BACKLOG).unwrap();
    }

    fn attach(&self, program: Program) {
        reuseport::attach(&self.socket, program).unwrap();
    }

    fn queued(&self) -> u32 {
        reuseport::queued(&self.socket).unwrap().expect("it listens")
    }

    /// Takes what waits and answers it with a byte.
    fn serve(&self) -> usize {
        let listener = TcpListener::from(self.socket.try_clone().unwrap());
        listener.set_nonblocking(true).unwrap();
        let taken = std::iter::from_fn(|| listener.accept().ok());
        taken.map(|(mut stream, _)| stream.write_all(b"!").unwrap()).count()
    }
}

fn connect_from(source: Ipv4Addr) -> TcpStream {
    network::connect_from(source, SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))).unwrap()
}

fn connect_many(source: Ipv4Addr) -> Vec<TcpStream> {
    (0..COUNT).map(|_| connect_from(source)).collect()
}

/// Which of the two takes `COUNT` connections from there: all must go one way.
fn taken_by(source: Ipv4Addr, sides: [&Side; 2]) -> usize {
    let streams = connect_many(source);
    let taken = sides.map(Side::serve);
    drop(streams);
    taken.iter().position(|count| *count == COUNT).unwrap_or_else(|| panic!("{taken:?}"))
}

/// The whole of a swap on the wildcard address of both families: alone under the gate program the
/// serving side takes everybody; with the candidate there users still reach the first alone, and
/// probes the second alone; the switch turns users over, and back. Whoever comes by IPv6 is a user.
#[test]
fn users_and_probes_go_where_the_program_says() {
    isolated(|| {
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
        let (old, new) = (Side::bound(address), Side::bound(address));
        old.listen();
        old.attach(Program::GATE);
        for source in [USERS[0], USERS[1], PROBE_ADDRESS] {
            assert_eq!(taken_by(source, [&old, &new]), 0, "alone: {source}");
        }
        new.listen();
        for (program, users, probes) in [
            (Program::GATE, 0, 1),
            (Program::SECOND, 1, 1),
            (Program::GATE.reversed(), 1, 0),
            (Program::GATE, 0, 1),
            (Program::FIRST, 0, 0),
        ] {
            // Either may be asked: the program is the group's.
            if program == Program::SECOND {
                new.attach(program)
            } else {
                old.attach(program)
            }
            for source in USERS {
                assert_eq!(taken_by(source, [&old, &new]), users, "{program:?}: {source}");
            }
            assert_eq!(taken_by(PROBE_ADDRESS, [&old, &new]), probes, "{program:?}: probe");
            let streams: Vec<_> =
                (0..COUNT).map(|_| TcpStream::connect((Ipv6Addr::LOCALHOST, PORT))).collect();
            let taken = [old.serve(), new.serve()];
            assert_eq!(taken[users], COUNT, "{program:?}: IPv6: {taken:?}");
            drop(streams);
        }
    });
}

/// Bound is not listening: the resting side takes nobody, whatever the program says, and nobody is
/// refused because of it.
#[test]
fn a_bound_side_rests() {
    isolated(|| {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
        let (old, new) = (Side::bound(address), Side::bound(address));
        old.listen();
        for program in [Program::GATE, Program::SECOND, Program::FIRST] {
            old.attach(program);
            assert_eq!(taken_by(USERS[0], [&old, &new]), 0, "{program:?}");
        }
        assert_eq!(reuseport::queued(&new.socket).unwrap(), None);
        reuseport::leave(&new.socket).expect("it does not listen, and that is fine");
        new.listen();
        reuseport::leave(&old.socket).unwrap();
        let mut stream = connect_from(USERS[0]);
        stream.write_all(b"?").unwrap();
        let (mut taken, _) = TcpListener::from(new.socket.try_clone().unwrap()).accept().unwrap();
        assert_eq!(taken.read(&mut [0]).unwrap(), 1, "what it accepts is not at its end");
    });
}

/// The queue's length is told exactly; when its listener leaves, everything in it is taken by the
/// other and answered there. Without `tcp_migrate_req` it is lost: the test can fail.
#[test]
fn a_queue_moves_when_its_listener_leaves() {
    for migrate in [true, false] {
        isolated(move || {
            set_migration(migrate);
            let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
            let (old, new) = (Side::bound(address), Side::bound(address));
            old.listen();
            old.attach(Program::GATE);
            new.listen();
            let streams = connect_many(USERS[0]);
            assert_eq!([&old, &new].map(|side| side.queued() as usize), [COUNT, 0]);
            old.attach(Program::SECOND);
            reuseport::leave(&old.socket).unwrap();
            assert_eq!(reuseport::queued(&old.socket).unwrap(), None);
            let expected = if migrate { COUNT } else { 0 };
            assert_eq!(new.queued() as usize, expected);
            assert_eq!(new.serve(), expected);
            let answered = streams.into_iter().filter_map(|mut stream| {
                let mut answer = [0];
                stream.read_exact(&mut answer).ok()
            });
            assert_eq!(answered.count(), expected);
        });
    }
}

/// A side that left and listens again comes last: so the order of a group is that of listening,
/// over as many swaps as one likes, and each time the gate holds.
#[test]
fn who_listens_again_comes_last() {
    isolated(|| {
        set_migration(true);
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
        let sides = [Side::bound(address), Side::bound(address)];
        sides[0].listen();
        for swap in 0..50 {
            let (serving, candidate) = (swap % 2, (swap + 1) % 2);
            sides[serving].attach(Program::GATE);
            sides[candidate].listen();
            let both = [&sides[0], &sides[1]];
            assert_eq!(taken_by(USERS[0], both), serving, "swap {swap}: users at the gate");
            assert_eq!(taken_by(PROBE_ADDRESS, both), candidate, "swap {swap}: probes");
            sides[serving].attach(Program::SECOND);
            assert_eq!(taken_by(USERS[0], both), candidate, "swap {swap}: switched");
            reuseport::leave(&sides[serving].socket).unwrap();
            assert_eq!(taken_by(USERS[0], both), candidate, "swap {swap}: alone");
            sides[candidate].attach(Program::FIRST);
            assert_eq!(taken_by(USERS[0], both), candidate, "swap {swap}: at rest");
        }
    });
}

/// A tenant that shuts its listener down while both listen: shutting down the other too and
/// listening in order makes the order anew. The group is a new one then: without its program, users
/// and probes would go anywhere.
#[test]
fn the_order_is_made_again() {
    isolated(|| {
        set_migration(true);
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
        let (serving, candidate) = (Side::bound(address), Side::bound(address));
        serving.listen();
        serving.attach(Program::GATE);
        candidate.listen();
        sys::rendezvous::shut_down(serving.socket.as_fd()).unwrap();
        // Its tenant's doing; listening again alone would make it the second.
        reuseport::leave(&candidate.socket).unwrap();
        serving.listen();
        serving.attach(Program::GATE);
        candidate.listen();
        assert_eq!(taken_by(USERS[0], [&serving, &candidate]), 0);
        assert_eq!(taken_by(PROBE_ADDRESS, [&serving, &candidate]), 1);
    });
}

/// A socket without `SO_REUSEPORT` has no group to give a program to.
#[test]
fn a_plain_socket_is_refused() {
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    reuseport::attach(&plain, Program::FIRST).expect_err("no group");
    assert_eq!(reuseport::queued(&plain).unwrap(), Some(0));
}
