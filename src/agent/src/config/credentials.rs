//! `[credentials]` of `agent.toml`: how often SSM is asked whether a secret changed.
//!
//! Read once, when the agent starts.

use super::duration;
use serde::Deserialize;
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;

/// Between two polls, unless the file says otherwise.
const POLL: Duration = Duration::from_secs(60);

/// The shortest time between two polls: SSM throttles an account at 40 calls a second.
const POLL_MIN: Duration = Duration::from_secs(1);

/// What the section says, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Between two polls.
    pub poll: Duration,
}

impl Default for Credentials {
    fn default() -> Self {
        Self { poll: POLL }
    }
}

/// The table as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CredentialsTable {
    poll: Option<Spanned<String>>,
}

impl CredentialsTable {
    /// Its meaning.
    ///
    /// # Errors
    /// Where it is wrong, and what to write instead.
    pub fn read(self) -> Result<Credentials, (Range<usize>, String)> {
        let Some(text) = self.poll else { return Ok(Credentials::default()) };
        let poll = duration(text.get_ref()).map_err(|error| (text.span(), error))?;
        if poll < POLL_MIN {
            let seconds = POLL_MIN.as_secs();
            return Err((text.span(), format!("poll: at least {seconds}s is due")));
        }
        Ok(Credentials { poll })
    }
}
