//! The group's record, and every change that may be made to it.
//!
//! Each change is a method that changes the record in memory or says why not; whoever calls it then
//! writes the whole record by compare-and-swap, and starts again from a fresh one if somebody else
//! was faster. The changes bear repetition: done twice they are done once. That is what lets a
//! writer whose answer got lost simply read again.

use super::limits::{APPS_MAX, FAILED_MAX, HOLDERS_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX};
use super::portion::Portion;
use super::record::{self, Record};
use super::refusal::Refusal;
use super::status::Status;
use super::swap_id::names_rollout;
use crate::text;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Format of all records on the ledger. A reader refuses what is newer; within one format fields
/// are only added, and those that a writer does not know it writes back as they were.
pub const FORMAT: u32 = 1;

/// What a group of hosts runs, shall run, and who is out for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// [`FORMAT`].
    pub format: u32,
    /// Who wrote it last.
    #[serde(default)]
    pub writer: String,
    /// How many hosts may be out at once.
    #[serde(default)]
    pub max_unavailable: Portion,
    /// Numbers given to slots so far; a slot's number is its fence.
    #[serde(default)]
    pub fences: u64,
    /// By app: `system` is the host's own toplevel.
    #[serde(default)]
    pub apps: BTreeMap<String, Track>,
    /// Hosts that are out. A slot has no expiry: who dies in the middle keeps it.
    #[serde(default)]
    pub holders: Vec<Holder>,
    /// What a newer release of rollinit keeps here.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// One app of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// What all hosts ran last: what a new host installs.
    #[serde(default)]
    pub blessed: Option<Version>,
    /// What goes over the group now.
    #[serde(default)]
    pub rollout: Option<Rollout>,
    /// How the rollout before ended.
    #[serde(default)]
    pub last: Option<Ended>,
    /// Releases that failed on a host, the newest last. They need `--force`.
    #[serde(default)]
    pub failed: Vec<Failed>,
    /// The highest serial of a signed release that was ever rolled: also when something that is not
    /// signed was rolled since.
    #[serde(default)]
    pub serial: u64,
    /// The rollout that the newest document without signatures led to: such a document has no
    /// serial.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub document: String,
    /// What a newer release of rollinit keeps here.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// A release of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its top store path.
    pub path: String,
    /// Serial of its signed release document; 0 if there is none.
    #[serde(default)]
    pub serial: u64,
}

/// A release on its way over the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its id, unique in the group.
    pub id: String,
    /// Where to.
    pub to: Version,
    /// Who wanted it.
    pub by: String,
    /// When, in milliseconds since 1970. For people.
    pub began_ms: u64,
    /// Whether hosts may begin; those that have begun go on.
    #[serde(default)]
    pub paused: Option<Pause>,
    /// Whether it may go to a path that failed before.
    #[serde(default)]
    pub forced: bool,
}

/// Who paused a rollout, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
}

/// How a rollout ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Which one.
    pub id: String,
    /// Where it went.
    pub to: Version,
    /// How.
    pub how: How,
    /// When, in milliseconds since 1970. For people.
    pub ended_ms: u64,
}

/// How a rollout ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// All hosts run it.
    Blessed,
    /// It failed on a host: nobody else begins.
    Failed(String),
    /// Somebody ended it.
    Aborted(String),
    /// Another one took its place.
    Superseded(String),
}

/// A release that failed on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Its top store path.
    pub path: String,
    /// Where.
    pub host: String,
    /// What happened.
    pub reason: String,
    /// When, in milliseconds since 1970. For people.
    pub wall_ms: u64,
}

/// A host that is out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Which.
    pub host: String,
    /// Number of its slot. Whoever acts under a slot asks first whether it still has this number.
    pub fence: u64,
    /// For which app.
    pub app: String,
    /// Where it goes.
    pub path: String,
    /// For which rollout; empty for a host that only catches up with what is blessed.
    pub rollout: String,
    /// Since when, in milliseconds since 1970. For people.
    pub since_ms: u64,
    /// It said, before users were on the new release, that it is being stopped: its end is no
    /// fault of the release.
    #[serde(default)]
    pub leaves: bool,
}

/// How a host's part in a rollout ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It runs the release.
    Committed,
    /// The release failed here.
    Failed(String),
    /// The host could not, or was called back: nobody's fault. Why, for people.
    Refused(String),
}

impl Record for Group {
    const WHAT: &'static str = "the group's record";

    fn format(&self) -> u32 {
        self.format
    }
}

