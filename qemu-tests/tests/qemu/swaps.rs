//! Swaps in guests, under load. Each test is one guest that goes through several swaps: under TCG a
//! boot costs as much as a swap.
//!
//! Every load is the honest one of `qemu_tests::load`: "no request failed" means that each was
//! answered once, right, in time, by a process that had not seen it before.

use anyhow::{Context, Result, ensure};
use qemu_tests::guest::agent::Kill;
use qemu_tests::guest::disk::Store;
use qemu_tests::guest::swap::{COMMITTED, Host, REFUSED, ROLLED_BACK, Swapped};
use qemu_tests::guest::view::View;
use qemu_tests::guest::{End, PATIENCE};
use qemu_tests::guests;
use qemu_tests::load::report::Report;
use qemu_tests::load::request::Kind;
use qemu_tests::load::{self, Plan, Running};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;

/// Requests a second of each load, and for how many seconds at most.
const RATE: u32 = 15;
const SECONDS: u64 = 1200;

/// Answers from before, after and between swaps.
const ANSWERS: u64 = 30;

/// Ports of the guests' apps.
const WEB: u16 = 8080;
const SHOP: u16 = 8081;

/// What the gate of `guests/swap.nix` wants.
const PASSES: u64 = 3;

/// Without kept connections: for an app that is stopped before its successor starts, whose clients
/// should wait for the successor and not for each other's idle connections.
const NEW: [Kind; 3] = [Kind::GetNew, Kind::PostNew, Kind::Slow];

fn host(name: &str) -> Result<Host> {
    Host::start(guests::boot(name)?)
}

fn load(host: &Host, name: &str, port: u16, mix: &[Kind]) -> Result<Running> {
    let plan = Plan::new(host.guest.address(port)?, name, RATE, SECONDS).patient();
    let running = load::start(Plan { mix: mix.to_vec(), ..plan })?;
    ensure!(running.answered(ANSWERS, PATIENCE), "nobody answers on port {port}");
    Ok(running)
}

/// Ends a load of which nothing may have failed, and nothing been served twice by two versions.
fn unhurt(host: &mut Host, running: Running, name: &str) -> Result<Report> {
    ensure!(running.answered(ANSWERS, PATIENCE), "nobody answers in the end");
    let report = running.stop();
    ensure!(report.failed == 0, "{report}");
    let (ids, repeated) = host.ledger(name)?;
    ensure!((ids, repeated) == (report.sent, 0), "{ids} ids, {repeated} twice, but {report}");
    Ok(report)
}

pub(super) fn app<'a>(view: &'a View, name: &str) -> &'a Value {
    static NONE: Value = Value::Null;
    let apps = view.0["apps"].as_array().map_or(&[][..], Vec::as_slice);
    apps.iter().find(|app| app["name"] == name).unwrap_or(&NONE)
}

/// An app serves a release, alone: no swap, no second side, no process in the other side's cgroup,
/// and the profile leads there (or nowhere, before the first commit).
pub(super) fn serves(host: &mut Host, name: &str, release: &str, committed: bool) -> Result<()> {
    let path = host.releases.path(release)?;
    let view = View::settled(&mut host.guest.agent, PATIENCE)?;
    let app = app(&view, name);
    ensure!(app["serving"]["closure"] == path.as_str(), "{path} does not serve: {app:#}");
    ensure!(app["candidate"].is_null() && app["swap"].is_null(), "a swap is left: {app:#}");
    let groups = host.shell(&format!(
        "for side in 0 1; do grep -h populated /sys/fs/cgroup/services/{name}.$side/cgroup.events \
         2> /dev/null || echo populated 0; done"
    ))?;
    let populated = groups.lines().filter(|line| *line == "populated 1").count();
    ensure!(populated == 1, "{populated} sides of {name} run: {app:#}");
    if committed {
        let link = host.shell(&format!("readlink -f /nix/var/nix/profiles/rollinit/{name}"))?;
        ensure!(link.trim() == path, "the profile leads to {link}");
    }
    Ok(())
}

