//! PID 1's loop: one poll, absolute deadlines, and a fixed order of work.
//!
//! Each turn: signals and the power button, deaths, outcomes of exec, emptied cgroups, deadlines,
//! the owner's requests, then everything there is to say. Deaths come before requests, so that a
//! request about a run is judged by what is known. Nothing here waits but the poll, and every step
//! is bounded, so no one can keep the others from their turn.

use crate::children::Children;
use crate::console::Console;
use crate::guard::Guard;
use crate::kept::Kept;
use crate::options::{Mode, Options};
use crate::outbox::Outbox;
use crate::owner::Owner;
use crate::power::{Asked, Button};
use crate::teardown::Teardown;
use port::limits::FRAME_BYTES_MAX;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use sys::cgroup::{Root, Watcher};
use sys::clock::{NS_PER_MS, NS_PER_S, monotonic_ns};
use sys::kmsg::Priority;
use sys::poll::{self, PollFd, PollFlags};
use sys::process::Limit;
use sys::signal::Signals;
use sys::spawn::{Spawner, StatusPipe};

/// How long the owner may take over a power request until PID 1 ends everything itself. Services
/// have 90 s to stop by systemd's custom; EC2 pulls the plug after some minutes.
pub const PATIENCE_NS: u64 = 120 * NS_PER_S;

/// Cgroups that could not be watched (no inotify watches left) are looked at this often.
const LOOK_AGAIN_NS: u64 = 100 * NS_PER_MS;

/// Everything PID 1 has.
#[derive(Debug)]
pub struct Init {
    pub(crate) options: Options,
    pub(crate) supervisor: PathBuf,
    pub(crate) console: Console,
    pub(crate) signals: Signals,
    pub(crate) button: Option<Button>,
    /// The watchdog, and the trial of a new system.
    pub(crate) guard: Guard,
    pub(crate) spawner: Spawner,
    pub(crate) root: Option<Root>,
    pub(crate) watcher: Option<Watcher>,
    pub(crate) watched: Vec<Watched>,
    pub(crate) children: Children,
    pub(crate) kept: Kept,
    pub(crate) owner: Owner,
    pub(crate) connection: Option<Connection>,
    pub(crate) connections: u64,
    /// When an owner that closed its port is killed.
    pub(crate) hang_up_ns: Option<u64>,
    pub(crate) starting: Vec<Starting>,
    pub(crate) power: Option<Pending>,
    pub(crate) teardown: Option<Teardown>,
    pub(crate) exit: Option<u8>,
    pub(crate) dead_wait: bool,
    pub(crate) requests_wait: bool,
    pub(crate) orphans: u64,
    pub(crate) null: OwnedFd,
    /// What children get where their spawn names no limit.
    pub(crate) limits: Vec<Limit>,
    /// Niceness of children, if PID 1 changed its own.
    pub(crate) nice: Option<i8>,
    /// One packet.
    pub(crate) packet: Vec<u8>,
    /// A body that came in a memfd.
    pub(crate) body: Vec<u8>,
}

/// The owner's end of the port.
#[derive(Debug)]
pub struct Connection {
    pub(crate) socket: OwnedFd,
    /// Tells one owner from the next.
    pub(crate) number: u64,
    pub(crate) attached: bool,
    pub(crate) outbox: Outbox,
}

/// A clone whose exec is not known to have succeeded.
#[derive(Debug)]
pub struct Starting {
    pub(crate) pid: u32,
    pub(crate) pipe: StatusPipe,
    pub(crate) whose: Whose,
}

/// Whose exec it is.
#[derive(Clone, Copy, Debug)]
pub enum Whose {
    /// The owner's own.
    Owner,
    /// A run's, asked for on a connection.
    Run { slot: usize, connection: u64, sequence: u64 },
}

/// An ended run whose cgroup is not empty yet.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    pub(crate) slot: usize,
    /// Its inotify watch; none: it is looked at again and again.
    pub(crate) watch: Option<i32>,
}

/// A power request that the owner was, or will be, told of.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    pub(crate) asked: Asked,
    pub(crate) deadline_ns: u64,
}

/// What everything else is made of.
#[derive(Debug)]
pub struct Parts {
    /// The command line.
    pub options: Options,
    /// The supervisor's program.
    pub supervisor: PathBuf,
    /// PID 1's voice.
    pub console: Console,
    /// All signals but faults.
    pub signals: Signals,
    /// The power button, where there is one.
    pub button: Option<Button>,
    /// The watchdog, and the trial of a new system.
    pub guard: Guard,
    /// The spawn engine.
    pub spawner: Spawner,
    /// The cgroup tree, where there is one.
    pub root: Option<Root>,
    /// The child table, empty.
    pub children: Children,
    /// `/dev/null`.
    pub null: OwnedFd,
    /// Limits that PID 1 was started with and changed for itself.
    pub limits: Vec<Limit>,
    /// Niceness that PID 1 was started with, if it changed its own.
    pub nice: Option<i8>,
}

