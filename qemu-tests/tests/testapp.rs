//! Does the test app behave as its own help says? What the process and QEMU tests claim rests on it.

use qemu_tests::load::request::Kind;
use qemu_tests::load::{self, Plan};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_rollinit-testapp");

/// A bound against a hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// A web app on a socket of ours, passed as descriptor 3 by the shell, which execs into it so that
/// `LISTEN_PID` is true.
fn web(listener: &TcpListener) -> Child {
    let socket: OwnedFd = listener.try_clone().expect("duplicate").into();
    let line = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" web 3<&0 0</dev/null";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", line, PROGRAM]).stdin(Stdio::from(socket));
    command.spawn().expect("a web app")
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

fn terminate(child: &Child) {
    sys::cgroup::signal_process(child.id(), 15).expect("it is not reaped yet");
}

/// All kinds of requests, on one server: none fails, and the server's count is the same as ours.
#[test]
fn web_counts_what_it_answers() {
    let (listener, address) = listener();
    let mut child = web(&listener);
    let plan = Plan { count: 200, ..Plan::new(address, "count", 200, 1) };
    let report = load::start(plan).expect("threads").finish();
    assert_eq!((report.sent, report.failed), (200, 0), "{report}");
    let ledger = load::ledger(address, "count").expect("a ledger");
    assert_eq!((ledger.seen, ledger.repeated), (200, 0));
    assert_eq!(load::ledger(address, "coun").expect("a ledger").seen, 0, "names are whole");
    terminate(&child);
    assert_eq!(child.wait().expect("it ended").code(), Some(0));
}

/// SIGTERM under load, and a new tenant of the same socket: the first ends with 0 by itself, no
/// request of any kind fails, and both answered some.
#[test]
fn web_drains_without_losing_a_request() {
    let (listener, address) = listener();
    let mut first = web(&listener);
    let running = load::start(Plan::new(address, "drain", 200, 3)).expect("threads");
    assert!(running.answered(100, PATIENCE), "it answers");
    terminate(&first);
    let code = first.wait().expect("it ended").code();
    let mut second = web(&listener);
    assert!(running.answered(100, PATIENCE), "the second answers");
    let report = running.stop();
    terminate(&second);
    second.wait().expect("it ended");
    assert_eq!(code, Some(0));
    assert_eq!(report.failed, 0, "{report}");
    assert_eq!(report.instances.len(), 2, "both answered: {report}");
}

/// A connection that was accepted and has not sent its request when the drain begins is served
/// still; what comes after the listener was given up waits in its queue, unanswered.
#[test]
fn web_serves_the_accepted_and_no_more() {
    let (listener, address) = listener();
    let child = web(&listener);
    let mut early = TcpStream::connect(address).expect("connect");
    early.write_all(b"GET /up HTTP/1.1\r\n").expect("half a request");
    // An answer on a later connection: the earlier one was accepted before it.
    load::ledger(address, "any").expect("an answer");
    terminate(&child);
    early.write_all(b"\r\n").expect("the other half");
    let mut answer = String::new();
    early.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok"), "{answer}");
    // The reading ended, so the connection was closed. Whether the answer announced it depends on
    // which of signal and request the server saw first.
    let mut child = child;
    assert_eq!(child.wait().expect("it ended").code(), Some(0));
    let late = Plan { count: 1, mix: vec![Kind::GetNew], ..Plan::new(address, "late", 1, 1) };
    let report = load::start(late).expect("threads").finish();
    assert_eq!(report.failures.get("not in time"), Some(&1), "queued, not refused: {report}");
}

/// `LISTEN_PID` of another process is no permission to take descriptor 3.
#[test]
fn web_refuses_sockets_of_others() {
    let mut command = Command::new(PROGRAM);
    command.arg("web").env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let output = command.output().expect("run");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("LISTEN_PID"), "{output:?}");
}

/// The words of sd_notify(3), in order, from the process that we started; with `--never` all but
/// `READY=1`.
#[test]
fn notify_says_what_it_is_told_to() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("bind");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let hear = || {
        let mut bytes = [0; 100];
        let count = socket.recv(&mut bytes).expect("a datagram");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let run = |words: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.arg("notify").args(words).env("NOTIFY_SOCKET", &path);
        command.spawn().expect("run")
    };
    let mut child = run(&["--status", "warm", "--delay-ms", "10", "--main-pid"]);
    assert_eq!(hear(), "STATUS=warm");
    let main = hear();
    let main: u32 = main.strip_prefix("MAINPID=").and_then(|pid| pid.parse().ok()).expect(&main);
    assert_ne!(main, child.id());
    assert_eq!(hear(), "READY=1");
    terminate(&child);
    assert_eq!(hear(), "STOPPING=1");
    assert!(child.wait().expect("it ended").success());

    let mut never = run(&["--status", "cold", "--never"]);
    assert_eq!(hear(), "STATUS=cold");
    terminate(&never);
    assert_eq!(hear(), "STOPPING=1", "READY=1 was not said");
    assert!(never.wait().expect("it ended").success());
}

