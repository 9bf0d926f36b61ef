//! Apps in the words of `control`, and in those of the machine.

use crate::shell::Shell;
use crate::views;
use control::types::{
    App, AppHealth, AppPolicy, AppRun, AppSwap, HealthKind, RetireWhen, Strategy, SwapPhase, Task,
};
use service::app::{self, Probe, ProbeAddress};
use service::{State, view};
use std::collections::BTreeMap;
use std::path::Path;
use tokio::sync::watch;

/// Links behind each other in a profile: Nix makes two, `web` and `web-3-link`.
const LINKS_MAX: usize = 8;

/// What the profiles point to, of the apps that are named: what a boot starts. An app without a
/// profile is not in it.
pub fn closures<'a>(
    profiles: &Path,
    names: impl Iterator<Item = &'a String>,
) -> BTreeMap<String, String> {
    let found = names.filter_map(|name| match closure(profiles, name) {
        Ok(closure) => closure.map(|closure| (name.clone(), closure)),
        Err(error) => {
            let profile = profiles.join(name);
            tracing::error!("{name}: its profile {} is not used: {error}", profile.display());
            None
        }
    });
    found.collect()
}

/// Where the links of one profile lead out of its directory.
fn closure(profiles: &Path, name: &str) -> std::io::Result<Option<String>> {
    let mut link = profiles.join(name);
    for hop in 0..LINKS_MAX {
        let target = match std::fs::read_link(&link) {
            Err(error) if hop == 0 && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            read => profiles.join(read?),
        };
        if target.parent() != Some(profiles) {
            let text = target.to_str().ok_or_else(|| std::io::Error::other("not UTF-8"))?;
            return Ok(Some(text.to_owned()));
        }
        link = target;
    }
    Err(std::io::Error::other(format!("more than {LINKS_MAX} links behind each other")))
}

/// A task, from who asks for one.
#[must_use]
pub fn task(task: Task) -> app::Task {
    match task {
        Task::Migrate => app::Task::Migrate,
        Task::AfterSwitch => app::Task::AfterSwitch,
        Task::OnRollback => app::Task::OnRollback,
    }
}

fn run(run: view::AppRun) -> AppRun {
    let view::AppRun { side, closure, port, view } = run;
    let ready = view.state == State::Running;
    let reason = match view.state {
        State::Running | State::Starting | State::Stopping => view.problems.into_iter().next(),
        _ => view.problems.into_iter().next().or(view.last_end.map(|last| last.text)),
    };
    AppRun {
        side: if side == app::Side::Zero { 0 } else { 1 },
        closure,
        port,
        state: views::state(view.state),
        incarnation: view.incarnation,
        pid: view.pid,
        ready,
        restarts: u64::from(view.restarts),
        since_ns: view.since_ns,
        reason,
    }
}

fn swap(swap: view::SwapView) -> AppSwap {
    let phase = match swap.phase {
        view::SwapPhase::Preparing => SwapPhase::Preparing,
        view::SwapPhase::Prepared => SwapPhase::Prepared,
        view::SwapPhase::Admitted => SwapPhase::Admitted,
        view::SwapPhase::Retiring => SwapPhase::Retiring,
        view::SwapPhase::Abandoning => SwapPhase::Abandoning,
    };
    AppSwap { id: swap.id, phase, closure: swap.closure }
}

fn health(health: &app::Health) -> AppHealth {
    let text = |at: &ProbeAddress| Some(at.to_string());
    let (kind, address, path) = match &health.probe {
        Probe::Http { at, path } => (HealthKind::Http, text(at), Some(path.clone())),
        Probe::Tcp { at } => (HealthKind::Tcp, text(at), None),
        Probe::Notify => (HealthKind::Notify, None, None),
        Probe::Up => (HealthKind::Up, None, None),
    };
    AppHealth {
        kind,
        address,
        path,
        every_ms: health.every_ms,
        passes: health.passes,
        timeout_ms: health.timeout_ms,
        deadline_ms: health.deadline_ms,
    }
}

fn policy(app: &app::App) -> AppPolicy {
    AppPolicy {
        strategy: match app.swap.strategy {
            app::Strategy::Overlap => Strategy::Overlap,
            app::Strategy::Restart => Strategy::Restart,
            app::Strategy::Ports => Strategy::Ports,
        },
        health: health(&app.health),
        drain_ms: app.swap.drain_ms,
        bake_ms: app.swap.bake_ms,
        watch_ms: app.swap.watch_ms,
        ports: app.ports.map(Vec::from).unwrap_or_default(),
        retire: match app.swap.retire {
            app::Retire::AfterBake => RetireWhen::AfterBake,
            app::Retire::AtSwitch => RetireWhen::AtSwitch,
        },
        migrate: app.migrate.clone(),
        migrate_lease_ms: app.swap.migrate_lease_ms,
        after_switch: app.after_switch.clone(),
        on_rollback: app.on_rollback.clone(),
    }
}

impl Shell {
    /// All apps by name.
    #[must_use]
    pub fn apps(&self) -> Vec<App> {
        let views = self.machine.apps().into_iter();
        let apps = views.filter_map(|view| {
            let policy = policy(self.machine.app(&view.name)?);
            Some(App {
                serving: run(view.serving),
                candidate: view.candidate.map(run),
                swap: view.swap.map(swap),
                policy,
                name: view.name,
            })
        });
        apps.collect()
    }

    /// One app, now and at each change.
    pub fn watch_app(&mut self, name: &str) -> Option<watch::Receiver<App>> {
        let app = self.apps().into_iter().find(|app| app.name == name)?;
        let sender = self.watched_apps.entry(name.to_owned());
        Some(sender.or_insert_with(|| watch::channel(app).0).subscribe())
    }

    /// Tells those who watch apps what has changed.
    pub(crate) fn publish_apps(&mut self) {
        self.watched_apps.retain(|_, sender| sender.receiver_count() > 0);
        if self.watched_apps.is_empty() {
            return;
        }
        for app in self.apps() {
            if let Some(sender) = self.watched_apps.get(&app.name) {
                sender.send_if_modified(|known| {
                    let changed = *known != app;
                    *known = app;
                    changed
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Nix's two links, one of ours alone, none, and a circle: the closure is what lies outside of
    /// the directory, and only an app that has a profile is told.
    #[test]
    fn profiles_lead_to_closures() {
        let directory = tempfile::tempdir().expect("directory");
        let profiles = directory.path();
        symlink("web-3-link", profiles.join("web")).expect("link");
        symlink("/nix/store/aaa-web", profiles.join("web-3-link")).expect("link");
        symlink("/nix/store/bbb-api", profiles.join("api")).expect("link");
        symlink("circle", profiles.join("circle")).expect("link");
        std::fs::write(profiles.join("file"), "x").expect("file");
        let names = ["web", "api", "none", "circle", "file"].map(str::to_owned);
        let found = closures(profiles, names.iter());
        let expected = [("api", "/nix/store/bbb-api"), ("web", "/nix/store/aaa-web")];
        let expected = expected.map(|(name, path)| (name.to_owned(), path.to_owned()));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
    }
}
