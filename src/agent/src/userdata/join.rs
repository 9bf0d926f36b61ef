//! The fleet that user-data names: what `[fleet]` of agent.toml leaves open.

use super::{Host, SUBJECT, Trouble, files};
use crate::config::fleet::Fleet as Settings;
use crate::fleet::{self, Fleet};
use rollout::fleet::{SYSTEM, keys};
use std::path::Path;
use std::rc::Rc;
use userdata::UserData;

/// What agent.toml says about the fleet, completed by the document.
fn complete(settings: &Settings, document: &UserData) -> Settings {
    Settings {
        is_due: settings.is_due,
        ledger: settings.ledger.clone().or_else(|| document.ledger.clone()),
        group: settings.group.clone().or_else(|| document.group.clone()),
        host: settings.host.clone(),
    }
}

/// The same, completed by the document that an earlier agent of this boot read: an agent that is
/// started in the middle of a rollout is a member before any swap goes on.
#[must_use]
pub fn kept(settings: &Settings, run: &Path) -> Settings {
    let bytes = files::kept(run).ok().flatten();
    let document = bytes.and_then(|bytes| userdata::read(SUBJECT, &bytes).ok());
    document.map_or_else(|| settings.clone(), |document| complete(settings, &document))
}

/// Joins the fleet that the document names, unless this host is in one.
///
/// # Errors
/// What it names is no ledger or no group.
pub fn join(host: &Host, document: &UserData) -> Result<(), Trouble> {
    let tools = &host.tools;
    let settings = complete(&host.fleet, document);
    let (Some(ledger), Some(group)) = (&settings.ledger, &settings.group) else { return Ok(()) };
    if tools.fleet().is_some() {
        return Ok(());
    }
    let cure = "correct ledger and group in the user-data";
    keys::record(group).map_err(|error| Trouble::error(error.to_string(), cure))?;
    let parsed = ledger.parse::<ledger::Address>();
    parsed.map_err(|error| Trouble::error(error.to_string(), cure))?;
    let metrics = tools.events.metrics().clone();
    let Some(fleet) = Fleet::new(&settings, tools.ec2.clone(), metrics) else { return Ok(()) };
    let fleet = tools.fleet.get_or_init(|| Rc::new(fleet));
    let (agent, run) = (Rc::clone(&host.agent), host.run.clone());
    tokio::task::spawn_local(fleet::run(Rc::clone(fleet), agent, Rc::clone(tools), run));
    Ok(())
}

/// Whether the group installs the app: what is blessed there counts, and not what user-data names.
///
/// # Errors
/// The ledger does not tell.
pub async fn installs(host: &Host, app: &str) -> Result<bool, Trouble> {
    let Some(fleet) = host.tools.fleet() else { return Ok(false) };
    let record = fleet.record().await.map_err(|error| {
        Trouble::error(format!("{app}: {error}"), "its group may have a release for it")
    })?;
    let track = record.as_ref().and_then(|(group, _)| group.apps.get(app));
    Ok(track.is_some_and(|track| track.blessed.is_some()))
}

/// Whether the group decides what this host's own system is, and not user-data: what is blessed
/// there counts on each host, and whatever it rolls on one that was swapped before.
///
/// # Errors
/// The ledger does not tell.
pub async fn rolls_system(host: &Host) -> Result<bool, Trouble> {
    let Some(fleet) = host.tools.fleet() else { return Ok(false) };
    let record = fleet.record().await.map_err(|error| {
        Trouble::error(format!("{SYSTEM}: {error}"), "its group may have another system for it")
    })?;
    let track = record.as_ref().and_then(|(group, _)| group.apps.get(SYSTEM));
    Ok(track.is_some_and(|track| track.blessed.is_some() || host.agent.has_swapped_system()))
}
