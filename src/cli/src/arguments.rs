//! What can be asked for on the command line, and how `--help` explains it.

use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Environment variable that names the control socket when `--socket` does not.
pub const SOCKET_VARIABLE: &str = "ROLLINIT_SOCKET";

const EXIT_CODES: &str = "\
Exit codes:
  0  it is done
  1  it failed: a service did not come up or go away, or `check` found problems
  2  the command line cannot be understood
  3  the supervisor cannot be reached, or went away before it answered
  4  you may not do that; the error says which role it takes
  5  there is no such service
  6  the supervisor refused: the host goes down, or too much is asked at once

Roles: group `rollinit-read` may look, group `rollinit` may also start and stop
services, root may do everything. A process of a service may look at most.

Environment:
  ROLLINIT_SOCKET  the control socket, if --socket is not given
  NO_COLOR         no colours, even on a terminal
  COLUMNS          the width of the screen, if it is not 80";

/// Look at the services of this host, start and stop them, read their output.
///
/// Asks the supervisor over its control socket, except for `check`, which works
/// offline. `rollinit COMMAND --help` tells all about a command.
#[derive(Debug, Parser)]
#[command(name = "rollinit", version, after_help = EXIT_CODES, verbatim_doc_comment)]
#[command(propagate_version = true, disable_help_subcommand = true)]
pub struct Arguments {
    /// Print JSON: one line, or one for each record of `logs` and `events`
    #[arg(long, global = true)]
    pub json: bool,

    /// The control socket [default: /run/rollinit/supervisor]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the host and its services, or all that is known of one
    ///
    /// A line for each service: its state, name and pid, since when it is in that
    /// state, how often it was started again without being asked to, and what it
    /// says of itself or why it is down. Below that: what is wrong, and its cure.
    ///
    /// States:
    ///   waiting   starts once what it is ordered after has started
    ///   blocked   what it requires will not come up unless you help
    ///   starting  its program runs and is not ready yet
    ///   running   ready
    ///   stopping  was told to stop, or is going by itself
    ///   backoff   ended, starts again in a while
    ///   stopped   down, as it should be
    ///   done      a oneshot that did its work
    ///   failed    ended too often; stays down until you start it
    ///   broken    its definition has an error; `rollinit check` shows it
    ///
    /// Exits with 0 whenever there is something to show, also if services failed.
    /// The JSON form changes only when a service does: if the supervisor was killed
    /// and replaced it shows another pid and uptime of it, and nothing else.
    #[command(verbatim_doc_comment)]
    Status {
        /// The service; all if none is named
        name: Option<String>,
    },

    /// Show processes, memory and processor time of each service that runs
    ///
    /// The figures are those of the service's cgroup: all its processes together. A
    /// dash stands where the kernel keeps no such figure (without the memory or cpu
    /// controller).
    #[command(verbatim_doc_comment)]
    Ps,

    /// Start services, and wait until they are ready
    ///
    /// Also clears what kept a service down: an earlier `stop`, or too many failures.
    /// What it requires or wants is started too. One that is up stays as it is.
    #[command(verbatim_doc_comment)]
    Start {
        /// The services
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },

    /// Stop services, and wait until all their processes are gone
    ///
    /// A stopped service stays down until it is started or the host boots again, also
    /// if the supervisor is replaced in between. Services that require it go down
    /// first.
    #[command(verbatim_doc_comment)]
    Stop {
        /// The services
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },

    /// Stop and start services, and wait until they are ready again
    ///
    /// The sockets a service listens on stay open: clients wait instead of being
    /// refused.
    #[command(verbatim_doc_comment)]
    Restart {
        /// The services
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },

    /// Print what services write to stdout and stderr
    ///
    /// Times are UTC. To a file or pipe the exact bytes are written; on a terminal
    /// control characters are shown escaped, so that a service cannot play with your
    /// screen.
    #[command(verbatim_doc_comment)]
    Logs {
        /// The service; all if none is named
        name: Option<String>,
        /// Go on with new lines as they are written, until interrupted
        #[arg(short, long)]
        follow: bool,
        /// Begin with the last so many lines
        #[arg(short = 'n', long, value_name = "LINES", default_value_t = 100)]
        lines: u32,
    },

    /// Print what happened to services: starts, ends, restarts, orders
    ///
    /// Times are UTC. The supervisor keeps the latest few hundred events.
    #[command(verbatim_doc_comment)]
    Events {
        /// Go on with new events as they happen, until interrupted
        #[arg(short, long)]
        follow: bool,
    },

    /// Check the definitions in a directory, without a supervisor
    ///
    /// Runs the code that the supervisor runs when it reads them. Prints a line for
    /// each problem: file:line:column, what is wrong, and what to write instead.
    /// Exits with 1 if there is any.
    #[command(verbatim_doc_comment)]
    Check {
        /// The directory; each NAME.toml in it defines the service NAME
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },

    /// Stop all services and switch the host off
    ///
    /// Returns once that is under way. Services go down in reverse order of their
    /// start, each with its own stop signal and time; then everything else, the file
    /// systems, the power.
    #[command(verbatim_doc_comment)]
    Poweroff,

    /// Stop all services and boot the host again
    ///
    /// As `poweroff`, with another end.
    Reboot,

    /// Stop all services and halt the host with the power on
    ///
    /// As `poweroff`, with another end.
    Halt,
}

impl Command {
    /// It asks one question, prints nothing before the answer, and may be asked again.
    pub fn is_question(&self) -> bool {
        matches!(self, Command::Status { .. } | Command::Ps)
    }
}

impl Arguments {
    /// The control socket: as given, else as in the environment, else the usual one.
    pub fn socket(&self) -> PathBuf {
        let named = std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty());
        self.socket
            .clone()
            .or_else(|| named.map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from(control::SOCKET_PATH))
    }
}
