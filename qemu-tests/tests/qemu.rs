//! Guests under QEMU: the real kernel, the real PID 1. `cargo xtask test qemu [NAME]`.
//!
//! Three at once on two processors; a test of a cluster runs alone.
//! Every guest boots with `panic=-1` and QEMU with `-no-reboot`, and `Guest::ended` looks for a
//! kernel panic, so none goes unseen.

mod qemu {
    pub mod activation;
    pub mod cluster;
    pub mod disks;
    pub mod ec2;
    pub mod ec2_credentials;
    pub mod ec2_network;
    pub mod ec2_notices;
    pub mod ec2_user_data;
    pub mod power_cuts;
    pub mod slots;
    pub mod swaps;
    pub mod systems;
    pub mod vm;
}

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Trial};
use qemu::{
    activation, cluster, disks, ec2, ec2_credentials, ec2_network, ec2_notices, ec2_user_data,
    power_cuts, slots, swaps, systems, vm,
};
use qemu_tests::guest::view::View;
use qemu_tests::guest::{End, Guest, PATIENCE, image};
use qemu_tests::guests;
use qemu_tests::load::{self, Plan};
use qemu_tests::turns::{self, Times};
use std::process::{Command, ExitCode};

/// A test's name, which is its guest's too, and what it does.
type Test = (&'static str, fn(&str) -> Result<()>);

/// TCG takes a whole processor for a guest that works; for a third of its time a test waits.
const BUSY_TENTHS: usize = 6;

static TIMES: Times = Times::new();

/// The long ones first, so that none is left to run by itself; those of a cluster do so anyhow.
const TESTS: [Test; 36] = [
    ("swap-200", swaps::two_hundred),
    ("slots-fall-back", slots::fall_back),
    ("power-cuts", power_cuts::survived),
    ("swap-kills", swaps::kills),
    ("slots", slots::good),
    ("swap-other-makes", swaps::other_makes),
    ("swap-bad", swaps::bad),
    ("swap-commits", swaps::commits),
    ("ec2-becomes", ec2_user_data::becomes_a_system),
    ("power-cuts-forgetful", power_cuts::forgetful),
    ("boot", boot),
    ("boot-nvme", boot_nvme),
    ("supervisor-killed-under-load", supervisor_killed_under_load),
    ("web-app-killed-under-load", web_app_killed_under_load),
    ("wedged-console", wedged_console),
    ("power-button", power_button),
    ("ctrl-alt-del", ctrl_alt_del),
    ("failing-root", failing_root),
    ("broken-definition", broken_definition),
    ("shutdown-order", shutdown_order),
    ("foreign-client", foreign_client),
    ("root-grows", disks::root_grows),
    ("root-late", disks::root_late),
    ("volumes", disks::volumes),
    ("ec2-boot", ec2::boot),
    ("ec2-direct", ec2::direct),
    ("vm-image", vm::of_image),
    ("vm-system", vm::of_system),
    ("activation", activation::tasks),
    ("ec2-credentials", ec2_credentials::delivered),
    ("ec2-notices", ec2_notices::scale_in),
    ("ec2-network", ec2_network::online),
    ("ec2-user-data", ec2_user_data::becomes),
    ("cluster-rolls", cluster::rolls),
    ("cluster-survives", cluster::survives),
    ("cluster-systems", systems::roll),
];

/// Reads a real guest through Python's `varlink`, which knows of rollinit only what the socket
/// tells it; argument: the port.
const FOREIGN: &str = "\
import sys, varlink
client = varlink.Client('tcp:127.0.0.1:' + sys.argv[1])
with client.open('io.rollinit.Supervisor') as host:
    status = host.GetStatus()
    assert status['host']['init']['pid'] == 1, status['host']
    states = {service['name']: service['state'] for service in status['services']}
    assert states['web'] == 'running', states
    try:
        host.Stop('web')
    except varlink.VarlinkError as error:
        assert error.error() == 'io.rollinit.Supervisor.NotPermitted', error.error()
    else:
        sys.exit('a service may stop others')
print('understood')
";

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(turns::at_once(BUSY_TENTHS));
    let trial = |(name, test): Test| {
        let is_alone = name.starts_with("cluster-");
        let run = move || turns::take(is_alone, || TIMES.of(name, || test(name)));
        Trial::test(name, move || run().map_err(|error| format!("{error:#}").into()))
    };
    let conclusion = libtest_mimic::run(&arguments, TESTS.into_iter().map(trial).collect());
    println!("{TIMES}");
    conclusion.exit_code()
}

