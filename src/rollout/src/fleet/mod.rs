//! How a release goes over a group of hosts: the records on the ledger, and each host's part.
//!
//! No host leads. The ledger holds one [`Group`] record for each group, which everybody changes
//! by compare-and-swap, and one [`Status`] for each host, which only that host writes. What a host
//! does follows from the newest record and from what runs on it ([`member`]), so an answer that
//! was lost, a restart or a partition needs no code of its own: read again, decide again.
//!
//! - [`group`] is the record, and every change that may be made to it, with what refuses it.
//! - [`member`] decides for one host.
//! - [`lock`] lets one host at a time migrate.
//!
//! Nothing here knows an engine: what it expects of one is the trait [`Ledger`](crate::Ledger).

/// What the hosts' own system is called among the apps of a group. No app is called so.
pub const SYSTEM: &str = "system";

pub mod group;
mod hand;
pub mod keys;
pub mod limits;
pub mod lock;
pub mod member;
pub mod migrations;
mod portion;
mod record;
mod refusal;
mod roll_call;
pub mod seat;
pub mod status;
mod swap_id;

pub use group::{Ended, Failed, Group, Holder, How, Pause, Rollout, Stop, Track, Version};
pub use lock::{Lock, LockEffect, LockEvent, Verdict, Wish};
pub use member::{Barred, Effect, Event, Facts, Gone, Local, LocalSwap, Member};
pub use migrations::{Hold, Migrations, Outcome};
pub use portion::{Portion, PortionError};
pub use refusal::Refusal;
pub use roll_call::RollCall;
pub use seat::Seat;
pub use status::{AppStatus, AppWord, Status};
pub use swap_id::SwapId;
