//! Every bound of this crate, with its unit and its reason.

/// A record on disk in bytes. The bounds below make at most half of it.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// Paths that failed and are remembered per app. An app is released a few times a day; whoever
/// tries the 129th bad release again after that meets the gate again, not the users.
pub const FAILED_MAX: usize = 128;

/// Paths whose migration is known to be done, per app. One that fell off the end is migrated again,
/// which `bin/migrate` must bear anyhow.
pub const MIGRATED_MAX: usize = 256;

/// Swaps that are remembered after their end, per app: what `rollinit swaps` lists.
pub const HISTORY_MAX: usize = 100;

/// A text of somebody else's making (a reason, a probe's answer) in bytes, cut at a character.
pub const TEXT_BYTES_MAX: usize = 1024;

/// Probes in a row that must fail during bake, watch and way back until a version counts as sick.
/// One slow answer is not an illness; with the default period three are 3 s.
pub const PROBE_FAILURES_MAX: u32 = 3;

/// Ends of a run within a gate or a watch window that make a crash loop.
pub const CRASHES_MAX: u32 = 3;

/// How long a program without any other health check must stay up, in milliseconds.
pub const UP_MS: u64 = 1_000;

/// Time that a version of the way back has to pass its gate at least, in milliseconds. It was
/// healthy before; a short deadline of the release must not make a way back fail.
pub const BACK_GATE_MS_MIN: u64 = 60_000;

/// Times that a commit or the start of a way back which the host failed (not the release) is tried
/// again. With the pauses below it is five minutes.
pub const TRIES_MAX: u32 = 14;

/// First pause between such tries, in milliseconds; it doubles.
pub const RETRY_MS_MIN: u64 = 500;

/// Longest pause between such tries, in milliseconds.
pub const RETRY_MS_MAX: u64 = 30_000;

/// Times that a migration is started again after its lease ran out with nobody to blame.
pub const MIGRATE_TRIES_MAX: u32 = 3;

/// How long `--test` waits for `rollinit confirm` when nothing else is said, in milliseconds.
pub const CONFIRM_MS_DEFAULT: u64 = 120_000;

/// Lease of a hook in milliseconds, renewed while the agent lives.
pub const HOOK_LEASE_MS: u64 = 60_000;

/// A hook's time in milliseconds. A smoke test that takes longer is a failed one.
pub const HOOK_DEADLINE_MS: u64 = 300_000;
