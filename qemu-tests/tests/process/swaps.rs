//! Swaps without a VM: PID 1, supervisor, agent, a store of their own and a cache made by Nix.

use anyhow::{Context, Result, ensure};
use qemu_tests::apphost::{APP, AppHost, Release};
use qemu_tests::cache::Fault;
use qemu_tests::contained::{Output, PATIENCE, Place};
use qemu_tests::load;
use serde_json::Value;
use std::io::Read;

/// Exit codes of `rollinit swap` (docs/cli.md).
pub(super) const COMMITTED: i32 = 0;
pub(super) const ROLLED_BACK: i32 = 10;
pub(super) const REFUSED: i32 = 12;
const SUPERSEDED: i32 = 13;

/// Short, so that a test takes seconds; the way is the same.
pub(super) const QUICK: &str = "[app.swap]\ndrain = \"5s\"\nbake = \"200ms\"\nwatch = \"200ms\"\n";

/// A host that is up, with a second release that is sound.
fn host_with_second(more: &str) -> Result<(AppHost, String)> {
    let mut host = AppHost::prepare(more)?;
    let second = host.release(&Release { name: "web-2", serve: &[], programs: &[] })?;
    host.settle()?;
    ensure!(host.version()? == "web-1", "the seed serves first");
    Ok((host, second))
}

pub(super) fn expect(host: &AppHost, output: &Output, code: i32) -> Result<()> {
    ensure!(
        output.code == Some(code),
        "exit {:?}, not {code}: {output:?}\n{}",
        output.code,
        said(host)
    );
    Ok(())
}

