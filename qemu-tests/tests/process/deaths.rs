//! Deaths of the supervisor and of a web app: what must not be seen of them.

use super::random::Random;
use anyhow::{Context, Result, bail, ensure};
use qemu_tests::contained::{Contained, PATIENCE, Place, service_of};
use qemu_tests::load::{self, Plan};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};

/// Deaths of the supervisor of an ordinary process, and of one in a pid namespace.
const DEATHS: u64 = 200;
const DEATHS_IN_NAMESPACE: u64 = 100;

/// Longest random time between two deaths, in microseconds: longer than a supervisor takes to come
/// up, so that some deaths fall into that and some after it.
const BETWEEN_US: u64 = 60_000;

/// The backoff window of `short-backoff` in nanoseconds.
const WINDOW_NS: u64 = 2_000_000_000;

/// Requests a second.
const RATE: u32 = 100;

/// The services of the test: one for each way to be that a supervisor must not forget.
fn define_all(host: &Contained) -> Result<()> {
    host.define_app("steady", &["hang"], "")?;
    host.define_app("ready", &["notify", "--status", "warm", "--main-pid"], "kind = \"notify\"")?;
    host.define_app("by-hand", &["hang"], "")?;
    host.define_app("once", &["exit", "0"], "kind = \"oneshot\"")?;
    let hour = "restart = { backoff-min = \"1h\", backoff-max = \"1h\" }";
    host.define_app("long-backoff", &["exit", "3"], hour)?;
    let seconds = "restart = { backoff-min = \"2s\", backoff-max = \"2s\" }";
    host.define_app("short-backoff", &["crash", "--code", "4"], seconds)?;
    let twice = "kind = \"notify\"\nrestart = { backoff-min = \"1ms\", backoff-max = \"1ms\", intensity = 2, \
                 period = \"1h\" }";
    host.define_app("given-up", &["exit", "5"], twice)?;
    let often = "restart = { backoff-min = \"20ms\", backoff-max = \"20ms\" }";
    host.define_app("restless", &["crash", "--after-ms", "5"], often)?;
    host.define_app("after-broken", &["hang"], "requires = [\"given-up\"]\nafter = [\"given-up\"]")
}

/// A status without what may change: the supervisor's pid and uptime, and the two
/// services that live on while we look.
fn lasting(status: &Value) -> Value {
    let mut status = status.clone();
    status["host"]["supervisor"] = Value::Null;
    if let Some(services) = status["services"].as_array_mut() {
        services
            .retain(|service| service["name"] != "restless" && service["name"] != "short-backoff");
    }
    // What is said of them there changes with them.
    if let Some(problems) = status["problems"].as_array_mut() {
        problems.retain(|problem| {
            let text = problem.to_string();
            !text.contains("restless") && !text.contains("short-backoff")
        });
    }
    status
}

/// Proof: 200 times the supervisor is killed at a random moment, while it runs or while it comes up,
/// and each time `status --json` is compared with that before the first death: but for the
/// supervisor's pid and uptime it is the same, so no pid changed, the service stopped by hand stays
/// stopped, and every backoff window has the end it had. Two services live on meanwhile. The
/// window that ends during the deaths must end in a start, not before its time. The runs of the
/// restless one are all accounted for.
pub fn owner_deaths() -> Result<()> {
    kill_owners("owner-deaths", Place::Subreaper, DEATHS)
}

/// Proof: as above; PID 1 is that of a pid namespace.
pub fn owner_deaths_in_namespace() -> Result<()> {
    kill_owners("owner-deaths-in-namespace", Place::PidNamespace, DEATHS_IN_NAMESPACE)
}

fn kill_owners(test: &str, place: Place, deaths: u64) -> Result<()> {
    let mut random = Random::seeded(test)?;
    let mut host = Contained::prepare()?;
    define_all(&host)?;
    host.start(place)?;
    for (name, state) in [
        ("steady", "running"),
        ("ready", "running"),
        ("by-hand", "running"),
        ("once", "done"),
        ("long-backoff", "backoff"),
        ("short-backoff", "backoff"),
        ("given-up", "failed"),
        ("after-broken", "blocked"),
    ] {
        host.wait_state(name, state)?;
    }
    host.must(&["stop", "by-hand"])?;
    host.wait_service("ready", "said all", |service| service["status_text"] == "warm")?;
    let first = host.status()?;
    let expected = lasting(&first);
    let mut windows = Windows::of(&host.wait_state("short-backoff", "backoff")?)?;
    let mut supervisor = first["host"]["supervisor"]["pid"].clone();
    for death in 1..=deaths {
        random.wait(BETWEEN_US);
        host.until("there is a supervisor to kill", || host.kill_supervisor())?;
        if random.below(4) == 0 {
            // Its successor as well, on the way up.
            random.wait(BETWEEN_US / 4);
            host.kill_supervisor()?;
        }
        let status = host.wait("a supervisor answers", |_| true)?;
        let successor = status["host"]["supervisor"]["pid"].clone();
        ensure!(successor != supervisor, "death {death}: it is the same supervisor");
        supervisor = successor;
        let now = lasting(&status);
        ensure!(now == expected, "death {death}: {}\n{}", difference(&expected, &now), host.said());
        windows.check(&status).with_context(|| format!("death {death}\n{}", host.said()))?;
    }
    ensure!(windows.ended >= 1, "no backoff window ended in all this time");
    ensure!(host.service("restless")?["incarnation"].as_u64() > Some(10), "it should be restless");
    Ok(())
}

