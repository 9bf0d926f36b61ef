//! `rollinit-network`: the daemon around the machines of room `network`, and a look at what it
//! wrote.
//!
//! One thread, no runtime: it waits in one poll(2) for the kernel, for servers and for time. It
//! ends on SIGTERM and leaves everything as it is: whoever stops after it still needs the network.
//! Its leases lie in `/run/rollinit/network`, so that one which is started again goes on with them.

mod daemon;
mod options;

use network::state::State;
use options::{Asked, Options};
use std::path::Path;
use std::process::ExitCode;

/// The exit codes of sysexits.h, where they fit: `EX_USAGE`, `EX_UNAVAILABLE`, `EX_OSERR`.
const EXIT_USAGE: u8 = 64;
const EXIT_UNAVAILABLE: u8 = 69;
const EXIT_SYSTEM: u8 = 71;

fn main() -> ExitCode {
    match Options::read(std::env::args().skip(1)) {
        Ok(Asked::Run(options)) => run(options),
        Ok(Asked::Status { run, json }) => status(&run, json),
        Ok(Asked::Text(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("rollinit-network: {error}; see rollinit-network --help");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn run(options: Options) -> ExitCode {
    // Set once, here: nothing else in this process sets a subscriber.
    let _ = tracing::subscriber::set_global_default(logging::Lines::new(
        // As a service its stderr is its log, which names it already.
        sys::log_sink::LogSink::choose("rollinit-network").unnamed_on_stderr(),
        &["rollinit_network"],
    ));
    match daemon::Daemon::new(options).and_then(|mut daemon| daemon.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(EXIT_SYSTEM)
        }
    }
}

fn status(run: &Path, json: bool) -> ExitCode {
    let path = run.join("network/state.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            let path = path.display();
            eprintln!("rollinit-network: read {path}: {error}; is the service network-online up?");
            return ExitCode::from(EXIT_UNAVAILABLE);
        }
    };
    match serde_json::from_str::<State>(&text) {
        Ok(_) if json => print!("{text}"),
        Ok(state) => print!("{state}"),
        Err(error) => {
            eprintln!("rollinit-network: {}: {error}", path.display());
            return ExitCode::from(EXIT_UNAVAILABLE);
        }
    }
    ExitCode::SUCCESS
}
