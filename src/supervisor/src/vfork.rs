//! Whether PID 1 may suspend itself until a program's exec is over (`CLONE_VFORK`).
//!
//! Only if exec opens nothing but files of the root file system: a dead network mount or volume
//! would hold PID 1 in the kernel. What exec opens is the program, the interpreter that its first
//! line names, and the loader that its ELF header names (elf(5), execve(2)).

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where Nix keeps what it built.
const STORE: &str = "/nix/store";

/// Bytes of a program that are looked at: an ELF header with its program headers, or the line that
/// names an interpreter, of which the kernel itself reads 256 bytes.
const HEAD_BYTES: usize = 4096;

/// Interpreters of interpreters; the kernel's own limit (`BINPRM_MAX_RECURSION` and one).
const DEPTH_MAX: u32 = 5;

/// A loader's path in bytes: `PATH_MAX`.
const LOADER_BYTES_MAX: u64 = 4096;

/// Whether all that exec of `program` opens lies on the file system of `/`. When in doubt: no,
/// which costs a copied address space.
#[must_use]
pub fn is_safe(program: &Path) -> bool {
    std::fs::metadata("/").is_ok_and(|root| is_on(root.dev(), program, DEPTH_MAX))
}

fn is_on(device: u64, program: &Path, depth: u32) -> bool {
    if depth == 0 || !program.is_absolute() {
        return false;
    }
    let file = open_on_one_mount(device, program).or_else(|| open_on(device, program));
    match file.and_then(|file| next(&file)) {
        Some(Next::Nothing) => true,
        Some(Next::Program(path)) => is_on(device, &path, depth - 1),
        None => false,
    }
}

/// The usual case, in few calls: nothing is mounted on the way, or the store alone, which PID 1
/// mounts upon itself to be read only.
fn open_on_one_mount(device: u64, program: &Path) -> Option<File> {
    let error = match sys::mount::open_on_mount(None, program) {
        Ok(file) => return Some(file),
        Err(error) => error,
    };
    let inside = program.strip_prefix(STORE).ok()?;
    if error.kind() != std::io::ErrorKind::CrossesDevices {
        return None;
    }
    let store = File::open(STORE).ok()?;
    (store.metadata().ok()?.dev() == device).then_some(())?;
    sys::mount::open_on_mount(Some(store.as_fd()), inside).ok()
}

/// The general case: every step of the way is looked at.
fn open_on(device: u64, program: &Path) -> Option<File> {
    // Every directory on the way is walked by exec too, as written and with links followed.
    let real = program.canonicalize().ok()?;
    let on_device = |path: &Path| std::fs::metadata(path).is_ok_and(|found| found.dev() == device);
    let written = (real != program).then_some(program);
    let mut ways = written.into_iter().chain([&*real]).flat_map(Path::ancestors);
    let is_file = std::fs::metadata(&real).is_ok_and(|found| found.is_file());
    (is_file && ways.all(on_device)).then(|| File::open(&real).ok())?
}

/// What exec opens after a program.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Nothing,
    Program(PathBuf),
}

/// `None`: it is neither a script nor a 64-bit little-endian ELF file.
fn next(mut file: &File) -> Option<Next> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    file.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head).ok()?;
    if let Some(line) = head.strip_prefix(b"#!") {
        return interpreter(line).map(Next::Program);
    }
    let Some((offset, length)) = loader_place(&head)? else { return Some(Next::Nothing) };
    let mut path = vec![0; usize::try_from(length.min(LOADER_BYTES_MAX)).ok()?];
    file.read_exact_at(&mut path, offset).ok()?;
    path_of(path.split(|byte| *byte == 0).next()?).map(Next::Program)
}

/// The first word behind `#!`.
fn interpreter(line: &[u8]) -> Option<PathBuf> {
    let line = line.split(|byte| *byte == b'\n').next()?;
    path_of(line.split(|byte| matches!(byte, b' ' | b'\t')).find(|word| !word.is_empty())?)
}

fn path_of(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}

/// Offset and length of the segment `PT_INTERP`; `Some(None)` for a static program.
fn loader_place(head: &[u8]) -> Option<Option<(u64, u64)>> {
    const ELF64_LITTLE: &[u8] = b"\x7fELF\x02\x01";
    const PT_INTERP: u32 = 3;
    if !head.starts_with(ELF64_LITTLE) {
        return None;
    }
    let long = |at: usize| head.get(at..at + 8)?.first_chunk().map(|b| u64::from_le_bytes(*b));
    let short = |at: usize| head.get(at..at + 2)?.first_chunk().map(|b| u16::from_le_bytes(*b));
    // e_phoff, e_phentsize, e_phnum; p_type, p_offset, p_filesz.
    let (table, size, count) = (long(0x20)?, short(0x36)?, short(0x38)?);
    for index in 0..usize::from(count) {
        let at = usize::try_from(table).ok()?.checked_add(index * usize::from(size))?;
        // A header beyond what was read could be the one: in doubt.
        let entry = head.get(at..at.checked_add(0x28)?)?;
        if entry.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) == Some(PT_INTERP) {
            return Some(Some((long(at + 8)?, long(at + 0x20)?)));
        }
    }
    Some(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Debian's shell is dynamic: its loader is found. This test is static: it has none. A script
    /// names its interpreter, with or without a space.
    #[test]
    fn what_exec_opens_is_found() {
        let next = |path: &Path| super::next(&File::open(path).expect("open"));
        let Some(Next::Program(loader)) = next(Path::new("/bin/sh")) else { panic!("no loader") };
        assert!(loader.is_absolute() && loader.exists());
        let own = std::env::current_exe().expect("own path");
        assert_eq!(next(&own), Some(Next::Nothing));
        let directory = tempfile::tempdir().expect("directory");
        let script = directory.path().join("script");
        for line in ["#!/bin/sh -e\n", "#! /bin/sh\n", "#!/bin/sh"] {
            std::fs::write(&script, line).expect("write");
            assert_eq!(next(&script), Some(Next::Program("/bin/sh".into())));
        }
        std::fs::write(&script, "words").expect("write");
        assert_eq!(next(&script), None);
    }

    /// A program on another file system is not safe (/proc is one), one that is not there neither.
    #[test]
    fn other_file_systems_are_not_safe() {
        assert!(!is_safe(Path::new("/proc/self/exe")));
        assert!(!is_safe(Path::new("/no/such/program")));
        assert!(!is_safe(Path::new("bin/sh")));
        assert!(!is_safe(Path::new("/bin")));
        assert!(!is_safe(Path::new("/dev/zero")));
    }

    /// Both ways of looking agree, on links and without.
    #[test]
    fn the_short_way_and_the_long_way_agree() {
        let root = std::fs::metadata("/").expect("root").dev();
        for program in ["/bin/sh", "/usr/bin/env", "/bin", "/no/such/program", "/proc/self/exe"] {
            let program = Path::new(program);
            let (short, long) = (open_on_one_mount(root, program), open_on(root, program));
            assert_eq!(short.is_some(), long.is_some(), "{}", program.display());
        }
    }

    proptest! {
        /// Total over any header bytes.
        #[test]
        fn headers_are_read_without_panic(tail in proptest::collection::vec(any::<u8>(), 0..400)) {
            let head = [&b"\x7fELF\x02\x01"[..], &tail].concat();
            let _ = loader_place(&head);
            let _ = interpreter(&tail);
        }
    }
}
