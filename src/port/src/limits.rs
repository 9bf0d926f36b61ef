//! Every bound of the port, with its unit and its reason.

/// One frame, header included, in bytes. A `SOCK_SEQPACKET` packet must fit the socket buffer, and
/// PID 1 keeps one receive buffer of this size for its whole life.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// A spawn body sent in a memfd instead of the frame, in bytes. Above `execve`'s practical sizes
/// for a service, below what would hurt PID 1's fixed arena.
pub const SPECIFICATION_BYTES_MAX: usize = 1024 * 1024;

/// A key in bytes: a service's name. Also a cgroup's and a file's name, so far below NAME_MAX.
pub const KEY_BYTES_MAX: usize = 64;

/// The supervisor's own words about one key, in bytes.
pub const MEMO_BYTES_MAX: usize = 2048;

/// Keys known at once. A host is single-purpose: tens of services; 1,000 are measured.
pub const KEYS_MAX: usize = 2048;

/// Runs (living and tombstones) at once: more than keys, since an overlap has two runs of a key.
pub const RUNS_MAX: usize = 4096;

/// A cgroup path below PID 1's own cgroup root, in bytes: `services/KEY.0`.
pub const CGROUP_BYTES_MAX: usize = 96;

/// A name in the fd store, in bytes: `listen/KEY/NAME`.
pub const FD_NAME_BYTES_MAX: usize = 160;

/// Kept file descriptors at once: two log pipe ends, a notify socket and a listener for each of
/// 1,000 services.
pub const KEPT_FDS_MAX: usize = 4096;

/// Descriptors in one frame: cwd, stdin, stdout, stderr, and a memfd with the body.
pub const FDS_PER_FRAME_MAX: usize = 8;

/// Kept descriptors passed to one child after 0–2 (`LISTEN_FDS`).
pub const PASSED_FDS_MAX: usize = 64;

/// Strings in argv, and in the environment.
pub const STRINGS_MAX: usize = 4096;

/// Supplementary groups of one child. The kernel takes 65,536; nobody needs more than this.
pub const GROUPS_MAX: usize = 64;

/// Resource limits of one child: the kernel knows 16.
pub const RESOURCE_LIMITS_MAX: usize = 16;

/// Room kept in the environment for a pid written by the child: `LISTEN_PID=` and ten digits.
pub const PID_SLOT_BYTES: usize = 10;

/// Pids named in one `stuck` event. The first few tell who it is.
pub const STUCK_PIDS_MAX: usize = 16;

/// The kernel function a stuck leader sleeps in (`/proc/PID/wchan`), in bytes.
pub const WCHAN_BYTES_MAX: usize = 64;

/// Events waiting for an owner that does not read. Beyond it PID 1 drops what a snapshot restores
/// and sends a fresh snapshot when the owner reads again.
pub const EVENTS_QUEUED_MAX: usize = 256;
