//! `sys`: every raw system call of rollinit, behind safe functions.
//!
//! Is: the spawn engine, reaping, signals, cgroups, mounts, modules, netlink, sockets, mappings.
//! May touch: the kernel. The only room with `unsafe`, each block with its SAFETY line.
//! Never: policy, text formats, async, NSS, a global that outlives its caller's wish.

pub mod block;
pub mod cgroup;
pub mod child;
pub mod clock;
pub mod console;
pub mod kmsg;
pub mod listen;
pub mod log_pipe;
pub mod memory;
pub mod module;
pub mod mount;
pub mod netlink;
pub mod notify;
pub mod peer;
pub mod poll;
pub mod reap;
pub mod reboot;
pub mod seqpacket;
pub mod signal;
pub mod spawn;
pub mod uevent;
pub mod user;
