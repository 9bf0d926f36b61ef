//! A host behind an Application Load Balancer, in an Auto Scaling group: the real agent, with moto as
//! AWS and an HAProxy as the balancer's nodes, which learn of everything a moment late.
//!
//! What was asked of AWS is compared to the letter, with the version that served at that moment and
//! how the target stood: nobody is told to stop before the target is out, and nobody waits for the
//! end of its deregistration delay, which is longer than a test.

use super::balancers::{Other, hold_balancers, other_server, release};
use super::ports::{definition, free_ports};
use super::swaps::{COMMITTED, QUICK, ROLLED_BACK, expect, said};
use anyhow::{Context, Result, ensure};
use imds::Instance;
use qemu_tests::apphost::{AGENT, APP, AppHost, Release};
use qemu_tests::aws::{BALANCED_GROUP, Moto, REGION};
use qemu_tests::contained::PATIENCE;
use qemu_tests::load;
use qemu_tests::proxy::{BACKEND, Proxy};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Two instances of a group, each with its port in the target group `web`, and a hook that waits for
/// an instance's end; prints both. PORTS is what comes before.
const SCENE: &str = "
balanced = BalancedGroup(PORTS[0], 600)
balanced.scaling.put_lifecycle_hook(AutoScalingGroupName='web', LifecycleHookName='drain',
    HeartbeatTimeout=300, LifecycleTransition='autoscaling:EC2_INSTANCE_TERMINATING')
balanced.register(*(dict(Id=one, Port=port) for one, port in zip(balanced.instances, PORTS)))
print(*balanced.instances)
";

/// What the metadata service says of the instance's place in its group.
const GROUP: &str = "meta-data/autoscaling/target-lifecycle-state";
const SPOT: &str = "meta-data/spot/instance-action";

/// The host, another one that is never touched, and the balancer in front of both.
struct Fronted {
    host: AppHost,
    moto: Moto,
    metadata: imds::Server,
    proxy: Proxy,
    /// The instances.
    own: String,
    other: String,
    /// Where users come.
    users: u16,
    /// Orders that are old.
    mark: usize,
    _server: Other,
}

impl Fronted {
    /// A host whose app listens, now or later, on `ports`, the first of them registered; up, and
    /// known to be well.
    fn start(host: AppHost, ports: &[u16], balancer: &str) -> Result<Self> {
        let [users, other_port] = free_ports()?;
        let server = other_server(&host.host, other_port)?;
        let moto = Moto::start()?;
        let scene = format!("{BALANCED_GROUP}\nPORTS = [{}, {other_port}]\n{SCENE}", ports[0]);
        let printed = moto.python(&scene)?;
        let (own, other) = printed.split_once(' ').context("two instances")?;
        let (own, other) = (own.to_owned(), other.to_owned());
        let state = host.host.path("imds.json");
        Instance { id: own.clone(), ..Instance::default() }.state().save(&state)?;
        let metadata = imds::listen("127.0.0.1:0".parse()?, &state)?;
        metadata.change(|state| {
            state.set(GROUP, "InService");
        })?;
        let mut names: Vec<(String, u16, &str)> = vec![("other".to_owned(), other_port, &other)];
        names.extend(ports.iter().map(|port| (format!("own-{port}"), *port, own.as_str())));
        let servers: Vec<(&str, u16)> =
            names.iter().map(|(name, port, _)| (name.as_str(), *port)).collect();
        let proxy = Proxy::start(&host.host.path(""), users, &servers)?;
        let targets = names.iter().map(|(name, port, instance)| {
            (format!("{instance}:{port}"), format!("{BACKEND}/{name}"))
        });
        moto.nodes(proxy.socket(), &targets.collect::<BTreeMap<_, _>>())?;
        host.configure(&format!(
            "[cloud]\nregion = \"{REGION}\"\nendpoint = \"{}\"\nmetadata = \"{}\"\n\
             [cloud.notices]\npoll = \"1s\"\n[balancer.front]\nkind = \"alb\"\napp = \"{APP}\"\n\
             target-groups = [\"web\"]\nfloor = \"2s\"\nsettle = \"200ms\"\n{balancer}",
            moto.url(),
            metadata.url()
        ))?;
        let mark = moto.calls().len();
        let mut this =
            Self { host, moto, metadata, proxy, own, other, users, mark, _server: server };
        this.host.settle()?;
        this.until_sent_to(&format!("own-{}", ports[0]))?;
        this.until_sent_to("other")?;
        Ok(this)
    }

    fn until_sent_to(&self, server: &str) -> Result<()> {
        let sent = self.host.host.until(&format!("{server} gets users"), || {
            Ok(self.proxy.states()?.get(server) == Some(&"up"))
        });
        let told = || {
            let (servers, calls) = (self.proxy.states(), self.moto.calls());
            format!("servers {servers:?}\nAWS was told {calls:#?}\n{}", said(&self.host))
        };
        sent.with_context(told)
    }

