//! What `status` shows.

use super::memory::{Ended, Phase};
use super::order::Gate;
use super::{Machine, Unit};
use crate::app::Place;
use crate::problem::Problem;
use crate::view::{LastEnd, State, View};

impl Machine {
    /// All services and apps by name, for `status`. An app is shown as the side that users reach.
    #[must_use]
    pub fn views(&self) -> Vec<View> {
        let service = |key: &&String| self.place(key) == Place::Service;
        let units = self.units.iter().filter(|(key, _)| service(key));
        let mut views: Vec<View> = units.map(|(key, unit)| self.view(key, unit)).collect();
        views.extend(self.face_views());
        for ((key, incarnation), stray) in &self.strays {
            if !self.units.contains_key(key) {
                views.push(View {
                    name: key.clone(),
                    source: String::new(),
                    kind: "",
                    state: State::Stopping,
                    desired_up: false,
                    pid: Some(stray.pid).filter(|pid| *pid != 0),
                    main_pid: None,
                    incarnation: *incarnation,
                    restarts: 0,
                    since_ns: stray.started_ns,
                    status: String::new(),
                    last_end: None,
                    next_start_ns: None,
                    stop_deadline_ns: Some(stray.deadline_ns),
                    problems: vec!["is no longer defined".to_owned()],
                });
            }
        }
        views.sort_by(|a, b| (&a.name, a.incarnation).cmp(&(&b.name, b.incarnation)));
        views
    }

    pub(super) fn view(&self, key: &str, unit: &Unit) -> View {
        let memory = &unit.memory;
        let definition = self.policy(key);
        let broken = self.loaded.broken.get(self.node(key));
        let source = definition.map(|definition| &definition.source);
        let some = |number: u32| Some(number).filter(|number| *number != 0);
        View {
            name: key.to_owned(),
            source: source.or(broken.map(|problem| &problem.file)).cloned().unwrap_or_default(),
            kind: definition.map_or("", |definition| definition.kind.word()),
            state: self.state(key, memory.phase),
            desired_up: !memory.held_down,
            pid: some(memory.pid),
            main_pid: some(memory.main_pid),
            incarnation: memory.incarnation,
            restarts: memory.restarts,
            since_ns: memory.since_ns,
            status: memory.status.clone(),
            last_end: memory.last_end.as_ref().map(|ended| LastEnd {
                incarnation: ended.incarnation,
                end: ended.end,
                at_ns: ended.at_ns,
                text: Ended::text(ended),
            }),
            next_start_ns: match memory.phase {
                Phase::Backoff { until_ns } => Some(until_ns),
                _ => None,
            },
            stop_deadline_ns: match memory.phase {
                Phase::Stopping { deadline_ns, .. } => Some(deadline_ns),
                _ => None,
            },
            problems: self.problems(key, unit),
        }
    }

    fn state(&self, key: &str, phase: Phase) -> State {
        let is_broken = self.loaded.broken.contains_key(self.node(key));
        match phase {
            Phase::Idle | Phase::Backoff { .. } if is_broken => State::Broken,
            Phase::Idle if self.lacks_closure(key) => State::Waiting,
            Phase::Idle => match self.gate(key) {
                Gate::Never(_) => State::Blocked,
                Gate::Wait(_) if self.credentials_fail(key) => State::Blocked,
                Gate::Go | Gate::Wait(_) => State::Waiting,
            },
            Phase::Starting { .. } => State::Starting,
            Phase::Running => State::Running,
            Phase::Leaving { .. } | Phase::Stopping { .. } => State::Stopping,
            Phase::Backoff { .. } => State::Backoff,
            Phase::Stopped => State::Stopped,
            Phase::Done => State::Done,
            Phase::Failed => State::Failed,
        }
    }

    fn problems(&self, key: &str, unit: &Unit) -> Vec<String> {
        let memory = &unit.memory;
        let broken = self.loaded.broken.get(self.node(key)).map(|problem| &problem.file);
        let file = broken.or(self.policy(key).map(|definition| &definition.source));
        let of_file = |problem: &&Problem| Some(&problem.file) == file;
        let mut problems: Vec<String> =
            self.loaded.problems.iter().filter(of_file).map(Problem::to_string).collect();
        match memory.phase {
            Phase::Idle if broken.is_none() => match self.gate(key) {
                Gate::Never(reason) => problems.push(reason),
                Gate::Wait(names) => problems.push(format!("waits for {}", names.join(", "))),
                Gate::Go => {}
            },
            Phase::Failed => problems.push(memory.reason.clone()),
            Phase::Backoff { .. } => problems.extend(memory.last_end.as_ref().map(Ended::text)),
            _ => {}
        }
        problems.extend(self.stale_credentials(key));
        if self.departing.contains_key(self.node(key)) {
            problems.push("is no longer defined".to_owned());
        }
        if unit.waits_to_stop() {
            let names = self.stops_after(key);
            problems.push(format!("is to stop after {}", names.join(", ")));
        }
        if !memory.stuck.is_empty() {
            problems.push(memory.stuck.clone());
        }
        problems
    }
}
