//! `rollinit rollout start` and `promote`.

use super::arguments::How;
use super::change::change;
use super::paths::{fresh_id, resolve};
use super::place::{Desk, Fleet};
use super::table::name;
use super::view::{self, Read};
use super::watch;
use crate::exit::{Code, Failure};
use crate::screen::{Screen, printable};
use crate::times::now_ms;
use rollout::Ledger;
use rollout::fleet::{Group, Rollout, SYSTEM, Track, Version, keys};
use serde::Serialize;
use std::collections::BTreeSet;

/// What began, or goes on already. The form with `--json`.
#[derive(Debug, Serialize)]
struct Begun<'a> {
    group: &'a str,
    app: &'a str,
    rollout: &'a str,
    path: &'a str,
    /// It was begun before, by this or by another call.
    joined: bool,
}

/// Begins a rollout, and with `--wait` watches it.
pub async fn run(
    fleet: &Fleet,
    app: &str,
    path: &str,
    how: &How,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let read = view::read(&fleet.desk.engine, &fleet.group).await?;
    check_place(fleet, &read, app, how).await?;
    let to = Version { path: resolve(&read, app, path)?, serial: 0 };
    let id = begin(fleet, app, to, how, screen).await?;
    if how.wait { watch::wait(fleet, app, &id, screen).await } else { Ok(Code::Done) }
}

/// Begins in one group what is blessed in another.
pub async fn promote(
    desk: Desk,
    from: &str,
    to: &str,
    app: Option<&str>,
    how: &How,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let source = view::read(&desk.engine, from).await?;
    let target = view::read(&desk.engine, to).await?;
    let record = source.group.clone().unwrap_or_else(Group::new);
    let fleet = Fleet { desk, group: to.to_owned() };
    let apps: Vec<String> = match app {
        Some(app) => vec![app.to_owned()],
        None => shared_apps(&record, &target),
    };
    if apps.is_empty() {
        return Err(Failure {
            code: Code::NoSuchService,
            kind: "not_there",
            message: format!("{from} has nothing blessed that {to} has too"),
            cures: vec![format!("`rollinit rollout status --group {from}` shows what it has.")],
        });
    }
    let mut begun = Vec::new();
    for app in &apps {
        check_place(&fleet, &target, app, how).await?;
        let version = record.promotion(app)?;
        begun.push((app, begin(&fleet, app, version, how, screen).await?));
    }
    let mut code = Code::Done;
    for (app, id) in begun.into_iter().filter(|_| how.wait) {
        let ended = watch::wait(&fleet, app, &id, screen).await?;
        if code == Code::Done {
            code = ended;
        }
    }
    Ok(code)
}

/// What is blessed in the one group, and what the other one has, too. Not the hosts' own system:
/// it says what group it is of, and reboots hosts; who means it names it.
fn shared_apps(record: &Group, target: &Read) -> Vec<String> {
    let there = known_apps(target);
    let is_app = |(app, track): &(&String, &Track)| *app != SYSTEM && track.blessed.is_some();
    let blessed = record.apps.iter().filter(is_app);
    blessed.map(|(app, _)| app.clone()).filter(|app| there.contains(app)).collect()
}

fn known_apps(read: &Read) -> BTreeSet<String> {
    let of_hosts = read.hosts.iter().flat_map(|host| host.apps.keys().cloned());
    let of_record = read.group.iter().flat_map(|group| group.apps.keys().cloned());
    of_hosts.chain(of_record).collect()
}

/// A slip of the fingers shall not make a group or an app that nobody has.
async fn check_place(fleet: &Fleet, read: &Read, app: &str, how: &How) -> Result<(), Failure> {
    let group = &fleet.group;
    let missing =
        |kind, message, cures| Err(Failure { code: Code::NoSuchService, kind, message, cures });
    if how.new_group {
        return Ok(());
    }
    if read.group.is_none() && read.hosts.is_empty() {
        let message = format!("{} has nothing of a group called {group}", fleet.desk.ledger);
        let mut cures = vec!["If it is a new one, say --new-group.".to_owned()];
        if let Some(groups) = groups(&fleet.desk).await {
            cures.insert(0, format!("It has {groups}."));
        }
        return missing("no_such_group", message, cures);
    }
    let apps = known_apps(read);
    if !apps.contains(app) {
        let apps: Vec<String> = apps.into_iter().collect();
        let message = format!("no host of {group} has an app called {app}");
        let cures = match apps.as_slice() {
            [] => vec!["No host has said which apps it has; or say --new-group.".to_owned()],
            apps => vec![format!("The group has {}; or say --new-group.", apps.join(", "))],
        };
        return missing("no_such_app", message, cures);
    }
    Ok(())
}

/// The names of the groups that there are, if that can be found out.
async fn groups(desk: &Desk) -> Option<String> {
    let entries = desk.engine.list("groups/").await.ok()?;
    let names: BTreeSet<&str> =
        entries.iter().filter_map(|(key, _)| key.split('/').nth(1)).collect();
    let names: Vec<&str> = names.into_iter().collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Writes it, says so, and returns the id under which it goes.
async fn begin(
    fleet: &Fleet,
    app: &str,
    to: Version,
    how: &How,
    screen: &mut Screen,
) -> Result<String, Failure> {
    let key = keys::record(&fleet.group)?;
    let rollout = Rollout {
        id: fresh_id()?,
        to: to.clone(),
        by: fleet.desk.by.clone(),
        began_ms: now_ms(),
        paused: None,
        forced: how.force,
    };
    let (record, ()) = change(&fleet.desk.engine, &key, &fleet.desk.by, |group: &mut Group| {
        if let Some(max_unavailable) = how.max_unavailable {
            group.set_max_unavailable(max_unavailable);
        }
        group.start(app, rollout.clone(), how.supersede)
    })
    .await?;
    // It may have ended since, or have joined one that goes to the same path.
    let track = record.apps.get(app);
    let going = track.and_then(|track| track.rollout.as_ref()).map(|rollout| rollout.id.clone());
    let id = going.unwrap_or_else(|| rollout.id.clone());
    let begun =
        Begun { group: &fleet.group, app, rollout: &id, path: &to.path, joined: id != rollout.id };
    tell(&begun, how, screen)?;
    Ok(id)
}

fn tell(begun: &Begun<'_>, how: &How, screen: &mut Screen) -> Result<(), Failure> {
    if screen.json {
        screen.json(begun)?;
    } else {
        let verb = if begun.joined { "goes on already" } else { "begins" };
        let line = format!(
            "{}: rollout {} to {} {verb} in {}",
            begun.app,
            begun.rollout,
            name(begun.path),
            begun.group,
        );
        screen.text(&format!("{}\n", printable(&line)))?;
        if !how.wait {
            screen.text("  watch it: rollinit rollout status --watch\n")?;
        }
    }
    screen.flush()?;
    Ok(())
}
