//! The control interfaces: `io.rollinit.Supervisor` and, of the agent, `io.rollinit.Agent`, both
//! spoken as Varlink (<https://varlink.org>) on a Unix stream socket of their own.
//!
//! Here live the types of every reply, the errors, who may do what ([`roles`]), the server halves
//! that supervisor and agent run ([`server`], [`agent::server`]) and the client halves that the
//! command line and the agent use ([`client`], [`agent::client`]).
//! It touches the sockets it is handed and nothing else: no clock, no file, no process.
//! It never decides what happens to a service or a swap, and it never blocks the thread it runs on.

mod accept;
pub mod agent;
pub mod base64;
pub mod client;
pub mod error;
pub mod limits;
pub mod roles;
pub mod server;
mod session;
mod stream;
pub mod types;

pub use error::Error;

/// The name of the interface, as in the checked-in description
/// `docs/io.rollinit.Supervisor.varlink`.
pub const INTERFACE: &str = "io.rollinit.Supervisor";

/// Where the supervisor listens unless it is told otherwise.
pub const SOCKET_PATH: &str = "/run/rollinit/supervisor";
