//! The spawn engine with real children. Each test reads what the child itself sees, through
//! `/proc/self` or its output, on both ways of cloning.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use sys::memory;
use sys::poll::{self, PollFd, PollFlags};
use sys::process::{Limit, open_null};
use sys::spawn::{Failure, Plan, Spawner, Status, Step, Way};

const WAYS: [Way; 2] = [Way::Suspend, Way::Copy];

/// A plan that runs `executable` as root with nothing special; tests change single fields.
fn plan<'a>(executable: &'a [u8], arguments: &'a [u8], stdio: [BorrowedFd<'a>; 3]) -> Plan<'a> {
    Plan {
        executable,
        arguments,
        environment: b"",
        pid_slot: None,
        cgroup: None,
        directory: None,
        stdio,
        passed: &[],
        limits: &[],
        nice: None,
        umask: 0o22,
        user: 0,
        group: 0,
        groups: &[],
        oom_score_adjust: 0,
        way: Way::Copy,
    }
}

/// Starts it, waits for its status, then for its end. `change` edits the plan.
fn run(
    executable: &[u8],
    arguments: &[u8],
    change: &dyn for<'a> Fn(&mut Plan<'a>),
) -> (Result<String, Failure>, i32) {
    let null = open_null().unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut plan = plan(executable, arguments, [null.as_fd(), writer.as_fd(), null.as_fd()]);
    change(&mut plan);
    let spawned = match Spawner::new().unwrap().spawn(&plan) {
        Ok(spawned) => spawned,
        Err(failure) => return (Err(failure), 0),
    };
    drop(writer);
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    let status = loop {
        match spawned.status.read() {
            Status::Pending => {
                let mut fds = [PollFd::from_borrowed_fd(spawned.status.as_fd(), PollFlags::IN)];
                poll::until(&mut fds, None).unwrap();
            }
            status => break status,
        }
    };
    let ended = await_end(spawned.pid);
    match status {
        Status::Failed(failure) => (Err(failure), ended),
        _ => (Ok(output), ended),
    }
}

/// Waits for one child by pid; tests run in parallel, so nobody may reap another's.
fn await_end(pid: u32) -> i32 {
    let mut status = 0;
    // SAFETY: a live int, and a pid that is our child.
    let result = unsafe { libc::waitpid(pid.cast_signed(), &raw mut status, 0) };
    assert_eq!(result, pid.cast_signed());
    status
}

/// A program that ignores SIGPIPE (every Rust test does) and blocks signals starts children that
/// do neither: read from the child's own /proc/self/status.
#[test]
fn children_ignore_block_and_catch_nothing() {
    assert_ne!(
        sys::signal::ignored() & 1 << 12,
        0,
        "Rust ignores SIGPIPE, else this proves nothing"
    );
    for way in WAYS {
        let (output, status) =
            run(b"/bin/cat", b"cat\0/proc/self/status\0", &|plan| plan.way = way);
        let output = output.unwrap();
        for name in ["SigIgn", "SigBlk", "SigCgt"] {
            let line = output.lines().find(|line| line.starts_with(name)).unwrap();
            assert_eq!(line, format!("{name}:\t0000000000000000"), "{way:?}");
        }
        assert_eq!(status, 0);
    }
}

/// Each step that can fail in the child names itself and its errno, and the child's end is 127.
#[test]
fn failures_name_step_and_errno() {
    let file = std::fs::File::open("/etc/passwd").unwrap();
    for way in WAYS {
        let fails = |executable: &[u8], change: &dyn for<'a> Fn(&mut Plan<'a>)| {
            let (result, status) = run(executable, b"x\0", &|plan| {
                plan.way = way;
                change(plan);
            });
            assert_eq!(status, 127 << 8);
            let failure = result.unwrap_err();
            (failure.step, failure.errno)
        };
        assert_eq!(fails(b"/nonexistent", &|_| ()), (Step::Exec, libc::ENOENT));
        assert_eq!(fails(b"/etc/passwd", &|_| ()), (Step::Exec, libc::EACCES));
        let user = fails(b"/bin/true", &|plan| plan.user = u32::MAX);
        assert_eq!(user, (Step::User, libc::EINVAL));
        let limits: &[Limit] = &[Limit { resource: 200, soft: 0, hard: 0 }];
        let limit = fails(b"/bin/true", &|plan| plan.limits = limits);
        assert_eq!(limit, (Step::Limits, libc::EINVAL));
        // SAFETY: `file` stays open until the end of the test.
        let no_directory =
            unsafe { BorrowedFd::borrow_raw(std::os::fd::AsRawFd::as_raw_fd(&file)) };
        let directory = fails(b"/bin/true", &|plan| plan.directory = Some(no_directory));
        assert_eq!(directory, (Step::Directory, libc::ENOTDIR));
    }
}