/// The gate asked a version often enough before the first user came to it.
fn gated(host: &mut Host, version: &str) -> Result<()> {
    let served = host.served(version)?;
    ensure!(served.probes_first >= PASSES, "users came before the gate: {served:?}");
    ensure!(served.users > 0, "no user ever came to it: {served:?}");
    Ok(())
}

fn power_off(host: &mut Host) -> Result<()> {
    host.guest.agent.rollinit_last(&["poweroff"])?;
    ensure!(host.guest.ended(PATIENCE)? == End::PowerOff, "it was asked to power off");
    Ok(())
}

/// Proof: five swaps of an app by overlap and three by restart, there and back, under load: none
/// of its requests fails, the gate's questions come before the first user's in the new version's
/// own log, and after each swap one side runs, the right one. Migration and hook are seen by what
/// they leave. Nix, run here on the guest's disk, finds the store whole; its collector, asked to
/// delete all old generations, leaves the previous release, which is the way back.
pub fn commits(name: &str) -> Result<()> {
    let mut host = host(name)?;
    let web = load(&host, "web", WEB, &Kind::ALL)?;
    let shop = load(&host, "shop", SHOP, &NEW)?;
    let first = host.swap("web", "v2", &[])?.expect(COMMITTED)?;
    serves(&mut host, "web", "v2", true)?;
    gated(&mut host, "2")?;
    let steps: Vec<&str> = first.steps().into_iter().map(|(step, _)| step).collect();
    ensure!(steps.is_sorted_by_key(|step| ORDER.iter().position(|one| one == step)), "{steps:?}");
    ensure!(host.cache.requests(".nar") > 0, "what was missing came from the cache");

    let again = host.swap("web", "v2", &[])?.expect(COMMITTED)?;
    ensure!(outcome(&again) == "nothing_to_do", "{again:?}");

    host.rollback("web")?.expect(COMMITTED)?;
    serves(&mut host, "web", "v1", true)?;
    host.swap("web", "v2", &[])?.expect(COMMITTED)?;
    migrations_and_hooks(&mut host)?;

    host.swap("shop", "v2", &[])?.expect(COMMITTED)?;
    serves(&mut host, "shop", "v2", true)?;
    host.rollback("shop")?.expect(COMMITTED)?;
    serves(&mut host, "shop", "v1", true)?;

    unhurt(&mut host, web, "web")?;
    unhurt(&mut host, shop, "shop")?;
    power_off(&mut host)?;
    let store = disk(name)?;
    store.verify()?;
    store.nix(&["nix-collect-garbage", "-d", "--quiet"])?;
    for (release, needed) in [("v4-migrated", true), ("v2", true), ("v4-smoke", false)] {
        let path = host.releases.path(release)?;
        let found = store.is_valid(&path);
        ensure!(found == needed, "{release} is in the store: {found}, after the collector");
    }
    store.verify()
}

/// All steps, in the order in which they come.
const ORDER: [&str; 12] = [
    "plan", "fetch", "migrate", "start", "gate", "switch", "hook", "bake", "drain", "commit",
    "watch", "rollback",
];

fn outcome(swapped: &Swapped) -> &str {
    let last = swapped.progress.last().map_or(&Value::Null, |last| &last["outcome"]);
    last["kind"].as_str().unwrap_or_default()
}

