//! The folder of one guest, and copies into it.

use crate::exit::Failure;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What is read at once of an image; blocks of zeros become holes.
const BLOCK_BYTES: usize = 1 << 20;

/// A folder of our own in the temporary directory. Dropped, it is removed with all that is in it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// # Errors
    /// There is no room, or somebody else has one of that name.
    pub fn new() -> Result<Folder, Failure> {
        let path = std::env::temp_dir().join(format!("rollinit-vm-{}", std::process::id()));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| Failure {
            cures: vec!["TMPDIR names another directory.".to_owned()],
            ..Failure::local(&format!("cannot make {}", path.display()), &error)
        })?;
        Ok(Folder { path })
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind is in the temporary directory, which is where it may.
        let _ = remove_tree(&self.path);
    }
}

/// Removes a folder with all that is in it, directories without write permission too: those of a
/// store.
///
/// # Errors
/// Those of the file system.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    fs::remove_dir_all(path)
}

/// Copies a small file.
///
/// # Errors
/// Those of the file system.
pub fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let content = fs::read(from);
    let content =
        content.map_err(|e| Failure::local(&format!("cannot read {}", from.display()), &e))?;
    fs::write(to, content)
        .map_err(|e| Failure::local(&format!("cannot write {}", to.display()), &e))
}

/// Copies a disk image without its empty blocks, into a file of at least `bytes` bytes. The name is
/// given to it when it is whole.
///
/// # Errors
/// Those of the file system.
pub fn copy_sparse(from: &Path, to: &Path, bytes: u64) -> Result<(), Failure> {
    let part = to.with_extension("part");
    let copied = || -> io::Result<()> {
        let mut input = File::open(from)?;
        let mut output = File::create(&part)?;
        let mut block = vec![0; BLOCK_BYTES];
        let mut length = 0;
        loop {
            let count = read_block(&mut input, &mut block)?;
            if count == 0 {
                break;
            }
            if block[..count].iter().any(|byte| *byte != 0) {
                output.seek(SeekFrom::Start(length))?;
                output.write_all(&block[..count])?;
            }
            length += count as u64;
        }
        output.set_len(length.max(bytes))?;
        fs::rename(&part, to)
    };
    copied().map_err(|error| {
        let _ = fs::remove_file(&part); // it may not even be there
        let what = format!("cannot copy {} to {}", from.display(), to.display());
        Failure::local(&what, &error)
    })
}

fn read_block(input: &mut File, block: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < block.len() {
        match input.read(&mut block[count..])? {
            0 => break,
            read => count += read,
        }
    }
    Ok(count)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is the test's verdict")]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    /// The same bytes, a hole where there were only zeros, and room behind.
    #[test]
    fn copies_are_sparse_and_larger() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b.img"));
        let mut content = vec![0; 8 * BLOCK_BYTES + 5];
        content[0] = 1;
        content[8 * BLOCK_BYTES + 4] = 2;
        fs::write(&from, &content).unwrap();
        copy_sparse(&from, &to, 16 << 20).unwrap();
        let copied = fs::read(&to).unwrap();
        assert_eq!(copied.len(), 16 << 20);
        assert!(copied[..content.len()] == content && !copied[content.len()..].contains(&1));
        let held = fs::metadata(&to).unwrap().blocks() * 512;
        assert!(held <= 2 * BLOCK_BYTES as u64, "{held} bytes on the disk");
        assert!(!to.with_extension("part").exists());
    }

    /// A store's directories may not be written to.
    #[test]
    fn trees_without_permissions_go() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("store/path")).unwrap();
        fs::write(tree.join("store/path/file"), "x").unwrap();
        for name in ["store/path", "store"] {
            fs::set_permissions(tree.join(name), Permissions::from_mode(0o555)).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }
}
