//! What a swap of the system changes on this host, each step once and for good. Everything here may
//! wait for disks: it runs on threads for that.

use super::slots::{SlotError, Slots};
use super::toplevel::Toplevel;
use crate::closures;
use crate::config;
use rollout::slot::{self, EntryName};
use rollout::system::{Facts, Inspected};
use rollout::{Failure, Fault, Release};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::path::StorePath;
use store::profile::{Generation, Profile};

/// Says to PID 1 that this boot is blessed.
const BLESSED: &str = "blessed";

/// Seconds that PID 1 leaves the agent beyond its own time to reboot out of a trial, with a reason.
const GRACE_S: u64 = 60;

/// This host.
#[derive(Clone, Debug)]
pub struct Ground {
    root: PathBuf,
    run: PathBuf,
    slots: Slots,
    settings: config::system::System,
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A fault of the host, with its cure.
fn host(reason: String, cure: &[&str]) -> Failure {
    let cure = cure.iter().map(|line| (*line).to_owned()).collect();
    Failure { fault: Fault::Host, reason, cure }
}

impl From<SlotError> for Failure {
    fn from(error: SlotError) -> Self {
        let cure: &[&str] = match &error {
            SlotError::NoSlots(_) => &[],
            SlotError::File { .. } => &["rollinit logs rollinit-agent"],
            SlotError::Full(_) => &[
                "boot the generation that shall stay and swap from there: older ones make room",
                "or a smaller initramfs; [system] keep in agent.toml says how many stay",
            ],
        };
        host(error.to_string(), cure)
    }
}

fn of_store(error: &store::error::Error) -> Failure {
    host(format!("{}: {}", error.object, error.fault), &[error.cure()])
}

impl Ground {
    /// Below `root`, with run-time files in `run`.
    #[must_use]
    pub fn new(root: &Path, run: &Path, settings: config::system::System) -> Self {
        let slots = Slots::new(run);
        Self { root: root.to_owned(), run: run.to_owned(), slots, settings }
    }

    /// Services that a boot on trial needs beside the usual ones.
    #[must_use]
    pub fn bless_when(&self) -> &[String] {
        &self.settings.bless_when
    }

    fn profile(&self) -> Profile {
        Profile::of_system(&self.root)
    }

    fn blessed_mark(&self) -> PathBuf {
        self.run.join(BLESSED)
    }

    /// What is known at the start, and a sentence about each thing that is not.
    #[must_use]
    pub fn facts(&self, boot: &str, fresh_id: &str) -> (Facts, Vec<String>) {
        let mut said = Vec::new();
        let generations = self.profile().generations();
        let generations = generations.unwrap_or_else(|error| {
            said.push(format!("the system's generations: {}", of_store(&error).reason));
            Vec::new()
        });
        let current = self.profile().current();
        let profile = current.unwrap_or_else(|error| {
            said.push(format!("the system's profile: {}", of_store(&error).reason));
            None
        });
        let trial = self.slots.counted().unwrap_or_else(|error| {
            said.push(error.to_string());
            None
        });
        let trial = trial.filter(|_| !self.blessed_mark().exists());
        let entries = match self.slots.check() {
            Ok(()) => self.slots.with(|partition| Ok(partition.list()?.entries)),
            Err(_) => Ok(Vec::new()),
        };
        let entries = entries.unwrap_or_else(|error| {
            said.push(format!("the boot partition: {error}"));
            Vec::new()
        });
        let booted = self.booted(&generations, profile.as_ref(), trial.as_ref());
        let release = |number: u64| {
            let known = generations.iter().find(|generation| generation.number == number);
            known.map(closures::release)
        };
        let tried_out = entries.iter().filter(|(name, _)| name.is_tried_out());
        let own = booted.as_ref().and_then(|booted| booted.generation);
        let facts = Facts {
            boot: boot.to_owned(),
            tried_out: tried_out
                .filter_map(|(name, _)| name.generation())
                .filter(|number| Some(*number) != own)
                .filter_map(release)
                .collect(),
            has_fallback: trial.as_ref().is_some_and(|trial| {
                entries.iter().any(|(name, _)| name.stem != trial.stem && !name.is_tried_out())
            }),
            profile: profile.as_ref().map(closures::release),
            booted,
            trial,
            fresh_id: fresh_id.to_owned(),
            bless_within_ms: milliseconds(self.settings.bless_within),
            bless_after_ms: milliseconds(self.settings.bless_after),
        };
        (facts, said)
    }

    /// What this boot was started with: the link that PID 1 made of `init=`.
    fn booted(
        &self,
        generations: &[Generation],
        profile: Option<&Generation>,
        trial: Option<&EntryName>,
    ) -> Option<Release> {
        let link = fs::read_link(self.root.join("run/booted-system")).ok()?;
        let path = link.to_str()?.to_owned();
        let counted = trial.and_then(EntryName::generation);
        let fits = |generation: &&Generation| generation.path.to_string() == path;
        let by_trial = generations.iter().filter(fits).find(|one| Some(one.number) == counted);
        let by_profile = profile.filter(fits);
        let newest = generations.iter().rev().find(fits);
        let generation = by_trial.or(by_profile).or(newest).map(|generation| generation.number);
        Some(Release { path, generation })
    }

