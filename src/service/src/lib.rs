//! What a service is and what to do next.
//!
//! Pure: text and events go in, types and effects come out. There is no clock here (the time is an
//! argument), no file, no socket, no thread, no randomness: the same calls give the same answers,
//! which is what lets a test drive years of a host's life through it in a second.
//!
//! - [`definition`] turns TOML into [`Definition`]s, or into [`Problem`]s that say what to write.
//! - [`graph`] knows who waits for whom, and names the cycles.
//! - [`machine`] decides: events of PID 1, of services and of operators in, effects out.
//!
//! It never does what it decides. The supervisor translates its effects for PID 1, carries them out
//! in order and reports what came of them.

pub mod app;
pub mod definition;
pub mod effect;
pub mod event;
pub mod graph;
pub mod limits;
pub mod machine;
mod nearest;
pub mod notification;
pub mod problem;
pub mod record;
pub mod reload;
pub mod snapshot;
pub mod view;

pub use app::{App, Place, Side, Task};
pub use definition::{Definition, Loaded};
pub use effect::{CommandError, Effect, Outcome, Program, TaskEnd};
pub use event::{Event, PowerKind, SwapVerb, Verb};
pub use machine::Machine;
pub use notification::Notification;
pub use problem::Problem;
pub use record::Record;
pub use snapshot::{Cause, End, Snapshot};
pub use view::{AppView, State, View};

/// A moment: `CLOCK_MONOTONIC` in nanoseconds. The same clock as PID 1's, so it goes on over the
/// death of the supervisor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now(pub u64);

impl Now {
    /// The moment so many milliseconds later; the end of time instead of an overflow.
    #[must_use]
    pub const fn plus_ms(self, duration_ms: u64) -> Self {
        Self(self.0.saturating_add(duration_ms.saturating_mul(1_000_000)))
    }
}
