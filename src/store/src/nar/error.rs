//! Why a NAR is refused, and at which byte.

use super::{DEPTH_MAX, NAME_BYTES_MAX, NODES_MAX, TARGET_BYTES_MAX};
use std::io;

/// Why a NAR is refused.
#[derive(Debug, thiserror::Error)]
pub enum NarError {
    /// The input failed.
    #[error("NAR at byte {at}: cannot read on: {source}")]
    Input {
        /// Bytes of the archive read before.
        at: u64,
        /// What the input said.
        source: io::Error,
    },
    /// The input ended too early.
    #[error("NAR at byte {at}: ends there, in the middle: truncated on the way, fetch it again")]
    Truncated {
        /// Bytes of the archive read.
        at: u64,
    },
    /// It needs more bytes than it was said to have.
    #[error("NAR at byte {at}: does not end within the {size} bytes of its NarSize")]
    TooLong {
        /// Bytes of the archive read.
        at: u64,
        /// Bytes that it was said to have.
        size: u64,
    },
    /// It ended before the bytes that it was said to have.
    #[error("NAR at byte {at}: is complete there, but its NarSize is {size}")]
    TooShort {
        /// Bytes of the archive.
        at: u64,
        /// Bytes that it was said to have.
        size: u64,
    },
    /// Bytes follow its end.
    #[error("NAR at byte {at}: is complete there, but bytes follow")]
    Trailing {
        /// Bytes of the archive.
        at: u64,
    },
    /// The grammar.
    #[error("NAR at byte {at}: {expected} is due there")]
    Grammar {
        /// Where the word begins.
        at: u64,
        /// What should be there.
        expected: &'static str,
    },
    /// Padding that is not zero.
    #[error("NAR at byte {at}: the padding before it is not zero")]
    Padding {
        /// Where the padding ends.
        at: u64,
    },
    /// An entry's name that is no file name.
    #[error(
        "NAR at byte {at}: `{name}` cannot be an entry's name (1 to {NAME_BYTES_MAX} bytes, \
         no `/`, no NUL, not `.` or `..`)"
    )]
    Name {
        /// Where the name ends.
        at: u64,
        /// The name, escaped.
        name: String,
    },
    /// An entry that does not sort behind the one before it: out of order, or twice.
    #[error("NAR at byte {at}: entry `{name}` is not behind the one before it")]
    Order {
        /// Where the name ends.
        at: u64,
        /// The name, escaped.
        name: String,
    },
    /// A symlink's target.
    #[error("NAR at byte {at}: a symlink's target must have 1 to {TARGET_BYTES_MAX} bytes, no NUL")]
    Target {
        /// Where the target ends.
        at: u64,
    },
    /// A string longer than its cap.
    #[error("NAR at byte {at}: {what} has {length} bytes, {most} at most are allowed")]
    Length {
        /// Where the string begins.
        at: u64,
        /// What it is.
        what: &'static str,
        /// Its length.
        length: u64,
        /// The cap.
        most: u64,
    },
    /// Too many levels.
    #[error("NAR at byte {at}: more than {DEPTH_MAX} levels of directories")]
    Depth {
        /// Bytes of the archive read.
        at: u64,
    },
    /// Too many nodes.
    #[error("NAR at byte {at}: more than {NODES_MAX} files, directories and symlinks")]
    Nodes {
        /// Bytes of the archive read.
        at: u64,
    },
    /// Asked on after an error.
    #[error("NAR at byte {at}: reading stopped there before")]
    Stopped {
        /// Bytes of the archive read.
        at: u64,
    },
}
