//! Apps and the verbs of a swap, as the agent uses them, under load and with a mortal supervisor.
//!
//! Each test has a network namespace of its own, with `tcp_migrate_req` as PID 1 sets it on a host.

use super::random::Random;
use anyhow::{Context, Result, anyhow, bail, ensure};
use qemu_tests::contained::{Contained, PATIENCE, Place};
use qemu_tests::load::{self, Plan, Running};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// The app's port, in the test's own network namespace.
const PORT: u16 = 8080;

/// Requests a second.
const RATE: u32 = 100;

/// The name of the load in its ids.
const USERS: &str = "users";

/// Runs a test on a thread with its own loopback.
fn isolated(test: fn() -> Result<()>) -> Result<()> {
    let run = move || {
        sys::network::enter_own_namespace().context("a network namespace (needs root)")?;
        std::fs::write("/proc/sys/net/ipv4/tcp_migrate_req", "1")?;
        test()
    };
    std::thread::spawn(run).join().map_err(|_| anyhow!("the test panicked"))?
}

/// How a call ended that was not done.
#[derive(Debug)]
enum CallError {
    /// The supervisor said why not: the error's last word and its parameters.
    Answered(String),
    /// It ended before it answered.
    Broken,
}

/// The control socket, for calls by anybody.
#[derive(Clone)]
struct Caller(PathBuf);

impl Caller {
    fn call(&self, method: &str, parameters: &Value) -> Result<Value, CallError> {
        let text = self.exchange(method, parameters).map_err(|_| CallError::Broken)?;
        let reply: Value = serde_json::from_slice(&text).map_err(|_| CallError::Broken)?;
        match reply["error"].as_str() {
            Some(error) => {
                let word = error.rsplit('.').next().unwrap_or_default();
                Err(CallError::Answered(format!("{word} {}", reply["parameters"])))
            }
            None => Ok(reply["parameters"].clone()),
        }
    }

    fn exchange(&self, method: &str, parameters: &Value) -> std::io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.0)?;
        let method = format!("io.rollinit.Supervisor.{method}");
        let call = json!({ "method": method, "parameters": parameters });
        stream.write_all(format!("{call}\0").as_bytes())?;
        let mut reply = Vec::new();
        BufReader::new(stream).read_until(0, &mut reply)?;
        reply.pop();
        Ok(reply)
    }

    /// Says it again for as long as supervisors die of it: the verbs are idempotent.
    fn insist(&self, method: &str, parameters: &Value) -> Result<Value> {
        loop {
            match self.call(method, parameters) {
                Ok(reply) => return Ok(reply),
                Err(CallError::Broken) => {}
                Err(CallError::Answered(error)) => bail!("{method}: {error}"),
            }
        }
    }
}

/// A host with the app `web` and its releases.
struct Swapped {
    host: Contained,
    caller: Caller,
}

impl Swapped {
    /// Serves `v1`, which its profile points to; the seed of its file is none that could.
    fn start(swap: &str, releases: &[&str]) -> Result<Self> {
        let mut host = Contained::prepare()?;
        let caller = Caller(host.socket());
        // The first does what it may to the listener it is given.
        release(&host, "v1", &["--shut-down"])?;
        for version in releases {
            release(&host, version, &[])?;
        }
        let seed = host.path("no-such-release");
        let text = format!(
            "[app]\nclosure = {seed:?}\nkind = \"notify\"\n\
             restart = {{ backoff-min = \"50ms\", backoff-max = \"100ms\" }}\n\
             [app.listen]\nhttp = \"[::]:{PORT}\"\n\
             [app.health]\nhttp = {{ path = \"/up\" }}\n\
             [app.swap]\ndrain = \"20s\"\n{swap}\n"
        );
        std::fs::write(host.definitions().join("web.toml"), text)?;
        let generation = host.profiles().join("web-1-link");
        std::os::unix::fs::symlink(host.path("v1"), &generation)?;
        std::os::unix::fs::symlink("web-1-link", host.profiles().join("web"))?;
        host.settle(Place::Subreaper)?;
        host.wait_state("web", "running")?;
        Ok(Self { host, caller })
    }

    fn closure(&self, version: &str) -> String {
        self.host.path(version).display().to_string()
    }

    /// The app as `Apps` has it.
    fn app(&self) -> Result<Value> {
        let apps = self.caller.insist("Apps", &json!({}))?;
        apps["apps"].get(0).cloned().context("one app")
    }