/// Ends: the code that was asked for, at once or after a while.
#[test]
fn ends_as_told() {
    let code = |words: &[&str]| {
        Command::new(PROGRAM).args(words).stderr(Stdio::null()).status().expect("run").code()
    };
    assert_eq!(code(&["exit", "7"]), Some(7));
    assert_eq!(code(&["crash", "--code", "9", "--after-ms", "5"]), Some(9));
    assert_eq!(code(&["orphans", "1200"]), Some(0));
    assert_eq!(code(&["exit"]), Some(1));
    assert_eq!(code(&["crash", "--cod", "9"]), Some(1));
    assert_eq!(code(&["dance"]), Some(2));
}

/// One request on a connection of its own; status line and body.
fn get(address: SocketAddr, path: &str, id: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("connect");
    let head = format!("GET {path} HTTP/1.1\r\nX-Request-Id: {id}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("room");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

/// A release as the tests of swaps have them: `bin/serve` is a link, its words are beside it. It
/// says its version, writes down who asked, and is sick at `/up` alone.
#[test]
fn a_release_takes_its_words_from_beside_it() {
    let folder = tempfile::tempdir().expect("folder");
    let release = folder.path().join("release");
    let served = folder.path().join("served");
    for name in ["bin", "arguments"] {
        std::fs::create_dir_all(release.join(name)).expect("folder");
    }
    std::os::unix::fs::symlink(PROGRAM, release.join("bin/serve")).expect("link");
    let words = format!("web\n--version\nv3\n--up-status\n503\n--served\n{}\n", served.display());
    std::fs::write(release.join("arguments/serve"), words).expect("write");
    let (listener, address) = listener();
    let socket: OwnedFd = listener.try_clone().expect("duplicate").into();
    let line = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" 3<&0 0</dev/null";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", line]).arg(release.join("bin/serve")).stdin(Stdio::from(socket));
    let mut child = command.spawn().expect("a web app");
    let (status, body) = get(address, "/up", "");
    assert!(status.contains(" 503 ") && body.contains("orders"), "{status}: {body}");
    let (status, body) = get(address, "/", "user-1");
    assert!(status.contains(" 200 ") && body.ends_with(" version=v3\n"), "{status}: {body}");
    let pid = child.id();
    let lines = std::fs::read_to_string(&served).expect("written down");
    assert_eq!(lines, format!("v3 {pid} /up -\nv3 {pid} / user-1\n"));
    terminate(&child);
    assert!(child.wait().expect("it ended").success());
}

/// Well until its time, then sick for good; users are answered all the same.
#[test]
fn web_falls_sick_when_told() {
    let (listener, address) = listener();
    drop(listener);
    let port = address.port().to_string();
    let run = |words: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(["web", "--port", &port]).args(words);
        command.spawn().expect("run")
    };
    let mut child = run(&["--sick-after-ms", "0"]);
    let give_up = std::time::Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(std::time::Instant::now() < give_up, "it does not listen");
    }
    assert!(get(address, "/up", "").0.contains(" 503 "));
    assert!(get(address, "/", "user").0.contains(" 200 "));
    terminate(&child);
    assert!(child.wait().expect("it ended").success());
}

/// Accepted by nobody: the connection is made by the kernel and stays unanswered.
#[test]
fn web_never_accepts_when_told() {
    let (listener, address) = listener();
    let socket: OwnedFd = listener.try_clone().expect("duplicate").into();
    let line = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" web --never-accept 3<&0 0</dev/null";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", line, PROGRAM]).stdin(Stdio::from(socket));
    let mut child = command.spawn().expect("a web app");
    let plan = Plan { count: 1, mix: vec![Kind::GetNew], ..Plan::new(address, "deaf", 1, 1) };
    let report = load::start(plan).expect("threads").finish();
    assert_eq!(report.failures.get("not in time"), Some(&1), "{report}");
    terminate(&child);
    child.wait().expect("it ended");
}

/// A task says and notes what it is, and ends as told, or as SIGTERM says.
#[test]
fn tasks_are_noted() {
    let folder = tempfile::tempdir().expect("folder");
    let note = folder.path().join("note");
    let run = |words: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(["task", "create orders", "--note"]).arg(&note).args(words);
        command.stdout(Stdio::piped());
        command
    };
    let output = run(&["--code", "3"]).output().expect("run");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(output.stdout, b"create orders\n");
    let mut slow = run(&["--after-ms", "60000"]).spawn().expect("run");
    let mut said = String::new();
    let stdout = slow.stdout.take().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut said).expect("a line");
    terminate(&slow);
    assert_eq!(slow.wait().expect("it ended").code(), Some(143));
    let lines = std::fs::read_to_string(&note).expect("written");
    assert_eq!(lines, "create orders\ncreate orders\n");
}

/// A sync that the kernel refuses "succeeds", so it was never made.
#[test]
fn a_forgetful_program_does_not_sync() {
    let status = |words: &[&str]| {
        let output = Command::new(words[0]).args(&words[1..]).output().expect("it runs");
        output.status.code()
    };
    assert_eq!(status(&["sync", "/dev/null"]), Some(1), "/dev/null cannot be synced");
    assert_eq!(status(&[PROGRAM, "forgetful", "sync", "/dev/null"]), Some(0));
    assert_eq!(status(&[PROGRAM, "forgetful", "false"]), Some(1), "the rest is as ever");
}