    /// The health checks of an instance find that; nothing: that it is well.
    fn tag(&self, instance: &str, sick: &str) -> Result<()> {
        let tags = format!("Tags=[dict(Key='sick', Value='{sick}')]");
        let script = format!("client('ec2').create_tags(Resources=['{instance}'], {tags})");
        self.moto.python(&script).map(drop)
    }

    /// Orders to AWS since the last look, with the host for its instance.
    fn calls(&mut self) -> Vec<String> {
        let calls = self.moto.calls();
        let new = calls[self.mark..].iter().map(|call| call.replace(&self.own, "own"));
        let new = new.collect();
        self.mark = calls.len();
        new
    }

    fn until_call(&self, begin: &str) -> Result<()> {
        self.host.host.until(&format!("AWS is told {begin}"), || {
            Ok(self.moto.calls()[self.mark..].iter().any(|call| call.starts_with(begin)))
        })
    }

    fn expect_calls(&mut self, expected: &[String]) -> Result<()> {
        let calls = self.calls();
        ensure!(calls == expected, "{calls:#?}, not {expected:#?}\n{}", said(&self.host));
        Ok(())
    }

    /// Each under a name of its own: servers count who asks twice.
    fn load(&self, name: &str) -> Result<load::Running> {
        let plan = load::Plan::new(([127, 0, 0, 1], self.users).into(), name, 50, 600);
        let load = load::start(plan.patient())?;
        ensure!(load.answered(25, PATIENCE), "the load runs");
        Ok(load)
    }

    fn ensure_none_failed(&self, load: load::Running) -> Result<load::report::Report> {
        let report = load.stop();
        ensure!(report.failed == 0, "{report:?}\n{}", said(&self.host));
        Ok(report)
    }

    fn plant(&self, path: &str, document: impl Into<Value>) -> Result<()> {
        let document = document.into();
        Ok(self.metadata.change(|state| {
            state.set(path, document);
        })?)
    }

    /// Replaces words of the agent's configuration, and has it read.
    fn reconfigure(&self, words: &[(&str, &str)]) -> Result<()> {
        let path = self.host.host.path("agent.toml");
        let text = std::fs::read_to_string(&path)?;
        let replace = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
        std::fs::write(path, words.iter().fold(text, replace))?;
        self.host.host.must(&["restart", AGENT]).map(drop)
    }
}

/// What one way out of a target group and back is, to AWS.
fn out_and_back(port: u16, old: &str, new: &str) -> Vec<String> {
    vec![
        "EnterStandby own".to_owned(),
        format!("DeregisterTargets own:{port} {old} healthy"),
        format!("RegisterTargets own:{port} {new} draining"),
        "ExitStandby own".to_owned(),
    ]
}

/// Proof: under a load without retries. A host that is needed stays in until the other one is well.
/// Then it goes: in standby first, out of the target group while the old version serves, back when
/// the new one does, though AWS throttles, loses an answer, and the agent is killed meanwhile.
/// Nobody waits for `unused`. A swap by `overlap` AWS never hears of; with `always` it does the
/// same, and one to a sick release ends back in, with the group suspended meanwhile. Then a spot
/// notice comes while the host is out for a swap, in standby: its group gets it back, so that it is
/// replaced and the group as large as before; then the app stops, and the power goes.
pub fn around_swaps_and_spot() -> Result<()> {
    let host = AppHost::prepare(&format!("{QUICK}strategy = \"restart\"\n"))?;
    let make = |name, serve| host.release(&Release { name, serve, programs: &[] });
    let sick: &[&str] = &["--up-status", "503"];
    let (second, third) = (make("web-2", &[])?, make("web-3", &[])?);
    // The last one would be taken back after a while, too; until then the host is out.
    let (sick, fifth) = (make("web-4", sick)?, make("web-5", sick)?);
    hold_balancers(&host.host)?;
    let port = host.port;
    let mut fronted = Fronted::start(host, &[port], "around = \"restart\"\nasg = \"standby\"\n")?;
    let load = fronted.load("users")?;
    fronted.tag(&fronted.other, "Target.Timeout")?;
    let swap = fronted.host.begin(&["swap", APP, &second])?;
    fronted.host.host.until("the swap waits for the other one", || {
        Ok(fronted.host.host.must(&["status", "--json"])?.contains("0 other healthy of the 1"))
    })?;
    fronted.expect_calls(&[])?;
    fronted.moto.trouble(&["Throttling", "InternalFailure"])?;
    fronted.tag(&fronted.other, "")?;
    fronted.until_call("DeregisterTargets")?;
    fronted.host.host.until("an agent was killed", || fronted.host.kill_agent())?;
    let swap = swap.wait_with_output()?;
    ensure!(swap.status.code() == Some(COMMITTED), "{swap:?}\n{}", said(&fronted.host));
    let mut expected = out_and_back(port, "web-1", "web-2");
    // Not carried out; carried out, and its answer lost: AWS refuses the same again.
    let tries =
        ["EnterStandby own Throttling", "EnterStandby own InternalFailure", "EnterStandby own"];
    expected.splice(..1, tries.map(str::to_owned));
    fronted.expect_calls(&expected)?;
    let report = fronted.ensure_none_failed(load)?;
    ensure!(report.versions.contains_key("web-2"), "users are back: {report:?}");

    // Other sockets: users of the host itself are cut off by that.
    let file = fronted.host.host.definitions().join(format!("{APP}.toml"));
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(&file, text.replace("strategy = \"restart\"", "strategy = \"overlap\""))?;
    let before = fronted.host.host.service(APP)?["pid"].clone();
    fronted.host.host.must(&["reload"])?;
    let again = |one: &Value| one["pid"] != before && one["state"] == "running";
    fronted.host.host.wait_service(APP, "runs anew", again)?;
    fronted.host.host.until("it serves", || Ok(fronted.host.version().is_ok()))?;
    fronted.until_sent_to(&format!("own-{port}"))?;
    let load = fronted.load("later")?;
    expect(&fronted.host, &fronted.host.swap(&third, &[])?, COMMITTED)?;
    fronted.expect_calls(&[])?;
    fronted.reconfigure(&[("\"restart\"", "\"always\""), ("standby", "suspend")])?;
    expect(&fronted.host, &fronted.host.swap(&sick, &[])?, ROLLED_BACK)?;
    let mut expected = out_and_back(port, "web-3", "web-3");
    (expected[0], expected[3]) = ("SuspendProcesses web".into(), "ResumeProcesses web".into());
    fronted.expect_calls(&expected)?;

    fronted.reconfigure(&[("suspend", "standby")])?;
    let mut swap = fronted.host.begin(&["swap", APP, &fifth])?;
    fronted.until_call("DeregisterTargets")?;
    fronted.plant(SPOT, json!({ "action": "terminate", "time": "${now+90}" }))?;
    fronted.host.host.ended_saying("power-off now")?;
    swap.wait()?;
    let report = fronted.ensure_none_failed(load)?;
    let of_users = |version: &&str| report.versions.contains_key(*version);
    ensure!(["web-4", "web-5"].iter().all(|version| !of_users(version)), "{report:?}");
    let out = out_and_back(port, "web-3", "");
    fronted.expect_calls(&[out[0].clone(), out[1].clone(), out[3].clone()])
}

