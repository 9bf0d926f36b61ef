//! Services as their definitions say: what they inherit, when they are ready, how they stop.

use anyhow::{Context, Result, ensure};
use qemu_tests::contained::{Contained, NOBODY, Place};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Proof: the kernel's own account of a service's process, read from outside: no signal ignored or
/// blocked, no descriptor but the standard streams, its own cgroup, user, directory and limits, and
/// no variable but those that docs/supervisor.md names and its own. The program is coreutils' `sleep`,
/// as one that changes none of it; nobody waits for its end.
pub fn born_clean() -> Result<()> {
    let mut host = Contained::prepare()?;
    let sleep = ["/bin/sleep", "1000"];
    let more = "environment = { COLOUR = \"green\" }\n[service.limits]\nnofile = 77\n";
    host.define("plain", &sleep, more)?;
    let more = format!("user = \"{NOBODY}\"\ngroup = \"{NOBODY}\"\ndirectory = \"/proc\"\n");
    host.define("user", &sleep, &more)?;
    for place in [Place::Subreaper, Place::PidNamespace] {
        host.settle(place)?;
        let plain = Born::of(&host, "plain")?;
        for name in ["SigBlk", "SigIgn"] {
            ensure!(plain.status(name) == ["0000000000000000"], "{place:?}: {plain:?}");
        }
        ensure!(plain.read("cgroup")?.contains("/services/plain.0\n"), "{place:?}: {plain:?}");
        ensure!(plain.read("environ")? == "PATH=/run/current-system/sw/bin\0COLOUR=green\0");
        ensure!(plain.link("cwd")? == Path::new("/") && plain.link("fd/0")? == Path::new(NULL));
        let descriptors = std::fs::read_dir(plain.folder.join("fd"))?.count();
        ensure!(descriptors == 3, "{place:?}: it has {descriptors} descriptors");
        let limits = plain.read("limits")?;
        let files = limits.lines().find(|line| line.starts_with("Max open files"));
        let files: Vec<&str> = files.unwrap_or_default().split_ascii_whitespace().collect();
        ensure!(files[3..5] == ["77", "77"], "{limits}");

        let user = Born::of(&host, "user")?;
        let own = NOBODY.to_string();
        for name in ["Uid", "Gid", "Groups"] {
            ensure!(user.status(name).iter().all(|id| *id == own), "{place:?}: {user:?}");
        }
        ensure!(user.status("Uid").len() == 4 && user.link("cwd")? == Path::new("/proc"));
        host.must_end(&["poweroff"])?;
        host.ended()?;
    }
    Ok(())
}

const NULL: &str = "/dev/null";

/// What `/proc` says of the one process of a service.
#[derive(Debug)]
struct Born {
    folder: PathBuf,
    status: String,
}

impl Born {
    fn of(host: &Contained, service: &str) -> Result<Self> {
        let mut processes = Vec::new();
        // The process exists before its program runs.
        host.until("its program runs", || {
            processes = host.processes(service)?;
            let names =
                processes.iter().map(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")));
            Ok(names.flatten().eq(["sleep\n"]))
        })?;
        let folder = PathBuf::from(format!("/proc/{}", processes[0]));
        let status = std::fs::read_to_string(folder.join("status"))?;
        Ok(Self { folder, status })
    }

    fn read(&self, name: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.join(name))?)
    }

    fn link(&self, name: &str) -> Result<PathBuf> {
        Ok(std::fs::read_link(self.folder.join(name))?)
    }

    /// The words of a line of its status.
    fn status(&self, name: &str) -> Vec<&str> {
        let start = format!("{name}:");
        let rest = self.status.lines().find_map(|line| line.strip_prefix(&start));
        rest.unwrap_or_default().split_ascii_whitespace().collect()
    }
}

/// Proof: one file to which four services append. Who is ordered after another starts once that is
/// *ready*, which the first is only after we have seen that what is not ordered did not wait.
/// `start` of a service returns when it is ready, and status shows what it says of itself.
pub fn notify_and_order() -> Result<()> {
    let mut host = Contained::prepare()?;
    let file = host.path("order");
    let path = file.to_str().context("UTF-8")?;
    let notify = "kind = \"notify\"\n";
    let gate = host.path("gate");
    let words = ["witness", path, "base", "--ready-when", gate.to_str().context("UTF-8")?];
    host.define_app("base", &words, notify)?;
    let more = format!("{notify}after = [\"base\"]\n");
    host.define_app("middle", &["witness", path, "middle", "--ready-ms", "50"], &more)?;
    let more = "requires = [\"middle\"]\nafter = [\"middle\"]\n";
    host.define_app("top", &["witness", path, "top"], more)?;
    host.define_app("alone", &["witness", path, "alone"], "")?;
    let words = ["notify", "--status", "warm and well", "--delay-ms", "20", "--main-pid"];
    host.define_app("talker", &words, notify)?;
    host.start(Place::Subreaper)?;
    host.until("alone and base started", || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        Ok(text.contains("alone is ready") && text.contains("base starts"))
    })?;
    host.wait_state("base", "starting")?;
    std::fs::write(&gate, "")?;
    host.wait_state("top", "running")?;
    host.until("top is ready", || Ok(std::fs::read_to_string(&file)?.contains("top is ready")))?;
    let text = std::fs::read_to_string(&file)?;
    let at = |line: &str| {
        text.lines().position(|found| found == line).with_context(|| format!("{line} in {text}"))
    };
    let row = ["base starts", "base is ready", "middle starts", "middle is ready", "top starts"];
    for pair in row.windows(2) {
        ensure!(at(pair[0])? < at(pair[1])?, "{pair:?} in {text}");
    }

    let talker = host.wait_state("talker", "running")?;
    ensure!(talker["status_text"] == "warm and well", "{talker}");
    ensure!(talker["main_pid"].is_u64() && talker["main_pid"] != talker["pid"], "{talker}");
    // Stopping what is required takes what requires it down first, and it comes back only by hand.
    host.must(&["stop", "middle"])?;
    let text = std::fs::read_to_string(&file)?;
    let at = |line: &str| text.lines().position(|found| found == line);
    ensure!(at("top stops").is_some() && at("top stops") < at("middle stops"), "{text}");
    host.must(&["start", "middle"])?;
    let text = std::fs::read_to_string(&file)?;
    ensure!(text.matches("middle is ready").count() == 2, "start returned early: {text}");
    Ok(())
}