/// What two services do that live on: counted over the deaths.
struct Windows {
    restart_at_ns: u64,
    incarnation: u64,
    restless: u64,
    /// Windows of `short-backoff` that came to their end.
    ended: u64,
}

impl Windows {
    fn of(short: &Value) -> Result<Self> {
        Ok(Self {
            restart_at_ns: short["restart_at_ns"].as_u64().context("a window")?,
            incarnation: short["incarnation"].as_u64().context("an incarnation")?,
            restless: 0,
            ended: 0,
        })
    }

    fn check(&mut self, status: &Value) -> Result<()> {
        let short = service_of(status, "short-backoff")?;
        let incarnation = short["incarnation"].as_u64().context("an incarnation")?;
        let since_ns = short["since_ns"].as_u64().context("a time")?;
        if incarnation == self.incarnation {
            ensure!(short["restart_at_ns"].as_u64().is_none_or(|at| at == self.restart_at_ns));
        } else {
            // Whoever looks late may see the run after the next.
            let windows = incarnation.saturating_sub(self.incarnation + 1);
            let soonest_ns = self.restart_at_ns + windows * WINDOW_NS;
            ensure!(since_ns >= soonest_ns, "started before its time: {short}");
            // Between its start and its end it has no window; look at it when it has one.
            let Some(next_ns) = short["restart_at_ns"].as_u64() else { return Ok(()) };
            ensure!(next_ns >= soonest_ns + WINDOW_NS, "too short a window: {short}");
            (self.restart_at_ns, self.incarnation) = (next_ns, incarnation);
            self.ended += 1;
        }
        let restless = service_of(status, "restless")?;
        let incarnation = restless["incarnation"].as_u64().context("an incarnation")?;
        ensure!(incarnation >= self.restless, "a run was forgotten: {restless}");
        let restarts = restless["restarts"].as_u64().context("restarts")?;
        ensure!(incarnation - restarts <= 1, "a run is not accounted for: {restless}");
        self.restless = incarnation;
        Ok(())
    }
}

/// The first place where two statuses differ.
fn difference(before: &Value, after: &Value) -> String {
    match (before, after) {
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => a
            .iter()
            .find(|(key, value)| b.get(*key) != Some(value))
            .map(|(key, value)| format!("{key}: {}", difference(value, &after[key])))
            .unwrap_or_default(),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .find(|(a, b)| a != b)
            .map(|(a, b)| format!("{}: {}", a["name"], difference(a, b)))
            .unwrap_or_default(),
        _ => format!("{before} became {after}"),
    }
}