/// What everybody said, for a failure's text.
pub(super) fn said(host: &AppHost) -> String {
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
    let running = (format!("{APP}-running"), path.to_owned());
    ensure!(host.roots()?.contains(&running), "what serves has a root: {:?}", host.roots()?);
    // It goes when the end is on disk, which is what tells of the end.
    host.host.until("no target has a root", || {
        Ok(host.roots()?.iter().all(|(name, _)| name != "web-target"))
    })
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

/// Proof: a user's request that takes half a minute is in the old release's hands when it is to go. The
/// swap does not wait for it beyond the drain deadline: the cgroup is killed, the connection ends
/// without an answer, and the swap is committed.
pub fn drain_deadline() -> Result<()> {
    let (host, second) =
        host_with_second("[app.swap]\ndrain = \"1s\"\nbake = \"0s\"\nwatch = \"0s\"\n")?;
    let mut slow = host.ask("/slow?ms=30000")?;
    // Accepted in order: who was answered after it shows that it is in the app's hands.
    ensure!(host.version()? == "web-1", "the old release answers");
    expect(&host, &host.swap(&second, &[])?, COMMITTED)?;
    ensure_serves(&host, "web-2", &second)?;
    let mut answer = String::new();
    // Cut off: at its end, or reset.
    let _ = slow.read_to_string(&mut answer);
    ensure!(answer.is_empty(), "nobody was left to answer: {answer}");
    let events = host.host.must(&["events"])?;
    ensure!(events.contains("killed at its deadline"), "{events}");
    Ok(())
}

/// Proof: the same with one side on one kept socket.
pub fn restart_commits() -> Result<()> {
    let more = format!("{QUICK}strategy = \"restart\"\n");
    let (host, second) = host_with_second(&more)?;
    expect(&host, &host.swap(&second, &[])?, COMMITTED)?;
    ensure_serves(&host, "web-2", &second)
}

/// Proof: a load of a fixed rate, without retries, goes on while the app is swapped forth and back,
/// with agent and supervisor killed in the middle of one; not one request fails, and both versions
/// answered some of them. In both strategies.
pub fn no_request_fails() -> Result<()> {
    for more in ["", "strategy = \"restart\"\n"] {
        let (host, second) = host_with_second(&format!("{QUICK}{more}"))?;
        let target = ([127, 0, 0, 1], host.port).into();
        let plan = load::Plan::new(target, "users", 100, 300);
        let load = load::start(plan.patient())?;
        ensure!(load.answered(50, PATIENCE), "the load runs");
        expect(&host, &host.swap(&second, &[])?, COMMITTED)?;
        let mut records = host.records()?;
        let mut caller = host.begin(&["swap", APP, &host.first])?;
        records.reach(7, &mut caller)?;
        host.kill_agent()?;
        host.host.kill_supervisor()?;
        ensure!(caller.wait()?.code() == Some(COMMITTED), "{}", said(&host));
        expect(&host, &host.swap(&second, &["--force"])?, COMMITTED)?;
        let report = load.stop();
        ensure!(report.failed == 0, "{more:?}: {report:?}\n{}", said(&host));
        for version in ["web-1", "web-2"] {
            ensure!(report.versions.contains_key(version), "{version} answered: {report:?}");
        }
        ensure_serves(&host, "web-2", &second)?;
    }
    Ok(())
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

/// Proof: in one swap after the other the agent is killed after its first, second… record is on
/// disk, until a swap ends before its turn comes: so each state that is ever written has been the
/// last one of an agent. Every swap ends all the same, committed or taken back, and its caller is
/// told so.
pub fn agent_killed_at_each_state() -> Result<()> {
    killed_on_the_way_forth("", AppHost::kill_agent)
}

/// Proof: the same with the other strategy, where the old version is gone before the gate.
pub fn agent_killed_at_each_state_of_a_restart() -> Result<()> {
    killed_on_the_way_forth("strategy = \"restart\"\n", AppHost::kill_agent)
}

/// Proof: the same with the supervisor, which the agent has to find again.
pub fn supervisor_killed_at_each_state() -> Result<()> {
    killed_on_the_way_forth("", |host| host.host.kill_supervisor())
}

fn killed_on_the_way_forth(more: &str, kill: impl Fn(&AppHost) -> Result<bool>) -> Result<()> {
    /// States of a swap that commits: planned, fetched, rooted, migrated, started, gated, switched,
    /// baking, baked, retired, committed.
    const STATES: usize = 11;
    let (host, second) = host_with_second(&format!("{QUICK}{more}"))?;
    killed_at_each_state(&host, STATES, kill, || {
        let to_second = host.version()? == "web-1";
        Ok(if to_second { (second.clone(), "web-2") } else { (host.first.clone(), "web-1") })
    })
}

/// Proof: the same on the way back, from a release whose smoke test fails: whoever is killed, and
/// when, the first one serves in the end.
pub fn killed_at_each_state_of_a_way_back() -> Result<()> {
    /// planned, fetched, rooted, migrated, started, gated, switched, abandoning, verifying.
    const STATES: usize = 9;
    let hook = "[app.hooks]\nafter-switch = [\"${closure}/bin/smoke\"]\n";
    let mut host = AppHost::prepare(&format!("{QUICK}{hook}"))?;
    let burning = host.release(&Release {
        name: "web-burning",
        serve: &[],
        programs: &[("smoke", &["task", "burns", "--code", "1"])],
    })?;
    host.settle()?;
    let target = || Ok((burning.clone(), "web-burning"));
    killed_at_each_state(&host, STATES, AppHost::kill_agent, target)?;
    killed_at_each_state(&host, STATES, |host| host.host.kill_supervisor(), target)?;
    ensure!(host.version()? == "web-1", "{}", said(&host));
    Ok(())
}

/// Swaps to what `target` says, again and again, and kills somebody one record later each time.
pub(super) fn killed_at_each_state<'a>(
    host: &AppHost,
    states: usize,
    kill: impl Fn(&AppHost) -> Result<bool>,
    target: impl Fn() -> Result<(String, &'a str)>,
) -> Result<()> {
    /// More than any swap writes.
    const RECORDS_MAX: usize = 40;
    for count in 1..RECORDS_MAX {
        let (before, (path, version)) = (host.version()?, target()?);
        let mut records = host.records()?;
        let mut caller = host.begin(&["swap", APP, &path, "--force"])?;
        let is_killed = records.reach(count, &mut caller)?;
        if is_killed {
            kill(host)?;
        }
        let outcome = host.outcome().with_context(|| format!("killed at record {count}"))?;
        let told = caller.wait_with_output()?;
        let expected = match &*outcome {
            "committed" => COMMITTED,
            "rolled_back" => ROLLED_BACK,
            other => anyhow::bail!("killed at record {count}: {other}\n{}", said(host)),
        };
        ensure!(
            told.status.code() == Some(expected),
            "killed at record {count}: {outcome}, and the caller was told {told:?}\n{}",
            said(host)
        );
        let now = host.version()?;
        let right = if expected == COMMITTED { version } else { &*before };
        ensure!(now == right, "killed at record {count}: {outcome}, {now} serves\n{}", said(host));
        host.host.until("one side is left", || Ok(host.sides().len() == 1))?;
        if !is_killed {
            ensure!(count > states, "only {count} records were written\n{}", said(host));
            return Ok(());
        }
    }
    anyhow::bail!("a swap never ended before its {RECORDS_MAX}th record")
}

/// Proof: while a swap bakes, users have it already, and another one waits for its end; both are
/// committed in turn. While one is at its gate, another takes its place, and who asked for the first
/// is told so.
pub fn a_second_swap_waits_or_supersedes() -> Result<()> {
    let (host, second) = host_with_second("[app.swap]\nbake = \"2s\"\nwatch = \"100ms\"\n")?;
    let third = host.release(&Release { name: "web-3", serve: &[], programs: &[] })?;
    let deaf =
        host.release(&Release { name: "web-deaf", serve: &["--never-accept"], programs: &[] })?;
    let first = host.begin(&["swap", APP, &second])?;
    host.host.until("users reach the second", || Ok(host.version()? == "web-2"))?;
    expect(&host, &host.swap(&third, &[])?, COMMITTED)?;
    let first = first.wait_with_output()?;
    ensure!(first.status.code() == Some(COMMITTED), "{first:?}");
    ensure_serves(&host, "web-3", &third)?;

    let gated = host.begin(&["swap", APP, &deaf])?;
    host.host.until("two sides", || Ok(host.sides().len() == 2))?;
    expect(&host, &host.swap(&second, &[])?, COMMITTED)?;
    let gated = gated.wait_with_output()?;
    ensure!(gated.status.code() == Some(SUPERSEDED), "{gated:?}\n{}", said(&host));
    ensure_serves(&host, "web-2", &second)
}

/// Proof: a dry run says what is missing and leaves no trace; a swap goes on when who asked for it
/// is killed.
pub fn dry_run_and_disconnect() -> Result<()> {
    let (host, second) = host_with_second(QUICK)?;
    let dry = host.swap(&second, &["--dry-run"])?;
    expect(&host, &dry, COMMITTED)?;
    ensure!(dry.stdout.contains("1 of 1 paths missing"), "{dry:?}");
    ensure!(host.swaps()?.is_empty() && host.version()? == "web-1" && host.roots()?.is_empty());
    let store = host.host.path(second.trim_start_matches('/'));
    ensure!(!store.exists(), "nothing was fetched");

    let mut records = host.records()?;
    let mut caller = host.begin(&["swap", APP, &second])?;
    ensure!(records.reach(1, &mut caller)?, "it begins");
    caller.kill()?;
    caller.wait()?;
    ensure!(host.outcome()? == "committed", "{}", said(&host));
    ensure_serves(&host, "web-2", &second)
}

/// Proof: a test that nobody confirms is undone and says so; one that is confirmed stays.
pub fn tests_are_undone_unless_confirmed() -> Result<()> {
    let (host, second) = host_with_second(QUICK)?;
    let undone = host.swap(&second, &["--test", "--within", "1s"])?;
    expect(&host, &undone, ROLLED_BACK)?;
    ensure!(host.version()? == "web-1" && host.sides().len() == 1, "{}", said(&host));

    let kept = host.begin(&["swap", APP, &second, "--test", "--within", "60s"])?;
    host.host.until("users reach the second", || Ok(host.version()? == "web-2"))?;
    host.host
        .until("it is confirmed", || Ok(host.host.rollinit(&["confirm", APP])?.code == Some(0)))?;
    let kept = kept.wait_with_output()?;
    ensure!(kept.status.code() == Some(COMMITTED), "{kept:?}\n{}", said(&host));
    ensure_serves(&host, "web-2", &second)
}

/// Proof: an app that never had a closure waits for its first swap. A bad one leaves it with nothing,
/// as before; a good one is generation 1.
pub fn the_first_closure_of_an_app() -> Result<()> {
    let host = &mut AppHost::prepare(QUICK)?;
    let definition = host.host.definitions().join(format!("{APP}.toml"));
    let text = std::fs::read_to_string(&definition)?;
    let without: String = text.split_inclusive('\n').filter(|l| !l.contains("closure")).collect();
    std::fs::write(&definition, without)?;
    let sick =
        host.release(&Release { name: "web-sick", serve: &["--up-status", "503"], programs: &[] })?;
    host.host.start(Place::Subreaper)?;
    host.host.until("the agent answers", || Ok(host.swaps().is_ok()))?;
    expect(host, &host.swap(&sick, &[])?, ROLLED_BACK)?;
    host.host.until("nothing runs", || Ok(host.sides().is_empty()))?;
    expect(host, &host.swap(&host.first, &[])?, COMMITTED)?;
    ensure_serves(host, "web-1", &host.first)
}

/// Proof: a migration runs once before any process is touched, with its output in the app's log; one
/// that fails ends the swap with no process touched; a smoke test that fails takes the swap back,
/// and the hook of the way back is told. What ran is read from the notes that the programs left.
pub fn migrations_and_hooks() -> Result<()> {
    let hooks = "[app.hooks]\nafter-switch = [\"${closure}/bin/smoke\"]\n\
                 on-rollback = [\"${closure}/bin/rolled\"]\n";
    let mut host = AppHost::prepare(&format!("{QUICK}{hooks}"))?;
    let notes = host.host.path("notes");
    let note = notes.display().to_string();
    let smoke: &[&str] = &["task", "smoked", "--note", &note];
    let rolled: &[&str] = &["task", "rolled back", "--note", &note];
    let migrate: &[&str] = &["task", "migrated", "--note", &note];
    let good = host.release(&Release {
        name: "web-good",
        serve: &[],
        // The version that serves again runs the hook of the way back.
        programs: &[("migrate", migrate), ("smoke", smoke), ("rolled", rolled)],
    })?;
    let unmigrated = host.release(&Release {
        name: "web-unmigrated",
        serve: &[],
        programs: &[("migrate", &["task", "cannot migrate", "--note", &note, "--code", "3"])],
    })?;
    let burning = host.release(&Release {
        name: "web-burning",
        serve: &[],
        programs: &[("smoke", &["task", "burns", "--note", &note, "--code", "1"])],
    })?;
    host.settle()?;
    let noted = || std::fs::read_to_string(&notes).unwrap_or_default();
    expect(&host, &host.swap(&good, &[])?, COMMITTED)?;
    ensure_serves(&host, "web-good", &good)?;
    ensure!(noted() == "migrated\nsmoked\n", "{:?}", noted());
    let logs = host.host.must(&["logs", APP])?;
    ensure!(logs.contains("migrated") && logs.contains("smoked"), "{logs}");

    expect(&host, &host.swap(&unmigrated, &[])?, ROLLED_BACK)?;
    ensure!(host.version()? == "web-good" && host.sides().len() == 1);
    expect(&host, &host.swap(&unmigrated, &[])?, REFUSED)?;
    ensure!(noted().matches("cannot migrate").count() == 1, "it is not tried again: {}", noted());
    expect(&host, &host.swap(&unmigrated, &["--force"])?, ROLLED_BACK)?;
    ensure!(noted().matches("cannot migrate").count() == 2, "force tries it again: {}", noted());

    expect(&host, &host.swap(&burning, &[])?, ROLLED_BACK)?;
    ensure!(host.version()? == "web-good" && host.sides().len() == 1, "{}", said(&host));
    ensure!(noted().ends_with("burns\nrolled back\n"), "{:?}", noted());
    Ok(())
}

/// Proof: a release that turns sick after its commit is taken back by itself: its own swap ended as
/// committed, and the one that follows goes to the version before it.
pub fn the_watch_window_takes_back() -> Result<()> {
    let mut host = AppHost::prepare("[app.swap]\nbake = \"200ms\"\nwatch = \"60s\"\n")?;
    let words = ["--sick-after-ms", "4000"];
    let fading = host.release(&Release { name: "web-fading", serve: &words, programs: &[] })?;
    host.settle()?;
    expect(&host, &host.swap(&fading, &[])?, COMMITTED)?;
    host.host.until("the first serves again", || {
        Ok(host.version().is_ok_and(|version| version == "web-1") && host.sides().len() == 1)
    })?;
    host.outcome()?;
    ensure_serves(&host, "web-1", &host.first)?;
    let swaps = host.swaps()?;
    ensure!(swaps.len() == 2, "{swaps:?}");
    expect(&host, &host.swap(&fading, &[])?, REFUSED)
}

/// Proof: faults of the cache and of the configuration refuse a swap with a line that says which,
/// touch nothing and bar nothing: once the fault is gone, the same swap commits.
pub fn faults_of_the_host_bar_nothing() -> Result<()> {
    let (host, second) = host_with_second(QUICK)?;
    let hash = second.trim_start_matches("/nix/store/").split('-').next().context("a hash")?;
    let config = host.host.path("agent.toml");
    let right = std::fs::read_to_string(&config)?;
    let refused = |reason: &str| -> Result<()> {
        let output = host.swap(&second, &[])?;
        expect(&host, &output, REFUSED)?;
        ensure!(output.stdout.contains(reason), "{reason:?}: {output:?}");
        ensure!(host.version()? == "web-1" && host.sides().len() == 1);
        Ok(())
    };
    host.cache.fail(hash, Fault::Status(404));
    refused("404")?;
    host.cache.heal();
    host.cache.fail("nar/", Fault::Flip(100_000));
    // As zstd sees it, or as the hash does: both are said of the path by its name.
    refused("web-2: its")?;
    host.cache.heal();
    std::fs::write(&config, right.replace("test-1:", "other-1:"))?;
    refused("trusted")?;
    std::fs::write(&config, right.replace("[fetch]", "[fetsch]"))?;
    refused("agent.toml:3:")?;
    std::fs::write(&config, &right)?;
    expect(&host, &host.swap(&second, &[])?, COMMITTED)?;
    ensure_serves(&host, "web-2", &second)?;

    // The way back needs neither the cache nor a configuration.
    host.cache.fail("", Fault::Status(500));
    std::fs::write(&config, right.replace("[fetch]", "[fetsch]"))?;
    expect(&host, &host.host.rollinit(&["rollback", APP])?, COMMITTED)?;
    ensure_serves(&host, "web-1", &host.first)?;

    // An agent that starts with it says so where people look, until it starts with a right one.
    let is_told = || -> Result<bool> {
        let notices = host.host.status()?["notices"].as_array().cloned().unwrap_or_default();
        let told = notices.iter().find(|one| one["subject"] == "agent.toml");
        Ok(told.is_some_and(|one| one["text"].as_str().is_some_and(|text| text.contains(":3:"))))
    };
    ensure!(!is_told()?, "it was right when the agent started");
    host.kill_agent()?;
    host.host.until("status tells of the configuration", is_told)?;
    std::fs::write(&config, &right)?;
    host.kill_agent()?;
    expect(&host, &host.swap(&second, &[])?, COMMITTED)?;
    ensure!(!is_told()?, "it was right when this agent started");
    Ok(())
}

/// Proof: a journal that cannot be written refuses a swap before anything is touched, and says which
/// file it was; once it can be, the same swap commits. (A folder is in the way of the file.)
pub fn a_journal_that_cannot_be_written_refuses() -> Result<()> {
    let (host, second) = host_with_second(QUICK)?;
    let part = host.host.path(&format!("state/swaps/{APP}.swaps.part"));
    std::fs::create_dir(&part)?;
    let output = host.swap(&second, &[])?;
    expect(&host, &output, REFUSED)?;
    ensure!(output.stdout.contains("web.swaps.part"), "{output:?}");
    ensure!(host.version()? == "web-1" && host.sides().len() == 1, "{}", said(&host));
    std::fs::remove_dir(&part)?;
    host.host
        .until("it can be asked again", || Ok(host.swap(&second, &[])?.code == Some(COMMITTED)))?;
    ensure_serves(&host, "web-2", &second)
}

/// Proof: a record that was torn is set aside and said; the app serves on, and the next swap is an
/// ordinary one. So is a record torn in the middle of a swap, whose candidate is cleared away.
pub fn a_torn_record_is_set_aside() -> Result<()> {
    let (host, second) = host_with_second(QUICK)?;
    expect(&host, &host.swap(&second, &[])?, COMMITTED)?;
    tear(&host)?;
    ensure!(host.swaps()?.is_empty(), "its history is gone with it");
    ensure_serves(&host, "web-2", &second)?;
    let logs = host.host.must(&["logs", "rollinit-agent"])?;
    ensure!(logs.contains("set aside as"), "{logs}");

    let deaf =
        host.release(&Release { name: "web-deaf", serve: &["--never-accept"], programs: &[] })?;
    let mut caller = host.begin(&["swap", APP, &deaf])?;
    host.host.until("two sides", || Ok(host.sides().len() == 2))?;
    tear(&host)?;
    host.host.until("the candidate is gone", || Ok(host.sides().len() == 1))?;
    ensure!(host.version()? == "web-2", "{}", said(&host));
    caller.wait()?;
    expect(&host, &host.swap(&host.first, &[])?, COMMITTED)?;
    ensure_serves(&host, "web-1", &host.first)
}

/// Cuts the record in half and kills the agent; waits for the next one.
fn tear(host: &AppHost) -> Result<()> {
    let bytes = std::fs::read(host.record()).context("read the record")?;
    host.kill_agent()?;
    std::fs::write(host.record(), &bytes[..bytes.len() / 2]).context("tear the record")?;
    let aside = host.host.path("state/aside");
    let count = || std::fs::read_dir(&aside).map_or(0, Iterator::count);
    let before = count();
    // The next one may have read the whole record before it was torn.
    host.host.until("it is set aside", || {
        if count() == before && std::fs::metadata(host.record()).is_ok() {
            let half = std::fs::read(host.record()).is_ok_and(|now| now.len() < bytes.len());
            if !half {
                std::fs::write(host.record(), &bytes[..bytes.len() / 2])?;
            }
            host.kill_agent()?;
        }
        Ok(count() > before)
    })?;
    host.host.until("the agent answers", || Ok(host.swaps().is_ok()))
}
