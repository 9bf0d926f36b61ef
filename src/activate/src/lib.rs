//! `rollinit-activate`: what a host has to be told once a boot.
//!
//! Is: one task a call (`/etc`, accounts, tmpfiles, sysctl, host name, machine id, modules, data
//! volumes), run by the supervisor as oneshots of its graph. May touch: what the task names. Never:
//! stays, runs a shell, changes what an operator made.