/// What never reaches the child is refused before the clone.
#[test]
fn malformed_plans_are_refused_before_the_clone() {
    let refused = |change: &dyn for<'a> Fn(&mut Plan<'a>)| {
        let failure = run(b"/bin/true", b"true\0", change).0.unwrap_err();
        (failure.step, failure.errno)
    };
    let malformed = (Step::Prepare, libc::EINVAL);
    assert_eq!(refused(&|plan| plan.executable = b"/bin/\0true"), malformed);
    assert_eq!(refused(&|plan| plan.arguments = b"no end"), malformed);
    assert_eq!(refused(&|plan| plan.pid_slot = Some(usize::MAX)), malformed);
}

/// LISTEN_PID in the child's environment is its own pid, without leading zeros.
#[test]
fn the_pid_slot_holds_the_childs_pid() {
    for way in WAYS {
        let script = b"sh\0-c\0echo $LISTEN_PID $$ $AFTER\0";
        let (output, _) = run(b"/bin/sh", script, &|plan| {
            plan.way = way;
            plan.environment = b"LISTEN_PID=0000000000\0AFTER=after\0";
            plan.pid_slot = Some(11);
        });
        let output = output.unwrap();
        let words: Vec<&str> = output.split_whitespace().collect();
        assert_eq!((words[0], words[2]), (words[1], "after"), "{way:?}");
    }
}

/// Passed descriptors are 3, 4, … in order, even when the sources lie on those very numbers in
/// the other order; nothing else is open in the child.
#[test]
fn descriptors_are_placed_in_order_and_nothing_leaks() {
    let contents = |text: &[u8]| memory::memfd_with(c"content", text).unwrap();
    // The lowest free numbers, so that sources and targets overlap.
    let fds: Vec<OwnedFd> = [b"first", b"other", b"third"].map(|text| contents(text)).into();
    for way in WAYS {
        let passed: Vec<BorrowedFd<'_>> = fds.iter().rev().map(AsFd::as_fd).collect();
        let null = open_null().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let script =
            b"sh\0-c\0for fd in 3 4 5; do cat /proc/self/fd/$fd; echo; done; ls /proc/$$/fd\0";
        let mut plan = plan(b"/bin/sh", script, [null.as_fd(), writer.as_fd(), null.as_fd()]);
        plan.environment = b"PATH=/bin:/usr/bin\0";
        plan.passed = &passed;
        plan.way = way;
        let spawned = Spawner::new().unwrap().spawn(&plan).unwrap();
        drop(writer);
        let mut output = String::new();
        reader.read_to_string(&mut output).unwrap();
        await_end(spawned.pid);
        let words: Vec<&str> = output.split_whitespace().collect();
        // Debian's sh keeps nothing open for `-c`; 0 to 5 is all there is.
        let expected = ["third", "other", "first", "0", "1", "2", "3", "4", "5"];
        assert_eq!(words, expected, "{way:?}");
    }
}

/// Identity, mask, limits, niceness, directory and session are the plan's, as the child sees them.
#[test]
fn the_child_is_what_the_plan_says() {
    let script = b"sh\0-c\0id -u; id -g; id -G; umask; ulimit -n; nice; pwd; \
        cat /proc/self/oom_score_adj; cut -d' ' -f6 /proc/$$/stat; echo $$\0";
    for way in WAYS {
        let (output, _) = run(b"/bin/sh", script, &|plan| {
            plan.environment = b"PATH=/bin:/usr/bin\0";
            plan.way = way;
            (plan.user, plan.group, plan.groups) = (12345, 2345, &[7, 8]);
            (plan.umask, plan.nice, plan.oom_score_adjust) = (0o27, Some(3), 123);
            plan.limits = &[Limit { resource: 7, soft: 99, hard: 100 }];
        });
        let output = output.unwrap();
        let lines: Vec<&str> = output.lines().collect();
        let expected = ["12345", "2345", "2345 7 8", "0027", "99", "3", "/", "123"];
        assert_eq!(&lines[..8], expected, "{way:?}");
        assert_eq!(lines[8], lines[9], "the child leads its own session");
    }
}