impl Init {
    /// Before the first turn.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let watcher = Watcher::new().ok();
        Self {
            options: parts.options,
            supervisor: parts.supervisor,
            console: parts.console,
            signals: parts.signals,
            button: parts.button,
            guard: parts.guard,
            spawner: parts.spawner,
            root: parts.root,
            watcher,
            watched: Vec::new(),
            children: parts.children,
            kept: Kept::default(),
            owner: Owner::new(monotonic_ns()),
            connection: None,
            connections: 0,
            hang_up_ns: None,
            starting: Vec::new(),
            power: None,
            teardown: None,
            exit: None,
            dead_wait: true,
            requests_wait: false,
            orphans: 0,
            null: parts.null,
            limits: parts.limits,
            nice: parts.nice,
            packet: vec![0; FRAME_BYTES_MAX + 1],
            body: Vec::new(),
        }
    }

    /// Turns until the machine ends; returns the exit status of a contained PID 1.
    pub fn run(mut self) -> u8 {
        loop {
            if let Some(code) = self.exit {
                return code;
            }
            self.turn();
        }
    }

    /// One turn.
    fn turn(&mut self) {
        let ready = self.wait();
        if ready.signals {
            self.take_signals();
        }
        if ready.button
            && let Some(button) = &self.button
        {
            match button.read() {
                Ok(asked) => asked.into_iter().for_each(|asked| self.end_asked(asked)),
                Err(error) => self.say(Priority::Warning, format_args!("power button: {error}")),
            }
        }
        if self.dead_wait {
            self.reap();
        }
        self.resolve_starts();
        if ready.watcher {
            self.look_at_changed();
        }
        self.pass_time();
        if ready.requests || self.requests_wait {
            self.take_requests();
        }
        self.send();
    }

    /// Waits for anything to happen.
    fn wait(&self) -> Ready {
        let signals = self.signals.as_fd();
        let mut interest = PollFlags::empty();
        if let Some(connection) = &self.connection {
            interest.set(PollFlags::IN, connection.outbox.has_room());
            interest.set(PollFlags::OUT, !connection.outbox.is_empty());
        }
        // In the order of `Ready`.
        let mut fds = Vec::with_capacity(4 + self.starting.len());
        fds.push(place(signals, Some(signals), PollFlags::IN));
        fds.push(place(signals, self.button.as_ref().map(AsFd::as_fd), PollFlags::IN));
        fds.push(place(signals, self.watcher.as_ref().map(AsFd::as_fd), PollFlags::IN));
        fds.push(place(
            signals,
            self.connection.as_ref().map(|peer| peer.socket.as_fd()),
            interest,
        ));
        fds.extend(
            self.starting
                .iter()
                .map(|starting| place(signals, Some(starting.pipe.as_fd()), PollFlags::IN)),
        );
        let at_once = self.dead_wait || self.requests_wait;
        let deadline_ns = if at_once { Some(0) } else { self.next_ns() };
        if poll::until(&mut fds, deadline_ns).is_err() {
            // No memory for a poll: look at everything, since nothing of it waits.
            return Ready { signals: true, button: true, watcher: true, requests: true };
        }
        let ready = |at: usize| !fds[at].revents().is_empty();
        Ready { signals: ready(0), button: ready(1), watcher: ready(2), requests: ready(3) }
    }

    /// The next deadline of all.
    fn next_ns(&self) -> Option<u64> {
        let unwatched = self.watched.iter().any(|watched| watched.watch.is_none());
        let deadlines = [
            self.owner.start_ns(),
            self.hang_up_ns,
            self.children.deadline_ns(),
            self.power.as_ref().map(|pending| pending.deadline_ns),
            self.teardown.as_ref().map(Teardown::deadline_ns),
            self.guard.due_ns(),
            unwatched.then(|| monotonic_ns() + LOOK_AGAIN_NS),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Does what deadlines demand.
    fn pass_time(&mut self) {
        let now_ns = monotonic_ns();
        if self.owner.start_ns().is_some_and(|start_ns| start_ns <= now_ns) {
            self.start_owner(now_ns);
        }
        if self.hang_up_ns.is_some_and(|hang_up_ns| hang_up_ns <= now_ns) {
            self.kill_owner();
        }
        if self.children.deadline_ns().is_some_and(|deadline_ns| deadline_ns <= now_ns) {
            let effects = self.children.due(now_ns);
            self.perform(effects);
        }
        let unwatched = self.watched.iter().filter(|watched| watched.watch.is_none());
        let slots: Vec<usize> = unwatched.map(|watched| watched.slot).collect();
        slots.into_iter().for_each(|slot| self.look_at(slot));
        self.pass_time_of_the_guard(now_ns);
        self.pass_time_of_the_end(now_ns);
    }

    /// Reads signals: deaths are only noted, the rest may ask for the end.
    fn take_signals(&mut self) {
        const SIGCHLD: u8 = 17;
        loop {
            match self.signals.take() {
                Ok(Some(arrived)) if arrived.signal == SIGCHLD => self.dead_wait = true,
                Ok(Some(arrived)) => {
                    match crate::power::asked_by_signal(arrived.signal, self.options.mode) {
                        Some(asked) => self.end_asked(asked),
                        None => self.say(
                            Priority::Notice,
                            format_args!(
                                "signal {} of process {} means nothing here; ignored",
                                arrived.signal, arrived.sender_pid
                            ),
                        ),
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    // Deaths are looked for in any case.
                    self.dead_wait = true;
                    return self.say(Priority::Error, format_args!("read signals: {error}"));
                }
            }
        }
    }

    /// Says one line.
    pub(crate) fn say(&self, priority: Priority, text: fmt::Arguments<'_>) {
        self.console.say(priority, text);
    }

    /// Whether this is the kernel's PID 1.
    pub(crate) fn is_kernel(&self) -> bool {
        self.options.mode == Mode::Kernel
    }
}

/// One place in the poll. For who is not there the signalfd stands in, asked for nothing.
fn place<'a>(stand_in: BorrowedFd<'a>, fd: Option<BorrowedFd<'a>>, flags: PollFlags) -> PollFd<'a> {
    let asked = fd.map_or(PollFlags::empty(), |_| flags);
    PollFd::from_borrowed_fd(fd.unwrap_or(stand_in), asked)
}

/// What a poll found.
#[derive(Clone, Copy, Debug)]
struct Ready {
    signals: bool,
    button: bool,
    watcher: bool,
    requests: bool,
}
