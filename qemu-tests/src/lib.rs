//! `qemu-tests`: what the process and QEMU tests are made of.
//!
//! Is: guests under QEMU (QMP, serial line, command channel), PID 1 in a namespace, an honest load
//! generator, small test apps.
//! May touch: processes that it started itself, loopback, `target/`.
//! Never: be linked into anything that ships.
pub mod apphost;
pub mod aws;
pub mod cache;
pub mod cluster;
pub mod contained;
pub mod fleet;
pub mod free_port;
pub mod guest;
pub mod guests;
pub mod load;
pub mod nbd;
pub mod proxy;
pub mod testagent;
pub mod testapp;
pub mod turns;
