//! Swaps on the command line: the real binary, and an agent made of cardboard whose answer depends
//! on the path that it is given.
//!
//! Screens are compared as in `commands.rs`. What the agent was told is read from the cardboard.

#![allow(clippy::unwrap_used)] // A panic is the test's verdict.

#[path = "../../control/tests/fake/mod.rs"]
mod fake;
mod stage;

use control::agent::Notice;
use control::roles::Peer;
use fake::agent::{FakeAgent, listen_agent};
use fake::apps::{NEW, OLD};
use fake::{Fake, listen, on_one_thread, reader, root};
use stage::{Ended, assert_screen, rollinit};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc;

/// Both servers of cardboard on a thread of their own.
struct Stage {
    directory: tempfile::TempDir,
}

impl Stage {
    fn new(peer: Peer) -> Stage {
        Stage::with(peer, Vec::new())
    }

    fn with(peer: Peer, notices: Vec<Notice>) -> Stage {
        let stage = Stage { directory: tempfile::tempdir().unwrap() };
        let supervisor = stage.directory.path().join("supervisor");
        let agent = stage.directory.path().join("agent");
        let (bound, is_bound) = mpsc::channel();
        std::thread::spawn(move || {
            on_one_thread(async {
                listen(&supervisor, peer.clone(), Rc::new(Fake::default()));
                listen_agent(&agent, peer, Rc::new(FakeAgent { notices, ..FakeAgent::default() }));
                bound.send(()).unwrap();
                std::future::pending::<()>().await;
            });
        });
        is_bound.recv().unwrap();
        stage
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = rollinit(arguments);
        // The agent's socket is found beside it.
        command.env("ROLLINIT_SOCKET", self.directory.path().join("supervisor"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments).output().unwrap())
    }
}

/// Each end has its screen and its exit code.
#[test]
fn ends() {
    let stage = Stage::new(root());
    for (name, code, arguments) in [
        ("swap", 0, vec!["swap", "web", NEW]),
        ("swap-rolled-back", 10, vec!["swap", "web", "/nix/store/9q1cxfb5m-storefront-bad"]),
        ("swap-failed-back", 11, vec!["swap", "web", "/nix/store/9q1cxfb5m-storefront-worse"]),
        ("swap-refused", 12, vec!["swap", "web", "/nix/store/9q1cxfb5m-storefront-big"]),
        ("swap-nothing", 0, vec!["swap", "web", "/nix/store/9q1cxfb5m-storefront-same"]),
        ("swap-superseded", 13, vec!["swap", "web", "/nix/store/9q1cxfb5m-storefront-late"]),
        ("swap-rebooting", 15, vec!["swap", "system", "/nix/store/9q1cxfb5m-system-kernel"]),
        ("swap-dry-run", 0, vec!["swap", "web", NEW, "--dry-run"]),
        ("swap-detached", 0, vec!["swap", "web", NEW, "--detach"]),
        ("rollback", 0, vec!["rollback", "web", "42"]),
        ("rollback", 0, vec!["rollback", "web"]),
        ("swaps-follow", 0, vec!["swaps", "--follow", "7H2K"]),
    ] {
        let ended = stage.run(&arguments);
        assert_eq!((ended.code, &*ended.error), (code, ""), "{name}: {ended:?}");
        assert_screen(name, &ended.out);
    }
}

/// What stands about the host comes first in `status`, with its cure, and whole in JSON.
#[test]
fn notices() {
    let stage = Stage::with(root(), vec![fake::agent::notice()]);
    let status = stage.run(&["status"]).out;
    let lines: Vec<&str> = status.lines().collect();
    let at = lines.iter().position(|line| line.starts_with("user-data: line 3: no key is called"));
    let at = at.unwrap_or_else(|| panic!("{status}"));
    let table = lines.iter().position(|line| line.starts_with("STATE")).unwrap();
    assert!(at < table, "{status}");
    assert!(lines[at..table].contains(&"  cure: write caches = [...]"), "{status}");
    let json = stage.run(&["status", "--json"]).json();
    assert_eq!(json["notices"][0]["level"], "error");
    assert!(Stage::new(root()).run(&["status", "--json"]).json()["notices"].is_null());
}

