//! What can be asked for about releases, and how `--help` explains it.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// How a verdict ends.
const CODES: &str = "\
Exit codes, beside those of every command:
  0   it is done; with verify: hosts would take it
  1   it could not be done
  3   a cache or the ledger cannot be reached
  12  refused: hosts would not take it, or another one is newer";

/// What is done about releases.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Write a release document: which closure an app of a group shall run
    ///
    /// Asks the caches for all paths of the closure and writes the digest over what
    /// they say into the document, so whoever signs it signs every byte. Without
    /// --key what the caches say is believed: run it where you trust them, or name the
    /// keys that sign them.
    ///
    /// The file is JSON, made to be read. Sign it next.
    #[command(verbatim_doc_comment, after_help = CODES)]
    #[command(override_usage = "rollinit release make -g GROUP -c URL [OPTIONS] APP PATH")]
    Make(Make),

    /// Add your signature to a release
    ///
    /// Prints what you sign. The key is a file of OpenSSH, Ed25519, without a
    /// passphrase. For any other (a passphrase, an agent, a token) use ssh-keygen:
    ///   rollinit release document FILE |
    ///     ssh-keygen -Y sign -n rollinit-release -f KEY >> FILE
    #[command(verbatim_doc_comment, after_help = CODES)]
    Sign {
        /// The release
        file: PathBuf,
        /// The private key
        #[arg(short, long, value_name = "FILE")]
        key: PathBuf,
    },

    /// Print the document alone: the bytes that are signed
    #[command(verbatim_doc_comment, after_help = CODES)]
    Document {
        /// The release
        file: PathBuf,
    },

    /// Say whether hosts would take a release, and who signed it
    ///
    /// By the code that the hosts use. What a host has seen before is not known here:
    /// one that has seen a higher serial refuses it.
    #[command(verbatim_doc_comment, after_help = CODES)]
    Verify {
        /// The release
        file: PathBuf,
        #[command(flatten)]
        trust: Trust,
    },

    /// Put a release where the hosts of its group look: on their ledger
    ///
    /// For hosts with url = "ledger:". It is verified first if --signers is given. One
    /// with a serial that is not higher than what lies there is refused.
    #[command(verbatim_doc_comment, after_help = CODES)]
    Publish {
        /// The release
        file: PathBuf,
        #[command(flatten)]
        trust: MaybeTrust,
        /// The ledger (docs/ledger.md) [default: this host's]
        #[arg(long, value_name = "URL", display_order = 800)]
        ledger: Option<String>,
    },
}

/// What goes into a document.
#[derive(Debug, Clone, Args)]
pub struct Make {
    /// The app; `system` is the hosts' own
    pub app: String,
    /// The store path
    pub path: String,
    /// The group of hosts
    #[arg(short, long, value_name = "GROUP")]
    pub group: String,
    /// Grows with each release [default: the time, in seconds]
    #[arg(short, long, value_name = "NUMBER")]
    pub serial: Option<u64>,
    /// For how long hosts may begin it, as 12h or 30d
    #[arg(short, long, value_name = "TIME", default_value = "30d", value_parser = seconds)]
    pub expires: u64,
    /// A line for people
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    pub note: String,
    /// A cache that has it: https://, http:// or file:///FOLDER
    #[arg(short, long = "cache", value_name = "URL", required = true)]
    pub caches: Vec<String>,
    /// A key that signs the caches, NAME:BASE64
    #[arg(short, long = "key", value_name = "KEY")]
    pub keys: Vec<String>,
    /// Where to write it; - for standard output [default: APP.release]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Whom to believe.
#[derive(Debug, Clone, Args)]
pub struct Trust {
    /// Who may sign: ssh-keygen's file of allowed signers
    #[arg(short, long, value_name = "FILE")]
    pub signers: PathBuf,
    /// How many persons have to
    #[arg(short, long, value_name = "NUMBER", default_value_t = 1)]
    pub threshold: usize,
    /// The app that it must be for [default: any]
    #[arg(short, long)]
    pub app: Option<String>,
    /// The group that it must be for [default: any]
    #[arg(short, long)]
    pub group: Option<String>,
}

/// Whom to believe, if anybody looks.
#[derive(Debug, Clone, Args)]
pub struct MaybeTrust {
    /// Who may sign: ssh-keygen's file of allowed signers
    #[arg(short, long, value_name = "FILE")]
    pub signers: Option<PathBuf>,
    /// How many persons have to
    #[arg(short, long, value_name = "NUMBER", default_value_t = 1, requires = "signers")]
    pub threshold: usize,
}

/// Seconds of `90m`, `12h`, `30d`.
fn seconds(text: &str) -> Result<u64, String> {
    const DAY_S: u64 = 86_400;
    let seconds = match text.strip_suffix('d') {
        Some(days) => {
            let days: u64 = days.parse().map_err(|error| format!("{days:?}: {error}"))?;
            days.checked_mul(DAY_S).ok_or_else(|| "that is too long".to_owned())?
        }
        None => crate::times::milliseconds(text)? / 1_000,
    };
    if seconds == 0 { Err("that is over at once".to_owned()) } else { Ok(seconds) }
}
