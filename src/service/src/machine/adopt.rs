//! Taking up where the last supervisor left off.

use super::memory::{self, Memory, Phase, Then};
use super::power::Power;
use super::{Machine, SUPERVISOR_KEY, Stray};
use crate::app::Place;
use crate::definition::{Kind, Scope};
use crate::effect::Effect;
use crate::event::PowerKind;
use crate::record::What;
use crate::snapshot::{Key, Run, RunState, Snapshot};
use std::collections::{BTreeMap, BTreeSet};

impl Machine {
    pub(super) fn adopt(&mut self, snapshot: Snapshot, closures: &BTreeMap<String, String>) {
        self.meet_apps(&snapshot);
        self.recall_apps(&snapshot, closures);
        let mut undefined = BTreeSet::new();
        for key in &snapshot.keys {
            if key.key == SUPERVISOR_KEY {
                self.recall_power(&key.memo);
            } else if self.units.contains_key(&key.key) {
                self.recall(key);
            } else if !key.key.starts_with('@') {
                undefined.insert(key.key.clone());
            }
        }
        let known = |run: &&Run| !self.units.contains_key(&run.key) && !run.key.starts_with('@');
        undefined.extend(snapshot.runs.iter().filter(known).map(|run| run.key.clone()));
        self.adopt_power(snapshot.shutting_down);
        for run in &snapshot.runs {
            self.adopt_newer(run);
        }
        self.begin_fresh();
        for key in &undefined {
            self.report(key, 0, What::Undefined);
        }
        self.meet_runs(&snapshot);
        self.meet_vanished(&snapshot);
        self.meet_tasks();
        for key in undefined {
            self.stray_gone(&key);
        }
    }

    fn recall_power(&mut self, memo: &[u8]) {
        self.power_memo = memo.to_vec();
        if memo.is_empty() {
            return;
        }
        match memory::decode(memo) {
            Ok(power) => self.power = Some(power),
            Err(reason) => self.report(SUPERVISOR_KEY, 0, What::MemoLost { reason }),
        }
    }

    /// A machine that ends by PID 1's own decision ends as well. One that was handed over, by a
    /// supervisor that died before it could say so, is handed over again.
    fn adopt_power(&mut self, shutting_down: bool) {
        if shutting_down {
            let (kind, deadline_ns) = (PowerKind::PowerOff, self.now.0);
            let power = self.power.unwrap_or(Power { kind, deadline_ns, handed_over: true });
            self.power = Some(Power { handed_over: true, ..power });
        } else if let Some(power) = self.power.filter(|power| power.handed_over) {
            self.effects.push(Effect::Shutdown { kind: power.kind });
        }
    }

    fn recall(&mut self, key: &Key) {
        let Some(unit) = self.units.get_mut(&key.key) else { return };
        unit.memo.clone_from(&key.memo);
        unit.incarnation_last = key.incarnation_last;
        if key.memo.is_empty() {
            return;
        }
        match memory::decode::<Memory>(&key.memo) {
            Ok(memory) => {
                unit.memory = memory;
                unit.is_adopted = true;
            }
            Err(reason) => self.report(&key.key, 0, What::MemoLost { reason }),
        }
    }

    /// A run that the memory does not know: it was lost. The run is taken as it is, and as ready
    /// if it lives, since nobody will say so again.
    fn adopt_newer(&mut self, run: &Run) {
        let kind = match self.place(&run.key) {
            Place::Task { .. } => Kind::Oneshot,
            _ => self.policy(&run.key).map_or(Kind::Simple, |definition| definition.kind),
        };
        let Some(unit) = self.units.get_mut(&run.key) else { return };
        unit.incarnation_last = unit.incarnation_last.max(run.incarnation);
        let memory = &mut unit.memory;
        if run.incarnation <= memory.incarnation {
            return;
        }
        memory.incarnation = run.incarnation;
        memory.kind = kind;
        memory.since_ns = run.started_ns;
        memory.pid = 0;
        memory.phase = match (run.state, run.stop_deadline_ns) {
            (_, Some(deadline_ns)) => Phase::Stopping { deadline_ns, then: Then::Judge },
            (RunState::Starting, None) => Phase::Starting { deadline_ns: None },
            (_, None) if kind == Kind::Oneshot => Phase::Starting { deadline_ns: None },
            (_, None) => {
                memory.ready_ns = run.started_ns;
                Phase::Running
            }
        };
    }

    /// Services that nobody remembers begin now; all look around, and all timers are set.
    fn begin_fresh(&mut self) {
        let keys: Vec<String> = self.units.keys().cloned().collect();
        for name in self.apps.keys().cloned().collect::<Vec<_>>() {
            self.touch_app(&name);
        }
        for key in keys {
            if let Some(unit) = self.units.get_mut(&key)
                && !unit.is_adopted
                && unit.memory.phase == Phase::Idle
            {
                unit.memory.since_ns = self.now.0;
            }
            self.set_timer(&key);
            self.touch(&key);
        }
    }

