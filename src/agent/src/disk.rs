//! Files that survive a power cut whole: the old content or the new one, never half of either.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Ends the name of a file that is still being written. One that is found at start was cut off by
/// a crash before its rename: nobody ever relied on it.
pub const UNFINISHED: &str = ".part";

/// A step with a file that failed.
#[derive(Debug, thiserror::Error)]
#[error("{step} {}: {error}", path.display())]
pub struct DiskError {
    step: &'static str,
    path: PathBuf,
    /// What the kernel said.
    pub error: io::Error,
}

impl DiskError {
    /// Of a step with a file.
    pub fn at(step: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self { step, path: path.to_owned(), error }
    }
}

/// Makes `directory` and those above it, and makes sure that a power cut leaves it there.
///
/// # Errors
/// [`DiskError`] names the step.
pub fn make_directory(directory: &Path) -> Result<(), DiskError> {
    if directory.is_dir() {
        return Ok(());
    }
    let above = directory.parent().unwrap_or(Path::new("/"));
    make_directory(above)?;
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(DiskError::at("make", directory)(error));
        }
        _ => {}
    }
    sync_directory(above)
}

/// Puts `bytes` in place of what `directory/name` held: written beside it, made durable, renamed,
/// and the name made durable too. When this returns, a power cut changes nothing any more.
///
/// # Errors
/// [`DiskError`] names the step; the old content is still there, unless it was the very last one
/// that failed: then it is one of the two.
pub fn replace(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let part = directory.join(format!("{name}{UNFINISHED}"));
    let written = File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        sys::files::sync(&file)
    });
    if let Err(error) = written {
        // A full disk must not stay full of our halves.
        let _ = std::fs::remove_file(&part);
        return Err(DiskError::at("write", &part)(error));
    }
    let path = directory.join(name);
    std::fs::rename(&part, &path).map_err(DiskError::at("rename to", &path))?;
    sync_directory(directory)
}

/// Takes a name away for good. It being gone already is fine.
///
/// # Errors
/// [`DiskError`] names the step.
pub fn remove(directory: &Path, name: &str) -> Result<(), DiskError> {
    let path = directory.join(name);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DiskError::at("remove", &path)(error))
        }
        _ => sync_directory(directory),
    }
}

/// Reads a file of at most `bytes_max`; what is longer is cut there, plus one byte that shows it.
///
/// # Errors
/// [`DiskError`] with what the kernel said.
pub fn read_capped(path: &Path, bytes_max: usize) -> Result<Vec<u8>, DiskError> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(DiskError::at("read", path))
}

/// Makes the names in a directory durable.
///
/// # Errors
/// [`DiskError`] of fsync(2).
pub fn sync_directory(directory: &Path) -> Result<(), DiskError> {
    sys::files::sync_folder(directory).map_err(DiskError::at("sync", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The new content is there and no half file beside it; removing twice is fine.
    #[test]
    fn replaced_and_removed() {
        let folder = tempfile::tempdir().expect("a directory");
        let deep = folder.path().join("a/b");
        make_directory(&deep).expect("made");
        make_directory(&deep).expect("there already");
        for content in ["one", "two"] {
            replace(&deep, "file", content.as_bytes()).expect("replaced");
            assert_eq!(std::fs::read_to_string(deep.join("file")).expect("read"), content);
        }
        let names = std::fs::read_dir(&deep).expect("list").count();
        assert_eq!(names, 1);
        remove(&deep, "file").expect("removed");
        remove(&deep, "file").expect("removed already");
    }

    /// A write that cannot be done leaves the old content and no half file, and is told with its
    /// step and path. (Here: the half file's name is taken by a directory.)
    #[test]
    fn a_failed_write_leaves_the_old() {
        let folder = tempfile::tempdir().expect("a directory");
        replace(folder.path(), "file", b"old").expect("written");
        std::fs::create_dir(folder.path().join("file.part")).expect("a directory");
        let error = replace(folder.path(), "file", b"new").expect_err("in the way");
        assert!(error.to_string().starts_with("write ") && error.to_string().contains("file.part"));
        assert_eq!(std::fs::read(folder.path().join("file")).expect("read"), b"old");
    }

    /// One byte more than the cap shows that there was more.
    #[test]
    fn reading_is_capped() {
        let folder = tempfile::tempdir().expect("a directory");
        replace(folder.path(), "file", b"12345").expect("written");
        let path = folder.path().join("file");
        assert_eq!(read_capped(&path, 5).expect("read"), b"12345");
        assert_eq!(read_capped(&path, 3).expect("read"), b"1234");
    }
}
