//! Why a change of a group's record is not made, and what to do about it.

use super::group::FORMAT;
use super::limits::{NAME_BYTES_MAX, ROLLOUT_ID_BYTES_MAX};

/// Why a change of the record is not made. Says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The record is of a newer rollinit.
    #[error("{what} has format {format}, and {FORMAT} is the newest known here; update rollinit")]
    Newer {
        /// Which record.
        what: &'static str,
        /// Its format.
        format: u32,
    },
    /// The bytes are no record.
    #[error("{what} cannot be read: {reason}; see who else writes to this ledger")]
    Unreadable {
        /// Which record.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// It would grow too large.
    #[error("{what} would have more than {limit}")]
    TooLarge {
        /// Which record.
        what: &'static str,
        /// Of what, and how much.
        limit: String,
    },
    /// A name that is none.
    #[error("{what} `{name}`: use 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_`, `.`, `:`, `@`")]
    Name {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// An id that swaps cannot be called by.
    #[error(
        "rollout `{0}`: use 1 to {ROLLOUT_ID_BYTES_MAX} letters, digits and `-`, not install…, \
         catch-up… or …-back"
    )]
    RolloutId(String),
    /// Another rollout of the app goes on.
    #[error("rollout {id} to {path} goes on; wait for it, abort it, or supersede it (--supersede)")]
    UnderWay {
        /// Its id.
        id: String,
        /// Where it goes.
        path: String,
    },
    /// The path failed before.
    #[error("{path} failed on {host}: {reason}; mend it, or insist with --force")]
    Barred {
        /// The path.
        path: String,
        /// Where.
        host: String,
        /// What happened.
        reason: String,
    },
    /// The serial is not newer.
    #[error("release {serial} is older than {newest}, which the group has seen")]
    Older {
        /// Of the release.
        serial: u64,
        /// The newest one seen.
        newest: u64,
    },
    /// There is no such rollout.
    #[error("no rollout of {0} goes on")]
    NoRollout(String),
    /// There is no blessed release to promote.
    #[error("no release of {0} is blessed yet: a rollout must end well first")]
    NothingBlessed(String),
    /// No slot is held by this host.
    #[error("{0} holds no slot")]
    NoHolder(String),
    /// Nobody holds the migration lock.
    #[error("nobody migrates {0}: its lock is free")]
    NoMigration(String),
    /// The group does not know the app.
    #[error("the group has nothing of an app called {0}; `rollinit rollout status` lists its apps")]
    NoTrack(String),
    /// A host is out for the app.
    #[error("{host} is out for {app}; wait for it, or release its slot (rollinit locks)")]
    Busy {
        /// The app.
        app: String,
        /// The host.
        host: String,
    },
    /// All slots are taken.
    #[error("{}", wait_text(.holders, *.allowed))]
    Full {
        /// By whom.
        holders: Vec<String>,
        /// How many there are.
        allowed: usize,
    },
}

fn wait_text(holders: &[String], allowed: usize) -> String {
    format!("waits for a slot: {} of {allowed} out: {}", holders.len(), holders.join(", "))
}
