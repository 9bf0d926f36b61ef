//! What survives whose death.

use crate::guest::Guest;
use crate::owner::{Heard, Owner, spawn};
use crate::proxy::{BOMB, ORPHANS};
use port::event::{Answer, Cause, Refusal};
use port::packed::Strings;
use port::request::{KeepFd, Request, Scope, Shutdown, ShutdownKind};
use port::snapshot::RunState;
use std::os::fd::AsFd;
use sys::cgroup::Watcher;
use sys::clock::{NS_PER_MS, NS_PER_S, monotonic_ns};

const SLEEP: &[u8] = b"/bin/sleep\x001000\0";
const EBUSY: i32 = 16;
const ESRCH: i32 = 3;

/// Kills the owner ten times: the same child lives under the same pid, and each successor hears of
/// every key, memo, run and kept descriptor there was.
fn owner_dies(guest: &Guest) {
    let (mut owner, empty) = guest.attached();
    assert_eq!(empty, crate::owner::Snapshot::default());
    let cgroup = guest.make_cgroup("web.0");
    let started = owner.start(&spawn("web", &cgroup, SLEEP));
    assert_eq!(owner.set("web", b"memo"), Answer::Done);
    assert_eq!(owner.set("@supervisor", &[7; 2048]), Answer::Done);
    let null = sys::process::open_null().unwrap();
    let keep = Request::KeepFd(KeepFd { name: "listen/web/http" });
    assert_eq!(owner.ask_with(&keep, &[null.as_fd()]), Answer::Done);
    let before = owner.list();
    assert_eq!(before.runs, [("web".into(), 1, RunState::Running, started.pid)]);
    assert_eq!(before.keys[1], ("@supervisor".into(), 0, vec![7; 2048]));
    for attaches in 1..=10 {
        owner.kill();
        owner = guest.owner();
        assert_eq!(owner.attach().attaches, attaches);
        assert_eq!(owner.snapshot(), before);
    }
    assert_eq!(owner.signal("web", Scope::Leader, 15), Answer::Done);
    let end = owner.stopped("web");
    assert_eq!((end.status, end.cause), (15, Cause::Asked));
}

pub fn owner_death_changes_nothing() {
    owner_dies(&Guest::start());
}

pub fn owner_death_in_a_pid_namespace() {
    owner_dies(&Guest::start_in_namespace());
}

/// 100,000 exits: 2,000 runs through the port, 98 of which leave 1,000 orphans each. Every run's
/// end is told exactly once, and PID 1 counts every orphan.
pub fn hundred_thousand_exits() {
    const RUNS: u16 = 2000;
    const MAKERS: u16 = 98;
    // Eight makers have 8,000 dead children at once, far below the kernel's 32,768 pids.
    const AT_ONCE: u16 = 8;
    let guest = Guest::start();
    let (mut owner, _) = guest.attached();
    let own = std::env::current_exe().unwrap();
    let maker = [own.to_str().unwrap().as_bytes(), b"\0"].concat();
    let environment = format!("{ORPHANS}=1000\0");
    let (mut sent, mut ended, mut seen) = (0, 0, vec![false; usize::from(RUNS) + 1]);
    while ended < RUNS {
        while sent < RUNS && sent - ended < AT_ONCE {
            sent += 1;
            let is_maker = sent <= MAKERS;
            let arguments: &[u8] = if is_maker { &maker } else { b"/bin/true\0" };
            // No cgroup: the orphans of one maker must not hold back the end of another's run.
            let mut spawn = spawn("exits", "", arguments);
            spawn.incarnation = sent.into();
            if is_maker {
                spawn.environment = Strings::new(environment.as_bytes(), "environment").unwrap();
            }
            owner.send(&Request::Spawn(spawn), &[]);
        }
        let (incarnation, end, emptied) = owner.exited("exits");
        assert_eq!((end.status, emptied), (0, true));
        let at = usize::try_from(incarnation).unwrap();
        assert!(!std::mem::replace(&mut seen[at], true), "{incarnation} ended twice");
        ended += 1;
    }
    let listed = owner.list().runs;
    assert_eq!(listed.len(), usize::from(RUNS), "every end is there until it is forgotten");
    for incarnation in 1..=RUNS {
        assert_eq!(owner.forget("exits", Some(incarnation.into())), Answer::Done);
    }
    assert!(owner.list().runs.is_empty());
    let shutdown = Shutdown { kind: ShutdownKind::PowerOff };
    owner.ask(&Request::Shutdown(shutdown));
    drop(owner);
    let (code, said) = guest.ended();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("98000 orphans were reaped"), "{said}");
}

