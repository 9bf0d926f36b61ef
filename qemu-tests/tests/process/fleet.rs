//! Groups of hosts without a VM: several PID 1s, each with its supervisor, agent and store, and one
//! ledger between them.

use anyhow::{Context, Result, ensure};
use qemu_tests::apphost::{APP, Release};
use qemu_tests::contained::Output;
use qemu_tests::fleet::Fleet;
use std::collections::BTreeSet;
use std::io::ErrorKind;

/// Exit codes of `rollinit rollout start --wait` (docs/cli.md).
const BLESSED: i32 = 0;
const FAILED: i32 = 10;
const REFUSED: i32 = 12;

/// Short, so that a test takes seconds; the way is the same.
const QUICK: &str = "[app.swap]\ndrain = \"5s\"\nbake = \"200ms\"\nwatch = \"200ms\"\n";

fn expect(fleet: &Fleet, output: &Output, code: i32) -> Result<()> {
    ensure!(
        output.code == Some(code),
        "exit {:?}, not {code}: {output:?}\n{}",
        output.code,
        fleet.said()
    );
    Ok(())
}

fn ensure_versions(fleet: &Fleet, wanted: &[&str]) -> Result<()> {
    let versions = fleet.versions()?;
    ensure!(versions == wanted, "{versions:?}, not {wanted:?}\n{}", fleet.said());
    Ok(())
}

/// Proof: a sound release reaches all three hosts and is blessed. A bad one, then, takes one host out
/// and no other, is taken back there, and needs force from then on; no user's request reached it.
/// By hand a host of the group is not swapped, unless somebody insists: then the group brings it
/// back.
pub fn rolls_and_stops() -> Result<()> {
    let fleet = Fleet::start(3, QUICK, None)?;
    let release = |name, serve| fleet.hosts[0].release(&Release { name, serve, programs: &[] });
    let (second, sick) = (release("web-2", &[][..])?, release("web-3", &["--up-status", "503"])?);
    expect(&fleet, &fleet.roll(&second, &["--wait"])?, BLESSED)?;
    ensure_versions(&fleet, &["web-2"; 3])?;

    expect(&fleet, &fleet.roll(&sick, &["--wait"])?, FAILED)?;
    ensure_versions(&fleet, &["web-2"; 3])?;
    let tried = |host: &qemu_tests::apphost::AppHost| -> Result<bool> {
        Ok(host.served()?.lines().any(|line| line.starts_with("web-3 ")))
    };
    let tried = fleet.hosts.iter().map(tried).collect::<Result<Vec<_>>>()?;
    let count = tried.iter().filter(|tried| **tried).count();
    ensure!(count == 1, "it reached {tried:?}\n{}", fleet.said());
    for host in &fleet.hosts {
        let served = host.served()?;
        let users =
            served.lines().find(|line| line.starts_with("web-3 ") && !line.contains(" /up "));
        ensure!(users.is_none(), "a user reached it: {users:?}");
    }
    expect(&fleet, &fleet.roll(&sick, &["--wait"])?, REFUSED)?;

    let by_hand = fleet.hosts[1].swap(&fleet.hosts[0].first, &[])?;
    expect(&fleet, &by_hand, REFUSED)?;
    ensure!(by_hand.stderr.contains("rollinit rollout start web"), "{by_hand:?}");
    let insisted = fleet.hosts[1].swap(&fleet.hosts[0].first, &["--force"])?;
    expect(&fleet, &insisted, BLESSED)?;
    fleet.hosts[1].host.until("the group brings it back", || {
        Ok(fleet.hosts[1].version().is_ok_and(|version| version == "web-2"))
    })?;
    let status = fleet.hosts[1].host.must(&["status"])?;
    ensure!(status.contains("group prod"), "{status}");
    let swaps = fleet.hosts[1].swaps()?;
    let newest = swaps.first().context("a swap")?["swap"].as_str().context("an id")?;
    ensure!(newest.starts_with("catch-up-"), "{APP}: {swaps:?}");
    Ok(())
}

/// Kills the agents of hosts whenever what the group shows of them changes, until it shows that the
/// rollout is over.
fn kill_at_each_change(fleet: &Fleet) -> Result<()> {
    let mut seen = BTreeSet::new();
    let over = fleet.hosts[0].host.until("the rollout is over", || {
        // The ledger answers whoever is killed.
        let Ok(status) = fleet.status() else { return Ok(false) };
        let app = &status["apps"][0];
        for (number, host) in app["hosts"].as_array().into_iter().flatten().enumerate() {
            if seen.insert(format!("{number} {} {}", host["word"], host["out"])) {
                fleet.hosts[number].kill_agent()?;
            }
        }
        Ok(app["rollout"].is_null())
    });
    over.with_context(|| format!("{seen:?}\n{}", fleet.said()))?;
    // That nothing was killed would prove nothing.
    ensure!(seen.len() >= 2 * fleet.hosts.len(), "{seen:?}");
    Ok(())
}

