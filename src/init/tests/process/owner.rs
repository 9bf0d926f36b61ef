//! The owner as a test plays it: requests out, answers and events in.

use port::event::{Answer, End, Event, Failed, Started};
use port::packed::Strings;
use port::request::{Attach, Deadline, Forget, Request, Scope, Set, Signal, Spawn, Stdio, Stop};
use port::snapshot::RunState;
use port::{Limits, Message, Numbers, Page};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use sys::clock::{NS_PER_S, monotonic_ns};
use sys::poll::{self, PollFd, PollFlags};
use sys::seqpacket::{self, Received};

/// Nothing here takes so long; a test that waits longer has failed.
const PATIENCE_NS: u64 = 60 * NS_PER_S;

/// A message without borrows.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Answer(u64, Answer),
    Exited { key: String, incarnation: u64, end: End, emptied: bool },
    Emptied { key: String, incarnation: u64 },
    Stuck { key: String },
    Power(port::request::ShutdownKind),
    Key { key: String, incarnation_last: u64, memo: Vec<u8> },
    Run { key: String, incarnation: u64, state: RunState, pid: u32, deadline_ns: Option<u64> },
    Kept(String),
    SnapshotEnd(port::SnapshotEnd),
}

/// What PID 1 keeps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    pub keys: Vec<(String, u64, Vec<u8>)>,
    pub runs: Vec<(String, u64, RunState, u32)>,
    pub kept: Vec<String>,
    /// Runs' own deadlines, of those that have one.
    pub deadlines: Vec<(String, u64)>,
}

pub struct Owner {
    stream: UnixStream,
    port: OwnedFd,
    sequence: u64,
    buffer: Vec<u8>,
    waiting: VecDeque<Heard>,
    pub fds: Vec<OwnedFd>,
}

impl Owner {
    /// Takes the port over from the proxy behind `stream`.
    pub fn receive(stream: UnixStream) -> Self {
        await_readable(stream.as_fd());
        let mut fds = Vec::new();
        let received = seqpacket::receive(stream.as_fd(), &mut [0; 4], &mut fds).unwrap();
        assert!(matches!(received, Received::Packet { bytes: 4, .. }));
        let port = fds.pop().unwrap();
        let (buffer, waiting) = (vec![0; port::limits::FRAME_BYTES_MAX], VecDeque::new());
        Self { stream, port, sequence: 0, buffer, waiting, fds }
    }

    /// kill -9 of the owner. Its socket goes with it, as it would.
    pub fn kill(self) {
        use std::io::Write;
        let mut stream = self.stream;
        stream.write_all(b"x").unwrap();
        // The process holds no copy of the port; ours closes only after the process is gone.
        await_readable(stream.as_fd());
    }

    /// Closes the port; the process lives on.
    pub fn hang_up(self) -> UnixStream {
        self.stream
    }

    pub fn send_raw(&self, packet: &[u8], fds: &[BorrowedFd<'_>]) {
        while !seqpacket::send(self.port.as_fd(), packet, fds).unwrap() {
            let mut polled = [PollFd::from_borrowed_fd(self.port.as_fd(), PollFlags::OUT)];
            poll::until(&mut polled, Some(monotonic_ns() + PATIENCE_NS)).unwrap();
        }
    }

    /// Sends without waiting for the answer; returns the sequence.
    pub fn send(&mut self, request: &Request<'_>, fds: &[BorrowedFd<'_>]) -> u64 {
        self.sequence += 1;
        let mut frame = vec![0; port::limits::FRAME_BYTES_MAX];
        let length = request.encode(self.sequence, &mut frame).unwrap();
        self.send_raw(&frame[..length], fds);
        self.sequence
    }

    pub fn ask(&mut self, request: &Request<'_>) -> Answer {
        self.ask_with(request, &[])
    }

