//! The outbox against a real pair of sockets whose reader is slow.

use super::*;
use crate::table::Table;
use port::event::{Cause, End};
use std::collections::BTreeSet;
use sys::reap::{Dead, Usage};
use sys::seqpacket::{Received, pair, receive};

const KEY: &str = "web";

fn children() -> Children {
    Children::new(Table::create(0).expect("table"))
}

/// Everything that lies in the socket now, as (exits, runs in snapshots, ends of snapshots, answers).
#[derive(Debug, Default)]
struct Read {
    exits: Vec<u64>,
    runs: BTreeSet<u64>,
    ends: Vec<SnapshotEnd>,
    answers: Vec<u64>,
}

impl Read {
    fn take(&mut self, socket: BorrowedFd<'_>) {
        let mut buffer = vec![0; 64 * 1024];
        while let Received::Packet { bytes, .. } =
            receive(socket, &mut buffer, &mut Vec::new()).expect("receive")
        {
            match Message::decode(&buffer[..bytes]).expect("own frames decode") {
                Message::Event(Event::Exited { incarnation, .. }) => self.exits.push(incarnation),
                Message::Page(Page::Run(entry)) => drop(self.runs.insert(entry.incarnation)),
                Message::SnapshotEnd(end) => self.ends.push(end),
                Message::Answer(sequence, _) => self.answers.push(sequence),
                _ => {}
            }
        }
    }
}

/// Sends and reads in turns until nothing waits.
fn deliver(outbox: &mut Outbox, children: &Children, kept: &Kept) -> Read {
    let (ours, theirs) = pair().expect("pair");
    let mut read = Read::default();
    while outbox.send(ours.as_fd(), children, kept).expect("send") == Sent::Some {
        read.take(theirs.as_fd());
    }
    read.take(theirs.as_fd());
    read
}

fn one_end(outbox: &mut Outbox, incarnation: u64) {
    let end = End {
        status: 0,
        cause: Cause::Own,
        ended_ns: 0,
        user_us: 0,
        system_us: 0,
        resident_max_kib: 0,
    };
    outbox.event(Event::Exited { key: KEY, incarnation, end, emptied: true });
}

/// Runs 1 to `count` of one key, all ended.
fn ended(count: u64) -> Children {
    let mut children = children();
    for incarnation in 1..=count {
        let slot = children.intend(KEY, incarnation, "").expect("room");
        let pid = u32::try_from(incarnation).expect("small");
        children.cloned(slot, pid, 0);
        children.executed(slot);
        children.ended(&Dead { pid, status: 0, usage: Usage::default() }, 0, 0);
        children.reaped(slot, false);
    }
    children
}

/// Whatever was dropped on the way, each end reaches the owner, as an event or by the snapshot that
/// takes the events' place; answers are never dropped; and the memory is bounded.
#[test]
fn a_slow_owner_loses_no_end() {
    let count = 4 * EVENTS_QUEUED_MAX as u64;
    let (children, kept) = (ended(count), Kept::default());
    let mut outbox = Outbox::default();
    outbox.answer(7, Answer::Done, None);
    for incarnation in 1..=count {
        one_end(&mut outbox, incarnation);
        assert!(outbox.items.len() <= EVENTS_QUEUED_MAX + 6, "{}", outbox.items.len());
    }
    outbox.answer(8, Answer::Done, None);
    assert!(outbox.resynchronised);
    let read = deliver(&mut outbox, &children, &kept);
    assert_eq!(read.answers, [7, 8]);
    let mut known = read.runs;
    known.extend(read.exits);
    assert_eq!(known.len() as u64, count);
    assert_eq!(read.ends.last().expect("a snapshot").runs as u64, count);
    assert!(outbox.is_empty() && outbox.has_room());
}

/// A snapshot that is larger than the socket's queue arrives whole, in pieces, and its last word
/// counts what came.
#[test]
fn a_snapshot_larger_than_the_queue_arrives_whole() {
    let mut children = ended(2000);
    for number in 0..200 {
        children.set_memo(&format!("key{number}"), &[1; 2048]).expect("room");
    }
    let mut kept = Kept::default();
    kept.keep("control", sys::process::open_null().expect("null")).expect("kept");
    let mut outbox = Outbox::default();
    outbox.snapshot();
    outbox.snapshot();
    let read = deliver(&mut outbox, &children, &kept);
    assert_eq!(
        read.ends,
        [SnapshotEnd { keys: 201, runs: 2000, kept: 1 }],
        "asked twice, sent once"
    );
    assert_eq!(read.runs.len(), 2000);
}

/// With an owner that asks and never reads, requests stop being read before memory grows.
#[test]
fn answers_are_bounded_by_not_reading() {
    let mut outbox = Outbox::default();
    let mut answers = 0;
    while outbox.has_room() {
        answers += 1;
        outbox.answer(answers, Answer::Done, None);
    }
    assert_eq!(answers, ANSWERS_QUEUED_MAX as u64);
}
