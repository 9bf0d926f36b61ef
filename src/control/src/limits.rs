//! The limits of the control socket, each with its reason.

/// Connections served at once.
/// A few operators, a monitor, the agent; each costs a few KiB and one descriptor.
pub const CONNECTIONS_MAX: usize = 64;

/// Connections served at once for one uid other than root and the supervisor's own.
/// A single user, however careless, leaves room for everybody else.
pub const CONNECTIONS_PER_UID_MAX: usize = 16;

/// Of [`CONNECTIONS_MAX`], kept free for root: the host can be stopped while others hold the rest.
pub const CONNECTIONS_FOR_ROOT: usize = 8;

/// Bytes of one call. The largest honest one (a method name and a service's name) is under 1 KiB.
pub const CALL_BYTES_MAX: usize = 64 * 1024;

/// Records in one reply of `GetLogs` and `WatchEvents`; longer backlogs take several replies.
pub const RECORDS_PER_REPLY_MAX: usize = 256;

/// Lines one call of `GetLogs` may ask for. More than any ring holds on a small host, and a bound
/// on what one caller makes the supervisor collect.
pub const LOG_LINES_MAX: u32 = 100_000;

/// Lines `GetLogs` answers with when the caller names no number: a few screens.
pub const LOG_LINES_DEFAULT: u32 = 100;

/// Batches that wait between the supervisor and one slow reader of a feed.
/// Beyond it the sender has to wait or to count what it drops.
pub const FEED_BATCHES_MAX: usize = 16;

/// How long the server rests after `accept` failed (no descriptors left), in milliseconds.
/// Without it the loop would turn at full speed for as long as the cause lasts.
pub const ACCEPT_PAUSE_MS: u64 = 100;

/// Bytes of a service's name. Longer ones are cut in error texts.
pub const NAME_BYTES_MAX: usize = 128;