    /// The app once no side of it is on its way up: a verb answers as soon as a program runs, and
    /// that one says later that it is ready.
    fn steady_app(&self) -> Result<Value> {
        let mut steady = Value::Null;
        self.host.until("no side of the app is starting", || {
            steady = self.app()?;
            let starting = |side: &str| steady[side]["state"] == "starting";
            Ok(!starting("serving") && !starting("candidate"))
        })?;
        Ok(steady)
    }

    /// A verb's parameters, with the version to prepare.
    fn order(&self, swap: &str, version: Option<&str>) -> Value {
        match version.map(|version| self.closure(version)) {
            Some(closure) => json!({ "app": "web", "swap": swap, "closure": closure }),
            None => json!({ "app": "web", "swap": swap }),
        }
    }

    fn prepare(&self, swap: &str, version: &str) -> Result<Value> {
        let reply = self.caller.insist("Prepare", &self.order(swap, Some(version)));
        let reply = reply.with_context(|| self.host.said())?;
        Ok(reply["app"].clone())
    }

    fn verb(&self, method: &str, swap: &str) -> Result<Value> {
        let reply = self.caller.insist(method, &self.order(swap, None));
        let reply = reply.with_context(|| self.host.said())?;
        Ok(reply["app"].clone())
    }

    /// Asks from the probe's address until somebody answers; says which version it was.
    fn probe(&self) -> Result<String> {
        let mut version = None;
        self.host.until("the probe is answered", || {
            version = ask(sys::reuseport::PROBE_ADDRESS).ok();
            Ok(version.is_some())
        })?;
        version.context("an answer")
    }

    /// How many requests of users a version has written down.
    fn users_of(&self, version: &str) -> Result<usize> {
        let served = std::fs::read_to_string(served(&self.host, version)).unwrap_or_default();
        Ok(served.lines().filter(|line| line.contains(USERS)).count())
    }

    /// At rest: this version serves alone, nothing is left of the other side, one socket listens.
    fn check_rest(&self, version: &str) -> Result<()> {
        let app = self.steady_app()?;
        let wrong = || format!("{app}\n{}", self.host.said());
        ensure!(app["swap"].is_null() && app["candidate"].is_null(), wrong());
        ensure!(app["serving"]["closure"] == self.closure(version), wrong());
        ensure!(app["serving"]["state"] == "running" && app["serving"]["ready"] == true, wrong());
        let side = app["serving"]["side"].as_u64().context("a side")?;
        let group = |side| self.host.group(&format!("services/web.{side}"));
        let processes = group(side)?.processes()?;
        ensure!(processes.len() == 1, "{processes:?} {}", wrong());
        // A side that never ran has no group.
        let rests = match group(1 - side) {
            Ok(group) => !group.populated()?,
            Err(_) => true,
        };
        ensure!(rests, "side {} is not empty: {}", 1 - side, wrong());
        ensure!(listeners()? == 1, "{} sockets listen: {}", listeners()?, wrong());
        ensure!(self.probe()? == version, wrong());
        let status = self.host.service("web")?;
        ensure!(status["pid"] == app["serving"]["pid"], "{status} {}", wrong());
        Ok(())
    }

    fn users(&self) -> Result<Running> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        Ok(load::start(Plan::new(address, USERS, RATE, 300))?)
    }

    fn answered(&self, running: &Running) -> Result<()> {
        ensure!(running.answered(60, PATIENCE), "nobody answers\n{}", self.host.said());
        Ok(())
    }

    /// No request failed.
    fn end(&self, running: Running, versions: usize) -> Result<()> {
        let report = running.stop();
        ensure!(report.failed == 0, "{report}\n{}", self.host.said());
        ensure!(report.versions.len() == versions, "{report}");
        Ok(())
    }
}

fn served(host: &Contained, version: &str) -> PathBuf {
    host.path(&format!("served-{version}"))
}

/// A release is a folder with links to the test app and what each is to be.
fn release(host: &Contained, version: &str, more: &[&str]) -> Result<()> {
    let folder = host.path(version);
    for name in ["bin", "arguments"] {
        std::fs::create_dir_all(folder.join(name))?;
    }
    std::os::unix::fs::symlink(host.program("rollinit-testapp"), folder.join("bin/serve"))?;
    let served = served(host, version).display().to_string();
    let words = [&["web", "--version", version, "--served", &served], more].concat();
    Ok(std::fs::write(folder.join("arguments/serve"), words.join("\n"))?)
}