/// On the copy way nothing that holds the child before its exec holds its parent: born into a
/// frozen cgroup the child cannot even begin, yet the spawn returns and its pipe stays pending
/// until the group thaws.
#[test]
fn a_child_held_before_exec_does_not_hold_its_parent() {
    let mount = sys::cgroup::find_mount().expect("a cgroup2 mount");
    let root = sys::cgroup::Root::open(&mount).unwrap();
    let name = format!("rollinit-sys-frozen-{}", std::process::id());
    let group = root.make(&name).unwrap();
    group.write("cgroup.freeze", "1").unwrap();
    assert!(group.frozen().unwrap());
    let null = open_null().unwrap();
    let mut plan = plan(b"/bin/true", b"true\0", [null.as_fd(); 3]);
    plan.cgroup = Some(group.as_fd());
    let spawned = Spawner::new().unwrap().spawn(&plan).unwrap();
    assert_eq!(spawned.status.read(), Status::Pending);
    group.write("cgroup.freeze", "0").unwrap();
    let mut fds = [PollFd::from_borrowed_fd(spawned.status.as_fd(), PollFlags::IN)];
    poll::until(&mut fds, None).unwrap();
    assert_eq!(spawned.status.read(), Status::Running);
    assert_eq!(await_end(spawned.pid), 0);
    std::fs::remove_dir(mount.join(name)).unwrap();
}

/// The suspend way costs no descriptors: after many spawns, good and bad, as many are open as
/// before, and the engine's reserved numbers are its placeholders again.
#[test]
fn spawning_leaks_no_descriptor() {
    let null = open_null().unwrap();
    let mut spawner = Spawner::new().unwrap();
    let slots_of = |target: &str| {
        let fds = std::fs::read_dir("/proc/self/fd").unwrap();
        let links = fds.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
        links.filter(|link| link.to_str() == Some(target)).count()
    };
    let roots = slots_of("/");
    for way in WAYS {
        for executable in [b"/bin/true".as_slice(), b"/nonexistent"] {
            let mut plan = plan(executable, b"x\0", [null.as_fd(); 3]);
            plan.way = way;
            let spawned = spawner.spawn(&plan).unwrap();
            await_end(spawned.pid);
        }
    }
    // Parallel tests make engines of their own, each a multiple of one engine's numbers.
    let per_engine = 70;
    assert_eq!(slots_of("/") % per_engine, roots % per_engine);
}

/// A child is born in its group: populated while it lives, empty right after it was reaped, and
/// cgroup.kill ends it.
#[test]
fn a_child_is_born_in_its_cgroup() {
    let mount = sys::cgroup::find_mount().expect("a cgroup2 mount");
    let root = sys::cgroup::Root::open(&mount).unwrap();
    let name = format!("rollinit-sys-test-{}", std::process::id());
    let group = root.make(&name).unwrap();
    let null = open_null().unwrap();
    for way in WAYS {
        let mut plan = plan(b"/bin/sleep", b"sleep\x001000\0", [null.as_fd(); 3]);
        plan.cgroup = Some(group.as_fd());
        plan.way = way;
        let spawned = Spawner::new().unwrap().spawn(&plan).unwrap();
        assert_eq!(group.processes().unwrap(), [spawned.pid]);
        assert!(group.populated().unwrap() && !group.frozen().unwrap());
        if way == Way::Copy {
            group.kill().unwrap();
            assert_eq!(await_end(spawned.pid), libc::SIGKILL);
        } else {
            assert_eq!(group.signal(15).unwrap(), 1);
            assert_eq!(await_end(spawned.pid), libc::SIGTERM);
        }
        assert!(!group.populated().unwrap());
    }
    std::fs::remove_dir(mount.join(name)).unwrap();
}
