//! `port`: what PID 1 and its owner say to each other.
//!
//! Is: frame header, verbs, answers, events, snapshot pages, limits; both directions of the codec.
//! May touch: bytes that it is handed. Never: a clock, a socket, a file, text, unbounded memory.
//!
//! One frame is one packet on a `SOCK_SEQPACKET` socket pair: a fixed 16-byte [`Header`], then a
//! postcard body (<https://postcard.jamesmunns.com>), file descriptors by `SCM_RIGHTS`. Decoding
//! borrows from the packet and allocates nothing; every list has a cap in [`limits`].

pub mod event;
pub mod frame;
pub mod limits;
pub mod packed;
pub mod request;
pub mod snapshot;

pub use event::{Answer, Event, Message, Refusal};
pub use frame::{DecodeError, EncodeError, HEADER_BYTES, Header, VERSION};
pub use packed::{Limits, Numbers, ResourceLimit, Strings};
pub use request::{Request, Spawn};
pub use snapshot::{KeptEntry, KeyEntry, Page, RunEntry, SnapshotEnd};
