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
    Generation, GenerationList, Outcome, OutcomeKind, Progress, Release, Step, StepState, SwapList,
    SwapReply, SwapSummary,
};

/// The name of the interface, as in the checked-in description `docs/io.rollinit.Agent.varlink`.
pub const INTERFACE: &str = "io.rollinit.Agent";

/// Where the agent listens unless it is told otherwise.
pub const SOCKET_PATH: &str = "/run/rollinit/agent";