/// Proof: agents are killed whenever something changes, and the ledger goes away in the middle: the
/// release is blessed all the same. Its migration ran once, one that failed ran once and ended the
/// rollout. While the ledger is away everybody serves, and each host says what it waits for. A host
/// whose slot was taken away meanwhile turns its swap back, and then takes its turn again. A host
/// that joins by its user-data gets what is blessed.
pub fn struck_in_the_middle() -> Result<()> {
    let mut fleet = Fleet::start(2, "[app.swap]\nbake = \"1s\"\nwatch = \"200ms\"\n", None)?;
    let note = fleet.hosts[0].host.path("notes").display().to_string();
    let noted = || std::fs::read_to_string(&note).unwrap_or_default();
    let migrate: &[&str] = &["task", "migrated", "--note", &note, "--after-ms", "1000"];
    let unable: &[&str] = &["task", "cannot", "--note", &note, "--code", "3"];
    let release = |name, programs: &[(&str, &[&str])]| {
        fleet.hosts[0].release(&Release { name, serve: &[], programs })
    };
    let second = release("web-2", &[("migrate", migrate)])?;
    let unmigrated = release("web-unmigrated", &[("migrate", unable)])?;
    let third = release("web-3", &[])?;

    expect(&fleet, &fleet.roll(&second, &[])?, BLESSED)?;
    kill_at_each_change(&fleet)?;
    ensure_versions(&fleet, &["web-2"; 2])?;
    ensure!(noted() == "migrated\n", "{}\n{}", noted(), fleet.said());

    expect(&fleet, &fleet.roll(&unmigrated, &["--wait"])?, FAILED)?;
    ensure_versions(&fleet, &["web-2"; 2])?;
    ensure!(noted() == "migrated\ncannot\n", "{}\n{}", noted(), fleet.said());

    expect(&fleet, &fleet.roll(&third, &[])?, BLESSED)?;
    let released = lose_the_ledger(&fleet)?;
    let over = fleet.roll(&third, &["--wait"])?;
    expect(&fleet, &over, BLESSED)?;
    ensure_versions(&fleet, &["web-3"; 2])?;
    let swaps = serde_json::to_string(&fleet.hosts[released].swaps()?)?;
    ensure!(swaps.contains("is not this host's any more"), "{swaps}\n{}", fleet.said());

    let new = fleet.hosts[0].beside(QUICK)?;
    let document = new.host.path("user-data.toml");
    let text = format!("rollinit = 1\ngroup = \"prod\"\nledger = \"{}\"\n", fleet.ledger);
    std::fs::write(&document, text)?;
    new.configure(&format!("[user-data]\nfile = \"{}\"\n", document.display()))?;
    fleet.hosts.push(new);
    let new = &mut fleet.hosts[2];
    new.settle()?;
    new.host.until("it runs what is blessed", || {
        Ok(new.version().is_ok_and(|version| version == "web-3"))
    })?;
    ensure!(noted() == "migrated\ncannot\n", "{}\n{}", noted(), fleet.said());
    Ok(())
}

/// Takes the ledger away while a host swaps, until each host has said so, and brings it back
/// without the slot of that host. Returns which it was.
fn lose_the_ledger(fleet: &Fleet) -> Result<usize> {
    let first = &fleet.hosts[0].host;
    let mut swapping = None;
    first.until("a host swaps", || {
        let status = fleet.status()?;
        let hosts = status["apps"][0]["hosts"].as_array().cloned().unwrap_or_default();
        swapping = hosts.iter().position(|host| host["word"] == "swaps");
        Ok(swapping.is_some())
    })?;
    let swapping = swapping.context("a host")?;
    let (folder, aside) = (fleet.folder(), fleet.folder().with_extension("aside"));
    std::fs::rename(&folder, &aside)?;
    // No folder is no entry; a file in its place is no ledger.
    std::fs::write(&folder, "")?;
    for host in &fleet.hosts {
        host.host.until("it says that the ledger is away", || {
            Ok(host.host.must(&["status"])?.contains("gives no answer"))
        })?;
        host.version().context("it serves meanwhile")?;
    }
    let (host, ledger) = (format!("host-{swapping}"), format!("file://{}", aside.display()));
    let words = ["locks", "release", &host, "--no-fault", "--group", "prod", "--ledger", &ledger];
    expect(fleet, &first.rollinit(&words)?, BLESSED)?;
    std::fs::remove_file(&folder)?;
    // A host that writes in this moment makes a folder of its own; what it wrote it says again.
    while let Err(error) = std::fs::rename(&aside, &folder) {
        ensure!(error.kind() == ErrorKind::DirectoryNotEmpty, "{}: {error}", folder.display());
        // It may be written to once more while it goes: then it is tried again.
        let _ = std::fs::remove_dir_all(&folder);
    }
    Ok(swapping)
}
