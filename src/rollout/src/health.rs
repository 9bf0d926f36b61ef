//! How a version is asked whether it is well.

use crate::policy::PORT_VARIABLE;
use serde::{Deserialize, Serialize};

/// The health check of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// How it is asked.
    pub kind: HealthKind,
    /// From one question to the next, in milliseconds.
    pub every_ms: u64,
    /// Good answers in a row that open the gate.
    pub passes: u32,
    /// Time for one answer, in milliseconds.
    pub timeout_ms: u64,
    /// Time for the gate as a whole, in milliseconds.
    pub deadline_ms: u64,
}

/// Ways to ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthKind {
    /// `GET path` answers 2xx.
    Http {
        /// Where, as the definition writes it: `[::]:443`. With the strategy `ports` it is
        /// `127.0.0.1:${port}`, and an effect has the port of the side that is asked in it.
        address: String,
        /// What is asked for.
        path: String,
    },
    /// A connection is accepted.
    Tcp {
        /// Where, as with `Http`.
        address: String,
    },
    /// The program says READY=1.
    Notify,
    /// The program stays up for [`UP_MS`](crate::limits::UP_MS).
    Up,
}

impl HealthKind {
    /// Whether somebody has to go and ask.
    #[must_use]
    pub const fn is_probed(&self) -> bool {
        matches!(self, Self::Http { .. } | Self::Tcp { .. })
    }

    /// The same, asked of the side that binds this port; none if it must be known and is not.
    #[must_use]
    pub fn of_port(&self, port: Option<u16>) -> Option<Self> {
        let mut kind = self.clone();
        if let Self::Http { address, .. } | Self::Tcp { address } = &mut kind
            && address.contains(PORT_VARIABLE)
        {
            *address = address.replace(PORT_VARIABLE, &port?.to_string());
        }
        Some(kind)
    }
}
