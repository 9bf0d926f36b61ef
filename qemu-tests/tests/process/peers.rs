//! Hosts of a group that fetch from each other, and what they tell those who are elsewhere.

use anyhow::{Context, Result, ensure};
use qemu_tests::apphost::{APP, Release};
use qemu_tests::fleet::Fleet;
use qemu_tests::free_port::free_port;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// Short, so that a test takes seconds; the way is the same.
const QUICK: &str = "[app.swap]\ndrain = \"5s\"\nbake = \"200ms\"\nwatch = \"200ms\"\n";

/// Hosts of the group.
const HOSTS: usize = 3;

/// The token that events come with.
const TOKEN: &str = "token-of-the-test";

/// Who is posted events, and has not the time for the first one.
struct Receiver {
    address: SocketAddr,
    events: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("a port")?;
        let (address, events) = (listener.local_addr()?, Arc::<Mutex<Vec<Value>>>::default());
        let taken = Arc::clone(&events);
        std::thread::spawn(move || {
            let mut is_first = true;
            while let Ok((stream, _)) = listener.accept() {
                // A client that keeps its connection is served on it until it goes.
                while let Ok(Some(event)) = take(&stream) {
                    let status = if is_first { "503 Busy" } else { "204 No Content" };
                    is_first = false;
                    taken.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                    let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                    if (&stream).write_all(head.as_bytes()).is_err() {
                        break;
                    }
                }
            }
        });
        Ok(Self { address, events })
    }

    fn events(&self) -> Vec<Value> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Kinds of events, each with its app if it has one.
    fn has(&self, kind: &str) -> bool {
        self.events().iter().any(|event| event["kind"] == kind && event["event"]["app"] == APP)
    }
}

/// One request: its body; `None` when the client is gone.
fn take(stream: &TcpStream) -> Result<Option<Value>> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut has_token) = (0, false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(text) = line.strip_prefix("content-length: ") {
            length = text.parse()?;
        }
        has_token |= line == format!("authorization: bearer {TOKEN}");
    }
    ensure!(has_token, "an event without its token");
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

/// What a host tells Prometheus.
fn metrics(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    ensure!(text.starts_with("HTTP/1.1 200"), "{text}");
    Ok(text)
}

/// The number of a metric; none if it was never counted.
fn number(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

/// The sum of a number over all hosts.
fn sum(ports: &[u16], name: &str) -> Result<f64> {
    let one = |port: &u16| metrics(*port).map(|text| number(&text, name).unwrap_or(0.0));
    ports.iter().map(one).sum()
}

fn free_ports() -> Result<Vec<u16>> {
    (0..HOSTS).map(|_| free_port()).collect()
}

/// Proof: a release that goes over three hosts is sent by the cache once, all else comes from peers;
/// the numbers of each host say so; and a webhook is told how it began and ended, with its token,
/// again after a first no, and by an agent that was started again under names of its own.
pub fn share_and_tell() -> Result<()> {
    let (receiver, ports) = (Receiver::start()?, free_ports()?);
    let folder = tempfile::tempdir()?;
    let token = folder.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n"))?;
    let fleet = Fleet::start_with(HOSTS, QUICK, None, |host| {
        let hook = format!(
            "[webhook]\nurl = \"http://{}/hook\"\ntoken-file = \"{}\"\n",
            receiver.address,
            token.display()
        );
        let hook = if host == 0 { hook } else { String::new() };
        format!("[metrics]\nlisten = \"127.0.0.1:{}\"\n{hook}", ports[host])
    })?;
    let second = fleet.hosts[0].release(&Release { name: "web-2", serve: &[], programs: &[] })?;
    // A release needs no record of the group; who is in it is seen before.
    let first = &fleet.hosts[0];
    let others = |text: &str| number(text, "rollinit_peers") == Some(HOSTS as f64 - 1.0);
    let started = fleet.roll(&fleet.hosts[0].first, &["--wait"])?;
    ensure!(started.code == Some(0), "{started:?}\n{}", fleet.said());
    first.host.until("all know each other", || {
        Ok(ports.iter().all(|port| metrics(*port).is_ok_and(|text| others(&text))))
    })?;

    let (before, cache) = (first.cache.requests("nar/"), &first.cache);
    let before_bytes = cache.body_bytes();
    let rolled = fleet.roll(&second, &["--wait"])?;
    ensure!(rolled.code == Some(0), "{rolled:?}\n{}", fleet.said());
    let (asked, bytes) = (cache.requests("nar/") - before, cache.body_bytes() - before_bytes);
    println!("{bytes} bytes from the cache for {HOSTS} hosts");
    ensure!(asked == 1, "the cache was asked for {asked} NARs\n{}", fleet.said());

    for (name, due) in [
        ("rollinit_fetched_paths_total{source=\"cache\"}", 1.0),
        ("rollinit_fetched_paths_total{source=\"peer\"}", 2.0),
        ("rollinit_served_paths_total", 2.0),
        ("rollinit_peer_bans_total", 0.0),
        // The first release went by a swap on each host, too.
        ("rollinit_swaps_total{app=\"web\",outcome=\"committed\"}", 6.0),
    ] {
        let found = sum(&ports, name)?;
        ensure!(found == due, "{name}: {found}, not {due}\n{}", fleet.said());
    }
    ensure!(sum(&ports, "rollinit_ledger_calls_total{operation=\"cas\",result=\"ok\"}")? > 0.0);
    // Each host sees the end for itself, a look later; of the first rollout, if it saw its begin.
    first.host.until("all have seen the end", || {
        let blessed = "rollinit_rollouts_total{app=\"web\",outcome=\"blessed\"}";
        Ok(sum(&ports, blessed)? >= HOSTS as f64)
    })?;

    first.host.until("the webhook is told", || {
        let kinds = ["rollout-began", "swap-began", "swap-ended", "rollout-ended"];
        Ok(kinds.iter().all(|kind| receiver.has(kind)))
    })?;
    let events = receiver.events();
    ensure!(events[0]["id"] == events[1]["id"], "the first one is told again: {events:#?}");
    ensure!(events.iter().all(|event| event["host"] == "host-0"), "{events:#?}");
    let ended = events.iter().find(|event| event["kind"] == "swap-ended").context("an end")?;
    ensure!(ended["event"]["outcome"]["kind"] == "committed", "{ended:#?}");
    let text = serde_json::to_string(&events)?;
    ensure!(!text.contains(TOKEN), "a secret is told: {text}");

    ensure!(first.kill_agent()?, "there is no agent to kill");
    let back = fleet.roll(&fleet.hosts[0].first, &["--wait"])?;
    ensure!(back.code == Some(0), "{back:?}\n{}", fleet.said());
    let seen = events.len();
    first.host.until("the webhook is told by the next agent", || {
        Ok(receiver.events()[seen..].iter().any(|event| event["kind"] == "swap-ended"))
    })?;
    let events = receiver.events();
    let is_one = |event: &Value| {
        events.iter().filter(|other| other["id"] == event["id"]).all(|other| other == event)
    };
    ensure!(events.iter().all(is_one), "two events of one name: {events:#?}");
    Ok(())
}
