//! Releases that this host could not take, for reasons of its own.

use super::super::group::{Track, cut};
use super::super::limits::{REFUSED_MS, REFUSED_MS_MAX};
use super::{AppWord, Member, Status};

/// A release that this host could not take.
#[derive(Clone, Debug)]
pub(super) struct LeftAlone {
    path: String,
    /// The rollout that brought it; empty if it is what is blessed.
    rollout: String,
    /// Until when it is left alone, and how long that is in all.
    pub until_ns: u64,
    pause_ms: u64,
}

impl Member {
    /// This host could not, for reasons of its own. Said again of the same try it is no other one.
    pub(super) fn leave_alone(&mut self, app: &str, path: &str, rollout: &str, reason: &str) {
        self.words.insert(app.to_owned(), (AppWord::Refused, cut(reason)));
        let earlier = self.refused.get(app);
        let pause_ms = match earlier.filter(|left| left.path == path && left.rollout == rollout) {
            Some(left) if left.until_ns > self.now.clock_ns => return,
            Some(left) => (left.pause_ms * 2).min(REFUSED_MS_MAX),
            None => REFUSED_MS,
        };
        let (path, rollout) = (path.to_owned(), rollout.to_owned());
        let until_ns = self.now.plus_ms(pause_ms);
        self.refused.insert(app.to_owned(), LeftAlone { path, rollout, until_ns, pause_ms });
    }

    /// The rollout that brings this path; empty if none does.
    pub(super) fn rollout_to(&self, app: &str, path: &str) -> String {
        let track = self.group.as_ref().and_then(|(group, _)| group.apps.get(app));
        let wanted = track.and_then(Track::wanted).filter(|(wanted, _)| *wanted == path);
        wanted.map(|(_, rollout)| rollout.to_owned()).unwrap_or_default()
    }

    /// Whether this host keeps off the path for now: it could not take it a moment ago, or others
    /// have not tried yet, who shall not wait for this one.
    pub(super) fn is_left_alone(&self, app: &str, path: &str) -> bool {
        let rollout = self.rollout_to(app, path);
        let left = self.refused.get(app);
        let Some(left) = left.filter(|left| left.path == path && left.rollout == rollout) else {
            return false;
        };
        let is_to_go = |status: &Status| {
            status.host != self.facts.host
                && status.apps.get(app).is_some_and(|other| {
                    let goes = [AppWord::Prepares, AppWord::Waits, AppWord::Swaps];
                    other.path.as_deref() != Some(path) && goes.contains(&other.word)
                })
        };
        left.until_ns > self.now.clock_ns || self.members.iter().any(is_to_go)
    }
}