/// Proof: 60 orders, stop, start and restart in turn, each with a death of the supervisor at a random
/// moment of it. An order that was answered "done" is done; one whose answer was lost is either done
/// or not begun, never half done: the service comes to rest, running as exactly the one process that
/// the status names, or stopped with none. No run number is used twice.
pub fn orders_in_flight() -> Result<()> {
    let mut random = Random::seeded("orders-in-flight")?;
    let mut host = Contained::prepare()?;
    host.define_app("web", &["notify", "--delay-ms", "2"], "kind = \"notify\"")?;
    host.settle(Place::Subreaper)?;
    let (mut done, mut lost, mut incarnation) = (0, 0, 1);
    for (order, state) in [("stop", "stopped"), ("start", "running"), ("restart", "running")]
        .into_iter()
        .cycle()
        .take(60)
    {
        let mut command = host.command()?;
        command.args([order, "web"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut asked = command.spawn()?;
        random.wait(BETWEEN_US / 4);
        host.kill_supervisor()?;
        let code = asked.wait()?.code();
        let service = host.wait_service("web", "is at rest", |service| {
            service["state"] == "running" || service["state"] == "stopped"
        })?;
        match code {
            Some(0) => {
                done += 1;
                ensure!(service["state"] == state, "{order} was done: {service}\n{}", host.said());
            }
            Some(UNREACHABLE) => lost += 1,
            code => bail!("{order} exited with {code:?}\n{}", host.said()),
        }
        let processes: Vec<u64> = host.processes("web")?.into_iter().map(u64::from).collect();
        let named: Vec<u64> = service["pid"].as_u64().into_iter().collect();
        ensure!(processes == named, "{order}: {processes:?} live; {service}\n{}", host.said());
        let newest = service["incarnation"].as_u64().context("an incarnation")?;
        ensure!(newest >= incarnation && newest <= incarnation + 2, "{order}: {service}");
        incarnation = newest;
    }
    ensure!(done > 0 && lost > 0, "{done} orders done, {lost} lost: no death fell into an order");
    Ok(())
}

/// Exit code of the command line when the supervisor went away before it answered.
const UNREACHABLE: i32 = 3;

/// The web app behind a kept socket on a free port of the loopback.
fn web() -> Result<(Contained, SocketAddr)> {
    let mut host = Contained::prepare()?;
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = free.local_addr()?;
    drop(free);
    let more = format!(
        "restart = {{ backoff-min = \"100ms\", backoff-max = \"200ms\" }}\n\
         [[service.listen]]\nname = \"http\"\ntcp = \"{address}\"\n"
    );
    host.define_app("web", &["web"], &more)?;
    host.settle(Place::Subreaper)?;
    host.wait_state("web", "running")?;
    Ok((host, address))
}

/// Proof: the load generator's own ledger and the server's. The supervisor is killed ten times
/// under load: no request of any kind fails, the server is the same process all the time and has
/// answered every id once.
pub fn owner_death_under_load() -> Result<()> {
    let (host, address) = web()?;
    let before = host.service("web")?["pid"].clone();
    let running = load::start(Plan::new(address, "owner", RATE, 60))?;
    for _ in 0..10 {
        ensure!(running.answered(40, PATIENCE), "the web app does not answer");
        host.until("there is a supervisor to kill", || host.kill_supervisor())?;
        host.wait("a supervisor answers", |_| true)?;
    }
    let report = running.stop();
    ensure!(report.failed == 0, "{report}");
    ensure!(host.service("web")?["pid"] == before, "the web app was restarted");
    let ledger = load::ledger(address, "owner").map_err(anyhow::Error::msg)?;
    ensure!((ledger.seen, ledger.repeated) == (report.sent, 0), "{ledger:?} of {report}");
    Ok(())
}

/// Proof: the web app is killed five times under load. Requests that it had accepted die with it
/// (they are reset or end early, once each), but nobody is refused: who comes while it is down waits
/// in the kept socket's queue and is answered by the next run. Then `rollinit restart`, which lets
/// it drain: nothing fails at all.
pub fn kept_socket() -> Result<()> {
    let (host, address) = web()?;
    let running = load::start(Plan::new(address, "crash", RATE, 60))?;
    for killed in 1..=5 {
        ensure!(running.answered(40, PATIENCE), "the web app does not answer");
        let pid = host.service("web")?["pid"].as_u64().context("it runs")?;
        sys::cgroup::signal_process(u32::try_from(pid)?, 9)?;
        host.wait_service("web", "is back", |service| {
            service["state"] == "running" && service["incarnation"] == killed + 1
        })?;
    }
    ensure!(running.answered(40, PATIENCE), "the web app does not answer");
    let report = running.stop();
    ensure!(!report.failures.contains_key("connection refused"), "{report}");
    ensure!(!report.failures.contains_key("not in time"), "{report}");
    ensure!(report.instances.len() == 6, "{report}");

    let running = load::start(Plan::new(address, "restart", RATE, 60))?;
    for _ in 0..3 {
        ensure!(running.answered(40, PATIENCE), "the web app does not answer");
        host.must(&["restart", "web"])?;
    }
    ensure!(running.answered(40, PATIENCE), "the web app does not answer");
    let report = running.stop();
    ensure!(report.failed == 0, "a drained restart lost a request: {report}");
    Ok(())
}

/// Proof: lines written before, around and after a death of the supervisor are all there, once and
/// in order: the pipe and the ring are not the supervisor's.
pub fn output_outlives_owner() -> Result<()> {
    let mut host = Contained::prepare()?;
    let script = "n=0; while [ $n -lt 300 ]; do n=$((n+1)); echo line $n; sleep 0.003; done; \
                  echo end; exec sleep 1000";
    host.define("counter", &["/bin/sh", "-c", script], "environment = { PATH = \"/bin\" }")?;
    host.settle(Place::Subreaper)?;
    for lines in [50, 100, 200] {
        let written = format!("line {lines}\n");
        host.until("it writes", || Ok(host.must(&["logs", "counter"])?.contains(&written)))?;
        host.until("there is a supervisor to kill", || host.kill_supervisor())?;
        host.wait("a supervisor answers", |_| true)?;
    }
    let mut command: Command = host.command()?;
    command.args(["logs", "counter", "-n", "1000", "--json"]);
    host.until("all is written", || {
        let text = String::from_utf8(command.output()?.stdout)?;
        Ok(text.contains("\"end\""))
    })?;
    let text = String::from_utf8(command.output()?.stdout)?;
    let lines: Vec<String> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|record| Some(record["text"].as_str()?.to_owned()))
        .filter(|line| line.starts_with("line "))
        .collect();
    let expected: Vec<String> = (1..=300).map(|number| format!("line {number}")).collect();
    ensure!(lines == expected, "{lines:?}");
    Ok(())
}
