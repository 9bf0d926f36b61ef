//! The root file system: mounting it, moving into it, and leaving the one before it.

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Directories within directories that [`empty_initramfs`] descends. An initramfs has a handful.
const DEPTH_MAX: usize = 64;

/// linux/magic.h: what an initramfs is.
const RAMFS_MAGIC: i64 = 0x8584_58f6;
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Options as people write them, `noatime,errors=remount-ro`: what any file system takes becomes
/// flags, the rest is for the one that is mounted (mount(8), "filesystem-independent").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    flags: MountFlags,
    data: CString,
}

impl Options {
    /// Reads a comma-separated list.
    ///
    /// # Errors
    /// `EINVAL` for a NUL inside.
    pub fn parse(text: &[u8]) -> io::Result<Self> {
        let mut flags = MountFlags::empty();
        let mut data: Vec<&[u8]> = Vec::new();
        for word in text.split(|byte| *byte == b',').filter(|word| !word.is_empty()) {
            match flag_of(word) {
                Some(flag) => flags |= flag,
                None if matches!(word, b"defaults" | b"rw") => {}
                None => data.push(word),
            }
        }
        Ok(Self { flags, data: CString::new(data.join(&b","[..]))? })
    }

    /// The same, read-only.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.flags |= MountFlags::RDONLY;
        self
    }
}

fn flag_of(word: &[u8]) -> Option<MountFlags> {
    Some(match word {
        b"ro" => MountFlags::RDONLY,
        b"nosuid" => MountFlags::NOSUID,
        b"nodev" => MountFlags::NODEV,
        b"noexec" => MountFlags::NOEXEC,
        b"noatime" => MountFlags::NOATIME,
        b"nodiratime" => MountFlags::NODIRATIME,
        b"relatime" => MountFlags::RELATIME,
        b"lazytime" => MountFlags::LAZYTIME,
        b"sync" => MountFlags::SYNCHRONOUS,
        _ => return None,
    })
}

/// Mounts a block device.
///
/// # Errors
/// Those of mount(2): `EINVAL` if it holds another file system, `ENODEV` if the kernel has no
/// `kind`.
pub fn mount(device: &Path, target: &Path, kind: &str, options: &Options) -> io::Result<()> {
    let data: &CStr = &options.data;
    Ok(rustix::mount::mount(device, target, kind, options.flags, data)?)
}

/// Moves a mount, with all below it, to another directory.
///
/// # Errors
/// Those of mount(2): `EINVAL` if nothing is mounted at `from`.
pub fn move_mount(from: &Path, to: &Path) -> io::Result<()> {
    Ok(rustix::mount::mount_move(from, to)?)
}

/// Takes a mount out of the tree; it goes once nobody uses it.
///
/// # Errors
/// Those of umount2(2).
pub fn detach(target: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
}

/// Opens a regular file for reading if no mount point lies on its way from `from` (or from the
/// root and the working directory, as open(2) walks), symbolic links included. Never waits: what
/// is no regular file is not opened.
///
/// # Errors
/// `EXDEV` if a mount point lies on the way, `EISDIR` or `EINVAL` if it is no regular file; else
/// those of openat2(2).
pub fn open_on_mount(from: Option<BorrowedFd<'_>>, path: &Path) -> io::Result<std::fs::File> {
    let one_mount = ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let named = OFlags::PATH | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(from.unwrap_or(CWD), path, named, Mode::empty(), one_mount)?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(Errno::ISDIR.into()),
        _ => return Err(Errno::INVAL.into()),
    }
    // Reading needs another descriptor of the same file; its name is of no use by now.
    std::fs::File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// What a path names inside another root: links are followed there, and `..` does not leave it.
/// The descriptor only names the file (`O_PATH`).
///
/// # Errors
/// Those of openat2(2).
pub fn open_in_root(root: &Path, path: &Path) -> io::Result<OwnedFd> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, directory, Mode::empty())?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?)
}

/// Makes the mount at `root` the root of all: the way out of an initramfs, which pivot_root(2)
/// refuses to leave.
///
/// # Errors
/// Those of chdir(2), mount(2), chroot(2).
pub fn become_root(root: &Path) -> io::Result<()> {
    rustix::process::chdir(root)?;
    rustix::mount::mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    Ok(rustix::process::chdir("/")?)
}

