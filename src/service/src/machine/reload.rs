//! Other definitions for a machine that runs. [`crate::reload`] says what is different; here is
//! what that means for those who run.

use super::apps::{AppState, memo_key};
use super::memory::{self, Outdated, Phase, Then};
use super::{Machine, Unit};
use crate::Now;
use crate::app::{Place, Side, Task};
use crate::definition::{Definition, Loaded, Stop};
use crate::effect::{CommandError, Effect};
use crate::graph::Graph;
use crate::record::What;
use crate::reload::{Change, Difference};
use std::collections::BTreeMap;

impl Machine {
    /// Why these definitions cannot come into force now, as a whole.
    ///
    /// # Errors
    /// [`CommandError`]: the machine ends; a swap is under way of an app that would change or go;
    /// a name is wanted again, or for something else, while what had it is still there.
    pub fn may_reload(&self, loaded: &Loaded, difference: &Difference) -> Result<(), CommandError> {
        if let Some(power) = self.power {
            let key = "the definitions".to_owned();
            return Err(CommandError::ShuttingDown { key, kind: power.kind });
        }
        let restarted = difference.changed.iter().filter(|change| change.restart);
        let restarted = restarted.map(|change| &change.name);
        for app in restarted.chain(&difference.removed) {
            let Some(state) = self.apps.get(app) else { continue };
            let under_way = state.swap_id();
            let task = Task::ALL.into_iter().find(|task| self.is_living_key(&task.key(app)));
            if let Some(swap) = under_way.or(task.and_then(|task| state.swap_of(task))) {
                return Err(CommandError::SwapUnderWay { app: app.clone(), swap: swap.to_owned() });
            }
        }
        let changed = difference.changed.iter().map(|change| &change.name);
        for name in difference.added.iter().chain(changed) {
            if let Some(reason) = self.is_in_the_way(name, loaded) {
                return Err(CommandError::Refused { app: name.clone(), reason });
            }
        }
        Ok(())
    }

    /// What is still there of a name, or of the keys that an app of this name needs.
    fn is_in_the_way(&self, name: &str, loaded: &Loaded) -> Option<String> {
        let was_app = self.apps.contains_key(name);
        let is_app = loaded.apps.contains_key(name);
        let own = [name.to_owned()];
        let sides = Side::BOTH.map(|side| side.key(name));
        let tasks = Task::ALL.map(|task| task.key(name));
        let mut keys = own.iter().chain(sides.iter().chain(&tasks).filter(|_| is_app));
        let leaves = self.departing.contains_key(self.node(name))
            || keys.any(|key| !self.units.contains_key(key) && self.has_stray(key));
        let taken = is_app
            && !was_app
            && (self.is_living_key(name)
                || sides.iter().chain(&tasks).any(|key| self.units.contains_key(key)));
        let turned = was_app && loaded.definitions.contains_key(name);
        (leaves || taken || turned).then(|| {
            format!(
                "what was called {name} before is not gone yet; reload again when `rollinit \
                 status` does not show it any more"
            )
        })
    }

    fn has_stray(&self, key: &str) -> bool {
        let own = (key.to_owned(), 0)..=(key.to_owned(), u64::MAX);
        self.strays.range(own).next().is_some()
    }

    fn is_living_key(&self, key: &str) -> bool {
        self.units.get(key).is_some_and(|unit| unit.memory.phase.is_living())
    }

    /// Puts other definitions into force. `closures` is what the profiles of apps point to, by
    /// app; it counts for apps that are new. Ask [`Self::may_reload`] first.
    pub fn reload(
        &mut self,
        now: Now,
        loaded: Loaded,
        closures: &BTreeMap<String, String>,
    ) -> Vec<Effect> {
        self.now = self.now.max(now);
        let difference = Difference::between(&self.loaded, &loaded);
        let former = std::mem::replace(&mut self.loaded, loaded);
        for name in &difference.removed {
            self.take_out(name, node_of(&former, name).cloned());
        }
        for name in &difference.added {
            self.report(name, 0, What::Reload { change: "defined" });
            self.arrive(name, closures);
        }
        for change in &difference.changed {
            self.report(&change.name, 0, What::Reload { change: "defined anew" });
            self.alter(change, &former, closures);
        }
        self.draw_graph();
        self.dirty.extend(self.units.keys().cloned());
        self.restless_apps.extend(self.apps.keys().cloned());
        self.finish()
    }

    fn draw_graph(&mut self) {
        let departing = self.departing.iter();
        let departing = departing.filter_map(|(name, node)| Some((name, node.as_ref()?)));
        self.graph = Graph::new(self.loaded.nodes().chain(departing));
    }

    /// No longer defined: its units go down in their turn, and then it is forgotten.
    fn take_out(&mut self, name: &str, node: Option<Definition>) {
        self.report(name, 0, What::Reload { change: "no longer defined" });
        let stop = node.as_ref().map(|definition| definition.stop).unwrap_or_default();
        for key in self.members(name) {
            if self.is_living_key(&key) {
                self.former_stops.entry(key.clone()).or_insert(stop);
            }
            self.touch(&key);
        }
        self.departing.insert(name.to_owned(), node);
    }

