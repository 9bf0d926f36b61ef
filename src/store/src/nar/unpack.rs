//! The tree of a NAR, made under a staging name.
//!
//! Every file is made relative to the descriptor of the directory it lies in, and only if nothing
//! has its name; no symlink is followed, and a name is one step. So an archive cannot write outside
//! its own tree, whatever it says. What comes out is as Nix leaves store paths: modes 0444 and
//! 0555, modification time 1, owner as whoever unpacks.
//!
//! The hash is known only at the end, so the tree is made under a name that nobody trusts; on any
//! error it is removed again. Nothing is synced: whoever unpacks many paths syncs once.

use super::Event;
use super::{NarError, Reader, Summary};
use crate::hash::Sha256;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// Mode of a file that may not be executed.
pub(super) const FILE_MODE: u32 = 0o444;
/// Mode of a file that may be executed, and of a directory.
pub(super) const EXECUTABLE_MODE: u32 = 0o555;
/// Seconds since 1970 that everything in the store says it was last modified.
pub(super) const MODIFIED_S: i64 = 1;

/// What the signed words promise of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Hash of the NAR.
    pub hash: Sha256,
    /// Bytes of the NAR.
    pub size: u64,
}

/// Why there is no tree.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is refused.
    #[error(transparent)]
    Nar(#[from] NarError),
    /// It is a fine archive, but another one.
    #[error("NAR has hash {found}, but {expected} was signed: the cache's bytes were altered")]
    Hash {
        /// What was signed.
        expected: Sha256,
        /// What came.
        found: Sha256,
    },
    /// The file system refused.
    #[error("unpack: {step} `{name}`: {source}")]
    File {
        /// What was tried.
        step: &'static str,
        /// The last step of its path.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// It failed, and what was made by then could not be removed.
    #[error("{error}; and `{name}` could not be removed after that: {source}")]
    LeftBehind {
        /// Why it failed.
        error: Box<UnpackError>,
        /// The staging name.
        name: String,
        /// Why it is still there.
        source: io::Error,
    },
}

/// Unpacks the archive that `input` gives as `name` in the directory `parent`; blocks as `input`
/// does. Takes at most one byte more than `expected.size` from `input`.
///
/// # Errors
/// See [`UnpackError`]; then nothing of it is left, unless it is
/// [`LeftBehind`](UnpackError::LeftBehind). If `name` existed before, it is left as it was.
pub fn unpack(
    input: impl Read,
    expected: &Expected,
    parent: BorrowedFd<'_>,
    name: &OsStr,
) -> Result<Summary, UnpackError> {
    let mut tree = Tree { parent, name, open: Vec::new(), made: false };
    let error = match tree.fill(Reader::new(input, expected.size)) {
        Ok(summary) if summary.hash == expected.hash => return Ok(summary),
        Ok(summary) => UnpackError::Hash { expected: expected.hash, found: summary.hash },
        Err(error) => error,
    };
    if !tree.made {
        return Err(error);
    }
    drop(tree);
    match sys::tree::remove(parent, name) {
        Ok(_) => Err(error),
        Err(source) => Err(UnpackError::LeftBehind {
            error: Box::new(error),
            name: name.as_bytes().escape_ascii().to_string(),
            source,
        }),
    }
}

/// The tree on its way.
struct Tree<'parent> {
    parent: BorrowedFd<'parent>,
    name: &'parent OsStr,
    /// The directories that are open, outermost first.
    open: Vec<OwnedFd>,
    /// Whether the root is there by our hand.
    made: bool,
}

impl Tree<'_> {
    fn fill(&mut self, mut reader: Reader<impl Read>) -> Result<Summary, UnpackError> {
        while let Some(event) = reader.next_event()? {
            match event {
                Event::Directory { name } => {
                    let (parent, name) = self.place(name);
                    let made = sys::tree::make_directory(parent, name);
                    let directory = made.map_err(|error| fault("make directory", name, error))?;
                    self.open.push(directory);
                }
                Event::EndDirectory => {
                    let directory = self.open.pop();
                    if let Some(directory) = directory {
                        sys::tree::settle(directory, EXECUTABLE_MODE, MODIFIED_S)
                            .map_err(|error| fault("close directory in", self.name, error))?;
                    }
                }
                Event::Symlink { name, target } => {
                    let (parent, name) = self.place(name);
                    sys::tree::make_symlink(parent, name, target, MODIFIED_S)
                        .map_err(|error| fault("make symlink", name, error))?;
                }
                Event::File { name, executable, .. } => {
                    let (parent, name) = self.place(name);
                    let name: OsString = name.to_owned();
                    let file = sys::tree::make_file(parent, &name)
                        .map_err(|error| fault("make file", &name, error))?;
                    self.made = true;
                    write_file(&mut reader, &file, &name)?;
                    let mode = if executable { EXECUTABLE_MODE } else { FILE_MODE };
                    sys::tree::settle(&file, mode, MODIFIED_S)
                        .map_err(|error| fault("close file", &name, error))?;
                }
            }
            self.made = true;
        }
        Ok(reader.finish()?)
    }

    /// Where the node with this name in its archive goes.
    fn place<'name>(&'name self, name: &'name [u8]) -> (BorrowedFd<'name>, &'name OsStr) {
        match self.open.last() {
            Some(directory) => (directory.as_fd(), OsStr::from_bytes(name)),
            None => (self.parent, self.name),
        }
    }
}

fn write_file(
    reader: &mut Reader<impl Read>,
    mut file: &std::fs::File,
    name: &OsStr,
) -> Result<(), UnpackError> {
    loop {
        let piece = reader.contents()?;
        if piece.is_empty() {
            return Ok(());
        }
        file.write_all(piece).map_err(|error| fault("write file", name, error))?;
    }
}

fn fault(step: &'static str, name: &OsStr, source: io::Error) -> UnpackError {
    UnpackError::File { step, name: name.as_bytes().escape_ascii().to_string(), source }
}
