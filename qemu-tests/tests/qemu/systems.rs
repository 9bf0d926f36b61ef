//! The hosts' own system goes over a group: two hosts behind UEFI, systemd-boot and HAProxy, each
//! rebooted in its turn, under load.

use anyhow::{Context, Result, ensure};
use qemu_tests::cluster::haproxy::Server;
use qemu_tests::cluster::rollouts::{BLESSED, FAILED, Rolled};
use qemu_tests::cluster::{self, Cluster, Options, SHOP, SYSTEM, WEB};
use qemu_tests::guest::PATIENCE;
use qemu_tests::guest::swap::REFUSED;
use serde_json::Value;

/// Answers of a load before and after what is done.
const ANSWERS: u64 = 20;

/// The hosts.
const HOSTS: u8 = 2;

/// Proof: the kernel's own command line says what each boot runs, and each host's boot id how often
/// it rebooted. v2 goes over both hosts, one after the other: whenever HAProxy is asked meanwhile
/// one of them at least takes users. A system that differs in a service alone goes over both without
/// a reboot. v3 panics: one host tried it and is back on what it ran, in its balancers again; the
/// other one was not rebooted. A host of the old image that joins meanwhile installs what is
/// blessed, under no slot. No request of the load through HAProxy failed. By hand a host is not
/// swapped.
pub fn roll(name: &str) -> Result<()> {
    cluster::within(|| {
        let options = Options { hosts: HOSTS, etcd: 1, aws: false, firmware: true };
        let mut cluster = Cluster::start(name, options)?;
        let loads = [WEB, SHOP].map(|front| cluster.load(front, front.app));
        let [v2, live, v3] = ["v2", "live", "v3"].map(|system| path(&mut cluster, system));
        let (v2, live, v3) = (v2?, live?, v3?);
        let (rolled, fewest) = watched(&cluster, &v2)?;
        let rolled = rolled.expect(BLESSED)?;
        ensure!(fewest < usize::from(HOSTS), "no host that rebooted left its balancers");
        println!("v1 -> v2 on {HOSTS} hosts in {:.1} s", rolled.took.as_secs_f64());
        for number in 1..=HOSTS {
            cluster.host(number)?.settled()?;
        }
        let boots = boots(&mut cluster)?;
        ensure!(boots.iter().all(|(_, system)| *system == v2), "{boots:?} should run {v2}");

        by_hand(&mut cluster, &v3)?;
        without_reboot(&mut cluster, &live, &boots)?;

        let joined = cluster.join()?;
        let rolled = watched(&cluster, &v3)?.0.expect(FAILED)?;
        println!("v3 stopped at one host in {:.1} s: {}", rolled.took.as_secs_f64(), rolled.why());
        let group = cluster.until("nobody is out", |group| group.out().is_empty())?;
        let failed: Vec<_> =
            group.failed(SYSTEM).into_iter().filter(|(path, _)| *path == v3).collect();
        let [(_, host)] = failed.as_slice() else {
            anyhow::bail!("v3 should have failed on one host: {failed:?}");
        };
        let struck = (1..=HOSTS).find(|number| cluster.id(*number).ok() == Some(host));
        let struck = struck.context("a host")?;
        back_on(&mut cluster, struck, &live, &boots)?;
        installed(&mut cluster, joined, &live)?;
        cluster.until_serving(joined)?;
        for running in loads {
            let running = running?;
            let answers = running.answered(ANSWERS, PATIENCE);
            let report = running.stop();
            println!("{report}");
            ensure!(answers && report.failed == 0, "answers in the end: {answers}; {report}");
        }
        Ok(())
    })
}

/// The toplevel of a system of the configuration, which every image has in its store.
fn path(cluster: &mut Cluster, system: &str) -> Result<String> {
    let text = cluster.host(1)?.shell(&format!("readlink -f /etc/systems/{system}"))?;
    Ok(text.trim().to_owned())
}