/// What is wrong with a call is told as everywhere: object, cure, code.
#[test]
fn errors() {
    let stage = Stage::new(root());
    for (name, code, arguments) in [
        ("error-no-such-app", 5, vec!["swap", "wev", NEW]),
        ("error-no-such-path", 5, vec!["swap", "web", "0000..."]),
        ("error-two-paths", 5, vec!["swap", "web", "1b9..."]),
        ("error-no-such-generation", 5, vec!["rollback", "web", "7"]),
        ("error-no-such-swap", 5, vec!["swaps", "-f", "0000"]),
        ("error-logs-swap", 5, vec!["logs", "--swap", "0000"]),
        ("error-confirm", 12, vec!["confirm", "jobs"]),
    ] {
        let ended = stage.run(&arguments);
        assert_eq!((ended.code, &*ended.out), (code, ""), "{name}: {ended:?}");
        assert_screen(name, &ended.error);
    }
    let ended = Stage::new(reader()).run(&["swap", "web", NEW]);
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.error.contains("Swap needs the role operate, yours is read"), "{ended:?}");
    // A deadline without a test, and times that are none, are slips of the command line.
    for wrong in [vec!["--within", "9s"], vec!["--test", "--within", "soon"]] {
        let arguments = [vec!["swap", "web", NEW], wrong].concat();
        assert_eq!(stage.run(&arguments).code, 2);
    }
}

/// No agent: said by name, with what to look at.
#[test]
fn no_agent() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("agent");
    let socket = missing.to_str().unwrap();
    let ended = Ended::of(rollinit(&["swaps", "--agent", socket]).output().unwrap());
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.error.contains("cannot reach the agent at"), "{ended:?}");
    assert!(ended.error.contains("Does this host have apps?"), "{ended:?}");
    drop(std::os::unix::net::UnixListener::bind(&missing).unwrap());
    let mut command = rollinit(&["swaps"]);
    let ended = Ended::of(command.env("ROLLINIT_AGENT", socket).output().unwrap());
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.error.contains("rollinit status rollinit-agent"), "{ended:?}");
}

/// Lists, whole; times of generations go on, so their column is not compared.
#[test]
fn lists() {
    let stage = Stage::new(root());
    let ended = stage.run(&["swaps"]);
    assert_eq!((ended.code, &*ended.error), (0, ""), "{ended:?}");
    assert_screen("swaps", &ended.out);
    let ended = stage.run(&["generations", "web"]);
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(lines.len(), 5, "{ended:?}");
    for (line, mark, rest) in
        [(1, "prev   40 ", "8.9"), (2, "       41 ", "9.0"), (4, "now    42 ", OLD)]
    {
        assert!(lines[line].starts_with(mark) && lines[line].ends_with(rest), "{ended:?}");
    }
    assert_eq!(lines[3].trim(), "failed: watch: it kept exiting");
    assert!(lines.iter().all(|line| line.len() <= 80), "{ended:?}");
    assert_eq!(stage.run(&["generations", "jobs"]).out, "jobs: no generation yet\n");
    assert_eq!(stage.run(&["confirm", "web"]).out, "web: confirmed, it stays\n");
}

