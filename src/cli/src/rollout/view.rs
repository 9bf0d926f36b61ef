//! What a group is up to, put together from its record and from what its hosts say.

use crate::exit::Failure;
use rollout::Ledger;
use rollout::fleet::{
    AppWord, Ended, Failed, Group, Holder, How, Rollout, SYSTEM, Status, Track, Version, keys,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A group. The form with `--json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct View {
    /// Its name.
    pub group: String,
    /// Address of its ledger.
    pub ledger: String,
    /// How many hosts may be out at once: `1`, `25%`.
    pub max_unavailable: String,
    /// The same of the hosts that there are.
    pub allowed: usize,
    /// Who is out.
    pub out: Vec<Holder>,
    /// Hosts that live, as far as they say.
    pub hosts: usize,
    /// Its apps.
    pub apps: Vec<AppView>,
    /// Entries of the ledger that could not be read.
    pub problems: Vec<String>,
}

/// One app of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppView {
    /// Its name.
    pub app: String,
    /// How it is.
    pub state: State,
    /// What all hosts ran last.
    pub blessed: Option<Version>,
    /// What goes over the group.
    pub rollout: Option<Rollout>,
    /// How the rollout before ended.
    pub last: Option<Ended>,
    /// Releases that failed on a host.
    pub failed: Vec<Failed>,
    /// Of the hosts that live, those that run what the group wants.
    pub done: usize,
    /// Hosts that live and have the app.
    pub total: usize,
    /// The rest of a rollout in milliseconds, if it goes on as it did so far.
    pub eta_ms: Option<u64>,
    /// Hosts for which a rollout waits that all others have taken: they could not, by faults of
    /// their own, and try again.
    pub held_up: Vec<String>,
    /// Its hosts, by name.
    pub hosts: Vec<HostView>,
}

/// How an app of a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing was ever rolled.
    Nothing,
    /// A rollout goes on.
    Rolling,
    /// A rollout is held up.
    Paused,
    /// The last one ended well.
    Blessed,
    /// The last one failed on a host.
    Failed,
    /// The last one was ended by somebody.
    Aborted,
    /// The last one gave way to another.
    Superseded,
}

impl State {
    /// The word.
    pub const fn word(self) -> &'static str {
        match self {
            State::Nothing => "nothing",
            State::Rolling => "rolling",
            State::Paused => "paused",
            State::Blessed => "blessed",
            State::Failed => "failed",
            State::Aborted => "aborted",
            State::Superseded => "superseded",
        }
    }
}

/// One app on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostView {
    /// The host.
    pub host: String,
    /// What goes on; none from a host that is out and has not said anything.
    pub word: Option<AppWord>,
    /// What serves.
    pub path: Option<String>,
    /// More about it.
    pub text: String,
    /// It has said nothing for so long that the group counts it as gone.
    pub silent: bool,
    /// When it said so, in milliseconds since 1970 by its own clock.
    pub said_ms: Option<u64>,
    /// Its slot.
    pub slot: Option<Slot>,
}

/// A slot of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Slot {
    /// Its number.
    pub fence: u64,
    /// Since when, in milliseconds since 1970 by the host's clock.
    pub since_ms: u64,
}

/// What was read of a group.
#[derive(Debug, Clone, Default)]
pub struct Read {
    /// Its record, if there is one.
    pub group: Option<Group>,
    /// What its hosts say.
    pub hosts: Vec<Status>,
    /// What could not be read.
    pub problems: Vec<String>,
}

/// Reads the record, and what the hosts say.
///
/// # Errors
/// The ledger cannot be asked, or the record is none.
pub async fn read(ledger: &impl Ledger, group: &str) -> Result<Read, Failure> {
    let record = ledger.get(&keys::record(group)?).await?;
    let record = record.map(|entry| Group::read(&entry.value)).transpose()?;
    let (mut hosts, mut problems) = (Vec::new(), Vec::new());
    for (key, entry) in ledger.list(&keys::hosts(group)?).await? {
        match serde_json::from_slice::<Status>(&entry.value) {
            Ok(status) => hosts.push(status),
            Err(error) => problems.push(format!("{key} is not what a host writes: {error}")),
        }
    }
    hosts.sort_by(|one, other| one.host.cmp(&other.host));
    Ok(Read { group: record, hosts, problems })
}

impl View {
    /// Of what was read, at this time of this machine's clock in milliseconds since 1970.
    pub fn new(group: &str, ledger: &str, read: &Read, app: Option<&str>, now_ms: u64) -> View {
        let empty = Group::new();
        let record = read.group.as_ref().unwrap_or(&empty);
        let of_hosts = read.hosts.iter().flat_map(|host| host.apps.keys());
        let names: BTreeSet<&String> = record.apps.keys().chain(of_hosts).collect();
        // All hosts have a system, and few groups roll it: it is not spoken of before.
        let is_rolled = |name: &str| name != SYSTEM || record.apps.contains_key(name);
        let is_asked =
            |name: &&&String| app.map_or_else(|| is_rolled(name), |app| app == name.as_str());
        let living = read.hosts.iter().filter(|host| !host.is_silent(now_ms)).count();
        let apps = names.iter().filter(is_asked);
        let apps = apps.map(|name| AppView::new(name, record, &read.hosts, now_ms)).collect();
        View {
            group: group.to_owned(),
            ledger: ledger.to_owned(),
            max_unavailable: record.max_unavailable.to_string(),
            allowed: record.max_unavailable.of(living),
            out: record.holders.clone(),
            hosts: living,
            apps,
            problems: read.problems.clone(),
        }
    }
}

impl HostView {
    /// A release is not blessed before it runs this release.
    fn is_member(&self) -> bool {
        !self.silent && self.word != Some(AppWord::Leaves)
    }
}

impl AppView {
    fn new(name: &str, group: &Group, members: &[Status], now_ms: u64) -> AppView {
        let track = group.apps.get(name).cloned().unwrap_or_default();
        let mut hosts = BTreeMap::new();
        for status in members {
            let Some(app) = status.apps.get(name) else { continue };
            let row = HostView {
                host: status.host.clone(),
                word: Some(app.word),
                path: app.path.clone(),
                text: app.text.clone(),
                silent: status.is_silent(now_ms),
                said_ms: Some(status.wall_ms),
                slot: None,
            };
            hosts.insert(status.host.clone(), row);
        }
        for holder in group.holders.iter().filter(|holder| holder.app == name) {
            let row = hosts.entry(holder.host.clone()).or_insert_with(|| HostView {
                host: holder.host.clone(),
                word: None,
                path: None,
                text: String::new(),
                silent: false,
                said_ms: None,
                slot: None,
            });
            row.slot = Some(Slot { fence: holder.fence, since_ms: holder.since_ms });
        }
        let hosts: Vec<HostView> = hosts.into_values().collect();
        let wanted = track.wanted().map(|(path, _)| path.to_owned());
        let runs = |host: &&HostView| wanted.is_some() && host.path == wanted;
        let living = || hosts.iter().filter(|host| host.is_member());
        let (done, total) = (living().filter(runs).count(), living().count());
        let state = state(&track);
        let left = || living().filter(|host| wanted.is_some() && host.path != wanted);
        let could_not = |host: &HostView| host.word == Some(AppWord::Refused);
        let is_held_up = state == State::Rolling && left().all(could_not);
        let held_up = left().filter(|_| is_held_up).map(|host| host.host.clone()).collect();
        let began_ms = track.rollout.as_ref().map(|rollout| rollout.began_ms);
        let began_ms = began_ms.filter(|_| state == State::Rolling);
        let began_ms = began_ms.filter(|_| !is_held_up);
        let eta_ms = began_ms.and_then(|ms| eta_ms(now_ms.saturating_sub(ms), done, total));
        let Track { blessed, rollout, last, failed, .. } = track;
        let app = name.to_owned();
        AppView { app, state, blessed, rollout, last, failed, done, total, eta_ms, held_up, hosts }
    }
}

fn state(track: &Track) -> State {
    match (&track.rollout, &track.last) {
        (Some(rollout), _) if rollout.paused.is_some() => State::Paused,
        (Some(_), _) => State::Rolling,
        (None, Some(last)) => match last.how {
            How::Blessed => State::Blessed,
            How::Failed(_) => State::Failed,
            How::Aborted(_) => State::Aborted,
            How::Superseded(_) => State::Superseded,
        },
        (None, None) if track.blessed.is_some() => State::Blessed,
        (None, None) => State::Nothing,
    }
}

/// What is left if the other hosts take as long as those so far; unknown before the first.
fn eta_ms(elapsed_ms: u64, done: usize, total: usize) -> Option<u64> {
    let (done, left) = (u64::try_from(done).ok()?, u64::try_from(total.checked_sub(done)?).ok()?);
    (left > 0).then(|| elapsed_ms.checked_div(done).map(|each_ms| each_ms.saturating_mul(left)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_what_was() {
        assert_eq!(eta_ms(60_000, 0, 3), None, "nobody knows before the first");
        assert_eq!(eta_ms(60_000, 1, 3), Some(120_000));
        assert_eq!(eta_ms(60_000, 2, 3), Some(30_000));
        assert_eq!(eta_ms(60_000, 3, 3), None, "nothing is left");
        assert_eq!(eta_ms(u64::MAX, 1, 5), Some(u64::MAX));
    }
}
