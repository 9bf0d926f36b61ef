//! Swaps that stop the old version first, and the end of the host, behind a real HAProxy.

use super::swaps::{COMMITTED, QUICK, ROLLED_BACK, expect, said};
use anyhow::{Context, Result, ensure};
use qemu_tests::apphost::{AGENT, APP, AppHost, Release};
use qemu_tests::contained::{Contained, PATIENCE};
use qemu_tests::fleet::Fleet;
use qemu_tests::free_port::free_port;
use qemu_tests::load;
use qemu_tests::proxy::{BACKEND, Proxy};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// HAProxy's name of the host under test.
const HOST: &str = "n1";

/// Its name of another host, which serves and is never swapped.
const OTHER: &str = "n2";

/// The balancer's name in agent.toml.
const NAME: &str = "edge";

/// A host whose app is swapped by `restart`, another one, and HAProxy in front of both.
struct Fronted {
    host: AppHost,
    proxy: Proxy,
    /// Where users come.
    port: u16,
    _other: Other,
}

/// The other host's server.
pub struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn release(name: &str) -> Release<'_> {
    Release { name, serve: &[], programs: &[] }
}

/// Starts the other host's server on `port`.
pub fn other_server(host: &Contained, port: u16) -> Result<Other> {
    let mut command = Command::new(host.program("rollinit-testapp"));
    command.args(["web", "--version", "other", "--port", &port.to_string(), "--served"]);
    Ok(Other(command.arg(host.path("served")).stdin(Stdio::null()).spawn()?))
}

/// Defines the service that holds up the end of the host until it is out of its balancers.
pub fn hold_balancers(host: &Contained) -> Result<()> {
    let run = host.path("run").display().to_string();
    let (socket, agent) = (format!("{run}/supervisor"), format!("{run}/agent"));
    let program = host.program("rollinit").display().to_string();
    let exec = [&*program, "--socket", &socket, "--agent", &agent, "hold-balancers"];
    let more = format!(
        "after = [\"{AGENT}\", \"{APP}\"]\ncontrol = \"admin\"\n[service.stop]\ntimeout = \"60s\"\n"
    );
    host.define("rollinit-balancers", &exec, &more)
}

impl Fronted {
    /// Not started, with these further releases.
    fn prepare<const N: usize>(releases: [Release<'_>; N]) -> Result<(Self, [String; N])> {
        let host = AppHost::prepare(&format!("{QUICK}strategy = \"restart\"\n"))?;
        let paths: Vec<String> =
            releases.iter().map(|release| host.release(release)).collect::<Result<_>>()?;
        let (port, other_port) = (free_port()?, free_port()?);
        let other = other_server(&host.host, other_port)?;
        let servers = [(HOST, host.port), (OTHER, other_port)];
        let proxy = Proxy::start(&host.host.path(""), port, &servers)?;
        host.configure(&format!(
            "[balancer.{NAME}]\nkind = \"haproxy\"\napp = \"{APP}\"\nsockets = [{:?}]\n\
             servers = [\"{BACKEND}/{HOST}\"]\n",
            proxy.socket()
        ))?;
        let paths = paths.try_into().map_err(|_| anyhow::anyhow!("releases"))?;
        Ok((Self { host, proxy, port, _other: other }, paths))
    }

    fn started(mut self) -> Result<Self> {
        self.host.settle()?;
        self.until(HOST, "up")?;
        self.until(OTHER, "up")?;
        Ok(self)
    }

    /// Waits until HAProxy says that of a server.
    fn until(&self, server: &str, state: &str) -> Result<()> {
        let mut states = self.proxy.states()?;
        let awaited = self.host.host.until(&format!("{server} is {state}"), || {
            states = self.proxy.states()?;
            Ok(states.get(server).is_some_and(|now| now.starts_with(state)))
        });
        awaited.with_context(|| format!("{states:?}\n{}", said(&self.host)))
    }

    fn is(&self, server: &str, state: &str) -> Result<bool> {
        Ok(self.proxy.states()?.get(server).is_some_and(|now| now.starts_with(state)))
    }

    fn order(&self, server: &str, state: &str) -> Result<()> {
        let said = self.proxy.command(&format!("set server {BACKEND}/{server} state {state}"))?;
        ensure!(said.trim().is_empty(), "{said}");
        Ok(())
    }

    /// A user's request by way of HAProxy, which is answered after so many milliseconds.
    fn slow(&self, ms: u32) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = "host: test\r\nx-request-id: slow-1\r\nconnection: close";
        stream.write_all(format!("GET /slow?ms={ms} HTTP/1.1\r\n{head}\r\n\r\n").as_bytes())?;
        Ok(stream)
    }

