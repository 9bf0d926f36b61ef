//! `cargo xtask demo`: a host under load whose app is swapped, well and badly, while what swaps it
//! is killed. About two minutes.

mod cluster;
mod ec2;

use crate::workspace::step;
use crate::{build, image, setup};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use qemu_tests::guest::agent::Kill;
use qemu_tests::guest::swap::{COMMITTED, Host, ROLLED_BACK, Swapped};
use qemu_tests::guest::view::View;
use qemu_tests::guest::{End, PATIENCE};
use qemu_tests::guests;
use qemu_tests::load::report::Report;
use qemu_tests::load::request::Kind;
use qemu_tests::load::{self, Plan, Running};
use serde::Serialize;
use std::path::Path;
use std::time::Instant;

/// Which demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Demo {
    /// An app, swapped under load, well and badly.
    Swaps,
    /// A host on EC2, from firmware to power-off.
    Ec2,
    /// Releases that go over three hosts and more, under load.
    Cluster,
}

/// Requests a second of each load.
const RATE: u32 = 20;

/// Seconds of load at most; the last part stops it.
const SECONDS: u64 = 900;

/// Answers between two swaps.
const ANSWERS: u64 = 20;

/// Letters of what was seen, in a line of a table.
const SEEN_MAX: usize = 90;

/// Ports of the two apps: `web` is swapped by overlap, `shop` by restart.
const WEB: u16 = 8080;
const SHOP: u16 = 8081;

/// The bad releases and what each does wrong.
const BAD: [(&str, &str); 4] = [
    ("3-missing", "never starts"),
    ("3-deaf", "never accepts"),
    ("3-sick", "answers 503"),
    ("3-fading", "is well for 5 s, then answers 503"),
];

/// One line of the closing table.
#[derive(Debug, Serialize)]
struct Row {
    claim: String,
    seen: String,
    holds: bool,
}

/// What a swap took, in milliseconds by step.
#[derive(Debug, Serialize)]
struct Times {
    swap: String,
    steps: Vec<(String, u64)>,
}

/// The closing tables as they grow.
#[derive(Debug, Default, Serialize)]
struct Table {
    rows: Vec<Row>,
    times: Vec<Times>,
}

impl Table {
    fn add(&mut self, claim: impl Into<String>, holds: bool, seen: impl Into<String>) {
        let (claim, mut seen) = (claim.into(), seen.into());
        if let Some((end, _)) = seen.char_indices().nth(SEEN_MAX) {
            seen.replace_range(end.., "...");
        }
        eprintln!("  {} {claim}: {seen}", if holds { "ok " } else { "NOT" });
        self.rows.push(Row { claim, seen, holds });
    }

    /// How a swap ended, and what its steps took.
    fn swap(&mut self, claim: impl Into<String>, code: i64, swapped: &Swapped) {
        let claim = claim.into();
        let steps: Vec<(String, u64)> =
            swapped.steps().into_iter().map(|(step, ms)| (step.to_owned(), ms)).collect();
        let seen = match swapped.code {
            Some(COMMITTED) => "committed".to_owned(),
            Some(ROLLED_BACK) => format!("rolled back; {}", swapped.reason()),
            other => format!("exit code {other:?}; {}", swapped.reason()),
        };
        self.times.push(Times { swap: claim.clone(), steps });
        self.add(claim, swapped.code == Some(code), seen);
    }
}

/// Runs a demo; `json` prints the closing tables as JSON.
///
/// # Errors
/// A claim did not hold, or something could not be built or booted.
pub fn run(root: &Path, demo: Demo, json: bool) -> Result<()> {
    match demo {
        Demo::Swaps => swaps(root, json),
        Demo::Ec2 => ec2::run(root, json),
        Demo::Cluster => cluster::run(root, json),
    }
}

fn swaps(root: &Path, json: bool) -> Result<()> {
    setup::run_setup()?;
    build::run_build(root)?;
    image::build(root, guests::configuration("demo")?)?;
    image::build_releases(root)?;
    let start = Instant::now();
    let mut table = Table::default();
    let mut host = step("boot", || boot(&mut table))?;
    let log = host.guest.serial_log.clone();
    let result = parts(&mut host, &mut table);
    drop(host);
    finish(&table, json, start, &log)?;
    result?;
    ensure!(table.rows.iter().all(|row| row.holds), "a claim did not hold");
    Ok(())
}

/// Prints the closing tables of what began at `start`, and where the console is kept.
fn finish(table: &Table, json: bool, start: Instant, log: &Path) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(table)?);
    } else {
        print(table);
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("\n{seconds:.0} s from boot to power-off; console: {}", log.display());
    Ok(())
}

fn boot(table: &mut Table) -> Result<Host> {
    let mut host = Host::start(guests::boot("demo")?)?;
    let view = View::settled(&mut host.guest.agent, PATIENCE)?;
    let names: Vec<String> = view.pids().into_iter().map(|(name, _)| name).collect();
    table.add("services and apps run", names.len() >= 3, names.join(" "));
    println!("\n{}", host.guest.agent.rollinit(&["status"])?);
    Ok(host)
}

