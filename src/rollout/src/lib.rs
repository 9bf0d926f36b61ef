//! How one closure takes the place of another on one host: the swap machine and its record.
//!
//! Pure: events go in, effects come out. There is no clock here (the time is an argument), no file,
//! no socket, no thread, no randomness. The same calls give the same answers, which is what lets
//! the simulation crash a host before and after every single effect.
//!
//! - [`machine`] decides. Its module text is the specification.
//! - [`record`] is what is on disk about an app's swaps, versioned and checksummed.
//! - [`Event`] is what happened, [`Effect`] what shall be done, [`Report`] what is told to people.
//!
//! It never does what it decides. The agent carries the effects out in order and reports what came
//! of them; [`effect`] says what it owes to them.

pub mod effect;
pub mod event;
pub mod fleet;
pub mod health;
pub mod ledger;
pub mod limits;
pub mod machine;
pub mod policy;
pub mod ports;
pub mod record;
pub mod release;
pub mod report;
pub mod sealed;
pub mod slot;
pub mod system;
mod text;
pub mod view;

pub use effect::{Effect, HookKind, ProbeTarget, RootRole, Ticket};
pub use event::{Answer, Event, Failure, Fault, Plan, ProbeResult, Request, RequestKind};
pub use health::{Health, HealthKind};
pub use ledger::{Cas, Entry, Ledger, LedgerError, Token};
pub use machine::{Facts, Machine};
pub use policy::{Policy, Retire, Strategy};
pub use record::{Book, Origin, Record, RecordError, State, Summary, Swap};
pub use release::Release;
pub use report::{Admission, Outcome, OutcomeKind, Report, Step, StepState};
pub use view::{HostSwap, Run, RunState, SwapPhase, View};

/// A moment, given with every call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// `CLOCK_BOOTTIME` in nanoseconds. All deadlines are on it; it means nothing over a boot.
    pub clock_ns: u64,
    /// The wall clock, in milliseconds since 1970. Written down for people, never compared.
    pub wall_ms: u64,
}

impl Now {
    /// The clock so many milliseconds later; the end of time instead of an overflow.
    #[must_use]
    pub const fn plus_ms(self, duration_ms: u64) -> u64 {
        self.clock_ns.saturating_add(duration_ms.saturating_mul(1_000_000))
    }
}
