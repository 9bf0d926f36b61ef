//! Nix archives: read, unpacked and written in one pass.
//!
//! A NAR is a sequence of strings. Each is its length (8 bytes, little-endian), its bytes, and
//! zeros up to the next multiple of 8. As a grammar, every quoted word being such a string:
//!
//! ```text
//! archive   = "nix-archive-1" node
//! node      = "(" "type" ( regular | symlink | directory ) ")"
//! regular   = "regular" [ "executable" "" ] "contents" BYTES
//! symlink   = "symlink" "target" BYTES
//! directory = "directory" { "entry" "(" "name" NAME "node" node ")" }
//! ```
//!
//! Names of a directory's entries grow strictly, compared as bytes. Each tree has exactly one NAR,
//! and only that one is accepted: what Nix's own reader tolerates beyond it (fields in another
//! order, a file without contents) would unpack to a tree with another hash.
//!
//! * [`Reader`] reads events from a stream, total and under the caps below.
//! * [`unpack`] makes the tree of a NAR under a staging name, hashing as it goes.
//! * [`Writer`] and [`dump`] write one.

mod dump;
mod error;
mod reader;
mod source;
mod unpack;
mod writer;

pub use dump::{DumpError, Dumped, dump};
pub use error::NarError;
pub use reader::{Reader, Summary};
pub use unpack::{Expected, UnpackError, unpack};
pub use writer::Writer;

/// Levels of directories at most. Unpacking holds one descriptor a level; the deepest paths in use
/// (nested `node_modules`) have some 60.
pub const DEPTH_MAX: usize = 256;
/// Bytes of an entry's name at most: NAME_MAX of Linux.
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes of a symlink's target at most: PATH_MAX of Linux, less the NUL.
pub const TARGET_BYTES_MAX: usize = 4095;
/// Nodes of one NAR at most, in inodes: some twenty times the largest path in use. Bounds what a
/// size alone does not, since an empty file takes an inode but hardly a hundred bytes of a NAR.
pub const NODES_MAX: u64 = 4 << 20;

/// The first string.
const MAGIC: &[u8] = b"nix-archive-1";

/// One step through an archive. The name of the root is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'archive> {
    /// A directory begins; its entries follow, then [`Event::EndDirectory`].
    Directory {
        /// Its name.
        name: &'archive [u8],
    },
    /// A regular file; its contents follow, in pieces.
    File {
        /// Its name.
        name: &'archive [u8],
        /// Whether it may be executed.
        executable: bool,
        /// Bytes of its contents.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Its name.
        name: &'archive [u8],
        /// Where it points: any bytes without NUL, never looked at.
        target: &'archive [u8],
    },
    /// The innermost open directory ends.
    EndDirectory,
}
