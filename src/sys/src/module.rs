//! Kernel modules: finit_module(2).

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::path::Path;

/// linux/module.h: `MODULE_INIT_COMPRESSED_FILE`, Linux 5.17 with `CONFIG_MODULE_DECOMPRESS`.
const COMPRESSED_FILE: i32 = 4;

/// What became of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It is in the kernel now.
    Now,
    /// It was there before: loaded, or built in.
    Already,
}

/// Loads the module in `path` without parameters. One whose name ends in `.xz`, `.zst` or `.gz` is
/// decompressed by the kernel.
///
/// # Errors
/// Those of open(2) and finit_module(2): `ENOEXEC` for another kernel's module, `ENOENT` for an
/// unknown symbol (what it needs is not loaded), `ENODEV` when it finds no hardware,
/// `EOPNOTSUPP` for a compressed file that this kernel cannot read.
pub fn load(path: &Path) -> io::Result<Loaded> {
    load_with(path, "")
}

/// Like [`load`], with parameters: `NAME=VALUE` words between blanks.
///
/// # Errors
/// As [`load`]; `EINVAL` for a value that the module does not take, or a NUL.
pub fn load_with(path: &Path, parameters: &str) -> io::Result<Loaded> {
    let file = File::open(path)?;
    let parameters = CString::new(parameters)?;
    let compressed = [Some("xz"), Some("zst"), Some("gz")];
    let flags = if compressed.contains(&path.extension().and_then(OsStr::to_str)) {
        COMPRESSED_FILE
    } else {
        0
    };
    match rustix::system::finit_module(&file, &parameters, flags) {
        Ok(()) => Ok(Loaded::Now),
        Err(rustix::io::Errno::EXIST) => Ok(Loaded::Already),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is no module is refused by the kernel (or by the lack of privilege) and never "loaded";
    /// a missing file keeps its own error.
    #[test]
    fn a_wrong_file_is_an_error() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(load(file.path()).is_err());
        let error = load(Path::new("/does/not/exist.ko.xz")).expect_err("there is no such file");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
