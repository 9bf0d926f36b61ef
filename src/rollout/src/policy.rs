//! How an app is swapped: the part of its definition that this crate reads.

use crate::health::Health;
use serde::{Deserialize, Serialize};

/// The policy of one app. A swap keeps the one that it began with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// How the new version takes the old one's place.
    pub strategy: Strategy,
    /// How a version is asked whether it is well.
    pub health: Health,
    /// Time for accepted requests of a version that leaves, in milliseconds.
    pub drain_ms: u64,
    /// Time that the new version must serve well with the old one still there, in milliseconds.
    pub bake_ms: u64,
    /// Time after the commit in which a sick version is rolled back by itself, in milliseconds.
    pub watch_ms: u64,
    /// When the old version goes.
    pub retire: Retire,
    /// The migration, `${closure}` not yet replaced; `None` for never.
    pub migrate: Option<String>,
    /// Lease of the migration's run, in milliseconds.
    pub migrate_lease_ms: u64,
    /// Smoke test after the switch, `${closure}` not yet replaced; empty for none.
    pub after_switch: Vec<String>,
    /// Told of a way back, `${closure}` not yet replaced; empty for none.
    pub on_rollback: Vec<String>,
}

/// How the new version takes the old one's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// Both run for a while; one setsockopt moves the users.
    Overlap,
    /// The old one stops, the new one starts on the same kept socket.
    Restart,
    /// Both run for a while, each on a port of its own; a balancer moves the users.
    Ports,
}

impl Strategy {
    /// Whether the candidate runs beside the version that serves.
    #[must_use]
    pub const fn has_two_sides(self) -> bool {
        matches!(self, Self::Overlap | Self::Ports)
    }
}

/// When the old version goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retire {
    /// When the new one has baked: until then the way back is one setsockopt.
    AfterBake,
    /// Right after the switch, for apps that must not run twice.
    AtSwitch,
}

/// What stands in an address for the port of whichever side is asked.
pub const PORT_VARIABLE: &str = "${port}";

/// Puts the closure's path in place of `${closure}`.
#[must_use]
pub fn expand(text: &str, closure: &str) -> String {
    text.replace("${closure}", closure)
}
