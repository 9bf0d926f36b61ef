//! Taking file systems and swap away again. Every call here can sleep for ever: helpers only.

use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount as unmount_at};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// `/proc/self/mountinfo` in bytes; a host with more mounts than fit has another problem.
const MOUNTINFO_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// `/proc/swaps` in bytes.
const SWAPS_BYTES_MAX: u64 = 64 * 1024;

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Where.
    pub path: PathBuf,
    /// File system type, `ext4`.
    pub kind: String,
    /// The file system itself is read-only, not only this view of it.
    pub read_only: bool,
}

/// All mounts in the order in which they were made (proc_pid_mountinfo(5)).
///
/// # Errors
/// Those of reading `/proc/thread-self/mountinfo`: a thread may have mounts of its own.
pub fn mounted() -> io::Result<Vec<Mounted>> {
    let bytes = read_capped("/proc/thread-self/mountinfo", MOUNTINFO_BYTES_MAX)?;
    Ok(bytes.split(|byte| *byte == b'\n').filter_map(mounted_of_line).collect())
}

/// Active swap devices and files (proc_swaps(5)).
///
/// # Errors
/// Those of reading `/proc/swaps`; a kernel without swap has none.
pub fn swaps() -> io::Result<Vec<PathBuf>> {
    let bytes = match read_capped("/proc/swaps", SWAPS_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let lines = bytes.split(|byte| *byte == b'\n').skip(1);
    let names = lines.filter_map(|line| line.split(|byte| byte.is_ascii_whitespace()).next());
    Ok(names.filter(|name| !name.is_empty()).map(unescape).collect())
}

/// Unmounts without following a link at the end of the path.
///
/// # Errors
/// Those of umount2(2): `EBUSY` while something in it is open.
pub fn unmount(path: &Path) -> io::Result<()> {
    Ok(unmount_at(path, UnmountFlags::NOFOLLOW)?)
}

/// Makes the file system at `path` read-only, which also writes out all that is dirty in it.
///
/// # Errors
/// Those of mount(2): `EBUSY` while a file in it is open for writing, or deleted but still open.
pub fn make_read_only(path: &Path) -> io::Result<()> {
    Ok(mount_remount(path, MountFlags::RDONLY, c"")?)
}

/// Stops swapping to a device or file; all of it must fit into memory.
///
/// # Errors
/// Those of swapoff(2): `ENOMEM`.
pub fn swap_off(path: &Path) -> io::Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    // SAFETY: the pointer is to a NUL-terminated string that lives across the call.
    match unsafe { libc::swapoff(path.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Writes out everything that is dirty, and waits for it.
pub fn sync_all() {
    rustix::fs::sync();
}

fn read_capped(path: &str, cap: u64) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(cap).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn mounted_of_line(line: &[u8]) -> Option<Mounted> {
    let mut words = line.split(|byte| *byte == b' ');
    let path = unescape(words.nth(4)?);
    words.find(|word| *word == b"-")?;
    let kind = String::from_utf8_lossy(words.next()?).into_owned();
    let options = words.nth(1)?;
    let read_only = options.split(|byte| *byte == b',').any(|option| option == b"ro");
    Some(Mounted { path, kind, read_only })
}

/// Space, tab, newline and backslash stand as a backslash and three octal digits.
fn unescape(word: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                path.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => {
                path.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line as proc(5) gives it, one with optional fields and an escaped space, and broken ones.
    #[test]
    fn lines_of_mountinfo() {
        let line =
            b"36 35 98:0 / /mnt\\040x rw,noatime master:1 - ext4 /dev/vda1 ro,errors=remount-ro";
        let mounted = mounted_of_line(line).expect("a mount");
        assert_eq!(mounted.path, PathBuf::from("/mnt x"));
        assert_eq!((mounted.kind.as_str(), mounted.read_only), ("ext4", true));
        let line = b"36 35 98:0 / /mnt ro - tmpfs none rw,size=10k";
        assert!(!mounted_of_line(line).expect("a mount").read_only, "only the view is read-only");
        for broken in [&b""[..], b"36 35 98:0 / /mnt rw", b"36 35 98:0 / /mnt rw - ext4"] {
            assert_eq!(mounted_of_line(broken), None);
        }
    }

    /// A backslash that starts no octal number is a backslash.
    #[test]
    fn escapes() {
        assert_eq!(unescape(b"a\\134b\\9"), PathBuf::from("a\\b\\9"));
    }
}
