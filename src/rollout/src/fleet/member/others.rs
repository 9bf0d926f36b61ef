//! What this host does for the group: it buries holders that are gone, and blesses.

use super::{
    Effect, Gone, Group, HOLDER_ASK_AFTER_MS, HOLDER_ASK_EVERY_MS, Member, Status, Suspect,
    UNKNOWN_MS,
};
use std::collections::BTreeMap;

impl Member {
    /// Keeps in mind since when the others hold their slots, by this host's clock, and has those
    /// asked for that take long.
    pub(super) fn watch_holders(&mut self, group: &Group) {
        let now_ns = self.now.clock_ns;
        let before = std::mem::take(&mut self.suspects);
        let mut suspects = BTreeMap::new();
        for holder in group.holders.iter().filter(|holder| holder.host != self.facts.host) {
            let known = before.get(&holder.host).filter(|known| known.fence == holder.fence);
            let mut suspect = known.copied().unwrap_or(Suspect {
                fence: holder.fence,
                seen_ns: now_ns,
                asked_ns: None,
                unknown_since_ns: None,
                gone: false,
            });
            let due_ns = match suspect.asked_ns {
                None => later(suspect.seen_ns, HOLDER_ASK_AFTER_MS),
                Some(asked_ns) => later(asked_ns, HOLDER_ASK_EVERY_MS),
            };
            if !suspect.gone && now_ns >= due_ns {
                suspect.asked_ns = Some(now_ns);
                self.effects.push(Effect::Ask { host: holder.host.clone() });
            }
            suspects.insert(holder.host.clone(), suspect);
        }
        self.suspects = suspects;
    }

    /// EC2 said something about a holder.
    pub(super) fn heard_of(&mut self, host: &str, gone: Gone) {
        let now_ns = self.now.clock_ns;
        let Some(suspect) = self.suspects.get_mut(host) else { return };
        match gone {
            Gone::No => suspect.unknown_since_ns = None,
            Gone::Terminated => suspect.gone = true,
            Gone::Unknown => {
                let since_ns = *suspect.unknown_since_ns.get_or_insert(now_ns);
                suspect.gone |= now_ns >= later(since_ns, UNKNOWN_MS);
            }
        }
    }

    /// Takes the slot of one holder that is gone.
    pub(super) fn bury(&mut self) {
        let gone = self.suspects.iter().find(|(_, suspect)| suspect.gone);
        let Some((host, fence)) = gone.map(|(host, suspect)| (host.clone(), suspect.fence)) else {
            return;
        };
        let now_ms = self.now.wall_ms;
        self.write(|group| {
            if group.holds(&host, fence) {
                // It holds a slot, as was just seen.
                let _ = group.bury(&host, "EC2 has no such instance any more", now_ms);
            }
        });
    }

    /// Writes that a release is what the group runs, when all say that they run it.
    pub(super) fn bless(&mut self, group: &Group) {
        let members = self.members_now();
        for app in group.apps.keys() {
            let now_ms = self.now.wall_ms;
            if group.clone().bless(app, &members, now_ms) {
                let app = app.clone();
                return self.write(|group| {
                    group.bless(&app, &members, now_ms);
                });
            }
        }
    }

    /// What the members last said; of this host, what is so.
    fn members_now(&self) -> Vec<Status> {
        let mut members = self.members.clone();
        for member in members.iter_mut().filter(|member| member.host == self.facts.host) {
            for (app, local) in &self.local {
                if let Some(status) = member.apps.get_mut(app) {
                    status.path.clone_from(&local.path);
                }
            }
        }
        members
    }
}

const fn later(from_ns: u64, by_ms: u64) -> u64 {
    from_ns.saturating_add(by_ms.saturating_mul(1_000_000))
}
