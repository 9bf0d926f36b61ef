//! Trees of files, made, read and removed relative to an open directory, never through a symlink.
//!
//! Every name is one step: the caller has refused those with a slash, `.` and `..`. A directory
//! that was opened stays the same directory whatever happens to its name, and the last step of each
//! call is never followed, so nothing here can leave the tree it was given.

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RawMode, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Levels below the one given that [`remove`] goes down at most: each holds one descriptor.
pub const REMOVE_LEVELS_MAX: usize = 512;

/// What lies under a name, see [`look`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// Its length in bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink,
    /// A directory.
    Directory,
    /// A socket, a device, a FIFO.
    Other,
}

/// Opens a directory by its path, for the calls below. Symlinks in the path are followed: it is the
/// caller's own.
///
/// # Errors
/// Those of open(2).
pub fn open_path(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Opens the directory `name` in `parent`.
///
/// # Errors
/// Those of openat(2): `ENOTDIR` or `ELOOP` for anything but a directory.
pub fn open_directory(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Opens the regular file `name` in `parent` for reading. A FIFO or a device that took its place
/// does not block: it is opened non-blocking, which a regular file ignores.
///
/// # Errors
/// Those of openat(2).
pub fn open_file(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(File::from(rustix::fs::openat(parent, name, flags, Mode::empty())?))
}

/// Makes the directory `name` in `parent`, mode 0700, and opens it; what cannot be opened is
/// removed again.
///
/// # Errors
/// Those of mkdirat(2), `EEXIST` among them, and openat(2).
pub fn make_directory(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
    open_directory(parent, name).inspect_err(|_| {
        let _ = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
    })
}

/// Makes the file `name` in `parent`, mode 0600, and opens it for writing.
///
/// # Errors
/// Those of openat(2): `EEXIST` if anything has that name, a dangling symlink too.
pub fn make_file(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?))
}

/// Makes the symlink `name` in `parent` with the text `target`, which is not looked at, and gives
/// it the modification time `modified_s` (seconds since 1970), or removes it again.
///
/// # Errors
/// Those of symlinkat(2) and utimensat(2).
pub fn make_symlink(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    target: &[u8],
    modified_s: i64,
) -> io::Result<()> {
    rustix::fs::symlinkat(target, parent, name)?;
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(parent, name, &modified(modified_s), flags).inspect_err(|_| {
        let _ = rustix::fs::unlinkat(parent, name, AtFlags::empty());
    })?;
    Ok(())
}

/// Gives an open file or directory its last mode and modification time (seconds since 1970),
/// whatever the umask.
///
/// # Errors
/// Those of fchmod(2) and futimens(3).
pub fn settle(file: impl AsFd, mode: RawMode, modified_s: i64) -> io::Result<()> {
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    Ok(rustix::fs::futimens(file, &modified(modified_s))?)
}

/// The modification time alone.
const fn modified(modified_s: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: modified_s, tv_nsec: 0 },
    }
}

/// What `name` in `parent` is.
///
/// # Errors
/// Those of fstatat(2).
pub fn look(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<Kind> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File {
            executable: Mode::from_raw_mode(stat.st_mode).contains(Mode::XUSR),
            size: u64::try_from(stat.st_size).unwrap_or(0),
        },
        FileType::Symlink => Kind::Symlink,
        FileType::Directory => Kind::Directory,
        _ => Kind::Other,
    })
}

/// The text of the symlink `name` in `parent`.
///
/// # Errors
/// Those of readlinkat(2).
pub fn read_symlink(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(parent, name, Vec::new())?.into_bytes())
}

/// The names in an open directory, without `.` and `..`, in no order.
///
/// # Errors
/// Those of getdents(2); `E2BIG` for more than `most` names.
pub fn list(directory: BorrowedFd<'_>, most: usize) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        if names.len() == most {
            return Err(Errno::TOOBIG.into());
        }
        names.push(OsString::from_vec(name.to_vec()));
    }
    Ok(names)
}

