//! Every bound of the fleet's records and waits, with its unit and its reason.

/// A record on the ledger in bytes. DynamoDB stores items of up to 400 KiB.
pub const RECORD_BYTES_MAX: usize = 256 * 1024;

/// Apps of a group. A host of ours serves one purpose.
pub const APPS_MAX: usize = 64;

/// Holders of slots in a group. With more hosts out at once a group is not rolled, it is down.
pub const HOLDERS_MAX: usize = 256;

/// Failed releases that are remembered per app. A path that fell off the end meets its gate again.
pub const FAILED_MAX: usize = 32;

/// Migrations of an app whose outcome is remembered. One that fell off the end is run again, which
/// `bin/migrate` must bear anyhow.
pub const MIGRATIONS_MAX: usize = 64;

/// A text of somebody else's making in bytes, cut at a character.
pub const TEXT_BYTES_MAX: usize = 512;

/// A name (host, app, group, person) in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// The file in which a host says where it belongs, in bytes: an address of a ledger and two names.
pub const SEAT_BYTES_MAX: usize = 8 * 1024;

/// A rollout's id in bytes: with a slot's number and `-back` it is a swap's id to the supervisor,
/// which has room for 32.
pub const ROLLOUT_ID_BYTES_MAX: usize = 18;

/// Between two looks at the ledger, in milliseconds, when something goes on in the group: a rollout
/// of ten hosts, one by one, looks some twenty times, and a look costs a host one small request.
pub const LOOK_BUSY_MS: u64 = 1_000;

/// Between two looks at the ledger, in milliseconds, when nothing goes on. A release waits for half
/// of it, so an engine that is not paid by the request is looked at more often (`Facts::idle_ms`).
pub const LOOK_IDLE_MS: u64 = 10_000;

/// Between two words of a host about itself, in milliseconds, when nothing has changed: a write of
/// a few hundred bytes, 2880 a day.
pub const BEAT_MS: u64 = 30_000;

/// How long a host's record stands unchanged, on the reader's clock and in milliseconds, until the
/// host is no member any more. A network that is away for a minute or two makes nobody leave.
pub const SILENT_MS: u64 = 180_000;

/// How long a reader's own record may stand unchanged, in milliseconds, until the reader does not
/// know any more whether anybody can write. Two words of it that got lost are nothing yet.
pub const OWN_SILENCE_MS: u64 = 3 * BEAT_MS;

/// How long a host must be silent until its record is removed, in milliseconds: a day, so that
/// people still find it the next morning.
pub const FORGET_MS: u64 = 24 * 60 * 60 * 1_000;

/// After an answer that never came, in milliseconds, until it is asked again; it doubles.
pub const RETRY_MS_MIN: u64 = 500;

/// Longest pause between tries, in milliseconds.
pub const RETRY_MS_MAX: u64 = 15_000;

/// How long a host that could not (its disk, its cache, its balancer) leaves the release alone, in
/// milliseconds; twice as long after each further try. Others take the slot meanwhile.
pub const REFUSED_MS: u64 = 60_000;

/// The longest of these pauses, in milliseconds: what has lasted for half an hour waits for a
/// person, who then does not wait for long.
pub const REFUSED_MS_MAX: u64 = 15 * 60_000;

/// How long a slot is held before the others ask whether its holder still exists, in milliseconds.
/// A swap with a short bake takes less.
pub const HOLDER_ASK_AFTER_MS: u64 = 60_000;

/// Between two such questions, in milliseconds: each is a call to EC2, and calls are rationed.
pub const HOLDER_ASK_EVERY_MS: u64 = 60_000;

/// How long a holder must be unknown to EC2 until it counts as gone, in milliseconds. EC2 forgets
/// instances an hour after their end, and for moments also new ones.
pub const UNKNOWN_MS: u64 = 300_000;