/// Proof: a service that never says `READY=1` is not called running; its timeout ends the run, the
/// reason says so, and it is tried again by its policy.
pub fn notify_never() -> Result<()> {
    let mut host = Contained::prepare()?;
    let more = "kind = \"notify\"\nready = { timeout = \"200ms\" }\n\
                restart = { backoff-min = \"100ms\", backoff-max = \"100ms\" }\n";
    host.define_app("never", &["notify", "--never"], more)?;
    host.start(Place::Subreaper)?;
    let service = host.wait_service("never", "was tried again", |service| {
        service["restarts"].as_u64() >= Some(2)
    })?;
    ensure!(service["incarnation"].as_u64() >= Some(3), "{service}");
    let events = host.must(&["events", "--json"])?;
    let lines: Vec<Value> =
        events.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |what: &str| lines.iter().any(|event| event["what"] == what);
    ensure!(!lines.is_empty() && !of("ready"), "{events}");
    Ok(())
}

/// Exit code of the command line for what the supervisor refuses.
const REFUSED: i32 = 6;

/// Proof: of four definitions one is broken in two places and two wait for each other. The sound one
/// runs, the others are shown with their reasons, and `rollinit check` says the same offline, with
/// file, line and column.
pub fn broken_definition() -> Result<()> {
    let mut host = Contained::prepare()?;
    host.define_app("sound", &["hang"], "")?;
    host.define_app("hen", &["hang"], "after = [\"egg\"]")?;
    host.define_app("egg", &["hang"], "after = [\"hen\"]")?;
    let broken = host.definitions().join("broken.toml");
    std::fs::write(&broken, "[service]\nexec = [\"/bin/true\"]\nusr = \"web\"\numask = true\n")?;
    host.settle(Place::Subreaper)?;
    let status = host.wait("sound runs", |status| {
        qemu_tests::contained::service_of(status, "sound")
            .is_ok_and(|service| service["state"] == "running")
    })?;
    ensure!(status["host"]["state"] == "degraded", "{status}");
    let service = host.service("broken")?;
    ensure!(service["state"] == "broken", "{service}");
    ensure!(service["problems"].to_string().contains("broken.toml:3:"), "{service}");
    for name in ["hen", "egg"] {
        let service = host.service(name)?;
        ensure!(service["state"] == "broken" && service["pid"].is_null(), "{service}");
    }
    let definitions = host.definitions();
    let check = host.rollinit(&["check", definitions.to_str().context("UTF-8")?])?;
    ensure!(check.code == Some(1), "{check:?}");
    let said = format!("{}{}", check.stdout, check.stderr);
    for part in ["broken.toml:3:", "write user", "broken.toml:4:", "egg", "hen"] {
        ensure!(said.contains(part), "check does not say {part:?}: {said}");
    }
    ensure!(host.rollinit(&["start", "broken"])?.code == Some(REFUSED), "a broken service starts");
    Ok(())
}

/// Proof: a service that ignores SIGTERM is gone when `stop` returns, its timeout having passed, by
/// SIGKILL; one that obeys is gone long before its timeout, which is longer than this test waits.
pub fn stop_timeout() -> Result<()> {
    let mut host = Contained::prepare()?;
    host.define_app("stubborn", &["ignore-term"], "stop = { timeout = \"300ms\" }")?;
    host.define_app("meek", &["hang"], "stop = { timeout = \"1h\" }")?;
    host.settle(Place::Subreaper)?;
    host.wait_state("stubborn", "running")?;
    let before_ns = sys::clock::monotonic_ns();
    host.must(&["stop", "stubborn"])?;
    let status = host.status()?;
    let service = qemu_tests::contained::service_of(&status, "stubborn")?;
    ensure!(service["state"] == "stopped" && service["wanted"] == false, "{service}");
    ensure!(service["last_end"].to_string().contains('9'), "killed: {service}");
    ensure!(host.processes("stubborn")?.is_empty(), "its cgroup is not empty");
    let since_ns = service["since_ns"].as_u64().unwrap_or(0);
    ensure!(since_ns >= before_ns + 300_000_000, "killed before its time: {service}");
    host.must(&["stop", "meek"])?;
    let service = host.service("meek")?;
    ensure!(service["last_end"].to_string().contains('0'), "ended by itself: {service}");
    Ok(())
}