    /// Compares what runs with what should.
    pub(super) fn meet_runs(&mut self, snapshot: &Snapshot) {
        for run in snapshot.runs.iter().filter(|run| !run.key.starts_with('@')) {
            let memory = self.units.get(&run.key).map(|unit| &unit.memory);
            let is_ours = memory.is_some_and(|memory| {
                memory.incarnation == run.incarnation && memory.phase.is_living()
            });
            match run.state {
                RunState::Ended { end, emptied } if is_ours => {
                    self.exited(&run.key, run.incarnation, end, emptied);
                }
                RunState::Running if is_ours => self.started(&run.key, run.incarnation, run.pid),
                RunState::Starting if is_ours => {}
                RunState::Ended { emptied: true, .. } => self.emptied(&run.key, run.incarnation),
                _ => self.meet_stray(run),
            }
            if is_ours {
                self.repeat_stop(run);
            }
        }
        let is_there = |id: &(String, u64)| {
            snapshot.runs.iter().any(|run| run.key == id.0 && run.incarnation == id.1)
        };
        let gone: Vec<_> = self.strays.keys().filter(|id| !is_there(id)).cloned().collect();
        for id in gone {
            self.strays.remove(&id);
            self.stray_gone(&id.0);
        }
    }

    /// A stop that was decided, and lost with the supervisor on its way to PID 1.
    fn repeat_stop(&mut self, run: &Run) {
        let Some(unit) = self.units.get(&run.key) else { return };
        let Phase::Stopping { deadline_ns, .. } = unit.memory.phase else { return };
        let asked = |effect: &Effect| {
            matches!(effect, Effect::Stop { key, incarnation, .. }
                if *key == run.key && *incarnation == run.incarnation)
        };
        if run.stop_deadline_ns.is_some() || self.effects.iter().any(asked) {
            return;
        }
        let has_leader = !matches!(run.state, RunState::Ended { .. });
        let scope = if has_leader { self.stop_policy(&run.key).scope } else { Scope::Cgroup };
        self.send_stop(&run.key, scope, deadline_ns);
    }

    /// A run that should not be is stopped and forgotten.
    fn meet_stray(&mut self, run: &Run) {
        let id = (run.key.clone(), run.incarnation);
        if self.strays.contains_key(&id) {
            return;
        }
        let policy = self.stop_policy(&run.key);
        let deadline_ns = self.stop_deadline_ns(policy.timeout_ms);
        let deadline_ns = run.stop_deadline_ns.unwrap_or(deadline_ns);
        self.strays.insert(id, Stray { pid: run.pid, started_ns: run.started_ns, deadline_ns });
        if run.stop_deadline_ns.is_none() {
            self.effects.push(Effect::Stop {
                key: run.key.clone(),
                incarnation: run.incarnation,
                scope: Scope::Cgroup,
                signal: policy.signal,
                deadline_ns,
            });
        }
    }

    /// Living by memory, but PID 1 has no such run. Either the spawn never reached it, and is asked
    /// for again: it starts nothing twice. Or it failed, and the answer was lost.
    fn meet_vanished(&mut self, snapshot: &Snapshot) {
        let runs: BTreeSet<(&str, u64)> =
            snapshot.runs.iter().map(|run| (run.key.as_str(), run.incarnation)).collect();
        let is_vanished = |(key, memory): &(String, Memory)| {
            memory.phase.is_living() && !runs.contains(&(key.as_str(), memory.incarnation))
        };
        let memories = self.units.iter().map(|(key, unit)| (key.clone(), unit.memory.clone()));
        let vanished: Vec<(String, Memory)> = memories.filter(is_vanished).collect();
        for (key, memory) in vanished {
            let seen = self
                .units
                .get(&key)
                .is_some_and(|unit| unit.incarnation_last >= memory.incarnation);
            let lost = matches!(memory.phase, Phase::Starting { .. }) && !seen;
            if lost && !matches!(self.place(&key), Place::Task { .. }) {
                let incarnation = memory.incarnation;
                // A candidate starts anew, once its group is in order; a side that serves has it
                // asked for first: PID 1 has its sockets listen behind the candidate's.
                if self.definition(&key).is_some() && self.side_waits(&key).is_none() {
                    self.regroup_now(&key);
                    self.effects.push(Effect::Spawn { key, incarnation });
                } else {
                    self.enter(&key, Phase::Idle);
                }
            } else if memory.has_ended() {
                self.stopped(&key);
            } else {
                self.ended_unseen(&key, "did not start, or ended unseen: PID 1 has no such run");
            }
        }
    }

    /// A key without definition is forgotten with its last run.
    pub(super) fn stray_gone(&mut self, key: &str) {
        let own = (key.to_owned(), 0)..=(key.to_owned(), u64::MAX);
        if self.units.contains_key(key) {
            self.dirty.insert(key.to_owned());
        } else if self.strays.range(own).next().is_none() {
            self.effects.push(Effect::ForgetKey { key: key.to_owned() });
        }
    }
}
