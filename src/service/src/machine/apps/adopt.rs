//! Taking apps up where the last supervisor left off.

use super::super::memory::{self, Phase};
use super::super::{Machine, Unit};
use super::{AppMemory, AppState, app_of_memo, memo_key};
use crate::app::{Place, Side, Task};
use crate::effect::Effect;
use crate::record::What;
use crate::snapshot::{Key, Snapshot};
use std::collections::{BTreeMap, BTreeSet};

impl Machine {
    /// The apps there are, before their memories: those defined, and those whose definition broke
    /// while they ran. Makes their sides units, and those tasks that PID 1 knows of.
    pub(in crate::machine) fn meet_apps(&mut self, snapshot: &Snapshot) {
        let remembered = snapshot.keys.iter().filter_map(|key| app_of_memo(&key.key));
        let broken = remembered.filter(|name| self.loaded.broken.contains_key(*name));
        let names: BTreeSet<String> =
            self.loaded.apps.keys().map(String::as_str).chain(broken).map(str::to_owned).collect();
        let keys = snapshot.keys.iter().map(|key| key.key.as_str());
        let known: BTreeSet<&str> =
            keys.chain(snapshot.runs.iter().map(|run| run.key.as_str())).collect();
        for name in names {
            self.units.remove(&name);
            for side in Side::BOTH {
                self.units.insert(side.key(&name), Unit::default());
            }
            for task in Task::ALL {
                if known.contains(task.key(&name).as_str()) {
                    self.units.insert(task.key(&name), Unit::default());
                }
            }
            self.restless_apps.insert(name.clone());
            self.apps.insert(name, AppState::default());
        }
    }

    /// The memories of all apps; those that nobody remembers begin with what their profile points
    /// to, else with their seed.
    pub(in crate::machine) fn recall_apps(
        &mut self,
        snapshot: &Snapshot,
        closures: &BTreeMap<String, String>,
    ) {
        for key in &snapshot.keys {
            let Some(name) = app_of_memo(&key.key) else { continue };
            if !self.apps.contains_key(name) {
                self.effects.push(Effect::ForgetKey { key: key.key.clone() });
            } else if !key.memo.is_empty() {
                self.recall_app(name, key);
            }
        }
        for name in self.apps.keys().cloned().collect::<Vec<_>>() {
            let is_new = self.apps.get(&name).is_some_and(|state| state.memo.is_empty());
            if is_new {
                // If its memory was lost and only the other side runs, that one serves.
                let runs = |side: Side| snapshot.runs.iter().any(|run| run.key == side.key(&name));
                let other = runs(Side::One) && !runs(Side::Zero);
                let serving = if other { Side::One } else { Side::Zero };
                self.begin_app(&name, serving, closures.get(&name));
            }
            self.expand(&name);
        }
    }

    fn recall_app(&mut self, name: &str, key: &Key) {
        let Some(state) = self.apps.get_mut(name) else { return };
        match memory::decode::<AppMemory>(&key.memo) {
            Ok(memory) => {
                state.memory = memory;
                state.memo.clone_from(&key.memo);
            }
            Err(reason) => self.report(name, 0, What::MemoLost { reason }),
        }
    }

    /// An app without a memory: this side serves, with what the profile points to or the seed.
    pub(in crate::machine) fn begin_app(
        &mut self,
        name: &str,
        serving: Side,
        profile: Option<&String>,
    ) {
        let seed = self.loaded.apps.get(name).and_then(|app| app.closure.clone());
        let closure = profile.cloned().or(seed);
        let Some(state) = self.apps.get_mut(name) else { return };
        state.memory = AppMemory { serving, ..AppMemory::default() };
        state.memory.closures[serving.index()] = closure;
    }

    /// Tasks that were never asked of PID 1 are over: their program is not remembered. The others
    /// keep their lease.
    pub(in crate::machine) fn meet_tasks(&mut self) {
        let tasks: Vec<String> = self
            .units
            .keys()
            .filter(|key| matches!(self.place(key), Place::Task { .. }))
            .cloned()
            .collect();
        for key in tasks {
            match self.units.get(&key).map(|unit| unit.memory.phase) {
                Some(Phase::Idle) => self.enter(&key, Phase::Stopped),
                Some(phase) if phase.is_living() => self.set_lease(&key),
                _ => {}
            }
        }
    }
}

impl AppState {
    /// The memo of an app, if it changed.
    pub(in crate::machine) fn remember(&mut self, name: &str) -> Option<Effect> {
        let bytes = memory::encode(&self.memory);
        if bytes == self.memo {
            return None;
        }
        self.memo.clone_from(&bytes);
        Some(Effect::Memo { key: memo_key(name), bytes })
    }
}
