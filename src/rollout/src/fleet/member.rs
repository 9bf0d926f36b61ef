//! One host's part in its group.
//!
//! # How it thinks
//!
//! It looks at the group's record and at its own apps, and does the next thing that follows from
//! them. There is no state in between: whatever was begun and not finished is seen in the record
//! (a slot of this host) or on the host (a swap that runs, or has ended, under the slot's id).
//!
//! ```text
//!  record: this host holds no slot                 record: it holds slot N for app A
//!  ─────────────────────────────────               ────────────────────────────────────────────
//!  A serves what the group wants: nothing           no swap N yet   called for: begin it
//!  A has no generation yet: install what is                         not any more: give N back
//!    blessed, without a slot                        swap N runs     called for: wait
//!  A shall run another release:                                     not any more: cancel it,
//!    fetch it ─▶ take a slot ─▶ (right side)                          unless users are on it
//!  the release ended badly on others: stay          swap N ended    give N back with what came
//!                                                                   of it
//! ```
//!
//! - A failure goes into the record in the same write that gives the slot back: nobody can take the
//!   slot without seeing it. It ends the rollout for all.
//! - The host's own faults (disk, cache, balancer) give the slot back and fail nobody. This host
//!   then leaves the release alone for [`REFUSED_MS`](super::limits::REFUSED_MS), and for twice as
//!   long after each further try; it says why, and lets all go first that have not tried. So it
//!   holds up the end of the rollout, and no other host.
//! - A host that finds itself on another release than the blessed one, with no rollout under way,
//!   catches up under a slot; unless it runs what a rollout that ended badly left on it: who brings
//!   those hosts back, and when, is for people to say.
//! - The hosts' own system ([`SYSTEM`](super::SYSTEM)) goes the same way. Its swap may reboot the
//!   host: the slot is kept over that, and until the apps of the host are back
//!   ([`LocalSwap::Settles`]). It begins when no other swap goes on here. A host that is
//!   new installs the blessed system without a slot, and its apps after that.
//! - When all members run the rollout's release, the first one to see it writes that it is blessed.
//! - Slots have no expiry. Whether a holder still exists is asked of EC2; only one that is
//!   terminated, or unknown for [`UNKNOWN_MS`], is buried.
//! - A host that is told to end says so in its slot as long as users are not on the new release.
//!
//! Every write is the whole record, expected at the version it was read at. An answer that was lost
//! needs nothing but another look.

use super::group::{Group, Holder, Stop};
use super::limits::{
    BEAT_MS, HOLDER_ASK_AFTER_MS, HOLDER_ASK_EVERY_MS, LOOK_BUSY_MS, RETRY_MS_MAX, RETRY_MS_MIN,
    UNKNOWN_MS,
};
use super::status::{AppStatus, AppWord, Status};
use crate::Now;
use crate::ledger::Token;
use left_alone::LeftAlone;
use std::collections::BTreeMap;

mod decide;
mod left_alone;
mod others;
mod system;

/// What is known when the agent starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// This host: its instance id, or its name.
    pub host: String,
    /// Its apps. Those that it hears of later join them.
    pub apps: Vec<String>,
    /// Between two looks at the ledger when nothing goes on, in milliseconds.
    pub idle_ms: u64,
}

/// What the agent tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time passed: at [`Member::wake_ns`] at the latest.
    Tick,
    /// Answer to [`Effect::Look`].
    Looked {
        /// The group's record, if there is one.
        group: Option<(Group, Token)>,
        /// All hosts of the group that live, each with what it last said.
        members: Vec<Status>,
    },
    /// Answer to [`Effect::Look`]: the ledger gave none.
    LookFailed(String),
    /// Answer to [`Effect::Write`].
    Wrote(crate::ledger::Cas),
    /// Answer to [`Effect::Write`]: nothing was written.
    WriteFailed(String),
    /// An app of this host, whenever it changes, and once for each at the start.
    Local(Local),
    /// Answer to [`Effect::Prefetch`].
    Prefetched {
        /// The app.
        app: String,
        /// The path.
        path: String,
        /// Whether all of it is there; else what is wrong with this host or its caches.
        result: Result<(), String>,
    },
    /// Answer to [`Effect::Ask`].
    Gone {
        /// Which host was asked for.
        host: String,
        /// Whether it exists.
        gone: Gone,
    },
    /// This host is told to end: spot, scale-in, power-off.
    Leaving(String),
}

/// Whether a host still exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It does, or nobody knows.
    No,
    /// It is terminated, or being terminated, and never comes back.
    Terminated,
    /// Nobody has heard of it.
    Unknown,
}

/// An app of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Its name.
    pub app: String,
    /// What a boot would start; none without a generation.
    pub path: Option<String>,
    /// What swaps it has.
    pub swap: LocalSwap,
    /// Paths that failed here, and are not tried again without force.
    pub barred: Vec<Barred>,
    /// What that swap is at, or what it waits for, for people; empty if there is nothing to tell.
    pub says: String,
}