    /// Compares a new system with the booted one, and plans the boot partition.
    ///
    /// # Errors
    /// It is no system, or there is no room for it.
    pub fn inspect(&self, path: &str, kept: &[u64]) -> Result<Inspected, Failure> {
        let no_system = |reason| host(reason, &["give the toplevel of a system"]);
        let new = Toplevel::read(&self.root, path).map_err(no_system)?;
        let link = fs::read_link(self.root.join("run/booted-system")).ok();
        let booted = link.and_then(|link| Toplevel::read(&self.root, link.to_str()?).ok());
        let needs_reboot = match booted {
            Some(booted) => new.needs_reboot(&booted),
            None => Some("what was booted is not known".to_owned()),
        };
        if let Err(error) = self.slots.check() {
            let text = "no boot entry can be written".to_owned();
            return Ok(Inspected { needs_reboot, no_slots: Some(error.to_string()), text });
        }
        let sources = new.sources(&self.root).map_err(|reason| host(reason, &[]))?;
        let wanted = super::slots::wanted(&sources);
        let keep = self.settings.keep;
        let (listing, removal) = self.slots.with(|partition| {
            let listing = partition.list()?;
            let removal = slot::make_room(&listing, &wanted, kept, keep)?;
            Ok((listing, removal))
        })?;
        let is_there = |name: &str| listing.files.iter().any(|(file, _)| file == name);
        let missing = wanted.files.iter().filter(|(name, _)| !is_there(name));
        let bytes: u64 = missing.map(|(_, bytes)| *bytes).sum();
        let free = closures::size(listing.free_bytes);
        let mut text = format!("{} to write, {free} free", closures::size(bytes));
        if !removal.entries.is_empty() {
            let gone: Vec<String> = removal.entries.iter().map(|name| name.stem.clone()).collect();
            text = format!("{text}, {} to go", gone.join(", "));
        }
        Ok(Inspected { needs_reboot, no_slots: None, text })
    }

    /// Gives a system a number, and writes its entry. Done again it finds what it did.
    ///
    /// # Errors
    /// Faults of the host.
    pub fn write(&self, path: &str, kept: &[u64]) -> Result<(u64, String), Failure> {
        let top = closures::parse(path)?;
        let new = Toplevel::read(&self.root, path).map_err(|reason| host(reason, &[]))?;
        let sources = new.sources(&self.root).map_err(|reason| host(reason, &[]))?;
        let generation = self.number(&top, kept)?;
        let name = EntryName::of(generation, self.settings.tries);
        let trial_s = self.settings.bless_within.as_secs().saturating_add(GRACE_S);
        let entry = new.entry(generation, &sources, trial_s);
        let written = self
            .slots
            .with(|partition| partition.write(&name, &entry, &sources, kept, self.settings.keep));
        let removal = written.inspect_err(|_| {
            // Nobody points to it; a number is lost.
            let _ = self.profile().forget(generation);
        })?;
        for number in removal.entries.iter().filter_map(EntryName::generation) {
            // Without an entry it cannot be booted any more; its closure may go too.
            if let Err(error) = self.profile().forget(number) {
                tracing::warn!("generation {number} stays: {}", of_store(&error).reason);
            }
        }
        let tries = match self.settings.tries {
            1 => "one try".to_owned(),
            tries => format!("{tries} tries"),
        };
        Ok((generation, format!("{name}, {tries}")))
    }

    /// The number of the generation that is written: the newest one, if it is this path's and
    /// neither runs nor is pointed to, else a new one.
    fn number(&self, path: &StorePath, kept: &[u64]) -> Result<u64, Failure> {
        let profile = self.profile();
        let generations = profile.generations().map_err(|error| of_store(&error))?;
        let newest = generations
            .last()
            .filter(|newest| newest.path == *path && !kept.contains(&newest.number));
        match newest {
            Some(newest) => Ok(newest.number),
            None => profile.add(path).map_err(|error| of_store(&error)),
        }
    }

    /// Takes the counter out of this boot's entry, and tells PID 1.
    ///
    /// # Errors
    /// Faults of the host.
    pub fn bless(&self, entry: &EntryName) -> Result<String, Failure> {
        self.slots.with(|partition| partition.bless(entry))?;
        let mark = self.blessed_mark();
        let written = fs::write(&mark, entry.to_string());
        written.map_err(|error| host(format!("write {}: {error}", mark.display()), &[]))?;
        Ok(format!("the loader stays with {}", entry.blessed()))
    }

    /// Lets the profile's link point to a generation, or to a new one.
    ///
    /// # Errors
    /// What the store said.
    pub fn commit(&self, path: &str, generation: Option<u64>) -> Result<u64, Failure> {
        let (top, profile) = (closures::parse(path)?, self.profile());
        let committed = match generation {
            Some(number) => profile.select(number).map(|generation| generation.number),
            None => profile.commit(&top),
        };
        committed.map_err(|error| of_store(&error))
    }

    /// Takes away what is left of a generation that failed.
    ///
    /// # Errors
    /// Faults of the host.
    pub fn discard(&self, generation: u64) -> Result<(), Failure> {
        if self.slots.check().is_ok() {
            self.slots.with(|partition| partition.discard(generation))?;
        }
        self.profile().forget(generation).map_err(|error| of_store(&error))
    }
}
