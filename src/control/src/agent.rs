//! The interface of the agent: `io.rollinit.Agent`, spoken as Varlink on a socket of its own.
//!
//! Types of every reply, errors, the server half that the agent runs ([`server`]), the client half
//! that the command line uses ([`client`]), and the [`board`] between a swap and those who follow
//! it.

pub mod board;
pub mod client;
mod error;
pub mod report;
pub mod server;
mod session;
mod types;

pub use error::Error;
pub use types::{
    Generation, GenerationList, Level, Notice, NoticeList, Outcome, OutcomeKind, Progress, Reboot,
    Release, Step, StepState, SwapList, SwapReply, SwapSummary,
};

/// The name of the interface, as in the checked-in description `docs/io.rollinit.Agent.varlink`.
pub const INTERFACE: &str = "io.rollinit.Agent";

/// What stands in the place of an app's name when the system itself is meant. No app is called so.
pub const SYSTEM: &str = "system";

/// Where the agent listens unless it is told otherwise.
pub const SOCKET_PATH: &str = "/run/rollinit/agent";
