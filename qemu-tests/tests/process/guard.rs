//! Who may reach the metadata service.

use anyhow::{Context, Result, ensure};
use qemu_tests::contained::{Contained, NOBODY, Place};
use std::collections::BTreeSet;
use sys::netlink::{Action, Netlink, Rule};

/// A second uid that no account of a host has.
const SOMEBODY: u32 = NOBODY + 1;

/// EC2's two, as a host's file has them.
const ADDRESSES: [&str; 2] = ["169.254.169.254:80", "[fd00:ec2::254]:80"];

/// What a connection comes to where nothing forbids it: this namespace has no route to anywhere.
const REACHABLE: &str = "Network is unreachable";
const FORBIDDEN: &str = "Permission denied";

/// Proof: with the guard's file, a service of a user without `imds = true` is refused by the kernel
/// whatever address family it takes, from its very first packet; root and users with the key are
/// not; a supervisor that is killed changes nothing; a reload takes away and gives without a
/// restart of anybody; without the file there are no rules.
pub fn guards_metadata() -> Result<()> {
    // A network namespace of this thread's own, and of all that it starts.
    let thread = std::thread::spawn(|| {
        sys::network::enter_own_namespace().context("a network namespace")?;
        without_a_file()?;
        life()
    });
    thread.join().map_err(|_| anyhow::anyhow!("the test's thread panicked"))?
}

fn without_a_file() -> Result<()> {
    let mut host = Contained::prepare()?;
    probe(&host, "stranger", 0, NOBODY, "")?;
    host.settle(Place::Subreaper)?;
    ended(&host, "stranger", 1, REACHABLE)?;
    ensure!(rules()?.is_empty(), "{:?}", rules()?);
    Ok(())
}

fn life() -> Result<()> {
    let mut host = Contained::prepare()?;
    std::fs::write(host.path("guarded-addresses"), "169.254.169.254\nfd00:ec2::254\n")?;
    for (at, _) in ADDRESSES.iter().enumerate() {
        probe(&host, &format!("stranger-{at}"), at, NOBODY, "")?;
        probe(&host, &format!("friend-{at}"), at, SOMEBODY, "imds = true")?;
        probe(&host, &format!("root-{at}"), at, 0, "")?;
    }
    host.settle(Place::Subreaper)?;
    for at in 0..ADDRESSES.len() {
        ended(&host, &format!("stranger-{at}"), 1, FORBIDDEN)?;
        ended(&host, &format!("friend-{at}"), 1, REACHABLE)?;
        ended(&host, &format!("root-{at}"), 1, REACHABLE)?;
    }
    let before = rules()?;
    ensure!(before.len() == 4, "two ranges for each family: {before:?}");

    ensure!(host.kill_supervisor()?, "there was one");
    host.must(&["status"])?;
    ensure!(rules()? == before, "{:?}", rules()?);

    // The two change places.
    for at in 0..ADDRESSES.len() {
        probe(&host, &format!("stranger-{at}"), at, NOBODY, "imds = true")?;
        probe(&host, &format!("friend-{at}"), at, SOMEBODY, "")?;
    }
    host.must(&["reload"])?;
    for at in 0..ADDRESSES.len() {
        for (name, words) in [("stranger", REACHABLE), ("friend", FORBIDDEN), ("root", REACHABLE)] {
            let name = format!("{name}-{at}");
            // It fails again, which `start` says.
            host.rollinit(&["start", &name])?;
            ended(&host, &name, 2, words)?;
        }
    }
    Ok(())
}

/// A service that connects to an address, says what came of it, and is not started again.
fn probe(host: &Contained, name: &str, at: usize, user: u32, more: &str) -> Result<()> {
    let more = format!(
        "user = \"{user}\"\ngroup = \"{user}\"\n{more}\n[service.restart]\npolicy = \"no\""
    );
    host.define_app(name, &["stdio", ADDRESSES[at]], &more)
}

/// Run number `run` of a probe ended with these words.
fn ended(host: &Contained, name: &str, run: usize, words: &str) -> Result<()> {
    let is_over = |logs: &str| logs.matches("os error").count() >= run;
    host.until(&format!("run {run} of {name}"), || Ok(is_over(&host.must(&["logs", name])?)))?;
    let logs = host.must(&["logs", name])?;
    let last = logs.lines().rfind(|line| line.contains("os error")).unwrap_or_default();
    ensure!(last.contains(words), "{name}: not {words:?}: {logs}\n{}", host.said());
    Ok(())
}

/// The guard's rules of this network namespace.
fn rules() -> Result<BTreeSet<Rule>> {
    let rules = Netlink::open()?.rules()?;
    Ok(rules.into_iter().filter(|rule| rule.action == Action::Prohibit).collect())
}
