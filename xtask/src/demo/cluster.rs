//! `cargo xtask demo cluster`: releases go over three hosts and a fourth, under load, while what
//! they stand on is taken away. About three minutes.

use super::{ANSWERS, Table, finish};
use crate::workspace::step;
use crate::{build, image, setup};
use anyhow::{Context, Result, ensure};
use qemu_tests::cluster::haproxy::Front;
use qemu_tests::cluster::rollouts::{BLESSED, FAILED};
use qemu_tests::cluster::{self, API, Cluster, Options, SHOP, WEB};
use qemu_tests::guest::PATIENCE;
use qemu_tests::guests;
use qemu_tests::load::Running;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use std::process::Child;
use std::time::Instant;

/// The cluster's name: its files are in `target/qemu/demo-cluster`.
const NAME: &str = "demo-cluster";

/// The hosts at the start.
const HOSTS: u8 = 3;

/// One host is out at a time, as before somebody lets more of them be.
const ONE: [&str; 2] = ["--max-unavailable", "1"];

/// Runs the demo; `json` prints the closing tables as JSON.
///
/// # Errors
/// A claim did not hold, or something could not be built or booted.
pub fn run(root: &Path, json: bool) -> Result<()> {
    setup::run_setup()?;
    build::run_build(root)?;
    image::build(root, guests::configuration(NAME)?)?;
    image::build_releases(root)?;
    let begun = Instant::now();
    let mut table = Table::default();
    let result = cluster::within(|| parts(&mut table));
    let log = qemu_tests::guest::image::target().join("qemu").join(NAME);
    finish(&table, json, begun, &log)?;
    result?;
    ensure!(table.rows.iter().all(|row| row.holds), "a claim did not hold");
    Ok(())
}

fn parts(table: &mut Table) -> Result<()> {
    let begun = Instant::now();
    let options = Options { hosts: HOSTS, etcd: 3, aws: false, firmware: false };
    let mut cluster =
        step("three hosts, etcd, HAProxy, a cache", || Cluster::start(NAME, options))?;
    let seen = format!("{:.1} s", begun.elapsed().as_secs_f64());
    table.add("three hosts from nothing to users", true, seen);
    let loads = [WEB, SHOP, API].map(|front| cluster.load(front, front.app));
    step("v1 -> v2 in each strategy", || strategies(&mut cluster, table))?;
    step("a closure on the cache -> three hosts healthy", || timed(&mut cluster, table))?;
    step("v3 is bad", || bad(&mut cluster, table))?;
    // Four hosts that boot and swap are as much as two processors compute: with one load.
    for load in loads {
        unhurt(&mut cluster, table, load?)?;
    }
    let load = cluster.load(WEB, "later")?;
    step("etcd's leader dies, a fourth host joins", || joined(&mut cluster, table))?;
    unhurt(&mut cluster, table, load)?;
    step("a host dies in the middle", || dead(&mut cluster, table))
}

/// Lets a release go over the group, its table on the terminal if there is one.
fn roll(
    cluster: &Cluster,
    table: &mut Table,
    claim: &str,
    (front, release, more): (Front, &str, &[&str]),
    code: i32,
) -> Result<f64> {
    let watching = Watching::start(cluster, front)?;
    let rolled = cluster.roll(front, release, more)?;
    drop(watching);
    let seconds = rolled.took.as_secs_f64();
    let seen = match rolled.code {
        Some(BLESSED) => format!("blessed after {seconds:.1} s"),
        Some(FAILED) => format!("failed after {seconds:.1} s; {}", rolled.why()),
        other => format!("exit code {other:?}; {}", rolled.why()),
    };
    table.add(claim, rolled.code == Some(code), seen);
    Ok(seconds)
}

/// `rollinit rollout status --watch` on this terminal, for as long as it lives.
struct Watching(Option<Child>);

