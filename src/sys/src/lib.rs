//! `sys`: every raw system call of rollinit, behind safe functions.
//!
//! Is: the spawn engine, reaping, signals, cgroups, mounts, modules, netlink, sockets, mappings.
//! May touch: the kernel. The only room with `unsafe`, each block with its SAFETY line.
//! Never: policy, text formats, async, NSS, a global that outlives its caller's wish.

pub mod acpi;
pub mod cgroup;
pub mod child;
pub mod clock;
pub mod console;
pub mod detach;
pub mod entropy;
pub mod files;
pub mod growth;
pub mod helper;
pub mod inherit;
pub mod kernel_mounts;
pub mod kmsg;
pub mod link;
pub mod listen;
pub mod log_pipe;
pub mod log_sink;
pub mod memory;
pub mod module;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod network;
pub mod notify;
pub mod packet;
pub mod partition;
pub mod peer;
pub mod place;
pub mod poll;
pub mod process;
pub mod reap;
pub mod reboot;
pub mod rendezvous;
pub mod reuseport;
pub mod seqpacket;
pub mod serial;
pub mod signal;
pub mod spawn;
pub mod stdio;
pub mod tree;
pub mod uevent;
pub mod user;
pub mod watch;
pub mod watchdog;
pub mod who;
