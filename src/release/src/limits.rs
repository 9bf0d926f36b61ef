//! Every bound of releases, with its unit and its reason.

/// A document with its signatures in bytes. A signature is some 300 bytes.
pub const RELEASE_BYTES_MAX: usize = 64 * 1024;

/// A document without signatures in bytes: a path, a digest and a few words.
pub const DOCUMENT_BYTES_MAX: usize = 8 * 1024;

/// Signatures of one document. More persons than this never have to agree.
pub const SIGNATURES_MAX: usize = 32;

/// A file of allowed signers in bytes.
pub const SIGNERS_BYTES_MAX: usize = 64 * 1024;

/// Keys of allowed signers. A team has a few each.
pub const SIGNERS_MAX: usize = 256;

/// A name (app, group, person) in bytes: what the fleet's records take.
pub const NAME_BYTES_MAX: usize = 128;

/// A note in bytes: one line for people.
pub const NOTE_BYTES_MAX: usize = 512;

/// A store path in bytes.
pub const PATH_BYTES_MAX: usize = 255;

/// The largest serial: ten digits, so that a rollout's id (`release-SERIAL`) has room for its slot.
pub const SERIAL_MAX: u64 = 9_999_999_999;

/// How far the clock of whoever made a document may be before the host's, in seconds. Both ask NTP.
pub const CLOCK_AHEAD_S: u64 = 600;

/// The shortest time between two looks at a document, in milliseconds.
pub const EVERY_MS_MIN: u64 = 1_000;

/// The longest time between two looks at a document, in milliseconds: a day.
pub const EVERY_MS_MAX: u64 = 24 * 3_600_000;

/// How much later than said a look may come, in percent: so many hosts do not ask at once.
pub const JITTER_PERCENT: u64 = 20;

/// A text of somebody else's making in bytes, in what is said aloud.
pub const SAID_BYTES_MAX: usize = 300;
