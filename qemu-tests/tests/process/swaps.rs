//! Swaps without a VM: PID 1, supervisor, agent, a store of their own and a cache made by Nix.

use anyhow::{Context, Result, ensure};
use qemu_tests::apphost::{APP, AppHost, Release};
use qemu_tests::contained::Output;
use serde_json::Value;

/// Exit codes of `rollinit swap` (docs/cli.md).
const COMMITTED: i32 = 0;
const ROLLED_BACK: i32 = 10;
const REFUSED: i32 = 12;

/// Short, so that a test takes seconds; the way is the same.
const QUICK: &str = "[app.swap]\ndrain = \"5s\"\nbake = \"200ms\"\nwatch = \"200ms\"\n";

/// A host that is up, with a second release that is sound.
fn host_with_second(more: &str) -> Result<(AppHost, String)> {
    let mut host = AppHost::prepare(more)?;
    let second = host.release(&Release { name: "web-2", serve: &[], programs: &[] })?;
    host.settle()?;
    ensure!(host.version()? == "web-1", "the seed serves first");
    Ok((host, second))
}

fn expect(host: &AppHost, output: &Output, code: i32) -> Result<()> {
    ensure!(
        output.code == Some(code),
        "exit {:?}, not {code}: {output:?}\n{}",
        output.code,
        said(host)
    );
    Ok(())
}

/// What everybody said, for a failure's text.
fn said(host: &AppHost) -> String {
    let logs = host.host.rollinit(&["logs", "rollinit-agent", "-n", "60"]);
    let logs = logs.map(|output| output.stdout).unwrap_or_default();
    format!("{}\nthe agent said last:\n{logs}", host.host.said())
}

/// All that must hold when a swap to `path` of version `version` was committed.
fn ensure_serves(host: &AppHost, version: &str, path: &str) -> Result<()> {
    let now = host.version()?;
    ensure!(now == version, "{now} serves, not {version}\n{}", said(host));
    let sides = host.sides();
    ensure!(sides.len() == 1, "one side is left: {sides:?}\n{}", said(host));
    let profile = host.profile()?;
    ensure!(profile == path, "the profile is {profile}, not {path}");
    let roots = host.roots()?;
    let running = (format!("{APP}-running"), path.to_owned());
    ensure!(roots.contains(&running), "what serves has a root: {roots:?}");
    ensure!(roots.iter().all(|(name, _)| name != "web-target"), "no target is left: {roots:?}");
    Ok(())
}

/// Proof: after exit 0 users are answered by the second release alone, its profile link and roots
/// are there, one side runs, and the gate asked the new one before any user's request reached it.
pub fn overlap_commits() -> Result<()> {
    let (host, second) = host_with_second(QUICK)?;
    expect(&host, &host.swap(&second, &[])?, COMMITTED)?;
    ensure_serves(&host, "web-2", &second)?;
    let served = host.served()?;
    let first = served.lines().find(|line| line.starts_with("web-2 ")).context("a request")?;
    ensure!(first.contains(" /up "), "the gate comes first: {first}");

    // Again: nothing is done, and nothing is forgotten.
    let again = host.swap(&second, &["--json"])?;
    expect(&host, &again, COMMITTED)?;
    ensure!(again.stdout.contains("nothing_to_do"), "{again:?}");
    ensure!(host.swaps()?.len() == 1, "it is no swap of the history");

    // And back, over the same way.
    let back = host.host.rollinit(&["rollback", APP])?;
    expect(&host, &back, COMMITTED)?;
    ensure_serves(&host, "web-1", &host.first)?;
    let generations = host.host.must(&["generations", APP, "--json"])?;
    let generations: Value = serde_json::from_str(&generations)?;
    let count = generations["generations"].as_array().map_or(0, Vec::len);
    ensure!(count >= 2, "{generations}");
    Ok(())
}

/// Proof: the same with one side on one kept socket.
pub fn restart_commits() -> Result<()> {
    let more = format!("{QUICK}strategy = \"restart\"\n");
    let (host, second) = host_with_second(&more)?;
    expect(&host, &host.swap(&second, &[])?, COMMITTED)?;
    ensure_serves(&host, "web-2", &second)
}

/// Proof: for each kind of a bad release: exit 10, the first one serves, its own log shows that no
/// user's request reached the bad one, and a second try is refused without force.
pub fn bad_releases_are_taken_back() -> Result<()> {
    let mut host = AppHost::prepare(QUICK)?;
    let deaf =
        host.release(&Release { name: "web-deaf", serve: &["--never-accept"], programs: &[] })?;
    let sick =
        host.release(&Release { name: "web-sick", serve: &["--up-status", "503"], programs: &[] })?;
    let missing = host.release(&Release { name: "web-missing", serve: &[], programs: &[] })?;
    // Fetched as it is; then its program goes, so that it cannot even be started.
    host.settle()?;
    for (path, name) in [(&sick, "web-sick"), (&deaf, "web-deaf")] {
        let output = host.swap(path, &[])?;
        expect(&host, &output, ROLLED_BACK)?;
        ensure!(host.version()? == "web-1", "{name}: the first serves");
        ensure!(host.sides().len() == 1, "{name}: one side: {:?}", host.sides());
        let users = format!("{name} ");
        let served = host.served()?;
        let reached = served.lines().filter(|line| line.starts_with(&users));
        for line in reached {
            ensure!(line.contains(" /up "), "{name}: a user reached it: {line}");
        }
        expect(&host, &host.swap(path, &[])?, REFUSED)?;
    }
    drop(missing);
    ensure!(host.roots()?.iter().all(|(name, _)| name != "web-target"), "{:?}", host.roots()?);
    Ok(())
}