/// Removes `name` in `parent` and, if it is a directory, all below it; directories that may not be
/// written are made writable first. `true` if there was something to remove.
///
/// # Errors
/// Those of unlinkat(2), openat(2) and getdents(2); `ELOOP` for a tree deeper than
/// [`REMOVE_LEVELS_MAX`].
pub fn remove(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<bool> {
    match unlink(parent, name)? {
        Unlinked::Gone => Ok(true),
        Unlinked::Directory => remove_directory(parent, name).map(|()| true),
        Unlinked::Absent => Ok(false),
    }
}

/// What [`unlink`] met.
enum Unlinked {
    Gone,
    Directory,
    Absent,
}

/// Removes what is no directory.
fn unlink(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<Unlinked> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => Ok(Unlinked::Gone),
        Err(Errno::ISDIR) => Ok(Unlinked::Directory),
        Err(Errno::NOENT) => Ok(Unlinked::Absent),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes a directory, deepest first, without recursion. However wide the tree is, no list of
/// names is held.
fn remove_directory(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let mut levels = vec![Level::open(parent, name)?];
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.entries.read() else {
            let done = levels.pop().map(|level| level.name).unwrap_or_default();
            match levels.last() {
                None => rustix::fs::unlinkat(parent, &done, AtFlags::REMOVEDIR)?,
                Some(above) => {
                    rustix::fs::unlinkat(above.entries.fd()?, &done, AtFlags::REMOVEDIR)?;
                }
            }
            continue;
        };
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        let directory = level.entries.fd()?;
        if name == "." || name == ".." {
            continue;
        }
        if let Unlinked::Directory = unlink(directory, name)? {
            let deeper = Level::open(directory, name)?;
            if levels.len() == REMOVE_LEVELS_MAX {
                return Err(Errno::LOOP.into());
            }
            levels.push(deeper);
        }
    }
    Ok(())
}

/// One directory on the way down.
struct Level {
    name: OsString,
    entries: Dir,
}

impl Level {
    fn open(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<Self> {
        let directory = open_directory(parent, name)?;
        rustix::fs::fchmod(&directory, Mode::RWXU)?;
        Ok(Self { name: name.to_owned(), entries: Dir::new(directory)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Removal takes read-only trees and names of any bytes, leaves what links point to, and says
    /// when there was nothing.
    #[test]
    fn trees_are_removed_whole_and_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let parent = open_path(directory.path()).expect("open");
        let parent = parent.as_fd();
        let (name, strange) = (OsStr::new("tree"), OsStr::from_bytes(b"\xff\n"));
        let root = make_directory(parent, name).expect("make");
        let inner = make_directory(root.as_fd(), strange).expect("make");
        make_file(inner.as_fd(), strange).expect("make");
        make_symlink(inner.as_fd(), OsStr::new("up"), b"../..", 1).expect("make");
        settle(inner, 0o555, 1).expect("settle");
        settle(root, 0o555, 1).expect("settle");
        std::fs::write(directory.path().join("beside"), "").expect("write");
        assert_eq!(look(parent, name).expect("look"), Kind::Directory);
        assert!(remove(parent, name).expect("remove"));
        assert!(!remove(parent, name).expect("nothing to remove"));
        assert_eq!(list(parent, 1).expect("list"), [OsString::from("beside")]);
        let error = list(parent, 0).expect_err("more than none");
        assert_eq!(error.raw_os_error(), Some(libc::E2BIG));
    }

    /// A mode is what was asked for, whatever the umask takes from new files.
    #[test]
    fn modes_are_exact() {
        let directory = tempfile::tempdir().expect("a directory");
        let parent = open_path(directory.path()).expect("open");
        let file = make_file(parent.as_fd(), OsStr::new("file")).expect("make");
        settle(&file, 0o777, 1).expect("settle");
        let facts = file.metadata().expect("facts");
        assert_eq!(facts.permissions().mode() & 0o7777, 0o777);
        assert_eq!(std::os::unix::fs::MetadataExt::mtime(&facts), 1);
        let kind = look(parent.as_fd(), OsStr::new("file")).expect("look");
        assert_eq!(kind, Kind::File { executable: true, size: 0 });
    }

    /// A tree that is too deep is refused, not followed to the end of the descriptors.
    #[test]
    fn removal_has_a_bound() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut level = open_path(directory.path()).expect("open");
        for _ in 0..=REMOVE_LEVELS_MAX {
            level = make_directory(level.as_fd(), OsStr::new("d")).expect("make");
        }
        let parent = open_path(directory.path()).expect("open");
        let error = remove(parent.as_fd(), OsStr::new("d")).expect_err("too deep");
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    }
}