    fn load(&self) -> Result<load::Running> {
        let plan = load::Plan::new(([127, 0, 0, 1], self.port).into(), "users", 100, 300);
        let load = load::start(plan.patient())?;
        ensure!(load.answered(50, PATIENCE), "the load runs");
        Ok(load)
    }

    fn ensure_none_failed(&self, load: load::Running) -> Result<load::report::Report> {
        let report = load.stop();
        ensure!(report.failed == 0, "{report:?}\n{}", said(&self.host));
        Ok(report)
    }

    /// Whether something of the host is written down as taken out.
    fn is_written_down(&self) -> bool {
        self.host.host.path(&format!("state/balancers/{NAME}.json")).exists()
    }
}

/// Proof: under a load without retries the host leaves HAProxy before its old version is told to
/// stop, though a user's request keeps it waiting and the agent is killed meanwhile; that request is
/// answered, the swap is committed, the host is back and its new version gets users. A sick release
/// is taken back and never seen. Not one request fails.
pub fn no_request_fails() -> Result<()> {
    let sick = Release { name: "web-3", serve: &["--up-status", "503"], programs: &[] };
    let (fronted, [second, sick]) = Fronted::prepare([release("web-2"), sick])?;
    let fronted = fronted.started()?;
    let host = &fronted.host;
    fronted.order(OTHER, "maint")?;
    let mut slow = fronted.slow(4_000)?;
    host.host.until("the slow request is with the app", || {
        Ok(host.served()?.lines().any(|line| line.contains("slow-1")))
    })?;
    fronted.order(OTHER, "ready")?;
    let load = fronted.load()?;

    let swap = host.begin(&["swap", APP, &second])?;
    fronted.until(HOST, "drain")?;
    ensure!(fronted.is_written_down(), "what is taken out is written down before");
    ensure!(host.version()? == "web-1", "the old version serves while it drains");
    host.host.until("an agent was killed", || host.kill_agent())?;
    let mut answer = String::new();
    slow.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "it was cut off: {answer:?}");
    let swap = swap.wait_with_output()?;
    ensure!(swap.status.code() == Some(COMMITTED), "{swap:?}\n{}", said(host));
    ensure!(fronted.is(HOST, "up")?, "back before the swap is over: {:?}", fronted.proxy.states()?);
    ensure!(!fronted.is_written_down(), "all of it is back");

    expect(host, &host.swap(&sick, &[])?, ROLLED_BACK)?;
    ensure!(fronted.is(HOST, "up")?, "back after the way back: {:?}", fronted.proxy.states()?);
    let reached = host.served()?;
    let mut reached = reached.lines().filter(|line| line.starts_with("web-3 "));
    ensure!(reached.all(|line| line.contains(" /up ")), "a user reached the sick one");
    let before = fronted.ensure_none_failed(load)?;
    ensure!(before.versions.contains_key("web-2"), "users are back on the host: {before:?}");
    ensure!(before.versions.contains_key("other"), "the other one served: {before:?}");
    Ok(())
}

/// Proof: a host that is needed stays: while the other one is out the swap waits, and says for whom,
/// and goes on by itself. A server that a person put into maintenance stays there, whatever is
/// swapped behind it.
pub fn the_host_is_spared() -> Result<()> {
    let (fronted, [second]) = Fronted::prepare([release("web-2")])?;
    let fronted = fronted.started()?;
    let host = &fronted.host;
    fronted.order(OTHER, "maint")?;
    let swap = host.begin(&["swap", APP, &second])?;
    host.host.until("the swap waits for the other one", || {
        let status: Value = serde_json::from_str(&host.host.must(&["status", "--json"])?)?;
        Ok(status.to_string().contains("0 other healthy of the 1"))
    })?;
    ensure!(fronted.is(HOST, "up")? && host.version()? == "web-1", "it serves on");
    fronted.order(OTHER, "ready")?;
    let swap = swap.wait_with_output()?;
    ensure!(swap.status.code() == Some(COMMITTED), "{swap:?}\n{}", said(host));
    let status = host.host.must(&["status", "--json"])?;
    ensure!(!status.contains("other healthy"), "it does not hold any more: {status}");

    fronted.order(HOST, "maint")?;
    let first = host.first.clone();
    expect(host, &host.swap(&first, &[])?, COMMITTED)?;
    ensure!(fronted.is(HOST, "maint")?, "a person took it out: {:?}", fronted.proxy.states()?);
    Ok(())
}

