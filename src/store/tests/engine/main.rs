//! The engine against Debian's Nix: what is fetched from a cache that Nix wrote, Nix verifies; and
//! what a cache may do wrong is refused, one by one.
#![allow(missing_docs, clippy::unwrap_used)]

mod collector;
mod faults;
mod fetch;
mod fixture;
mod full;
mod https;
mod image;
mod peers;
mod profile;
mod resume;
