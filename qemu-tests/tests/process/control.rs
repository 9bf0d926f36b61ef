//! Who may do what over the control socket, and with which client.

use anyhow::{Context, Result, ensure};
use qemu_tests::contained::{Contained, Identity, NOBODY, OPERATE_GROUP, Place, READ_GROUP};
use qemu_tests::guest::image::target;
use std::process::Command;

/// Exit code of the command line for "you may not".
const NOT_PERMITTED: i32 = 4;

/// Proof: the command line run under uids and groups that the kernel vouches for. Root may all; a
/// member of the operate group may start and stop but not power off; one of the read group may look;
/// anybody else may nothing; and root within a service's cgroup may look and no more, unless that
/// service's definition says that it may operate.
pub fn roles() -> Result<()> {
    let mut host = Contained::prepare()?;
    host.define_app("web", &["hang"], "")?;
    // Services that try to stop another, as root, and to look at it.
    let rollinit = host.program("rollinit");
    let script = "\"$0\" --socket \"$1\" stop web; echo stop: $?; \
                  \"$0\" --socket \"$1\" status web; echo status: $?; exec sleep 1000";
    let (program, socket) = (rollinit.to_string_lossy(), host.socket());
    let exec = ["/bin/sh", "-c", script, &program, &socket.to_string_lossy()];
    host.define("inside", &exec, "environment = { PATH = \"/bin\" }")?;
    let script = script.replace("stop web", "restart web").replace("stop:", "restart:");
    let exec = ["/bin/sh", "-c", &script, &program, &socket.to_string_lossy()];
    let more = "environment = { PATH = \"/bin\" }\ncontrol = \"operate\"";
    host.define("operator", &exec, more)?;
    host.settle(Place::Subreaper)?;
    host.until("the operator has restarted it", || {
        Ok(host.must(&["logs", "operator"])?.contains("status:"))
    })?;
    let logs = host.must(&["logs", "operator"])?;
    ensure!(logs.contains("restart: 0") && logs.contains("status: 0"), "{logs}");
    let restarted = host.wait_state("web", "running")?["incarnation"].as_u64();
    let restarted = restarted.context("a run")?;
    ensure!(restarted <= 2, "restarted at most once");

    let somebody = |group| Identity { user: NOBODY, group };
    let code = |who: Identity, words: &[&str]| -> Result<i32> {
        let output = host.rollinit_as(who, words)?;
        output.code.with_context(|| format!("{words:?}: {output:?}"))
    };
    for (group, words, expected) in [
        (None, &["status"][..], NOT_PERMITTED),
        (None, &["stop", "web"], NOT_PERMITTED),
        (Some(READ_GROUP), &["status"], 0),
        (Some(READ_GROUP), &["logs", "web"], 0),
        (Some(READ_GROUP), &["stop", "web"], NOT_PERMITTED),
        (Some(OPERATE_GROUP), &["status"], 0),
        (Some(OPERATE_GROUP), &["stop", "web"], 0),
        (Some(OPERATE_GROUP), &["start", "web"], 0),
        (Some(OPERATE_GROUP), &["poweroff"], NOT_PERMITTED),
        (Some(OPERATE_GROUP), &["start", "no-such"], 5),
    ] {
        let ended = code(somebody(group), words)?;
        ensure!(ended == expected, "group {group:?}: {words:?}: exit {ended}\n{}", host.said());
    }
    let incarnation = &host.service("web")?["incarnation"];
    ensure!(*incarnation == restarted + 1, "stopped and started once: {incarnation}");

    host.until("the service has tried", || {
        Ok(host.must(&["logs", "inside"])?.contains("status:"))
    })?;
    let logs = host.must(&["logs", "inside"])?;
    let refused = format!("stop: {NOT_PERMITTED}");
    ensure!(logs.contains(&refused) && logs.contains("status: 0"), "{logs}");
    Ok(())
}

/// Talks to the socket with nothing but what the Varlink package and the socket itself know.
const FOREIGN: &str = "\
import sys, varlink
with varlink.Client.new_with_address('unix:' + sys.argv[1]) as client:
    names = client.get_interface('org.varlink.service')
    with client.open('org.varlink.service') as service:
        assert 'io.rollinit.Supervisor' in service.GetInfo()['interfaces']
    with client.open('io.rollinit.Supervisor') as supervisor:
        status = supervisor.GetStatus()
        assert [one['name'] for one in status['services']] == ['web'], status
        assert status['services'][0]['state'] == 'running', status
        supervisor.Stop('web')
        assert supervisor.GetStatus('web')['services'][0]['state'] == 'stopped'
        supervisor.Start('web')
        status = supervisor.GetStatus('web')
        assert status['services'][0]['incarnation'] == 2, status
        try:
            supervisor.Start('no-such')
            raise SystemExit('no error for a service that is not there')
        except varlink.VarlinkError as error:
            assert error.error() == 'io.rollinit.Supervisor.NoSuchService', error.error()
print('understood')
";

/// Proof: Python's `varlink`, which knows of rollinit only what the socket tells it, reads the
/// status, stops and starts a service, and understands an error by its name.
pub fn foreign_client() -> Result<()> {
    let mut host = Contained::prepare()?;
    host.define_app("web", &["hang"], "")?;
    host.settle(Place::Subreaper)?;
    host.wait_state("web", "running")?;
    let python = std::env::var_os("ROLLINIT_PYTHON");
    let python = python.map_or_else(|| target().join("venv/bin/python3"), Into::into);
    let mut command = Command::new(&python);
    let output = command.args(["-c", FOREIGN]).arg(host.socket()).output();
    let output = output
        .with_context(|| format!("run {}: `cargo xtask setup` makes it", python.display()))?;
    ensure!(output.stdout == b"understood\n", "{output:?}\n{}", host.said());
    Ok(())
}
