//! Files and directories made, owned and removed by paths that others may have a hand in.
//!
//! A path such as `/var/lib/web/cache` runs through directories that an account of a service may
//! write. If root followed a link that this account put there, `chown web` would give it
//! `/etc/shadow`. So a path is walked step by step on open directories, and a step is refused that
//! leads from what an ordinary account owns to what somebody else owns: `EPERM`. Links of root's
//! are followed, as `/var/run -> /run`. The last step is never followed.

use crate::tree;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// Links on one path, as the kernel has it (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Levels that [`own_tree`] goes down: each holds one descriptor.
const LEVELS_MAX: usize = 512;

/// Names in one directory that [`own_tree`] and [`clear`] take.
const NAMES_MAX: usize = 1_000_000;

/// Mode and owner; what is none is left as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// Permission bits.
    pub mode: Option<u32>,
    /// User.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

/// The directory that a path's last name is in.
struct Place {
    parent: OwnedFd,
    /// Who owns it.
    owner: u32,
    name: OsString,
}

/// Makes a directory if it is not there; in both cases it has that ownership afterwards. What is
/// missing above it is root's, 0755.
///
/// # Errors
/// `EPERM` for an unsafe path, `ENOTDIR` if something else is there; those of mkdirat(2).
pub fn directory(path: &Path, ownership: Ownership) -> io::Result<()> {
    let place = walk(path, true)?;
    let is_new = match rustix::fs::mkdirat(&place.parent, &place.name, Mode::RWXU) {
        Err(Errno::EXIST) => false,
        made => made.map(|()| true)?,
    };
    let (file, status) = if is_new { place.open_new()? } else { place.open()? };
    if !is(&status, FileType::Directory) {
        return Err(Errno::NOTDIR.into());
    }
    own_open(&file, &status, place.owner, ownership)
}

/// Makes a regular file with these bytes if nothing is there, or `anew` in any case. It has that
/// ownership afterwards. What is missing above it is root's, 0755.
///
/// # Errors
/// `EPERM` for an unsafe path, `EEXIST` if something else is there; those of openat(2), write(2).
pub fn file(path: &Path, bytes: &[u8], anew: bool, ownership: Ownership) -> io::Result<()> {
    let place = walk(path, true)?;
    match tree::make_file(place.parent.as_fd(), &place.name) {
        Ok(mut file) => {
            file.write_all(bytes)?;
            let file = OwnedFd::from(file);
            let status = rustix::fs::fstat(&file)?;
            return own_open(&file, &status, place.owner, ownership);
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let (file, status) = place.open()?;
    if !is(&status, FileType::RegularFile) {
        return Err(Errno::EXIST.into());
    }
    if anew {
        let mut file = open_for_writing(&file, &status, place.owner)?;
        file.set_len(0)?;
        file.write_all(bytes)?;
    }
    own_open(&file, &status, place.owner, ownership)
}

/// Makes a symbolic link if nothing is there; with `replace` whatever is there goes first. False if
/// something else is there and stays.
///
/// # Errors
/// `EPERM` for an unsafe path; those of symlinkat(2).
pub fn link(path: &Path, target: &Path, replace: bool) -> io::Result<bool> {
    let place = walk(path, true)?;
    let held = rustix::fs::readlinkat(&place.parent, &place.name, Vec::new());
    if held.is_ok_and(|held| held.as_bytes() == target.as_os_str().as_bytes()) {
        return Ok(true);
    }
    if replace {
        tree::remove(place.parent.as_fd(), &place.name)?;
    }
    match rustix::fs::symlinkat(target, &place.parent, &place.name) {
        Err(Errno::EXIST) => Ok(false),
        made => Ok(made.map(|()| true)?),
    }
}

/// Gives what is there an ownership; false if nothing is there. A symbolic link keeps its own.
///
/// # Errors
/// `EPERM` for an unsafe path; those of chown(2) and chmod(2).
pub fn own(path: &Path, ownership: Ownership) -> io::Result<bool> {
    let Some(place) = found(walk(path, false))? else { return Ok(false) };
    let Some((file, status)) = found(place.open())? else { return Ok(false) };
    own_open(&file, &status, place.owner, ownership).map(|()| true)
}

/// Like [`own`], with all below. Directories get an execute bit wherever a read bit is, files
/// keep theirs: `mode` says what both may do.
///
/// # Errors
/// As [`own`]; `ELOOP` for more than 512 levels.
pub fn own_tree(path: &Path, ownership: Ownership) -> io::Result<bool> {
    let Some(place) = found(walk(path, false))? else { return Ok(false) };
    let Some((file, status)) = found(place.open())? else { return Ok(false) };
    own_below(&file, &status, place.owner, ownership, LEVELS_MAX).map(|()| true)
}

/// Removes what is there, a directory only if `with_all` (then with all below) or if it is empty.
/// False if nothing is there.
///
/// # Errors
/// `EPERM` for an unsafe path; those of unlinkat(2).
pub fn remove(path: &Path, with_all: bool) -> io::Result<bool> {
    let Some(place) = found(walk(path, false))? else { return Ok(false) };
    let (parent, name) = (&place.parent, &place.name);
    if with_all {
        return tree::remove(parent.as_fd(), name);
    }
    let unlinked = match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR),
        unlinked => unlinked,
    };
    Ok(found(unlinked.map_err(io::Error::from))?.is_some())
}

