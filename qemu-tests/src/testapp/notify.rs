//! `notify`: a service that says when it is ready, in whatever way it is told to: sd_notify(3).

use super::arguments::Arguments;
use super::signals::Termination;
use super::{Failure, Outcome, at};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, ExitCode};
use std::time::Duration;

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