/// A path that failed on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barred {
    /// The path.
    pub path: String,
    /// The swap in which, or after which, it failed.
    pub swap: String,
    /// What happened.
    pub reason: String,
}

/// The newest swap of an app on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalSwap {
    /// There was none.
    None,
    /// It goes on.
    Running {
        /// Its id.
        id: String,
        /// Whether users are on the new release.
        switched: bool,
    },
    /// Of the system: it has ended well, and the host is not back for its users yet.
    Settles {
        /// Its id.
        id: String,
    },
    /// It has ended.
    Ended {
        /// Its id.
        id: String,
        /// How.
        stop: Stop,
    },
}

/// What the agent shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Read the group's record and what its members say. One at a time with [`Effect::Write`].
    Look,
    /// Write the group's record, if it still has that version.
    Write {
        /// The version.
        expected: Token,
        /// The record.
        group: Box<Group>,
    },
    /// Write what this host says of itself. No answer is awaited.
    Say(Status),
    /// Make a closure valid, before it takes a slot.
    Prefetch {
        /// The app.
        app: String,
        /// The path.
        path: String,
    },
    /// Begin a swap; one of that id that runs already is the same.
    Swap {
        /// The app.
        app: String,
        /// The path.
        path: String,
        /// Its id.
        id: String,
        /// Number of the slot under which it goes: before every step that cannot be undone the
        /// agent reads the record once more. 0 for a first release, which goes without.
        fence: u64,
        /// Also if the path failed here before.
        force: bool,
    },
    /// Turn the swap back, if it can still be had without harm.
    Cancel {
        /// The app.
        app: String,
        /// Its id.
        id: String,
        /// Why.
        why: String,
    },
    /// Find out whether this host still exists.
    Ask {
        /// Which.
        host: String,
    },
}

/// What this host has going with the ledger.
#[derive(Clone, Debug)]
enum Busy {
    Look,
    Write(Box<Group>),
}

/// How far a closure is, before its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fetch {
    Running(String),
    Done(String),
}

/// A holder that is asked for.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    fence: u64,
    seen_ns: u64,
    asked_ns: Option<u64>,
    unknown_since_ns: Option<u64>,
    gone: bool,
}

/// One host's part in its group.
#[derive(Clone, Debug)]
pub struct Member {
    facts: Facts,
    now: Now,
    group: Option<(Group, Token)>,
    /// Whether the ledger has answered.
    heard: bool,
    members: Vec<Status>,
    busy: Option<Busy>,
    look_ns: u64,
    retry_ms: u64,
    local: BTreeMap<String, Local>,
    fetches: BTreeMap<String, Fetch>,
    /// What is left alone, by app.
    refused: BTreeMap<String, LeftAlone>,
    /// Swaps that were asked for, so that each is asked for once.
    asked: BTreeMap<String, String>,
    cancelled: Option<String>,
    installs: u64,
    suspects: BTreeMap<String, Suspect>,
    leaving: Option<String>,
    words: BTreeMap<String, (AppWord, String)>,
    said: Option<Status>,
    said_ns: u64,
    effects: Vec<Effect>,
}

impl Member {
    /// Nothing is known yet but this host itself.
    #[must_use]
    pub fn new(facts: Facts, now: Now) -> Self {
        Self {
            facts,
            now,
            group: None,
            heard: false,
            members: Vec::new(),
            busy: None,
            look_ns: now.clock_ns,
            retry_ms: RETRY_MS_MIN,
            local: BTreeMap::new(),
            fetches: BTreeMap::new(),
            refused: BTreeMap::new(),
            asked: BTreeMap::new(),
            cancelled: None,
            installs: 0,
            suspects: BTreeMap::new(),
            leaving: None,
            words: BTreeMap::new(),
            said: None,
            said_ns: now.clock_ns,
            effects: Vec::new(),
        }
    }

