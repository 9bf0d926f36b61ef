//! What can go wrong, each with its step, its object and its cure.

use crate::hash::Sha256;
use crate::narinfo::NarInfoError;
use crate::path::{PathError, StorePath};
use std::fmt;
use std::io;
use std::path::Path;

/// The result of everything here that touches a store.
pub type Result<T> = std::result::Result<T, Error>;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The store was being opened, or made.
    Open,
    /// Caches and keys were being read from the configuration.
    Configure,
    /// The closure was being walked.
    Plan,
    /// NARs were being downloaded and unpacked.
    Fetch,
    /// What was unpacked was being named and registered.
    Register,
    /// A root was being set or removed.
    Root,
    /// A profile was being read or moved.
    Profile,
    /// Something was being asked of the database.
    Query,
}

impl Step {
    /// The word of the step, as messages and screens have it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open store",
            Self::Configure => "configure caches",
            Self::Plan => "plan",
            Self::Fetch => "fetch",
            Self::Register => "register",
            Self::Root => "root",
            Self::Profile => "profile",
            Self::Query => "query store",
        }
    }
}

/// One failure. None of them is the fault of a release's program: all are of the host, of a cache,
/// or of how the release was uploaded, and after each of them the store is as it was.
#[derive(Debug)]
pub struct Error {
    /// What was being done.
    pub step: Step,
    /// What it was done to: a store path, a file, an address.
    pub object: String,
    /// What was wrong with it.
    pub fault: Fault,
}

