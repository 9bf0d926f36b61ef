//! What people change by hand: how many hosts may be out, and what a host that will not come back
//! still holds.

use super::group::{FORMAT, Group, Holder, Track};
use super::migrations::{Hold, Migrations};
use super::portion::Portion;
use super::refusal::Refusal;

/// What stands before the name of whoever took a migration lock away, in the place of the swap.
const REVOKED: &str = "revoked by ";

impl Group {
    /// How many hosts may be out at once, from now on. Those that are out stay out.
    pub fn set_max_unavailable(&mut self, max_unavailable: Portion) {
        self.max_unavailable = max_unavailable;
    }

    /// Takes the slot of this number from a host that will not come back. Without `is_fault` the
    /// release that it was on its way to is not to blame, and its rollout goes on.
    ///
    /// The same again is no change: a slot that the host took since has another number.
    ///
    /// # Errors
    /// The host holds no slot at all.
    pub fn release(
        &mut self,
        slot: &Holder,
        is_fault: bool,
        why: &str,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let Some(holder) = self.holders.iter_mut().find(|holder| holder.host == slot.host) else {
            return Err(Refusal::NoHolder(slot.host.clone()));
        };
        if holder.fence != slot.fence {
            return Ok(());
        }
        if !is_fault {
            holder.leaves = true;
        }
        self.bury(&slot.host, why, now_ms)
    }

    /// Forgets an app that no host has any more: what is blessed, what failed, how it ended.
    ///
    /// # Errors
    /// A rollout of it goes on, a host is out for it, or it is not known.
    pub fn forget(&mut self, app: &str) -> Result<Track, Refusal> {
        if let Some(holder) = self.holders.iter().find(|holder| holder.app == app) {
            let (app, host) = (app.to_owned(), holder.host.clone());
            return Err(Refusal::Busy { app, host });
        }
        match self.apps.get(app).map(|track| &track.rollout) {
            None => Err(Refusal::NoTrack(app.to_owned())),
            Some(Some(going)) => {
                let (id, path) = (going.id.clone(), going.to.path.clone());
                Err(Refusal::UnderWay { id, path })
            }
            Some(None) => Ok(self.apps.remove(app).unwrap_or_default()),
        }
    }
}

impl Migrations {
    /// Takes the lock away from whoever holds it, without giving it to anybody: the holder sees at
    /// its next heartbeat that it is not its own any more, and its migration ends; the next one
    /// begins when the record stood unchanged for a lease, as ever. So there are never two, also
    /// if the holder lives. Returns what was held.
    ///
    /// # Errors
    /// Nobody holds it.
    pub fn revoke(&mut self, app: &str, by: &str, now_ms: u64) -> Result<Hold, Refusal> {
        let Some(hold) = &mut self.holder else {
            return Err(Refusal::NoMigration(app.to_owned()));
        };
        let before = hold.clone();
        if !hold.is_revoked() {
            hold.swap = format!("{REVOKED}{by}");
            hold.beat = hold.beat.saturating_add(1);
            hold.since_ms = now_ms;
            self.format = FORMAT;
        }
        Ok(before)
    }
}

impl Hold {
    /// Whether somebody took it away; then it is over when it stood for a lease.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.swap.starts_with(REVOKED)
    }
}

#[cfg(test)]
mod tests {
    use super::super::group::{How, Rollout, Version};
    use super::*;

    fn holder(host: &str) -> Holder {
        Holder {
            host: host.to_owned(),
            fence: 0,
            app: "web".to_owned(),
            path: "/nix/store/new".to_owned(),
            rollout: "r1".to_owned(),
            since_ms: 5,
            leaves: false,
        }
    }

    fn rolling() -> Group {
        let mut group = Group::new();
        let rollout = Rollout {
            id: "r1".to_owned(),
            to: Version { path: "/nix/store/new".to_owned(), serial: 0 },
            by: "alice".to_owned(),
            began_ms: 1,
            paused: None,
            forced: false,
        };
        group.start("web", rollout, false).expect("nothing goes on");
        group.take_slot(holder("a"), 3).expect("free");
        group
    }

    #[test]
    fn a_slot_released_by_hand_ends_the_rollout_unless_it_is_nobodys_fault() {
        let mut group = rolling();
        let slot = group.holder("a").cloned().expect("held");
        let mut innocent = group.clone();
        group.release(&slot, true, "its disk burned", 9).expect("held");
        let last = group.apps["web"].last.clone().expect("over");
        assert!(matches!(last.how, How::Failed(why) if why.contains("its disk burned")));
        assert!(group.holders.is_empty() && group.apps["web"].failed_at(&slot.path).is_some());
        innocent.release(&slot, false, "its disk burned", 9).expect("held");
        assert!(innocent.apps["web"].rollout.is_some() && innocent.holders.is_empty());
        assert!(innocent.apps["web"].failed.is_empty());
        assert_eq!(
            innocent.release(&slot, true, "", 9),
            Err(Refusal::NoHolder("a".to_owned())),
            "it is gone"
        );
        innocent.take_slot(holder("a"), 3).expect("free again");
        let before = innocent.clone();
        innocent.release(&slot, true, "", 9).expect("of another number");
        assert_eq!(innocent, before, "what it took since stays");
    }

    #[test]
    fn only_an_app_at_rest_is_forgotten() {
        let mut group = rolling();
        let busy = Refusal::Busy { app: "web".to_owned(), host: "a".to_owned() };
        assert_eq!(group.forget("web"), Err(busy));
        let slot = group.holder("a").cloned().expect("held");
        group.release(&slot, false, "", 9).expect("held");
        assert!(matches!(group.forget("web"), Err(Refusal::UnderWay { .. })));
        group.abort("web", "enough", 9).expect("it goes on");
        assert!(group.forget("web").is_ok() && group.apps.is_empty());
        assert_eq!(group.forget("web"), Err(Refusal::NoTrack("web".to_owned())));
    }

    #[test]
    fn a_revoked_lock_is_nobodys_and_still_stands_for_a_lease() {
        let hold = Hold {
            host: "a".to_owned(),
            swap: "r1-1".to_owned(),
            path: "/nix/store/new".to_owned(),
            beat: 4,
            lease_ms: 30_000,
            since_ms: 5,
        };
        let mut record = Migrations { holder: Some(hold.clone()), ..Migrations::default() };
        assert_eq!(record.revoke("web", "bob", 9), Ok(hold.clone()));
        let revoked = record.holder.clone().expect("still held");
        assert!(revoked.is_revoked() && !hold.is_revoked());
        assert_eq!((revoked.host.as_str(), revoked.lease_ms), ("a", 30_000));
        let before = record.clone();
        assert_eq!(record.revoke("web", "carol", 10), Ok(revoked));
        assert_eq!(record, before, "again is no change: the lease goes on");
        let mut free = Migrations::default();
        assert_eq!(free.revoke("web", "bob", 9), Err(Refusal::NoMigration("web".to_owned())));
    }
}
