//! A host as on EC2 that its Auto Scaling group ends: over its own network, to the real power-off.

use anyhow::{Context, Result, ensure};
use imds::{Instance, State};
use qemu_tests::aws::Moto;
use qemu_tests::guest::view::View;
use qemu_tests::guest::{End, PATIENCE, network};
use qemu_tests::guests;
use std::path::Path;

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

fn change(path: &Path, change: impl FnOnce(&mut State)) -> Result<()> {
    let mut state = State::load(path, None)?;
    change(&mut state);
    Ok(state.save(path)?)
}

/// Proof: the metadata service goes away while the host runs, and the host goes on; it comes back
/// with the group's wish. The hook hears of it over the guest's own network, before and, while the
/// network is still there, after services have stopped; then the machine is off.
pub fn scale_in(name: &str) -> Result<()> {
    let moto = Moto::start()?;
    let id = moto.python(SCENE)?;
    let scene = tempfile::tempdir().context("a folder")?;
    let path = scene.path().join("imds.json");
    Instance { id: id.clone(), ..Instance::default() }.state().save(&path)?;
    let mut boot = guests::boot(name)?;
    boot.ec2 = Some(network::Ec2 { imds: path.clone(), aws: Some(moto.address()) });
    let mut guest = boot.start()?;
    guest.agent.hello(PATIENCE)?;
    let before = View::settled(&mut guest.agent, PATIENCE)?;
    change(&path, |state| {
        state.set("!away", true);
    })?;
    let meanwhile = View::settled(&mut guest.agent, PATIENCE)?;
    ensure!(meanwhile.pids() == before.pids(), "somebody noticed: {:#}", meanwhile.0);
    change(&path, |state| {
        state.remove("!away").set("meta-data/autoscaling/target-lifecycle-state", "Terminated");
    })?;
    let heartbeat = moto.lifecycle_action(PATIENCE)?;
    ensure!(heartbeat == format!("heartbeat web drain {id} -"), "{heartbeat}");
    let complete = moto.lifecycle_action(PATIENCE)?;
    ensure!(complete == format!("complete web drain {id} CONTINUE"), "{complete}");
    ensure!(guest.ended(PATIENCE)? == End::PowerOff, "it was to power off");
    let console = guest.console.so_far();
    ensure!(console.contains("Auto Scaling group ends this instance"), "unsaid:\n{console}");
    Ok(())
}