/// Requests a second: a TCG guest answers them with room to spare.
const RATE: u32 = 30;

/// Seconds of load at most. Tests stop it earlier, when they have seen enough.
const SECONDS: u64 = 300;

const KILL: u8 = 9;

fn started(name: &str) -> Result<(Guest, View)> {
    let mut guest = up(name)?;
    let view = View::settled(&mut guest.agent, PATIENCE)?;
    Ok((guest, view))
}

fn up(name: &str) -> Result<Guest> {
    let mut guest = guests::boot(name)?.start()?;
    guest.agent.hello(PATIENCE).with_context(|| {
        let console = guest.console.so_far();
        let start = console.lines().count().saturating_sub(30);
        let tail: Vec<&str> = console.lines().skip(start).collect();
        format!("the guest does not come up; its console says:\n{}", tail.join("\n"))
    })?;
    Ok(guest)
}

/// Proof: the agent answers, so kernel, stage 1, PID 1, supervisor and services came up in a row.
/// What each service inherits is read from the kernel, not asked of the service. The guest's own
/// reboot, and no panic, end it.
fn boot(name: &str) -> Result<()> {
    let (mut guest, view) = started(name)?;
    for (service, pid) in view.pids() {
        let status = guest.agent.read(&format!("/proc/{pid}/status"))?;
        // Busybox's shell ignores SIGQUIT by itself, the agent (Rust) SIGPIPE; `idle` ignores none.
        let zero = |key: &str| {
            status.lines().any(|line| {
                line.strip_prefix(key).is_some_and(|rest| rest.trim().trim_matches('0').is_empty())
            })
        };
        if ["idle", "agent", "chain-a"].contains(&service.as_str()) {
            ensure!(zero("SigIgn:") || service != "idle", "{service} ignores signals:\n{status}");
            ensure!(zero("SigBlk:"), "{service} blocks signals:\n{status}");
        }
        let parent = status.lines().any(|line| line == "PPid:\t1");
        ensure!(parent, "{service} is not PID 1's child:\n{status}");
        let cgroup = guest.agent.read(&format!("/proc/{pid}/cgroup"))?;
        ensure!(cgroup.trim() == format!("0::/services/{service}.0"), "{service} is in {cgroup}");
    }
    prepared(&mut guest)?;
    // Its argv[0] is what `init=` names, a link; what is mapped tells the program behind it.
    let maps = guest.agent.read("/proc/1/maps")?;
    ensure!(maps.contains("rollinit-init"), "PID 1 runs another program:\n{maps}");
    guest.agent.rollinit_last(&["reboot"])?;
    ensure!(guest.ended(PATIENCE)? == End::Reboot, "it was asked to reboot");
    Ok(())
}

