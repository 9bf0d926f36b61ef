//! What a file system has free, and what was written onto its disk: the one place for syncs.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What is free on a file system for a process without privilege.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// Bytes.
    pub bytes: u64,
    /// Inodes; `None` where there is no fixed number of them (btrfs says 0 of 0).
    pub inodes: Option<u64>,
    /// What one file takes at least, in bytes.
    pub block_bytes: u64,
}

/// linux/magic.h.
const RAMFS_MAGIC: rustix::fs::FsWord = 0x8584_58f6;

/// What is free where `path` lies.
///
/// # Errors
/// Those of statvfs(3).
pub fn free(path: &Path) -> io::Result<Free> {
    let volume = rustix::fs::statvfs(path)?;
    Ok(Free {
        bytes: volume.f_bavail.saturating_mul(volume.f_frsize),
        inodes: (volume.f_files > 0).then_some(volume.f_favail),
        block_bytes: volume.f_frsize,
    })
}

/// How much the file system that `file` lies on holds in all, in bytes.
///
/// # Errors
/// Those of fstatvfs(3).
pub fn capacity(file: &File) -> io::Result<u64> {
    let volume = rustix::fs::fstatvfs(file)?;
    Ok(volume.f_blocks.saturating_mul(volume.f_frsize))
}

/// Opens a directory to be somebody's working directory (`O_PATH`). What is none is not opened.
///
/// # Errors
/// Those of open(2): `ENOTDIR` if it is no directory.
pub fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Whether what lies at `path` is memory that is never swapped out: a ramfs. A tmpfs is swapped.
///
/// # Errors
/// Those of statfs(2).
pub fn is_unswappable(path: &Path) -> io::Result<bool> {
    Ok(rustix::fs::statfs(path)?.f_type == RAMFS_MAGIC)
}

/// The numbers of all system calls that put onto a disk what was written: who must not reach the
/// disk is denied these.
pub const SYNC_CALLS: [i64; 6] = [
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_msync,
    libc::SYS_sync,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
];

/// Puts what was written to `file` onto its disk.
///
/// # Errors
/// Those of fsync(2): `EIO` or `ENOSPC` if something written was lost.
pub fn sync(file: &File) -> io::Result<()> {
    file.sync_all()
}

/// Puts the names in `folder` onto its disk.
///
/// # Errors
/// Those of open(2) and fsync(2).
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    sync(&File::open(folder)?)
}

/// Puts all that was written to the file system that `file` lies on onto its disk: one call
/// instead of an fsync(2) for each of thousands of files.
///
/// # Errors
/// Those of syncfs(2): `EIO` or `ENOSPC` if something written since the last call was lost.
pub fn sync_volume(file: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(file)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_free_space_of_a_directory_is_told_and_it_syncs() {
        let folder = tempfile::tempdir().expect("a folder");
        let free = free(folder.path()).expect("statvfs");
        assert!(free.block_bytes > 0, "{free:?}");
        sync_folder(folder.path()).expect("fsync");
        sync_volume(&File::open(folder.path()).expect("open")).expect("syncfs");
    }

    #[test]
    fn a_path_that_is_not_there_is_an_error() {
        let error = free(Path::new("/nonexistent/rollinit")).expect_err("no such path");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