/// Proof: under a load without retries the host goes down; services stop only once it is out of
/// HAProxy, and not one request fails. After the next boot it is back by itself.
pub fn the_host_goes_down() -> Result<()> {
    let (fronted, []) = Fronted::prepare([])?;
    hold_balancers(&fronted.host.host)?;
    let mut fronted = fronted.started()?;
    fronted.host.host.wait_state("rollinit-balancers", "running")?;
    // Alone it holds up nobody.
    fronted.host.host.must(&["restart", "rollinit-balancers"])?;
    ensure!(fronted.is(HOST, "up")?, "its restart takes nobody out");
    let load = fronted.load()?;
    fronted.host.host.must(&["poweroff"])?;
    fronted.until(HOST, "maint")?;
    fronted.host.host.ended()?;
    fronted.ensure_none_failed(load)?;
    ensure!(fronted.is_written_down(), "it is to come back");
    fronted.host.settle()?;
    fronted.until(HOST, "up")?;
    fronted.host.host.until("nothing is written down", || Ok(!fronted.is_written_down()))?;

    // An agent that dies in the middle of that is not started again, and not waited for.
    fronted.order(OTHER, "maint")?;
    let _slow = fronted.slow(30_000)?;
    fronted.host.host.until("the slow request is with the app", || {
        Ok(fronted.host.served()?.lines().any(|line| line.contains("slow-1")))
    })?;
    fronted.order(OTHER, "ready")?;
    fronted.host.host.must(&["poweroff"])?;
    fronted.until(HOST, "drain")?;
    ensure!(fronted.host.kill_agent()?, "the agent waits for the request\n{}", said(&fronted.host));
    fronted.host.host.until("nobody holds it up any more", || {
        Ok(fronted.host.host.said().contains("rollinit-balancers#1 exited with code 1"))
    })
}

/// Proof: a host of a group whose balancer does not obey gets no release, fails none, and holds up
/// nobody: the other host has it, and the group says who is waited for and why. Once it is mended,
/// and the host's agent started anew, the rollout ends by itself.
pub fn one_holds_up_a_rollout() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let proxy = Proxy::start(folder.path(), free_port()?, &[(HOST, free_port()?)])?;
    let wrong = format!("\"nowhere/{HOST}\"");
    let section = format!(
        "[balancer.{NAME}]\nkind = \"haproxy\"\napp = \"{APP}\"\nsockets = [{:?}]\n\
         servers = [{wrong}]\n",
        proxy.socket()
    );
    let config = |number| if number == 0 { section.clone() } else { String::new() };
    let more = format!("{QUICK}strategy = \"restart\"\n");
    let fleet = Fleet::start_with(2, &more, None, config)?;
    let second = fleet.hosts[0].release(&release("web-2"))?;
    let begun = fleet.roll(&second, &[])?;
    ensure!(begun.code == Some(0), "{begun:?}");
    let mut app = Value::Null;
    let held_up = fleet.hosts[0].host.until("the first host holds it up", || {
        app = fleet.status()?["apps"][0].clone();
        Ok(app["held_up"] == serde_json::json!(["host-0"]))
    });
    held_up.with_context(|| format!("{app}\n{}", fleet.said()))?;
    ensure!(app["state"] == "rolling" && app["failed"] == serde_json::json!([]), "{app}");
    let text = app["hosts"][0]["text"].as_str().unwrap_or_default();
    ensure!(text.contains("balancer edge") && text.contains("backend"), "{app}");
    ensure!(fleet.versions()? == ["web-1", "web-2"], "{}", fleet.said());

    let path = fleet.hosts[0].host.path("agent.toml");
    let mended = std::fs::read_to_string(&path)?.replace(&wrong, &format!("\"{BACKEND}/{HOST}\""));
    std::fs::write(&path, mended)?;
    fleet.hosts[0].host.must(&["restart", AGENT])?;
    let blessed = fleet.hosts[0].host.until("it is blessed", || {
        app = fleet.status()?["apps"][0].clone();
        Ok(app["state"] == "blessed")
    });
    blessed.with_context(|| format!("{app}\n{}", fleet.said()))?;
    ensure!(fleet.versions()? == ["web-2", "web-2"], "{}", fleet.said());
    Ok(())
}
