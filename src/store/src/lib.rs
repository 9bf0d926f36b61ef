//! `store`: Nix's store without Nix, as far as a host needs it.
//!
//! Is: store paths, NARs, narinfos and their signatures; the fetch of a closure from binary caches
//! into `/nix/store`, and from peers; registration in Nix's own database; roots and profiles; the
//! host's own store as a cache for others.
//! May touch: the store directory, Nix's state directory, the network (in `fetch` and `serve`).
//! Never: evaluates or builds, trusts a byte from a cache before its signature and hash are
//! checked, registers what is not yet on the disk, decides when anything is fetched.
//!
//! Formats ([`path`], [`base32`], [`base64`], [`hash`], [`nar`], [`narinfo`], [`signature`]) are
//! plain and synchronous; what is foreign is parsed totally and under named caps.

pub mod base32;
pub mod base64;
pub mod database;
pub mod error;
pub mod fetch;
pub mod fingerprints;
pub mod hash;
pub mod locks;
pub mod nar;
pub mod narinfo;
mod offers;
pub mod path;
pub mod plan;
pub mod profile;
pub mod registration;
pub mod roots;
pub mod serve;
pub mod signature;
pub mod space;
pub mod store;
pub mod temproots;

pub use error::{Error, Fault, Result, Step};
pub use path::StorePath;
pub use store::Store;
