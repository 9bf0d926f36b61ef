//! The network of the EC2 image: DHCP, names, the guarded metadata service, the clock.

use anyhow::{Context, Result, ensure};
use qemu_tests::guest::view::View;
use qemu_tests::guest::{End, Guest, PATIENCE};
use qemu_tests::guests;
use serde_json::Value;

/// Programs of the guest.
const BIN: &str = "/run/current-system/sw/bin";

/// How far the test's time server is ahead, in seconds.
const AHEAD_S: u64 = 5 * 3600;

/// What asks the metadata service for nothing in particular: without a token that is refused, with
/// 401, by whoever is reached at all.
const ASK: &str = "wget -q -O - http://169.254.169.254/latest/meta-data/";

/// Proof: the image comes online by DHCP with what the server says and nothing else, root and a user
/// with `imds = true` reach the metadata service and others do not, and chronyd, which is no longer
/// root, puts a clock right that is hours behind.
pub fn online(name: &str) -> Result<()> {
    let mut guest = guests::boot(name)?.start()?;
    guest.agent.hello(PATIENCE)?;
    let running = |view: &View| {
        ["network-online", "chrony"].iter().all(|name| view.service(name)["state"] == "running")
    };
    View::until(&mut guest.agent, PATIENCE, running)?;
    addresses(&mut guest)?;
    metadata(&mut guest)?;
    clock(&mut guest)?;
    guest.agent.rollinit_last(&["poweroff"])?;
    ensure!(guest.ended(PATIENCE)? == End::PowerOff, "it was asked to power off");
    Ok(())
}

fn addresses(guest: &mut Guest) -> Result<()> {
    let text = done(guest, "rollinit-network status --json")?;
    let state: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    let eth0 = &state["interfaces"][0];
    ensure!(state["online"] == true && eth0["name"] == "eth0", "{state:#}");
    let addresses = eth0["addresses"].as_array().context("addresses")?;
    ensure!(addresses.contains(&"169.254.0.15/16".into()), "{state:#}");
    // QEMU's restricted network has neither gateway nor name server: nothing is made up.
    ensure!(
        eth0["gateway"].is_null() && state["name-servers"] == serde_json::json!([]),
        "{state:#}"
    );
    let resolv = done(guest, "cat /etc/resolv.conf")?;
    ensure!(resolv == "# from rollinit-network\n", "{resolv}");
    let routes = done(guest, "cat /proc/net/route")?;
    ensure!(routes.lines().any(|line| line.starts_with("eth0\t0000FEA9\t00000000")), "{routes}");
    Ok(())
}

fn metadata(guest: &mut Guest) -> Result<()> {
    let root = run(guest, ASK)?;
    ensure!(root.contains("401"), "root is not told to get a token: {root}");
    let service = |imds: bool, user: u32| {
        format!(
            "[service]\nexec = [\"{BIN}/sh\", \"-c\", \"{ASK}\"]\nkind = \"oneshot\"\n\
             user = \"{user}\"\ngroup = \"{user}\"\nimds = {imds}\n"
        )
    };
    done(guest, "mkdir -p /run/rollinit/services")?;
    for (name, text) in [("friend", service(true, 4242)), ("stranger", service(false, 4243))] {
        done(guest, &format!("printf %s '{text}' > /run/rollinit/services/{name}.toml"))?;
    }
    guest.agent.rollinit(&["reload"])?;
    for (name, words) in [("friend", "401"), ("stranger", "Permission denied")] {
        View::until(&mut guest.agent, PATIENCE, |view| view.service(name)["state"] == "failed")?;
        let said = guest.agent.rollinit(&["logs", name])?;
        ensure!(said.contains(words), "{name}: not {words:?}: {said}");
    }
    Ok(())
}

/// EC2's clock is not there, so chronyd has had no time yet. The test's server is ahead.
fn clock(guest: &mut Guest) -> Result<()> {
    let sources = done(guest, "chronyc -n sources")?;
    ensure!(sources.contains("169.254.169.123"), "{sources}");
    let processes = done(guest, "ps -o user,comm")?;
    let is_its_own = |line: &str| line.split_whitespace().eq(["chrony", "chronyd"]);
    ensure!(processes.lines().any(is_its_own), "chronyd is root: {processes}");
    // The test apps lie beside the test agent, whose child this shell is.
    let programs = done(guest, "dirname $(readlink /proc/$PPID/exe)")?;
    let text = format!(
        "[service]\nexec = [\"{}/rollinit-testapp\", \"ntp\", \"1123\", \"{AHEAD_S}\"]\n",
        programs.trim()
    );
    done(guest, &format!("printf %s '{text}' > /run/rollinit/services/ntp.toml"))?;
    let before = seconds(guest)?;
    guest.agent.rollinit(&["reload"])?;
    View::until(&mut guest.agent, PATIENCE, |view| view.service("ntp")["state"] == "running")?;
    done(guest, "chronyc add server 127.0.0.1 port 1123 iburst")?;
    // Until the clock is within a second of it, looked at every second.
    done(guest, "chronyc waitsync 60 1 0 1")?;
    let after = seconds(guest)?;
    let jump = after.saturating_sub(before);
    ensure!((AHEAD_S..AHEAD_S + 120).contains(&jump), "the clock went on by {jump} s");
    Ok(())
}

fn seconds(guest: &mut Guest) -> Result<u64> {
    let text = done(guest, "date +%s")?;
    text.trim().parse().with_context(|| text.clone())
}

/// What a line of shell prints, on either stream.
fn run(guest: &mut Guest, line: &str) -> Result<String> {
    let output = guest.agent.run(&[&format!("{BIN}/sh"), "-c", &format!("{line} 2>&1")])?;
    Ok(output.stdout)
}

/// What a line of shell prints that must succeed.
fn done(guest: &mut Guest, line: &str) -> Result<String> {
    let output = guest.agent.run(&[&format!("{BIN}/sh"), "-c", line])?;
    ensure!(output.code == Some(0), "{line}: {output:?}");
    Ok(output.stdout)
}
