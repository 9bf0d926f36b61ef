//! What happens to runs.

use super::Machine;
use super::memory::{Ended, Phase, Then, short};
use super::order::Down;
use super::restart::{Verdict, judge};
use crate::definition::{Kind, Scope};
use crate::effect::Effect;
use crate::limits::STUCK_PIDS_MAX;
use crate::notification::Notification;
use crate::record::{self, What};
use crate::snapshot::End;

impl Machine {
    /// The phase of a service whose newest run this is, if that run is living.
    fn living(&self, key: &str, incarnation: u64) -> Option<Phase> {
        let memory = &self.units.get(key)?.memory;
        (memory.incarnation == incarnation && memory.phase.is_living()).then_some(memory.phase)
    }

    /// Like [`Self::living`], and the leader has not ended.
    fn led(&self, key: &str, incarnation: u64) -> Option<Phase> {
        let phase = self.living(key, incarnation)?;
        let ended = self.units.get(key).is_none_or(|unit| unit.memory.has_ended());
        (!ended).then_some(phase)
    }

    pub(super) fn started(&mut self, key: &str, incarnation: u64, pid: u32) {
        let Some(phase) = self.led(key, incarnation) else { return };
        let Some(unit) = self.units.get_mut(key) else { return };
        if unit.memory.pid == pid {
            return;
        }
        let kind = unit.memory.kind;
        unit.memory.pid = pid;
        unit.memory.first.note_started(self.now.0);
        self.touch(key);
        self.tell(key, What::Started { pid });
        if kind == Kind::Simple && matches!(phase, Phase::Starting { .. }) {
            self.ready(key);
        }
    }

    fn ready(&mut self, key: &str) {
        let now_ns = self.now.0;
        if let Some(unit) = self.units.get_mut(key) {
            unit.memory.ready_ns = now_ns;
        }
        self.enter(key, Phase::Running);
        self.tell(key, What::Ready);
        self.tell_due(key);
    }

    pub(super) fn ready_timeout(&mut self, key: &str) {
        let timeout_ms = self.policy(key).and_then(|definition| definition.ready.timeout_ms);
        let timeout_ms = timeout_ms.unwrap_or_default();
        self.tell(key, What::ReadyTimeout { timeout_ms });
        self.stop(key, Then::Failure, "it was not ready in time");
    }

    pub(super) fn notified(&mut self, key: &str, incarnation: u64, said: Notification) {
        let Some(phase) = self.led(key, incarnation) else { return };
        let Some(unit) = self.units.get_mut(key) else { return };
        let kind = unit.memory.kind;
        if let Some(status) = said.status {
            crate::notification::cut(&status, crate::limits::STATUS_BYTES_MAX)
                .clone_into(&mut unit.memory.status);
        }
        unit.memory.main_pid = said.main_pid.unwrap_or(unit.memory.main_pid);
        self.touch(key);
        let starting = matches!(phase, Phase::Starting { .. });
        if said.ready && starting && kind == Kind::Notify {
            self.ready(key);
        }
        if said.stopping && (starting || phase == Phase::Running) {
            let timeout_ms = self.stop_policy(key).timeout_ms;
            self.enter(key, Phase::Leaving { deadline_ns: self.now.plus_ms(timeout_ms).0 });
            self.tell(key, What::Leaving);
        }
    }

    /// Has PID 1 end the living run of a service.
    pub(super) fn stop(&mut self, key: &str, then: Then, reason: &str) {
        let policy = self.stop_policy(key);
        let deadline_ns = self.stop_deadline_ns(self.stop_time_ms(key));
        self.enter(key, Phase::Stopping { deadline_ns, then });
        self.tell(key, What::Stopping { reason: reason.to_owned(), deadline_ns });
        self.send_stop(key, policy.scope, deadline_ns);
    }

    /// Time that a run has to end: a side that leaves in a swap has its drain.
    fn stop_time_ms(&self, key: &str) -> u64 {
        let down = self.units.get(key).and_then(|unit| unit.down.as_ref());
        let app = self.app(self.node(key));
        match (down, app) {
            (Some(Down::Rest | Down::Stale | Down::Outdated), Some(app)) => app.swap.drain_ms,
            _ => self.stop_policy(key).timeout_ms,
        }
    }

    /// A stop ends by its timeout, and at a power-off by the common deadline.
    pub(super) fn stop_deadline_ns(&self, timeout_ms: u64) -> u64 {
        let own_ns = self.now.plus_ms(timeout_ms).0;
        self.power.map_or(own_ns, |power| own_ns.min(power.deadline_ns))
    }

    pub(super) fn send_stop(&mut self, key: &str, scope: Scope, deadline_ns: u64) {
        let signal = self.stop_policy(key).signal;
        let Some(unit) = self.units.get(key) else { return };
        let (key, incarnation) = (key.to_owned(), unit.memory.incarnation);
        self.effects.push(Effect::Stop { key, incarnation, scope, signal, deadline_ns });
    }

    pub(super) fn spawn_failed(&mut self, key: &str, incarnation: u64, step: &str, errno: i32) {
        if self.strays.remove(&(key.to_owned(), incarnation)).is_some() {
            self.stray_gone(key);
            return;
        }
        let known = self.units.get(key).is_some_and(|unit| unit.memory.pid != 0);
        if known || self.led(key, incarnation).is_none() {
            return;
        }
        let program = self.definition(key).and_then(|definition| definition.exec.first()).cloned();
        let program = program.unwrap_or_default();
        let text = record::spawn_failure(step, errno, &program);
        self.tell(key, What::SpawnFailed { step: step.to_owned(), errno, program });
        self.ended_unseen(key, &text);
    }

