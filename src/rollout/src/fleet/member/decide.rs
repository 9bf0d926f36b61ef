//! What follows for this host's own apps.

use super::super::SYSTEM;
use super::super::group::{How, Track};
use super::super::refusal::Refusal;
use super::super::swap_id::SwapId;
use super::system::words_of;
use super::{AppWord, Barred, Effect, Fetch, Group, Holder, Local, LocalSwap, Member, Stop};

impl Member {
    /// Does the next thing that follows from the record and from this host.
    pub(super) fn decide(&mut self) {
        let Some((group, _)) = self.group.clone() else { return };
        self.watch_holders(&group);
        if let Some(slot) = group.holder(&self.facts.host).cloned() {
            if self.local.contains_key(&slot.app) {
                self.hold(&group, &slot);
            } else if self.busy.is_none() && !self.facts.apps.contains(&slot.app) {
                // An app that this host does not have any more.
                self.give_back(&slot, Stop::Refused("the host has no such app".to_owned()));
            }
        } else {
            for app in self.facts.apps.clone() {
                let Some(local) = self.local.get(&app).cloned() else { continue };
                let Some(track) = group.apps.get(&app) else { continue };
                if !self.waits_for_system(&app, &group) {
                    self.want(&group, track, &local);
                }
            }
        }
        if self.busy.is_none() {
            self.bury();
        }
        if self.busy.is_none() {
            self.bless(&group);
        }
    }

    /// This host has a slot.
    fn hold(&mut self, group: &Group, slot: &Holder) {
        let Some(local) = self.local.get(&slot.app).cloned() else { return };
        let id = SwapId::of_slot(slot);
        let called_for = is_called_for(group, slot);
        match &local.swap {
            LocalSwap::Running { id: running, switched } if *running == id => {
                self.word(&slot.app, AppWord::Swaps, words_of(&local, &slot.path));
                self.attend(slot, &id, called_for, *switched);
            }
            LocalSwap::Settles { id: ended } if *ended == id => {
                if called_for && self.leaving.is_none() {
                    self.word(&slot.app, AppWord::Swaps, &local.says);
                } else {
                    self.conclude(slot, Stop::Committed);
                }
            }
            LocalSwap::Ended { id: ended, stop } if *ended == id => {
                let stop = stop.clone();
                self.conclude(slot, stop);
            }
            LocalSwap::Running { .. } => {
                self.word(&slot.app, AppWord::Waits, "for a swap that somebody began by hand");
            }
            _ if local.path.as_ref() == Some(&slot.path) => self.conclude(slot, Stop::Committed),
            _ if !called_for || self.leaving.is_some() => {
                // It was asked for and its beginning is not seen yet: what it came to will be.
                if self.asked.get(&slot.app) != Some(&id) {
                    let why = self.leaving.as_deref().unwrap_or(NOT_CALLED_FOR);
                    self.conclude(slot, Stop::Refused(why.to_owned()));
                }
            }
            _ if self.waits_for_apps(&local) => {}
            _ => {
                let rollout = group.apps.get(&slot.app).and_then(|track| track.rollout.as_ref());
                let force = rollout.is_none_or(|rollout| rollout.forced);
                self.begin(&slot.app, &slot.path, id, slot.fence, force);
            }
        }
    }

    /// The slot's swap goes on.
    fn attend(&mut self, slot: &Holder, id: &str, called_for: bool, switched: bool) {
        if switched {
            return;
        }
        // A host that is told to end is not rebooted into another system before that.
        let leaves = self.leaving.as_deref().filter(|_| slot.app == SYSTEM);
        let unwanted = leaves.or_else(|| (!called_for).then_some(NOT_CALLED_FOR));
        if let Some(why) = unwanted.map(str::to_owned)
            && self.cancelled.as_deref() != Some(id)
        {
            self.cancelled = Some(id.to_owned());
            let (app, id) = (slot.app.clone(), id.to_owned());
            self.effects.push(Effect::Cancel { app, id, why });
        }
        if self.leaving.is_some() && !slot.leaves && self.busy.is_none() {
            let host = self.facts.host.clone();
            self.write(|group| {
                for holder in group.holders.iter_mut().filter(|holder| holder.host == host) {
                    holder.leaves = true;
                }
            });
        }
    }

    /// The slot's swap is over.
    fn conclude(&mut self, slot: &Holder, stop: Stop) {
        match &stop {
            Stop::Committed => self.word(&slot.app, AppWord::Serves, ""),
            Stop::Failed(reason) => {
                self.leave_alone(&slot.app, &slot.path, &slot.rollout, "");
                self.word(&slot.app, AppWord::Failed, reason);
            }
            Stop::Refused(reason) => {
                self.leave_alone(&slot.app, &slot.path, &slot.rollout, reason);
            }
        }
        if self.busy.is_none() {
            self.give_back(slot, stop);
        }
    }

    fn give_back(&mut self, slot: &Holder, stop: Stop) {
        let now_ms = self.now.wall_ms;
        self.write(|group| group.give_back(slot, &stop, now_ms));
    }

