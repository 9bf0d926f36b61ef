//! Credentials: what a service waits for before it starts, and what a new one does to its run.
//!
//! The files are the shell's, on a file system of memory that outlives the supervisor; the machine
//! knows their names alone. It is told of an owner (a service or an app) as a whole:
//!
//! - *present*: what is there, whatever it is; a unit starts when all that its definition takes
//!   from SSM is. Until then it waits and says for what. What comes from a path is read at each
//!   start and not waited for: its absence is a failed start like any other.
//! - *problems*: why something is not there, or not as new as it should be. Order does not wait
//!   for a service with a problem: whoever could help may come after it.
//! - *changed*: what was replaced. A running unit is told by its definition's `on-change`: once
//!   for all that changed, and a restart makes signals needless. One that is on its way up may not
//!   have its handler yet, so its signal waits until it is ready. When nobody is to be told any
//!   more, the shell hears that the change is settled, and forgets it; a supervisor that died
//!   before that is told of the change again. So a signal may come twice, and is never lost.

use super::Machine;
use super::memory::{Phase, Then, short};
use crate::definition::{CredentialSource, OnChange, Scope};
use crate::effect::Effect;
use crate::record::What;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of an owner's credentials.
#[derive(Debug, Default)]
pub(super) struct Held {
    present: BTreeSet<String>,
    /// Why not, in words, by name.
    problems: BTreeMap<String, String>,
    /// Signals for units that are not ready yet, by key, with the run that is meant.
    due: BTreeMap<String, (u64, BTreeSet<u8>)>,
    /// A change was told and its end was not.
    unsettled: bool,
}

/// What one of an owner's units is to be told of a change.
#[derive(Debug, Default)]
struct Told {
    restart: bool,
    signals: BTreeSet<u8>,
}

impl Machine {
    pub(super) fn credentials(
        &mut self,
        owner: &str,
        present: BTreeSet<String>,
        problems: BTreeMap<String, String>,
        changed: &BTreeSet<String>,
    ) {
        let held = self.held.entry(owner.to_owned()).or_default();
        let fresh: Vec<(String, String)> = problems
            .iter()
            .filter(|(name, reason)| held.problems.get(*name) != Some(reason))
            .map(|(name, reason)| (name.clone(), reason.clone()))
            .collect();
        held.present = present;
        held.problems = problems;
        held.unsettled |= !changed.is_empty();
        for (name, reason) in fresh {
            self.report(owner, 0, What::CredentialMissing { name, reason });
        }
        for key in self.members(owner) {
            self.dirty.insert(key.clone());
            self.tell_change(&key, owner, changed);
        }
    }

    /// What a unit still waits for, each as a clause; empty if it may start.
    pub(super) fn missing_credentials(&self, key: &str) -> Vec<String> {
        let Some(definition) = self.policy(key) else { return Vec::new() };
        let held = self.held.get(self.node(key));
        let mut missing = Vec::new();
        for (name, credential) in &definition.credentials {
            let CredentialSource::Ssm(parameter) = &credential.source else { continue };
            if held.is_some_and(|held| held.present.contains(name)) {
                continue;
            }
            let reason = held.and_then(|held| held.problems.get(name));
            let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
            missing.push(format!("the credential {name} (SSM parameter {parameter}){reason}"));
        }
        missing
    }

    /// Whether one that a unit waits for has a problem.
    pub(super) fn credentials_fail(&self, key: &str) -> bool {
        let Some(definition) = self.policy(key) else { return false };
        let Some(held) = self.held.get(self.node(key)) else { return false };
        let fails = |name: &String| held.problems.contains_key(name);
        definition.credentials.keys().any(|name| !held.present.contains(name) && fails(name))
    }

    /// What is there and could not be made new, in words.
    pub(super) fn stale_credentials(&self, key: &str) -> Vec<String> {
        let Some(held) = self.held.get(self.node(key)) else { return Vec::new() };
        let stale = held.problems.iter().filter(|(name, _)| held.present.contains(*name));
        stale.map(|(name, reason)| format!("its credential {name} may be old: {reason}")).collect()
    }

    fn tell_change(&mut self, key: &str, owner: &str, changed: &BTreeSet<String>) {
        let (Some(definition), Some(unit)) = (self.policy(key), self.units.get(key)) else {
            return;
        };
        let mut told = Told::default();
        for name in changed {
            match definition.credentials.get(name).map(|credential| credential.on_change) {
                Some(OnChange::Restart) => told.restart = true,
                Some(OnChange::Signal(signal)) => drop(told.signals.insert(signal)),
                Some(OnChange::Nothing) | None => {}
            }
        }
        let (phase, incarnation) = (unit.memory.phase, unit.memory.incarnation);
        let is_up = matches!(phase, Phase::Starting { .. } | Phase::Running);
        if !is_up || unit.down.is_some() {
            return;
        }
        if told.restart {
            let names: Vec<&str> = changed.iter().map(String::as_str).collect();
            let reason = short(&format!("there is a new {}", names.join(", ")));
            self.stop(key, Then::Again, &reason);
        } else if phase == Phase::Running {
            told.signals.iter().for_each(|signal| self.signal(key, incarnation, *signal));
        } else if !told.signals.is_empty()
            && let Some(held) = self.held.get_mut(owner)
        {
            let due = held.due.entry(key.to_owned()).or_default();
            if due.0 != incarnation {
                *due = (incarnation, BTreeSet::new());
            }
            due.1.extend(told.signals);
        }
    }

    fn signal(&mut self, key: &str, incarnation: u64, signal: u8) {
        self.report(key, incarnation, What::CredentialChanged { signal });
        let (key, scope) = (key.to_owned(), Scope::Leader);
        self.effects.push(Effect::Signal { key, incarnation, scope, signal });
    }

    /// A unit became ready: it is told what it could not be told before.
    pub(super) fn tell_due(&mut self, key: &str) {
        let incarnation = self.units.get(key).map_or(0, |unit| unit.memory.incarnation);
        let owner = self.node(key).to_owned();
        let due = self.held.get_mut(&owner).and_then(|held| held.due.remove(key));
        if let Some((of, signals)) = due
            && of == incarnation
        {
            signals.into_iter().for_each(|signal| self.signal(key, incarnation, signal));
        }
    }

    /// Changes of which everybody has heard. Who is no longer on his way up in the run that was to
    /// hear of it reads the new file at his next start.
    pub(super) fn settle_credentials(&mut self) {
        for (owner, held) in &mut self.held {
            if !held.unsettled {
                continue;
            }
            held.due.retain(|key, (incarnation, _)| {
                self.units.get(key).is_some_and(|unit| {
                    unit.memory.incarnation == *incarnation
                        && matches!(unit.memory.phase, Phase::Starting { .. })
                })
            });
            if held.due.is_empty() {
                held.unsettled = false;
                self.effects.push(Effect::CredentialsSettled { owner: owner.clone() });
            }
        }
    }
}
