//! Ends: of the whole, of many processes at once, of those that nobody waits for.

use anyhow::{Context, Result, ensure};
use qemu_tests::contained::{Contained, NOBODY, Place};

/// Orphans that end at once.
const ORPHANS: u64 = 100_000;

/// Runs of a service that ends at once.
const RUNS: u64 = 300;

/// Processes a fork bomb may have: RLIMIT_NPROC of its user, since a host's cgroups may lack the
/// pids controller.
const BOMB_PROCESSES: u64 = 150;

/// Three services in a row, each of which takes a while to end, and one that ignores SIGTERM.
fn row() -> Result<Contained> {
    let host = Contained::prepare()?;
    let file = host.path("order");
    let path = file.to_str().context("UTF-8")?;
    host.define_app("a", &["witness", path, "a", "--stop-ms", "100"], "")?;
    host.define_app("b", &["witness", path, "b", "--stop-ms", "100"], "after = [\"a\"]")?;
    host.define_app("c", &["witness", path, "c", "--stop-ms", "100"], "after = [\"b\"]")?;
    host.define_app("stubborn", &["ignore-term"], "stop = { timeout = \"200ms\" }")?;
    Ok(host)
}

fn check_order(host: &Contained) -> Result<()> {
    let text = std::fs::read_to_string(host.path("order"))?;
    let stops: Vec<&str> = text.lines().filter(|line| line.ends_with("stops")).collect();
    ensure!(stops == ["c stops", "b stops", "a stops"], "{text}");
    Ok(())
}

fn started(host: &Contained) -> Result<()> {
    for name in ["a", "b", "c", "stubborn"] {
        host.wait_state(name, "running")?;
    }
    // "Running" is as soon as the program runs; it must be as far as to have seen no signal yet.
    let file = host.path("order");
    host.until("all three wrote", || {
        Ok(std::fs::read_to_string(&file).is_ok_and(|text| text.matches("is ready").count() == 3))
    })
}

/// Proof: services of a row write down when they end, in reverse order of their start and each
/// after the one before has ended; PID 1 of the namespace exits with 0, and nothing is left in the
/// cgroup, the one that ignores SIGTERM included.
pub fn power_off_in_namespace() -> Result<()> {
    let mut host = row()?;
    host.settle(Place::PidNamespace)?;
    started(&host)?;
    host.must_end(&["poweroff"])?;
    let status = host.ended()?;
    ensure!(status.code() == Some(0), "{status}\n{}", host.said());
    check_order(&host)?;
    ensure!(!host.group("")?.populated()?, "processes are left\n{}", host.said());
    Ok(())
}

/// Proof: as above with the code that means reboot, 100, from an ordinary process: nothing but its
/// cgroup tells it what is its own.
pub fn reboot_as_subreaper() -> Result<()> {
    let mut host = row()?;
    host.settle(Place::Subreaper)?;
    started(&host)?;
    host.must_end(&["reboot"])?;
    let status = host.ended()?;
    ensure!(status.code() == Some(100), "{status}\n{}", host.said());
    check_order(&host)?;
    ensure!(!host.group("")?.populated()?, "processes are left\n{}", host.said());
    Ok(())
}

/// The children of PID 1, zombies included, as the kernel lists them.
fn children_of_init(host: &Contained) -> Result<Vec<u32>> {
    let init = host.init_pid()?;
    let text = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children"))?;
    text.split_ascii_whitespace().map(|pid| pid.parse().context("a pid")).collect()
}

