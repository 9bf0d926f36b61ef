//! The record of the system's swaps: one file, replaced as a whole.
//!
//! A file that cannot be read is set aside and said: the host runs what it booted, and nobody
//! guesses what was under way.

use crate::disk::{self, DiskError};
use crate::limits::ASIDE_MAX;
use rollout::limits::RECORD_BYTES_MAX;
use rollout::system::Record;
use std::io;
use std::path::{Path, PathBuf};

/// The record's file.
const NAME: &str = "system";

/// The record's directory.
#[derive(Clone, Debug)]
pub struct Journal {
    state: PathBuf,
}

impl Journal {
    /// In this directory, which is there.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }

    /// Puts the record in place of the one before it. When this returns it survives a power cut.
    ///
    /// # Errors
    /// [`DiskError`]: no space, or the disk is ill.
    pub fn persist(&self, bytes: &[u8]) -> Result<(), DiskError> {
        disk::replace(&self.state, NAME, bytes)
    }

    /// Reads the record; an empty one if there is none, or none that can be read, and then a
    /// sentence about it.
    ///
    /// # Errors
    /// [`DiskError`]: it can neither be read nor set aside.
    pub fn load(&self) -> Result<(Record, Option<String>), DiskError> {
        let path = self.state.join(NAME);
        let bytes = match disk::read_capped(&path, RECORD_BYTES_MAX) {
            Err(error) if error.error.kind() == io::ErrorKind::NotFound => {
                return Ok((Record::default(), None));
            }
            bytes => bytes?,
        };
        let reason = match Record::decode(&bytes) {
            Ok(record) => return Ok((record, None)),
            Err(reason) => reason,
        };
        let aside = self.state.join("aside");
        disk::make_directory(&aside)?;
        let name = |number: usize| aside.join(format!("{NAME}.{number}"));
        let free = (0..ASIDE_MAX).map(name).find(|path| path.symlink_metadata().is_err());
        let to = free.unwrap_or_else(|| name(ASIDE_MAX - 1));
        std::fs::rename(&path, &to).map_err(DiskError::at("set aside", &path))?;
        disk::sync_directory(&aside)?;
        disk::sync_directory(&self.state)?;
        let said = format!("{}: {reason}; set aside as {}", path.display(), to.display());
        Ok((Record::default(), Some(said)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was written comes back; what is damaged is set aside, once, and said.
    #[test]
    fn a_record_comes_back_or_is_set_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = Journal::new(folder.path());
        assert_eq!(journal.load().expect("loaded"), (Record::default(), None));
        let record = Record { boot: "this".to_owned(), ..Record::default() };
        journal.persist(&record.encode()).expect("persisted");
        assert_eq!(journal.load().expect("loaded"), (record, None));
        journal.persist(b"rollsyst, but not so").expect("persisted");
        let (record, said) = journal.load().expect("loaded");
        assert_eq!(record, Record::default());
        assert!(said.expect("a sentence").contains("aside/system.0"));
        assert_eq!(journal.load().expect("loaded").1, None);
    }
}
