//! `rollinit-supervisor`: the restartable shell around the pure room `service`.
//!
//! Is: the owner of the port, of services' sockets, log pipes, cgroup limits and the control
//! socket. May touch: the run directory, the cgroup tree below `services`, /etc/passwd and
//! /etc/group, addresses that services listen on. Never: decides what happens to a service
//! (`service` does), starts or reaps a process (PID 1 does), holds anything that its death would
//! lose, waits for one caller while others wait for it.
//!
//! One thread. It ends when PID 1 closes the port or on SIGTERM; PID 1 then starts another, which
//! finds everything where this one left it.

mod apps;
mod attach;
mod backend;
mod clock;
mod credentials;
mod definitions;
mod effects;
mod groups;
mod guard;
mod history;
mod identity;
mod listeners;
mod logs;
mod notify;
mod port;
mod reload;
mod ring;
mod settings;
mod shell;
mod sockets;
mod spawn;
mod translate;
mod vfork;
mod views;
mod watch;

use settings::Settings;
use std::process::ExitCode;
use std::rc::Rc;
use tokio::signal::unix::{SignalKind, signal};

/// The exit codes of sysexits.h, where they fit: `EX_USAGE`, `EX_OSERR`, `EX_PROTOCOL`.
const EXIT_USAGE: u8 = 64;
const EXIT_SYSTEM: u8 = 71;
const EXIT_PORT: u8 = 76;

const HELP: &str = "\
rollinit-supervisor: keeps the services of this host as their definitions want them.

It takes no arguments: rollinit-init starts it, and starts it again when it ends.
Talk to it with `rollinit`. To try it without a virtual machine:
  rollinit-init --contained --supervisor PATH --definitions DIR --run DIR

  --help, --version
";

fn main() -> ExitCode {
    let started_ns = sys::clock::monotonic_ns();
    if let Some(argument) = std::env::args_os().nth(1) {
        return match argument.to_str() {
            Some("--help") => say(HELP),
            Some("--version") => {
                say(concat!("rollinit-supervisor ", env!("CARGO_PKG_VERSION"), "\n"))
            }
            _ => {
                eprint!("rollinit-supervisor: unknown argument {argument:?}\n\n{HELP}");
                ExitCode::from(EXIT_USAGE)
            }
        };
    }
    // Set once, here: nothing else in this process sets a subscriber.
    let _ = tracing::subscriber::set_global_default(logging::Lines::new(
        // PID 1 of the kernel gives us /dev/null as stderr, and then the kernel's log is the place.
        sys::log_sink::LogSink::choose("rollinit-supervisor"),
        &["rollinit_supervisor"],
    ));
    // Credentials pass through this process's memory.
    if let Err(error) = sys::process::forbid_dumps() {
        tracing::warn!("core dumps of this process cannot be forbidden: {error}");
    }
    let settings = match Settings::read(|name| std::env::var_os(name)) {
        Ok(settings) => settings,
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, serve(settings, started_ns))
        }
        Err(error) => Err(format!("the runtime cannot be made: {error}").into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            let attaching = error.downcast_ref::<attach::AttachError>();
            let is_port = error.is::<port::PortError>()
                || matches!(attaching, Some(attach::AttachError::Port(_)));
            ExitCode::from(if is_port { EXIT_PORT } else { EXIT_SYSTEM })
        }
    }
}

fn say(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}

/// Until SIGTERM, or an error.
async fn serve(settings: Settings, started_ns: u64) -> Result<(), Box<dyn std::error::Error>> {
    let socket = sys::peer::inherited(settings.port_fd)
        .map_err(|error| format!("the port, descriptor {}: {error}", settings.port_fd))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (handle, listener) = attach::attach(settings, socket, started_ns).await?;
    let backend = Rc::new(backend::Control::new(handle.clone()));
    let identify = Rc::clone(&backend);
    let identify: Rc<control::server::Identify> = Rc::new(move |peer| identify.identify(peer));
    let control = control::server::run(listener, backend::policy(), identify, backend);
    tokio::select! {
        ended = handle.run() => {
            let Err(error) = ended;
            Err(error.into())
        }
        ended = control => Err(format!("the control socket: {:?}", ended.err()).into()),
        _ = terminate.recv() => {
            tracing::info!("SIGTERM: ends; PID 1 starts another unless the host goes down");
            Ok(())
        }
    }
}