/// A run that ends with no owner is told to the next one, as often as one comes, until it is
/// forgotten; then it is gone.
pub fn tombstone_outlives_owner() {
    let guest = Guest::start();
    let (mut owner, _) = guest.attached();
    let cgroup = guest.make_cgroup("once.0");
    owner.start(&spawn("once", &cgroup, b"/bin/sh\0-c\0exit 3\0"));
    let (_, end, _) = owner.exited("once");
    assert_eq!((end.status, end.cause), (3 << 8, Cause::Own));
    for _ in 0..3 {
        owner.kill();
        let (next, snapshot) = guest.attached();
        let [(_, 1, RunState::Ended { end: kept, .. }, _)] = snapshot.runs[..] else {
            panic!("{snapshot:?}");
        };
        assert_eq!(kept, end);
        owner = next;
    }
    assert_eq!(owner.forget("once", None), Answer::Refused(Refusal { errno: EBUSY }));
    assert_eq!(owner.forget("once", Some(1)), Answer::Done);
    let again = owner.forget("once", Some(1));
    assert_eq!(again, Answer::Refused(Refusal { errno: ESRCH }));
    assert_eq!(owner.list().keys.len(), 1, "the key stays, with the incarnation it has seen");
    assert_eq!(owner.forget("once", None), Answer::Done);
    assert!(owner.list().keys.is_empty());
}

/// A child that ignores SIGTERM is killed at its deadline while no owner is attached: the next one
/// is there but silent until the cgroup is seen empty.
pub fn deadline_fires_without_owner() {
    let guest = Guest::start();
    let (mut owner, _) = guest.attached();
    let cgroup = guest.make_cgroup("deaf.0");
    let script = b"/bin/sh\0-c\0trap '' TERM; echo ready; while :; do sleep 1000; done\0";
    let (reader, writer) = std::io::pipe().unwrap();
    let mut deaf = spawn("deaf", &cgroup, script);
    deaf.stdio[1] = port::request::Stdio::Attached;
    let answer = owner.ask_with(&Request::Spawn(deaf), &[writer.as_fd()]);
    assert!(matches!(answer, Answer::Started(_)));
    crate::owner::await_readable(reader.as_fd());
    let deadline_ns = monotonic_ns() + 300 * NS_PER_MS;
    assert_eq!(owner.stop("deaf", deadline_ns), Answer::Done);
    owner.kill();
    let mut silent = guest.owner();
    let watcher = Watcher::new().unwrap();
    watcher.watch(guest.root(), &cgroup).unwrap();
    let group = guest.root().group(&cgroup).unwrap();
    while group.populated().unwrap() {
        crate::owner::await_readable(watcher.as_fd());
        watcher.changed().unwrap();
    }
    silent.attach();
    let snapshot = silent.snapshot();
    // Whether PID 1 has reaped it yet when the snapshot is taken is its own affair.
    let end = match snapshot.runs[0].2 {
        RunState::Ended { end, emptied: true } => end,
        _ => silent.stopped("deaf"),
    };
    assert_eq!((end.status, end.cause), (9, Cause::Deadline));
    assert!(end.ended_ns >= deadline_ns, "not before its time");
}

/// A run with a deadline of its own: moved on it lives past the first; not moved on any more, since
/// its owner is dead, it is killed with all that it started, and the cause says why. The next owner
/// finds the deadline in the snapshot. One whose deadline was cleared lives.
pub fn own_deadline_fires_without_owner() {
    let guest = Guest::start();
    let (mut owner, _) = guest.attached();
    let script = b"/bin/sh\0-c\0sleep 1000 & sleep 1000\0";
    let groups = ["task", "free"].map(|key| {
        let cgroup = guest.make_cgroup(&format!("{key}.0"));
        owner.start(&spawn(key, &cgroup, script));
        cgroup
    });
    let deadline_ns = monotonic_ns() + 400 * NS_PER_MS;
    for (key, before_ns, after_ns) in [
        ("task", Some(deadline_ns - 200 * NS_PER_MS), Some(deadline_ns)),
        ("free", Some(deadline_ns), None),
    ] {
        assert_eq!(owner.set_deadline(key, before_ns), Answer::Done);
        assert_eq!(owner.set_deadline(key, after_ns), Answer::Done);
    }
    assert_eq!(owner.list().deadlines, [("task".into(), deadline_ns)]);
    owner.kill();
    let group = guest.root().group(&groups[0]).unwrap();
    let watcher = Watcher::new().unwrap();
    watcher.watch(guest.root(), &groups[0]).unwrap();
    while group.populated().unwrap() {
        crate::owner::await_readable(watcher.as_fd());
        watcher.changed().unwrap();
    }
    let (mut next, snapshot) = guest.attached();
    let (_, _, state, _) = snapshot.runs.iter().find(|run| run.0 == "task").unwrap();
    let end = match state {
        RunState::Ended { end, emptied: true } => *end,
        _ => next.stopped("task"),
    };
    assert_eq!((end.status, end.cause), (9, Cause::Deadline));
    assert!(end.ended_ns >= deadline_ns, "not before its time");
    let refused = Answer::Refused(Refusal { errno: ESRCH });
    assert_eq!(next.set_deadline("task", Some(deadline_ns)), refused);
    let free = next.list().runs.into_iter().find(|run| run.0 == "free").unwrap();
    assert_eq!(free.2, RunState::Running);
}

