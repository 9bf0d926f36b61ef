//! A PID 1 that starts nothing: it speaks the port, keeps what it is told to keep, and ends runs
//! when the test says so. The test sees every request, in order.

#![allow(dead_code, reason = "it speaks the whole port, of which each test program uses a part")]

use port::event::{Cause, End, Started, Welcome};
use port::limits::FRAME_BYTES_MAX;
use port::snapshot::RunState;
use port::{Answer, Event, Header, KeptEntry, KeyEntry, Message, Page, Request, RunEntry};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use sys::seqpacket::{self, Received};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// A request as the test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Attach,
    Spawn { key: String, incarnation: u64, passed: Vec<String>, environment: Vec<String> },
    Stop { key: String, incarnation: u64 },
    Forget { key: String, incarnation: Option<u64> },
    Keep(String),
    Shutdown,
}

/// A run as PID 1 remembers it.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub pid: u32,
    pub state: RunState,
}

/// What a PID 1 keeps over the deaths of its owner.
#[derive(Debug, Default)]
pub struct State {
    pub memos: BTreeMap<String, (u64, Vec<u8>)>,
    pub runs: BTreeMap<(String, u64), Run>,
    pub kept: BTreeMap<String, OwnedFd>,
    attaches: u32,
    socket: Option<Rc<AsyncFd<OwnedFd>>>,
}

/// The fake, its host's directories and its present owner.
pub struct Fake {
    pub directory: tempfile::TempDir,
    pub state: Rc<RefCell<State>>,
    pub seen: mpsc::UnboundedReceiver<Seen>,
    sender: mpsc::UnboundedSender<Seen>,
    pub owner: Option<Child>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn end(status: i32) -> End {
    let (cause, ended_ns) = (Cause::Own, sys::clock::monotonic_ns());
    End { status, cause, ended_ns, user_us: 0, system_us: 0, resident_max_kib: 0 }
}

impl Fake {
    pub fn new(definitions: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let services = directory.path().join("services");
        std::fs::create_dir(&services).expect("services");
        for (name, text) in definitions {
            std::fs::write(services.join(format!("{name}.toml")), text).expect("definition");
        }
        let (sender, seen) = mpsc::unbounded_channel();
        Self { directory, state: Rc::default(), seen, sender, owner: None }
    }