/// Each host's boot, and the system that it was started with, by the kernel's own words.
fn boots(cluster: &mut Cluster) -> Result<Vec<(String, String)>> {
    (1..=HOSTS)
        .map(|number| {
            let host = cluster.host(number)?;
            let boot = host.shell("cat /proc/sys/kernel/random/boot_id")?.trim().to_owned();
            let line = host.shell("cat /proc/cmdline")?;
            let word = line.split_whitespace().find_map(|word| word.strip_prefix("init="));
            let system = word.context("no init=")?.trim_end_matches("/init").to_owned();
            Ok((boot, system))
        })
        .collect()
}

/// Rolls a system, and asks HAProxy all the while: it always finds a host that takes users.
/// How many did so at least.
fn watched(cluster: &Cluster, path: &str) -> Result<(Rolled, usize)> {
    let mut fewest = usize::from(HOSTS);
    let rolled = cluster.roll_path(SYSTEM, path, || {
        // Each look is a whole connection, which paces it.
        let servers = cluster.haproxy.servers()?;
        let takes = |(name, server): &(&String, &Server)| {
            name.starts_with("web/i-") && server.status.starts_with("UP")
        };
        let count = servers.iter().filter(takes).count();
        ensure!(count > 0, "nobody takes users: {servers:?}");
        fewest = fewest.min(count);
        Ok(())
    })?;
    Ok((rolled, fewest))
}

/// A member is not swapped by hand, and is told what to do instead.
fn by_hand(cluster: &mut Cluster, path: &str) -> Result<()> {
    let agent = &mut cluster.host(1)?.guest()?.agent;
    let (output, _) = agent.attempt(&["swap", "system", path], None)?;
    let is_told = output.stderr.contains("rollinit rollout start system");
    ensure!(output.code == Some(REFUSED) && is_told, "{output:?}");
    Ok(())
}

/// A host that joined became what the others run, all of whom do.
fn installed(cluster: &mut Cluster, joined: u8, path: &str) -> Result<()> {
    cluster.until("all run what is blessed", |group| {
        let runs = group.runs(SYSTEM);
        runs.len() == usize::from(joined) && runs.iter().all(|(_, runs)| runs == path)
    })?;
    let host = cluster.host(joined)?;
    let agent = &mut host.guest()?.agent;
    // That of its first boot, and that of the one after it.
    agent.hello(PATIENCE)?;
    agent.hello(PATIENCE)?;
    let text = agent.rollinit(&["swaps", "system", "--json"])?;
    let swaps: Value = serde_json::from_str(&text).context("swaps")?;
    let newest = &swaps["swaps"][0];
    let is_install = newest["swap"].as_str().is_some_and(|id| id.starts_with("install-"));
    ensure!(is_install && newest["outcome"]["kind"] == "committed", "{swaps:#}");
    Ok(())
}

/// Each host has the service that is new, and is in the boot that it was in.
fn without_reboot(cluster: &mut Cluster, path: &str, before: &[(String, String)]) -> Result<()> {
    let rolled = cluster.roll_path(SYSTEM, path, || Ok(()))?.expect(BLESSED)?;
    println!("v2 -> live on {HOSTS} hosts in {:.1} s", rolled.took.as_secs_f64());
    ensure!(boots(cluster)? == before, "a host was rebooted");
    for number in 1..=HOSTS {
        let status = cluster.host(number)?.guest()?.agent.status()?;
        let mut services = status["services"].as_array().into_iter().flatten();
        let is_there = services.any(|one| one["name"] == "added" && one["state"] == "running");
        ensure!(is_there, "host {number} has not the new service: {status:#}");
    }
    Ok(())
}

/// The host that tried it is back in another boot of what it ran, and the other one in its own.
fn back_on(
    cluster: &mut Cluster,
    struck: u8,
    system: &str,
    before: &[(String, String)],
) -> Result<()> {
    // The test agent of the boot that is now.
    cluster.host(struck)?.settled()?;
    let after = boots(cluster)?;
    for (number, (before, after)) in (1..).zip(before.iter().zip(&after)) {
        // The other one was started with the system before, and became this one since.
        ensure!(after.1 == system || number != struck, "host {number} runs {}", after.1);
        ensure!((before.0 == after.0) == (number != struck), "host {number} (struck: {struck})");
    }
    let console = cluster.host(struck)?.guest()?.console.so_far();
    ensure!(console.contains("Kernel panic"), "it did not panic:\n{console}");
    Ok(())
}
