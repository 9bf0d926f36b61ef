//! When SSM is asked for which parameters: pure, the time and chance are passed in.
//!
//! A *parameter* is a name that one or more credentials of definitions come from. It is in one of
//! three states:
//!
//! ```text
//!            found: delivered                  same version, after `poll`
//!  unknown ───────────────────▶ known(version) ─────────┐
//!     ▲                           │        ▲            │
//!     │ another version,          │        └────────────┘
//!     │ or somebody lacks it      │
//!     ├───────────────────────────┤
//!     │                           │ could not be asked
//!     └── failing: after a pause ◀┘ (from unknown too)
//! ```
//!
//! - An *unknown* parameter is fetched with decryption, at once, and what it holds is delivered to
//!   all that come from it: the supervisor compares, so a start of the agent changes nothing.
//! - A *known* one is only asked for its version, without decryption: so KMS is asked once for
//!   each change, and not once for each poll of each host.
//! - A *reference* to Secrets Manager is fetched each time: SSM gives it with decryption alone, and
//!   its version tells nothing.
//! - A *failing* one is unknown after a pause that doubles from [`PAUSE_MIN_MS`] to
//!   [`PAUSE_MAX_MS`] (of which chance takes up to a half): what holds by then is delivered anew,
//!   and with it the problem goes. It is not paused for whom a supervisor has no problem on
//!   record: that one was replaced, and does not know.
//! - Polls of a round come in step, up to a tenth early by chance, so that a fleet does not.

use control::types::{Credential, CredentialSource};
use std::collections::{BTreeMap, BTreeSet};

/// The first pause after a failure, in milliseconds: SSM throttles and networks come up in seconds.
pub const PAUSE_MIN_MS: u64 = 1_000;

/// The longest one, in milliseconds: a policy that somebody mends counts within a minute.
pub const PAUSE_MAX_MS: u64 = 60_000;

/// What the name of a parameter begins with that is a secret of Secrets Manager (AWS's guide to
/// Systems Manager, "Referencing Secrets Manager secrets").
pub const REFERENCE: &str = "/aws/reference/secretsmanager/";

/// What is known of the credentials that come from SSM.
#[derive(Debug)]
pub struct Plan {
    poll_ms: u64,
    wanted: Vec<Want>,
    parameters: BTreeMap<String, Parameter>,
}

/// A credential and its parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The service or app.
    pub owner: String,
    /// The credential's name.
    pub name: String,
    /// The parameter's.
    pub parameter: String,
}

#[derive(Debug, Default)]
struct Parameter {
    /// The newest that was delivered; none if it is unknown or failing.
    version: Option<u64>,
    failures: u32,
    due_ms: u64,
}

/// What to ask for now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// These are to be had, with decryption.
    pub values: Vec<String>,
    /// Of these the version is enough.
    pub versions: Vec<String>,
}

impl Plan {
    /// Nothing is wanted yet; known parameters are asked for again after `poll_ms`.
    #[must_use]
    pub fn new(poll_ms: u64) -> Self {
        Self { poll_ms, wanted: Vec::new(), parameters: BTreeMap::new() }
    }

    /// What the supervisor wants from now on.
    pub fn want(&mut self, now_ms: u64, credentials: &[Credential]) {
        let from_ssm = credentials.iter().filter(|one| one.source == CredentialSource::Ssm);
        let from_ssm: Vec<&Credential> = from_ssm.collect();
        self.wanted = from_ssm.iter().map(|one| Want::of(one)).collect();
        let named: BTreeSet<&str> = from_ssm.iter().map(|one| one.place.as_str()).collect();
        self.parameters.retain(|name, _| named.contains(name.as_str()));
        for one in from_ssm {
            let parameter = self.parameters.entry(one.place.clone()).or_default();
            if !one.present && parameter.version.take().is_some() {
                parameter.due_ms = now_ms;
            }
            if parameter.failures > 0 && one.problem.is_none() {
                parameter.due_ms = now_ms;
            }
        }
    }

    /// When there is something to ask; none: nothing is wanted.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.parameters.values().map(|parameter| parameter.due_ms).min()
    }

    /// What is to be asked now. Each is to be answered by one of the verbs below.
    #[must_use]
    pub fn questions(&self, now_ms: u64) -> Questions {
        let mut questions = Questions::default();
        for (name, parameter) in &self.parameters {
            if parameter.due_ms <= now_ms {
                let is_known = parameter.version.is_some() && !name.starts_with(REFERENCE);
                let list = if is_known { &mut questions.versions } else { &mut questions.values };
                list.push(name.clone());
            }
        }
        questions
    }

    /// Who gets what a parameter holds.
    pub fn takers<'p>(&'p self, parameter: &'p str) -> impl Iterator<Item = &'p Want> {
        self.wanted.iter().filter(move |want| want.parameter == parameter)
    }

    /// A parameter has this version. True: it is another than was delivered, and is to be fetched
    /// at once.
    pub fn seen(&mut self, now_ms: u64, chance: u64, name: &str, version: u64) -> bool {
        let due_ms = self.next_poll_ms(now_ms, chance);
        let Some(parameter) = self.parameters.get_mut(name) else { return false };
        let differs = parameter.version != Some(version);
        if differs {
            parameter.version = None;
            parameter.due_ms = now_ms;
        } else {
            parameter.due_ms = due_ms;
        }
        differs
    }

    /// All who come from a parameter have this version of it.
    pub fn delivered(&mut self, now_ms: u64, chance: u64, name: &str, version: u64) {
        let due_ms = self.next_poll_ms(now_ms, chance);
        if let Some(parameter) = self.parameters.get_mut(name) {
            *parameter = Parameter { version: Some(version), failures: 0, due_ms };
        }
    }

    /// A parameter could not be had, or not be delivered.
    pub fn failed(&mut self, now_ms: u64, chance: u64, name: &str) {
        let Some(parameter) = self.parameters.get_mut(name) else { return };
        let pause_ms = (PAUSE_MIN_MS << parameter.failures.min(16)).min(PAUSE_MAX_MS);
        parameter.version = None;
        parameter.failures = parameter.failures.saturating_add(1);
        parameter.due_ms = now_ms + pause_ms / 2 + part(pause_ms / 2, chance);
    }

    fn next_poll_ms(&self, now_ms: u64, chance: u64) -> u64 {
        now_ms + self.poll_ms - part(self.poll_ms / 10, chance)
    }
}

impl Want {
    fn of(credential: &Credential) -> Self {
        Self {
            owner: credential.owner.clone(),
            name: credential.name.clone(),
            parameter: credential.place.clone(),
        }
    }
}

/// Between nothing and all of `whole`, by chance.
fn part(whole: u64, chance: u64) -> u64 {
    const STEPS: u64 = 1_000;
    whole * (chance % (STEPS + 1)) / STEPS
}

#[cfg(test)]
mod tests;
