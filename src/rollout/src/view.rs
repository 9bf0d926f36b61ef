//! What the supervisor says of an app.

use serde::{Deserialize, Serialize};

/// An app as it stands: the side that serves, the other one, and the swap under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The side that serves. With the strategy `restart` it is also the candidate.
    pub serving: Run,
    /// The other side while a swap with `overlap` or `ports` is under way.
    pub candidate: Option<Run>,
    /// The swap that the supervisor knows of.
    pub swap: Option<HostSwap>,
}

/// One side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Its closure; `None` for an app that never had one.
    pub closure: Option<String>,
    /// The port that it binds by itself, with the strategy `ports`.
    pub port: Option<u16>,
    /// How it stands.
    pub state: RunState,
    /// Which run of it; another number is another process.
    pub incarnation: u64,
    /// Its leader; 0 for none. Only for people.
    pub pid: u32,
    /// Whether it said that it is ready.
    pub ready: bool,
    /// Why it stands so, in the supervisor's words; empty for nothing to say.
    pub reason: String,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunState {
    /// Nothing runs, nothing is wanted: idle, stopped by an operator, or stopping.
    #[default]
    Down,
    /// Between two runs: waiting or in backoff; the supervisor will start it.
    Waiting,
    /// The program runs but was not ready yet.
    Starting,
    /// The program runs and is ready.
    Up,
    /// It ended and nobody starts it again.
    Failed,
}

impl RunState {
    /// Whether a process is there.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Starting | Self::Up)
    }
}

/// The supervisor's own words on the swap under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSwap {
    /// Whose verbs it obeys.
    pub id: String,
    /// How far it is.
    pub phase: SwapPhase,
}

/// How far the supervisor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SwapPhase {
    /// The candidate is being started.
    Preparing,
    /// The candidate runs behind the gate.
    Prepared,
    /// New connections go to the candidate.
    Admitted,
    /// The old side is being stopped.
    Retiring,
    /// The candidate is being stopped.
    Abandoning,
}
