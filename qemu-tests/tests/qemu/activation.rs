//! What the tasks of a boot leave behind on an EC2 guest, over two boots of one disk.

use anyhow::{Context, Result, ensure};
use qemu_tests::guest::view::View;
use qemu_tests::guest::{End, Guest, PATIENCE, image};
use qemu_tests::guests;
use serde_json::Value;
use std::time::Instant;

const BUSYBOX: &str = "/run/current-system/sw/bin/busybox";

/// What SHA-256 makes of the guest's instance id: the same in every release.
const MACHINE_ID: &str = "eb6df0a0672a56398a7ec0ef430b9761";

/// A file that nobody of ours makes.
const PLANTED: &str = "/etc/planted";

const KILL: u8 = 9;

/// Proof: on a host whose clock says 1990, every task did its work before the services that need it;
/// a reboot finds the same machine id and account numbers, another random seed, an `/etc` without
/// what was planted; devices have their drivers, also one that is attached later and a file system
/// that only the kernel asks for. A supervisor that is killed tells the same of the boot.
pub fn tasks(name: &str) -> Result<()> {
    let mut guest = guests::boot(name)?.start()?;
    guest.agent.hello(PATIENCE)?;
    View::settled(&mut guest.agent, PATIENCE)?;
    etc_is_made(&mut guest)?;
    kernel_is_told(&mut guest)?;
    drivers_are_loaded(&mut guest)?;
    let first = identity(&mut guest)?;
    boot_is_told(&mut guest)?;
    shell(&mut guest, &format!("echo x > {PLANTED}; sync"))?;

    guest.agent.rollinit_last(&["reboot"])?;
    guest.agent.hello(PATIENCE)?;
    View::settled(&mut guest.agent, PATIENCE)?;
    let said = guest.agent.rollinit(&["logs", "activate-random-seed"])?;
    ensure!(said.contains("used, and counted"), "the seed of the boot before: {said}");
    let second = identity(&mut guest)?;
    ensure!(first.account == second.account, "an account got another number: {second:?}");
    ensure!(first.seed != second.seed, "two boots with one seed: {first:?}");
    let planted = shell(&mut guest, &format!("test -e {PLANTED} && echo there || echo gone"))?;
    ensure!(planted.trim() == "gone", "/etc is that of the boot before");
    guest.agent.rollinit_last(&["poweroff"])?;
    ensure!(guest.ended(PATIENCE)? == End::PowerOff, "it was asked to power off");
    Ok(())
}

/// What has to stay, and what must not.
#[derive(Debug)]
struct Identity {
    account: String,
    seed: String,
}

fn identity(guest: &mut Guest) -> Result<Identity> {
    let id = guest.agent.read("/etc/machine-id")?;
    ensure!(id.trim() == MACHINE_ID, "the machine id is {id:?}, not that of the instance");
    let year: u32 = shell(guest, "date +%Y")?.trim().parse().context("a year")?;
    ensure!(year >= 2026, "the clock says {year}");
    let passwd = guest.agent.read("/etc/passwd")?;
    let account = passwd.lines().find(|line| line.starts_with("probe:"));
    let account = account.context("no account `probe`")?.to_owned();
    let owner = shell(guest, "stat -c '%U %a' /var/lib/probe")?;
    ensure!(owner.trim() == "probe 700", "the home is of {owner:?}");
    let seed = shell(
        guest,
        "stat -c '%a' /var/lib/rollinit/random-seed; \
        sha256sum < /var/lib/rollinit/random-seed",
    )?;
    ensure!(seed.starts_with("600\n"), "others may read the seed: {seed}");
    Ok(Identity { account, seed })
}

fn etc_is_made(guest: &mut Guest) -> Result<()> {
    let mounts = guest.agent.read("/proc/mounts")?;
    ensure!(mounts.lines().any(|line| line.starts_with("tmpfs /etc tmpfs ")), "{mounts}");
    let toplevel = image::Image::open("ec2")?.toplevel()?;
    let link = shell(guest, "readlink /etc/static")?;
    ensure!(link.trim() == format!("{toplevel}/etc"), "/etc/static leads to {link}");
    // Through the flip, by a link for each file, and by the copy.
    ensure!(guest.agent.read("/etc/hosts")?.contains("localhost"), "/etc/hosts");
    ensure!(shell(guest, "readlink /etc/hosts")?.trim() == "/etc/static/hosts", "/etc/hosts");
    let copied = shell(guest, "stat -c '%F %a' /etc/shadow")?;
    ensure!(copied.trim() == "regular file 600", "/etc/shadow is a {copied}");
    let made = shell(guest, "stat -c '%a %U' /tmp /var/crash /var/lib/probe-made")?;
    ensure!(made == "1777 root\n1733 root\n750 probe\n", "files and directories: {made}");
    Ok(())
}

