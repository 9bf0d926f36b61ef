//! The machine: what to do next.

use crate::Now;
use crate::definition::{Definition, Loaded};
use crate::effect::Effect;
use crate::event::Event;
use crate::snapshot::Snapshot;
use crate::view::{PowerView, View};

/// The key under which the machine keeps its own words: a power request under way. A shell that
/// needs words of its own uses another name that begins with `@`.
pub const SUPERVISOR_KEY: &str = "@supervisor";

/// All services of a host and what shall become of them. See the module's text.
#[derive(Debug)]
pub struct Machine {
    loaded: Loaded,
}

impl Machine {
    /// Takes up where the last supervisor left off, or boots when the snapshot is empty. The
    /// effects must be carried out first.
    #[must_use]
    pub fn new(loaded: Loaded, _snapshot: Snapshot, _now: Now) -> (Self, Vec<Effect>) {
        (Self { loaded }, Vec::new())
    }

    /// Takes one event and says what to do.
    pub fn step(&mut self, _now: Now, _event: Event) -> Vec<Effect> {
        Vec::new()
    }

    /// PID 1 sent its snapshot again, since events may have been dropped: learns what it missed.
    /// Memos are not read, the machine knows better. Pending commands stay.
    pub fn resync(&mut self, _now: Now, _snapshot: Snapshot) -> Vec<Effect> {
        Vec::new()
    }

    /// When [`Event::Tick`] is due; none: nothing waits for a time.
    #[must_use]
    pub fn deadline(&self) -> Option<Now> {
        None
    }

    /// All services by name, for `status`.
    #[must_use]
    pub fn views(&self) -> Vec<View> {
        Vec::new()
    }

    /// The end of the machine, if it is under way.
    #[must_use]
    pub fn power(&self) -> Option<PowerView> {
        None
    }

    /// What to spawn for a key.
    #[must_use]
    pub fn definition(&self, key: &str) -> Option<&Definition> {
        self.loaded.definitions.get(key)
    }

    /// All that was loaded, with its problems.
    #[must_use]
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }
}
