//! The files of releases.

use crate::exit::{Code, Failure};
use release::limits::RELEASE_BYTES_MAX;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Reads a file of at most a release's size.
///
/// # Errors
/// It cannot be read, or is longer.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| Failure::local(&format!("read {}", path.display()), &error);
    let mut bytes = Vec::new();
    let limit = RELEASE_BYTES_MAX as u64 + 1;
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() > RELEASE_BYTES_MAX {
        let message = format!("{} is longer than {RELEASE_BYTES_MAX} bytes", path.display());
        return Err(Failure { code: Code::Failed, kind: "local", message, cures: Vec::new() });
    }
    Ok(bytes)
}

/// Reads a text.
///
/// # Errors
/// As [`read`]; or it is none.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read(path)?).map_err(|_| {
        let message = format!("{} is no text", path.display());
        Failure { code: Code::Failed, kind: "local", message, cures: Vec::new() }
    })
}

/// Puts these bytes in place of what the file held: whoever is interrupted leaves the old ones.
///
/// # Errors
/// It cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let written = File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    });
    written.map_err(|error| {
        // What is left of it helps nobody; the error is the one above.
        let _ = fs::remove_file(&part);
        Failure::local(&format!("write {}", path.display()), &error)
    })
}
