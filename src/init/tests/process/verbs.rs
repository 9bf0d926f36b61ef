//! What each verb promises, and what a broken owner cannot do.

use crate::guest::Guest;
use crate::owner::{Heard, spawn};
use port::event::{Answer, Refusal, Step};
use port::limits::{KEYS_MAX, RUNS_MAX};
use port::packed::Strings;
use port::request::{KeepFd, Request, Shutdown, ShutdownKind, Stdio, TakeFd};
use port::snapshot::RunState;
use std::io::Read;
use std::os::fd::AsFd;

const SLEEP: &[u8] = b"/bin/sleep\x001000\0";
const EEXIST: i32 = 17;
const EAGAIN: i32 = 11;
const ENOENT: i32 = 2;
const ENOSYS: i32 = 38;

fn refused(errno: i32) -> Answer {
    Answer::Refused(Refusal { errno })
}

/// The same spawn twice starts one process; so does one with a lower incarnation, and so does one
/// after the first is forgotten.
pub fn seen_incarnation_is_refused() {
    let guest = Guest::start();
    let (mut owner, _) = guest.attached();
    let cgroup = guest.make_cgroup("web.0");
    let mut web = spawn("web", &cgroup, SLEEP);
    web.incarnation = 5;
    let started = owner.start(&web);
    for incarnation in [5, 4, 1, 0] {
        web.incarnation = incarnation;
        assert_eq!(owner.ask(&Request::Spawn(web)), refused(EEXIST));
    }
    let group = guest.root().group(&cgroup).unwrap();
    assert_eq!(group.processes().unwrap(), [started.pid]);
    group.kill().unwrap();
    owner.stopped("web");
    assert_eq!(owner.forget("web", Some(5)), Answer::Done);
    web.incarnation = 5;
    assert_eq!(owner.ask(&Request::Spawn(web)), refused(EEXIST));
    web.incarnation = 6;
    owner.start(&web);
}

/// A failed start names step and errno on both ways of cloning, leaves no run, and uses its
/// incarnation up.
pub fn failed_start_names_step() {
    let guest = Guest::start();
    let (mut owner, _) = guest.attached();
    let cgroup = guest.make_cgroup("bad.0");
    let mut bad = spawn("bad", &cgroup, b"/nonexistent\0");
    for vfork_safe in [true, false] {
        bad.vfork_safe = vfork_safe;
        let failed = owner.fail_to_start(&bad);
        assert_eq!((failed.step, failed.errno), (Step::Exec, ENOENT));
        bad.incarnation += 1;
    }
    bad.cgroup = "services/missing";
    let failed = owner.fail_to_start(&bad);
    assert_eq!((failed.step, failed.errno), (Step::Cgroup, ENOENT));
    bad.incarnation += 1;
    bad.cgroup = &cgroup;
    bad.stdio[1] = Stdio::Kept("log/bad/write");
    let failed = owner.fail_to_start(&bad);
    assert_eq!((failed.step, failed.errno), (Step::KeptFd, ENOENT));
    let snapshot = owner.list();
    assert_eq!(snapshot.runs, []);
    assert_eq!(snapshot.keys, [("bad".into(), 4, Vec::new())]);
}

