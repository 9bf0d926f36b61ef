//! Swaps of an app that binds its own ports, behind a real HAProxy.

use super::swaps::{COMMITTED, QUICK, REFUSED, ROLLED_BACK, expect, killed_at_each_state, said};
use anyhow::{Context, Result, ensure};
use qemu_tests::apphost::{APP, AppHost, Release};
use qemu_tests::contained::PATIENCE;
use qemu_tests::free_port::free_port;
use qemu_tests::load;
use qemu_tests::proxy::{BACKEND, Proxy};
use std::net::TcpListener;

/// A host whose app has two ports, and HAProxy in front of both.
struct Fronted {
    host: AppHost,
    proxy: Proxy,
    ports: [u16; 2],
}

/// HAProxy's names of the two sides.
const SERVERS: [&str; 2] = ["side-0", "side-1"];

/// What a definition has instead of sockets.
pub fn definition(closure: &str, ports: [u16; 2], more: &str) -> String {
    let health = "path = \"/up\", every = \"50ms\", passes = 2, timeout = \"2s\"";
    format!(
        "[app]\nclosure = \"{closure}\"\nports = {ports:?}\n[app.health]\n\
         http = {{ {health}, deadline = \"4s\" }}\n{more}\n"
    )
}

/// Two ports that nobody has.
pub fn free_ports() -> Result<[u16; 2]> {
    Ok([free_port()?, free_port()?])
}

impl Fronted {
    /// A host that is not started, and an HAProxy that is: its users come by `host.port`.
    fn prepare(more: &str) -> Result<Self> {
        let (host, ports) = (AppHost::prepare("")?, free_ports()?);
        let text = definition(&host.first, ports, more);
        std::fs::write(host.host.definitions().join(format!("{APP}.toml")), text)?;
        let [zero, one] = SERVERS;
        let servers = [(zero, ports[0]), (one, ports[1])];
        let proxy = Proxy::start(&host.host.path(""), host.port, &servers)?;
        host.configure(&format!(
            "[balancer.front]\nkind = \"haproxy\"\napp = \"{APP}\"\nsockets = [{:?}]\n\
             servers = [\"{BACKEND}/{zero}\", \"{BACKEND}/{one}\"]\n",
            proxy.socket()
        ))?;
        Ok(Self { host, proxy, ports })
    }

    /// The same, with these further releases, up and settled.
    fn with<const N: usize>(more: &str, releases: [Release<'_>; N]) -> Result<(Self, [String; N])> {
        let mut this = Self::prepare(more)?;
        let paths: Vec<String> =
            releases.iter().map(|release| this.host.release(release)).collect::<Result<_>>()?;
        this.host.settle()?;
        this.until_only(0)?;
        Ok((this, paths.try_into().map_err(|_| anyhow::anyhow!("releases"))?))
    }

    /// Waits until HAProxy sends to this side and not to the other one.
    fn until_only(&self, side: usize) -> Result<()> {
        let what = format!("only side {side} gets users");
        let mut states = self.proxy.states()?;
        let awaited = self.host.host.until(&what, || {
            states = self.proxy.states()?;
            let [serving, other] = [side, 1 - side].map(|side| states[SERVERS[side]]);
            Ok(serving == "up" && ["drain", "maint"].contains(&other))
        });
        awaited.with_context(|| format!("{states:?}\n{}", said(&self.host)))
    }

    /// All that must hold when this side runs `version` alone.
    fn ensure_alone(&self, side: usize, version: &str) -> Result<()> {
        self.until_only(side)?;
        let now = self.host.version()?;
        ensure!(now == version, "{now} serves, not {version}\n{}", said(&self.host));
        let sides = self.host.sides();
        ensure!(sides == [u32::try_from(side)?], "{sides:?} run\n{}", said(&self.host));
        // The other port is free: it is bound by nobody.
        let free = TcpListener::bind(("127.0.0.1", self.ports[1 - side]));
        free.map(drop).with_context(|| format!("the port of side {}", 1 - side))
    }

    /// No user's request reached this version: it was asked for its health alone.
    fn ensure_unseen(&self, version: &str) -> Result<()> {
        let served = self.host.served()?;
        let mut of = served.lines().filter(|line| line.starts_with(&format!("{version} ")));
        match of.find(|line| !line.contains(" /up ")) {
            Some(line) => anyhow::bail!("a user reached it: {line}"),
            None => Ok(()),
        }
    }
}

fn release(name: &str) -> Release<'_> {
    Release { name, serve: &[], programs: &[] }
}

