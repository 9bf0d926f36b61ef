//! The owner's requests: read, understand, do, answer.
//!
//! Whoever sends what is no frame is cut off: the connection closes, its process is killed, another
//! one is started and told everything anew. PID 1 and the children do not notice.

use crate::children::Errno;
use crate::outbox::Outbox;
use crate::turn::{Connection, Init};
use port::event::{Answer, Event, Refusal, Welcome};
use port::frame::{FLAG_BODY_IN_MEMFD, VERSION_MIN};
use port::limits::SPECIFICATION_BYTES_MAX;
use port::request::{Attach, Deadline, KeepFd, Scope, Spawn, Stop};
use port::{DecodeError, HEADER_BYTES, Header, Request, VERSION};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use sys::cgroup;
use sys::clock::{NS_PER_S, monotonic_ns};
use sys::kmsg::Priority;
use sys::memory;
use sys::seqpacket::{self, Received};

/// Requests done in one turn; more wait for the next, after everybody else had theirs.
const REQUESTS_PER_TURN: usize = 64;

/// Time between the end of an owner's port and the end of its process: exit closes first.
const HANG_UP_NS: u64 = NS_PER_S;

const SIGKILL: u8 = 9;
const SIGCONT: u8 = 18;

impl Connection {
    /// Tells the owner, if there is one that listens; else the snapshot will.
    pub(crate) fn tell(&mut self, event: Event<'_>) {
        if self.attached {
            self.outbox.event(event);
        }
    }
}