    pub fn ask_with(&mut self, request: &Request<'_>, fds: &[BorrowedFd<'_>]) -> Answer {
        let sequence = self.send(request, fds);
        self.answer_to(sequence)
    }

    pub fn answer_to(&mut self, sequence: u64) -> Answer {
        let heard = self.wait_for(|heard| matches!(heard, Heard::Answer(to, _) if *to == sequence));
        let Heard::Answer(_, answer) = heard else { unreachable!() };
        answer
    }

    /// The next message that fits; others wait for their turn.
    pub fn wait_for(&mut self, fits: impl Fn(&Heard) -> bool) -> Heard {
        if let Some(at) = self.waiting.iter().position(&fits) {
            return self.waiting.remove(at).unwrap();
        }
        loop {
            let heard = self.hear().expect("PID 1 closed the port");
            if fits(&heard) {
                return heard;
            }
            self.waiting.push_back(heard);
        }
    }

    /// Whether PID 1 closes the port, after whatever it still says.
    pub fn is_closed(&mut self) -> bool {
        while self.hear().is_some() {}
        true
    }

    /// One message; none once the port is closed.
    fn hear(&mut self) -> Option<Heard> {
        loop {
            await_readable(self.port.as_fd());
            match seqpacket::receive(self.port.as_fd(), &mut self.buffer, &mut self.fds) {
                Ok(Received::Nothing) => {}
                Ok(Received::Packet { bytes, .. }) => {
                    return Some(heard(Message::decode(&self.buffer[..bytes]).unwrap()));
                }
                Ok(Received::Closed) | Err(_) => return None,
            }
        }
    }

    pub fn attach(&mut self) -> port::event::Welcome {
        match self.ask(&Request::Attach(Attach { version_min: 1, version_max: 1 })) {
            Answer::Welcome(welcome) => welcome,
            other => panic!("{other:?}"),
        }
    }

    /// The snapshot that is on its way; its last word agrees with what came.
    pub fn snapshot(&mut self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        loop {
            let page = |heard: &Heard| {
                use Heard::{Kept, Key, Run, SnapshotEnd};
                matches!(heard, Key { .. } | Run { .. } | Kept(_) | SnapshotEnd(_))
            };
            match self.wait_for(page) {
                Heard::Key { key, incarnation_last, memo } => {
                    snapshot.keys.push((key, incarnation_last, memo));
                }
                Heard::Run { key, incarnation, state, pid, deadline_ns } => {
                    snapshot.deadlines.extend(deadline_ns.map(|at_ns| (key.clone(), at_ns)));
                    snapshot.runs.push((key, incarnation, state, pid));
                }
                Heard::Kept(name) => snapshot.kept.push(name),
                Heard::SnapshotEnd(end) => {
                    let counts = (end.keys as usize, end.runs as usize, end.kept as usize);
                    let came = (snapshot.keys.len(), snapshot.runs.len(), snapshot.kept.len());
                    assert_eq!(counts, came, "a page was lost");
                    return snapshot;
                }
                _ => unreachable!(),
            }
        }
    }

    pub fn list(&mut self) -> Snapshot {
        assert_eq!(self.ask(&Request::List), Answer::Done);
        self.snapshot()
    }

    pub fn start(&mut self, spawn: &Spawn<'_>) -> Started {
        match self.ask(&Request::Spawn(*spawn)) {
            Answer::Started(started) => started,
            other => panic!("{other:?}"),
        }
    }

    pub fn fail_to_start(&mut self, spawn: &Spawn<'_>) -> Failed {
        match self.ask(&Request::Spawn(*spawn)) {
            Answer::Failed(failed) => failed,
            other => panic!("{other:?}"),
        }
    }

    pub fn exited(&mut self, wanted: &str) -> (u64, End, bool) {
        let fits = |heard: &Heard| matches!(heard, Heard::Exited { key, .. } if key == wanted);
        let Heard::Exited { incarnation, end, emptied, .. } = self.wait_for(fits) else {
            unreachable!()
        };
        (incarnation, end, emptied)
    }

    pub fn emptied(&mut self, wanted: &str) {
        self.wait_for(|heard| matches!(heard, Heard::Emptied { key, .. } if key == wanted));
    }

    /// Waits until a run is stopped, whichever event says it last.
    pub fn stopped(&mut self, key: &str) -> End {
        let (_, end, emptied) = self.exited(key);
        if !emptied {
            self.emptied(key);
        }
        end
    }

    pub fn signal(&mut self, key: &str, scope: Scope, signal: u8) -> Answer {
        self.ask(&Request::Signal(Signal { key, incarnation: 1, scope, signal }))
    }

    pub fn stop(&mut self, key: &str, deadline_ns: u64) -> Answer {
        let scope = Scope::Cgroup;
        self.ask(&Request::Stop(Stop { key, incarnation: 1, scope, signal: 15, deadline_ns }))
    }

    pub fn set_deadline(&mut self, key: &str, deadline_ns: Option<u64>) -> Answer {
        self.ask(&Request::Deadline(Deadline { key, incarnation: 1, deadline_ns }))
    }

    pub fn set(&mut self, key: &str, memo: &[u8]) -> Answer {
        self.ask(&Request::Set(Set { key, memo }))
    }

    pub fn forget(&mut self, key: &str, incarnation: Option<u64>) -> Answer {
        self.ask(&Request::Forget(Forget { key, incarnation }))
    }
}

