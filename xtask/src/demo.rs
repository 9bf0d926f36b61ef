//! `cargo xtask demo`: rollinit alive, killed from above, and still serving. Under two minutes.

use crate::workspace::step;
use crate::{build, image, setup};
use anyhow::{Context, Result, ensure};
use qemu_tests::guest::view::View;
use qemu_tests::guest::{End, Guest, PATIENCE};
use qemu_tests::guests;
use qemu_tests::load::report::Report;
use qemu_tests::load::{self, Plan, Running};
use serde::Serialize;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Instant;

/// Requests a second.
const RATE: u32 = 30;

/// Seconds of load at most; each part stops it when it has seen enough.
const SECONDS: u64 = 120;

/// Answers before a kill, and after it.
const ANSWERS: u64 = 60;

const KILL: u8 = 9;

/// One line of the closing table.
#[derive(Debug, Serialize)]
struct Row {
    claim: &'static str,
    seen: String,
    holds: bool,
}

/// The closing table as it grows.
#[derive(Debug, Default)]
struct Table {
    rows: Vec<Row>,
}

impl Table {
    fn add(&mut self, claim: &'static str, holds: bool, seen: String) {
        eprintln!("  {} {claim}: {seen}", if holds { "ok " } else { "NOT" });
        self.rows.push(Row { claim, seen, holds });
    }
}

/// Runs the demo; `json` prints the closing table as JSON.
///
/// # Errors
/// A claim did not hold, or something could not be built or booted.
pub fn run(root: &Path, json: bool) -> Result<()> {
    setup::run_setup()?;
    build::run_build(root)?;
    image::build(root, guests::configuration("demo")?)?;
    let start = Instant::now();
    let mut table = Table::default();
    let mut guest = step("boot", || boot(&mut table))?;
    let log = guest.serial_log.clone();
    let result = parts(&mut guest, &mut table);
    drop(guest);
    if json {
        println!("{}", serde_json::to_string_pretty(&table.rows)?);
    } else {
        print(&table);
    }
    println!(
        "\n{:.0} s from boot to power-off; console: {}",
        start.elapsed().as_secs_f64(),
        log.display()
    );
    result?;
    ensure!(table.rows.iter().all(|row| row.holds), "a claim did not hold");
    Ok(())
}

fn parts(guest: &mut Guest, table: &mut Table) -> Result<()> {
    step("kill -9 of the supervisor, under load", || supervisor(guest, table))?;
    step("kill -9 of the web app, under load", || web_app(guest, table))?;
    step("power-off", || {
        guest.agent.rollinit_last(&["poweroff"])?;
        let end = guest.ended(PATIENCE)?;
        table.add("the guest powers itself off", end == End::PowerOff, format!("{end:?}"));
        Ok(())
    })
}

fn boot(table: &mut Table) -> Result<Guest> {
    let mut guest = guests::boot("demo")?.start()?;
    guest.agent.hello(PATIENCE)?;
    let view = View::settled(&mut guest.agent, PATIENCE)?;
    timeline(&mut guest, &view)?;
    let count = view.pids().len();
    let names: Vec<String> = view.pids().into_iter().map(|(name, _)| name).collect();
    table.add("services run", count >= 2, names.join(" "));
    let page = get(guest.address(8081)?)?;
    let answers = page.contains("nginx on rollinit");
    table.add("nginx answers", answers, page.lines().last().unwrap_or_default().to_owned());
    println!("\n{}", guest.agent.rollinit(&["status"])?);
    Ok(guest)
}

/// Moments of the boot in milliseconds since the kernel's first, by the kernel's clocks.
fn timeline(guest: &mut Guest, view: &View) -> Result<()> {
    let host = &view.0["host"];
    let milliseconds = |ns: Option<u64>| ns.map_or(0, |ns| ns / 1_000_000);
    let mut moments = vec![(0, "kernel".to_owned())];
    moments.push((milliseconds(host["init"]["started_ns"].as_u64()), "PID 1".to_owned()));
    moments.push((started_ms(guest, view.supervisor_pid()?)?, "supervisor".to_owned()));
    for (name, pid) in view.pids() {
        moments.push((started_ms(guest, pid)?, format!("{name} starts (pid {pid})")));
        let ready = milliseconds(view.service(&name)["since_ns"].as_u64());
        moments.push((ready, format!("{name} is ready")));
    }
    moments.sort();
    println!("\nBoot timeline, ms since the kernel started (starts to 10 ms):");
    for (moment, what) in moments {
        println!("{moment:8}  {what}");
    }
    Ok(())
}

