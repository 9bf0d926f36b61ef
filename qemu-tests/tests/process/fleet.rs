//! Groups of hosts without a VM: several PID 1s, each with its supervisor, agent and store, and one
//! ledger between them.

use anyhow::{Context, Result, ensure};
use qemu_tests::apphost::{APP, Release};
use qemu_tests::contained::Output;
use qemu_tests::fleet::Fleet;

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