/// Proof: a load of a fixed rate, without retries, goes through HAProxy while the app goes from v1
/// to v2 to v3, each on the port that the other one has not, with agent and supervisor killed in
/// the middle of one; then to a v4 that is sick, which is taken back and never seen. Not one
/// request fails. A second try of the bad one is refused.
pub fn no_request_fails() -> Result<()> {
    let sick = Release { name: "web-4", serve: &["--up-status", "503"], programs: &[] };
    let (fronted, [second, third, sick]) =
        Fronted::with(QUICK, [release("web-2"), release("web-3"), sick])?;
    let host = &fronted.host;
    let plan = load::Plan::new(([127, 0, 0, 1], host.port).into(), "users", 100, 300);
    let load = load::start(plan.patient())?;
    ensure!(load.answered(50, PATIENCE), "the load runs");

    expect(host, &host.swap(&second, &[])?, COMMITTED)?;
    fronted.ensure_alone(1, "web-2")?;
    let mut records = host.records()?;
    let mut caller = host.begin(&["swap", APP, &third])?;
    records.reach(7, &mut caller)?;
    host.kill_agent()?;
    host.host.kill_supervisor()?;
    ensure!(caller.wait()?.code() == Some(COMMITTED), "{}", said(host));
    fronted.ensure_alone(0, "web-3")?;
    expect(host, &host.swap(&sick, &[])?, ROLLED_BACK)?;
    expect(host, &host.swap(&sick, &[])?, REFUSED)?;
    fronted.ensure_alone(0, "web-3")?;
    fronted.ensure_unseen("web-4")?;
    let report = load.stop();
    ensure!(report.failed == 0, "{report:?}\n{}", said(host));
    for version in ["web-1", "web-2", "web-3"] {
        ensure!(report.versions.contains_key(version), "{version} answered: {report:?}");
    }
    Ok(())
}

/// Proof: the agent is killed at one record of a swap after the other: each swap ends, one side is
/// left and is the only one that HAProxy sends to, and of a load that goes on meanwhile not one
/// request fails.
pub fn killed_at_each_state_with_two_ports() -> Result<()> {
    /// A swap writes eleven; with HAProxy and a load beside it, two may go by between two looks.
    const STATES: usize = 7;
    let (fronted, [second]) = Fronted::with(QUICK, [release("web-2")])?;
    let host = &fronted.host;
    let plan = load::Plan::new(([127, 0, 0, 1], host.port).into(), "users", 50, 600);
    let load = load::start(plan.patient())?;
    ensure!(load.answered(10, PATIENCE), "the load runs");
    let next = || {
        let to_second = host.version()? == "web-1";
        Ok(if to_second { (second.clone(), "web-2") } else { (host.first.clone(), "web-1") })
    };
    killed_at_each_state(host, STATES, AppHost::kill_agent, next)?;
    fronted.until_only(usize::try_from(host.sides()[0])?)?;
    let report = load.stop();
    ensure!(report.failed == 0, "{report:?}\n{}", said(host));
    Ok(())
}