fn heard(message: Message<'_>) -> Heard {
    match message {
        Message::Answer(sequence, answer) => Heard::Answer(sequence, answer),
        Message::Event(Event::Exited { key, incarnation, end, emptied }) => {
            Heard::Exited { key: key.into(), incarnation, end, emptied }
        }
        Message::Event(Event::Emptied { key, incarnation }) => {
            Heard::Emptied { key: key.into(), incarnation }
        }
        Message::Event(Event::Stuck { key, .. }) => Heard::Stuck { key: key.into() },
        Message::Event(Event::Power { kind, .. }) => Heard::Power(kind),
        Message::Page(Page::Key(entry)) => Heard::Key {
            key: entry.key.into(),
            incarnation_last: entry.incarnation_last,
            memo: entry.memo.into(),
        },
        Message::Page(Page::Run(entry)) => Heard::Run {
            key: entry.key.into(),
            incarnation: entry.incarnation,
            state: entry.state,
            pid: entry.pid,
            deadline_ns: entry.deadline_ns,
        },
        Message::Page(Page::Kept(entry)) => Heard::Kept(entry.name.into()),
        Message::SnapshotEnd(end) => Heard::SnapshotEnd(end),
    }
}

/// Waits for bytes or for the end; a test that waits too long fails.
pub fn await_readable(fd: BorrowedFd<'_>) {
    let deadline_ns = monotonic_ns() + PATIENCE_NS;
    loop {
        let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        poll::until(&mut polled, Some(deadline_ns)).unwrap();
        if !polled[0].revents().is_empty() {
            return;
        }
        assert!(monotonic_ns() < deadline_ns, "nothing came");
    }
}

/// A spawn of `arguments` (NUL-ended) as root, in `cgroup`, with nothing special.
pub fn spawn<'a>(key: &'a str, cgroup: &'a str, arguments: &'a [u8]) -> Spawn<'a> {
    let executable = arguments.split(|byte| *byte == 0).next().unwrap();
    Spawn {
        key,
        incarnation: 1,
        cgroup,
        executable,
        arguments: Strings::new(arguments, "arguments").unwrap(),
        environment: Strings::new(b"PATH=/bin:/usr/bin\0", "environment").unwrap(),
        pid_slot: None,
        directory_attached: false,
        stdio: [Stdio::Null; 3],
        passed: Strings::default(),
        listen_backlog: 8,
        user: 0,
        group: 0,
        groups: Numbers::default(),
        limits: Limits::default(),
        umask: 0o22,
        oom_score_adjust: 0,
        vfork_safe: true,
    }
}
