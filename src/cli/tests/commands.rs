//! The command line as its user meets it: the real binary, a real socket, a supervisor made of
//! cardboard behind it.
//!
//! Screens are compared whole with `tests/screens/*.txt`, byte by byte, and none may leave 80
//! columns of printable ASCII. `ROLLINIT_UPDATE=1 cargo test -p cli` writes them anew.

#![allow(clippy::unwrap_used)] // A panic is the test's verdict.

#[path = "../../control/tests/fake/mod.rs"]
mod fake;
mod stage;

use control::roles::Peer;
use fake::{Fake, listen, on_one_thread, reader, root};
use stage::{Ended, assert_screen, help, rollinit};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::rc::Rc;

/// A supervisor of cardboard on a thread of its own, which lives as long as the process.
struct Stage {
    directory: tempfile::TempDir,
}

impl Stage {
    fn new(peer: Peer) -> Stage {
        let stage = Stage { directory: tempfile::tempdir().unwrap() };
        let socket = stage.socket();
        let (bound, is_bound) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            on_one_thread(async {
                let fake = Fake { no_apps: true, ..Fake::default() };
                *fake.log_lines.borrow_mut() =
                    vec![b"hello \x1b[2J".to_vec(), b"gr\xc3\xbcn".to_vec(), b"\xff\xfe".to_vec()];
                listen(&socket, peer, Rc::new(fake));
                bound.send(()).unwrap();
                std::future::pending::<()>().await;
            });
        });
        is_bound.recv().unwrap();
        stage
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("supervisor")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = rollinit(arguments);
        command.env("ROLLINIT_SOCKET", self.socket());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments).output().unwrap())
    }
}

#[test]
fn screens() {
    let stage = Stage::new(root());
    for (name, arguments) in [
        ("status", vec!["status"]),
        ("status-web", vec!["status", "web"]),
        ("status-mail", vec!["status", "mail"]),
        ("status-old", vec!["status", "old"]),
        ("status-ntp", vec!["status", "ntp"]),
        ("ps", vec!["ps"]),
        ("analyze", vec!["analyze"]),
        ("start", vec!["start", "web", "ntp"]),
        ("stop", vec!["stop", "web"]),
        ("restart", vec!["restart", "web"]),
        ("reboot", vec!["reboot"]),
    ] {
        let ended = stage.run(&arguments);
        assert_eq!((ended.code, &*ended.error), (0, ""), "{name}");
        assert_screen(name, &ended.out);
    }
}

/// Credentials in each state, with what is wrong; one owner's alone; in JSON as they travel.
#[test]
fn secrets() {
    let stage = Stage::new(root());
    let ended = stage.run(&["secrets"]);
    assert_eq!((ended.code, &*ended.error), (0, ""));
    assert_screen("secrets", &ended.out);
    assert_screen("secrets-web", &stage.run(&["secrets", "web"]).out);
    let json = stage.run(&["secrets", "web", "--json"]).json();
    assert_eq!(json["credentials"][0]["place"], "/shop/database");
    let ended = stage.run(&["secrets", "wbe"]);
    assert_eq!(ended.code, 5, "{ended:?}");
}

/// A reload shows what changes and what is refused, which is an exit code of its own.
#[test]
fn reloads() {
    let stage = Stage::new(root());
    for (name, arguments) in
        [("reload", &["reload"][..]), ("reload-dry-run", &["reload", "--dry-run"])]
    {
        let ended = stage.run(arguments);
        assert_eq!((ended.code, &*ended.error), (1, ""), "{name}");
        assert_screen(name, &ended.out);
    }
    let json = stage.run(&["reload", "--json"]);
    let reload: control::types::Reload = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.code, reload), (1, fake::reload(false)));
}

/// What goes wrong names the object and the cure, and has its own exit code.
#[test]
fn errors_and_exit_codes() {
    let stage = Stage::new(root());
    for (name, code, arguments) in [
        ("error-failed", 1, vec!["start", "mail"]),
        ("error-no-such-service", 5, vec!["stop", "wen"]),
        ("error-nothing-like-it", 5, vec!["status", "postgres"]),
        ("error-logs", 5, vec!["logs", "wen"]),
    ] {
        let ended = stage.run(&arguments);
        assert_eq!((ended.code, &*ended.out), (code, ""), "{name}: {ended:?}");
        assert_screen(name, &ended.error);
    }
    let ended = Stage::new(reader()).run(&["stop", "web"]);
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.error.contains("needs the role operate, yours is read"), "{ended:?}");
    assert!(ended.error.contains("group rollinit"), "{ended:?}");

    let nobody = Stage::new(Peer { groups: Vec::new(), ..reader() });
    for arguments in [vec!["status"], vec!["logs"], vec!["events"], vec!["poweroff"]] {
        assert_eq!(nobody.run(&arguments).code, 4, "{arguments:?}");
    }
    assert_eq!(stage.run(&["start"]).code, 2);
    assert_eq!(stage.run(&["wat"]).code, 2);
}

