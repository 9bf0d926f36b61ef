//! What people do about a rollout while it goes on, and what the hosts make of it.

use anyhow::{Context, Result, ensure};
use qemu_tests::apphost::{APP, Release};
use qemu_tests::fleet::Fleet;
use serde_json::Value;
use std::process::{Child, Output};

/// Exit codes of `rollinit rollout start --wait` (docs/cli.md).
const BLESSED: i32 = 0;
const FAILED: i32 = 10;
const ABORTED: i32 = 16;

/// Short, so that a test takes seconds; the way is the same.
const QUICK: &str =
    "[app.swap]\ndrain = \"5s\"\nbake = \"200ms\"\nwatch = \"200ms\"\nmigrate-lease = \"4s\"\n";

/// A migration that hangs.
const HANGS: &[&str] = &["task", "never", "--after-ms", "600000"];

/// Begun, and watched to its end by somebody at the first host, who names no ledger: the host's agent
/// says which.
fn begin(fleet: &Fleet, path: &str) -> Result<Child> {
    fleet.hosts[0].begin(&["rollout", "start", APP, path, "--new-group", "--wait", "--json"])
}

fn ended(fleet: &Fleet, child: Child, code: i32) -> Result<Output> {
    let output = child.wait_with_output().context("wait for rollinit")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(code), "not {code}: {text}{said}\n{}", fleet.said());
    Ok(output)
}

fn locks(fleet: &Fleet) -> Result<Value> {
    let output = fleet.hosts[0].host.must(&["locks", "--json"])?;
    serde_json::from_str(&output).with_context(|| output.clone())
}

/// The host that is out and migrates, once there is one.
fn who_hangs(fleet: &Fleet) -> Result<String> {
    let mut host = None;
    fleet.hosts[0].host.until("a host is out and migrates", || {
        let locks = locks(fleet)?;
        let (slot, hold) = (&locks["slots"][0], &locks["migrations"][0]["holder"]);
        let swap = format!("{}-{}", slot["rollout"].as_str().unwrap_or(""), slot["fence"]);
        host = slot["host"].as_str().filter(|_| hold["swap"] == swap).map(str::to_owned);
        Ok(host.is_some())
    })?;
    host.with_context(|| fleet.said())
}

fn until_all_is_given_back(fleet: &Fleet) -> Result<()> {
    fleet.hosts[0].host.until("nobody is out", || {
        Ok(locks(fleet)?["slots"].as_array().is_some_and(Vec::is_empty))
    })?;
    for host in &fleet.hosts {
        host.host.until("it serves what it did", || {
            Ok(host.version().is_ok_and(|version| version == "web-1"))
        })?;
    }
    Ok(())
}

/// Proof: from a host of the group nobody has to name group or ledger. A rollout that hangs in its
/// migration is seen by who is out and who migrates; paused, the other host waits and says for whom;
/// aborted, whoever waited is told so, and without the migration lock the one that hangs turns back.
/// A slot that is released by hand ends the rollout as a failure, and its host, which lives, turns
/// back. After all that a sound release rolls over both.
pub fn by_hand() -> Result<()> {
    let fleet = Fleet::start(2, QUICK, None)?;
    let release = |name, programs: &[(&str, &[&str])]| {
        fleet.hosts[0].release(&Release { name, serve: &[], programs })
    };
    let first = release("web-2", &[("migrate", HANGS)])?;
    let second = release("web-3", &[("migrate", HANGS)])?;
    let sound = release("web-4", &[])?;
    let must = |words: &[&str]| fleet.hosts[1].host.must(words);

    let waiting = begin(&fleet, &first)?;
    let out = who_hangs(&fleet)?;
    let shown = must(&["locks"])?;
    ensure!(shown.contains(&format!("{out} migrates to ")), "{shown}");
    must(&["rollout", "pause", APP, "--why", "lunch"])?;
    fleet.hosts[0].host.until("the other one says who paused it", || {
        Ok(must(&["rollout", "status"])?.contains("paused it: lunch"))
    })?;
    must(&["rollout", "abort", APP, "--why", "dinner"])?;
    let told = ended(&fleet, waiting, ABORTED)?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    ensure!(told.lines().last().is_some_and(|line| line.contains("\"dinner\"")), "{told}");
    let revoked = must(&["locks", "release", APP])?;
    ensure!(revoked.contains(&format!("{out} has the migration lock no more")), "{revoked}");
    until_all_is_given_back(&fleet)?;

    let waiting = begin(&fleet, &second)?;
    let out = who_hangs(&fleet)?;
    let released = must(&["locks", "release", &out, APP, "--why", "a test"])?;
    ensure!(released.contains("counts as a failure of web-3"), "{released}");
    ended(&fleet, waiting, FAILED)?;
    until_all_is_given_back(&fleet)?;
    let status = must(&["rollout", "status", APP])?;
    ensure!(status.contains("web: FAILED web-3") && status.contains("a test"), "{status}");

    ended(&fleet, begin(&fleet, &sound)?, BLESSED)?;
    let versions = fleet.versions()?;
    ensure!(versions == ["web-4"; 2], "{versions:?}\n{}", fleet.said());
    Ok(())
}