/// When a process of the guest started: field 22 of `/proc/PID/stat` (proc(5)), in ticks of 10 ms.
fn started_ms(guest: &mut Guest, pid: u32) -> Result<u64> {
    let stat = guest.agent.read(&format!("/proc/{pid}/stat"))?;
    // The second field may hold anything, in parentheses; the third comes after the last one.
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let ticks = rest.split_ascii_whitespace().nth(19).and_then(|word| word.parse::<u64>().ok());
    Ok(ticks.with_context(|| format!("not a stat: {stat}"))? * 10)
}

fn begin(guest: &Guest, name: &str) -> Result<(Running, SocketAddr)> {
    let address = guest.address(8080)?;
    let running = load::start(Plan::new(address, name, RATE, SECONDS))?;
    ensure!(running.answered(ANSWERS, PATIENCE), "the web app does not answer");
    Ok((running, address))
}

fn supervisor(guest: &mut Guest, table: &mut Table) -> Result<()> {
    let before = View::take(&mut guest.agent)?;
    let (running, address) = begin(guest, "supervisor-dies")?;
    let old = before.supervisor_pid()?;
    guest.agent.kill(old, KILL)?;
    ensure!(running.answered(ANSWERS, PATIENCE), "no answers after the supervisor's death");
    let after = View::until(&mut guest.agent, PATIENCE, |view| {
        view.supervisor_pid().is_ok_and(|pid| pid != old)
    })?;
    let report = running.stop();
    let ledger = load::ledger(address, "supervisor-dies").map_err(anyhow::Error::msg)?;
    let new = after.supervisor_pid()?;
    let same = before.pids() == after.pids();
    let seen = format!("supervisor {old} -> {new}, {} services as before", after.pids().len());
    table.add("supervisor killed: no service's pid changes", same, seen);
    let equal = before.without_supervisor() == after.without_supervisor();
    let seen = if equal { "only its own pid and uptime" } else { "more than that" };
    table.add("supervisor killed: what differs in status", equal, seen.to_owned());
    let whole = (ledger.seen, ledger.repeated) == (report.sent, 0);
    let holds = report.failed == 0 && whole;
    table.add("supervisor killed: no request fails", holds, summary(&report));
    Ok(())
}

fn web_app(guest: &mut Guest, table: &mut Table) -> Result<()> {
    let before = View::take(&mut guest.agent)?;
    let (running, _) = begin(guest, "web-app-dies")?;
    let old = before.pid("web")?;
    guest.agent.kill(old, KILL)?;
    let dead_ms = u64::try_from(running.elapsed().as_millis())?;
    ensure!(running.answered(ANSWERS, PATIENCE), "no answers after the web app's death");
    let after = View::settled(&mut guest.agent, PATIENCE)?;
    let report = running.stop();
    let new = after.pid("web")?;
    let seen = format!("web {old} -> {new}, restarts: {}", after.service("web")["restarts"]);
    table.add("web app killed: it is back", new != old, seen);
    let waited = report.failed == report.examples.len() as u64
        && report.examples.iter().all(|example| {
            let cut = ["connection reset", "answer cut short"].contains(&&*example.failure);
            cut && example.due_ms <= dead_ms
        });
    let seen = format!("{}; what it had in hand was cut", summary(&report));
    table.add("web app killed: later clients wait, none is refused", waited, seen);
    Ok(())
}

fn summary(report: &Report) -> String {
    let Report { sent, failed, latency_p50_ms: p50, latency_max_ms: max, .. } = report;
    format!("{sent} sent, {failed} failed, p50 {p50:.0} ms, max {max:.0} ms")
}

fn get(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(address).context("connect to nginx")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).context("read nginx's answer")?;
    Ok(text)
}

fn print(table: &Table) {
    let width = table.rows.iter().map(|row| row.claim.len()).max().unwrap_or(0);
    println!("\nWhat was seen:");
    for Row { claim, seen, holds } in &table.rows {
        println!("  {}  {claim:width$}  {seen}", if *holds { "yes" } else { "NO " });
    }
}
