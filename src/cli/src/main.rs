//! `rollinit`: the command line, a client of the supervisor's control socket.
//!
//! It touches that socket, the terminal it was started from, and, for `check`, the directory it is
//! given. It keeps no state, needs no privilege of its own (the socket decides who may do what)
//! and never talks to PID 1.

mod arguments;
mod change;
mod check;
mod exit;
mod feeds;
mod power;
mod ps;
mod screen;
mod status;
mod times;

use arguments::{Arguments, Command};
use clap::Parser;
use control::client::Client;
use control::types::ShutdownKind;
use exit::{Code, Failure, WENT_AWAY};
use screen::Screen;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut screen = Screen::of_process(arguments.json);
    let code = match run(&arguments, &mut screen).and_then(|code| {
        screen.flush()?;
        Ok(code)
    }) {
        Ok(code) => code,
        Err(failure) => failure.report(&mut screen),
    };
    ExitCode::from(code as u8)
}

fn run(arguments: &Arguments, screen: &mut Screen) -> Result<Code, Failure> {
    if let Command::Check { directory } = &arguments.command {
        return check::run(directory, screen);
    }
    // One thread and no timers: nothing is started that a short-lived command does not need.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(|error| Failure::local("cannot start", &error))?;
    runtime.block_on(async {
        let socket = arguments.socket();
        match call(&arguments.command, &socket, screen).await {
            // A supervisor is replaced while its socket stays: its successor answers the same
            // question. Orders are not repeated; whether the first was carried out is not known.
            Err(failure) if failure.kind == WENT_AWAY && arguments.command.is_question() => {
                call(&arguments.command, &socket, screen).await
            }
            other => other,
        }
    })
}

async fn call(command: &Command, socket: &Path, screen: &mut Screen) -> Result<Code, Failure> {
    let client = &mut Client::connect(socket).await?;
    match command {
        Command::Status { name } => status::run(client, name.as_deref(), screen).await,
        Command::Ps => ps::run(client, screen).await,
        Command::Start { names } => change::run(client, change::Verb::Start, names, screen).await,
        Command::Stop { names } => change::run(client, change::Verb::Stop, names, screen).await,
        Command::Restart { names } => {
            change::run(client, change::Verb::Restart, names, screen).await
        }
        Command::Logs { name, follow, lines } => {
            feeds::logs(client, name.as_deref(), *lines, *follow, screen).await
        }
        Command::Events { follow } => feeds::events(client, *follow, screen).await,
        Command::Check { directory } => check::run(directory, screen),
        Command::Poweroff => power::run(client, ShutdownKind::Poweroff, screen).await,
        Command::Reboot => power::run(client, ShutdownKind::Reboot, screen).await,
        Command::Halt => power::run(client, ShutdownKind::Halt, screen).await,
    }
}