fn parts(host: &mut Host, table: &mut Table) -> Result<()> {
    let web = begin(host, "web", WEB, &Kind::ALL)?;
    let shop = begin(host, "shop", SHOP, &[Kind::GetNew, Kind::PostNew, Kind::Slow])?;
    step("v2, by overlap: fetched, gated, switched, baked", || {
        let swapped = host.swap("web", "v2", &[])?;
        table.swap("web: v1 -> v2 by overlap", COMMITTED, &swapped);
        asked_first(host, table, "2")
    })?;
    step("v2, by restart on the same socket", || {
        let swapped = host.swap("shop", "v2", &[])?;
        table.swap("shop: v1 -> v2 by restart", COMMITTED, &swapped);
        Ok(())
    })?;
    for (version, kind) in BAD {
        step(&format!("a bad v3: it {kind}"), || bad(host, table, &web, version, kind))?;
    }
    step("kill -9 of the agent while the gate asks", || {
        let agent = host.agent_pid()?;
        kill(host, table, "agent", "v1", "gate", agent)
    })?;
    step("kill -9 of the supervisor after the switch", || {
        let supervisor = View::settled(&mut host.guest.agent, PATIENCE)?.supervisor_pid()?;
        kill(host, table, "supervisor", "v2", "switch", supervisor)
    })?;
    for question in [["generations", "web"], ["swaps", "web"]] {
        println!("\n$ rollinit {}\n{}", question.join(" "), host.guest.agent.rollinit(&question)?);
    }
    step("the loads' own count, and the apps'", || {
        end(host, table, web, "web")?;
        end(host, table, shop, "shop")
    })?;
    step("power-off", || {
        host.guest.agent.rollinit_last(&["poweroff"])?;
        let end = host.guest.ended(PATIENCE)?;
        table.add("the guest powers itself off", end == End::PowerOff, format!("{end:?}"));
        Ok(())
    })
}

fn begin(host: &Host, app: &str, port: u16, mix: &[Kind]) -> Result<Running> {
    let plan = Plan::new(host.guest.address(port)?, app, RATE, SECONDS).patient();
    let running = load::start(Plan { mix: mix.to_vec(), ..plan })?;
    ensure!(running.answered(ANSWERS, PATIENCE), "{app} does not answer");
    Ok(running)
}

/// The version's own log of who asked it: the gate before any user.
fn asked_first(host: &mut Host, table: &mut Table, version: &str) -> Result<()> {
    let served = host.served(version)?;
    let seen = format!("{} probes, then {} users' requests", served.probes_first, served.users);
    table.add(format!("v{version}: no user before its gate"), served.probes_first >= 3, seen);
    Ok(())
}

fn bad(host: &mut Host, table: &mut Table, web: &Running, version: &str, kind: &str) -> Result<()> {
    let swapped = host.swap("web", &format!("v{version}"), &[])?;
    table.swap(format!("web: v3 that {kind}"), ROLLED_BACK, &swapped);
    let served = host.served(version)?;
    let holds = served.users == 0 || served.probes_first >= 3;
    let seen = format!("{} probes, {} users' requests", served.probes, served.users);
    table.add(format!("v{version}: no user before its gate"), holds, seen);
    ensure!(web.answered(ANSWERS, PATIENCE), "v2 does not answer after a bad v3");
    Ok(())
}

fn kill(
    host: &mut Host,
    table: &mut Table,
    victim: &str,
    release: &str,
    at: &str,
    pid: u32,
) -> Result<()> {
    let when = format!("\"step\":\"{at}\"");
    let kill = Some(Kill { when: &when, pid });
    let swapped = host.swap_killing("web", release, &[], kill)?;
    ensure!(swapped.killed, "the swap never came to {at}");
    table.swap(format!("web: {victim} killed at {at}, -> {release}"), COMMITTED, &swapped);
    Ok(())
}

fn end(host: &mut Host, table: &mut Table, running: Running, app: &str) -> Result<()> {
    ensure!(running.answered(ANSWERS, PATIENCE), "{app} does not answer in the end");
    let report = running.stop();
    table.add(format!("{app}: no request failed"), report.failed == 0, summary(&report));
    let (served, twice) = host.ledger(app).context("count the app's log")?;
    let seen = format!("{served} of {} served, {twice} of them twice", report.sent);
    table.add(
        format!("{app}: each request was served once"),
        (served, twice) == (report.sent, 0),
        seen,
    );
    Ok(())
}

fn summary(report: &Report) -> String {
    let Report { sent, failed, latency_p50_ms: p50, latency_max_ms: max, .. } = report;
    format!("{sent} sent, {failed} failed, p50 {p50:.0} ms, max {max:.0} ms")
}

fn print(table: &Table) {
    if !table.times.is_empty() {
        println!("\nMilliseconds a step took:");
    }
    for Times { swap, steps } in &table.times {
        let steps: Vec<String> = steps.iter().map(|(step, ms)| format!("{step} {ms}")).collect();
        println!("  {swap}\n      {}", steps.join(", "));
    }
    let width = table.rows.iter().map(|row| row.claim.chars().count()).max().unwrap_or(0);
    println!("\nWhat was seen:");
    for Row { claim, seen, holds } in &table.rows {
        println!("  {}  {claim:width$}  {seen}", if *holds { "yes" } else { "NO " });
    }
}