/// What PID 1 does to a machine before its loop (docs/traps.md), and the cgroups' weights and
/// default limit, as the kernel shows them. The guest's
/// command line has `panic=-1`, which must stay.
fn prepared(guest: &mut Guest) -> Result<()> {
    for (file, value) in [
        ("kernel/panic", "-1"),
        ("kernel/modprobe", ""),
        ("kernel/printk_devkmsg", "on"),
        ("net/unix/max_dgram_qlen", "512"),
        ("net/ipv4/tcp_migrate_req", "1"),
    ] {
        let found = guest.agent.read(&format!("/proc/sys/{file}"))?;
        ensure!(found.trim() == value, "{file} is {found:?}, not {value:?}");
    }
    for (file, value) in [
        ("rollinit/cpu.weight", "1000"),
        ("rollinit/memory.min", "33554432"),
        ("services/web.0/pids.max", "4096"),
    ] {
        let found = guest.agent.read(&format!("/sys/fs/cgroup/{file}"))?;
        ensure!(found.trim() == value, "{file} is {found:?}, not {value:?}");
    }
    let mounts = guest.agent.read("/proc/1/mountinfo")?;
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/"));
    let root = root.context("no root in mountinfo")?;
    ensure!(root.contains(" shared:"), "the root is not shared: {root}");
    let runs = mounts.lines().filter(|line| line.split(' ').nth(4) == Some("/run")).count();
    ensure!(runs == 1, "/run is mounted {runs} times:\n{mounts}");
    let store = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/nix/store"));
    let options = store.and_then(|line| line.split(' ').nth(5)).context("no mount of the store")?;
    ensure!(options.split(',').any(|word| word == "ro"), "the store can be written: {options}");
    let status = guest.agent.read("/proc/1/status")?;
    ensure!(status.contains("Umask:\t0022"), "PID 1's umask:\n{status}");
    let own = guest.agent.read("/proc/1/cgroup")?;
    ensure!(own.trim() == "0::/", "PID 1 is in {own}");
    Ok(())
}

/// Proof: without an initramfs nobody but PID 1 can have made the API mounts; the root is read from
/// the kernel's own list. Modules are stage 1's business: there is no network, and all else runs.
fn boot_nvme(name: &str) -> Result<()> {
    let mut guest = up(name)?;
    let view = View::until(&mut guest.agent, PATIENCE, |view| {
        view.service("worker")["state"] == "running" && view.service("network")["state"] == "failed"
    })?;
    for service in ["web", "nginx", "chain-c"] {
        ensure!(view.service(service)["state"] == "running", "{service}: {:#}", view.0);
    }
    let mounts = guest.agent.read("/proc/mounts")?;
    for (place, kind) in [
        ("/", "ext4"),
        ("/proc", "proc"),
        ("/sys", "sysfs"),
        ("/dev", "devtmpfs"),
        ("/run", "tmpfs"),
    ] {
        let mounted = mounts.lines().any(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            words.get(1) == Some(&place) && words.get(2) == Some(&kind)
        });
        ensure!(mounted, "no {kind} at {place}:\n{mounts}");
    }
    ensure!(!guest.console.so_far().contains("rollinit-stage1"), "there should be no stage 1");
    let disks = guest.agent.read("/proc/partitions")?;
    ensure!(disks.contains("nvme0n1p1") && !disks.contains("vda"), "not on NVMe:\n{disks}");
    guest.agent.rollinit_last(&["poweroff"])?;
    ensure!(guest.ended(PATIENCE)? == End::PowerOff, "it was asked to power off");
    Ok(())
}

/// Proof: SIGKILL by the kernel under a load that counts every request on both sides. Were a
/// service restarted, its pid would differ; were a request lost or repeated, the counts would.
fn supervisor_killed_under_load(name: &str) -> Result<()> {
    let (mut guest, before) = started(name)?;
    let address = guest.address(8080)?;
    let running = load::start(Plan::new(address, name, RATE, SECONDS))?;
    ensure!(running.answered(40, PATIENCE), "the web app does not answer");
    let old = before.supervisor_pid()?;
    guest.agent.kill(old, KILL)?;
    ensure!(running.answered(80, PATIENCE), "no answers after the supervisor's death");
    let after = View::until(&mut guest.agent, PATIENCE, |view| {
        view.supervisor_pid().is_ok_and(|pid| pid != old)
    })?;
    let report = running.stop();
    ensure!(report.failed == 0, "{report}");
    let ledger = load::ledger(address, name).map_err(anyhow::Error::msg)?;
    ensure!((ledger.seen, ledger.repeated) == (report.sent, 0), "{ledger:?}, but {report}");
    let (before, after) = (before.without_supervisor(), after.without_supervisor());
    ensure!(before == after, "the status differs:\n{before:#}\n{after:#}");
    Ok(())
}