impl Watching {
    fn start(cluster: &Cluster, front: Front) -> Result<Self> {
        if !std::io::stdout().is_terminal() {
            return Ok(Self(None));
        }
        let mut command = cluster.command(&["rollout", "status", front.app, "--watch"]);
        Ok(Self(Some(command.spawn().context("run rollinit")?)))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // Both fail only if it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn strategies(cluster: &mut Cluster, table: &mut Table) -> Result<()> {
    for (front, how) in [(WEB, "overlap"), (SHOP, "restart"), (API, "ports")] {
        let claim = format!("{}: v1 -> v2 by {how}, host by host", front.app);
        roll(cluster, table, &claim, (front, "v2", &[]), BLESSED)?;
    }
    println!("\n{}", cluster.rollinit(&["rollout", "status"])?);
    Ok(())
}

/// What a rollout's time was made of.
fn timed(cluster: &mut Cluster, table: &mut Table) -> Result<()> {
    for (release, most, how) in [("large-1", "1", "one by one"), ("large-2", "100%", "all at once")]
    {
        let before = cluster.nginx.fetched()?.len();
        let begun = Instant::now();
        cluster.begin(WEB, release, &["--max-unavailable", most])?;
        let path = cluster.releases.path(release)?;
        cluster.until("somebody is out", |group| !group.out().is_empty())?;
        let fetched_s = begun.elapsed().as_secs_f64();
        cluster.until("it is blessed", |group| group.blessed(WEB) == Some(path.as_str()))?;
        let total_s = begun.elapsed().as_secs_f64();
        let claim = format!("web: {release}, {how}, bake 5 s: all healthy within 60 s");
        table.add(claim, total_s < 60.0, format!("{total_s:.1} s"));
        split(cluster, table, release, most, (fetched_s, total_s))?;
        let fetched = &cluster.nginx.fetched()?[before..];
        let nars = || fetched.iter().filter(|one| one.path.contains(".nar"));
        let sent: u64 = nars().map(|one| one.bytes).sum();
        let closure: BTreeMap<_, _> = nars().map(|one| (&one.path, one.bytes)).collect();
        let (paths, closure): (usize, u64) = (closure.len(), closure.into_values().sum());
        let seen = format!("{paths} paths, {closure} bytes; it sent {sent}");
        // Hosts that begin at the same moment may both have asked before either had it.
        let claim = format!("{release}: the cache sends about one closure to three hosts");
        table.add(claim, sent < closure * 2, seen);
    }
    Ok(())
}

/// Seconds by what they went into: the swaps' own, and the rest, which is looks at the ledger.
fn split(
    cluster: &mut Cluster,
    table: &mut Table,
    release: &str,
    most: &str,
    (fetched_s, total_s): (f64, f64),
) -> Result<()> {
    let mut sums = [("gate", 0.0), ("drain", 0.0), ("bake", 0.0), ("other steps", 0.0)];
    let mut longest_s = 0.0_f64;
    for number in 1..=HOSTS {
        let steps = cluster.steps(number, WEB)?;
        let mut own_s = 0.0;
        for (step, ms) in steps {
            let seconds = std::time::Duration::from_millis(ms).as_secs_f64();
            own_s += seconds;
            let sum = match step.as_str() {
                "start" | "gate" => 0,
                "drain" => 1,
                "bake" => 2,
                _ => 3,
            };
            sums[sum].1 += seconds;
        }
        longest_s = longest_s.max(own_s);
    }
    let swaps_s: f64 =
        if most == "1" { sums.iter().map(|(_, seconds)| seconds).sum() } else { longest_s };
    let ledger_s = (total_s - fetched_s - swaps_s).max(0.0);
    let parts: Vec<String> = sums
        .iter()
        .map(|(name, seconds)| format!("{name} {:.1}", seconds / f64::from(HOSTS)))
        .collect();
    println!(
        "  {release}: {total_s:.1} s = fetch until the first slot {fetched_s:.1} + swaps \
         {swaps_s:.1} + ledger {ledger_s:.1}; a swap: {}",
        parts.join(", ")
    );
    let seen = format!("fetch {fetched_s:.1}, swaps {swaps_s:.1}, ledger {ledger_s:.1}");
    table.add(format!("{release}: seconds; a swap: {}", parts.join(", ")), true, seen);
    Ok(())
}

fn bad(cluster: &mut Cluster, table: &mut Table) -> Result<()> {
    let path = cluster.releases.path("v3-sick")?;
    roll(cluster, table, "web: v3 answers 503 and is stopped", (WEB, "v3-sick", &ONE), FAILED)?;
    let group = cluster.until("nobody is out", |group| group.out().is_empty())?;
    let failed = group.failed(WEB).into_iter().filter(|(one, _)| *one == path).count();
    table.add("v3: at exactly one host", failed == 1, format!("{failed} of {HOSTS}"));
    let users = cluster.users("3-sick")?;
    table.add("v3: no user came to it", users == 0, format!("{users} requests"));
    println!("\n{}", cluster.rollinit(&["rollout", "status", "web"])?);
    Ok(())
}

fn joined(cluster: &mut Cluster, table: &mut Table) -> Result<()> {
    cluster.begin(WEB, "r3", &ONE)?;
    cluster.until("somebody is out", |group| !group.out().is_empty())?;
    let leader = cluster.etcd.kill_leader()?;
    let number = cluster.join()?;
    cluster.host(number)?.settled()?;
    let path = cluster.releases.path("r3")?;
    let group = cluster.until("it is blessed", |group| {
        group.blessed(WEB) == Some(path.as_str()) && group.runs(WEB).len() > usize::from(HOSTS)
    })?;
    let runs = group.runs(WEB).iter().filter(|(_, runs)| *runs == path).count();
    let seen = format!("member {leader} was killed; {runs} hosts run r3");
    table.add("a rollout outlives etcd's leader; a fourth host joins in it", runs == 4, seen);
    Ok(())
}

fn dead(cluster: &mut Cluster, table: &mut Table) -> Result<()> {
    cluster.begin(WEB, "r4", &[])?;
    let out = cluster.until("somebody is out", |group| !group.out().is_empty())?.out();
    let victim = cluster.hosts.iter_mut().find(|host| Some(&host.id) == out.first());
    let victim = victim.context("who is out is none of ours")?;
    let id = victim.id.clone();
    victim.kill();
    let load = cluster.load(API, "while")?;
    ensure!(load.answered(ANSWERS, PATIENCE), "nobody answers");
    let out = cluster.group()?.out();
    table.add("a host that died in the middle keeps its slot", out == [id.clone()], out.join(" "));
    println!("\n{}", cluster.rollinit(&["locks"])?);
    let why = ["--no-fault", "--why", "its power is gone"];
    let mut words = vec!["locks", "release", &id];
    words.extend(why);
    println!("$ rollinit {}\n{}", words.join(" "), cluster.rollinit(&words)?);
    let path = cluster.releases.path("r4")?;
    let living: Vec<String> =
        cluster.hosts.iter().filter(|host| host.lives()).map(|host| host.id.clone()).collect();
    let group = cluster.until("the others run it", |group| {
        let runs = group.runs(WEB);
        living.iter().all(|id| runs.contains(&(id.clone(), path.clone())))
    })?;
    let seen = format!("{} hosts run r4; web is {}", living.len(), group.state(WEB));
    table.add("released by hand, the rollout goes on with the others", true, seen);
    drop(load.stop());
    Ok(())
}

fn unhurt(cluster: &mut Cluster, table: &mut Table, load: Running) -> Result<()> {
    let answers = load.answered(ANSWERS, PATIENCE);
    let report = load.stop();
    let name = &report.name;
    if report.failed > 0 {
        eprintln!("{report}");
    }
    let holds = answers && report.failed == 0;
    table.add(format!("{name}: no request failed"), holds, super::summary(&report));
    let (served, twice) = cluster.served(name)?;
    let seen = format!("{served} of {} served, {twice} of them twice", report.sent);
    table.add(format!("{name}: each was served once"), (served, twice) == (report.sent, 0), seen);
    Ok(())
}