    /// Defined for the first time, or sound for the first time.
    fn arrive(&mut self, name: &str, closures: &BTreeMap<String, String>) {
        if !self.loaded.apps.contains_key(name) {
            self.begin_unit(name);
            return;
        }
        if self.units.remove(name).is_some() {
            // It stood for a broken file, and never ran.
            self.effects.push(Effect::ForgetKey { key: name.to_owned() });
        }
        self.apps.insert(name.to_owned(), AppState::default());
        for side in Side::BOTH {
            self.begin_unit(&side.key(name));
        }
        self.begin_app(name, Side::Zero, closures.get(name));
        self.touch_app(name);
    }

    fn begin_unit(&mut self, key: &str) {
        let mut unit = Unit::default();
        unit.memory.since_ns = self.now.0;
        self.units.insert(key.to_owned(), unit);
        self.touch(key);
    }

    fn alter(&mut self, change: &Change, former: &Loaded, closures: &BTreeMap<String, String>) {
        let name = &change.name;
        let is_app = self.loaded.apps.contains_key(name);
        if is_app && !self.apps.contains_key(name) {
            self.arrive(name, closures);
            return;
        }
        if is_app {
            self.seed(name, closures);
        }
        let stop = node_of(former, name).map(|definition| definition.stop).unwrap_or_default();
        for key in self.members(name) {
            if change.restart {
                let outdated = if change.rebind { Outdated::Sockets } else { Outdated::Run };
                self.outdate(&key, outdated, stop);
            } else if self.units.get(&key).is_some_and(|unit| unit.memory.phase == Phase::Failed) {
                self.begin_again(&key);
            }
        }
        if is_app {
            self.touch_app(name);
        }
    }

    /// An app that has nothing to run may have something now.
    fn seed(&mut self, name: &str, closures: &BTreeMap<String, String>) {
        let Some(state) = self.apps.get_mut(name) else { return };
        if state.has_nothing() {
            let serving = state.serving();
            self.begin_app(name, serving, closures.get(name));
        }
    }

    /// Its run cannot stay, or it may try anew.
    fn outdate(&mut self, key: &str, outdated: Outdated, stop: Stop) {
        let Some(unit) = self.units.get_mut(key) else { return };
        let memory = &mut unit.memory;
        if !memory.phase.is_living() {
            if outdated == Outdated::Sockets {
                self.unlisten(key);
            }
            self.begin_again(key);
            return;
        }
        memory.outdated = memory.outdated.max(outdated);
        if let Phase::Stopping { then, .. } = &mut memory.phase {
            *then = Then::Again;
        }
        self.former_stops.entry(key.to_owned()).or_insert(stop);
        self.touch(key);
    }

    /// One that is at rest, and not by hand, starts afresh: a oneshot does its work again.
    fn begin_again(&mut self, key: &str) {
        if self.is_wanted(key) == Some(false) || matches!(self.place(key), Place::Task { .. }) {
            return;
        }
        let Some(unit) = self.units.get_mut(key) else { return };
        let memory = &mut unit.memory;
        if memory.held_down || memory.phase.is_living() {
            return;
        }
        memory.failures = 0;
        memory.window.clear();
        memory.reason.clear();
        if memory.phase != Phase::Idle {
            self.enter(key, Phase::Idle);
        }
    }

    /// The run of an older definition is gone; says whether there was one.
    pub(super) fn catch_up(&mut self, key: &str) -> bool {
        self.former_stops.remove(key);
        let Some(unit) = self.units.get_mut(key) else { return false };
        let outdated = std::mem::take(&mut unit.memory.outdated);
        if outdated == Outdated::Sockets {
            self.unlisten(key);
        }
        outdated != Outdated::No
    }

    /// Has the next run's sockets bound anew; an app's group with them.
    fn unlisten(&mut self, key: &str) {
        self.effects.push(Effect::Unlisten { key: key.to_owned() });
        let app = self.node(key).to_owned();
        if let Some(state) = self.apps.get_mut(&app) {
            state.lose_group();
            self.restless_apps.insert(app);
        }
    }

    /// Nothing runs of a unit that is no longer defined: it is forgotten, and with the last unit
    /// of its name the name.
    pub(super) fn dismiss(&mut self, key: &str) {
        let name = self.node(key).to_owned();
        let near = self.graph.followers(&name).chain(self.graph.requirers(&name));
        let near = self.all_members(near.chain(self.graph.after(&name)));
        self.dirty.extend(near);
        if let Some(unit) = self.units.remove(key) {
            // A supervisor that dies before PID 1 forgets the key must not report an end again.
            let bytes = memory::encode(&unit.memory);
            if bytes != unit.memo {
                self.last_memos.push(Effect::Memo { key: key.to_owned(), bytes });
            }
            self.timers.retain(|(_, of)| of != key);
        }
        self.expanded.remove(key);
        self.former_stops.remove(key);
        self.stray_gone(key);
        if self.members(&name).iter().any(|key| self.units.contains_key(key)) {
            return;
        }
        self.departing.remove(&name);
        if self.apps.remove(&name).is_some() {
            let memo = memo_key(&name);
            self.timers.retain(|(_, of)| *of != memo);
            self.effects.push(Effect::ForgetKey { key: memo });
        }
        self.draw_graph();
        self.answer_gone(&name);
    }
}

/// What a name says of others.
fn node_of<'a>(loaded: &'a Loaded, name: &str) -> Option<&'a Definition> {
    let app = loaded.apps.get(name).map(|app| &app.template);
    app.or_else(|| loaded.definitions.get(name))
}
