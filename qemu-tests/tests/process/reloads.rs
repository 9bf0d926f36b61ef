//! Reloads: other definitions come into force in a running host, and only what changed is touched.

use anyhow::{Context, Result, ensure};
use qemu_tests::contained::{Contained, Place};
use serde_json::Value;
use std::io::Read;
use std::net::{TcpListener, TcpStream};

/// The exit code of a reload that could not use a file.
const REFUSED: i32 = 1;

const SLEEP: [&str; 2] = ["/bin/sleep", "1000"];

/// What `--json` says.
fn reload(host: &Contained, words: &[&str]) -> Result<Value> {
    let mut all = vec!["reload", "--json"];
    all.extend(words);
    let output = host.rollinit(&all)?;
    serde_json::from_str(&output.stdout).with_context(|| format!("{output:?}\n{}", host.said()))
}

/// The names in a list of the reply.
fn names(reload: &Value, list: &str) -> Vec<String> {
    let name = |one: &Value| one.as_str().or(one["name"].as_str()).map(str::to_owned);
    reload[list].as_array().into_iter().flatten().filter_map(name).collect()
}

fn incarnation(host: &Contained, name: &str) -> Result<u64> {
    host.service(name)?["incarnation"].as_u64().context("an incarnation")
}

/// Waits for a service's second run.
fn runs_again(host: &Contained, name: &str) -> Result<()> {
    let again = |one: &Value| one["incarnation"] == 2 && one["state"] == "running";
    host.wait_service(name, "runs again", again).map(drop)
}

fn remove(host: &Contained, name: &str) -> Result<()> {
    std::fs::remove_file(host.definitions().join(format!("{name}.toml"))).context("remove")
}

/// Proof: pids and run numbers. A dry run tells all and touches nothing; the reload does what it
/// told: one starts, one is gone with its processes, one runs by its new definition, and one that
/// only changed in place, one that broke and one that did not change keep their process. A
/// supervisor that is killed after it knows the new definitions, and only those.
pub fn touches_only_what_changed() -> Result<()> {
    let mut host = Contained::prepare()?;
    for name in ["goes", "stays", "policy", "breaks"] {
        host.define(name, &SLEEP, "")?;
    }
    host.define("changes", &SLEEP, "environment = { COLOUR = \"green\" }\n")?;
    host.settle(Place::Subreaper)?;
    let pids = |names: &[&str]| -> Result<Vec<Value>> {
        names.iter().map(|name| Ok(host.service(name)?["pid"].clone())).collect()
    };
    let kept = ["stays", "policy", "breaks"];
    let before = pids(&kept)?;

    remove(&host, "goes")?;
    host.define("comes", &SLEEP, "")?;
    host.define("changes", &SLEEP, "environment = { COLOUR = \"blue\" }\n")?;
    host.define("policy", &SLEEP, "[service.stop]\nsignal = \"SIGKILL\"\n")?;
    std::fs::write(host.definitions().join("breaks.toml"), "[service]\nexec = 5\n")?;
    let dry = reload(&host, &["--dry-run"])?;
    ensure!(host.service("comes").is_err() && incarnation(&host, "changes")? == 1, "{dry}");
    let done = reload(&host, &[])?;
    for (list, expected) in [
        ("added", &["comes"][..]),
        ("changed", &["changes", "policy"]),
        ("removed", &["goes"]),
        ("unchanged", &["breaks", "stays"]),
        ("refused", &["breaks"]),
    ] {
        ensure!(names(&done, list) == expected && names(&dry, list) == expected, "{list}: {done}");
    }
    host.wait_state("comes", "running")?;
    runs_again(&host, "changes")?;
    host.until("the removed one is gone", || Ok(host.service("goes").is_err()))?;
    ensure!(pids(&kept)? == before, "they keep their processes\n{}", host.said());
    let pid = host.processes("changes")?;
    let environment = std::fs::read_to_string(format!("/proc/{}/environ", pid[0]))?;
    ensure!(environment.contains("COLOUR=blue"), "{environment}");

    // The definitions on disk are not what counts for the next supervisor, but those in force.
    host.define("stays", &["/bin/false"], "")?;
    let status = |host: &Contained| -> Result<Value> { Ok(host.status()?["services"].clone()) };
    let known = status(&host)?;
    host.kill_supervisor()?;
    ensure!(status(&host)? == known, "a death shows: {known}\n{}", host.said());
    host.define("stays", &SLEEP, "")?;
    let again = host.rollinit(&["reload"])?;
    ensure!(again.code == Some(REFUSED), "the broken file is still there: {again:?}");
    ensure!(again.stdout.contains("breaks.toml:2:8"), "{again:?}");
    ensure!(pids(&kept)? == before, "nothing was different");
    Ok(())
}