    /// This host has no slot.
    fn want(&mut self, group: &Group, track: &Track, local: &Local) {
        let app = local.app.as_str();
        if matches!(local.swap, LocalSwap::Running { .. }) {
            return self.word(app, AppWord::Swaps, &local.says);
        }
        if let Some(why) = self.leaving.clone() {
            return self.word(app, AppWord::Leaves, why);
        }
        let Some((path, rollout)) = track.wanted() else { return };
        if local.path.as_deref() == Some(path) {
            self.fetches.remove(app);
            self.refused.remove(app);
            return self.word(app, AppWord::Serves, "");
        }
        if app == SYSTEM
            && let Some(blessed) = self.system_to_install(group)
        {
            if !self.waits_for_apps(local) {
                self.install(local, &blessed);
            }
            return;
        }
        match (&local.path, &track.blessed) {
            (None, Some(blessed)) if app != SYSTEM => {
                return self.install(local, &blessed.path.clone());
            }
            (Some(serves), _) if rollout.is_empty() && was_left(track, serves) => {
                let text = "a rollout that ended badly left it here; roll the one you want";
                return self.word(app, AppWord::Serves, text);
            }
            _ => {}
        }
        if self.is_left_alone(app, path) {
            return;
        }
        if let Some(barred) = local.barred.iter().find(|barred| barred.path == path)
            && self.keeps_off(track, app, barred)
        {
            return;
        }
        if let Some(pause) = track.rollout.as_ref().and_then(|rollout| rollout.paused.as_ref()) {
            let text = format!("{} paused it: {}", pause.by, pause.why);
            return self.word(app, AppWord::Waits, text);
        }
        if !self.is_fetched(app, path) || self.busy.is_some() {
            return;
        }
        self.ask_for_slot(group, app, path, rollout);
    }

    /// The path failed here before. In the rollout that is under way, or in one before that nobody
    /// insists on: that is a failure of the release, also when its slot is long given back (it fell
    /// sick after its commit). What is blessed and failed here alone waits for people.
    fn keeps_off(&mut self, track: &Track, app: &str, barred: &Barred) -> bool {
        let reason = barred.reason.as_str();
        let Some(rollout) = &track.rollout else {
            self.word(app, AppWord::Failed, reason);
            return true;
        };
        let is_of_it = barred.swap.strip_prefix(&rollout.id).is_some_and(|rest| {
            rest.strip_prefix('-').is_some_and(|fence| fence.parse::<u64>().is_ok())
        });
        if rollout.forced && !is_of_it {
            return false;
        }
        let before = if is_of_it { "" } else { "it failed here before: " };
        let slot = Holder {
            host: self.facts.host.clone(),
            fence: 0,
            app: app.to_owned(),
            path: barred.path.clone(),
            rollout: rollout.id.clone(),
            since_ms: self.now.wall_ms,
            leaves: false,
        };
        self.conclude(&slot, Stop::Failed(format!("{before}{reason}")));
        true
    }

    fn ask_for_slot(&mut self, group: &Group, app: &str, path: &str, rollout: &str) {
        let wanted = Holder {
            host: self.facts.host.clone(),
            fence: 0,
            app: app.to_owned(),
            path: path.to_owned(),
            rollout: rollout.to_owned(),
            since_ms: self.now.wall_ms,
            leaves: false,
        };
        let members = self.members.len();
        match group.clone().take_slot(wanted.clone(), members) {
            Ok(_) => {
                self.word(app, AppWord::Waits, "for the ledger");
                self.write(|group| {
                    // Seen to succeed on a copy just now.
                    let _ = group.take_slot(wanted, members);
                });
            }
            Err(refusal @ Refusal::Full { .. }) => {
                self.word(app, AppWord::Waits, refusal.to_string());
            }
            Err(refusal) => self.word(app, AppWord::Refused, refusal.to_string()),
        }
    }

    /// A host without a generation serves nobody: it needs no slot, and gets what is proven.
    fn install(&mut self, local: &Local, path: &str) {
        let app = local.app.as_str();
        if let LocalSwap::Ended { id, stop } = &local.swap {
            let is_ours = SwapId::of(id) == SwapId::Install && self.asked.get(app) == Some(id);
            if is_ours && *stop != Stop::Committed {
                let (Stop::Failed(reason) | Stop::Refused(reason)) = stop else { return };
                self.asked.remove(app);
                let rollout = self.rollout_to(app, path);
                return self.leave_alone(app, path, &rollout, reason);
            }
        }
        if self.is_left_alone(app, path) || self.asked.contains_key(app) {
            return;
        }
        self.installs += 1;
        let id = SwapId::of_install(self.now.wall_ms, self.installs);
        // A system that fell back here is for people to look at: it would reboot for ever.
        self.begin(app, path, id, 0, app != SYSTEM);
    }

    fn begin(&mut self, app: &str, path: &str, id: String, fence: u64, force: bool) {
        if self.asked.get(app) == Some(&id) {
            return;
        }
        self.asked.insert(app.to_owned(), id.clone());
        self.word(app, AppWord::Swaps, path);
        let (app, path) = (app.to_owned(), path.to_owned());
        self.effects.push(Effect::Swap { app, path, id, fence, force });
    }

    /// Whether the closure is here; else it is fetched.
    fn is_fetched(&mut self, app: &str, path: &str) -> bool {
        match self.fetches.get(app) {
            Some(Fetch::Done(done)) if done == path => return true,
            Some(Fetch::Running(running)) if running == path => {}
            _ => {
                self.fetches.insert(app.to_owned(), Fetch::Running(path.to_owned()));
                let (app, path) = (app.to_owned(), path.to_owned());
                self.effects.push(Effect::Prefetch { app, path });
            }
        }
        self.word(app, AppWord::Prepares, path);
        false
    }
}

/// Why a swap is turned back whose release the group does not want any more.
const NOT_CALLED_FOR: &str = "the group does not roll this release any more";

/// Whether the group still wants what the slot was taken for.
fn is_called_for(group: &Group, slot: &Holder) -> bool {
    let wanted = group.apps.get(&slot.app).and_then(Track::wanted);
    wanted == Some((slot.path.as_str(), slot.rollout.as_str()))
}

/// Whether a rollout that did not end well brought this path.
pub(super) fn was_left(track: &Track, path: &str) -> bool {
    track.last.as_ref().is_some_and(|last| last.how != How::Blessed && last.to.path == path)
}