impl Group {
    /// Reads a record. Total.
    ///
    /// # Errors
    /// It is none, or one of a newer format.
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        record::read(bytes)
    }

    /// The record as bytes: JSON, for whoever reads the ledger by hand.
    ///
    /// # Errors
    /// It is larger than a ledger takes.
    pub fn write(&self) -> Result<Vec<u8>, Refusal> {
        record::write(self)
    }

    /// An empty record.
    #[must_use]
    pub fn new() -> Self {
        Self { format: FORMAT, ..Self::default() }
    }

    /// The slot of a host.
    #[must_use]
    pub fn holder(&self, host: &str) -> Option<&Holder> {
        self.holders.iter().find(|holder| holder.host == host)
    }

    /// Whether the host still has the slot of this number.
    #[must_use]
    pub fn holds(&self, host: &str, fence: u64) -> bool {
        self.holder(host).is_some_and(|holder| holder.fence == fence)
    }

    /// Begins a rollout. The same one again is no change, also when it has ended.
    ///
    /// # Errors
    /// Another one goes on (and `supersede` is not said), the path failed before or is older (and
    /// `force` is not said), or a name or the record's size is out of bounds.
    pub fn start(&mut self, app: &str, rollout: Rollout, supersede: bool) -> Result<(), Refusal> {
        check_name("app", app)?;
        if !names_rollout(&rollout.id) {
            return Err(Refusal::RolloutId(rollout.id.chars().take(40).collect()));
        }
        if !self.apps.contains_key(app) && self.apps.len() >= APPS_MAX {
            let limit = format!("{APPS_MAX} apps");
            return Err(Refusal::TooLarge { what: Self::WHAT, limit });
        }
        let track = self.apps.entry(app.to_owned()).or_default();
        // Whoever did not hear that it began may ask when it is over.
        if track.last.as_ref().is_some_and(|last| last.id == rollout.id) {
            return Ok(());
        }
        if let Some(going) = &track.rollout {
            if going.id == rollout.id || going.to == rollout.to {
                return Ok(());
            }
            if !supersede {
                let (id, path) = (going.id.clone(), going.to.path.clone());
                return Err(Refusal::UnderWay { id, path });
            }
        }
        if !rollout.forced {
            track.admits(&rollout.to)?;
        }
        let (by, now_ms) = (rollout.by.clone(), rollout.began_ms);
        track.end(now_ms, |_| How::Superseded(by));
        if rollout.forced {
            track.failed.retain(|failed| failed.path != rollout.to.path);
        }
        track.serial = track.serial.max(rollout.to.serial);
        track.rollout = Some(rollout);
        Ok(())
    }

    /// Lets nobody else begin; or, with `None`, lets them begin again.
    ///
    /// # Errors
    /// No rollout of the app goes on.
    pub fn pause(&mut self, app: &str, pause: Option<Pause>) -> Result<(), Refusal> {
        let rollout = self.apps.get_mut(app).and_then(|track| track.rollout.as_mut());
        let rollout = rollout.ok_or_else(|| Refusal::NoRollout(app.to_owned()))?;
        rollout.paused = pause.map(|pause| Pause { why: cut(&pause.why), ..pause });
        Ok(())
    }

    /// Ends a rollout. Hosts that run its release keep it; those on their way turn back if users
    /// are not on it yet.
    ///
    /// # Errors
    /// No rollout of the app goes on.
    pub fn abort(&mut self, app: &str, why: &str, now_ms: u64) -> Result<(), Refusal> {
        let track = self.apps.get_mut(app).filter(|track| track.rollout.is_some());
        let track = track.ok_or_else(|| Refusal::NoRollout(app.to_owned()))?;
        track.end(now_ms, |_| How::Aborted(cut(why)));
        Ok(())
    }

    /// What to begin in another group, when it shall run what this one does.
    ///
    /// # Errors
    /// Nothing of the app is blessed.
    pub fn promotion(&self, app: &str) -> Result<Version, Refusal> {
        let blessed = self.apps.get(app).and_then(|track| track.blessed.clone());
        blessed.ok_or_else(|| Refusal::NothingBlessed(app.to_owned()))
    }

    /// Gives a host a slot; one that has it keeps it. Returns the slot's number.
    ///
    /// # Errors
    /// All are taken.
    pub fn take_slot(&mut self, wanted: Holder, members: usize) -> Result<u64, Refusal> {
        if let Some(holder) = self.holder(&wanted.host) {
            return Ok(holder.fence);
        }
        let allowed = self.max_unavailable.of(members).min(HOLDERS_MAX);
        if self.holders.len() >= allowed {
            let holders = self.holders.iter().map(|holder| holder.host.clone()).collect();
            return Err(Refusal::Full { holders, allowed });
        }
        self.fences = self.fences.saturating_add(1);
        self.holders.push(Holder { fence: self.fences, ..wanted });
        Ok(self.fences)
    }

    /// Takes back a host's slot and draws the conclusion: one failure of a release ends its rollout
    /// for all. Without the slot of this number nothing changes but that conclusion.
    pub fn give_back(&mut self, slot: &Holder, stop: &Stop, now_ms: u64) {
        self.holders.retain(|holder| holder.host != slot.host || holder.fence != slot.fence);
        if let Stop::Failed(reason) = stop {
            self.fail(slot, reason, now_ms);
        }
    }

    /// What is blessed is never barred: the others run it, and it is what a new host installs.
    fn fail(&mut self, slot: &Holder, reason: &str, now_ms: u64) {
        let track = self.apps.entry(slot.app.clone()).or_default();
        let is_blessed = track.blessed.as_ref().is_some_and(|blessed| blessed.path == slot.path);
        let known = |failed: &Failed| failed.path == slot.path && failed.host == slot.host;
        if !is_blessed && !track.failed.iter().any(known) {
            if track.failed.len() >= FAILED_MAX {
                track.failed.remove(0);
            }
            track.failed.push(Failed {
                path: slot.path.clone(),
                host: slot.host.clone(),
                reason: cut(reason),
                wall_ms: now_ms,
            });
        }
        if track.rollout.as_ref().is_some_and(|rollout| rollout.to.path == slot.path) {
            let why = format!("{}: {}", slot.host, cut(reason));
            track.end(now_ms, |_| How::Failed(why));
        }
    }

    /// A host will never come back: its slot is free. That counts as a failure of the release that
    /// it was on its way to, unless its end was announced in time.
    ///
    /// # Errors
    /// It holds none.
    pub fn bury(&mut self, host: &str, why: &str, now_ms: u64) -> Result<(), Refusal> {
        let holder = self.holder(host).cloned();
        let holder = holder.ok_or_else(|| Refusal::NoHolder(host.to_owned()))?;
        let stop = if holder.leaves {
            Stop::Refused(why.to_owned())
        } else {
            Stop::Failed(format!("the host is gone, in the middle of its swap: {why}"))
        };
        self.give_back(&holder, &stop, now_ms);
        Ok(())
    }

    /// All members that have the app run where the rollout goes: that is what the group runs.
    /// Whether it was so.
    pub fn bless(&mut self, app: &str, members: &[Status], now_ms: u64) -> bool {
        let busy = self.holders.iter().any(|holder| holder.app == app);
        let Some(track) = self.apps.get_mut(app) else { return false };
        let Some(rollout) = &track.rollout else { return false };
        let to = rollout.to.clone();
        let mut concerned = members.iter().filter_map(|status| status.apps.get(app)).peekable();
        let nobody = concerned.peek().is_none();
        if busy || nobody || !concerned.all(|app| app.path.as_ref() == Some(&to.path)) {
            return false;
        }
        track.blessed = Some(to);
        track.end(now_ms, |_| How::Blessed);
        true
    }
}

