//! The engine `file`: a folder of one host, its files changed under one lock.
//!
//! A file is its version, a line that no write ever repeats, and the value. A write goes to a name
//! beside, is synced, renamed and the folder synced: after a power cut there is the old entry or
//! the new one.

use crate::key;
use crate::limits::ENTRIES_MAX;
use rollout::{Cas, Entry, Ledger, LedgerError, Token};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The file whose lock guards all entries. No key is called so: keys have no leading dot alone.
const LOCK: &str = ".lock";

/// What a file is called while it is written.
const STAGING: &str = ".new";

/// A folder.
#[derive(Clone, Debug)]
pub struct Folder {
    folder: PathBuf,
}

impl Folder {
    /// The engine of a folder, which is made at the first write.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn name(&self) -> String {
        format!("the folder {}", self.folder.display())
    }

    fn failed(&self, step: &str, key: &str, reason: impl ToString) -> LedgerError {
        LedgerError {
            step: format!("{step} {key} in {}", self.name()),
            reason: reason.to_string(),
            cure: "see the folder's rights and the disk's space".to_owned(),
        }
    }

    /// Entries lie in folders like their keys; a file ends in what no key's name ends in.
    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}~"))
    }

    fn read(&self, key: &str) -> Result<Option<Entry>, LedgerError> {
        let bytes = match fs::read(self.path(key)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("read", key, error)),
        };
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let version = end.and_then(|end| std::str::from_utf8(&bytes[..end]).ok());
        let is_one = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
        match (version.filter(is_one), end) {
            (Some(version), Some(end)) => {
                let (token, value) = (Token(version.to_owned()), bytes[end + 1..].to_vec());
                Ok(Some(Entry { value, token }))
            }
            _ => Err(self.failed("read", key, "its file does not begin with a version")),
        }
    }

    fn replace(
        &self,
        key: &str,
        expected: Option<&Token>,
        value: &[u8],
    ) -> Result<Cas, LedgerError> {
        let failed = |error: std::io::Error| self.failed("write", key, error);
        let path = self.path(key);
        let parent = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(parent).map_err(failed)?;
        let lock = File::create(self.folder.join(LOCK)).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let current = self.read(key)?;
        if current.as_ref().map(|entry| &entry.token) != expected {
            return Ok(Cas::Lost);
        }
        let version = key::unique();
        let staging = self.folder.join(STAGING);
        let mut file = File::create(&staging).map_err(failed)?;
        file.write_all(format!("{version}\n").as_bytes()).map_err(failed)?;
        file.write_all(value).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        fs::rename(&staging, &path).map_err(failed)?;
        Ok(synced(parent, Token(version)))
    }

    fn unlink(&self, key: &str, expected: &Token) -> Result<Cas, LedgerError> {
        let failed = |error: std::io::Error| self.failed("remove", key, error);
        // Whoever looks for an entry in a folder that there is not finds none.
        if self.read(key)?.is_none() {
            return Ok(Cas::Lost);
        }
        let lock = File::create(self.folder.join(LOCK)).map_err(failed)?;
        lock.lock().map_err(failed)?;
        if self.read(key)?.is_none_or(|entry| entry.token != *expected) {
            return Ok(Cas::Lost);
        }
        let path = self.path(key);
        fs::remove_file(&path).map_err(failed)?;
        Ok(synced(path.parent().unwrap_or(&self.folder), expected.clone()))
    }

    /// Adds all entries of `folder` and of the folders in it.
    fn read_all(&self, folder: &str, all: &mut Vec<(String, Entry)>) -> Result<(), LedgerError> {
        let failed = |error: std::io::Error| self.failed("list", folder, error);
        let entries = match fs::read_dir(self.folder.join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if all.len() > ENTRIES_MAX {
                let reason = format!("more than {ENTRIES_MAX} entries");
                return Err(self.failed("list", folder, reason));
            }
            if entry.file_type().map_err(failed)?.is_dir() {
                self.read_all(&format!("{folder}{name}/"), all)?;
            } else if let Some(name) = name.strip_suffix('~') {
                let key = format!("{folder}{name}");
                all.extend(self.read(&key)?.map(|entry| (key, entry)));
            }
        }
        Ok(())
    }

    /// Whether the folder is there and can be written to.
    ///
    /// # Errors
    /// It is not, or cannot be.
    pub(crate) async fn probe(&self) -> Result<String, LedgerError> {
        self.aside(|own| {
            let failed = |error: std::io::Error| own.failed("probe", "the lock", error);
            fs::create_dir_all(&own.folder).map_err(failed)?;
            let lock = File::create(own.folder.join(LOCK)).map_err(failed)?;
            lock.lock().map_err(failed)?;
            Ok(format!("{} can be written to, for one host", own.name()))
        })
        .await
    }

    /// Disks may be slow, and the lock may be held.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let own = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&own)).await;
        done.unwrap_or_else(|error| Err(self.failed("use", "an entry", error)))
    }
}

/// What a change came to, once its folder is on the disk.
fn synced(folder: &Path, version: Token) -> Cas {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Ok(()) => Cas::Applied(version),
        // Everybody sees it, and a power cut may undo it.
        Err(error) => Cas::Unknown(error.to_string()),
    }
}

impl Ledger for Folder {
    async fn get(&self, key: &str) -> Result<Option<Entry>, LedgerError> {
        key::check(&self.name(), key)?;
        let key = key.to_owned();
        self.aside(move |own| own.read(&key)).await
    }

    async fn cas(
        &self,
        key: &str,
        expected: Option<&Token>,
        value: &[u8],
    ) -> Result<Cas, LedgerError> {
        key::check(&self.name(), key)?;
        key::check_value(&self.name(), key, value)?;
        let (key, expected, value) = (key.to_owned(), expected.cloned(), value.to_vec());
        self.aside(move |own| own.replace(&key, expected.as_ref(), &value)).await
    }

    async fn remove(&self, key: &str, expected: &Token) -> Result<Cas, LedgerError> {
        key::check(&self.name(), key)?;
        let (key, expected) = (key.to_owned(), expected.clone());
        self.aside(move |own| own.unlink(&key, &expected)).await
    }

    async fn list(&self, folder: &str) -> Result<Vec<(String, Entry)>, LedgerError> {
        key::check_folder(&self.name(), folder)?;
        let folder = folder.to_owned();
        self.aside(move |own| {
            let mut all = Vec::new();
            own.read_all(&folder, &mut all)?;
            all.sort_by(|(one, _), (other, _)| one.cmp(other));
            Ok(all)
        })
        .await
    }
}
