//! What can be asked for on the command line, and how `--help` explains it.

use crate::{release, rollout, times, vm};
use clap::{Args, Parser, Subcommand, ValueEnum};
use control::agent::Reboot;
use std::path::PathBuf;

/// Environment variable that names the control socket when `--socket` does not.
pub const SOCKET_VARIABLE: &str = "ROLLINIT_SOCKET";

/// Environment variable that names the agent's socket when `--agent` does not.
pub const AGENT_VARIABLE: &str = "ROLLINIT_AGENT";

const EXIT_CODES: &str = "\
Exit codes:
  0  it is done
  1  it failed: a service did not come up or go away, or `check` found problems
  2  the command line cannot be understood
  3  the supervisor cannot be reached, or went away before it answered
  4  you may not do that; the error says which role it takes
  5  there is no such service
  6  the supervisor refused: the host goes down, or too much is asked at once
 10-16  how a swap or a rollout ended; see their --help

Roles: group `rollinit-read` may look, group `rollinit` may also start and stop
services and swap apps, root may do everything. A process of a service may look
at most, unless its definition says more.

Environment:
  ROLLINIT_SOCKET  the control socket, if --socket is not given
  ROLLINIT_AGENT   the agent's socket, if --agent is not given
  ROLLINIT_LEDGER, ROLLINIT_GROUP  as --ledger, --group of `rollout` and `locks`
  NO_COLOR         no colours, even on a terminal
  COLUMNS          the width of the screen, if it is not 80";

const SWAP_CODES: &str = "\
Exit codes, beside those of every command:
  0   committed, or what was asked for serves already
  10  it failed and was rolled back: the previous release serves
  11  it failed, and so did the way back: the app needs you
  12  refused: nothing was changed
  13  superseded: another swap of the app took its place
  14  you stopped watching; it goes on
  15  of the system: the host reboots into it now, and tells the rest after that";

/// Look at the services of this host, start and stop them, swap its apps.
///
/// Asks the supervisor over its control socket, and the agent about swaps; `check`
/// works offline. `rollinit COMMAND --help` tells all about a command.
#[derive(Debug, Parser)]
#[command(name = "rollinit", version, after_help = EXIT_CODES, verbatim_doc_comment)]
#[command(propagate_version = true, disable_help_subcommand = true)]
pub struct Arguments {
    /// Print JSON: one line, or one for each line of a feed
    #[arg(long, global = true, display_order = 900)]
    pub json: bool,

    /// The control socket [default: /run/rollinit/supervisor]
    #[arg(long, global = true, value_name = "PATH", display_order = 901)]
    socket: Option<PathBuf>,

    /// The agent's socket [default: `agent` beside the other]
    #[arg(long, global = true, value_name = "PATH", display_order = 902)]
    agent: Option<PathBuf>,

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

    /// Show processes, memory and processor time of each running service
    ///
    /// The figures are those of the service's cgroup: all its processes together. A
    /// dash stands where the kernel keeps no such figure (without the memory or cpu
    /// controller).
    #[command(verbatim_doc_comment)]
    Ps,

    /// Show where the time of the boot went: how each service came up
    ///
    /// WAITED is the time for those it starts after, TOOK from its start until it was
    /// ready, or of a oneshot until it had done its work. READY AT counts from the
    /// kernel's begin. In the bars a dot is waiting, a # starting. The last line goes
    /// back from the service that was ready last, over whom each waited for longest.
    #[command(verbatim_doc_comment)]
    Analyze,

    /// Show which credentials services have, never their values
    ///
    /// States:
    ///   there    it is
    ///   missing  its service waits for it; why stands below, if it is known
    ///   old      it is, and could not be made new; why stands below
    ///   unread   it comes from a path, which is read at each start
    #[command(verbatim_doc_comment)]
    Secrets {
        /// The service or app; all if none is named
        name: Option<String>,
    },

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