/// One request from an address of this host; the version in its answer.
fn ask(source: Ipv4Addr) -> Result<String> {
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let mut stream = sys::network::connect_from(source, target)?;
    stream.set_read_timeout(Some(load::ANSWER_MAX))?;
    stream.write_all(
        b"GET / HTTP/1.1\r\nHost: web\r\nX-Request-Id: probe\r\nConnection: close\r\n\r\n",
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let version = answer.split_ascii_whitespace().find_map(|word| word.strip_prefix("version="));
    version.map(str::to_owned).with_context(|| format!("no version in {answer:?}"))
}

/// Sockets that listen on the app's port in this thread's network namespace (proc_net_tcp(5)).
fn listeners() -> Result<usize> {
    const LISTEN: &str = "0A";
    let port = format!(":{PORT:04X}");
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp6")?;
    let is_ours = |line: &&str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        words.len() > 3 && words[1].ends_with(&port) && words[3] == LISTEN
    };
    Ok(table.lines().filter(is_ours).count())
}

/// Proof: under load of every kind, twelve swaps to and fro. Between `Prepare` and `Admit` the
/// probe is answered by the candidate and no id of a user is in its log; after `Admit` users are in
/// it. A way back is taken before and after the switch. At rest one side runs, one socket listens.
/// No request fails.
pub fn overlap_verbs() -> Result<()> {
    isolated(|| {
        let web = Swapped::start("strategy = \"overlap\"", &["v2", "v3", "v4", "v5"])?;
        web.check_rest("v1")?;
        let running = web.users()?;
        for (from, to) in [("v1", "v2"), ("v2", "v3"), ("v3", "v4"), ("v4", "v5")] {
            // Back from the gate.
            let swap = format!("GATE-{to}");
            let app = web.prepare(&swap, to)?;
            ensure!(app["swap"]["phase"] == "prepared", "{app}");
            ensure!(web.probe()? == to, "the gate asks the candidate");
            web.answered(&running)?;
            ensure!(web.users_of(to)? == 0, "a user reached {to} before its gate");
            web.verb("Abandon", &swap)?;
            web.check_rest(from)?;
            // Back from the bake.
            let swap = format!("BAKE-{to}");
            web.prepare(&swap, to)?;
            ensure!(web.probe()? == to, "the gate asks the candidate");
            web.answered(&running)?;
            ensure!(web.users_of(to)? == 0, "a user reached {to} before its gate");
            let app = web.verb("Admit", &swap)?;
            ensure!(app["swap"]["phase"] == "admitted", "{app}");
            web.answered(&running)?;
            ensure!(web.users_of(to)? > 0, "users should be at {to}");
            web.verb("Abandon", &swap)?;
            web.check_rest(from)?;
            // And through.
            let swap = format!("DONE-{to}");
            web.prepare(&swap, to)?;
            ensure!(web.probe()? == to, "the gate asks the candidate");
            web.verb("Admit", &swap)?;
            web.answered(&running)?;
            web.verb("Retire", &swap)?;
            web.check_rest(to)?;
            // Said again, it is done already.
            web.verb("Retire", &swap)?;
        }
        web.end(running, 5)
    })
}

/// Proof: the strategy `restart` under load: the new release comes up on the same kept socket, the
/// old one comes back on it; whoever comes meanwhile waits in its queue, and no request fails.
pub fn restart_verbs() -> Result<()> {
    isolated(|| {
        // A tenant that shuts the one socket down resets whoever waits in its queue: that release
        // cannot be swapped so.
        let web = Swapped::start("strategy = \"restart\"", &["v2", "v3"])?;
        web.prepare("FROM-v1", "v2")?;
        web.verb("Admit", "FROM-v1")?;
        web.verb("Retire", "FROM-v1")?;
        web.check_rest("v2")?;
        let running = web.users()?;
        web.answered(&running)?;
        web.prepare("BACK", "v3")?;
        ensure!(web.probe()? == "v3", "{}", web.app()?);
        web.verb("Admit", "BACK")?;
        web.answered(&running)?;
        web.verb("Abandon", "BACK")?;
        web.check_rest("v2")?;
        web.prepare("DONE", "v3")?;
        web.verb("Admit", "DONE")?;
        web.answered(&running)?;
        web.verb("Retire", "DONE")?;
        web.check_rest("v3")?;
        web.end(running, 2)
    })
}

/// Deaths of the supervisor in each verb of [`supervisor_killed`].
const DEATHS: u64 = 3;