/// What was wrong.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is no database of Nix's.
    #[error("Nix's database is not there")]
    NoDatabase,
    /// The database is of a form that this program does not know.
    #[error("the database has schema {found:?}, and only {known} is known here")]
    Schema {
        /// What the file `schema` says.
        found: String,
        /// What this program writes.
        known: u32,
    },
    /// SQLite failed.
    #[error("the database failed: {0}")]
    Database(#[source] rusqlite::Error),
    /// The system failed.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// Another process holds a lock for too long.
    #[error("another process has held this lock for {waited_ms} ms")]
    Locked {
        /// How long was waited.
        waited_ms: u64,
    },
    /// The collector holds its lock and does not answer.
    #[error("the garbage collector runs and did not answer for {waited_ms} ms")]
    Collector {
        /// How long was waited.
        waited_ms: u64,
    },
    /// Not a store path.
    #[error("{0}")]
    Path(#[from] PathError),
    /// Not a name for a root or an app.
    #[error("not a name: 1 to {max} of 0-9 A-Z a-z . _ @ -, and the first no dot")]
    Name {
        /// The most bytes.
        max: usize,
    },
    /// A path that has to be valid is not.
    #[error("it is not valid in this store")]
    NotValid,
    /// Not an address of a cache.
    #[error("not an address of a binary cache: {0}")]
    Address(String),
    /// Not a public key.
    #[error("not a public key: {0}")]
    Key(String),
    /// No cache or no key is configured.
    #[error("no {0} is configured")]
    Nothing(&'static str),
    /// No certificate of a root is known, so no TLS connection can be trusted.
    #[error("no root certificates were found: {0}")]
    Certificates(String),
    /// No cache has the path.
    #[error("{} (404)", nobody_has_it(*caches))]
    NotFound {
        /// How many caches were asked.
        caches: usize,
    },
    /// A narinfo names a NAR that is not there.
    #[error("the cache has its narinfo and not its NAR {url} (404)")]
    NarMissing {
        /// The address.
        url: String,
    },
    /// The cache refuses.
    #[error("the cache answers {status} to {url}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The address.
        url: String,
    },
    /// The cache does not answer, or dies in the middle, for longer than the deadline.
    #[error("the cache gave nothing for {waited_ms} ms, in {tries} tries; the last: {last}")]
    Unreachable {
        /// How long, since the last byte of anything arrived.
        waited_ms: u64,
        /// Tries in that time.
        tries: u32,
        /// How the last of them ended.
        last: String,
    },
    /// The narinfo cannot be read, or is of something else.
    #[error("its narinfo is refused: {0}")]
    NarInfo(#[source] NarInfoError),
    /// The narinfo carries no signature at all.
    #[error("it is not signed")]
    Unsigned,
    /// It is signed, by nobody trusted here.
    #[error("it is signed by {signers} only, which is not trusted here")]
    UntrustedKey {
        /// The names of its keys.
        signers: String,
    },
    /// A trusted key's name stands on a signature that is not its own.
    #[error("its signature by {key} is false")]
    FalseSignature {
        /// The name of the key.
        key: String,
    },
    /// The NAR is compressed in a way that is not read here.
    #[error("its NAR is compressed with {0}, and only zstd, xz and none are read here")]
    Compression(String),
    /// The NAR has another hash.
    #[error("its NAR has hash {found} instead of {expected}")]
    WrongHash {
        /// What was signed.
        expected: Sha256,
        /// What arrived.
        found: Sha256,
    },
    /// The NAR ends before its time.
    #[error("its NAR ends after {found} of {expected} bytes")]
    Truncated {
        /// What was signed, in bytes.
        expected: u64,
        /// What arrived, unpacked, in bytes.
        found: u64,
    },
    /// The NAR goes on after its end.
    #[error("its NAR is larger than the {expected} bytes that were signed")]
    TooLarge {
        /// What was signed, in bytes.
        expected: u64,
    },
    /// The compressed form is larger than the NAR could ever need.
    #[error("its NAR of {expected} bytes comes in more than {limit} compressed bytes")]
    TooManyBytes {
        /// What was signed, in bytes.
        expected: u64,
        /// The most compressed bytes that are read for it.
        limit: u64,
    },
    /// The compressed form asks for too large a dictionary.
    #[error("its NAR needs a larger xz dictionary than is admitted")]
    Dictionary,
    /// The compressed form asks for too large a window.
    #[error("its NAR needs a zstd window of {asked_bytes} bytes, and {limit_bytes} is the most")]
    Window {
        /// What the frame declares.
        asked_bytes: u64,
        /// What is admitted.
        limit_bytes: u64,
    },
    /// The compressed form is damaged.
    #[error("its NAR does not decompress: {0}")]
    Damaged(String),
    /// The NAR is no NAR, or would write outside of its path.
    #[error("its NAR is refused: {0}")]
    Nar(#[source] crate::nar::NarError),
    /// Too few bytes are free, said before the first one is fetched.
    #[error("{needed_bytes} bytes are needed and {free_bytes} are free")]
    Space {
        /// What the missing paths need.
        needed_bytes: u64,
        /// What is free.
        free_bytes: u64,
    },
    /// Too few inodes are free, said before the first byte is fetched.
    #[error("about {needed} inodes are needed and {free} are free")]
    Inodes {
        /// What the missing paths need, as far as their sizes tell.
        needed: u64,
        /// What is free.
        free: u64,
    },
    /// The disk became full in the middle.
    #[error("the disk became full")]
    Full,
    /// The closure has more paths than are read here.
    #[error("its closure has more than {limit} paths")]
    TooManyPaths {
        /// The most.
        limit: usize,
    },
    /// Two paths refer to each other.
    #[error("it refers, over others, to itself: {0}")]
    Cycle(StorePath),
    /// A path refers to one that is neither valid nor fetched.
    #[error("it refers to {0}, which is not valid here")]
    Dangling(StorePath),
    /// Something in the store changed between plan and fetch.
    #[error("it was valid when the fetch was planned, and is not any more")]
    Vanished,
    /// A cache says otherwise than the peer did by which it was planned.
    #[error("the caches have it with another NAR or references than the peer that told of it")]
    Differs,
    /// The registration text is not one.
    #[error("line {line}: {what}")]
    Registration {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// The caller gave up.
    #[error("cancelled")]
    Cancelled,
}

fn nobody_has_it(caches: usize) -> String {
    match caches {
        1 => "the cache does not have it".to_owned(),
        many => format!("none of the {many} caches has it"),
    }
}

impl Fault {
    /// What to do about it.
    #[must_use]
    pub fn cure(&self) -> &'static str {
        match self {
            Self::NoDatabase => "an image's first database is written by `rollinit-mkstore`",
            Self::Schema { .. } => "use a Nix of 2.0 or later on this store, or a newer rollinit",
            Self::Database(_) => "see `nix-store --verify`; is the disk full or read-only?",
            Self::Io(_) => "see that the file system is there, writable and whole",
            Self::Locked { .. } => "see who holds it: `fuser FILE`",
            Self::Collector { .. } => "let `nix-store --gc` finish, or end it",
            Self::Path(_) => "give the path that `nix-build` printed",
            Self::Name { .. } => "choose another name",
            Self::NotValid => "fetch it first",
            Self::Address(_) => "write http://HOST/PATH or https://HOST/PATH",
            Self::Key(_) => "write NAME:BASE64, as `nix key convert-secret-to-public` prints it",
            Self::Nothing("key") => "add the cache's public key to `keys` in agent.toml",
            Self::Nothing(_) => "add one to `caches` in agent.toml",
            Self::Certificates(_) => "set SSL_CERT_FILE to a file of root certificates",
            Self::NotFound { .. } => "upload it: nix copy --to CACHE PATH; then ask again",
            Self::NarMissing { .. } | Self::Truncated { .. } | Self::Damaged(_) => {
                "upload it again: nix copy --to CACHE PATH, after removing its narinfo there"
            }
            Self::Status { .. } => "see the cache's log; are the rights of this host enough?",
            Self::Unreachable { .. } => "see that the cache runs and is reachable, then ask again",
            Self::NarInfo(_) => "see what made this cache",
            Self::Unsigned => "sign it: nix store sign -r -k SECRET-KEY PATH, and upload it again",
            Self::UntrustedKey { .. } => "sign it with a trusted key, or add its key to `keys`",
            Self::FalseSignature { .. } => {
                "do not trust this cache; if the key was made anew, give the new one another name"
            }
            Self::Compression(_) => "upload it with `nix copy --to 'CACHE?compression=zstd'`",
            Self::WrongHash { .. } | Self::TooLarge { .. } | Self::TooManyBytes { .. } => {
                "do not trust this cache before you know why; then upload the path again"
            }
            Self::Window { .. } => "compress it with a level of at most 19, without --long",
            Self::Dictionary => "compress it with xz level 6 at most, as `nix copy` does, or zstd",
            Self::Nar(_) => "do not trust this cache before you know what made this NAR",
            Self::Space { .. } | Self::Inodes { .. } | Self::Full => {
                "make room: remove generations, `nix-store --gc`, or grow the disk"
            }
            Self::TooManyPaths { .. } => "make the closure smaller",
            Self::Cycle(_) | Self::Dangling(_) => {
                "see what made this cache; Nix makes no such path"
            }
            Self::Vanished | Self::Differs => "ask again",
            Self::Registration { .. } => {
                "give what exportReferencesGraph or `nix-store --dump-db` wrote"
            }
            Self::Cancelled => "ask again",
        }
    }
}

impl Error {
    /// `fault` of `object` in `step`.
    pub fn new(step: Step, object: impl fmt::Display, fault: Fault) -> Self {
        Self { step, object: object.to_string(), fault }
    }

    /// For `map_err`: the system failed at `path` in `step`.
    pub fn io(step: Step, path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |error| {
            let fault = if is_full(&error) { Fault::Full } else { Fault::Io(error) };
            Self::new(step, path.display(), fault)
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn cure(&self) -> &'static str {
        self.fault.cure()
    }
}

/// Whether the system says that the disk, or the quota on it, is used up.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, object, fault } = self;
        write!(out, "{}: {object}: {fault}; {}", step.word(), fault.cure())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.fault)
    }
}
