//! The host's own system beside its apps: when it goes before them, and when it waits for them.

use super::super::SYSTEM;
use super::super::group::Group;
use super::super::swap_id::SwapId;
use super::decide::was_left;
use super::{AppWord, Local, LocalSwap, Member};

impl Member {
    /// The system that this host installs before anything serves here; none if it has it, or does
    /// not get it to run.
    pub(super) fn system_to_install(&self, group: &Group) -> Option<String> {
        let (local, track) = (self.local.get(SYSTEM)?, group.apps.get(SYSTEM)?);
        let blessed = &track.blessed.as_ref()?.path;
        let (wanted, _) = track.wanted()?;
        let is_there = local
            .path
            .as_deref()
            .is_some_and(|runs| runs == blessed || runs == wanted || was_left(track, runs));
        let is_barred = local.barred.iter().any(|barred| barred.path == *blessed);
        let is_off = is_barred || self.is_left_alone(SYSTEM, blessed);
        (self.is_new(group) && !is_there && !is_off).then(|| blessed.clone())
    }

    /// Nobody counts on this host yet: no app of it has a generation, and one gets its first now,
    /// or the system is still the one that the image brought.
    fn is_new(&self, group: &Group) -> bool {
        let mut apps = self.local.values().filter(|local| local.app != SYSTEM);
        let is_awaited = |local: &Local| {
            let track = group.apps.get(&local.app);
            local.app != SYSTEM && track.is_some_and(|track| track.blessed.is_some())
        };
        let is_of_image = self.local.get(SYSTEM).is_some_and(|local| match &local.swap {
            LocalSwap::None => true,
            LocalSwap::Running { id, .. } | LocalSwap::Ended { id, .. } => {
                SwapId::of(id) == SwapId::Install
            }
            LocalSwap::Settles { .. } => false,
        });
        apps.all(|local| local.path.is_none())
            && (is_of_image || self.local.values().any(is_awaited))
    }

    /// Puts an app off until this host has its system. Whether it does.
    pub(super) fn waits_for_system(&mut self, app: &str, group: &Group) -> bool {
        let waits = app != SYSTEM && self.system_to_install(group).is_some();
        if waits {
            self.word(app, AppWord::Waits, "for this host's own system");
        }
        waits
    }

    /// The system is swapped while no app of this host is: it may reboot. Whether it waits.
    pub(super) fn waits_for_apps(&mut self, local: &Local) -> bool {
        if local.app != SYSTEM {
            return false;
        }
        let is_busy =
            |other: &&Local| other.app != SYSTEM && matches!(other.swap, LocalSwap::Running { .. });
        let Some(busy) = self.local.values().find(is_busy) else { return false };
        let text = format!("until the swap of {} is over", busy.app);
        self.word(SYSTEM, AppWord::Waits, text);
        true
    }
}

/// What a host says of its part is short: a path, unless there is more to tell.
pub(super) fn words_of<'w>(local: &'w Local, path: &'w str) -> &'w str {
    if local.says.is_empty() { path } else { &local.says }
}