/// Proof: only requests that the killed process may have had in its hands, those due before it was
/// dead, may fail, and none by refusal. Everything due afterwards, while nobody accepts, is
/// answered within the load's two seconds: it waited in the kept socket's queue.
fn web_app_killed_under_load(name: &str) -> Result<()> {
    let (mut guest, before) = started(name)?;
    let running = load::start(Plan::new(guest.address(8080)?, name, RATE, SECONDS))?;
    ensure!(running.answered(40, PATIENCE), "the web app does not answer");
    let old = before.pid("web")?;
    guest.agent.kill(old, KILL)?;
    let dead_ms = u64::try_from(running.elapsed().as_millis())?;
    ensure!(running.answered(80, PATIENCE), "no answers after the web app's death");
    let after = View::settled(&mut guest.agent, PATIENCE)?;
    let report = running.stop();
    ensure!(report.failed == report.examples.len() as u64, "too many failures to tell: {report}");
    for example in &report.examples {
        let cut = ["connection reset", "answer cut short"].contains(&example.failure.as_str());
        ensure!(cut && example.due_ms <= dead_ms, "dead at {dead_ms} ms, but {report}");
    }
    ensure!(report.instances.len() == 2, "two processes should have answered: {report}");
    ensure!(after.pid("web")? != old, "the web app's pid did not change");
    ensure!(after.service("web")["restarts"] == 1, "restarts: {}", after.service("web"));
    let others = |view: &View| {
        let mut pids = view.pids();
        pids.retain(|(service, _)| service != "web");
        pids
    };
    ensure!(others(&before) == others(&after), "other services were touched: {after:?}");
    Ok(())
}

/// Proof: nobody reads the console's line, and the guest has filled it until it takes nothing more.
/// Whoever of PID 1 and the supervisor waits for it can neither restart a service nor power off.
fn wedged_console(name: &str) -> Result<()> {
    let (mut guest, before) = started(name)?;
    guest.console.pause();
    let bytes = guest.agent.fill("/dev/console")?;
    ensure!(bytes > 0, "the console took nothing at all");
    let old = before.pid("web")?;
    guest.agent.kill(old, KILL)?;
    View::until(&mut guest.agent, PATIENCE, |view| view.pid("web").is_ok_and(|pid| pid != old))?;
    guest.agent.rollinit(&["restart", "idle"])?;
    guest.qmp.press_power()?;
    ensure!(guest.ended(PATIENCE)? == End::PowerOff, "the power button powers off");
    Ok(())
}

/// Proof: QEMU raises the ACPI event; nothing inside is told by another way.
fn power_button(name: &str) -> Result<()> {
    let (mut guest, _) = started(name)?;
    guest.qmp.press_power()?;
    ensure!(guest.ended(PATIENCE)? == End::PowerOff, "the power button powers off");
    Ok(())
}

/// Proof: the three keys on the guest's keyboard; the kernel's own answer would be an immediate
/// reset, which would leave out the services' stop. Debian's cloud kernel may lack a keyboard
/// driver: then PID 1 gets SIGINT, which is what the kernel sends for the keys.
fn ctrl_alt_del(name: &str) -> Result<()> {
    const INTERRUPT: u8 = 2;
    let (mut guest, _) = started(name)?;
    let devices = guest.agent.read("/proc/bus/input/devices").unwrap_or_default();
    if devices.to_lowercase().contains("keyboard") {
        guest.qmp.press_ctrl_alt_del()?;
    } else {
        guest.agent.kill(1, INTERRUPT)?;
    }
    ensure!(guest.ended(PATIENCE)? == End::Reboot, "ctrl-alt-del reboots");
    let console = guest.console.so_far();
    ensure!(console.contains("order: chain-a stops"), "the services were not stopped");
    Ok(())
}

