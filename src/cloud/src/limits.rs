//! Every bound of the clients, with its unit and its reason.

use std::time::Duration;

/// Bytes of an answer of the metadata service but user-data: its largest document (the identity
/// with its signature) has some 2 KiB.
pub const METADATA_BYTES_MAX: usize = 64 * 1024;

/// Bytes of user-data: EC2 takes 16 KiB.
pub const USER_DATA_BYTES_MAX: usize = 16 * 1024;

/// Bytes of an answer of an AWS call: a page of DescribeInstances with [`PAGE_ITEMS`] instances has
/// some 500 KiB.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of an error's text that are kept: some carry kilobytes of encoded policy.
pub const MESSAGE_BYTES_MAX: usize = 400;

/// How long a metadata token lasts, in seconds: the longest that there is. One is made in a
/// millisecond, and a forgotten one is answered by 401.
pub const TOKEN_TTL_S: u64 = 6 * 60 * 60;

/// A token is not used for so long before its end, so that none ends on its way.
pub const TOKEN_MARGIN: Duration = Duration::from_secs(60);

/// How long one request to the metadata service may take: it is a device of the same machine.
pub const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a connection to it may take to come up.
pub const METADATA_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Tries of one question to the metadata service: with the pauses some three seconds.
pub const METADATA_TRIES: u32 = 5;

/// How long a connection to AWS may take to come up.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long AWS may say nothing in the middle of an answer.
pub const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// Tries of one AWS call: with the pauses some ten seconds, which is longer than a throttled
/// second and shorter than the patience of who waits for it.
pub const CALL_TRIES: u32 = 6;

/// The first pause before a try is repeated; each next one is twice as long.
pub const RETRY_FIRST: Duration = Duration::from_millis(100);

/// The longest pause.
pub const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// Role credentials are renewed so long before their end. EC2 has the next ones ready some 15
/// minutes before.
pub const CREDENTIALS_MARGIN: Duration = Duration::from_secs(10 * 60);

/// Between two tries to renew credentials that still work, or that nobody has given so far.
pub const CREDENTIALS_RETRY: Duration = Duration::from_secs(30);

/// Items asked for in one page of a listing: what EC2 allows at most.
pub const PAGE_ITEMS: usize = 1_000;

/// Pages of one listing: a hundred thousand items, a hundred times the fleets that we are for.
pub const PAGES_MAX: usize = 100;

/// Names in one call of GetParameters: what SSM allows.
pub const PARAMETERS_PER_CALL: usize = 10;
