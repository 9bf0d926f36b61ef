//! `[metrics]` of `agent.toml`: where Prometheus finds this host's numbers.
//!
//! Read once, when the agent starts.

use super::peers::address;
use serde::Deserialize;
use std::net::SocketAddr;
use std::ops::Range;
use toml::Spanned;

/// The table as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricsTable {
    listen: Spanned<String>,
}

impl MetricsTable {
    /// Where metrics are served.
    ///
    /// # Errors
    /// Where it is wrong, and what to write instead.
    pub(super) fn read(self) -> Result<SocketAddr, (Range<usize>, String)> {
        address(&self.listen)
    }
}