/// Removes all that is in a directory; false if it is not there.
///
/// # Errors
/// `EPERM` for an unsafe path; those of unlinkat(2).
pub fn clear(path: &Path) -> io::Result<bool> {
    let Some(place) = found(walk(path, false))? else { return Ok(false) };
    let opened = tree::open_directory(place.parent.as_fd(), &place.name);
    let Some(directory) = found(opened)? else { return Ok(false) };
    for name in tree::list(directory.as_fd(), NAMES_MAX)? {
        tree::remove(directory.as_fd(), &name)?;
    }
    Ok(true)
}

/// What is not there is no error here.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

impl Place {
    /// What has the name, itself, to be looked at and owned (`O_PATH`).
    fn open(&self) -> io::Result<(OwnedFd, Stat)> {
        let (file, status) = step(&self.parent, &self.name)?;
        check(self.owner, status.st_uid)?;
        Ok((file, status))
    }

    /// The directory that was made just now. An account that owns the one above it may have put
    /// another in its place meanwhile: an empty one of ours is as good to give away.
    fn open_new(&self) -> io::Result<(OwnedFd, Stat)> {
        let (file, status) = step(&self.parent, &self.name)?;
        let directory = tree::open_directory(file.as_fd(), OsStr::new("."))?;
        let is_ours = status.st_uid == rustix::process::geteuid().as_raw();
        if is_ours && tree::list(directory.as_fd(), 0)?.is_empty() {
            Ok((file, status))
        } else {
            Err(Errno::PERM.into())
        }
    }
}

/// Walks to the directory above the last name. With `make`, what is missing is made.
fn walk(path: &Path, make: bool) -> io::Result<Place> {
    let root = || {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open("/", flags, Mode::empty())
    };
    let mut names: VecDeque<OsString> = VecDeque::new();
    for part in path.components() {
        match part {
            Component::RootDir => {}
            Component::Normal(name) => names.push_back(name.to_owned()),
            _ => return Err(Errno::INVAL.into()),
        }
    }
    let last = names.pop_back().filter(|_| path.is_absolute()).ok_or(Errno::INVAL)?;
    let (mut here, mut owner, mut links) = (root()?, 0, 0);
    while let Some(name) = names.pop_front() {
        let (next, status) = match step(&here, &name) {
            Err(error) if make && error.kind() == io::ErrorKind::NotFound => {
                let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
                match rustix::fs::mkdirat(&here, &name, mode) {
                    Err(Errno::EXIST) => {}
                    made => made?,
                }
                step(&here, &name)?
            }
            other => other?,
        };
        check(owner, status.st_uid)?;
        if !is(&status, FileType::Symlink) {
            if !is(&status, FileType::Directory) {
                return Err(Errno::NOTDIR.into());
            }
            (here, owner) = (next, status.st_uid);
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(Errno::LOOP.into());
        }
        let text = rustix::fs::readlinkat(&here, &name, Vec::new())?;
        let target = Path::new(OsStr::from_bytes(text.as_bytes()));
        // An account's link leads where that account's things are, wherever the link lies.
        if status.st_uid != 0 {
            owner = status.st_uid;
        }
        if target.is_absolute() {
            check(owner, 0)?;
            (here, owner) = (root()?, 0);
        }
        for part in target.components().rev() {
            match part {
                Component::RootDir | Component::CurDir => {}
                // A step up from a directory is one of the kernel's own names.
                other => names.push_front(other.as_os_str().to_owned()),
            }
        }
    }
    Ok(Place { parent: here, owner, name: last })
}

