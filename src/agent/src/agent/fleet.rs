//! What the host's fleet wants of its apps.

use super::{Admission, Agent, App, Asked, Error, Kind, Rc};
use crate::fleet::{Local, Over, local, why_not};
use rollout::fleet::Stop;

impl Agent {
    /// How each app stands. `slot` names the app and the swap that this host's slot goes with,
    /// `over` what came of requests that never became swaps.
    pub(crate) fn locals(
        &self,
        slot: Option<(&str, &str)>,
        over: impl Fn(&str) -> Option<Over>,
    ) -> Vec<Local> {
        let tell = |app: &Rc<App>| {
            let slot = slot.filter(|(name, _)| *name == app.name).map(|(_, id)| id);
            app.look(|machine| local(machine, slot, over(&app.name).as_ref()))
        };
        self.all().iter().map(tell).collect()
    }

    /// Begins a swap of the fleet's under its id, or goes on with it; what came of that, if it is
    /// over already and no journal will tell.
    pub(crate) async fn roll(&self, app: &str, path: &str, id: &str, force: bool) -> Option<Over> {
        let over = |stop: Stop| Some(Over { id: id.to_owned(), stop });
        let kind = Kind::Swap(path.to_owned());
        let asked = Asked { kind, test_within_ms: None, dry_run: false, force };
        match self.ask(app, asked, id.to_owned()).await {
            Ok((_, _, Admission::Began(began) | Admission::Waits(began))) if began == id => None,
            // Somebody swaps to the same path by hand: what comes of that is seen on the app.
            Ok((_, _, Admission::Joins(joined))) if joined == id => None,
            Ok((_, _, Admission::Over(outcome))) => match outcome.kind {
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

    /// Turns the swap of this id back, if it can still be had without harm.
    pub(crate) async fn turn_back(&self, app: &str, id: &str, why: &str) {
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