/// Proof: 100,000 orphans end in the arms of PID 1 while a service ends and is started again 300
/// times. Every run is seen to end (restarts and incarnation agree, and the last run's code is
/// kept), PID 1 has no child afterwards that is not the supervisor or a service (so no zombie), and
/// the neighbour's process is the one it was.
pub fn exits_accounted() -> Result<()> {
    let mut host = Contained::prepare()?;
    host.define_app("orphans", &["orphans", &ORPHANS.to_string()], "kind = \"oneshot\"")?;
    let more = "[service.restart]\nbackoff-min = \"1ms\"\nbackoff-max = \"1ms\"\n";
    host.define_app("brief", &["exit", "7"], more)?;
    host.define_app("neighbour", &["hang"], "")?;
    host.start(Place::PidNamespace)?;
    let neighbour = host.wait_state("neighbour", "running")?;
    host.wait_state("orphans", "done")?;
    host.wait_service("brief", "ran often", |service| service["restarts"].as_u64() >= Some(RUNS))?;
    let ran = host.service("brief")?;
    ensure!(ran["last_end"]["exit_code"] == 7, "{ran}");
    // The stop may come in the middle of a run, which is one more and ends as asked.
    host.must(&["stop", "brief"])?;
    let brief = host.service("brief")?;
    let (runs, restarts) = (brief["incarnation"].as_u64(), brief["restarts"].as_u64());
    ensure!(runs == restarts.map(|restarts| restarts + 1), "{brief}");
    let logs = host.must(&["logs", "orphans"])?;
    ensure!(logs.contains(&format!("left {ORPHANS} orphans")), "{logs}");
    let expected = [host.processes("neighbour")?, host.group("rollinit/supervisor")?.processes()?];
    let mut expected = expected.concat();
    expected.sort_unstable();
    host.until("PID 1 has reaped everything", || {
        let mut children = children_of_init(&host)?;
        children.sort_unstable();
        Ok(children == expected)
    })?;
    ensure!(host.service("neighbour")?["pid"] == neighbour["pid"], "the neighbour was restarted");
    Ok(())
}

/// Proof: the leader of a service is killed and leaves 50 living children behind. They belong to
/// PID 1 now and are gone before the next run begins: its cgroup holds the new 51 and no old one.
pub fn orphans_go_with_their_service() -> Result<()> {
    let mut host = Contained::prepare()?;
    let more = "restart = { backoff-min = \"10ms\", backoff-max = \"10ms\" }\n\
                stop = { timeout = \"1s\" }\n";
    host.define_app("parent", &["children", "50"], more)?;
    host.settle(Place::Subreaper)?;
    host.until("all are there", || Ok(host.processes("parent")?.len() == 51))?;
    let before = host.processes("parent")?;
    let leader = host.service("parent")?["pid"].as_u64().context("it runs")?;
    sys::cgroup::signal_process(u32::try_from(leader)?, 9)?;
    host.until("a new run is whole", || {
        // Between two runs there is no cgroup.
        let Ok(now) = host.processes("parent") else { return Ok(false) };
        Ok(now.len() == 51 && now.iter().all(|pid| !before.contains(pid)))
    })?;
    ensure!(host.service("parent")?["incarnation"] == 2);
    Ok(())
}

/// Proof: a bomb whose processes double, end and ignore SIGTERM, so that no list of them is ever
/// true, has filled its user's limit of processes. `rollinit stop` returns with its cgroup empty,
/// the neighbour's process is the one it was, and PID 1 has no child left but the two it should.
pub fn fork_bomb() -> Result<()> {
    let mut host = Contained::prepare()?;
    let more = format!(
        "user = \"{NOBODY}\"\ngroup = \"{NOBODY}\"\nstop = {{ timeout = \"300ms\" }}\n\
         [service.limits]\nnproc = {BOMB_PROCESSES}\npids-max = {BOMB_PROCESSES}\n"
    );
    host.define_app("bomb", &["forkbomb"], &more)?;
    host.define_app("neighbour", &["hang"], "")?;
    host.settle(Place::Subreaper)?;
    let neighbour = host.wait_state("neighbour", "running")?;
    host.until("the bomb has gone off", || {
        Ok(host.processes("bomb")?.len() as u64 >= BOMB_PROCESSES / 2)
    })?;
    host.must(&["stop", "bomb"])?;
    ensure!(!host.group("services/bomb.0")?.populated()?, "the bomb goes on");
    let bomb = host.service("bomb")?;
    ensure!(bomb["state"] == "stopped" && bomb["incarnation"] == 1, "{bomb}");
    ensure!(host.service("neighbour")?["pid"] == neighbour["pid"], "the neighbour was restarted");
    host.until("PID 1 has reaped it all", || Ok(children_of_init(&host)?.len() == 2))
}