impl Init {
    /// Reads and does requests, a bounded number at a time, and none while answers pile up.
    pub(crate) fn take_requests(&mut self) {
        self.requests_wait = false;
        for _ in 0..REQUESTS_PER_TURN {
            let Some(connection) = &self.connection else { return };
            if !connection.outbox.has_room() {
                return;
            }
            let mut fds = Vec::new();
            match seqpacket::receive(connection.socket.as_fd(), &mut self.packet, &mut fds) {
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) => return self.hung_up(),
                Err(error) => return self.cut_off(format_args!("the port: {error}")),
                Ok(Received::Packet { cut: true, .. }) => {
                    return self.cut_off(format_args!("a packet longer than a frame"));
                }
                Ok(Received::Packet { bytes, fds_lost, .. }) => {
                    let packet = std::mem::take(&mut self.packet);
                    let done = self.take_packet(&packet[..bytes], fds, fds_lost);
                    self.packet = packet;
                    if let Err(error) = done {
                        return self.cut_off(format_args!("a malformed frame ({error})"));
                    }
                }
            }
        }
        self.requests_wait = true;
    }

    /// Does all that a dead owner had still sent; nobody reads the answers. Call it before the
    /// owner is reaped, while its pid is its own.
    pub(crate) fn drain_requests(&mut self) {
        while let Some(connection) = &mut self.connection {
            connection.outbox = Outbox::default();
            self.take_requests();
            if !self.requests_wait {
                // All is read. Somebody may still hold the other end; it is nobody's port now.
                self.connection = None;
            }
        }
    }

    /// The owner closed its end: it is about to end, or lost its mind. Its own exit status is
    /// worth a moment; then it is killed.
    fn hung_up(&mut self) {
        self.connection = None;
        self.requests_wait = false;
        self.hang_up_ns = Some(monotonic_ns() + HANG_UP_NS);
    }

    /// Closes the port of an owner that is not understood, and kills it: without a port it is of
    /// no use, and its successor gets a fresh one.
    fn cut_off(&mut self, why: std::fmt::Arguments<'_>) {
        self.connection = None;
        self.requests_wait = false;
        if let Some(pid) = self.owner.pid() {
            self.say(Priority::Warning, format_args!("supervisor {pid} is cut off: {why}"));
            self.kill_owner();
        }
    }

    /// Kills the owner's process, but not in the end, which has its own order.
    pub(crate) fn kill_owner(&mut self) {
        self.hang_up_ns = None;
        if let Some(pid) = self.owner.pid().filter(|_| self.teardown.is_none()) {
            // It may have ended in between; then it is reaped next.
            let _ = cgroup::signal_process(pid, SIGKILL);
        }
    }

    /// One packet. An error closes the connection.
    fn take_packet(
        &mut self,
        packet: &[u8],
        mut fds: Vec<OwnedFd>,
        fds_lost: bool,
    ) -> Result<(), DecodeError> {
        let header = Header::decode(packet)?;
        if fds_lost {
            self.refuse(header.sequence, Errno::MFILE);
            return Ok(());
        }
        let mut long_body = std::mem::take(&mut self.body);
        let body = if header.flags & FLAG_BODY_IN_MEMFD == 0 {
            header.body(packet)
        } else {
            read_body(&header, packet, &mut fds, &mut long_body)
        };
        let request = body.and_then(|body| Request::decode(&header, body));
        let done = match request {
            Ok(request) => {
                self.take_request(header.sequence, &request, fds);
                Ok(())
            }
            Err(DecodeError::Kind(_)) => {
                self.refuse(header.sequence, Errno::NOSYS);
                Ok(())
            }
            Err(error) => Err(error),
        };
        self.body = long_body;
        done
    }

    /// Does one request.
    fn take_request(&mut self, sequence: u64, request: &Request<'_>, fds: Vec<OwnedFd>) {
        let attached = self.connection.as_ref().is_some_and(|connection| connection.attached);
        let outcome = match request {
            Request::Attach(attach) => return self.attach(sequence, *attach),
            _ if !attached => Err(Errno::PROTO),
            Request::Spawn(spawn) => return self.spawn(sequence, spawn, &fds),
            Request::Signal(signal) => {
                self.signal_run(signal.key, signal.incarnation, signal.scope, signal.signal)
            }
            Request::Stop(stop) => self.stop_run(stop),
            Request::Set(set) => self.children.set_memo(set.key, set.memo),
            Request::Deadline(Deadline { key, incarnation, deadline_ns }) => {
                self.children.set_own_deadline(key, *incarnation, *deadline_ns)
            }
            Request::Forget(forget) => match forget.incarnation {
                Some(incarnation) => self.children.forget_run(forget.key, incarnation),
                None => self.children.forget_key(forget.key),
            },
            Request::KeepFd(keep) => self.keep_fd(keep, fds),
            Request::TakeFd(take) => match self.kept.take(take.name, take.drop_entry) {
                Ok(fd) => return self.answer_with(sequence, Answer::Done, Some(fd)),
                Err(errno) => Err(errno),
            },
            Request::List => {
                self.answer(sequence, Answer::Done);
                self.connection.iter_mut().for_each(|connection| connection.outbox.snapshot());
                return;
            }
            Request::Shutdown(shutdown) => {
                self.answer(sequence, Answer::Done);
                self.send();
                return self.begin_end(shutdown.kind);
            }
        };
        match outcome {
            Ok(()) => self.answer(sequence, Answer::Done),
            Err(errno) => self.refuse(sequence, errno),
        }
    }

    /// First word of an owner: greet it, then tell it everything.
    fn attach(&mut self, sequence: u64, attach: Attach) {
        if attach.version_max < VERSION_MIN || attach.version_min > VERSION {
            return self.refuse(sequence, Errno::PROTO);
        }
        let welcome = Welcome {
            version: VERSION.min(attach.version_max),
            pid: sys::process::pid(),
            started_ns: self.children.table().started_ns(),
            attaches: self.children.attach(),
            shutting_down: self.teardown.is_some(),
        };
        self.owner.attached();
        self.answer(sequence, Answer::Welcome(welcome));
        if let Some(connection) = &mut self.connection {
            connection.attached = true;
            connection.outbox.snapshot();
        }
        self.tell_power();
    }

    fn spawn(&mut self, sequence: u64, spawn: &Spawn<'_>, fds: &[OwnedFd]) {
        if self.teardown.is_some() {
            return self.refuse(sequence, Errno::SHUTDOWN);
        }
        if fds.len() != spawn.attached_count() {
            return self.refuse(sequence, Errno::INVAL);
        }
        match self.children.intend(spawn.key, spawn.incarnation, spawn.cgroup) {
            Ok(slot) => self.start_run(slot, sequence, spawn, fds),
            Err(errno) => self.refuse(sequence, errno),
        }
    }

    /// Signals a run that is not stopped.
    fn signal_run(
        &mut self,
        key: &str,
        incarnation: u64,
        scope: Scope,
        signal: u8,
    ) -> Result<(), Errno> {
        let slot = self.children.find(key, incarnation).ok_or(Errno::SRCH)?;
        if !self.children.is_unstopped(slot) {
            return Err(Errno::SRCH);
        }
        self.children.asked(slot);
        self.deliver(slot, scope, signal).map_err(|error| errno_of(&error))
    }

    /// Begins a stop: from here on its deadline is PID 1's. A stopped process takes no signal but
    /// `SIGCONT`, so that follows.
    fn stop_run(&mut self, stop: &Stop<'_>) -> Result<(), Errno> {
        let slot = self.children.find(stop.key, stop.incarnation).ok_or(Errno::SRCH)?;
        if !self.children.is_unstopped(slot) {
            return Err(Errno::SRCH);
        }
        self.children.stop(slot, stop.deadline_ns);
        // Whoever could not be signalled meets the deadline.
        if let Err(error) = self.deliver(slot, stop.scope, stop.signal) {
            self.say(
                Priority::Warning,
                format_args!("signal {} to {}: {error}", stop.signal, stop.key),
            );
        }
        if stop.signal != SIGKILL {
            let _ = self.deliver(slot, stop.scope, SIGCONT);
        }
        Ok(())
    }

    /// Leader and group are only named while the leader is unreaped, so their numbers are exact.
    /// Once it is reaped, what is left is in the cgroup.
    fn deliver(&self, slot: usize, scope: Scope, signal: u8) -> io::Result<()> {
        const ESRCH: i32 = 3;
        let run = self.children.table().run(slot);
        let leads = run.state != crate::table::State::Ended;
        let cgroup = self.children.table().cgroup(slot);
        match (scope, &self.root) {
            (Scope::Leader, _) if leads => cgroup::signal_process(run.pid, signal),
            (Scope::Group, _) if leads => cgroup::signal_process_group(run.pid, signal),
            (_, Some(root)) if !cgroup.is_empty() => {
                let group = root.group(cgroup)?;
                if signal == SIGKILL { group.kill() } else { group.signal(signal).map(drop) }
            }
            _ if leads => cgroup::signal_process_group(run.pid, signal),
            _ => Err(io::Error::from_raw_os_error(ESRCH)),
        }
    }

    fn keep_fd(&mut self, keep: &KeepFd<'_>, fds: Vec<OwnedFd>) -> Result<(), Errno> {
        let [fd] = <[OwnedFd; 1]>::try_from(fds).map_err(|_| Errno::INVAL)?;
        self.kept.keep(keep.name, fd)
    }

    pub(crate) fn answer(&mut self, sequence: u64, answer: Answer) {
        self.answer_with(sequence, answer, None);
    }

    fn refuse(&mut self, sequence: u64, errno: Errno) {
        self.answer(sequence, Answer::Refused(Refusal { errno: errno.0 }));
    }

    fn answer_with(&mut self, sequence: u64, answer: Answer, fd: Option<OwnedFd>) {
        if let Some(connection) = &mut self.connection {
            connection.outbox.answer(sequence, answer, fd);
        }
    }

    /// Sends what waits, as far as the owner takes it.
    pub(crate) fn send(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        if connection.outbox.is_empty() {
            return;
        }
        let socket = connection.socket.as_fd();
        match connection.outbox.send(socket, &self.children, &self.kept) {
            Ok(_) if std::mem::take(&mut connection.outbox.resynchronised) => self.say(
                Priority::Warning,
                format_args!("the supervisor reads too slowly; events became a snapshot"),
            ),
            Ok(_) => {}
            // What it had still sent is read until its end.
            Err(_) => {
                connection.outbox = Outbox::default();
                self.requests_wait = true;
            }
        }
    }
}

/// A body that is too long for a frame, out of the memfd that came first.
fn read_body<'a>(
    header: &Header,
    packet: &[u8],
    fds: &mut Vec<OwnedFd>,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], DecodeError> {
    let length = header.length as usize;
    if packet.len() != HEADER_BYTES || length > SPECIFICATION_BYTES_MAX || fds.is_empty() {
        return Err(DecodeError::Length);
    }
    let memfd = fds.remove(0);
    buffer.resize(length, 0);
    memory::read_memfd(memfd.as_fd(), buffer).map_err(|_| DecodeError::Length)?;
    Ok(buffer)
}

fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::INVAL, Errno)
}
