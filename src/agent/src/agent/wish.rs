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

    /// Whether this path failed on this host, so that it is not tried again without force.
    pub(crate) fn has_failed(&self, app: &str, path: &str) -> bool {
        let failed = |app: &App| {
            app.look(|machine| machine.record().book.failed.iter().any(|one| one.path == path))
        };
        self.known(app).is_ok_and(|app| failed(&app))
    }
}
