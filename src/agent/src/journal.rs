//! The swap journal: one record an app in STATE/swaps, replaced as a whole.
//!
//! What the room `rollout` calls a record is opaque here but for one thing: whether it can be read
//! back. A file that cannot be (torn, damaged, of another version, under another app's name, not
//! ours at all) is moved to STATE/aside and said. Nobody guesses what it may have meant: the app
//! serves on as the supervisor has it.

use crate::disk::{self, DiskError, UNFINISHED};
use crate::limits::ASIDE_MAX;
use rollout::Record;
use rollout::limits::RECORD_BYTES_MAX;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Ends the name of a record's file.
const SUFFIX: &str = ".swaps";

/// The journal's directory.
#[derive(Clone, Debug)]
pub struct Journal {
    records: PathBuf,
    aside: PathBuf,
}

/// What was found at start.
#[derive(Debug, Default)]
pub struct Found {
    /// Records that are whole.
    pub records: Vec<Record>,
    /// A sentence about each file that is not.
    pub said: Vec<String>,
}

impl Journal {
    /// Makes the directories below `state`.
    ///
    /// # Errors
    /// [`DiskError`] names the step.
    pub fn open(state: &Path) -> Result<Self, DiskError> {
        let journal = Self { records: state.join("swaps"), aside: state.join("aside") };
        disk::make_directory(&journal.records)?;
        disk::make_directory(&journal.aside)?;
        Ok(journal)
    }

    /// Puts an app's record in place of the one before it. When this returns it survives a power
    /// cut.
    ///
    /// # Errors
    /// [`DiskError`]: no space, or the disk is ill.
    pub fn persist(&self, app: &str, bytes: &[u8]) -> Result<(), DiskError> {
        disk::replace(&self.records, &format!("{app}{SUFFIX}"), bytes)
    }

    /// Reads all records, and sets aside what is none.
    ///
    /// # Errors
    /// [`DiskError`]: the directory cannot be listed, or a file neither read nor moved. Then
    /// nothing may begin: a swap might be under way that nobody sees.
    pub fn load(&self) -> Result<Found, DiskError> {
        let mut found = Found::default();
        let list =
            std::fs::read_dir(&self.records).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut names: Vec<_> = list
            .map_err(DiskError::at("list", &self.records))?
            .iter()
            .map(std::fs::DirEntry::file_name)
            .collect();
        names.sort();
        for name in names {
            let is_unfinished = name.to_str().is_some_and(|name| name.ends_with(UNFINISHED));
            if is_unfinished && self.is_file(&name) {
                // Cut off before its rename: the record before it is the one that holds.
                disk::remove(&self.records, &name.to_string_lossy())?;
                continue;
            }
            match self.read(&name)? {
                Ok(record) => found.records.push(record),
                Err(reason) => found.said.push(self.set_aside(&name, &reason)?),
            }
        }
        Ok(found)
    }

    fn is_file(&self, name: &OsStr) -> bool {
        self.records.join(name).symlink_metadata().is_ok_and(|metadata| metadata.is_file())
    }

    /// One file: a record, or why it is none.
    fn read(&self, name: &OsStr) -> Result<Result<Record, String>, DiskError> {
        let Some(app) = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)) else {
            return Ok(Err(format!("its name does not end in {SUFFIX}")));
        };
        let path = self.records.join(name);
        if !self.is_file(name) {
            return Ok(Err("it is no file".to_owned()));
        }
        let bytes = disk::read_capped(&path, RECORD_BYTES_MAX)?;
        Ok(match Record::decode(&bytes) {
            Ok(record) if record.app == app => Ok(record),
            Ok(record) => Err(format!("it is the record of {:?}", record.app)),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Moves a file away, under a name that is free; tells what was done.
    fn set_aside(&self, name: &OsStr, reason: &str) -> Result<String, DiskError> {
        let from = self.records.join(name);
        let free = (0..ASIDE_MAX)
            .map(|number| self.aside.join(format!("{}.{number}", name.to_string_lossy())))
            .find(|path| path.symlink_metadata().is_err());
        let (to, note) = match free {
            Some(to) => (to, ""),
            None => (
                self.aside.join(format!("{}.{}", name.to_string_lossy(), ASIDE_MAX - 1)),
                " in place of an older one",
            ),
        };
        std::fs::rename(&from, &to).map_err(DiskError::at("set aside", &from))?;
        disk::sync_directory(&self.aside)?;
        disk::sync_directory(&self.records)?;
        let (from, to) = (from.display(), to.display());
        Ok(format!("{from}: {reason}; set aside as {to}{note}"))
    }
}

#[cfg(test)]
mod tests;