/// Proof: a release falls sick in its bake, after users were moved to it: they are moved back to the
/// old one, which is still there, and no request fails. Then HAProxy is away at the begin of a
/// swap, and has forgotten what it was told when it is back: the swap waits for it and goes on.
pub fn a_way_back_and_a_balancer_that_forgets() -> Result<()> {
    let more = "[app.swap]\ndrain = \"5s\"\nbake = \"8s\"\nwatch = \"0s\"\n";
    let burning = Release { name: "web-2", serve: &["--sick-after-ms", "5000"], programs: &[] };
    let (mut fronted, [burning, third]) = Fronted::with(more, [burning, release("web-3")])?;
    let plan = load::Plan::new(([127, 0, 0, 1], fronted.host.port).into(), "users", 50, 300);
    let load = load::start(plan.patient())?;
    ensure!(load.answered(10, PATIENCE), "the load runs");
    expect(&fronted.host, &fronted.host.swap(&burning, &[])?, ROLLED_BACK)?;
    fronted.ensure_alone(0, "web-1")?;
    let report = load.stop();
    ensure!(report.failed == 0, "{report:?}\n{}", said(&fronted.host));
    ensure!(report.versions.contains_key("web-2"), "users saw it for a moment: {report:?}");

    fronted.proxy.stop();
    let waiting = fronted.host.begin(&["swap", APP, &third])?;
    let says = |host: &AppHost| {
        let swaps = host.swaps()?;
        Ok(swaps.first().is_some_and(|swap| swap["text"].to_string().contains("nobody listens")))
    };
    fronted.host.host.until("the swap waits for HAProxy", || says(&fronted.host))?;
    fronted.proxy.restart()?;
    let waited = waiting.wait_with_output()?;
    ensure!(waited.status.code() == Some(COMMITTED), "{waited:?}\n{}", said(&fronted.host));
    fronted.ensure_alone(1, "web-3")
}

/// Proof: an app is taken away while its second side serves, and is put back, and the supervisor
/// dies in between: the app begins with its first side, to which its balancer sent nobody any more.
/// It does so again, and users are answered.
pub fn an_app_that_comes_back() -> Result<()> {
    // Nobody watches: an app that is taken away would look sick.
    let more = "[app.swap]\ndrain = \"5s\"\nbake = \"100ms\"\nwatch = \"0s\"\n";
    let (fronted, [second]) = Fronted::with(more, [release("web-2")])?;
    let host = &fronted.host;
    expect(host, &host.swap(&second, &[])?, COMMITTED)?;
    fronted.ensure_alone(1, "web-2")?;
    let definition = host.host.definitions().join(format!("{APP}.toml"));
    let text = std::fs::read(&definition)?;
    std::fs::remove_file(&definition)?;
    host.host.must(&["reload"])?;
    host.host.until("the app is gone", || Ok(host.sides().is_empty()))?;
    // The next supervisor tells the agent that there is no such app.
    ensure!(host.host.kill_supervisor()?, "there is no supervisor to kill");
    let is_seen = || Ok(said(host).contains("web is not watched any more"));
    host.host.until("the agent has seen that the app is gone", is_seen)?;
    std::fs::write(&definition, text)?;
    host.host.must(&["reload"])?;
    fronted.until_only(0)?;
    host.version().map(drop).with_context(|| said(host))
}

/// Proof: with nobody in front it is blue and green on one host all the same: the new version
/// serves on the other port, the old port refuses, and `check` says so beforehand.
pub fn without_a_balancer() -> Result<()> {
    let mut host = AppHost::prepare("")?;
    let ports = free_ports()?;
    let text = definition(&host.first, ports, QUICK);
    std::fs::write(host.host.definitions().join(format!("{APP}.toml")), text)?;
    let second = host.release(&release("web-2"))?;
    host.port = ports[0];
    host.settle()?;
    expect(&host, &host.swap(&second, &[])?, COMMITTED)?;
    ensure!(host.ask("/").is_err(), "nobody listens on the old port any more");
    host.port = ports[1];
    ensure!(host.version()? == "web-2", "{}", said(&host));
    let definitions = host.host.definitions().display().to_string();
    let told = host.host.must(&["check", &definitions])?;
    ensure!(told.contains("nobody tells a load balancer"), "{told}");
    let told = host.host.must(&["status", APP])?;
    ensure!(told.contains(&format!("port {}", ports[1])), "{told}");
    Ok(())
}