/// A migration that fails and a smoke test that fails each end the swap, with v2 serving as before;
/// one that passes runs once. A path that failed is not tried again without being told to.
fn migrations_and_hooks(host: &mut Host) -> Result<()> {
    let failed = host.swap("web", "v4-unmigrated", &[])?.expect(ROLLED_BACK)?;
    ensure!(failed.reason().starts_with("migrate"), "{}", failed.reason());
    serves(host, "web", "v2", true)?;
    ensure!(host.served("4-unmigrated")?.probes == 0, "its process was never started");
    let again = host.swap("web", "v4-unmigrated", &[])?.expect(REFUSED)?;
    ensure!(again.reason() != "-: -", "{again:?}");

    let failed = host.swap("web", "v4-smoke", &[])?.expect(ROLLED_BACK)?;
    ensure!(failed.reason().starts_with("hook"), "{}", failed.reason());
    serves(host, "web", "v2", true)?;

    host.swap("web", "v4-migrated", &[])?.expect(COMMITTED)?;
    serves(host, "web", "v4-migrated", true)?;
    let notes = host.shell("cat /tmp/migrated")?;
    let lines: Vec<&str> = notes.lines().collect();
    ensure!(lines == ["migrated for 4-unmigrated", "migrated for 4-migrated"], "{lines:?}");
    let logs = host.guest.agent.rollinit(&["logs", "web"])?;
    for words in ["migrated for 4-migrated", "smoke test failed", "smoke test passed"] {
        ensure!(logs.contains(words), "`{words}` is not in the app's log:\n{logs}");
    }
    Ok(())
}

fn disk(name: &str) -> Result<Store> {
    let boot = qemu_tests::guest::image::target().join("qemu").join(name).join("disk.img");
    Store::extract(&boot)
}

/// Proof: four kinds of a bad release, each ends in exit code 10, the old one serves alone, and
/// under load no request fails. The bad version's own log shows who asked it: the gate did, where
/// it answers at all, and no user before the gate was passed.
pub fn bad(name: &str) -> Result<()> {
    let mut host = host(name)?;
    let web = load(&host, "web", WEB, &Kind::ALL)?;
    for kind in ["missing", "deaf", "sick", "fading"] {
        let (release, version) = (format!("v3-{kind}"), format!("3-{kind}"));
        let swapped = host.swap("web", &release, &[])?;
        swapped.expect(ROLLED_BACK).with_context(|| format!("a release of the kind {kind}"))?;
        serves(&mut host, "web", "v1", false)?;
        let served = host.served(&version)?;
        match kind {
            "missing" | "deaf" => ensure!((served.probes, served.users) == (0, 0), "{served:?}"),
            "sick" => ensure!(served.probes > 0 && served.users == 0, "{served:?}"),
            _ => ensure!(served.probes_first >= PASSES && served.users > 0, "{served:?}"),
        }
        ensure!(web.answered(ANSWERS, PATIENCE), "nobody answers after {kind}");
    }
    host.swap("web", "v3-sick", &[])?.expect(REFUSED)?;
    // By restart users do reach a bad release; the way back is the same.
    let swapped = host.swap("shop", "v3-sick", &[])?.expect(ROLLED_BACK)?;
    ensure!(swapped.reason().starts_with("gate"), "{}", swapped.reason());
    serves(&mut host, "shop", "v1", false)?;
    // The host is none the worse for it.
    host.swap("web", "v2", &[])?.expect(COMMITTED)?;
    serves(&mut host, "web", "v2", true)?;
    unhurt(&mut host, web, "web")?;
    Ok(())
}

/// Waits in the kept socket's queue until the app has loaded all it is made of, which takes it longer
/// than a request may take.
fn first_answer(host: &Host, port: u16) -> Result<()> {
    let mut stream = TcpStream::connect(host.guest.address(port)?).context("connect")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /up HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("the first answer")?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(())
}

