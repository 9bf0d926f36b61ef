//! The real supervisor under a PID 1 that starts nothing: what it asks for, and what it knows
//! after it was killed. Every wait is for a request of the supervisor or an answer of its control
//! socket.

mod fake;

use control::client::Client;
use control::types::{ServiceState, Status};
use fake::{Fake, Seen, notify_socket};
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

const SIMPLE: &str = "[service]\nexec = [\"/bin/true\"]\n";

fn notifying(after: &str) -> String {
    format!("{SIMPLE}kind = \"notify\"\nafter = [{after}]\n")
}

/// Runs a test on the one thread that its fake lives on, killed after a time that only a hang
/// reaches.
fn on_local(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let limit = std::time::Duration::from_secs(60);
    let local = tokio::task::LocalSet::new();
    let limited = async { tokio::time::timeout(limit, test).await.expect("the test hangs") };
    local.block_on(&runtime.expect("runtime"), limited);
}

fn say(socket: &Path, words: &str) {
    let sender = UnixDatagram::unbound().expect("socket");
    sender.send_to(words.as_bytes(), socket).expect("notify");
}

async fn status(fake: &Fake) -> Status {
    let mut client = Client::connect(&fake.control()).await.expect("connect");
    client.status(None).await.expect("status")
}

/// What must be the same before and after a death: all but the supervisor and the moment.
fn lasting(mut status: Status) -> Status {
    status.now_ns = 0;
    status.host.supervisor = control::types::Supervisor { pid: 0, uptime_ns: 0 };
    status
}

/// Waits until an event of the supervisor fits.
async fn event(fake: &Fake, fits: impl Fn(&control::types::Event) -> bool) {
    let mut client = Client::connect(&fake.control()).await.expect("connect");
    let mut replies = client.events(true).await.expect("events");
    while let Some(batch) = replies.next().await.expect("events") {
        if batch.events.iter().any(&fits) {
            return;
        }
    }
    panic!("the events end");
}

fn state_of(status: &Status, name: &str) -> ServiceState {
    status.services.iter().find(|service| service.name == name).expect("service").state
}

/// Three services come up in their order, the last one with its socket bound and kept; after
/// kill -9, with one definition changed on the disk, nothing is spawned again and `status` is what
/// it was. Spawns are seen by the fake, so a second one could not hide.
#[test]
fn three_services_boot_and_outlive_their_supervisor() {
    on_local(async {
        let path = "listen.socket";
        let mut fake = Fake::new(&[("a", SIMPLE), ("b", &notifying("\"a\""))]);
        let socket = fake.directory.path().join(path);
        let third = format!(
            "{SIMPLE}requires = [\"b\"]\nafter = [\"b\"]\n\
             [[service.listen]]\nname = \"http\"\nunix = \"{}\"\n",
            socket.display()
        );
        let services = fake.directory.path().join("services");
        std::fs::write(services.join("c.toml"), third).expect("third");
        fake.start();
        assert_eq!(fake.spawned("a").await.0, 1);
        let (_, _, environment) = fake.spawned("b").await;
        // `c` must not start before `b` is ready, so its spawn comes only behind these words.
        let words = "STATUS=warm\nREADY=1";
        say(notify_socket(&environment), words);
        let (_, passed, environment) = fake.spawned("c").await;
        assert_eq!(passed, ["listen/c/http"]);
        assert!(environment.contains(&"LISTEN_FDNAMES=http".to_owned()));
        std::os::unix::net::UnixStream::connect(&socket).expect("it listens");
        event(&fake, |event| event.what == "ready" && event.service.as_deref() == Some("c")).await;
        let before = status(&fake).await;
        assert!(before.services.iter().all(|service| service.state == ServiceState::Running));

        fake.kill();
        std::fs::write(services.join("a.toml"), "nonsense").expect("change");
        fake.start();
        fake.until(|seen| (*seen == Seen::Attach).then_some(())).await;
        let after = status(&fake).await;
        assert_ne!(before.host.supervisor.pid, after.host.supervisor.pid);
        assert_eq!(lasting(before), lasting(after));
        while let Ok(seen) = fake.seen.try_recv() {
            assert!(!matches!(seen, Seen::Spawn { .. } | Seen::Stop { .. }), "{seen:?}");
        }
    });
}