/// One JSON object a line, whatever happens.
#[test]
fn json() {
    let stage = Stage::new(root());
    let ended = stage.run(&["swap", "web", "/nix/store/x-storefront-bad", "--json"]);
    assert_eq!((ended.code, &*ended.error), (10, ""), "{ended:?}");
    let lines: Vec<serde_json::Value> =
        ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["step"], "plan");
    let outcome = &lines.last().unwrap()["outcome"];
    assert_eq!((&outcome["kind"], &outcome["failed_at"]), (&"rolled_back".into(), &"gate".into()));
    assert_eq!(stage.run(&["swaps", "--json"]).json()["swaps"][0]["swap"], "7H2K");
    assert_eq!(stage.run(&["generations", "web", "--json"]).json()["generations"][2]["path"], OLD);
    assert_eq!(stage.run(&["confirm", "web", "--json"]).json()["confirmed"], "web");
    let detached = stage.run(&["swap", "web", NEW, "--detach", "--json"]);
    assert!(detached.out.ends_with("{\"detached\":\"7H2K\"}\n"), "{detached:?}");
    let error = stage.run(&["swap", "wev", NEW, "--json"]);
    assert_eq!((error.code, error.json()["error"].as_str()), (5, Some("no_such_app")));
    assert_eq!(stage.run(&["status", "--json"]).json()["apps"][1]["swap"]["id"], "7H2K");
}

/// As much of a path as tells it from the others is enough: of its hash, with dots or without, or
/// its name. The path that is then asked for is the whole one: the cardboard knows its end.
#[test]
fn short_paths() {
    let stage = Stage::new(root());
    for short in ["9q1c...", "9q1cxf", "storefront-1.9.3"] {
        let ended = stage.run(&["swap", "web", short]);
        assert_eq!(ended.code, 0, "{short}: {ended:?}");
        assert!(ended.out.contains("web is on gen 43"), "{short}: {ended:?}");
    }
}

/// Ctrl-C stops the watching and says how to go on; the swap is not told.
#[test]
fn interrupt_detaches() {
    let stage = Stage::new(root());
    let mut command = stage.command(&["swap", "web", "/nix/store/x-storefront-slow"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Once the gate is shown the swap has begun, and it stays there.
    let said = read_until(&mut child, "gate");
    let pid = child.id().to_string();
    // The shell's own kill: not every machine has the program.
    let interrupt = format!("kill -INT {pid}");
    assert!(Command::new("/bin/sh").args(["-c", &interrupt]).status().unwrap().success());
    let ended = Ended::of(child.wait_with_output().unwrap());
    assert_eq!(ended.code, 14, "{said} {ended:?}");
    assert_eq!(
        ended.out,
        "\nrollinit: detached, swap 7H2K goes on.  Watch it: rollinit swaps -f 7H2K\n"
    );
}

/// Lines of a child up to the first with `word`. The rest stays in the pipe: lines come one by one
/// and nothing follows this one by itself.
fn read_until(child: &mut Child, word: &str) -> String {
    let mut lines = BufReader::with_capacity(1, child.stdout.as_mut().unwrap()).lines();
    let mut said = String::new();
    loop {
        let line = lines.next().unwrap_or_else(|| panic!("{word} was never said: {said}")).unwrap();
        said.push_str(&line);
        if line.contains(word) {
            return said;
        }
    }
}

/// An agent that is killed in the middle is replaced behind the same socket: the same swap is
/// watched to its end there, nothing is told twice, and nothing is swapped twice.
#[test]
fn agent_dies_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("agent");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || dying_agents(&listener));
    let path = "/nix/store/x-storefront-1.9.3";
    let mut command = rollinit(&["swap", "web", path, "--agent", socket.to_str().unwrap()]);
    let ended = Ended::of(command.output().unwrap());
    assert_eq!((ended.code, &*ended.error), (0, ""), "{ended:?}");
    assert_eq!(ended.out.matches("plan     ok").count(), 1, "{ended:?}");
    assert!(ended.out.contains("web is on gen 43"), "{ended:?}");
}

