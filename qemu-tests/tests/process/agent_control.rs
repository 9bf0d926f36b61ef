//! The agent's own control socket: who may do what over it, with which client, and what becomes of
//! a swap that nobody watches any more.

use anyhow::{Context, Result, ensure};
use qemu_tests::apphost::{APP, AppHost, Release};
use qemu_tests::contained::{Identity, NOBODY, OPERATE_GROUP, READ_GROUP};
use qemu_tests::guest::image::target;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command};

/// Exit codes of the command line (docs/cli.md).
const NOT_PERMITTED: i32 = 4;
const DETACHED: i32 = 14;

/// Long enough in the bake to be left there, short enough to wait for.
const SLOW: &str = "[app.swap]\ndrain = \"5s\"\nbake = \"3s\"\nwatch = \"200ms\"\n";
const QUICK: &str = "[app.swap]\ndrain = \"5s\"\nbake = \"200ms\"\nwatch = \"200ms\"\n";

/// A second release that is sound.
const SECOND: Release<'_> = Release { name: "web-2", serve: &[], programs: &[] };

/// Proof: the command line under uids and groups that the kernel vouches for, and from within
/// services. Members of the operate group may swap, those of the read group may look, anybody else
/// may nothing; root within a service may look, unless its definition says that it may operate.
pub fn roles() -> Result<()> {
    let mut host = AppHost::prepare(QUICK)?;
    let second = host.release(&SECOND)?;
    let program = host.host.program("rollinit").display().to_string();
    let socket = host.host.socket().display().to_string();
    // Nothing to do is a swap that is permitted: what serves already is asked for.
    let script = "\"$0\" --socket \"$1\" swap web \"$2\"; echo swap: $?; \
                  \"$0\" --socket \"$1\" swaps; echo swaps: $?; exec sleep 1000";
    let exec = ["/bin/sh", "-c", script, &program, &socket, &host.first];
    // Afterwards: both sockets have to be there, and the app has to serve.
    let after = "environment = { PATH = \"/bin\" }\nafter = [\"web\", \"rollinit-agent\"]\n";
    host.host.define("inside", &exec, after)?;
    host.host.define("operator", &exec, &format!("{after}control = \"operate\"\n"))?;
    host.settle()?;
    for (name, swap) in [("inside", NOT_PERMITTED), ("operator", 0)] {
        let said = || host.host.must(&["logs", name]);
        host.host.until("it has tried", || Ok(said()?.contains("swaps:")))?;
        let (said, swap) = (said()?, format!("swap: {swap}\n"));
        ensure!(said.contains(&swap) && said.contains("swaps: 0\n"), "{name}: {said}");
    }

    let somebody = |group| Identity { user: NOBODY, group };
    for (group, words, expected) in [
        (None, &["swaps"][..], NOT_PERMITTED),
        (Some(READ_GROUP), &["swaps"], 0),
        (Some(READ_GROUP), &["swap", APP, &second], NOT_PERMITTED),
        (Some(READ_GROUP), &["rollback", APP, "1"], NOT_PERMITTED),
        (Some(READ_GROUP), &["confirm", APP], NOT_PERMITTED),
        (Some(OPERATE_GROUP), &["swap", APP, &second], 0),
        (Some(READ_GROUP), &["generations", APP], 0),
    ] {
        let output = host.host.rollinit_as(somebody(group), words)?;
        ensure!(output.code == Some(expected), "group {group:?}: {words:?}: {output:?}");
    }
    ensure!(host.version()? == "web-2", "the operator's swap, and no other, was done");
    Ok(())
}

/// Talks to the agent with nothing but what the Varlink package and the socket itself know.
const FOREIGN: &str = "\
import sys, varlink
client = varlink.Client('unix:' + sys.argv[1])
assert 'io.rollinit.Agent' in client.get_interfaces()
with client.open('io.rollinit.Agent') as agent:
    told = [reply['progress'] for reply in agent.Swap('web', sys.argv[2], _more=True)]
    assert told[-1]['outcome']['kind'] == 'committed', told
    steps = [line['step'] for line in told]
    assert steps[0] == 'plan' and 'gate' in steps and 'switch' in steps, steps
    swap = told[-1]['swap']
    again = [reply['progress'] for reply in agent.Follow(swap, _more=True)]
    assert again[-1]['outcome']['kind'] == 'committed', again
    current = [one for one in agent.Generations('web')['generations'] if one['current']]
    assert [one['path'] for one in current] == [sys.argv[2]], current
    assert [one['swap'] for one in agent.Swaps('web')['swaps']] == [swap]
    end = agent.Rollback('web')['progress']
    assert end['outcome']['kind'] == 'committed', end
    try:
        agent.Generations('wbe')
        raise SystemExit('no error for an app that is not there')
    except varlink.VarlinkError as error:
        assert error.error() == 'io.rollinit.Agent.NoSuchApp', error.error()
print('understood')
";

/// Proof: Python's `varlink`, which knows of rollinit only what the socket tells it, swaps an app,
/// hears every step of it, reads the history, goes back, and understands an error by its name.
pub fn foreign_client() -> Result<()> {
    let mut host = AppHost::prepare(QUICK)?;
    let second = host.release(&SECOND)?;
    host.settle()?;
    let python = std::env::var_os("ROLLINIT_PYTHON");
    let python = python.map_or_else(|| target().join("venv/bin/python3"), Into::into);
    let mut command = Command::new(&python);
    command.args(["-c", FOREIGN]).arg(host.host.path("run/agent")).arg(&second);
    let output = command.output();
    let output = output
        .with_context(|| format!("run {}: `cargo xtask setup` makes it", python.display()))?;
    ensure!(output.stdout == b"understood\n", "{output:?}\n{}", host.host.said());
    ensure!(host.version()? == "web-1", "it went back");
    Ok(())
}

/// Proof: Ctrl-C in the middle of a swap ends the watching with its own exit code and names the
/// swap; the swap is watched again by that name to its end, which is committed.
pub fn interrupted() -> Result<()> {
    let mut host = AppHost::prepare(SLOW)?;
    let second = host.release(&SECOND)?;
    host.settle()?;
    let mut caller = host.begin(&["swap", APP, &second])?;
    await_line(&mut caller, "bake")?;
    // The shell's own kill: not every machine has the program.
    let line = format!("kill -INT {}", caller.id());
    let interrupt = Command::new("/bin/sh").args(["-c", &line]).status()?;
    ensure!(interrupt.success(), "kill: {interrupt}");
    let left = caller.wait_with_output()?;
    ensure!(left.status.code() == Some(DETACHED), "{left:?}");
    let said = String::from_utf8_lossy(&left.stdout);
    let swap = said.trim_end().rsplit(' ').next().context("the swap's id")?;
    let followed = host.host.rollinit(&["swaps", "--follow", swap])?;
    ensure!(followed.code == Some(0), "{followed:?}\n{}", host.host.said());
    ensure!(host.version()? == "web-2" && host.swaps()?.len() == 1, "{}", host.host.said());
    Ok(())
}

/// Reads the child's lines up to the first that has `word`.
fn await_line(child: &mut Child, word: &str) -> Result<()> {
    // One byte at a time: what comes after that line is the caller's to read.
    let output = child.stdout.as_mut().context("its output")?;
    for line in BufReader::with_capacity(1, output).lines() {
        if line?.contains(word) {
            return Ok(());
        }
    }
    anyhow::bail!("{word:?} was never said")
}