/// Longest random time between two of them, in microseconds: less than the second for which a queue
/// must be empty, so that verbs which wait for that are hit on their way.
const BETWEEN_US: u64 = 700_000;

/// Proof: under load, swaps in both strategies forward and back, and in each verb the supervisor is
/// killed at random moments until the verb, said again, is done; and once more after it, when the
/// app must be to the last field what it was. Every verb comes to its end, no side is restarted by
/// it, and no request fails.
pub fn supervisor_killed() -> Result<()> {
    isolated(|| {
        let mut random = Random::seeded("sides-supervisor-killed")?;
        for strategy in ["overlap", "restart"] {
            let web = Swapped::start(&format!("strategy = {strategy:?}"), &["v2", "v3"])?;
            for verb in ["Prepare", "Admit", "Retire"] {
                under_fire(&web, &mut random, verb, "FROM-v1", "v2")
                    .with_context(|| format!("{strategy}: FROM-v1 {verb}"))?;
            }
            let running = web.users()?;
            for (swap, verbs, rest) in [
                ("GATE", &["Prepare", "Abandon"][..], "v2"),
                ("BAKE", &["Prepare", "Admit", "Abandon"], "v2"),
                ("DONE", &["Prepare", "Admit", "Retire"], "v3"),
            ] {
                for verb in verbs {
                    web.answered(&running)?;
                    under_fire(&web, &mut random, verb, swap, "v3")
                        .with_context(|| format!("{strategy}: {swap} {verb}"))?;
                    web.probe()?;
                }
                web.check_rest(rest).with_context(|| format!("{strategy}: {swap}"))?;
                let app = web.app()?;
                ensure!(app["serving"]["restarts"] == 0, "{app}");
            }
            web.end(running, 2).context(strategy)?;
        }
        Ok(())
    })
}

/// One verb, insisted on while supervisors die.
fn under_fire(
    web: &Swapped,
    random: &mut Random,
    verb: &str,
    swap: &str,
    version: &str,
) -> Result<()> {
    let order = web.order(swap, (verb == "Prepare").then_some(version));
    let (caller, method) = (web.caller.clone(), verb.to_owned());
    let asking = std::thread::spawn(move || caller.insist(&method, &order));
    for death in 0..DEATHS {
        // The first as soon as it may have been heard, when the shortest verbs are under way.
        random.wait(if death == 0 { 5_000 } else { BETWEEN_US });
        web.host.until("there is a supervisor to kill", || web.host.kill_supervisor())?;
    }
    let reply = asking.join().map_err(|_| anyhow!("it panicked"))?;
    reply.with_context(|| web.host.said())?;
    // A candidate may have come up between the answer and now.
    web.probe()?;
    let before = web.steady_app()?;
    web.host.until("there is a supervisor to kill", || web.host.kill_supervisor())?;
    let after = web.steady_app()?;
    ensure!(after == before, "{before}\nbecame\n{after}\n{}", web.host.said());
    Ok(())
}

/// New connections of users: a choice by chance would be seen.
const NEWCOMERS: usize = 32;

/// Proof: a release that shuts the listener it was given down, for all who hold it, when it ends.
/// Its process is told to end by somebody else, while the candidate is at its gate: the side comes
/// back, and users go to it and the probe to the candidate, as before. Then the swap goes through,
/// and the next. No request fails.
pub fn listener_shut_down() -> Result<()> {
    isolated(|| {
        let web = Swapped::start("strategy = \"overlap\"", &["v2", "v3"])?;
        let running = web.users()?;
        web.answered(&running)?;
        web.prepare("AAAA", "v2")?;
        ensure!(web.probe()? == "v2", "the gate asks the candidate");
        let serving = web.app()?["serving"].clone();
        let pid = serving["pid"].as_u64().context("it runs")?;
        let before = serving["incarnation"].as_u64().context("a run")?;
        sys::cgroup::signal_process(u32::try_from(pid)?, 15)?;
        web.host.wait_service("web", "is back", |service| {
            service["state"] == "running" && service["incarnation"] == before + 1
        })?;
        // Whoever came to the candidate meanwhile stays there for as long as the connection does.
        for _ in 0..NEWCOMERS {
            let version = ask(Ipv4Addr::LOCALHOST)?;
            ensure!(version == "v1", "a user came to {version}\n{}", web.host.said());
        }
        ensure!(web.probe()? == "v2", "the gate asks the candidate");
        for (swap, version) in [("AAAA", "v2"), ("BBBB", "v3")] {
            web.prepare(swap, version)?;
            ensure!(web.probe()? == version, "the gate asks the candidate");
            web.verb("Admit", swap)?;
            web.answered(&running)?;
            web.verb("Retire", swap)?;
            web.check_rest(version)?;
        }
        web.end(running, 3)
    })
}