/// Proof: the same honest load on an app of Python's gunicorn, which takes its socket by
/// `LISTEN_FDS`, and on one of Node's, which listens on descriptor 3: both versions of each
/// answered, and nothing failed.
pub fn other_makes(name: &str) -> Result<()> {
    let mut host = host(name)?;
    for (app, port) in [("python", WEB), ("node", SHOP)] {
        first_answer(&host, port).context(app)?;
        let running = load(&host, app, port, &Kind::ALL)?;
        host.swap(app, &format!("{app}-2"), &[])?.expect(COMMITTED).context(app)?;
        ensure!(running.answered(ANSWERS, PATIENCE), "{app} does not answer after the swap");
        host.rollback(app)?.expect(COMMITTED).context(app)?;
        serves(&mut host, app, &format!("{app}-1"), true)?;
        ensure!(running.answered(ANSWERS, PATIENCE), "{app} does not answer in the end");
        let report = running.stop();
        ensure!(report.failed == 0, "{app}: {report}");
        let versions: Vec<&str> = report.versions.keys().map(String::as_str).collect();
        ensure!(versions == ["1", "2"], "{app}: both should have answered: {report}");
    }
    Ok(())
}

/// What can be killed where: every step of a swap by overlap, and those of one by restart in which
/// nothing serves.
const MOMENTS: [(&str, &str); 10] = [
    ("web", "plan"),
    ("web", "fetch"),
    ("web", "start"),
    ("web", "gate"),
    ("web", "switch"),
    ("web", "bake"),
    ("web", "drain"),
    ("web", "commit"),
    ("shop", "start"),
    ("shop", "gate"),
];

/// Proof: at the first word of each step, the agent, and then in the next swap the supervisor, is
/// killed by SIGKILL inside the guest, by the process that reads the words: so it falls into that
/// step. Each swap ends committed, seen by the same `rollinit swap`; no request fails.
pub fn kills(name: &str) -> Result<()> {
    let mut host = host(name)?;
    let web = load(&host, "web", WEB, &Kind::ALL)?;
    let shop = load(&host, "shop", SHOP, &NEW)?;
    let mut releases = (0..20).map(|number| format!("r{number}"));
    for (app, step) in MOMENTS {
        for victim in ["agent", "supervisor"] {
            let release = releases.next().context("a release for each")?;
            let pid = match victim {
                "agent" => host.agent_pid()?,
                _ => View::settled(&mut host.guest.agent, PATIENCE)?.supervisor_pid()?,
            };
            let when = format!("\"step\":\"{step}\"");
            let kill = Some(Kill { when: &when, pid });
            let swapped = host.swap_killing(app, &release, &[], kill)?;
            let what = || format!("{victim} killed at {step} of {app}");
            ensure!(swapped.killed, "{}: it never came to that: {swapped:?}", what());
            swapped.expect(COMMITTED).with_context(what)?;
            serves(&mut host, app, &release, true).with_context(what)?;
        }
    }
    unhurt(&mut host, web, "web")?;
    unhurt(&mut host, shop, "shop")?;
    Ok(())
}

/// Swaps of each app between two looks at what they cost, and how often.
const ROUND: u64 = 10;
const ROUNDS: u64 = 10;

/// What a host holds that a swap could leave behind.
#[derive(Debug)]
struct Holdings {
    /// Descriptors and resident KiB of PID 1, supervisor and agent.
    descriptors: [u64; 3],
    resident_kib: [u64; 3],
    /// Permanent roots of ours, cgroups, and files of the agent's.
    roots: u64,
    groups: u64,
    files: u64,
}

impl Holdings {
    fn take(host: &mut Host) -> Result<Self> {
        let agent = host.agent_pid()?;
        let supervisor = View::settled(&mut host.guest.agent, PATIENCE)?.supervisor_pid()?;
        let text = host.shell(&format!(
            "for pid in 1 {supervisor} {agent}; do ls /proc/$pid/fd | wc -l; \
             awk '/VmRSS/ {{ print $2 }}' /proc/$pid/status; done; \
             find /nix/var/nix/gcroots/rollinit -type l | wc -l; \
             find /sys/fs/cgroup -type d | wc -l; find /var/lib/rollinit -type f | wc -l"
        ))?;
        let numbers: Vec<u64> =
            text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [a, b, c, d, e, f, roots, groups, files] = numbers[..] else {
            anyhow::bail!("the guest counted {text:?}");
        };
        let (descriptors, resident_kib) = ([a, c, e], [b, d, f]);
        Ok(Self { descriptors, resident_kib, roots, groups, files })
    }
}

