//! Notices of EC2, from the metadata service to the end of the host: the real agent, supervisor
//! and PID 1, a metadata service, and moto in place of AWS.

use anyhow::{Context, Result, ensure};
use imds::Instance;
use qemu_tests::apphost::AGENT;
use qemu_tests::aws::{Moto, REGION};
use qemu_tests::contained::{Contained, PATIENCE, Place};
use serde_json::json;

const SPOT: &str = "meta-data/spot/instance-action";
const GROUP: &str = "meta-data/autoscaling/target-lifecycle-state";

/// How long the slow service takes to stop, in milliseconds: more than a call takes, and more than
/// the time between two looks.
const STOP_MS: &str = "2000";

/// A group with one instance and a hook that waits for its end; prints the instance's id.
const SCENE: &str = "ec2, group = client('ec2'), client('autoscaling')\n\
    subnet = ec2.describe_subnets()['Subnets'][0]['SubnetId']\n\
    image = ec2.register_image(Name='rollinit', RootDeviceName='/dev/xvda')['ImageId']\n\
    group.create_launch_configuration(LaunchConfigurationName='c', ImageId=image, \
    InstanceType='t3.small')\n\
    group.create_auto_scaling_group(AutoScalingGroupName='web', LaunchConfigurationName='c', \
    MinSize=1, MaxSize=1, VPCZoneIdentifier=subnet)\n\
    group.put_lifecycle_hook(AutoScalingGroupName='web', LifecycleHookName='drain', \
    HeartbeatTimeout=300, LifecycleTransition='autoscaling:EC2_INSTANCE_TERMINATING')\n\
    print(group.describe_auto_scaling_instances()['AutoScalingInstances'][0]['InstanceId'])";

struct Scene {
    host: Contained,
    metadata: imds::Server,
}

impl Scene {
    /// A host with a service that stops slowly, whose agent asks `endpoint`.
    fn start(instance: &Instance, endpoint: &str, more: &str) -> Result<Self> {
        let mut host = Contained::prepare()?;
        let state = host.path("imds.json");
        instance.state().save(&state)?;
        let metadata = imds::listen("127.0.0.1:0".parse()?, &state)?;
        let folder = |name: &str| host.path(name).display().to_string();
        for name in ["nix/store", "nix/var/nix/profiles/rollinit", "state"] {
            std::fs::create_dir_all(host.path(name))?;
        }
        let program = host.program("rollinit-agent").display().to_string();
        let (root, state, run) = (folder(""), folder("state"), folder("run"));
        let config = folder("agent.toml");
        let exec =
            [&*program, "--root", &root, "--state", &state, "--run", &run, "--config", &config];
        let socket = format!("[[service.listen]]\nname = \"varlink\"\nunix = \"{run}/agent\"\n");
        let stop = "[service.stop]\ntimeout = \"60s\"\n";
        host.define(AGENT, &exec, &format!("control = \"admin\"\n{stop}{socket}"))?;
        let text = format!(
            "[cloud]\nregion = \"{REGION}\"\nendpoint = \"{endpoint}\"\nmetadata = \"{}\"\n\
             [cloud.notices]\npoll = \"1s\"\n{more}",
            metadata.url()
        );
        std::fs::write(host.path("agent.toml"), text).context("write agent.toml")?;
        let journal = folder("journal");
        host.define_app("slow", &["witness", &journal, "slow", "--stop-ms", STOP_MS], stop)?;
        host.settle(Place::Subreaper)?;
        host.wait_state("slow", "running")?;
        host.wait_state(AGENT, "running")?;
        Ok(Self { host, metadata })
    }

    fn plant(&self, path: &str, document: impl Into<serde_json::Value>) -> Result<()> {
        let document = document.into();
        Ok(self.metadata.change(|state| {
            state.set(path, document);
        })?)
    }

    fn slow_has_stopped(&self) -> Result<bool> {
        Ok(std::fs::read_to_string(self.host.path("journal"))?.contains("slow stops"))
    }

    /// How the host ended: 0 for a power-off, which its log names too.
    fn ended(&mut self, word: &str) -> Result<()> {
        self.host.ended_saying(&format!("{word} now"))?;
        ensure!(self.slow_has_stopped()?, "the service was not let stop\n{}", self.host.said());
        Ok(())
    }
}

/// Proof: the group wants the instance to end. The hook hears at once that it takes a while; the
/// host stops its services; only when the slow one has stopped, and from an agent that has itself
/// been told to stop, does the hook hear that it need not wait any longer; then the power goes.
pub fn scale_in() -> Result<()> {
    let moto = Moto::start()?;
    let id = moto.python(SCENE)?;
    let instance = Instance { id: id.clone(), ..Instance::default() };
    let mut scene = Scene::start(&instance, &moto.url(), "")?;
    scene.plant(GROUP, "InService")?;
    scene.plant(GROUP, "Terminated")?;
    let heartbeat = moto.lifecycle_action(PATIENCE)?;
    ensure!(heartbeat == format!("heartbeat web drain {id} -"), "{heartbeat}");
    ensure!(!scene.slow_has_stopped()?, "the hook hears it first\n{}", scene.host.said());
    let complete = moto.lifecycle_action(PATIENCE)?;
    ensure!(complete == format!("complete web drain {id} CONTINUE"), "{complete}");
    ensure!(scene.slow_has_stopped()?, "the hook was told too early\n{}", scene.host.said());
    scene.ended("power-off")
}

/// Proof: the metadata service goes away in the middle of everything, and services do not notice.
/// It comes back with an interruption, of an instance that EC2 only stops: the host says so in its
/// status, lets services stop, and halts instead of powering off. No AWS is there at all.
pub fn spot_stop() -> Result<()> {
    let mut scene = Scene::start(&Instance::default(), "http://127.0.0.1:9", "")?;
    let before = scene.host.service("slow")?["pid"].clone();
    scene.plant("!away", true)?;
    scene.host.until("the agent looks in vain", || Ok(scene.metadata.unanswered() > 1))?;
    scene.plant("!away", false)?;
    ensure!(scene.host.service("slow")?["pid"] == before, "the service noticed");
    scene.plant(SPOT, json!({ "action": "stop", "time": "${now+60}" }))?;
    scene.ended("halt")
}

/// Proof: what is only to be told is told, in the status too, and taken back; nothing ends.
pub fn told() -> Result<()> {
    let more = "spot = \"tell\"\n";
    let scene =
        Scene::start(&Instance { role: None, ..Instance::default() }, "http://127.0.0.1:9", more)?;
    scene.plant(SPOT, json!({ "action": "terminate", "time": "${now+100}" }))?;
    let rebalance = "meta-data/events/recommendations/rebalance";
    scene.plant(rebalance, json!({ "noticeTime": "${now+0}" }))?;
    let status = || scene.host.must(&["status"]);
    scene.host.until("the status tells of both", || {
        let text = status()?;
        Ok(text.contains("takes this spot instance back") && text.contains("at risk"))
    })?;
    scene.metadata.change(|state| {
        state.remove(SPOT).remove(rebalance);
    })?;
    scene.host.until("it is taken back", || Ok(!status()?.contains("spot instance")))?;
    let events = scene.host.must(&["events"])?;
    ensure!(!events.contains("power-off"), "nothing was to end: {events}");
    Ok(())
}
