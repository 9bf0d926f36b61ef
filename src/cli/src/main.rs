//! `rollinit`: the command line, a client of the supervisor's control socket and of the agent's.
//!
//! It touches those sockets, the terminal it was started from, and, for `check`, the directory it
//! is given. It keeps no state, needs no privilege of its own (the sockets decide who may do what)
//! and never talks to PID 1.

mod analyze;
mod apps;
mod arguments;
mod balancers;
mod change;
mod check;
mod exit;
mod feeds;
mod history;
mod notices;
mod power;
mod ps;
mod release;
mod reload;
mod rollout;
mod screen;
mod secrets;
mod status;
mod swap;
mod times;
mod user_data;
mod vm;
mod vm_ec2;

use arguments::{Arguments, Command, SwapHow, UserDataVerb};
use clap::Parser;
use control::agent::client::{Client as Agent, SwapRequest};
use control::client::Client;
use control::types::ShutdownKind;
use exit::{Code, Failure, WENT_AWAY};
use screen::Screen;
use std::path::Path;
use std::process::ExitCode;
use swap::Order;

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
    match &arguments.command {
        Command::Check { directory } => return check::run(directory, screen),
        Command::UserData { verb: UserDataVerb::Check { file } } => {
            return user_data::check(file, screen);
        }
        Command::Vm(machine) => return vm::run(machine, screen),
        Command::VmImds(service) => return vm::answer(service),
        _ => {}
    }
    // One thread: nothing is started that a short-lived command does not need.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::local("cannot start", &error))?;
    runtime.block_on(async {
        match call(arguments, screen).await {
            // A server is replaced while its socket stays: its successor answers the same
            // question. Orders are not repeated; whether the first was carried out is not known.
            Err(failure) if failure.kind == WENT_AWAY && arguments.command.is_question() => {
                call(arguments, screen).await
            }
            other => other,
        }
    })
}

async fn call(arguments: &Arguments, screen: &mut Screen) -> Result<Code, Failure> {
    let (socket, agent_socket) = (arguments.socket(), arguments.agent());
    let supervisor = || Client::connect(&socket);
    let agent = || Agent::connect(&agent_socket);
    match &arguments.command {
        Command::Status { name } => {
            status::run(&mut supervisor().await?, &agent_socket, name.as_deref(), screen).await
        }
        Command::Analyze => analyze::run(&mut supervisor().await?, screen).await,
        Command::Ps => ps::run(&mut supervisor().await?, screen).await,
        Command::Secrets { name } => {
            secrets::run(&mut supervisor().await?, name.as_deref(), screen).await
        }
        Command::Start { names } => {
            change::run(&mut supervisor().await?, change::Verb::Start, names, screen).await
        }
        Command::Stop { names } => {
            change::run(&mut supervisor().await?, change::Verb::Stop, names, screen).await
        }
        Command::Restart { names } => {
            change::run(&mut supervisor().await?, change::Verb::Restart, names, screen).await
        }
        Command::Reload { dry_run } => {
            reload::run(&mut supervisor().await?, *dry_run, screen).await
        }
        Command::Logs { swap: Some(swap), .. } => {
            feeds::swap_logs(&mut supervisor().await?, &mut agent().await?, swap, screen).await
        }
        Command::Logs { name, follow, lines, swap: None } => {
            let client = &mut supervisor().await?;
            feeds::logs(client, name.as_deref(), *lines, *follow, screen).await
        }
        Command::Events { follow } => {
            feeds::events(&mut supervisor().await?, *follow, screen).await
        }
        Command::Swap { app, path, how } => begin_swap(&agent_socket, app, path, how, screen).await,
        Command::Rollback { app, generation, detach } => {
            begin_rollback(&agent_socket, app, *generation, *detach, screen).await
        }
        Command::Swaps { follow: Some(id), .. } => {
            swap::run(&agent_socket, Order::Follow(id), screen).await
        }
        Command::Swaps { app, follow: None } => {
            history::swaps(&mut agent().await?, app.as_deref(), screen).await
        }
        Command::Generations { app } => {
            history::generations(&mut agent().await?, app, screen).await
        }
        Command::Confirm { app } => history::confirm(&mut agent().await?, app, screen).await,
        Command::Rollout { verb } => rollout::run(verb, &agent_socket, screen).await,
        Command::Release { verb } => release::run(verb, &agent_socket, screen).await,
        Command::Locks(locks) => rollout::locks(locks, &agent_socket, screen).await,
        Command::HoldBalancers => balancers::hold(&socket, &agent_socket).await,
        Command::Check { directory } => check::run(directory, screen),
        Command::UserData { verb: UserDataVerb::Check { file } } => user_data::check(file, screen),
        Command::Vm(machine) => vm::run(machine, screen),
        Command::VmImds(service) => vm::answer(service),
        Command::Poweroff => {
            power::run(&mut supervisor().await?, ShutdownKind::Poweroff, screen).await
        }
        Command::Reboot => power::run(&mut supervisor().await?, ShutdownKind::Reboot, screen).await,
        Command::Halt => power::run(&mut supervisor().await?, ShutdownKind::Halt, screen).await,
    }
}

/// Finds the path that is meant, and swaps.
async fn begin_swap(
    agent_socket: &Path,
    app: &str,
    path: &str,
    how: &SwapHow,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        history::resolve(&mut Agent::connect(agent_socket).await?, app, path).await?
    };
    let request = SwapRequest {
        app,
        path: &path,
        test: how.test,
        confirm_within_ms: how.within,
        dry_run: how.dry_run,
        force: how.force,
        detach: how.detach,
        reboot: how.reboot.map(Into::into),
    };
    swap::run(agent_socket, Order::Swap(request), screen).await
}

/// Finds out which generation is the previous one, and swaps back to it: by its number, so that it
/// can be asked for again if the agent is replaced meanwhile.
async fn begin_rollback(
    agent_socket: &Path,
    app: &str,
    generation: Option<u64>,
    detach: bool,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let previous = async || history::previous(&mut Agent::connect(agent_socket).await?, app).await;
    let generation = match generation {
        Some(number) => Some(number),
        None => match previous().await {
            Err(failure) if failure.kind == WENT_AWAY => previous().await?,
            answered => answered?,
        },
    };
    swap::run(agent_socket, Order::Rollback { app, generation, detach }, screen).await
}
