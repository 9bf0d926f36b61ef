//! Three hosts and more: releases that go over a cluster, under load.
//!
//! The load goes through HAProxy, which hides nothing (`qemu_tests::cluster::haproxy`). One boot
//! of three hosts takes as long as two rollouts, so each test goes through several.

use anyhow::{Context, Result, ensure};
use qemu_tests::cluster::haproxy::Front;
use qemu_tests::cluster::rollouts::{BLESSED, FAILED, Group};
use qemu_tests::cluster::{self, API, Cluster, FRONTS, Options, SHOP, WEB};
use qemu_tests::guest::PATIENCE;
use qemu_tests::load::Running;

/// Answers before, after and between what is done.
const ANSWERS: u64 = 30;

/// The hosts of a cluster at its start.
const HOSTS: u8 = 3;

/// Proof: one release after the other goes over three hosts, in each strategy, and back of a bad
/// one, while the honest load asks all of them: none of its requests fails, and the hosts' own logs
/// say that each was served once. A bad release reached one host, was asked by its gate alone, and
/// the hosts serve what they served. A migration left one line, on one of the hosts.
pub fn rolls(name: &str) -> Result<()> {
    cluster::within(|| {
        let mut cluster =
            Cluster::start(name, Options { hosts: HOSTS, etcd: 1, aws: false, firmware: false })?;
        let loads = FRONTS.map(|front| cluster.load(front, front.app));
        for front in FRONTS {
            let rolled = cluster.roll(front, "v2", &[])?.expect(BLESSED).context(front.app)?;
            println!(
                "{}: v1 -> v2 on {HOSTS} hosts in {:.1} s",
                front.app,
                rolled.took.as_secs_f64()
            );
            serve(&mut cluster, front, "v2")?;
        }
        for (front, bad) in [(WEB, "sick"), (SHOP, "sick"), (API, "missing")] {
            stops_at_one(&mut cluster, front, &format!("v3-{bad}"), &format!("3-{bad}"))?;
        }
        cluster.roll(WEB, "v4-migrated", &[])?.expect(BLESSED)?;
        serve(&mut cluster, WEB, "v4-migrated")?;
        let notes = cluster.everywhere("cat /tmp/migrated 2> /dev/null || true")?;
        ensure!(notes == "migrated for 4-migrated\n", "migrated: {notes:?}");
        for running in loads {
            unhurt(&mut cluster, running?)?;
        }
        Ok(())
    })
}

/// Every host that lives runs a release: it says so in the ledger, and its profile leads there.
fn serve(cluster: &mut Cluster, front: Front, release: &str) -> Result<()> {
    let path = cluster.releases.path(release)?;
    let group = cluster.group()?;
    let living: Vec<String> =
        cluster.hosts.iter().filter(|host| host.lives()).map(|host| host.id.clone()).collect();
    for id in &living {
        let runs = group.runs(front);
        let told = runs.iter().any(|(host, runs)| host == id && *runs == path);
        ensure!(told, "{id} does not run {path}: {runs:?}");
    }
    ensure!(group.out().is_empty(), "somebody is out still: {:?}", group.out());
    let profile = format!("/nix/var/nix/profiles/rollinit/{}", front.app);
    let links = cluster.everywhere(&format!("readlink -f {profile}"))?;
    let leads = links.lines().filter(|link| *link == path).count();
    ensure!(leads == living.len(), "the profiles lead to {links}");
    Ok(())
}

/// A bad release fails on one host, reaches no user, and leaves all hosts at what they ran.
fn stops_at_one(cluster: &mut Cluster, front: Front, bad: &str, version: &str) -> Result<()> {
    let path = cluster.releases.path(bad)?;
    let before = cluster.group()?.runs(front);
    let rolled = cluster.roll(front, bad, &[])?.expect(FAILED).context(front.app)?;
    let group = cluster.until("nobody is out", |group| group.out().is_empty())?;
    let failed: Vec<_> = group.failed(front).into_iter().filter(|(one, _)| *one == path).collect();
    ensure!(failed.len() == 1, "{bad} should have failed on one host: {failed:?}");
    ensure!(group.runs(front) == before, "{before:?} became {:?}", group.runs(front));
    println!("{}: {bad} stopped at one host: {}", front.app, rolled.why());
    let users = cluster.users(version)?;
    ensure!(users == 0, "{users} requests of users came to {bad}");
    Ok(())
}

