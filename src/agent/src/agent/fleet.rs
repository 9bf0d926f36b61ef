//! What the host's fleet wants of its apps.

use super::{Admission, Agent, App, Asked, Error, Kind, Rc, SYSTEM, system};
use crate::fleet::{Local, Over, local, local_system, why_not};
use rollout::fleet::Stop;

impl Agent {
    /// How each app stands, and the system. `slot` names the app and the swap that this host's slot
    /// goes with, `over` what came of requests that never became swaps, `settling` what keeps the
    /// host out after a swap of the system.
    pub(crate) fn locals(
        &self,
        slot: Option<(&str, &str)>,
        over: impl Fn(&str) -> Option<Over>,
        settling: Option<&str>,
    ) -> Vec<Local> {
        let slot_of = |app: &str| slot.filter(|(name, _)| *name == app).map(|(_, id)| id);
        let tell = |app: &Rc<App>| {
            let (slot, over) = (slot_of(&app.name), over(&app.name));
            app.look(|machine| local(machine, slot, over.as_ref()))
        };
        let mut locals: Vec<Local> = self.all().iter().map(tell).collect();
        if self.system.is_host() {
            let (slot, over) = (slot_of(SYSTEM), over(SYSTEM));
            let leaving = self.system.waits_for();
            let waits_for = leaving.as_deref().or(settling);
            locals.push(
                self.system.look(|machine| local_system(machine, slot, over.as_ref(), waits_for)),
            );
        }
        locals
    }

    /// Begins a swap of the fleet's under its id, or goes on with it; what came of that, if it is
    /// over already and no journal will tell.
    pub(crate) async fn roll(&self, app: &str, path: &str, id: &str, force: bool) -> Option<Over> {
        let over = |stop: Stop| Some(Over { id: id.to_owned(), stop });
        match self.asked_by_fleet(app, path, id, force).await {
            Ok(Admission::Began(began) | Admission::Waits(began)) if began == id => None,
            // Somebody swaps to the same path by hand: what comes of that is seen on the app.
            Ok(Admission::Joins(joined)) if joined == id => None,
            Ok(Admission::Over(outcome)) => match outcome.kind {
                rollout::OutcomeKind::NothingToDo => over(Stop::Committed),
                _ => {
                    let reason = why_not(&outcome);
                    tracing::warn!("{app}: swap {id} of the fleet was refused: {reason}");
                    over(Stop::Refused(reason))
                }
            },
            Ok(_) => over(Stop::Refused("another swap goes on, begun by hand".to_owned())),
            Err(error) => {
                tracing::warn!("{app}: swap {id} of the fleet was not begun: {error}");
                over(Stop::Refused(error.to_string()))
            }
        }
    }

    async fn asked_by_fleet(
        &self,
        app: &str,
        path: &str,
        id: &str,
        force: bool,
    ) -> Result<Admission, Error> {
        let (id, path) = (id.to_owned(), path.to_owned());
        if app == SYSTEM {
            let (is_rollback, dry_run, reboot) = (false, false, system::Reboot::Auto);
            let asked = system::Asked { path, is_rollback, dry_run, force, reboot };
            return self.system.ask(id, asked).await.map(|(_, admission)| admission);
        }
        let asked = Asked { kind: Kind::Swap(path), test_within_ms: None, dry_run: false, force };
        self.ask(app, asked, id).await.map(|(_, _, admission)| admission)
    }

    /// Whether this host can become the system at `path`, which is here.
    ///
    /// # Errors
    /// It cannot, and why.
    pub(crate) async fn can_become(&self, path: &str) -> Result<(), String> {
        self.system.can_become(path).await.map_err(|failure| failure.reason)
    }

    /// Turns the swap of this id back, if it can still be had without harm.
    pub(crate) async fn turn_back(&self, app: &str, id: &str, why: &str) {
        if app == SYSTEM {
            let is_it = |swap: &rollout::system::Swap| swap.id == id;
            if self.system.look(|machine| machine.record().swap.as_ref().is_some_and(is_it)) {
                let answer = self.system.cancel(why.to_owned()).await;
                tracing::info!("{SYSTEM}: swap {id} is called back ({why}): {answer:?}");
            }
            return;
        }
        let Ok(app) = self.known(app) else { return };
        let is_it = app.look(|machine| machine.current().is_some_and(|swap| swap.id == id));
        if is_it {
            let answer = app.cancel(why.to_owned()).await;
            tracing::info!("{}: swap {id} is called back ({why}): {answer:?}", app.name);
        }
    }

    /// Why a swap by hand makes no sense on this host, or what will come of it.
    ///
    /// # Errors
    /// The group rolls the app, and it is not insisted on.
    pub(super) fn check_by_hand(&self, app: &str, path: &str, force: bool) -> Result<(), Error> {
        let Some(fleet) = self.tools.fleet() else { return Ok(()) };
        let Some(why) = fleet.rolls(app) else { return Ok(()) };
        if force {
            let group = fleet.group();
            let text =
                format!("{app}: swapped by hand; group {group} will bring back what it runs");
            self.tools.console.announce(sys::kmsg::Priority::Warning, &text);
            return Ok(());
        }
        let reason = format!(
            "{app}: {why}; `rollinit rollout start {app} {path}` rolls it over the group, --force \
             swaps this host alone until the group brings it back"
        );
        Err(Error::Refused { name: app.to_owned(), reason })
    }

    /// As [`Self::check_by_hand`], for a rollback: one that ends the swap under way may.
    pub(super) fn check_rollback_by_hand(&self, name: &str) -> Result<(), Error> {
        let Some(fleet) = self.tools.fleet() else { return Ok(()) };
        let Some(why) = fleet.rolls(name) else { return Ok(()) };
        let undoes = self.known(name).is_ok_and(|app| {
            let current = app.look(rollout::Machine::current);
            current.is_some_and(|swap| swap.outcome.is_none())
        });
        if undoes {
            return Ok(());
        }
        let reason = format!(
            "{name}: {why}; `rollinit rollout start {name} PATH` rolls the group to an earlier \
             release, `rollinit swap {name} PATH --force` swaps this host alone until the group \
             brings it back (`rollinit generations {name}` lists paths)"
        );
        Err(Error::Refused { name: name.to_owned(), reason })
    }
}
