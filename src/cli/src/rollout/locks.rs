//! `rollinit locks`: slots and migration locks, who has them, and taking them away by hand.

use super::change::change;
use super::place::Fleet;
use super::table::name;
use super::view;
use crate::exit::{Code, Failure};
use crate::screen::{Screen, Tone, printable, wrap};
use crate::times::{duration, now_ms};
use rollout::Ledger;
use rollout::fleet::{Group, Hold, Holder, Migrations, Outcome, Refusal, keys};
use serde::Serialize;

/// All locks of a group. The form with `--json`.
#[derive(Debug, Serialize)]
struct LocksJson<'a> {
    group: &'a str,
    ledger: &'a str,
    slots: &'a [Holder],
    allowed: usize,
    /// Hosts that hold a slot and have said nothing for so long that they count as gone.
    silent: Vec<&'a str>,
    migrations: &'a [Migrating],
}

/// The migration lock of an app.
#[derive(Debug, Serialize)]
struct Migrating {
    app: String,
    /// Times that it was taken.
    fence: u64,
    holder: Option<Hold>,
    /// What came of the migration before.
    last: Option<Outcome>,
}

/// What was taken away. The form with `--json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Released {
    Slot(Holder),
    Migration { app: String, hold: Hold },
}

/// Shows who is out and who migrates.
pub async fn show(fleet: &Fleet, screen: &mut Screen) -> Result<Code, Failure> {
    let read = view::read(&fleet.desk.engine, &fleet.group).await?;
    let record = read.group.clone().unwrap_or_else(Group::new);
    let migrations = migrations(fleet).await?;
    let now_ms = now_ms();
    let living = read.hosts.iter().filter(|host| !host.is_silent(now_ms)).count();
    let allowed = record.max_unavailable.of(living);
    let is_silent = |holder: &&Holder| {
        let said = read.hosts.iter().find(|host| host.host == holder.host);
        said.is_some_and(|host| host.is_silent(now_ms))
    };
    let silent: Vec<&str> =
        record.holders.iter().filter(is_silent).map(|holder| holder.host.as_str()).collect();
    if screen.json {
        screen.json(&LocksJson {
            group: &fleet.group,
            ledger: &fleet.desk.ledger,
            slots: &record.holders,
            allowed,
            silent,
            migrations: &migrations,
        })?;
        return Ok(Code::Done);
    }
    let line = format!("{}: {} of {allowed} slots taken", fleet.group, record.holders.len());
    screen.text(&format!("{}\n", printable(&line)))?;
    if !record.holders.is_empty() {
        let heading = screen.tint(Tone::Strong, &slot_row(["HOST", "SLOT", "SINCE", "FOR"]));
        screen.text(&format!("{heading}\n"))?;
    }
    for holder in &record.holders {
        let (fence, since) = (holder.fence.to_string(), since(holder.since_ms, now_ms));
        let is_silent = silent.contains(&holder.host.as_str());
        let (host, why) = (printable(&holder.host), printable(&why(holder, is_silent)));
        let row = slot_row([&host, &fence, &since, &why]);
        let text = if row.len() <= screen.width {
            row
        } else {
            let row = slot_row([&host, &fence, &since, ""]);
            format!("{}\n      {}", row.trim_end(), wrap(&why, screen.width.saturating_sub(6), 6))
        };
        screen.text(&format!("{text}\n"))?;
    }
    if !migrations.is_empty() {
        screen.text("\nmigrations\n")?;
    }
    for migrating in &migrations {
        let text = printable(&migration_line(migrating, now_ms));
        screen.text(&format!("  {}\n", wrap(&text, screen.width.saturating_sub(2), 4)))?;
    }
    Ok(Code::Done)
}

fn slot_row(cells: [&str; 4]) -> String {
    let [host, slot, since, what] = cells;
    format!("  {host:<20} {slot:>5} {since:>7} {what}")
}

/// `web -> storefront-1.9.3, rollout 7H2KQ9`
fn why(holder: &Holder, is_silent: bool) -> String {
    let rollout = match holder.rollout.as_str() {
        "" => "to catch up with what is blessed".to_owned(),
        id => format!("rollout {id}"),
    };
    let leaves = if holder.leaves { "; the host is being stopped" } else { "" };
    let silent = if is_silent { "; SILENT, is it gone?" } else { "" };
    format!("{} -> {}, {rollout}{leaves}{silent}", holder.app, name(&holder.path))
}

/// `web: i-0abd migrates to storefront-1.9.3 for 12s (fence 17, lease 30s)`
fn migration_line(migrating: &Migrating, now_ms: u64) -> String {
    let Migrating { app, fence, holder, last } = migrating;
    if let Some(hold) = holder {
        let lease = duration(hold.lease_ms.saturating_mul(1_000_000));
        let since = since(hold.since_ms, now_ms);
        if hold.is_revoked() {
            return format!("{app}: {} {since} ago; free in a lease of {lease}", hold.swap);
        }
        let to = name(&hold.path);
        let host = &hold.host;
        return format!(
            "{app}: {host} migrates to {to} for {since} (fence {fence}, lease {lease})"
        );
    }
    match last {
        None => format!("{app}: free (fence {fence})"),
        Some(outcome) => {
            let (to, ago) = (name(&outcome.path), since(outcome.ended_ms, now_ms));
            let how = match &outcome.failed {
                None => "done".to_owned(),
                Some(reason) => format!("FAILED: {reason}; it needs --force"),
            };
            format!("{app}: free; {to} on {} {ago} ago: {how} (fence {fence})", outcome.host)
        }
    }
}