/// Ends a load of which nothing may have failed, and nothing been served twice by whatever host.
fn unhurt(cluster: &mut Cluster, running: Running) -> Result<()> {
    let answers = running.answered(ANSWERS, PATIENCE);
    let report = running.stop();
    println!("{report}");
    ensure!(answers && report.failed == 0, "answers in the end: {answers}; {report}");
    let (served, twice) = cluster.served(&report.name)?;
    ensure!((served, twice) == (report.sent, 0), "{served} served, {twice} twice, but {report}");
    Ok(())
}

/// Proof: the leader of three etcds dies in the middle of a rollout, which goes on to its end. Then
/// two hosts may be out at once, and both are struck in the middle of their swaps: the network of
/// one is cut, the other's QEMU is killed. For a minute both keep their slots and nobody else
/// begins; then EC2 says that the one is terminated, the other is back, and the rollout ends. A
/// fourth host that joined meanwhile took no slot and runs what was blessed. The next release goes
/// over the hosts that are left. Users of the hosts that live notice nothing of it.
pub fn survives(name: &str) -> Result<()> {
    cluster::within(|| {
        let mut cluster =
            Cluster::start(name, Options { hosts: HOSTS, etcd: 3, aws: true, firmware: false })?;
        let running = cluster.load(WEB, "first")?;
        cluster.begin(WEB, "v2", &[])?;
        cluster.until("somebody is out", |group| !group.out().is_empty())?;
        let leader = cluster.etcd.kill_leader()?;
        println!("etcd's member {leader} led, and is killed");
        cluster.until("v2 is blessed", |group| group.state(WEB) == "blessed")?;
        serve(&mut cluster, WEB, "v2")?;
        unhurt(&mut cluster, running)?;
        struck(&mut cluster)?;
        let running = cluster.load(WEB, "last")?;
        cluster.roll(WEB, "r2", &["--max-unavailable", "1"])?.expect(BLESSED)?;
        serve(&mut cluster, WEB, "r2")?;
        unhurt(&mut cluster, running)
    })
}

/// How long a host is without a network, and another one dead, in answers of the load.
const AWAY_ANSWERS: u64 = 60 * cluster::RATE as u64;

fn struck(cluster: &mut Cluster) -> Result<()> {
    cluster.begin(WEB, "r1", &["--max-unavailable", "2"])?;
    let group = cluster.until("two hosts are out", |group| group.out().len() == 2)?;
    let out = group.out();
    let number = |id: &String| (1..=HOSTS).find(|number| cluster.id(*number).ok() == Some(id));
    let (cut, killed) = (number(&out[0]).context("a host")?, number(&out[1]).context("a host")?);
    cluster.network.cut(cut)?;
    cluster.host(killed)?.kill();
    println!("host {cut} is cut off, host {killed} is killed, both in the middle of their swaps");
    let gone = [cluster.server(WEB, cut)?, cluster.server(WEB, killed)?];
    cluster.haproxy.until(&gone, "DOWN")?;
    let running = cluster.load(WEB, "meanwhile")?;
    let joined = cluster.join()?;
    cluster.host(joined)?.settled()?;
    ensure!(running.answered(AWAY_ANSWERS, PATIENCE), "the host that is left does not answer");
    let group = cluster.group()?;
    ensure!(group.out() == out, "{out:?} were out, and now {:?}", group.out());
    installed_blessed(cluster, &group, joined)?;

    cluster.terminate(killed)?;
    cluster.network.mend(cut)?;
    let group = cluster.until("the rollout ends", |group| {
        group.out().is_empty() && group.state(WEB) == "failed"
    })?;
    let dead = cluster.id(killed)?;
    let failed = group.failed(WEB);
    ensure!(failed.iter().any(|(_, host)| host == dead), "{dead} is not blamed: {failed:?}");
    let report = running.stop();
    println!("{report}");
    ensure!(report.failed == 0, "{report}");
    Ok(())
}

/// A host that joins in the middle installs what all hosts ran last, and waits for no slot.
fn installed_blessed(cluster: &Cluster, group: &Group, joined: u8) -> Result<()> {
    let blessed = cluster.releases.path("v2")?;
    let id = cluster.id(joined)?;
    let runs = group.runs(WEB);
    let is_so = runs.iter().any(|(host, path)| host == id && *path == blessed);
    ensure!(is_so, "{id} joined and should run {blessed}: {runs:?}");
    Ok(())
}