    /// Takes one event; returns what follows.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        self.now = now;
        self.hear(event);
        self.decide();
        if self.busy.is_none() && now.clock_ns >= self.look_ns {
            self.busy = Some(Busy::Look);
            self.effects.push(Effect::Look);
        }
        self.speak();
        std::mem::take(&mut self.effects)
    }

    /// When it wants to be woken; there may be nothing to do before.
    #[must_use]
    pub fn wake_ns(&self) -> u64 {
        let refused = self.refused.values().map(|left| left.until_ns);
        let look = if self.busy.is_some() { u64::MAX } else { self.look_ns };
        refused.filter(|until_ns| *until_ns > self.now.clock_ns).fold(look, u64::min)
    }

    /// The record as it was last seen or written.
    #[must_use]
    pub fn group(&self) -> Option<&Group> {
        self.group.as_ref().map(|(group, _)| group)
    }

    /// What this host said last.
    #[must_use]
    pub const fn said(&self) -> Option<&Status> {
        self.said.as_ref()
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Tick => {}
            Event::Looked { group, members } => {
                self.busy = None;
                self.heard = true;
                self.group = group;
                self.members = members;
                self.was_heard();
                self.retry_ms = RETRY_MS_MIN;
                let pause_ms = if self.is_busy_group() { LOOK_BUSY_MS } else { self.facts.idle_ms };
                self.look_ns = self.now.plus_ms(pause_ms);
            }
            Event::LookFailed(_) | Event::WriteFailed(_) => self.back_off(),
            Event::Wrote(crate::ledger::Cas::Applied(token)) => {
                if let Some(Busy::Write(group)) = self.busy.take() {
                    self.group = Some((*group, token));
                    self.retry_ms = RETRY_MS_MIN;
                }
            }
            Event::Wrote(crate::ledger::Cas::Lost) => {
                self.busy = None;
                self.group = None;
                self.look_ns = self.now.clock_ns;
            }
            Event::Wrote(crate::ledger::Cas::Unknown(_)) => {
                self.group = None;
                self.back_off();
            }
            Event::Local(local) => {
                if !self.facts.apps.contains(&local.app) {
                    self.facts.apps.push(local.app.clone());
                }
                self.local.insert(local.app.clone(), local);
            }
            Event::Prefetched { app, path, result } => self.prefetched(app, path, result),
            Event::Gone { host, gone } => self.heard_of(&host, gone),
            Event::Leaving(why) => self.leaving = Some(why),
        }
    }

    /// The ledger is asked again, later each time. What is known stays known, except to a write:
    /// it was read before.
    fn back_off(&mut self) {
        self.busy = None;
        self.look_ns = self.now.plus_ms(self.retry_ms);
        self.retry_ms = (self.retry_ms * 2).min(RETRY_MS_MAX);
    }

    fn prefetched(&mut self, app: String, path: String, result: Result<(), String>) {
        if self.fetches.get(&app) != Some(&Fetch::Running(path.clone())) {
            return;
        }
        match result {
            Ok(()) => {
                self.fetches.insert(app, Fetch::Done(path));
            }
            Err(reason) => {
                self.fetches.remove(&app);
                let rollout = self.rollout_to(&app, &path);
                self.leave_alone(&app, &path, &rollout, &reason);
            }
        }
    }

    fn is_busy_group(&self) -> bool {
        let Some((group, _)) = &self.group else { return false };
        !group.holders.is_empty() || group.apps.values().any(|track| track.rollout.is_some())
    }

    /// Begins a write of the changed record.
    fn write(&mut self, change: impl FnOnce(&mut Group)) {
        let Some((group, token)) = &self.group else { return };
        let mut next = group.clone();
        change(&mut next);
        if next == *group {
            return;
        }
        next.writer.clone_from(&self.facts.host);
        let expected = token.clone();
        self.busy = Some(Busy::Write(Box::new(next.clone())));
        self.effects.push(Effect::Write { expected, group: Box::new(next) });
    }

    fn word(&mut self, app: &str, word: AppWord, text: impl Into<String>) {
        self.words.insert(app.to_owned(), (word, text.into()));
    }

    /// What this host said last may have been lost, or be of its agent's life before.
    fn was_heard(&mut self) {
        let own = self.members.iter().find(|member| member.host == self.facts.host);
        let heard = own.cloned().unwrap_or_default();
        let is_so = self.said.as_ref().is_some_and(|said| said.apps == heard.apps);
        if !is_so {
            let beat = self.said.as_ref().map_or(0, |said| said.beat).max(heard.beat);
            self.said = Some(Status { beat, ..heard });
        }
    }

    /// Says what this host is up to, when that is not what it said last, or that was long ago.
    fn speak(&mut self) {
        let mut status = Status {
            format: super::group::FORMAT,
            host: self.facts.host.clone(),
            ..Status::default()
        };
        for app in &self.facts.apps {
            let path = self.local.get(app).and_then(|local| local.path.clone());
            let (mut word, mut text) =
                self.words.get(app).cloned().unwrap_or((AppWord::Serves, String::new()));
            if let Some(why) = self.leaving.as_ref().filter(|_| word != AppWord::Swaps) {
                (word, text) = (AppWord::Leaves, why.clone());
            }
            status.apps.insert(app.clone(), AppStatus { path, word, text });
        }
        let before = self.said.as_ref();
        // Nobody is told what was not looked at yet.
        let unknown = self.local.is_empty() || !self.heard;
        let is_due = self.now.clock_ns >= self.said_ns.saturating_add(BEAT_MS * 1_000_000);
        let is_news = before.is_none_or(|before| before.apps != status.apps);
        if unknown || !(is_news || is_due) {
            return;
        }
        self.said_ns = self.now.clock_ns;
        status.beat = before.map_or(0, |before| before.beat).saturating_add(1);
        status.wall_ms = self.now.wall_ms;
        self.said = Some(status.clone());
        self.effects.push(Effect::Say(status));
    }
}