/// The first agent dies before it says anything, the second tells of the plan and dies, the next
/// dies at once; the last knows it all.
fn dying_agents(listener: &std::os::unix::net::UnixListener) {
    use std::io::{Read, Write};
    let plan = serde_json::to_value(&fake::agent::script(NEW)[0]).unwrap();
    let reply = serde_json::json!({"parameters": {"progress": plan}, "continues": true});
    let call = |stream: &mut std::os::unix::net::UnixStream| {
        let mut call = Vec::new();
        let mut one = [1];
        while one != [0] && stream.read(&mut one).unwrap() == 1 {
            call.extend(one);
        }
        String::from_utf8(call).unwrap()
    };
    let (mut speechless, _) = listener.accept().unwrap();
    assert!(call(&mut speechless).contains("Agent.Swap"));
    drop(speechless);
    let (mut first, _) = listener.accept().unwrap();
    assert!(call(&mut first).contains("Agent.Swap"));
    first.write_all(format!("{reply}\0").as_bytes()).unwrap();
    drop(first);
    let (mut second, _) = listener.accept().unwrap();
    assert!(call(&mut second).contains("Agent.Follow"));
    drop(second);
    let listener = listener.try_clone().unwrap();
    on_one_thread(async {
        let identify = Rc::new(|_: &std::os::unix::net::UnixStream| Ok(root()));
        let agent = Rc::new(FakeAgent::default());
        control::agent::server::run(listener, fake::POLICY, identify, agent).await.unwrap();
    });
}

/// Lines of an app during its swap: those of the time of the swap, and no others.
#[test]
fn logs_of_a_swap() {
    let directory = tempfile::tempdir().unwrap();
    let now_ms = {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::try_from(now.as_millis()).unwrap()
    };
    // The cardboard supervisor's lines are five seconds old.
    for (began, ended, lines) in [(9000, Some(1000), 2), (9000, Some(7000), 0), (3000, None, 0)] {
        let stage = directory.path().join(format!("{began}-{ended:?}"));
        std::fs::create_dir(&stage).unwrap();
        serve_swap_at(&stage, now_ms - began, ended.map(|ended| now_ms - ended));
        let mut command = rollinit(&["logs", "--swap", "7H2K", "--json"]);
        command.env("ROLLINIT_SOCKET", stage.join("supervisor"));
        let ended = Ended::of(command.output().unwrap());
        assert_eq!((ended.code, ended.out.lines().count()), (0, lines), "{ended:?}");
    }
}

fn serve_swap_at(stage: &Path, started_ms: u64, ended_ms: Option<u64>) {
    let (supervisor, agent) = (stage.join("supervisor"), stage.join("agent"));
    let (bound, is_bound) = mpsc::channel();
    std::thread::spawn(move || {
        on_one_thread(async {
            let fake = Fake::default();
            *fake.log_lines.borrow_mut() = vec![b"one".to_vec(), b"two".to_vec()];
            listen(&supervisor, root(), Rc::new(fake));
            let times = Some((started_ms, ended_ms));
            let fake = FakeAgent { times, ..FakeAgent::default() };
            listen_agent(&agent, root(), Rc::new(fake));
            bound.send(()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    is_bound.recv().unwrap();
}

/// The apps on the status screens, with what the agent knows and without.
#[test]
fn status() {
    let stage = Stage::new(root());
    for (name, arguments) in
        [("status-apps", vec!["status"]), ("status-app", vec!["status", "web"])]
    {
        let ended = stage.run(&arguments);
        assert_eq!((ended.code, &*ended.error), (0, ""), "{name}: {ended:?}");
        assert_screen(name, &ended.out);
    }
    let mut command = stage.command(&["status", "--agent", "/nonexistent/agent"]);
    let ended = Ended::of(command.output().unwrap());
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_screen("status-no-agent", &ended.out);

    // An agent that is being replaced: its socket is there, and nobody reads from it.
    let silent = stage.directory.path().join("silent");
    let _listener = std::os::unix::net::UnixListener::bind(&silent).unwrap();
    let mut command = stage.command(&["status", "--agent", silent.to_str().unwrap()]);
    let ended = Ended::of(command.output().unwrap());
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains("the agent does not answer within 1s"), "{ended:?}");
}

/// Each `--help` fits the screen and reads as checked in.
#[test]
fn help() {
    for name in ["swap", "rollback", "confirm", "generations", "swaps"] {
        assert_screen(&format!("help-{name}"), &stage::help(&[name, "--help"]));
    }
}
