//! Release documents: what an app of a group shall run, and who says so.
//!
//! Pure: bytes and moments go in, verdicts and effects come out. There is no clock here, no file,
//! no socket. The agent judges with this what it fetches, and `rollinit release` what it is given.
//!
//! - [`Document`] is what is signed; [`closure_digest`] binds it to every byte of a closure.
//! - [`Signers`] are the persons who may, as OpenSSH writes them down.
//! - [`Envelope`] is a document with its signatures, one file.
//! - [`judge`](judge()) says whether a host obeys it, and [`Refusal`] why not.
//! - [`Follower`] is how a host follows a document that changes.
//! - [`sign`] makes signatures where the key is a file.

mod document;
mod envelope;
mod follow;
mod judge;
pub mod limits;
pub mod sign;
mod signers;
pub mod time;

pub use document::{Document, DocumentError, FORMAT, closure_digest, is_name, is_store_path};
pub use envelope::{Envelope, EnvelopeError};
pub use follow::{Applied, Effect, Event, Facts, Follower, Found, Grade, Now, Trust, Wish};
pub use judge::{Policy, Refusal, Seen, Verified, judge};
pub use signers::{NAMESPACE, Signer, Signers, SignersError};
pub use time::Time;