fn kernel_is_told(guest: &mut Guest) -> Result<()> {
    for (setting, expected) in [
        ("kernel/core_pattern", "/var/crash/core.%e.%p.%t"),
        ("kernel/modprobe", "/run/booted-system/modprobe"),
        ("fs/protected_symlinks", "1"),
        ("kernel/hostname", "ec2"),
    ] {
        let value = guest.agent.read(&format!("/proc/sys/{setting}"))?;
        ensure!(value.trim() == expected, "{setting} is {value:?}");
    }
    let program = guest.agent.read("/proc/sys/kernel/poweroff_cmd")?;
    let program = program.split(' ').next().unwrap_or_default();
    let runs = guest.agent.run(&[program, "--version"])?;
    ensure!(runs.code == Some(0), "kernel.poweroff_cmd does not run: {runs:?}");
    Ok(())
}

/// `virtio_rng` is a device that stage 1 knows nothing of, `virtio_balloon` one that comes later,
/// and the file system is asked for by mount(2) alone.
fn drivers_are_loaded(guest: &mut Guest) -> Result<()> {
    let has = |guest: &mut Guest, module: &str| -> Result<bool> {
        let modules = guest.agent.read("/proc/modules")?;
        Ok(modules.lines().any(|line| line.split(' ').next() == Some(module)))
    };
    ensure!(has(guest, "virtio_rng")?, "no driver for the random number generator");
    ensure!(!has(guest, "virtio_balloon")? && !has(guest, "erofs")?, "loaded for nobody");
    // The mount fails, since there is no such file system; that it is known is what counts.
    shell(guest, "mount -t erofs /dev/zero /mnt 2> /dev/null || true")?;
    ensure!(has(guest, "erofs")?, "the kernel's call for a module was not heard");

    guest.qmp.monitor("device_add virtio-balloon-pci,bus=spare,id=balloon")?;
    // Each look is a question to the guest, which paces it.
    let give_up = Instant::now() + PATIENCE;
    while !has(guest, "virtio_balloon")? {
        ensure!(Instant::now() < give_up, "no driver for a device that was attached later");
    }
    Ok(())
}

/// Each service came up after what it needs, the chain goes back to the first task, and another
/// supervisor tells the same.
fn boot_is_told(guest: &mut Guest) -> Result<()> {
    let analysis = analyze(guest)?;
    let services = analysis["services"].as_array().context("no services")?;
    let time = |name: &str, key: &str| {
        let service = services.iter().find(|service| service["name"] == name);
        service.and_then(|service| service[key].as_u64()).with_context(|| format!("{name} {key}"))
    };
    for (task, later) in [
        ("activate-etc", "activate-users"),
        ("activate-users", "activate-tmpfiles"),
        ("activate-machine-id", "activate-random-seed"),
        ("activate-tmpfiles", "agent"),
        ("activate-sysctl", "agent"),
    ] {
        let (ready, starting) = (time(task, "ready_ns")?, time(later, "starting_ns")?);
        ensure!(ready <= starting, "{later} was started before {task} was done: {analysis:#}");
    }
    let (etc, machine) =
        (time("activate-etc", "starting_ns")?, time("activate-clock", "ready_ns")?);
    ensure!(etc < machine, "tasks wait for each other without need: {analysis:#}");
    ensure!(analysis["chain"].as_array().is_some_and(|chain| chain.len() > 1), "{analysis:#}");

    let view = View::take(&mut guest.agent)?;
    guest.agent.kill(view.supervisor_pid()?, KILL)?;
    let again = analyze(guest)?;
    ensure!(again["services"] == analysis["services"], "told otherwise: {again:#}");
    Ok(())
}

fn analyze(guest: &mut Guest) -> Result<Value> {
    let text = guest.agent.rollinit(&["analyze", "--json"])?;
    serde_json::from_str(&text).with_context(|| format!("analyze --json printed {text:?}"))
}

fn shell(guest: &mut Guest, line: &str) -> Result<String> {
    let output = guest.agent.run(&[BUSYBOX, "sh", "-c", line])?;
    ensure!(output.code == Some(0), "{line}: {output:?}");
    Ok(output.stdout)
}
