//! `rollinit-network`: brings one host onto its network and keeps it there.
//!
//! Is: clients of DHCPv4 and DHCPv6 as pure state machines, what follows from their leases as a
//! pure plan, and (in the program) the small daemon around them. May touch: links, addresses,
//! routes and rules (netlink, through `sys`), `/run/rollinit`, the kernel's host name. Never:
//! guesses an address, gives up, runs a script.

pub mod datagram;
pub mod dhcp4;
pub mod dhcp6;
pub mod lease;
pub mod limits;
pub mod names;
pub mod plan;
pub mod retry;
pub mod router;
pub mod state;