/// Deletes what the initramfs at `/` holds, to give its memory back. Never leaves its file system:
/// each directory's device is looked at before it is entered.
///
/// # Errors
/// `EPERM` unless this is PID 1 and `/` is a ramfs or tmpfs; those of reading it. What cannot be
/// removed is left.
pub fn empty_initramfs() -> io::Result<()> {
    let root = open_directory(CWD, c"/")?;
    let magic = rustix::fs::fstatfs(&root)?.f_type;
    if std::process::id() != 1 || (magic != RAMFS_MAGIC && magic != TMPFS_MAGIC) {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    let device = rustix::fs::fstat(&root)?.st_dev;
    Ok(empty(&root, device, DEPTH_MAX)?)
}

fn open_directory(at: impl AsFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Removes all in `directory` that lies on `device`.
fn empty(directory: &OwnedFd, device: u64, depth: usize) -> Result<(), Errno> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(status) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        if status.st_dev != device {
            continue;
        }
        let is_directory = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
        if is_directory && depth > 0 {
            let inner = open_directory(directory, name)?;
            empty(&inner, device, depth - 1)?;
        }
        let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        // A directory that holds a mount point is busy or not empty, and stays.
        let _ = rustix::fs::unlinkat(directory, name, flags);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// General words become flags, the rest reaches the file system in its order.
    #[test]
    fn options_are_told_apart() {
        let options = Options::parse(b"noatime,errors=remount-ro,,rw,data=ordered").expect("read");
        assert_eq!(options.flags, MountFlags::NOATIME);
        assert_eq!(options.data.as_bytes(), b"errors=remount-ro,data=ordered");
        let options = Options::parse(b"").expect("read").read_only();
        assert_eq!((options.flags, options.data.as_bytes()), (MountFlags::RDONLY, &b""[..]));
        assert!(Options::parse(b"a\0b").is_err());
    }

    /// Deletes files, links and directories below, but follows no link out of the directory and
    /// leaves what lies on another device (here: everything, when the device differs).
    #[test]
    fn emptying_stays_inside() {
        let directory = tempfile::tempdir().expect("a directory");
        let outside = tempfile::NamedTempFile::new().expect("a file");
        let inner = directory.path().join("inner/deeper");
        std::fs::create_dir_all(&inner).expect("directories");
        std::fs::write(inner.join("file"), "x").expect("a file");
        symlink(outside.path(), directory.path().join("link")).expect("a link");
        let path = CString::new(directory.path().as_os_str().as_encoded_bytes()).expect("a path");
        let opened = open_directory(CWD, &path).expect("it opens");
        let device = rustix::fs::fstat(&opened).expect("status").st_dev;
        empty(&opened, device + 1, DEPTH_MAX).expect("nothing to do");
        assert!(inner.join("file").exists(), "it is on another device");
        empty(&opened, device, DEPTH_MAX).expect("emptied");
        assert_eq!(std::fs::read_dir(directory.path()).expect("list").count(), 0);
        assert!(outside.path().exists(), "the link was removed, not what it names");
    }

    /// The deleting refuses to run in any process but PID 1, whatever the root is.
    #[test]
    fn an_ordinary_process_empties_nothing() {
        assert_ne!(std::process::id(), 1, "never run tests as PID 1");
        let error = empty_initramfs().expect_err("it must refuse");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }

    /// Absolute links are taken inside the other root, and `..` does not get out.
    #[test]
    fn links_stay_in_the_other_root() {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(root.path().join("nix/store/s")).expect("directories");
        std::fs::write(root.path().join("nix/store/s/init"), "x").expect("a file");
        symlink("/nix/store/s", root.path().join("system")).expect("a link");
        open_in_root(root.path(), Path::new("/system/init")).expect("found inside");
        open_in_root(root.path(), Path::new("/../../system/init")).expect("still inside");
        let error = open_in_root(root.path(), Path::new("/etc/passwd")).expect_err("not inside");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
