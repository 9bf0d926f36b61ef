//! Release documents: what an app shall run, signed by persons, and how a host follows one.
//!
//! Pure: bytes and moments go in, verdicts and effects come out. No clock, no socket, no file.

pub mod limits;
pub mod time;

pub use time::Time;