/// Proof: two ports of one host are two targets. Under a load without retries the new version's
/// joins, is well, and then the old one's leaves; a sick release is never registered. Then a reload
/// gives the app other ports: the old target leaves at once and a new one joins, by no swap. At
/// last, under a load again, the group takes the host away: its hook hears that it takes a while,
/// the target leaves for good, only then does the app stop, and then the hook hears that it need not
/// wait.
pub fn two_ports_and_scale_in() -> Result<()> {
    let mut host = AppHost::prepare("")?;
    let ([zero, one], [two, three]) = (free_ports()?, free_ports()?);
    let file = host.host.definitions().join(format!("{APP}.toml"));
    std::fs::write(&file, definition(&host.first, [zero, one], QUICK))?;
    let sick = Release { name: "web-3", serve: &["--up-status", "503"], programs: &[] };
    let (second, sick) = (host.release(&release("web-2"))?, host.release(&sick)?);
    hold_balancers(&host.host)?;
    host.port = zero;
    let mut fronted = Fronted::start(host, &[zero, one, two, three], "asg = \"standby\"\n")?;
    let load = fronted.load("users")?;
    expect(&fronted.host, &fronted.host.swap(&second, &[])?, COMMITTED)?;
    fronted.expect_calls(&[
        format!("RegisterTargets own:{one} web-2 unused"),
        format!("DeregisterTargets own:{zero} web-1 healthy"),
    ])?;
    expect(&fronted.host, &fronted.host.swap(&sick, &[])?, ROLLED_BACK)?;
    fronted.expect_calls(&[])?;
    let report = fronted.ensure_none_failed(load)?;
    ensure!(report.versions.contains_key("web-2"), "{report:?}");

    std::fs::write(&file, definition(&fronted.host.first, [two, three], QUICK))?;
    fronted.host.host.must(&["reload"])?;
    fronted.until_sent_to(&format!("own-{three}"))?;
    let calls = fronted.calls();
    let [left, joined] = &calls[..] else { anyhow::bail!("{calls:#?}") };
    ensure!(left.starts_with(&format!("DeregisterTargets own:{one} ")), "{left}");
    ensure!(joined.starts_with(&format!("RegisterTargets own:{three} ")), "{joined}");

    let load = fronted.load("later")?;
    fronted.plant(GROUP, "Terminated")?;
    let heartbeat = fronted.moto.lifecycle_action(PATIENCE)?;
    ensure!(heartbeat.starts_with("heartbeat web drain"), "{heartbeat}");
    let complete = fronted.moto.lifecycle_action(PATIENCE)?;
    ensure!(complete == format!("complete web drain {} CONTINUE", fronted.own), "{complete}");
    ensure!(fronted.host.sides().is_empty(), "the app had stopped before");
    fronted.host.host.ended()?;
    fronted.ensure_none_failed(load)?;
    fronted.expect_calls(&[format!("DeregisterTargets own:{three} web-2 healthy")])
}