    pub fn run(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    pub fn control(&self) -> PathBuf {
        self.run().join("supervisor")
    }

    /// Starts the real supervisor as our owner. The shell only moves our socket to 3.
    pub fn start(&mut self) {
        let (ours, theirs) = seqpacket::pair().expect("pair");
        let root = self.directory.path();
        let child = Command::new("/bin/sh")
            .args(["-c", "exec 3<&0 </dev/null; exec \"$0\""])
            .arg(env!("CARGO_BIN_EXE_rollinit-supervisor"))
            .env_clear()
            .env("ROLLINIT_PORT_FD", "3")
            .env("ROLLINIT_RUN", root.join("run"))
            .env("ROLLINIT_DEFINITIONS", root.join("services"))
            .env("ROLLINIT_PROFILES", root.join("profiles"))
            // No cgroup tree: what a cgroup does is the process tests' matter.
            .env("ROLLINIT_CGROUP", root)
            .stdin(Stdio::from(theirs))
            .spawn()
            .expect("supervisor");
        self.owner = Some(child);
        // As in the supervisor's `watch`: sound for an `OwnedFd`.
        #[allow(deprecated)]
        let socket = AsyncFd::with_interest(ours, Interest::READABLE).expect("register");
        let socket = Rc::new(socket);
        self.state.borrow_mut().socket = Some(Rc::clone(&socket));
        tokio::task::spawn_local(serve(socket, Rc::clone(&self.state), self.sender.clone()));
    }

    /// `kill -9` of the owner.
    pub fn kill(&mut self) {
        if let Some(mut owner) = self.owner.take() {
            let _ = owner.kill();
            let _ = owner.wait();
        }
    }

    /// The next request that fits; others on the way are passed over.
    pub async fn until<T>(&mut self, fits: impl Fn(&Seen) -> Option<T>) -> T {
        loop {
            let seen = self.seen.recv().await.expect("the fake lives as long as the test");
            if let Some(found) = fits(&seen) {
                return found;
            }
        }
    }

    /// The spawn of a service: its incarnation, passed descriptors and environment.
    pub async fn spawned(&mut self, name: &str) -> (u64, Vec<String>, Vec<String>) {
        self.until(|seen| match seen {
            Seen::Spawn { key, incarnation, passed, environment } if key == name => {
                Some((*incarnation, passed.clone(), environment.clone()))
            }
            _ => None,
        })
        .await
    }

    /// The run is over; its owner is told if it lives.
    pub fn exit(&self, key: &str, incarnation: u64, status: i32) {
        let mut state = self.state.borrow_mut();
        let end = end(status);
        let run = state.runs.get_mut(&(key.to_owned(), incarnation)).expect("run");
        run.state = RunState::Ended { end, emptied: true };
        let event = Event::Exited { key, incarnation, end, emptied: true };
        if self.owner.is_some() {
            let socket = state.socket.clone().expect("socket");
            send(&socket, &Message::Event(event), None);
        }
    }
}

fn send(socket: &AsyncFd<OwnedFd>, message: &Message<'_>, fd: Option<&OwnedFd>) {
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    let length = message.encode(&mut buffer).expect("encode");
    let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
    // A dead owner hears nothing.
    let _ = seqpacket::send(socket.get_ref().as_fd(), &buffer[..length], &fds);
}

async fn serve(
    socket: Rc<AsyncFd<OwnedFd>>,
    state: Rc<RefCell<State>>,
    seen: mpsc::UnboundedSender<Seen>,
) {
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    while let Ok(mut guard) = socket.readable().await {
        let mut fds = Vec::new();
        match seqpacket::receive(socket.get_ref().as_fd(), &mut buffer, &mut fds) {
            Ok(Received::Packet { bytes, .. }) => {
                let packet = &buffer[..bytes];
                let header = Header::decode(packet).expect("header");
                let body = header.body(packet).expect("body");
                let request = Request::decode(&header, body).expect("request");
                state.borrow_mut().answer(&socket, header.sequence, request, fds, &seen);
            }
            Ok(Received::Nothing) => guard.clear_ready(),
            Ok(Received::Closed) | Err(_) => return,
        }
    }
}

impl State {
    fn answer(
        &mut self,
        socket: &AsyncFd<OwnedFd>,
        sequence: u64,
        request: Request<'_>,
        mut fds: Vec<OwnedFd>,
        seen: &mpsc::UnboundedSender<Seen>,
    ) {
        let mut given = None;
        let mut answer = Answer::Done;
        let tell = |what| seen.send(what).expect("the test lives");
        match request {
            Request::Attach(_) => {
                let (pid, started_ns, shutting_down) = (4242, 1, false);
                let attaches = self.attaches;
                let welcome = Welcome { version: 1, pid, started_ns, attaches, shutting_down };
                send(socket, &Message::Answer(sequence, Answer::Welcome(welcome)), None);
                self.attaches += 1;
                self.snapshot(socket);
                tell(Seen::Attach);
                return;
            }
            Request::Spawn(spawn) => {
                let (key, incarnation) = (spawn.key.to_owned(), spawn.incarnation);
                let pid = 100_000 + u32::try_from(self.runs.len()).expect("few");
                self.runs.insert((key.clone(), incarnation), Run { pid, state: RunState::Running });
                self.memos.entry(key.clone()).or_default().0 = incarnation;
                let started_ns = sys::clock::monotonic_ns();
                answer = Answer::Started(Started { pid, started_ns });
                let words = |strings: port::Strings<'_>| {
                    strings.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
                };
                let (passed, environment) = (words(spawn.passed), words(spawn.environment));
                tell(Seen::Spawn { key, incarnation, passed, environment });
            }
            Request::Set(set) => {
                self.memos.entry(set.key.to_owned()).or_default().1 = set.memo.to_vec();
            }
            Request::Stop(stop) => {
                tell(Seen::Stop { key: stop.key.to_owned(), incarnation: stop.incarnation });
            }
            Request::Forget(forget) => {
                if let Some(incarnation) = forget.incarnation {
                    self.runs.remove(&(forget.key.to_owned(), incarnation));
                }
                let (key, incarnation) = (forget.key.to_owned(), forget.incarnation);
                tell(Seen::Forget { key, incarnation });
            }
            Request::KeepFd(keep) => {
                self.kept.insert(keep.name.to_owned(), fds.pop().expect("descriptor"));
                tell(Seen::Keep(keep.name.to_owned()));
            }
            Request::TakeFd(take) => {
                given = self.kept.get(take.name).map(|fd| fd.try_clone().expect("clone"));
                if take.drop_entry {
                    self.kept.remove(take.name);
                }
            }
            Request::List => self.snapshot(socket),
            Request::Shutdown(_) => tell(Seen::Shutdown),
            Request::Signal(_) | Request::Deadline(_) => {}
        }
        send(socket, &Message::Answer(sequence, answer), given.as_ref());
    }

    fn snapshot(&self, socket: &AsyncFd<OwnedFd>) {
        let page = |page| send(socket, &Message::Page(page), None);
        for (key, (incarnation_last, memo)) in &self.memos {
            let incarnation_last = *incarnation_last;
            page(Page::Key(KeyEntry { key, incarnation_last, memo }));
        }
        for ((key, incarnation), run) in &self.runs {
            let (incarnation, pid, state) = (*incarnation, run.pid, run.state);
            page(Page::Run(RunEntry {
                key,
                incarnation,
                cgroup: "",
                state,
                pid,
                started_ns: 1,
                stop_deadline_ns: None,
                deadline_ns: None,
            }));
        }
        for name in self.kept.keys() {
            page(Page::Kept(KeptEntry { name }));
        }
        let count = |length: usize| u32::try_from(length).expect("few");
        let end = port::SnapshotEnd {
            keys: count(self.memos.len()),
            runs: count(self.runs.len()),
            kept: count(self.kept.len()),
        };
        send(socket, &Message::SnapshotEnd(end), None);
    }
}

/// The address of a service's environment.
pub fn notify_socket(environment: &[String]) -> &Path {
    let found = environment.iter().find_map(|variable| variable.strip_prefix("NOTIFY_SOCKET="));
    Path::new(found.expect("NOTIFY_SOCKET"))
}