/// Proof: no disk has that PARTUUID. The text must name it, say what was seen instead and what
/// happens next, and the reboot must really come.
fn failing_root(name: &str) -> Result<()> {
    let mut guest = guests::boot(name)?.start()?;
    let line = guest.console.expect("rollinit-stage1: cannot", PATIENCE)?;
    ensure!(guest.ended(PATIENCE)? == End::Reboot, "a root that is missing ends in a reboot");
    let console = guest.console.so_far();
    for words in ["00000000-dead-beef-0000-000000000000", "vda1", "reboot"] {
        ensure!(console.contains(words), "`{words}` is not said, only: {line}");
    }
    Ok(())
}

/// Proof: the other services run beside the broken one, and each complaint of `rollinit check` over
/// the same files on this machine is in the guest's status, word by word.
fn broken_definition(name: &str) -> Result<()> {
    let boot = guests::boot(name)?;
    let check = Command::new(image::target().join("out/bin/rollinit"))
        .args(["check", "--json"])
        .arg(boot.image.definitions())
        .output()
        .context("run rollinit check here")?;
    ensure!(check.status.code() == Some(1), "check should fail with 1: {check:?}");
    let report: serde_json::Value = serde_json::from_slice(&check.stdout)?;
    let problems = report["problems"].as_array().context("no problems in the report")?;
    let lines: Vec<Option<u64>> = problems.iter().map(|problem| problem["line"].as_u64()).collect();
    ensure!(lines == [Some(4), Some(5)], "mistakes are on lines 4 and 5: {report:#}");

    let mut guest = boot.start()?;
    guest.agent.hello(PATIENCE)?;
    let view =
        View::until(&mut guest.agent, PATIENCE, |view| view.service("idle")["state"] == "running")?;
    ensure!(view.0["host"]["state"] == "degraded", "it should say so: {:#}", view.0);
    let said = view.0.to_string();
    for problem in problems {
        // As JSON text on both sides, so that quoting does not matter.
        let message = problem["message"].to_string();
        ensure!(said.contains(message.trim_matches('"')), "{message} is not in {said}");
    }
    guest.agent.rollinit_last(&["poweroff"])?;
    ensure!(guest.ended(PATIENCE)? == End::PowerOff, "it was asked to power off");
    Ok(())
}

/// Proof: each of three services that start in a row says on the console when it is told to stop,
/// and takes part in nothing else; the console's order is the order of the stops.
fn shutdown_order(name: &str) -> Result<()> {
    let (mut guest, _) = started(name)?;
    guest.agent.rollinit_last(&["poweroff"])?;
    ensure!(guest.ended(PATIENCE)? == End::PowerOff, "it was asked to power off");
    let console = guest.console.so_far();
    let place = |name: &str| console.find(&format!("order: {name} stops"));
    let places = [place("chain-c"), place("chain-b"), place("chain-a")];
    ensure!(places.iter().all(Option::is_some), "not all stopped by signal: {places:?}");
    ensure!(places.is_sorted(), "not in reverse order: {places:?}");
    Ok(())
}

/// Proof: a client that is none of ours learns the interface from the guest's socket, reads its
/// status, and is told by a named error that, coming from inside a service, it may only read.
fn foreign_client(name: &str) -> Result<()> {
    let (mut guest, _) = started(name)?;
    let port = guest.address(guests::RELAY_PORT)?.port().to_string();
    let python = image::target().join("venv/bin/python3");
    let output = Command::new(&python)
        .args(["-c", FOREIGN, &port])
        .output()
        .with_context(|| format!("run {}: `cargo xtask setup` makes it", python.display()))?;
    ensure!(output.stdout == b"understood\n", "{output:?}");
    guest.agent.rollinit_last(&["poweroff"])?;
    ensure!(guest.ended(PATIENCE)? == End::PowerOff, "it was asked to power off");
    Ok(())
}