/// Bytes that are no frame close the port and nothing else: the child lives, PID 1 lives, the next
/// owner hears it all. Each kind of nonsense for itself.
pub fn malformed_frame_closes_the_port() {
    let guest = Guest::start();
    let (mut owner, _) = guest.attached();
    let cgroup = guest.make_cgroup("web.0");
    let started = owner.start(&spawn("web", &cgroup, SLEEP));
    let too_long = vec![1; 64 * 1024 + 1];
    let wrong_version = [9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let broken_body = [1, 2, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xff];
    let missing_memfd = [1, 2, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    for nonsense in [b"?".as_slice(), &too_long, &wrong_version, &broken_body, &missing_memfd] {
        owner.send_raw(nonsense, &[]);
        assert!(owner.is_closed());
        let (next, snapshot) = guest.attached();
        assert_eq!(snapshot.runs, [("web".into(), 1, RunState::Running, started.pid)]);
        owner = next;
    }
}

/// A verb of a later version is answered, and the port stays open.
pub fn unknown_verb_is_answered() {
    let guest = Guest::start();
    let (mut owner, _) = guest.attached();
    owner.send_raw(&[1, 99, 0, 0, 0, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0], &[]);
    assert_eq!(owner.answer_to(77), refused(ENOSYS));
    owner.list();
}

/// A spawn that is too long for a frame comes in a memfd, and its 200 KiB of environment arrive.
pub fn long_body_comes_in_a_memfd() {
    let guest = Guest::start();
    let (mut owner, _) = guest.attached();
    let cgroup = guest.make_cgroup("long.0");
    let pieces: Vec<String> =
        (0..2).map(|n| format!("LONG{n}={}\0", "x".repeat(100 * 1024))).collect();
    let environment = pieces.concat();
    let script = b"/bin/sh\0-c\0echo ${#LONG0} ${#LONG1}\0";
    let mut long = spawn("long", &cgroup, script);
    long.environment = Strings::new(environment.as_bytes(), "environment").unwrap();
    long.stdio[1] = Stdio::Attached;
    let mut body = vec![0; 512 * 1024];
    let (head, length) = long.encode_apart(7, &mut body).unwrap();
    let memfd = sys::memory::memfd_with(c"spawn", &body[..length]).unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    owner.send_raw(&head, &[memfd.as_fd(), writer.as_fd()]);
    assert!(matches!(owner.answer_to(7), Answer::Started(_)));
    drop(writer);
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    assert_eq!(output, "102400 102400\n");
}

/// A listener kept in PID 1 is passed as descriptor 3 with LISTEN_PID right, listens again after a
/// tenant shut it down, and can be taken back.
pub fn kept_listener_listens_again() {
    let guest = Guest::start();
    let (mut owner, _) = guest.attached();
    let chosen = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = chosen.local_addr().unwrap();
    drop(chosen);
    let listener = std::net::TcpListener::bind(address).unwrap();
    let name = "listen/web/http";
    let keep = Request::KeepFd(KeepFd { name });
    assert_eq!(owner.ask_with(&keep, &[listener.as_fd()]), Answer::Done);
    sys::rendezvous::shut_down(listener.as_fd()).unwrap();
    std::net::TcpStream::connect(address).expect_err("shut down");
    let cgroup = guest.make_cgroup("web.0");
    let script = b"/bin/sh\0-c\0echo $LISTEN_PID $$; readlink /proc/$$/fd/3\0";
    let environment = b"LISTEN_PID=0000000000\0PATH=/bin:/usr/bin\0";
    let names = format!("{name}\0");
    let mut web = spawn("web", &cgroup, script);
    web.environment = Strings::new(environment, "environment").unwrap();
    web.pid_slot = Some(11);
    web.passed = Strings::new(names.as_bytes(), "passed").unwrap();
    web.stdio[1] = Stdio::Attached;
    let (mut reader, writer) = std::io::pipe().unwrap();
    let answer = owner.ask_with(&Request::Spawn(web), &[writer.as_fd()]);
    assert!(matches!(answer, Answer::Started(_)));
    drop(writer);
    let _waits_in_the_queue = std::net::TcpStream::connect(address).expect("listening again");
    assert_eq!(owner.ask(&Request::TakeFd(TakeFd { name, drop_entry: true })), Answer::Done);
    let taken = owner.fds.pop().expect("the answer carries the descriptor");
    assert_eq!(std::net::TcpListener::from(taken).local_addr().unwrap(), address);
    assert_eq!(owner.ask(&Request::TakeFd(TakeFd { name, drop_entry: true })), refused(ENOENT));
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    let words: Vec<&str> = output.split_whitespace().collect();
    assert_eq!(words[0], words[1]);
    assert!(words[2].starts_with("socket:"), "{output}");
}

/// A full table says so and goes on working: keys first, then runs, which are all still there.
pub fn table_full_is_said() {
    let guest = Guest::start();
    let (mut owner, _) = guest.attached();
    for number in 0..KEYS_MAX {
        assert_eq!(owner.set(&format!("key{number}"), b""), Answer::Done);
    }
    assert_eq!(owner.set("one-more", b""), refused(EAGAIN));
    for number in 1..=RUNS_MAX as u64 {
        let mut run = spawn("key0", "", b"/bin/true\0");
        run.incarnation = number;
        owner.start(&run);
    }
    for _ in 0..RUNS_MAX {
        owner.exited("key0");
    }
    let mut run = spawn("key0", "", b"/bin/true\0");
    run.incarnation = RUNS_MAX as u64 + 1;
    assert_eq!(owner.ask(&Request::Spawn(run)), refused(EAGAIN));
    let snapshot = owner.list();
    assert_eq!((snapshot.keys.len(), snapshot.runs.len()), (KEYS_MAX, RUNS_MAX));
    assert_eq!(owner.forget("key0", Some(1)), Answer::Done);
    owner.start(&run);
}

/// What PID 1 set up for itself does not reach its children: mask, dispositions, open files,
/// niceness, umask, OOM score; and of its descriptors none.
pub fn children_inherit_nothing() {
    let guest = Guest::start();
    let (mut owner, _) = guest.attached();
    let cgroup = guest.make_cgroup("plain.0");
    // Without a pipe: a shell that makes one has its ends open for a moment.
    let script = b"/bin/sh\0-c\0ulimit -n; nice; umask; ls /proc/$$/fd; cat /proc/self/status\0";
    let own = own_open_files();
    for (incarnation, vfork_safe) in [(1, true), (2, false)] {
        let mut plain = spawn("plain", &cgroup, script);
        (plain.incarnation, plain.vfork_safe) = (incarnation, vfork_safe);
        plain.stdio[1] = Stdio::Attached;
        let (mut reader, writer) = std::io::pipe().unwrap();
        owner.ask_with(&Request::Spawn(plain), &[writer.as_fd()]);
        drop(writer);
        let mut output = String::new();
        reader.read_to_string(&mut output).unwrap();
        let lines: Vec<&str> = output.lines().map(str::trim).collect();
        assert_eq!(lines[..6], [own.as_str(), "0", "0022", "0", "1", "2"]);
        assert!(lines[6].starts_with("Name:"), "nothing but stdin, stdout and stderr: {output}");
        for name in ["SigIgn", "SigBlk", "SigCgt"] {
            assert!(lines.contains(&format!("{name}:\t0000000000000000").as_str()), "{output}");
        }
        owner.stopped("plain");
    }
}

/// The soft limit of open files that this test, and so PID 1, was started with.
fn own_open_files() -> String {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().into()
}

/// A power request goes to the owner, again after a re-attach; `shutdown` ends every process, and
/// the exit status says which end was asked for.
pub fn power_request_and_end() {
    for (kind, expected) in [(ShutdownKind::PowerOff, 0), (ShutdownKind::Reboot, 100)] {
        let guest = Guest::start();
        let (mut owner, _) = guest.attached();
        let cgroup = guest.make_cgroup("web.0");
        let started = owner.start(&spawn("web", &cgroup, SLEEP));
        guest.signal(15);
        let asked = |heard: &Heard| matches!(heard, Heard::Power(ShutdownKind::PowerOff));
        owner.wait_for(asked);
        owner.kill();
        let (mut next, _) = guest.attached();
        next.wait_for(asked);
        assert_eq!(next.ask(&Request::Shutdown(Shutdown { kind })), Answer::Done);
        let (code, said) = guest.ended();
        assert_eq!(code, expected, "{said}");
        assert!(!std::path::Path::new(&format!("/proc/{}", started.pid)).exists());
    }
}