/// One bad name of several does not keep the others from being done; its code is the exit code.
#[test]
fn several_names() {
    let stage = Stage::new(root());
    let ended = stage.run(&["stop", "web", "wen", "ntp"]);
    assert_eq!(ended.code, 5);
    assert_eq!(ended.out, "web: stopped\nntp: stopped\n");
    let json = stage.run(&["stop", "web", "wen", "--json"]);
    assert_eq!((json.code, &*json.error), (5, ""));
    assert_eq!(json.json()["results"][0]["state"], "stopped");
    assert_eq!(json.json()["results"][1]["error"], "no_such_service");
}

/// Nobody listens: which socket, why, and what to look at.
#[test]
fn unreachable() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("supervisor");
    let socket = missing.to_str().unwrap();
    let ended = Ended::of(rollinit(&["status", "--socket", socket]).output().unwrap());
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.error.contains(socket) && ended.error.contains("No such file"), "{ended:?}");
    assert!(ended.error.contains("Does rollinit run on this host?"), "{ended:?}");

    drop(std::os::unix::net::UnixListener::bind(&missing).unwrap());
    let mut command = rollinit(&["--json", "status", "--socket", socket]);
    let ended = Ended::of(command.output().unwrap());
    assert_eq!((ended.code, &*ended.error), (3, ""), "{ended:?}");
    assert_eq!(ended.json()["error"], "unreachable");
}

/// A supervisor that dies while it is asked is asked again; an order is not given twice.
///
/// The one here takes a connection, closes it, and only then serves, as one that is killed and
/// replaced while PID 1 keeps its socket.
#[test]
fn supervisor_dies_meanwhile() {
    for (arguments, code) in [(vec!["status"], 0), (vec!["ps"], 0), (vec!["stop", "web"], 3)] {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("supervisor");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let fake = std::thread::spawn(move || {
            drop(listener.accept().unwrap());
            on_one_thread(async {
                let identify = Rc::new(|_: &std::os::unix::net::UnixStream| Ok(root()));
                let backend = Rc::new(Fake::default());
                control::server::run(listener, fake::POLICY, identify, backend).await
            })
        });
        let mut command = rollinit(&arguments);
        let ended = Ended::of(command.env("ROLLINIT_SOCKET", &socket).output().unwrap());
        assert_eq!(ended.code, code, "{arguments:?}: {ended:?}");
        assert!(!fake.is_finished());
    }
}

/// The JSON of `status` holds nothing that changes by itself but the supervisor's uptime.
#[test]
fn status_json_is_stable() {
    let stage = Stage::new(root());
    let ended = stage.run(&["status", "--json"]);
    assert_eq!(ended.out.lines().count(), 1);
    let json = ended.json();
    assert!(json.get("now_ns").is_none(), "{json}");
    let supervisor = serde_json::json!({"pid": 77, "uptime_ns": 61_000_000_000_u64});
    assert_eq!(json["host"]["supervisor"], supervisor);
    assert_eq!(json["services"].as_array().unwrap().len(), fake::services().len());
    assert_eq!(json["services"][9]["status_text"], "12 r\u{e9}quests/s, \u{1b}[31mqueue\n 0");
    assert_eq!(stage.run(&["status", "web", "--json"]).json()["services"][0]["pid"], 1234);
    let analysis = stage.run(&["analyze", "--json"]).json();
    assert_eq!(analysis["chain"], serde_json::json!(["web", "network", "etc"]));
    assert_eq!(analysis["services"][0]["ready_ns"], 1_260_000_000);
    assert_eq!(stage.run(&["ps", "--json"]).json()["services"][1]["memory_bytes"], 134_217_728);
    assert_eq!(stage.run(&["halt", "--json"]).json()["shutdown"], "halt");
}