fn since(from_ms: u64, now_ms: u64) -> String {
    duration(now_ms.saturating_sub(from_ms).saturating_mul(1_000_000))
}

async fn migrations(fleet: &Fleet) -> Result<Vec<Migrating>, Failure> {
    let folder = keys::all_migrations(&fleet.group)?;
    let mut all = Vec::new();
    for (key, entry) in fleet.desk.engine.list(&folder).await? {
        let record = Migrations::read(&entry.value)?;
        let app = key.rsplit('/').next().unwrap_or(&key).to_owned();
        let last = record.outcomes.last().cloned();
        all.push(Migrating { app, fence: record.fence, holder: record.holder, last });
    }
    all.sort_by(|one, other| one.app.cmp(&other.app));
    Ok(all)
}

/// Takes slots of hosts, or migration locks of apps, away. The first that fails decides; it does
/// not keep the next from being done.
pub async fn release(
    fleet: &Fleet,
    names: &[String],
    is_fault: bool,
    why: &str,
    screen: &mut Screen,
) -> Result<Code, Failure> {
    let mut first = None;
    for name in names {
        match release_one(fleet, name, is_fault, why, screen).await {
            Ok(released) => tell(&released, is_fault, screen)?,
            Err(failure) if names.len() == 1 => return Err(failure),
            Err(failure) => {
                let code = failure.report(screen);
                first.get_or_insert(code);
            }
        }
    }
    Ok(first.unwrap_or(Code::Done))
}

async fn release_one(
    fleet: &Fleet,
    name: &str,
    is_fault: bool,
    why: &str,
    screen: &mut Screen,
) -> Result<Released, Failure> {
    screen.flush()?;
    let read = view::read(&fleet.desk.engine, &fleet.group).await?;
    let record = read.group.unwrap_or_else(Group::new);
    let slot = record.holder(name).cloned();
    let migrating = migrations(fleet).await?;
    let is_held = migrating.iter().any(|lock| lock.app == name && lock.holder.is_some());
    match (slot, is_held) {
        (Some(slot), false) => release_slot(fleet, slot, is_fault, why).await,
        (None, true) => revoke(fleet, name).await,
        (None, false) => Err(Failure {
            cures: vec!["`rollinit locks` shows what is held.".to_owned()],
            ..Failure::from(Refusal::NoHolder(name.to_owned()))
        }),
        // A host that is called as an app is: whose name is in the way can be renamed.
        (Some(_), true) => Err(Failure {
            code: Code::SwapRefused,
            kind: "refused",
            message: format!("{name} is a host that is out, and an app that migrates"),
            cures: vec!["Rename the host, or wait for one of them.".to_owned()],
        }),
    }
}

async fn release_slot(
    fleet: &Fleet,
    slot: Holder,
    is_fault: bool,
    why: &str,
) -> Result<Released, Failure> {
    let key = keys::record(&fleet.group)?;
    let why = format!("released by {}: {why}", fleet.desk.by);
    let mut is_seen = false;
    change(&fleet.desk.engine, &key, &fleet.desk.by, |group: &mut Group| {
        match group.release(&slot, is_fault, &why, now_ms()) {
            // By this call, whose answer was lost.
            Err(Refusal::NoHolder(_)) if is_seen => Ok(()),
            other => {
                is_seen = true;
                other
            }
        }
    })
    .await?;
    Ok(Released::Slot(slot))
}

async fn revoke(fleet: &Fleet, app: &str) -> Result<Released, Failure> {
    let key = keys::migrations(&fleet.group, app)?;
    let by = &fleet.desk.by;
    let (_, hold) = change(&fleet.desk.engine, &key, by, |record: &mut Migrations| {
        record.revoke(app, by, now_ms())
    })
    .await?;
    Ok(Released::Migration { app: app.to_owned(), hold })
}

fn tell(released: &Released, is_fault: bool, screen: &mut Screen) -> Result<(), Failure> {
    if screen.json {
        screen.json(released)?;
        return Ok(());
    }
    let text = match released {
        Released::Slot(slot) => {
            let (host, to) = (&slot.host, name(&slot.path));
            let meaning = if slot.rollout.is_empty() || !is_fault || slot.leaves {
                "no release is to blame for it".to_owned()
            } else {
                format!("it counts as a failure of {to}, which is stopped for all")
            };
            format!(
                "{host}: slot {} is free; {meaning}. If the host lives after all, it turns its \
                 swap to {to} back, unless that was as good as over.",
                slot.fence
            )
        }
        Released::Migration { app, hold } => {
            let lease = duration(hold.lease_ms.saturating_mul(1_000_000));
            format!(
                "{app}: {} has the migration lock no more; its bin/migrate ends, and the next one \
                 begins when {lease} are over.",
                hold.host
            )
        }
    };
    screen.text(&format!("{}\n", wrap(&printable(&text), screen.width, 2)))?;
    Ok(())
}