/// Leases of tasks, in milliseconds: the shortest that is allowed, and one that does not end.
const LEASE_MS: u64 = 1000;
const LEASE_LONG_MS: u64 = 600_000;

/// Proof: tasks run beside the app, say what they say in its log and end as they end. One that is
/// asked for again is answered without a second run. One whose lease is not renewed is killed and
/// says so; one whose lease is renewed outlives it; one whose asker's supervisor died is joined and
/// not run twice. The note that each run leaves says how many there were.
pub fn tasks() -> Result<()> {
    isolated(|| {
        let web = Swapped::start("strategy = \"overlap\"", &["v2"])?;
        let program = web.host.program("rollinit-testapp");
        std::os::unix::fs::symlink(program, web.host.path("v2/bin/migrate"))?;

        let order = task(&web, "AAAA", "--code\n7", LEASE_LONG_MS)?;
        for _again in 0..2 {
            let end = web.caller.insist("RunTask", &order)?;
            ensure!(end["exit"] == 7 && end["lease_ended"] == false, "{end}");
        }
        ensure!(runs(&web, "AAAA") == 1, "it was run again");
        let logs = web.host.must(&["logs", "web", "-n", "100"])?;
        ensure!(logs.contains("AAAA was here"), "{logs}");

        let order = task(&web, "BBBB", "--after-ms\n600000", LEASE_MS)?;
        let end = web.caller.insist("RunTask", &order)?;
        ensure!(end["lease_ended"] == true && end["signal"] == 9, "{end}\n{}", web.host.said());

        let order = task(&web, "CCCC", "--after-ms\n2500", LEASE_MS)?;
        let asking = ask_for(&web, "CCCC", order)?;
        let renewal =
            json!({ "app": "web", "swap": "CCCC", "task": "migrate", "lease_ms": LEASE_MS });
        while !asking.is_finished() {
            match web.caller.call("RenewTask", &renewal) {
                // It has ended in between.
                Ok(_) | Err(CallError::Answered(_)) => {}
                Err(CallError::Broken) => bail!("no answer\n{}", web.host.said()),
            }
            web.host.pause(Duration::from_millis(LEASE_MS / 5));
        }
        let end = asking.join().map_err(|_| anyhow!("it panicked"))??;
        ensure!(end["exit"] == 0, "{end}\n{}", web.host.said());

        let order = task(&web, "DDDD", "--after-ms\n1500\n--code\n3", LEASE_LONG_MS)?;
        let asking = ask_for(&web, "DDDD", order)?;
        web.host.until("there is a supervisor to kill", || web.host.kill_supervisor())?;
        let end = asking.join().map_err(|_| anyhow!("it panicked"))??;
        ensure!(end["exit"] == 3, "{end}\n{}", web.host.said());
        ensure!(runs(&web, "DDDD") == 1, "it was run twice");
        web.check_rest("v1")
    })
}

/// Makes `bin/migrate` of v2 what it is to be for this swap; the parameters that run it.
fn task(web: &Swapped, swap: &str, words: &str, lease_ms: u64) -> Result<Value> {
    let note = web.host.path("note");
    let words = format!("task\n{swap} was here\n--note\n{}\n{words}", note.display());
    std::fs::write(web.host.path("v2/arguments/migrate"), words)?;
    Ok(json!({
        "app": "web", "swap": swap, "task": "migrate", "lease_ms": lease_ms,
        "program": ["${closure}/bin/migrate"], "closure": web.closure("v2"),
    }))
}

/// How often the task of this swap was run.
fn runs(web: &Swapped, swap: &str) -> usize {
    let text = std::fs::read_to_string(web.host.path("note")).unwrap_or_default();
    text.lines().filter(|line| line.starts_with(swap)).count()
}

/// Asks for a task on a thread; returns once it runs.
fn ask_for(
    web: &Swapped,
    swap: &str,
    order: Value,
) -> Result<std::thread::JoinHandle<Result<Value>>> {
    let caller = web.caller.clone();
    let asking = std::thread::spawn(move || caller.insist("RunTask", &order));
    web.host.until("it runs", || Ok(runs(web, swap) == 1 || asking.is_finished()))?;
    Ok(asking)
}
