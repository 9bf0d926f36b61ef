//! How a host leaves a load balancer and comes back, with nobody's request cut off.
//!
//! [`machine`] decides; it is pure and its module text is the specification. [`haproxy`] and
//! [`alb`] read how the host stands in a balancer and carry out its orders; [`Front`] is either of
//! them, and [`drive()`] lets the machine work on one.
//!
//! Never: keeps a state of its own. What was taken out is written down by whoever drives, before it
//! is taken out, so that a restart gives back exactly that and nothing that somebody else took out.

pub mod alb;
pub mod connections;
pub mod drive;
pub mod haproxy;
pub mod limits;
pub mod machine;
pub mod record;

mod front;

pub use drive::{Driver, drive};
pub use front::{Front, Scope, Wanted};