    /// The newest run is no more, and there is no end of it to see.
    pub(super) fn ended_unseen(&mut self, key: &str, text: &str) {
        let (at_ns, text) = (self.now.0, short(text));
        if let Some(unit) = self.units.get_mut(key) {
            let incarnation = unit.memory.incarnation;
            unit.memory.last_end = Some(Ended { incarnation, end: None, at_ns, text });
        }
        self.stopped(key);
    }

    pub(super) fn exited(&mut self, key: &str, incarnation: u64, end: End, emptied: bool) {
        let Some(phase) = self.led(key, incarnation) else {
            // Known before, or nobody's: only whether it is gone matters.
            if emptied {
                self.emptied(key, incarnation);
            }
            return;
        };
        if let Some(unit) = self.units.get_mut(key) {
            let at_ns = end.ended_ns;
            let text = String::new();
            unit.memory.last_end = Some(Ended { incarnation, end: Some(end), at_ns, text });
            unit.memory.pid = 0;
            unit.memory.main_pid = 0;
        }
        self.touch(key);
        self.regroup(key);
        self.tell(key, What::Exited { end });
        if emptied {
            self.forget(key, incarnation);
            self.stopped(key);
        } else {
            self.stop_leftover(key, phase);
        }
    }

    /// The leader is gone and others are not. A stop under way that told only the leader tells
    /// all of them now; its deadline stays.
    fn stop_leftover(&mut self, key: &str, phase: Phase) {
        let policy = self.stop_policy(key);
        self.tell(key, What::Leftover);
        let deadline_ns = match phase {
            Phase::Stopping { deadline_ns, .. } => deadline_ns,
            _ => {
                let deadline_ns = self.stop_deadline_ns(policy.timeout_ms);
                self.enter(key, Phase::Stopping { deadline_ns, then: Then::Judge });
                deadline_ns
            }
        };
        if !matches!(phase, Phase::Stopping { .. }) || policy.scope != Scope::Cgroup {
            self.send_stop(key, Scope::Cgroup, deadline_ns);
        }
    }

    /// Nothing is left of a run: now it is stopped.
    pub(super) fn emptied(&mut self, key: &str, incarnation: u64) {
        if self.led(key, incarnation).is_some() {
            // PID 1 says this after `Exited`; with the leader alive it means nothing.
            return;
        }
        self.forget(key, incarnation);
        if self.living(key, incarnation).is_some() {
            self.stopped(key);
        } else if self.strays.remove(&(key.to_owned(), incarnation)).is_some() {
            self.stray_gone(key);
        }
    }

    pub(super) fn forget(&mut self, key: &str, incarnation: u64) {
        self.effects.push(Effect::Forget { key: key.to_owned(), incarnation });
    }

    /// Its run is no more: where it goes from here.
    pub(super) fn stopped(&mut self, key: &str) {
        if self.departing.contains_key(self.node(key)) {
            self.dismiss(key);
            return;
        }
        let restart = self.restart_policy(key);
        let now_ns = self.now.0;
        let is_outdated = self.catch_up(key);
        let begins_anew = self.policy(key).is_none() || self.is_stale(key) || is_outdated;
        let rests = self.is_wanted(key) == Some(false);
        let Some(unit) = self.units.get_mut(key) else { return };
        let memory = &mut unit.memory;
        let then = match memory.phase {
            Phase::Stopping { then, .. } => then,
            _ => Then::Judge,
        };
        if memory.held_down || rests {
            self.rest(key);
            return;
        }
        if then == Then::Again || begins_anew {
            self.enter(key, Phase::Idle);
            return;
        }
        let ended = memory.last_end.as_ref();
        let success = then == Then::Judge
            && ended.and_then(|ended| ended.end).is_some_and(|end| end.is_success());
        let reason = match then {
            Then::Failure => "it was not ready in time".to_owned(),
            _ => ended.map(Ended::text).unwrap_or_default(),
        };
        if memory.kind == Kind::Oneshot && success {
            memory.failures = 0;
            memory.ready_ns = now_ns;
            self.enter(key, Phase::Done);
            self.tell(key, What::Done);
            return;
        }
        match judge(memory, &restart, success, &reason, now_ns) {
            Verdict::Rest => self.rest(key),
            // Nobody starts again on the way down, so nobody says that he will.
            Verdict::Again { .. } if self.power.is_some() => self.rest(key),
            Verdict::Fail(reason) => {
                memory.reason = short(&reason);
                self.enter(key, Phase::Failed);
                self.tell(key, What::Failed { reason });
            }
            Verdict::Again { delay_ms } => {
                let failures = memory.failures;
                self.enter(key, Phase::Backoff { until_ns: self.now.plus_ms(delay_ms).0 });
                self.tell(key, What::Backoff { delay_ms, failures });
            }
        }
    }

    fn rest(&mut self, key: &str) {
        self.enter(key, Phase::Stopped);
        self.tell(key, What::Stopped);
    }

    pub(super) fn stuck(&mut self, key: &str, incarnation: u64, mut pids: Vec<u32>, wchan: &str) {
        pids.truncate(STUCK_PIDS_MAX);
        if self.living(key, incarnation).is_some()
            && let Some(unit) = self.units.get_mut(key)
        {
            unit.memory.stuck = short(&record::stuck(&pids, wchan));
            self.touch(key);
        }
        self.report(key, incarnation, What::Stuck { pids, wchan: short(wchan) });
    }
}

impl Ended {
    /// How it ended, in words.
    pub fn text(&self) -> String {
        self.end.map_or_else(|| self.text.clone(), |end| end.to_string())
    }
}
