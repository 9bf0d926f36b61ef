//! Every bound of the agent, with its unit and its reason.

/// Bytes of the configuration: a hundred caches and keys take less than 16 KiB.
pub const CONFIG_BYTES_MAX: usize = 64 * 1024;

/// Caches and keys a configuration may name. Each cache is asked for each path that the ones
/// before it lack.
pub const CACHES_MAX: usize = 16;
/// See [`CACHES_MAX`]; each signature of a path is tried against the key of its name alone.
pub const KEYS_MAX: usize = 64;

/// Files of one name that are kept when they are set aside; a further one takes the last one's
/// place, and that is said.
pub const ASIDE_MAX: usize = 16;

/// Swaps whose progress is kept in memory for who follows late; older ones are told from the
/// journal, with their outcome alone.
pub const FOLLOWED_MAX: usize = 32;

/// Subjects about which something stands in `rollinit status`: nobody reads more than a screen.
pub const NOTICES_MAX: usize = 64;

/// Bytes of a probe's answer that an error text shows: a line or two of a person's screen.
pub const EXCERPT_BYTES_MAX: usize = 200;

/// Between two progress reports of a fetch, in milliseconds: faster than an eye follows is noise.
pub const FETCH_REPORT_MS: u64 = 100;

/// The first and the longest pause before a call of the supervisor is repeated, in milliseconds.
/// PID 1 restarts it at once, and its socket is kept, so the first pause is the usual one.
pub const RECONNECT_MIN_MS: u64 = 50;
/// See [`RECONNECT_MIN_MS`].
pub const RECONNECT_MAX_MS: u64 = 2_000;

/// How long the supervisor may be away, in milliseconds, before it is said once.
pub const AWAY_SAID_MS: u64 = 5_000;
