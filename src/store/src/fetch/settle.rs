//! What a NAR does not tell and every store path has: modes 0444 and 0555, modification time 1.

use crate::nar::{DEPTH_MAX, NODES_MAX};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use sys::tree::{Kind, list, look, open_directory, open_file, settle as settle_one};

/// Gives `name` in `parent`, and all below it, the modes and times of a store path.
pub(crate) fn settle(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    settle_below(parent, name, 0)
}

fn settle_below(parent: BorrowedFd<'_>, name: &OsStr, depth: usize) -> io::Result<()> {
    match look(parent, name)? {
        Kind::File { executable, .. } => {
            let mode = if executable { 0o555 } else { 0o444 };
            settle_one(open_file(parent, name)?, mode, 1)
        }
        Kind::Directory if depth < DEPTH_MAX => {
            let folder = open_directory(parent, name)?;
            for below in list(folder.as_fd(), usize::try_from(NODES_MAX).unwrap_or(usize::MAX))? {
                settle_below(folder.as_fd(), &below, depth + 1)?;
            }
            settle_one(folder, 0o555, 1)
        }
        // A symlink was given its time when it was made, and has no mode.
        Kind::Symlink => Ok(()),
        Kind::Directory | Kind::Other => Err(io::ErrorKind::InvalidData.into()),
    }
}