/// What has that name in an open directory, itself.
fn step(parent: &OwnedFd, name: &OsStr) -> io::Result<(OwnedFd, Stat)> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let status = rustix::fs::fstat(&file)?;
    Ok((file, status))
}

/// Out of what an ordinary account owns only to what is its own.
fn check(owner: u32, next: u32) -> io::Result<()> {
    if owner == 0 || owner == next { Ok(()) } else { Err(Errno::PERM.into()) }
}

fn is(status: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(status.st_mode) == kind
}

/// A second name of a file in an account's directory may be of a file that it does not own.
fn refuse_second_names(status: &Stat, owner: u32) -> io::Result<()> {
    let second = is(status, FileType::RegularFile) && status.st_nlink > 1 && owner != 0;
    if second { Err(Errno::PERM.into()) } else { Ok(()) }
}

/// An open file that can be written, of one that is only named.
fn open_for_writing(named: &OwnedFd, status: &Stat, owner: u32) -> io::Result<std::fs::File> {
    refuse_second_names(status, owner)?;
    std::fs::File::options().write(true).open(by_number(named))
}

fn by_number(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn own_open(file: &OwnedFd, status: &Stat, owner: u32, wanted: Ownership) -> io::Result<()> {
    refuse_second_names(status, owner)?;
    let (uid, gid) = (wanted.uid.map(Uid::from_raw), wanted.gid.map(Gid::from_raw));
    let chown = wanted.uid.is_some_and(|uid| uid != status.st_uid)
        || wanted.gid.is_some_and(|gid| gid != status.st_gid);
    if chown {
        rustix::fs::chownat(file, "", uid, gid, AtFlags::EMPTY_PATH)?;
    }
    let Some(mode) = wanted.mode.filter(|_| !is(status, FileType::Symlink)) else { return Ok(()) };
    // After the owner: a change of that takes the set-user-id bit away.
    if chown || Mode::from_raw_mode(status.st_mode) != Mode::from_raw_mode(mode) {
        rustix::fs::chmod(by_number(file), Mode::from_raw_mode(mode))?;
    }
    Ok(())
}

fn own_below(
    file: &OwnedFd,
    status: &Stat,
    owner: u32,
    wanted: Ownership,
    levels: usize,
) -> io::Result<()> {
    if is(status, FileType::Symlink) {
        return Ok(());
    }
    if !is(status, FileType::Directory) {
        let execute = |mode: u32| mode & !0o111 | (mode & 0o111 & status.st_mode);
        return own_open(
            file,
            status,
            owner,
            Ownership { mode: wanted.mode.map(execute), ..wanted },
        );
    }
    let levels = levels.checked_sub(1).ok_or(Errno::LOOP)?;
    let directory = tree::open_directory(file.as_fd(), OsStr::new("."))?;
    for name in tree::list(directory.as_fd(), NAMES_MAX)? {
        let Some((inner, inner_status)) = found(step(&directory, &name))? else { continue };
        check(status.st_uid, inner_status.st_uid)?;
        own_below(&inner, &inner_status, status.st_uid, wanted, levels)?;
    }
    // Last, so that an account does not own the directory while its content is gone through.
    let enter = |mode: u32| mode | (mode & 0o444) >> 2;
    own_open(file, status, owner, Ownership { mode: wanted.mode.map(enter), ..wanted })
}

/// The bytes of a small file, walked to like all else here.
///
/// # Errors
/// `EPERM` for an unsafe path, `EFBIG` above `bytes_max`; those of openat(2) and read(2).
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let place = walk(path, false)?;
    let file = tree::open_file(place.parent.as_fd(), &place.name)?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max { Err(Errno::FBIG.into()) } else { Ok(bytes) }
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
