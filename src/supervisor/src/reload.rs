//! A reload: the definitions on disk come into force, and only what changed is touched.

use crate::apps;
use crate::clock;
use crate::definitions::{Fresh, MEMO_KEY, Place};
use crate::port::PortError;
use crate::shell::Shell;
use crate::views;
use control::types;
use port::Request;
use port::request::Set;
use service::CommandError;
use service::reload::Difference;

/// Only to be told what would change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DryRun(pub bool);

/// Why nothing was reloaded.
#[derive(Debug)]
pub enum ReloadError {
    /// The machine does not take other definitions now.
    Refused(CommandError),
    /// Something could not be read or written, in a sentence.
    Failed(String),
}

/// What a reload came to.
pub type ReloadResult = Result<types::Reload, ReloadError>;

impl Shell {
    /// Puts the definitions on disk into force, or says what that would change.
    ///
    /// # Errors
    /// [`PortError`]: there is no PID 1 to carry anything out.
    pub(crate) fn reload(&mut self, dry_run: DryRun) -> Result<ReloadResult, PortError> {
        let place = Place::of(&self.host.settings, self.host.init_pid, self.host.init_started_ns);
        let fresh = match place.reload(self.machine.loaded(), self.host.index.as_deref()) {
            Ok(fresh) => fresh,
            Err(reason) => return Ok(Err(ReloadError::Failed(reason))),
        };
        let loaded = &fresh.in_force.loaded;
        let difference = Difference::between(self.machine.loaded(), loaded);
        if let Err(error) = self.machine.may_reload(loaded, &difference) {
            return Ok(Err(ReloadError::Refused(error)));
        }
        let reply = reply(dry_run, difference, &fresh);
        if dry_run.0 {
            return Ok(Ok(reply));
        }
        let index = match place.prepare(&fresh, self.host.index.as_deref()) {
            Ok(index) => index,
            Err(error) => {
                let kept = place.kept.display();
                let reason = format!("{kept}: cannot be written: {error} (is /run full?)");
                return Ok(Err(ReloadError::Failed(reason)));
            }
        };
        let in_force = fresh.in_force;
        let problems = in_force.loaded.problems.iter().map(ToString::to_string);
        for problem in problems.chain(in_force.unread.iter().cloned()) {
            tracing::error!("{problem}");
        }
        let unknown = in_force.loaded.apps.keys().filter(|name| {
            let known = self.machine.apps();
            !known.iter().any(|app| app.name == **name && app.serving.closure.is_some())
        });
        let closures = apps::closures(&self.host.settings.profiles, unknown);
        self.logs.add_apps(in_force.loaded.apps.keys());
        self.host.hashes = in_force.hashes;
        self.host.unread = in_force.unread;
        self.guard.refresh(&in_force.loaded);
        let effects = self.machine.reload(clock::now(), in_force.loaded, &closures);
        self.carry_out(effects)?;
        self.publish_credentials();
        // Behind all that it decided: until PID 1 has read this, the old ones are in force.
        let set = Set { key: MEMO_KEY, memo: index.as_bytes() };
        self.request("remember", MEMO_KEY, &Request::Set(set), Vec::new())?;
        self.host.index = Some(index);
        Ok(Ok(reply))
    }
}

fn reply(dry_run: DryRun, difference: Difference, fresh: &Fresh) -> types::Reload {
    let in_force = &fresh.in_force;
    let mut refused: Vec<String> =
        fresh.refused.iter().chain(in_force.loaded.broken.keys()).cloned().collect();
    refused.sort();
    let Difference { added, changed, removed, unchanged } = difference;
    let changed = changed.into_iter().map(|change| types::Change {
        name: change.name,
        restart: change.restart,
        keys: change.keys.into_iter().map(str::to_owned).collect(),
    });
    types::Reload {
        dry_run: dry_run.0,
        added,
        changed: changed.collect(),
        removed,
        unchanged,
        refused,
        problems: views::problems(&in_force.loaded.problems, &in_force.unread),
    }
}
