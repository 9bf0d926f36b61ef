//! The newest release that was seen of each app: STATE/releases/APP.release, replaced as a whole.
//!
//! A file that cannot be read is no file that is not there: without it an older release would be
//! obeyed. So it stays, nothing is followed, and whoever reads that removes it, or not.

use crate::disk::{self, DiskError};
use release::Seen;
use rollout::limits::RECORD_BYTES_MAX;
use rollout::sealed::{self, RecordError};
use std::io;
use std::path::{Path, PathBuf};

/// How the file begins.
const MAGIC: [u8; 8] = *b"rollseen";

/// Ends its name.
const SUFFIX: &str = ".release";

/// The directory of these files.
#[derive(Clone, Debug)]
pub struct Kept {
    folder: PathBuf,
}

/// Why nothing is known of what was seen.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file that is damaged, or a later agent's.
    #[error("{} cannot be read: {what}", path.display())]
    Record {
        /// Which.
        path: PathBuf,
        /// In a few words.
        what: &'static str,
    },
}

impl Kept {
    /// Below the agent's state directory.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { folder: state.join("releases") }
    }

    /// What was seen of an app.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn load(&self, app: &str) -> Result<Option<Seen>, KeptError> {
        let path = self.path(app);
        let bytes = match disk::read_capped(&path, RECORD_BYTES_MAX) {
            Err(error) if error.error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let what = match sealed::open::<Seen>(MAGIC, &bytes) {
            Ok(seen) if seen.app == app => return Ok(Some(seen)),
            Ok(_) => "it is of another app",
            Err(RecordError::Version { .. }) => "a later agent wrote it",
            Err(RecordError::Form(_) | RecordError::Checksum { .. }) => "it is damaged",
        };
        Err(KeptError::Record { path, what })
    }

    /// Puts it in place of what was there. When this returns it survives a power cut.
    ///
    /// # Errors
    /// No space, or the disk is ill.
    pub fn store(&self, seen: &Seen) -> Result<(), DiskError> {
        disk::make_directory(&self.folder)?;
        let name = format!("{}{SUFFIX}", seen.app);
        disk::replace(&self.folder, &name, &sealed::seal(MAGIC, seen))
    }

    /// The file of an app.
    #[must_use]
    pub fn path(&self, app: &str) -> PathBuf {
        self.folder.join(format!("{app}{SUFFIX}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(serial: u64) -> Seen {
        Seen {
            app: "web".to_owned(),
            serial,
            document_sha256: "00".repeat(32),
            path: "/nix/store/x".to_owned(),
            closure_sha256: "11".repeat(32),
            persons: vec!["alice".to_owned()],
            settled: false,
        }
    }

    #[test]
    fn what_was_seen_comes_back_and_damage_is_no_absence() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = Kept::new(folder.path());
        assert_eq!(kept.load("web").expect("nothing yet"), None);
        for serial in [41, 42] {
            kept.store(&seen(serial)).expect("stored");
            assert_eq!(kept.load("web").expect("there"), Some(seen(serial)));
        }
        let path = kept.path("web");
        let mut bytes = std::fs::read(&path).expect("bytes");
        *bytes.last_mut().expect("some") ^= 1;
        std::fs::write(&path, &bytes).expect("written");
        let error = kept.load("web").expect_err("damaged").to_string();
        assert!(error.contains("web.release cannot be read: it is damaged"), "{error}");
        kept.store(&seen(1)).expect("stored");
        std::fs::rename(&path, kept.path("api")).expect("renamed");
        assert!(kept.load("api").expect_err("not its own").to_string().contains("another app"));
    }
}