impl Track {
    /// Whether a release may be rolled.
    ///
    /// # Errors
    /// It failed before, or is older than one that was seen.
    pub fn admits(&self, version: &Version) -> Result<(), Refusal> {
        if let Some(failed) = self.failed_at(&version.path) {
            return Err(Refusal::Barred {
                path: failed.path.clone(),
                host: failed.host.clone(),
                reason: failed.reason.clone(),
            });
        }
        let newest = self.newest_serial();
        if version.serial != 0 && version.serial < newest {
            return Err(Refusal::Older { serial: version.serial, newest });
        }
        Ok(())
    }

    /// The highest serial of a signed release that was rolled; 0 if none was.
    #[must_use]
    pub fn newest_serial(&self) -> u64 {
        let rolled = self.rollout.as_ref().map(|rollout| rollout.to.serial);
        let ended = self.last.as_ref().map(|ended| ended.to.serial);
        let blessed = self.blessed.as_ref().map(|blessed| blessed.serial);
        [rolled, ended, blessed].into_iter().flatten().fold(self.serial, u64::max)
    }

    /// Where a path failed.
    #[must_use]
    pub fn failed_at(&self, path: &str) -> Option<&Failed> {
        self.failed.iter().find(|failed| failed.path == path)
    }

    /// The path that hosts shall run, and the rollout that takes it there; none if they shall stay.
    #[must_use]
    pub fn wanted(&self) -> Option<(&str, &str)> {
        match &self.rollout {
            Some(rollout) => Some((rollout.to.path.as_str(), rollout.id.as_str())),
            None => self.blessed.as_ref().map(|blessed| (blessed.path.as_str(), "")),
        }
    }

    fn end(&mut self, ended_ms: u64, how: impl FnOnce(&Rollout) -> How) {
        if let Some(rollout) = self.rollout.take() {
            let how = how(&rollout);
            self.last = Some(Ended { id: rollout.id, to: rollout.to, how, ended_ms });
        }
    }
}

/// A foreign text, as much of it as the record has room for.
pub(super) fn cut(text: &str) -> String {
    text::cut(text.to_owned(), TEXT_BYTES_MAX)
}

pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), Refusal> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(fits) {
        return Err(Refusal::Name { what, name: name.chars().take(40).collect() });
    }
    Ok(())
}