/// Through a pipe logs are exact bytes; the times are those of a clock, so only their shape is
/// compared.
#[test]
fn logs() {
    let stage = Stage::new(root());
    let output = stage.command(&["logs", "web"]).output().unwrap();
    let lines: Vec<&[u8]> = output.stdout.split(|byte| *byte == b'\n').collect();
    assert!(lines[0].starts_with(b"-- 20") && lines[0].ends_with(b" UTC"), "{lines:?}");
    let texts: Vec<&[u8]> = lines[1..4].iter().map(|line| &line["03:04:05.678".len()..]).collect();
    assert_eq!(texts[0], b" web: hello \x1b[2J");
    assert_eq!(texts[1], b" web: gr\xc3\xbcn");
    assert_eq!(texts[2], b" web: \xff\xfe");

    let ended = stage.run(&["logs", "-n", "1", "--json"]);
    let record = ended.json();
    assert_eq!((&record["service"], &record["base64"]), (&"web".into(), &"//4=".into()));
    assert!(record["time"].as_str().unwrap().ends_with('Z'), "{record}");
}

/// Events come without `-f` once, and with it until the feed ends.
#[test]
fn events() {
    let stage = Stage::new(root());
    let once = stage.run(&["events"]);
    assert_eq!((once.code, once.out.lines().count()), (0, 2), "{once:?}");
    assert!(once.out.ends_with(" web#3 is ready\n"), "{once:?}");
    let followed = stage.run(&["events", "-f", "--json"]);
    assert_eq!((followed.code, followed.out.lines().count()), (0, 3), "{followed:?}");
}

/// A reader that has seen enough ends the command quietly: no panic, no message.
#[test]
fn broken_pipe() {
    let stage = Stage::new(root());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = stage.command(&["status"]);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let ended = Ended::of(child.wait_with_output().unwrap());
    assert_eq!((ended.code, &*ended.error), (0, ""), "{ended:?}");
}

/// Each `--help` fits the screen and reads as checked in.
#[test]
fn help_texts() {
    assert_screen("help", &help(&["--help"]));
    for name in [
        "status",
        "ps",
        "analyze",
        "secrets",
        "start",
        "stop",
        "restart",
        "reload",
        "user-data",
        "logs",
        "events",
        "check",
        "vm",
        "poweroff",
        "reboot",
        "halt",
    ] {
        assert_screen(&format!("help-{name}"), &help(&[name, "--help"]));
    }
}

/// A host's user-data: what a host would do, or all that is wrong, from a file and from standard
/// input; a secret is refused and not repeated.
#[test]
fn user_data() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("user-data.toml");
    let check = |text: &str, words: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let mut command = rollinit(&["user-data", "check"]);
        Ended::of(command.arg(&file).args(words).output().unwrap())
    };
    let path = "/nix/store/0c5mkq5pxkq1c8h2b4bm3c0qk2gsl5bg-storefront";
    let sound = format!("rollinit = 1\nlifetime = '8h'\n[apps.web]\npath = '{path}'\n");
    let ended = check(&sound, &[]);
    let would = format!("run web as the image defines it: {path}\n");
    assert_eq!((ended.code, &*ended.error), (0, ""));
    assert!(
        ended.out.starts_with(&would) && ended.out.contains("power itself off 8h"),
        "{ended:?}"
    );
    let json: serde_json::Value = serde_json::from_str(&check(&sound, &["--json"]).out).unwrap();
    assert_eq!(
        (json["sound"].as_bool(), json["would"][0].as_str()),
        (Some(true), Some(would.trim()))
    );

    let ended = check("rollinit = 1\ngrup = 'x'\nlifetime = 5\n", &[]);
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!((ended.code, lines.len()), (1, 2), "{ended:?}");
    assert!(
        lines[0].contains(":2:1: unknown key") && lines[0].contains("write group"),
        "{lines:?}"
    );
    let key = format!("AKIA{}", "Q".repeat(16));
    let ended = check(&format!("rollinit = 1 # {key}\n"), &[]);
    assert!(ended.code == 1 && ended.out.contains("SSM") && !ended.out.contains(&key), "{ended:?}");

    let mut command = rollinit(&["user-data", "check", "-"]);
    let ended = Ended::of(command.stdin(std::process::Stdio::null()).output().unwrap());
    assert_eq!((ended.code, ended.out.contains("stdin: it is empty")), (1, true), "{ended:?}");
    let missing = directory.path().join("none");
    let mut command = rollinit(&["user-data", "check"]);
    let ended = Ended::of(command.arg(missing).output().unwrap());
    assert!(ended.code == 1 && ended.error.contains("none"), "{ended:?}");
}
