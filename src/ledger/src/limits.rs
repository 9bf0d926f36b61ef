//! Every bound of the engines, with its unit and its reason.

use std::time::Duration;

/// A key in bytes. The longest of ours names an environment, a group, an app and a host.
pub const KEY_BYTES_MAX: usize = 512;

/// A value in bytes: what rollout's records may have, with room for a release that allows more.
pub const VALUE_BYTES_MAX: usize = 384 * 1024;

/// Entries of one folder that are listed. A group has a few hundred hosts.
pub const ENTRIES_MAX: usize = 4_096;

/// How long an engine may take to be connected to. It is in the same region.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long one answer may take. etcd itself gives up a write after 7 s at the latest (its default
/// election timeout of 1 s, and what it adds); whoever waits less has more that is unknown.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

/// How long one read or write of DynamoDB or S3 may take, its tries and pauses included. A
/// throttled second passes within it. A heartbeat that a dead connection swallowed is written
/// again before its lease of 30 s is at two thirds: it began at one.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(6);

/// How long a listing of names may take: of several pages, and nobody's lease waits for it.
pub const LIST_TIMEOUT: Duration = Duration::from_secs(15);

/// Entries of S3 that a listing reads at once: a group of some hundred hosts in a second or two.
pub const LIST_READERS: usize = 16;

/// A value in bytes up to which what S3 listed is kept in mind: what a host says of itself has some
/// 2 KiB. As many as may be listed take 32 MiB.
pub const LISTED_BYTES_MAX: usize = 8 * 1024;

/// Writes at once by which S3 is probed: enough to catch one that looks first and writes then.
pub const PROBE_RACERS: usize = 4;

/// Tries of one write of the probe: a network that loses half of all answers passes.
pub const PROBE_TRIES: u32 = 5;

/// An answer in bytes: a listing of as many entries as are allowed would be larger, and nobody has
/// so many that are so large.
pub const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