    /// Put changed definitions into force, and touch only what changed
    ///
    /// Reads /etc/rollinit/services and /run/rollinit/services. New services start,
    /// those that are no longer defined stop. A changed one starts again if its run
    /// cannot stay (another program, user, environment, socket, limit); order, restart
    /// and stop policies, probes and the like change in place. Returns when that is
    /// decided; `rollinit status` shows how it goes.
    ///
    /// A file that cannot be used changes nothing: its service keeps the definition it
    /// had, the error is printed, and the command exits with 1.
    #[command(verbatim_doc_comment)]
    Reload {
        /// Only say what would change
        #[arg(long)]
        dry_run: bool,
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
        /// What an app wrote while this swap was under way, old and new side
        #[arg(long, value_name = "ID", conflicts_with_all = ["name", "follow", "lines"])]
        swap: Option<String>,
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

    /// Swap an app for another closure, or go back if it is not healthy
    ///
    /// Fetches what is missing, migrates, starts the new release beside the old one,
    /// asks it whether it is healthy, and only then lets users reach it. What fails
    /// on the way is taken back. A line for each step:
    ///   plan      what is missing, and whether there is room
    ///   fetch     bring it, check it, register it
    ///   migrate   the release's own bin/migrate
    ///   start     the new release runs; users stay where they are
    ///   gate      it is asked until it is healthy, or the time is over
    ///   switch    new connections go to it
    ///   hook      the app's own look at itself
    ///   bake      it has to stay healthy while the old one still runs
    ///   drain     the old one finishes its requests and goes
    ///   commit    a boot starts the new one from now on
    ///   rollback  the way back
    ///
    /// Ctrl-C only stops watching: the swap goes on, and `rollinit swaps --follow ID`
    /// watches it again.
    #[command(verbatim_doc_comment, after_help = SWAP_CODES)]
    Swap {
        /// The app
        app: String,
        /// The store path; of one it had before the name or hash: 9q1c...
        path: String,
        #[command(flatten)]
        how: SwapHow,
    },

    /// Swap an app back to its previous generation, or to another one
    ///
    /// The same as a swap to that generation's path, without its bin/migrate: what a
    /// migration did stays done.
    #[command(verbatim_doc_comment, after_help = SWAP_CODES)]
    Rollback {
        /// The app
        app: String,
        /// The generation, if not the previous one
        generation: Option<u64>,
        /// Return as soon as it has begun
        #[arg(long)]
        detach: bool,
    },

    /// Keep what `swap --test` swapped in
    ///
    /// Counts only if it is asked over a connection that was opened after the switch:
    /// so it shows that you still get in.
    #[command(verbatim_doc_comment)]
    Confirm {
        /// The app
        app: String,
    },

    /// List the generations of an app
    ///
    /// `now` marks the one that a boot starts, `prev` the one that `rollback` goes to.
    #[command(verbatim_doc_comment)]
    Generations {
        /// The app
        app: String,
    },

    /// List the swaps of an app or of all, newest first, or watch one
    #[command(verbatim_doc_comment, after_help = SWAP_CODES)]
    Swaps {
        /// The app; all if none is named
        app: Option<String>,
        /// Watch this one to its end, as `swap` does
        #[arg(short, long, value_name = "ID", conflicts_with = "app")]
        follow: Option<String>,
    },

    /// Roll releases over a group of hosts, from wherever you are
    ///
    /// All is written to the group's record on the ledger, which its hosts read; the
    /// agents do the rest. So a laptop or a CI job needs the ledger and its
    /// credentials, and no way to any host.
    #[command(verbatim_doc_comment)]
    Rollout {
        #[command(subcommand)]
        verb: rollout::Verb,
    },

    /// Show who is out, who migrates, since when and why
    ///
    /// A slot has no expiry: a host that died in the middle of a swap keeps it, and so
    /// holds the rollout up, until EC2 says that it is gone or you release it.
    #[command(verbatim_doc_comment)]
    Locks(rollout::Locks),

    /// Make, sign and verify releases: what an app of a group shall run
    ///
    /// Hosts that are told of signers (docs/releases.md) take no other release than one
    /// that enough persons signed. None of this needs a host: it runs on a laptop and
    /// in CI.
    #[command(verbatim_doc_comment)]
    Release {
        #[command(subcommand)]
        verb: release::Verb,
    },

    /// Check a host's user-data before it is given to an instance
    ///
    /// Works offline, by the code that the host itself uses: what passes here is read
    /// there. Whether paths and releases can be had shows on the host.
    #[command(verbatim_doc_comment)]
    UserData {
        #[command(subcommand)]
        verb: UserDataVerb,
    },

    /// Check the definitions in a directory, without a supervisor
    ///
    /// Runs the code that the supervisor runs when it reads them. Prints a line for
    /// each problem: file:line:column, what is wrong, and what to write instead.
    /// Exits with 1 if there is any. About apps it also says what a swap of them cannot
    /// promise (`note:`), which is no problem.
    #[command(verbatim_doc_comment)]
    Check {
        /// The directory; each NAME.toml in it defines the service or app NAME
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },

    /// Boot a system or a disk image in QEMU, as an EC2 instance
    ///
    /// A disk image (a file, or what `nix build .#ec2-image` left) starts by UEFI from
    /// NVMe, as on EC2. A system is the store path of one (`system.build.toplevel`): a
    /// disk is made of its closure, and QEMU starts its kernel. Either way the guest
    /// finds a metadata service (IMDSv2) with your user-data.
    ///
    /// The serial console is this terminal: C-a x ends the guest, C-a h tells more.
    /// SIGTERM presses its power button. The disk is thrown away unless --disk names
    /// one. A reboot is a reboot: the guest is over when it switches itself off.
    ///
    /// With --json the console goes to a file, and a line says where things are.
    ///
    /// With --ec2 it is EC2 itself: run starts instances of an AMI, which become SYSTEM
    /// if one is named; list shows what was started so; destroy ends one by its id or
    /// name, destroy-old all whose --ttl is over. Nothing else of the account is ever
    /// touched. Credentials come from the environment, as AWS's own tools take them.
    #[command(verbatim_doc_comment)]
    Vm(Box<vm::Arguments>),

    /// Answer a question to the metadata service: what `vm` has QEMU start.
    #[command(hide = true)]
    VmImds(vm::MetadataArguments),

    /// Keep the end of this host waiting until it is out of its load balancers: what the service
    /// `rollinit-balancers` runs (docs/balancers.md).
    #[command(hide = true)]
    HoldBalancers,

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

/// How to swap.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct SwapHow {
    /// Undo it unless `rollinit confirm` comes in time; never migrates
    #[arg(long)]
    pub test: bool,
    /// With --test: the time in which it has to be confirmed, as 90s or 5m
    #[arg(long, value_name = "TIME", requires = "test", value_parser = times::milliseconds)]
    pub within: Option<u64>,
    /// Say what would be fetched and whether there is room, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Try a path again that failed before
    #[arg(long)]
    pub force: bool,
    /// Return as soon as it has begun
    #[arg(long)]
    pub detach: bool,
    /// Of the system: whether the host may be rebooted for it
    #[arg(long, value_name = "WHEN", value_enum)]
    pub reboot: Option<RebootWhen>,
}

/// Whether a swap of the system may reboot the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RebootWhen {
    /// If kernel, initramfs, kernel parameters or PID 1 change
    Auto,
    /// In any case
    Always,
    /// Not now: the next boot is the try
    Never,
}

