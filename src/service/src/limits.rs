//! Every bound of this crate, with its unit and its reason.

/// A definition file in bytes. The longest hand-written unit files are a tenth of it; a file above
/// is a mistake (a log, a disk image) and not worth parsing.
pub const FILE_BYTES_MAX: usize = 64 * 1024;

/// Services on a host. PID 1 keeps 2,048 keys; hosts have tens.
pub const SERVICES_MAX: usize = 1024;

/// A service's name in bytes: PID 1's cap for a key. It also names a cgroup and files.
pub const NAME_BYTES_MAX: usize = 64;

/// An app's name in bytes: with the longest ending of its keys, `.after-switch`, it fits
/// [`NAME_BYTES_MAX`].
pub const APP_NAME_BYTES_MAX: usize = 48;

/// A closure's store path in bytes. Nix's own bound: `/nix/store/`, 32 letters, `-`, and a name of
/// 211.
pub const CLOSURE_BYTES_MAX: usize = 255;

/// A swap's id in bytes. The agent gives 4 letters; its ways back append a word.
pub const SWAP_ID_BYTES_MAX: usize = 32;

/// The path that an HTTP probe asks for, in bytes. Health checks live at the root.
pub const PROBE_PATH_BYTES_MAX: usize = 1024;

/// Probes that must pass in a row. At the shortest period that is ten seconds.
pub const PROBE_PASSES_MAX: u32 = 1000;

/// The shortest period of a probe in milliseconds: a hundred a second is load already.
pub const PROBE_EVERY_MS_MIN: u64 = 10;

/// The shortest lease of a task in milliseconds: below, one lost wake-up would end it.
pub const LEASE_MS_MIN: u64 = 1000;

/// How long to wait before a group that could not be brought into order is tried again, in
/// milliseconds.
pub const GROUP_RETRY_MS: u64 = 1000;

/// Arguments of `exec`, the program included. Far above use, so that a slip is noticed.
pub const ARGUMENTS_MAX: usize = 256;

/// One string of a definition in bytes: the kernel's `PATH_MAX`, and enough for any argument.
pub const STRING_BYTES_MAX: usize = 4096;

/// Variables in `environment`.
pub const ENVIRONMENT_MAX: usize = 256;

/// Names in one of `after`, `before`, `requires`, `wants`.
pub const EDGES_MAX: usize = 64;

/// Supplementary groups: PID 1's cap for a child.
pub const GROUPS_MAX: usize = 64;

/// Listening sockets of one service: PID 1 passes at most 64 descriptors.
pub const LISTEN_MAX: usize = 64;

/// A listening socket's name in bytes: the port's cap for `listen/SERVICE/NAME` is 160.
pub const LISTEN_NAME_BYTES_MAX: usize = 64;

/// The path of a Unix socket in bytes: `sun_path` of unix(7) holds 108 with its NUL.
pub const UNIX_PATH_BYTES_MAX: usize = 107;

/// Credentials of one service. Programs have a handful; SSM is asked for ten at once.
pub const CREDENTIALS_MAX: usize = 32;

/// A credential's name in bytes: it is a file's name, and stands in messages.
pub const CREDENTIAL_NAME_BYTES_MAX: usize = 64;

/// One credential in bytes. SSM holds at most 8 KiB; a chain of certificates from a path fits, and
/// base64 of it fits one call of the control socket.
pub const CREDENTIAL_BYTES_MAX: usize = 32 * 1024;

/// The name of a parameter of SSM in bytes: AWS's own bound for an ARN.
pub const PARAMETER_BYTES_MAX: usize = 2048;

/// Any duration of a definition in milliseconds: a year. Beyond it something was misspelt.
pub const DURATION_MS_MAX: u64 = 365 * 24 * 3600 * 1000;

/// `pids.max` of a service that says nothing. A fork bomb stops here; busy servers have hundreds.
pub const PIDS_MAX_DEFAULT: u64 = 4096;

/// Restarts that `intensity` may count: their times must fit the memo.
pub const INTENSITY_MAX: u32 = 32;

/// A service's own `STATUS=` text in bytes, cut at a character. It must fit the memo.
pub const STATUS_BYTES_MAX: usize = 256;

/// Any other text kept in a memo in bytes, cut at a character: a reason, a step, a wchan.
pub const REASON_BYTES_MAX: usize = 160;

/// A memo in bytes: what PID 1 keeps for a key.
pub const MEMO_BYTES_MAX: usize = 2048;

/// Pids of a stuck run that are remembered. PID 1 names the first few.
pub const STUCK_PIDS_MAX: usize = 16;

/// A datagram of a service in bytes. sd_notify(3) sets none; PID 1's frame is 64 KiB and real
/// messages have tens of bytes.
pub const NOTIFICATION_BYTES_MAX: usize = 4096;

/// How long services may take to stop before the machine is ended with what is left, in
/// milliseconds. Below the two minutes after which clouds cut the power.
pub const SHUTDOWN_TIMEOUT_MS: u64 = 60_000;

/// The longest that whoever asks for a shutdown may give services instead, in milliseconds: an
/// hour, which is how long an Auto Scaling group waits unless it is told otherwise.
pub const SHUTDOWN_WITHIN_MAX_MS: u64 = 60 * 60 * 1_000;

/// Commands waiting for their service to come up or go down, over all services. An operator has
/// one or two; a script that repeats itself is told to wait.
pub const COMMANDS_PENDING_MAX: usize = 256;
