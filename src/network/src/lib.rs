//! `rollinit-network`: brings one host onto its network and keeps it there.
//!
//! Is: a DHCPv4 client as a pure state machine, and the small daemon around it. May touch: links,
//! addresses, routes and rules (netlink, through `sys`), `/run/rollinit/network`. Never: guesses an
//! address, gives up.