/// Proof: connections. A service whose socket moved is asked at its new address and by nobody at
/// the old one; one with a further socket keeps the first, over which a client that connected
/// before the restart is answered after it.
pub fn sockets_follow() -> Result<()> {
    let mut host = Contained::prepare()?;
    let free = |count: usize| -> Result<Vec<u16>> {
        let sockets: Vec<TcpListener> =
            (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
        sockets.iter().map(|socket| Ok(socket.local_addr()?.port())).collect()
    };
    let ports = free(4)?;
    let socket = |name: &str, port: u16| {
        format!("[[service.listen]]\nname = \"{name}\"\ntcp = \"127.0.0.1:{port}\"\n")
    };
    // Neither takes a connection: the kernel's queue tells who listens.
    host.define("moves", &SLEEP, &socket("x", ports[0]))?;
    host.define("grows", &SLEEP, &socket("x", ports[2]))?;
    host.settle(Place::Subreaper)?;
    let mut early = TcpStream::connect(("127.0.0.1", ports[2]))?;
    host.define("moves", &SLEEP, &socket("x", ports[1]))?;
    host.define("grows", &SLEEP, &(socket("x", ports[2]) + &socket("y", ports[3])))?;
    reload(&host, &[])?;
    for name in ["moves", "grows"] {
        runs_again(&host, name)?;
    }
    let connects = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_ok();
    ensure!(connects(ports[1]) && !connects(ports[0]), "it moved\n{}", host.said());
    ensure!(connects(ports[2]) && connects(ports[3]), "it grew\n{}", host.said());
    early.set_nonblocking(true)?;
    let still = early.read(&mut [0]).expect_err("nobody answers it");
    ensure!(still.kind() == std::io::ErrorKind::WouldBlock, "it was reset: {still}");
    Ok(())
}

/// Proof: whatever a supervisor that is killed around a reload had done of it, the same reload
/// asked for again leads to what the files say: who is defined runs by its definition, nobody else
/// runs, and nothing is left to do.
pub fn supervisor_killed() -> Result<()> {
    let mut host = Contained::prepare()?;
    let define = |host: &Contained, round: usize| -> Result<()> {
        for index in 0..6 {
            let name = format!("s{index}");
            // Each round a third comes, goes and changes.
            if (index + round).is_multiple_of(3) {
                let _ = remove(host, &name);
            } else {
                let after = format!("after = [\"s{}\"]\n", index / 2);
                let after = if index > 1 { &*after } else { "" };
                let more = format!("{after}environment = {{ ROUND = \"{}\" }}\n", round / 2);
                host.define(&name, &SLEEP, &more)?;
            }
        }
        Ok(())
    };
    define(&host, 0)?;
    host.settle(Place::Subreaper)?;
    for round in 1..8 {
        define(&host, round)?;
        let mut caller = host.command()?;
        caller.args(["reload"]).stdout(std::process::Stdio::null());
        let mut caller = caller.stderr(std::process::Stdio::null()).spawn()?;
        host.kill_supervisor()?;
        // It may have been answered, or not.
        caller.wait()?;
        host.until("the reload is accepted", || Ok(host.rollinit(&["reload"])?.code == Some(0)))?;
        let expected: Vec<String> = (0..6)
            .filter(|index| !(index + round).is_multiple_of(3))
            .map(|i| format!("s{i}"))
            .collect();
        host.wait("what the files say", |status| {
            let services: Vec<&Value> =
                status["services"].as_array().into_iter().flatten().collect();
            let names: Vec<&str> =
                services.iter().filter_map(|service| service["name"].as_str()).collect();
            names == expected && services.iter().all(|service| service["state"] == "running")
        })?;
        for name in &expected {
            let pid = host.processes(name)?;
            let environment = std::fs::read_to_string(format!("/proc/{}/environ", pid[0]))?;
            let wanted = format!("ROUND={}", round / 2);
            ensure!(environment.contains(&wanted), "{name}: {environment}\n{}", host.said());
        }
        let nothing = reload(&host, &[])?;
        ensure!(names(&nothing, "changed").is_empty(), "round {round}: {nothing}");
    }
    Ok(())
}
