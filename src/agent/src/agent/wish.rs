//! What the host itself wants of its agent, as its user-data says.

use super::{Agent, App, Asked, Error, Kind, Reader, SYSTEM, system};

impl Agent {
    /// Begins a swap of an app, or of the system, to `path`. `force`: also if that failed before.
    ///
    /// # Errors
    /// Nothing was begun.
    pub(crate) async fn wish(&self, app: &str, path: &str, force: bool) -> Result<Reader, Error> {
        let path = path.to_owned();
        if app == SYSTEM {
            let (is_rollback, dry_run, reboot) = (false, false, system::Reboot::Auto);
            return self
                .begin_system(system::Asked { path, is_rollback, dry_run, force, reboot })
                .await;
        }
        let kind = Kind::Swap(path);
        self.begin(app, Asked { kind, test_within_ms: None, dry_run: false, force }).await
    }

    /// Whether this host's system is not what its image brought, or is about to be another one.
    pub(crate) fn has_swapped_system(&self) -> bool {
        self.system.look(|machine| {
            let record = machine.record();
            record.swap.is_some() || !record.history.is_empty()
        })
    }

    /// Whether the system's swap of this id went well.
    pub(crate) fn has_committed_system(&self, id: &str) -> bool {
        self.system.look(|machine| {
            let past = machine.record().history.iter().rev().find(|past| past.id == id);
            let outcome = past.and_then(|past| past.outcome.as_ref());
            outcome.is_some_and(|outcome| outcome.kind == rollout::OutcomeKind::Committed)
        })
    }

    /// Whether this path failed on this host, so that it is not tried again without force.
    pub(crate) fn has_failed(&self, app: &str, path: &str) -> bool {
        let failed = |app: &App| {
            app.look(|machine| machine.record().book.failed.iter().any(|one| one.path == path))
        };
        self.known(app).is_ok_and(|app| failed(&app))
    }
}
