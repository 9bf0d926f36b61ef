//! The swap machine of one app.
//!
//! (specification: see below)

use crate::record::{Record, Summary};
use crate::view::View;
use crate::{Effect, Event, Now};

/// What is known when the agent starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `/proc/sys/kernel/random/boot_id` of now.
    pub boot: String,
    /// The app, as the supervisor sees it; `None` when no such app is defined any more.
    pub view: Option<View>,
    /// The path that the app's profile link points to.
    pub profile: Option<String>,
}

/// The swaps of one app.
#[derive(Clone, Debug)]
pub struct Machine {
    record: Record,
}

impl Machine {
    /// Goes on where the record says; with [`Record::empty`] from nowhere.
    #[must_use]
    pub fn resume(record: Record, _now: Now, _facts: Facts) -> (Self, Vec<Effect>) {
        (Self { record }, Vec::new())
    }

    /// Something happened: what shall be done.
    pub fn step(&mut self, _now: Now, _event: Event) -> Vec<Effect> {
        Vec::new()
    }

    /// When [`Event::Tick`] is due at the latest, on [`Now::clock_ns`].
    #[must_use]
    pub const fn wake_ns(&self) -> Option<u64> {
        None
    }

    /// What is remembered, as the next `Persist` would write it.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// The swap under way. In its watch window it has the outcome `committed` already.
    #[must_use]
    pub fn current(&self) -> Option<Summary> {
        None
    }
}
