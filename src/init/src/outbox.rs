//! What waits to be sent to the owner: answers, events, snapshots, in one order.
//!
//! PID 1 never waits for an owner that does not read. Answers are bounded by reading no further
//! request while too many wait; events are bounded by dropping them all and sending a snapshot
//! instead, which says the same and more. A snapshot stands in the queue as a cursor and is read
//! from the table page by page as the socket takes them, so it costs no memory, and an event that
//! happens meanwhile comes after it: at least once, never lost.

use crate::children::Children;
use crate::kept::Kept;
use crate::table::State;
use port::event::Answer;
use port::limits::EVENTS_QUEUED_MAX;
use port::snapshot::RunState;
use port::{Event, KeptEntry, KeyEntry, Message, Page, RunEntry, SnapshotEnd};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Answers that may wait before PID 1 stops reading requests: more than an owner has under way
/// that reads at all.
const ANSWERS_QUEUED_MAX: usize = 256;

/// One page in bytes: the largest is a key with a full memo.
const PAGE_BYTES_MAX: usize = 4096;

/// A waiting item.
#[derive(Debug)]
enum Item {
    Answer { frame: Box<[u8]>, fd: Option<OwnedFd> },
    Event { frame: Box<[u8]> },
    Snapshot(Cursor),
}

/// How far a snapshot is.
#[derive(Debug, Default)]
struct Cursor {
    key_slot: usize,
    run_slot: usize,
    kept_after: Option<Box<str>>,
    sent: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    keys: u32,
    runs: u32,
    kept: u32,
}

/// Whether the peer's queue took everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Nothing waits any more.
    All,
    /// The rest waits for the socket to be writable.
    Some,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Outbox {
    items: VecDeque<Item>,
    answers: usize,
    events: usize,
    /// Events were dropped for a snapshot since the owner last took everything.
    pub resynchronised: bool,
}

impl Outbox {
    /// Whether another request may be read.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.answers < ANSWERS_QUEUED_MAX
    }

    /// Whether anything waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Queues the answer to a request, perhaps with a descriptor.
    pub fn answer(&mut self, sequence: u64, answer: Answer, fd: Option<OwnedFd>) {
        if let Some(frame) = encoded(&Message::Answer(sequence, answer)) {
            self.items.push_back(Item::Answer { frame, fd });
            self.answers += 1;
        }
    }

    /// Queues an event; when too many wait, drops them all for a snapshot.
    pub fn event(&mut self, event: Event<'_>) {
        if self.events >= EVENTS_QUEUED_MAX {
            self.items.retain(|item| !matches!(item, Item::Event { .. }));
            self.events = 0;
            self.resynchronised = true;
            self.snapshot();
        }
        if let Some(frame) = encoded(&Message::Event(event)) {
            self.items.push_back(Item::Event { frame });
            self.events += 1;
        }
    }

    /// Queues a snapshot. One that waits already and has not begun says as much.
    pub fn snapshot(&mut self) {
        let waits = |item: &Item| matches!(item, Item::Snapshot(cursor) if cursor.is_fresh());
        if !self.items.back().is_some_and(waits) {
            self.items.push_back(Item::Snapshot(Cursor::default()));
        }
    }

    /// Sends until nothing waits or the peer's queue is full.
    ///
    /// # Errors
    /// Those of sendmsg(2): the peer is gone.
    pub fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        children: &Children,
        kept: &Kept,
    ) -> io::Result<Sent> {
        while let Some(item) = self.items.front_mut() {
            let sent = match item {
                Item::Answer { frame, fd } => {
                    let fds: &[BorrowedFd<'_>] = &fd.iter().map(AsFd::as_fd).collect::<Vec<_>>();
                    sys::seqpacket::send(socket, frame, fds)?
                }
                Item::Event { frame } => sys::seqpacket::send(socket, frame, &[])?,
                Item::Snapshot(cursor) => cursor.send(socket, children, kept)?,
            };
            if !sent {
                return Ok(Sent::Some);
            }
            match self.items.pop_front() {
                Some(Item::Answer { .. }) => self.answers -= 1,
                Some(Item::Event { .. }) => self.events -= 1,
                _ => {}
            }
        }
        Ok(Sent::All)
    }
}

/// A frame of its own. One that does not fit its caps is a bug of ours, and is not sent.
fn encoded(message: &Message<'_>) -> Option<Box<[u8]>> {
    let mut buffer = [0; PAGE_BYTES_MAX];
    let length = message.encode(&mut buffer).ok()?;
    Some(buffer[..length].into())
}

impl Cursor {
    fn is_fresh(&self) -> bool {
        self.key_slot == 0 && self.run_slot == 0 && self.kept_after.is_none()
    }

    /// Sends pages from here on; true after the last word, false if the socket takes no more.
    fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        children: &Children,
        kept: &Kept,
    ) -> io::Result<bool> {
        let mut buffer = [0; PAGE_BYTES_MAX];
        let mut send = |message: &Message<'_>| match message.encode(&mut buffer) {
            Ok(length) => sys::seqpacket::send(socket, &buffer[..length], &[]),
            Err(_) => Ok(true),
        };
        while self.key_slot < children.key_slots() {
            if let Some(entry) = key_entry(children, self.key_slot) {
                if !send(&Message::Page(Page::Key(entry)))? {
                    return Ok(false);
                }
                self.sent.keys += 1;
            }
            self.key_slot += 1;
        }
        while self.run_slot < children.run_slots() {
            if let Some(entry) = run_entry(children, self.run_slot) {
                if !send(&Message::Page(Page::Run(entry)))? {
                    return Ok(false);
                }
                self.sent.runs += 1;
            }
            self.run_slot += 1;
        }
        while let Some(name) = kept.name_after(self.kept_after.as_deref()) {
            if !send(&Message::Page(Page::Kept(KeptEntry { name })))? {
                return Ok(false);
            }
            self.kept_after = Some(name.into());
            self.sent.kept += 1;
        }
        let Counts { keys, runs, kept } = self.sent;
        send(&Message::SnapshotEnd(SnapshotEnd { keys, runs, kept }))
    }
}

fn key_entry(children: &Children, slot: usize) -> Option<KeyEntry<'_>> {
    let table = children.table();
    Some(KeyEntry {
        key: table.key(slot)?,
        incarnation_last: table.incarnation_last(slot),
        memo: table.memo(slot),
    })
}

/// A run for the snapshot; none for slots that are free and runs that never existed.
fn run_entry(children: &Children, slot: usize) -> Option<RunEntry<'_>> {
    let run = children.table().run(slot);
    let state = match run.state {
        State::Free | State::Intent | State::Failed => return None,
        State::Starting => RunState::Starting,
        State::Running => RunState::Running,
        State::Ended => RunState::Ended { end: run.end, emptied: run.emptied },
    };
    Some(RunEntry {
        key: children.key_of(slot),
        incarnation: run.incarnation,
        cgroup: children.table().cgroup(slot),
        state,
        pid: run.pid,
        started_ns: run.started_ns,
        stop_deadline_ns: run.stop_deadline_ns,
        deadline_ns: run.deadline_ns,
    })
}

#[cfg(test)]
mod tests;
