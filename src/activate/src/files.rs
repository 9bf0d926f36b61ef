//! Files as every task reads and writes them: capped, and whole or not at all.

use crate::context::Context;
use crate::report::{Problem, Report};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A file's bytes.
///
/// # Errors
/// Those of reading; `FileTooLarge` above `bytes_max`.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_open(&File::open(path)?, bytes_max)
}

/// A file of the system that is worked on: links on its way are taken below the context's root.
///
/// # Errors
/// As [`read`].
pub fn read_in_root(context: &Context, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let named = sys::mount::open_in_root(&context.root, path)?;
    read(Path::new(&format!("/proc/self/fd/{}", named.as_raw_fd())), bytes_max)
}

/// The text of every `*.conf` in a folder of the system, by name, in their order. One that cannot
/// be read is told; a folder that is not there holds none.
pub fn read_folder(
    context: &Context,
    folder: &str,
    bytes_max: u64,
    report: &mut Report,
) -> Vec<(String, String)> {
    let path = context.toplevel.join(folder);
    let list = || -> io::Result<Vec<String>> {
        let named = sys::mount::open_in_root(&context.root, &path)?;
        let entries = std::fs::read_dir(format!("/proc/self/fd/{}", named.as_raw_fd()))?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<String>>>()?;
        names.retain(|name| name.ends_with(".conf"));
        names.sort();
        Ok(names)
    };
    let names = list().unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            report.problem(&unread(&path, &error));
        }
        Vec::new()
    });
    let mut texts = Vec::new();
    for name in names {
        let file = path.join(&name);
        match read_in_root(context, &file, bytes_max) {
            Ok(bytes) => texts.push((name, String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) => report.problem(&unread(&file, &error)),
        }
    }
    texts
}

fn unread(path: &Path, error: &io::Error) -> Problem {
    let cure = "build the system again, or see whether the store is whole";
    Problem::new(path.display(), format_args!("cannot be read: {error}"), cure)
}

fn read_open(file: &File, bytes_max: u64) -> io::Result<Vec<u8>> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let words = format!("is longer than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, words));
    }
    Ok(bytes)
}

/// Writes a file whole or not at all, by a rename; folders above it are made. Its bytes are on the
/// disk before its name is, where there is a disk.
///
/// # Errors
/// Those of writing.
pub fn replace(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let new = beside(path)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    remove_if_there(&new)?;
    // Nobody reads it before it has its last owner and mode.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    sys::files::sync(&file)?;
    std::fs::rename(&new, path)
}

/// Like [`replace`], and its name is on the disk too when this returns.
///
/// # Errors
/// Those of writing.
pub fn replace_for_good(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    replace(path, bytes, mode, None)?;
    path.parent().map_or(Ok(()), sys::files::sync_folder)
}

/// Makes a link lead somewhere, in one step if it is there.
///
/// # Errors
/// Those of symlink(2) and rename(2).
pub fn point(link: &Path, to: &Path) -> io::Result<()> {
    if std::fs::read_link(link).is_ok_and(|text| text == to) {
        return Ok(());
    }
    let new = beside(link)?;
    remove_if_there(&new)?;
    std::os::unix::fs::symlink(to, &new)?;
    std::fs::rename(&new, link)
}

/// Gives a file or directory its permission bits, whatever the umask.
///
/// # Errors
/// Those of chmod(2).
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(mode))
}

/// `*` stands for any symbols, `?` for one, all else for itself (glob(7), without brackets).
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    // Where a star can be given one symbol more: the last one is enough.
    let (mut at, mut read, mut again) = (0, 0, None);
    while read < name.len() {
        match pattern.get(at) {
            Some('*') => {
                again = Some((at, read));
                at += 1;
            }
            Some(symbol) if *symbol == '?' || *symbol == name[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((star, from)) = again else { return false };
                again = Some((star, from + 1));
                (at, read) = (star + 1, from + 1);
            }
        }
    }
    pattern[at..].iter().all(|symbol| *symbol == '*')
}

/// Where a file is made before it gets its name.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::other("has no name"))?;
    Ok(path.with_file_name(format!(".{}.rollinit-new", name.to_string_lossy())))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*", "eth0", true),
            ("", "", true),
            ("", "a", false),
            ("eth?", "eth0", true),
            ("eth?", "eth", false),
            ("e*0", "eth0", true),
            ("e*h*0", "ethh10", true),
            ("e*h*0", "eth1", false),
            ("eth*", "lo", false),
            ("e**", "e", true),
            ("*ab", "aab", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    /// A file is replaced with its mode, a link leads elsewhere in one step, and what an earlier
    /// call left half-way is in nobody's way. What is longer than allowed is refused whole.
    #[test]
    fn replaced_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/file");
        replace(&path, b"one", 0o640, None).expect("made");
        std::fs::write(beside(&path).expect("a name"), "half").expect("left behind");
        replace(&path, b"two", 0o604, None).expect("replaced");
        assert_eq!(read(&path, 3).expect("read"), b"two");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o7777, 0o604);
        let error = read(&path, 2).expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let link = folder.path().join("link");
        for to in ["a", "b", "b"] {
            point(&link, Path::new(to)).expect("linked");
            assert_eq!(std::fs::read_link(&link).expect("a link"), Path::new(to));
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("list").count(), 2);
    }
}
