//! `notify`: a service that says when it is ready, in whatever way it is told to: sd_notify(3).

use super::arguments::Arguments;
use super::signals::Termination;
use super::{Failure, Outcome, at};
use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::time::Duration;

/// Pause between two looks for the file of `--ready-when`.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Sends one datagram to `NOTIFY_SOCKET`; false if there is none.
pub(super) fn say(text: &str) -> Result<bool, Failure> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(false) };
    let socket = UnixDatagram::unbound().map_err(at("a datagram socket"))?;
    let step = format!("send {text:?} to {}", path.display());
    socket.send_to(text.as_bytes(), &path).map_err(at(step))?;
    Ok(true)
}

pub(super) fn run(arguments: &mut Arguments) -> Outcome {
    let delay_ms = arguments.option("--delay-ms", 0)?;
    let status: Option<String> = arguments.option_if_any("--status")?;
    let (main_pid, never) = (arguments.flag("--main-pid"), arguments.flag("--never"));
    arguments.finish()?;
    let termination = Termination::watch()?;
    if let Some(text) = status {
        say(&format!("STATUS={text}"))?;
    }
    let mut main = None;
    if main_pid {
        let program = std::env::current_exe().map_err(at("find this program"))?;
        let child = Command::new(program).arg("hang").spawn().map_err(at("start a child"))?;
        say(&format!("MAINPID={}", child.id()))?;
        main = Some(child);
    }
    let asked_to_end = termination.wait_for(Duration::from_millis(delay_ms))?;
    if !asked_to_end && !never && !say("READY=1")? {
        return Err(Failure("NOTIFY_SOCKET is not set".to_owned()));
    }
    termination.wait()?;
    say("STOPPING=1")?;
    if let Some(mut child) = main {
        child.kill().map_err(at("kill the child"))?;
        child.wait().map_err(at("wait for the child"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `witness`: writes down when it starts, is ready and has stopped, so that the order of several
/// services can be read from one file.
pub(super) fn witness(arguments: &mut Arguments) -> Outcome {
    let ready_ms = arguments.option("--ready-ms", 0)?;
    let gate: Option<PathBuf> = arguments.option_if_any("--ready-when")?;
    let stop_ms = arguments.option("--stop-ms", 0)?;
    let (path, name): (PathBuf, String) = (arguments.needed("PATH")?, arguments.needed("NAME")?);
    arguments.finish()?;
    let termination = Termination::watch()?;
    let file = File::options().append(true).create(true).open(&path);
    let mut file = file.map_err(at(format!("open {}", path.display())))?;
    // One write a line: appends of several processes do not mix.
    let mut note = |what: &str| {
        let line = format!("{name} {what}\n");
        file.write_all(line.as_bytes()).map_err(at("write"))
    };
    note("starts")?;
    let mut asked_to_end = termination.wait_for(Duration::from_millis(ready_ms))?;
    while !asked_to_end && gate.as_ref().is_some_and(|gate| !gate.exists()) {
        asked_to_end = termination.wait_for(LOOK_AGAIN)?;
    }
    if !asked_to_end {
        note("is ready")?;
        say("READY=1")?;
        termination.wait()?;
    }
    // What comes after it must wait for its end, not only for its signal.
    let (_never, nothing) = mpsc::channel::<()>();
    let _ = nothing.recv_timeout(Duration::from_millis(stop_ms));
    note("stops")?;
    Ok(ExitCode::SUCCESS)
}