impl From<RebootWhen> for Reboot {
    fn from(when: RebootWhen) -> Reboot {
        match when {
            RebootWhen::Auto => Reboot::Auto,
            RebootWhen::Always => Reboot::Always,
            RebootWhen::Never => Reboot::Never,
        }
    }
}

impl Command {
    /// It asks one question, prints nothing before the answer, and may be asked again.
    pub fn is_question(&self) -> bool {
        matches!(
            self,
            Command::Status { .. }
                | Command::Ps
                | Command::Analyze
                | Command::Secrets { .. }
                | Command::Reload { dry_run: true }
                | Command::Generations { .. }
                | Command::Swaps { follow: None, .. }
        )
    }
}

/// What is done with user-data.
#[derive(Debug, Subcommand)]
pub enum UserDataVerb {
    /// Check a document, and say what a host would do with it
    ///
    /// Every problem has its line, its column and what to write instead. What looks
    /// like a key is refused, and not repeated: user-data is no place for secrets.
    #[command(verbatim_doc_comment)]
    Check {
        /// The document; - for standard input
        file: PathBuf,
    },
}

impl Arguments {
    /// The control socket: as given, else as in the environment, else the usual one.
    pub fn socket(&self) -> PathBuf {
        let named = || named_by(SOCKET_VARIABLE);
        let usual = || PathBuf::from(control::SOCKET_PATH);
        self.socket.clone().or_else(named).unwrap_or_else(usual)
    }

    /// The agent's socket: as given, else as in the environment, else beside the control socket.
    pub fn agent(&self) -> PathBuf {
        let named = || named_by(AGENT_VARIABLE);
        let beside = || self.socket().with_file_name("agent");
        self.agent.clone().or_else(named).unwrap_or_else(beside)
    }
}

fn named_by(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}