/// What a run said before it ended is heard before its end is judged: READY= decides between
/// "ended while starting" and "ended after it was ready", which the events show in their order.
/// Once with the supervisor there, once with the words and the end falling between two of them.
#[test]
fn last_words_are_heard_before_the_end() {
    on_local(async {
        let text = format!("{}[service.restart]\npolicy = \"no\"\n", notifying(""));
        for dead_meanwhile in [false, true] {
            let mut fake = Fake::new(&[("b", &text)]);
            fake.start();
            let (incarnation, _, environment) = fake.spawned("b").await;
            let started = |event: &control::types::Event| event.what == "started";
            event(&fake, started).await;
            if dead_meanwhile {
                fake.kill();
            }
            say(notify_socket(&environment), "READY=1\nSTATUS=last words");
            fake.exit("b", incarnation, 3 << 8);
            if dead_meanwhile {
                fake.start();
            }
            event(&fake, |event| event.what == "exited").await;
            let mut client = Client::connect(&fake.control()).await.expect("connect");
            let mut replies = client.events(false).await.expect("events");
            let mut words = Vec::new();
            while let Some(batch) = replies.next().await.expect("events") {
                words.extend(batch.events.into_iter().map(|event| event.what));
            }
            let place = |word: &str| words.iter().position(|found| found == word);
            assert!(place("ready") < place("exited") && place("ready").is_some(), "{words:?}");
            let status = status(&fake).await;
            assert_eq!(state_of(&status, "b"), ServiceState::Failed);
            let end = status.services[0].last_end.clone().expect("end");
            assert_eq!((end.incarnation, end.exit_code), (incarnation, Some(3)));
        }
    });
}

/// What a service prints while no supervisor reads, and its last line without a newline, are in
/// its log; a restart begins a line of its own. The notify socket of the ended run is gone.
#[test]
fn output_outlives_the_supervisor() {
    on_local(async {
        let text = format!("{}[service.restart]\nbackoff-min = \"1ms\"\n", notifying(""));
        let mut fake = Fake::new(&[("b", &text)]);
        fake.start();
        let (incarnation, _, environment) = fake.spawned("b").await;
        let write = fake.state.borrow().kept["log/b/write"].try_clone().expect("clone");
        let mut printed = std::fs::File::from(write);
        printed.write_all(b"with supervisor\n").expect("print");
        fake.kill();
        printed.write_all(b"alone\nfatal: \xff no newline").expect("print");
        fake.exit("b", incarnation, 1 << 8);
        fake.start();
        let (second, _, _) = fake.spawned("b").await;
        printed.write_all(b"again\n").expect("print");
        let mut client = Client::connect(&fake.control()).await.expect("connect");
        let mut replies = client.logs(Some("b"), 10, false).await.expect("logs");
        let mut lines = Vec::new();
        while let Some(batch) = replies.next().await.expect("logs") {
            assert_eq!(batch.lost, 0);
            for record in batch.records {
                lines.push((record.incarnation, record.bytes().expect("bytes").into_owned()));
            }
        }
        assert_eq!(
            lines,
            [
                (incarnation, b"with supervisor".to_vec()),
                (incarnation, b"alone".to_vec()),
                (incarnation, b"fatal: \xff no newline".to_vec()),
                (second, b"again".to_vec()),
            ]
        );
        assert!(!notify_socket(&environment).exists());
        let kept = format!("notify/b/{incarnation}");
        assert!(!fake.state.borrow().kept.contains_key(&kept));
    });
}

/// A taken address, an unknown user and a broken file are each service's own problem, said with
/// the cure in `status`; the sound one comes up.
#[test]
fn one_bad_service_does_not_keep_others_down() {
    on_local(async {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = taken.local_addr().expect("address");
        let no = "[service.restart]\npolicy = \"no\"\n";
        let busy =
            format!("{SIMPLE}{no}[[service.listen]]\nname = \"http\"\ntcp = \"{address}\"\n");
        let nobody = format!("{SIMPLE}user = \"no-such-user\"\n{no}");
        let mut fake = Fake::new(&[
            ("busy", &busy),
            ("nobody", &nobody),
            ("broken", "[service]\nexecute = 1\n"),
            ("sound", SIMPLE),
        ]);
        fake.start();
        fake.spawned("sound").await;
        event(&fake, |event| event.what == "ready").await;
        let status = status(&fake).await;
        assert_eq!(state_of(&status, "sound"), ServiceState::Running);
        assert_eq!(state_of(&status, "broken"), ServiceState::Broken);
        for (name, word) in [("busy", "another program has it"), ("nobody", "/etc/passwd")] {
            let found = status.services.iter().find(|service| service.name == name);
            let service = found.expect("service");
            assert_eq!(service.state, ServiceState::Failed, "{name}");
            let text = service.last_end.as_ref().map_or("", |end| end.text.as_str());
            assert!(text.contains(word), "{name}: {text:?}");
        }
        let named =
            status.problems.iter().any(|problem| problem.about.ends_with("broken.toml:2:1"));
        assert!(named, "{:?}", status.problems);
    });
}
