//! Credentials: where they come from, and that they are fresh.
//!
//! The instance's role is asked early and again before its keys end. While nobody answers, keys
//! that were given go on being used, even past their end: AWS decides whether they still count,
//! and in an outage of the metadata service it lets them.

use crate::error::{Error, Fault, Result};
use crate::imds::Imds;
use crate::limits::{CREDENTIALS_MARGIN, CREDENTIALS_RETRY};
use aws_credential_types::Credentials;
use std::sync::{Mutex, PoisonError};
use tokio::time::{Duration, Instant};

const CALL: &str = "credentials";

/// Where credentials come from.
#[derive(Clone, Debug, Default)]
pub enum Source {
    /// The role of this instance.
    #[default]
    Instance,
    /// These, for as long as they last.
    Fixed(Credentials),
}

impl Source {
    /// What a person's machine or a CI job has: `AWS_ACCESS_KEY_ID` and its companions, else the
    /// profile `AWS_PROFILE` of `~/.aws/credentials`, else the role of the instance.
    ///
    /// # Errors
    /// The variables or the file are half there; the text says which half.
    pub fn from_environment() -> Result<Self> {
        profile::from_environment().map(|found| found.map_or(Self::Instance, Self::Fixed))
    }
}

/// Keeps the credentials of one source.
#[derive(Debug)]
pub(crate) struct Keeper {
    source: Source,
    imds: Imds,
    held: Mutex<Option<Held>>,
    /// One at a time asks; the others then find what it got.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct Held {
    credentials: Credentials,
    renew_at: Instant,
}

/// When keys that last for `remaining` are renewed: well before their end, and never at once
/// again, since the service gives the same ones until it has new ones.
fn renewal(remaining: Duration) -> Duration {
    remaining.saturating_sub(CREDENTIALS_MARGIN).max(CREDENTIALS_RETRY)
}

impl Keeper {
    pub fn new(source: Source, imds: Imds) -> Self {
        Self { source, imds, held: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    /// Credentials that should work.
    pub async fn get(&self) -> Result<Credentials> {
        if let Source::Fixed(credentials) = &self.source {
            return Ok(credentials.clone());
        }
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        let _one = self.asking.lock().await;
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        match self.ask().await {
            Ok(credentials) => Ok(credentials),
            Err(error) => self.old().ok_or(error),
        }
    }

    /// Renews what is due, and tells how long until something is due again.
    pub async fn renew(&self) -> Result<Option<Duration>> {
        if matches!(self.source, Source::Fixed(_)) {
            return Ok(None);
        }
        let _one = self.asking.lock().await;
        if self.fresh().is_none() {
            self.ask().await?;
        }
        Ok(self.lock().as_ref().map(|held| held.renew_at - Instant::now()))
    }

    /// AWS does not know these any more: the next call asks for new ones.
    pub fn expire(&self) {
        if let Some(held) = self.lock().as_mut() {
            held.renew_at = Instant::now();
        }
    }

    fn fresh(&self) -> Option<Credentials> {
        let held = self.lock();
        let held = held.as_ref().filter(|held| Instant::now() < held.renew_at)?;
        Some(held.credentials.clone())
    }

    /// What there was, for lack of anything newer; not asked for again at once.
    fn old(&self) -> Option<Credentials> {
        let mut held = self.lock();
        let held = held.as_mut()?;
        held.renew_at = Instant::now() + CREDENTIALS_RETRY;
        Some(held.credentials.clone())
    }

    async fn ask(&self) -> Result<Credentials> {
        let Some(keys) = self.imds.role_keys().await? else {
            let text = "the instance has no role".to_owned();
            return Err(Error::new(CALL, "instance role", Fault::NoCredentials(text)));
        };
        let credentials = keys.credentials.clone();
        let renew_at = Instant::now() + renewal(keys.remaining);
        *self.lock() = Some(Held { credentials: keys.credentials, renew_at });
        Ok(credentials)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

mod profile;

#[cfg(test)]
mod tests;
