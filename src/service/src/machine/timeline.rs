//! The first way up of every service, for `analyze`.
//!
//! It is kept in the memory of the service, each time once: what a later restart takes is another
//! matter, and a supervisor that was replaced meanwhile tells the same.

use super::Machine;
use super::memory::{FirstWay, Phase};
use crate::app::Place;
use crate::view::{Way, WayState};

impl FirstWay {
    /// Notes that a phase is entered at `now_ns`, out of one that stood since `since_ns`.
    pub fn note(&mut self, phase: Phase, since_ns: u64, now_ns: u64) {
        match phase {
            Phase::Starting { .. } if self.starting_ns == 0 => {
                (self.waiting_ns, self.starting_ns) = (since_ns, now_ns);
            }
            Phase::Running | Phase::Done if self.starting_ns != 0 && self.ready_ns == 0 => {
                self.ready_ns = now_ns;
            }
            _ => {}
        }
    }

    /// Notes that the program runs.
    pub fn note_started(&mut self, now_ns: u64) {
        if self.started_ns == 0 {
            self.started_ns = now_ns;
        }
    }
}

impl Machine {
    /// The first way up of every service, and of every app (as the side that serves), by name.
    #[must_use]
    pub fn timeline(&self) -> Vec<Way> {
        let services = self.units.keys().filter(|key| self.place(key) == Place::Service);
        let services = services.map(|key| (key.clone(), key.clone()));
        let apps = self.apps.keys().map(|name| (name.clone(), self.face(name)));
        let mut ways: Vec<Way> =
            services.chain(apps).filter_map(|(name, key)| self.way(name, &key)).collect();
        ways.sort_by(|a, b| a.name.cmp(&b.name));
        ways
    }

    fn way(&self, name: String, key: &str) -> Option<Way> {
        let memory = &self.units.get(key)?.memory;
        let first = memory.first;
        let some = |time_ns: u64| Some(time_ns).filter(|time_ns| *time_ns != 0);
        let waits = first.starting_ns == 0;
        let state = match memory.phase {
            _ if first.ready_ns != 0 => WayState::Ready,
            Phase::Failed | Phase::Stopped | Phase::Backoff { .. } => WayState::Failed,
            _ => WayState::Coming,
        };
        Some(Way {
            after: self.graph.after(&name).map(str::to_owned).collect(),
            name,
            state,
            waiting_ns: if waits { memory.since_ns } else { first.waiting_ns },
            starting_ns: some(first.starting_ns),
            started_ns: some(first.started_ns),
            ready_ns: some(first.ready_ns),
        })
    }
}
