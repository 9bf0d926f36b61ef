//! What can be asked for about a group, and how `--help` explains it.

use clap::{Args, Subcommand};
use rollout::fleet::Portion;

/// Environment variable that names the ledger when `--ledger` does not.
pub const LEDGER_VARIABLE: &str = "ROLLINIT_LEDGER";

/// Environment variable that names the group when `--group` does not.
pub const GROUP_VARIABLE: &str = "ROLLINIT_GROUP";

/// How a rollout that is waited for ends.
pub const CODES: &str = "\
Exit codes, beside those of every command:
  0   it is written; with --wait: all hosts run it, it is blessed
  3   the ledger cannot be reached, or nobody knows whether it was written
  5   there is no such group, app, rollout or slot
  10  with --wait: it failed on a host, which went back; nobody else begins
  12  refused: nothing was written
  13  with --wait: another rollout of the app took its place
  14  with --wait: you stopped watching; it goes on
  16  with --wait: somebody ended it by `abort`

Environment:
  ROLLINIT_LEDGER  the ledger, if --ledger is not given
  ROLLINIT_GROUP   the group, if --group is not given";

/// Which group of hosts, and on which ledger its records are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Place {
    /// The ledger (docs/ledger.md) [default: this host's]
    #[arg(long, value_name = "URL", display_order = 800)]
    pub ledger: Option<String>,
    /// The group [default: this host's]
    #[arg(long, value_name = "GROUP", display_order = 801)]
    pub group: Option<String>,
}

/// How a rollout begins.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct How {
    /// Let so many hosts be out at once, from now on
    #[arg(long, value_name = "N|N%")]
    pub max_unavailable: Option<Portion>,
    /// Take the place of a rollout that goes on
    #[arg(long)]
    pub supersede: bool,
    /// Also one that failed before, or is older
    #[arg(long)]
    pub force: bool,
    /// Watch until it is over
    #[arg(long)]
    pub wait: bool,
    /// Also where no host has said anything yet
    #[arg(long)]
    pub new_group: bool,
}

/// What is done about rollouts.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Let a release go over the group, host by host
    ///
    /// Writes it into the group's record and returns; the hosts see it there, fetch
    /// it, and swap it in by turns. One that fails ends it for all: hosts that have
    /// not begun stay as they are. The same release again is no second rollout.
    #[command(verbatim_doc_comment, after_help = CODES)]
    Start {
        /// The app
        app: String,
        /// The store path; of one the group knows the name or hash: 9q1c...
        path: String,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        place: Place,
    },

    /// Show the group: its apps, its hosts, how far a rollout is
    ///
    /// A line for each host and app. States:
    ///   serves    it runs what it shall
    ///   prepares  it fetches the release
    ///   waits     for its turn; WHAT says for whom
    ///   swaps     it is out, and swaps
    ///   failed    the release failed here; the one before serves
    ///   refused   the host could not (disk, cache, clock); it tries again
    ///   leaves    it is being stopped
    ///   silent    it has not said anything for minutes; the group goes on without it
    ///   unheard   it is out, and has not said anything yet
    /// SAID is how long ago the host wrote that, by its own clock.
    ///
    /// With --watch the screen is written anew as things change, until Ctrl-C; with
    /// --json a line for each change.
    #[command(verbatim_doc_comment)]
    Status {
        /// The app; all if none is named
        app: Option<String>,
        /// Go on showing it as it changes, until interrupted
        #[arg(short, long)]
        watch: bool,
        #[command(flatten)]
        place: Place,
    },

    /// Let nobody else begin; hosts that have begun go on
    ///
    /// Hosts that wait say who paused it, and why.
    #[command(verbatim_doc_comment, after_help = CODES)]
    Pause {
        /// The app
        app: String,
        #[command(flatten)]
        reason: Reason,
        #[command(flatten)]
        place: Place,
    },

    /// Let hosts begin again
    ///
    /// The way out of `pause`.
    #[command(verbatim_doc_comment, after_help = CODES)]
    Resume {
        /// The app
        app: String,
        #[command(flatten)]
        place: Place,
    },

    /// End a rollout where it is
    ///
    /// Hosts on their way turn back, unless users are on the release already. Hosts
    /// that run it keep it: to bring them back, roll the release that you want.
    #[command(verbatim_doc_comment, after_help = CODES)]
    Abort {
        /// The app
        app: String,
        #[command(flatten)]
        reason: Reason,
        #[command(flatten)]
        place: Place,
    },

    /// Begin in one group what is blessed in another
    ///
    /// Blessed is what all hosts of a group ran last. What is still being tried there
    /// is not promoted, and what failed in the other group needs --force as ever.
    #[command(verbatim_doc_comment, after_help = CODES)]
    Promote {
        /// The group that runs it: staging
        from: String,
        /// The group that shall: prod
        to: String,
        /// The app; if none is named all that both groups have but `system`
        app: Option<String>,
        #[command(flatten)]
        how: How,
        /// The ledger of both [default: this host's]
        #[arg(long, value_name = "URL", display_order = 800)]
        ledger: Option<String>,
    },

    /// Forget an app that no host of the group has any more
    ///
    /// What is blessed, what failed and how its last rollout ended go out of the
    /// record. Not while a rollout of it goes on or a host is out for it.
    #[command(verbatim_doc_comment, after_help = CODES)]
    Forget {
        /// The app
        app: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Why somebody does what they do: it stands in the record and on every host's screen.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Reason {
    /// Why, for whoever looks at it
    #[arg(long, value_name = "TEXT", default_value = "no reason was given")]
    pub why: String,
}

/// `rollinit locks`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Locks {
    #[command(subcommand)]
    pub verb: Option<LocksVerb>,
    #[command(flatten)]
    pub place: Place,
}

/// What is done about locks.
#[derive(Debug, Subcommand)]
pub enum LocksVerb {
    /// Ask whether the ledger is there, and keeps what locks rest on
    ///
    /// One line of what was found. Of an S3 it tries the conditional writes, as each
    /// host does before its first one, on the object PREFIX/~probe.
    #[command(verbatim_doc_comment, after_help = CODES)]
    Probe {
        /// The ledger [default: this host's]
        #[arg(long, value_name = "URL", display_order = 800)]
        ledger: Option<String>,
    },

    /// Take a slot or a migration lock away from who will not give it back
    ///
    /// HOST: the slot of that host. Do it when the host is gone for good and the
    /// group cannot see that by itself. It counts as a failure of the release that the
    /// host was on its way to, and ends its rollout, unless you say --no-fault. A host
    /// that lives after all turns its swap back, unless that was as good as over.
    ///
    /// APP: its migration lock. The migration that holds it ends within its lease, and
    /// the next one begins after that: there are never two. Needed when bin/migrate
    /// hangs on a host that lives; that of a dead host is taken over by itself.
    #[command(verbatim_doc_comment, after_help = CODES)]
    Release {
        /// The hosts or apps
        #[arg(required = true, value_name = "HOST|APP")]
        names: Vec<String>,
        /// The release is not to blame: its rollout goes on
        #[arg(long)]
        no_fault: bool,
        #[command(flatten)]
        reason: Reason,
        #[command(flatten)]
        place: Place,
    },
}