/// Proof: 100 swaps of each app, by overlap and by restart, both at once and under load. All end
/// committed and no request fails. What PID 1, supervisor and agent hold after 200 swaps is what
/// they held after the first twenty, but for memory, which may be a quarter or 4 MiB more; and
/// after the collector the disk holds no more paths than two releases of each app need.
pub fn two_hundred(name: &str) -> Result<()> {
    let mut host = host(name)?;
    let web = load(&host, "web", WEB, &Kind::ALL)?;
    let shop = load(&host, "shop", SHOP, &NEW)?;
    let mut before = None;
    for round in 0..ROUNDS {
        swap_round(&mut host).with_context(|| format!("round {round}"))?;
        let holdings = Holdings::take(&mut host)?;
        println!("after {} swaps: {holdings:?}", (round + 1) * ROUND * 2);
        let before = before.get_or_insert(holdings);
        if round + 1 == ROUNDS {
            compare(before, &Holdings::take(&mut host)?)?;
        }
    }
    let reports = [unhurt(&mut host, web, "web")?, unhurt(&mut host, shop, "shop")?];
    println!("{}\n{}", reports[0], reports[1]);
    for app in ["web", "shop"] {
        let generations = host.guest.agent.rollinit(&["generations", app, "--json"])?;
        let generations: Value = serde_json::from_str(&generations)?;
        let last = generations["generations"].as_array().and_then(|all| all.last());
        let number = last.and_then(|last| last["number"].as_u64());
        ensure!(number == Some(ROUND * ROUNDS), "{app} is at generation {number:?}");
    }
    power_off(&mut host)?;
    let store = disk(name)?;
    store.verify()?;
    let everything = store.count()?;
    store.nix(&["nix-collect-garbage", "-d", "--quiet"])?;
    // Ten releases were there, each with five paths of its own; two are left.
    let left = store.count()?;
    ensure!(left + 8 * 6 <= everything, "{left} of {everything} paths are left");
    store.verify()
}

/// A round of swaps of both apps at once, each to the next of ten releases.
fn swap_round(host: &mut Host) -> Result<()> {
    let paths: Result<Vec<String>> =
        (0..ROUND).map(|number| host.releases.path(&format!("r{number}"))).collect();
    let paths = paths?.join(" ");
    // Outside of the test agent's cgroup, whose processes may only look.
    let text = host.shell(&format!(
        "echo 0 > /sys/fs/cgroup/cgroup.procs\n\
         swaps() {{ for path in {paths}; do\n\
         rollinit swap $1 $path --json > /tmp/swap-$1 2>&1 || {{ echo $1 $?; \
         tail -n 3 /tmp/swap-$1; return; }}\n\
         done; echo done; }}\n\
         swaps web & swaps shop & wait"
    ))?;
    ensure!(text == "done\ndone\n", "{text}");
    Ok(())
}

fn compare(before: &Holdings, after: &Holdings) -> Result<()> {
    let what = format!("\nbefore: {before:?}\nafter:  {after:?}");
    ensure!(before.descriptors == after.descriptors, "descriptors are left behind{what}");
    ensure!(before.groups == after.groups, "cgroups are left behind{what}");
    ensure!(before.roots == after.roots, "roots are left behind{what}");
    ensure!(before.files == after.files, "the agent's files grow in number{what}");
    for (before_kib, after_kib) in before.resident_kib.into_iter().zip(after.resident_kib) {
        let most_kib = (before_kib * 5 / 4).max(before_kib + 4096);
        ensure!(after_kib <= most_kib, "memory grows{what}");
    }
    Ok(())
}