/// 63 processes, 32 of which fork without end: SIGKILL to the cgroup ends all of them, those being
/// born too, and the run is told as stopped.
pub fn fork_bomb_is_killed() {
    let guest = Guest::start();
    let (mut owner, _) = guest.attached();
    let cgroup = guest.make_cgroup("bomb.0");
    let own = std::env::current_exe().unwrap();
    let arguments = [own.to_str().unwrap().as_bytes(), b"\0"].concat();
    let environment = format!("{BOMB}=5\0");
    let mut bomb = spawn("bomb", &cgroup, &arguments);
    bomb.environment = Strings::new(environment.as_bytes(), "environment").unwrap();
    owner.start(&bomb);
    let group = guest.root().group(&cgroup).unwrap();
    let deadline_ns = monotonic_ns() + 60 * NS_PER_S;
    while group.processes().unwrap().len() < 63 {
        assert!(monotonic_ns() < deadline_ns, "the bomb never went off");
        std::thread::yield_now();
    }
    assert_eq!(owner.signal("bomb", Scope::Cgroup, 9), Answer::Done);
    let end = owner.stopped("bomb");
    assert_eq!((end.status, end.cause), (9, Cause::Asked));
    assert!(group.processes().unwrap().is_empty());
}

/// A leader that ends before its children: told as exited but not empty, then as empty; it cannot
/// be forgotten in between, and the cgroup cannot be given to another run.
pub fn leftovers_empty_later() {
    let guest = Guest::start();
    let (mut owner, _) = guest.attached();
    let cgroup = guest.make_cgroup("left.0");
    owner.start(&spawn("left", &cgroup, b"/bin/sh\0-c\0sleep 1000 & exit 0\0"));
    let (_, end, emptied) = owner.exited("left");
    assert_eq!((end.status, emptied), (0, false));
    assert_eq!(owner.forget("left", Some(1)), Answer::Refused(Refusal { errno: EBUSY }));
    let mut next = spawn("left", &cgroup, SLEEP);
    next.incarnation = 2;
    let refused = owner.ask(&Request::Spawn(next));
    assert_eq!(refused, Answer::Refused(Refusal { errno: EBUSY }));
    assert_eq!(owner.stop("left", monotonic_ns() + 60 * NS_PER_S), Answer::Done);
    owner.emptied("left");
    assert_eq!(owner.stop("left", 1), Answer::Refused(Refusal { errno: ESRCH }));
    assert_eq!(owner.forget("left", Some(1)), Answer::Done);
    owner.start(&next);
}

/// A start whose asker dies before exec: the next owner sees it starting, and hears of its end
/// although exec failed, since it was told that the run exists. A frozen group holds it meanwhile,
/// and does not hold PID 1, though the owner calls the spawn safe.
pub fn start_outlives_asker() {
    let guest = Guest::start();
    let (mut owner, _) = guest.attached();
    let cgroup = guest.make_cgroup("slow.0");
    let group = guest.root().group(&cgroup).unwrap();
    group.write("cgroup.freeze", "1").unwrap();
    owner.send(&Request::Spawn(spawn("slow", &cgroup, b"/nonexistent\0")), &[]);
    let starting = owner.list().runs;
    assert!(matches!(starting[..], [(_, 1, RunState::Starting, _)]), "{starting:?}");
    owner.kill();
    let (mut next, snapshot) = guest.attached();
    assert_eq!(snapshot.runs, starting);
    group.write("cgroup.freeze", "0").unwrap();
    assert_eq!(next.stopped("slow").status, 127 << 8);
    assert_eq!(next.forget("slow", Some(1)), Answer::Done);
}

/// An owner that closes its port is replaced even if its process would live on.
pub fn closed_port_restarts_owner() {
    let guest = Guest::start();
    let (owner, _) = guest.attached();
    let stream = owner.hang_up();
    let (_, snapshot) = guest.attached();
    assert_eq!(snapshot, crate::owner::Snapshot::default());
    // The end of its stream is the end of the process that held it.
    crate::owner::await_readable(stream.as_fd());
}

/// SIGSEGV and SIGABRT sent to PID 1 are said and ignored, SIGHUP too; it still answers.
pub fn sent_faults_are_ignored() {
    let guest = Guest::start();
    let (mut owner, _): (Owner, _) = guest.attached();
    [11, 6, 7, 1].into_iter().for_each(|signal| guest.signal(signal));
    owner.list();
    guest.signal(15);
    owner.wait_for(|heard| matches!(heard, Heard::Power(ShutdownKind::PowerOff)));
    owner.ask(&Request::Shutdown(Shutdown { kind: ShutdownKind::Halt }));
    drop(owner);
    let (code, said) = guest.ended();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("ignored signal 11 sent by process"), "{said}");
}
