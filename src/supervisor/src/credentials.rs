//! Credentials: secrets as files of their service, on a file system that is memory alone.
//!
//! `RUN/credentials` is a ramfs that PID 1 mounts at boot: nothing of it is ever swapped or
//! written to a disk, and it outlives this process. Below it a directory for each service or app,
//! root's, which the service's group may list; in it a file for each credential, mode 0400, the
//! service's. A file is written beside and renamed, so a reader finds the old secret or the new
//! one. Since no directory is a service's own, nothing a service does there leads us elsewhere.
//!
//! `.changed-OWNER` beside the directories names what was replaced and not yet told; the next
//! supervisor tells it again.

use crate::identity::{self, Identity};
use crate::port::PortError;
use crate::shell::Shell;
use crate::sockets::Failure;
use control::types::{Credential, CredentialProblem, CredentialSource};
use service::definition::CredentialSource as From;
use service::limits::{CREDENTIAL_BYTES_MAX, CREDENTIAL_NAME_BYTES_MAX, CREDENTIALS_MAX};
use service::{Definition, Event, Place};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Below the run directory.
const DIRECTORY: &str = "credentials";

/// What the name of a file that is being written begins with. No credential's name does.
const NEW: &str = ".new-";

/// What the name of a list of untold changes begins with. No owner's name does.
const CHANGED: &str = ".changed-";

/// Bytes of such a list: as many names as a definition may have.
const CHANGED_BYTES_MAX: u64 = (CREDENTIALS_MAX * (CREDENTIAL_NAME_BYTES_MAX + 1)) as u64;

/// The files of all credentials.
#[derive(Debug)]
pub struct Vault {
    root: PathBuf,
    /// Why some are not there, by owner and name.
    problems: BTreeMap<String, BTreeMap<String, String>>,
    /// It was said that the files may be written to a disk.
    is_said: bool,
}

/// What the agent brings for one owner.
pub struct Delivery {
    /// The service or app.
    pub owner: String,
    /// Names and secrets.
    pub values: Vec<(String, Vec<u8>)>,
    /// Why others cannot be had.
    pub problems: Vec<CredentialProblem>,
}

impl std::fmt::Debug for Delivery {
    /// Never the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.values.iter().map(|(name, _)| name).collect();
        let Self { owner, problems, .. } = self;
        f.debug_struct("Delivery")
            .field("owner", owner)
            .field("names", &names)
            .field("problems", problems)
            .finish_non_exhaustive()
    }
}

/// Why a delivery is not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// No such service or app.
    Unknown,
    /// It makes no sense; why, and what to do.
    Nonsense(String),
    /// Some file could not be written; which, and why.
    Failed(String),
}

impl Vault {
    /// The one of this run directory.
    #[must_use]
    pub fn new(run: &Path) -> Self {
        Self { root: run.join(DIRECTORY), problems: BTreeMap::new(), is_said: false }
    }

    /// Where an owner's files are: its `$CREDENTIALS_DIRECTORY`.
    #[must_use]
    pub fn directory(&self, owner: &str) -> PathBuf {
        self.root.join(owner)
    }

    /// Owners of which there are files.
    fn owners(&self) -> Vec<String> {
        names(&self.root).into_iter().filter(|name| !name.starts_with('.')).collect()
    }

    /// Names of an owner's credentials that are there.
    fn present(&self, owner: &str) -> BTreeSet<String> {
        let names = names(&self.directory(owner)).into_iter();
        names.filter(|name| !name.starts_with('.')).collect()
    }

    /// Makes an owner's directory; root's alone until its identity is known.
    fn make(&mut self, owner: &str) -> io::Result<()> {
        let builder = |mode| {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(mode);
            builder
        };
        if !self.root.is_dir() {
            builder(0o711).create(&self.root)?;
        }
        if !self.is_said && !sys::files::is_unswappable(&self.root)? {
            self.is_said = true;
            tracing::warn!(
                "{}: is no ramfs, so secrets in it may be swapped out or written to a disk; \
                 PID 1 mounts one at boot",
                self.root.display()
            );
        }
        let directory = self.directory(owner);
        if directory.is_dir() { Ok(()) } else { builder(0o700).create(directory) }
    }

    /// Whether this secret is there already.
    fn holds(&self, owner: &str, name: &str, value: &[u8]) -> bool {
        read_file(&self.directory(owner).join(name)).is_ok_and(|held| held == value)
    }

    /// Puts a file in its place. Without an identity it is root's alone until the next start.
    fn write(
        &mut self,
        owner: &str,
        name: &str,
        value: &[u8],
        identity: Option<&Identity>,
    ) -> io::Result<()> {
        self.make(owner)?;
        let directory = self.directory(owner);
        let new = directory.join(format!("{NEW}{name}"));
        if let Err(error) = std::fs::remove_file(&new)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut options = File::options();
        let mut file = options.write(true).create_new(true).mode(0o400).open(&new)?;
        file.write_all(value)?;
        if let Some(identity) = identity {
            own(&file, identity)?;
        }
        std::fs::rename(&new, directory.join(name))
    }

    /// Gives what is there to whom a run starts as, and takes away what its definition does not
    /// name.
    fn hand_over(
        &mut self,
        owner: &str,
        definition: &Definition,
        identity: &Identity,
    ) -> io::Result<()> {
        self.make(owner)?;
        let directory = self.directory(owner);
        for name in names(&directory) {
            let path = directory.join(&name);
            if definition.credentials.contains_key(&name) {
                std::os::unix::fs::chown(&path, Some(identity.user), Some(identity.group))?;
                std::fs::set_permissions(&path, Permissions::from_mode(0o400))?;
            } else {
                std::fs::remove_file(&path)?;
            }
        }
        std::os::unix::fs::chown(&directory, None, Some(identity.group))?;
        std::fs::set_permissions(&directory, Permissions::from_mode(0o750))
    }

    /// All that a run needs, before it starts: what comes from a path is read now.
    ///
    /// # Errors
    /// The step, which names the credential, and its `errno`.
    pub fn prepare(
        &mut self,
        owner: &str,
        definition: &Definition,
        identity: &Identity,
    ) -> Result<PathBuf, Failure> {
        for (name, credential) in &definition.credentials {
            let From::Path(path) = &credential.source else { continue };
            let at = |error: io::Error| match error.raw_os_error() {
                Some(errno) => (format!("credential {name} ({path})"), errno),
                None => (format!("credential {name} ({path}): {error}"), 0),
            };
            let value = read_file(Path::new(path)).map_err(at)?;
            if value.len() > CREDENTIAL_BYTES_MAX {
                let step = format!(
                    "credential {name} ({path}): it has more than {CREDENTIAL_BYTES_MAX} bytes"
                );
                return Err((step, 0));
            }
            if !self.holds(owner, name, &value) {
                self.write(owner, name, &value, Some(identity)).map_err(at)?;
            }
        }
        let directory = self.directory(owner);
        match self.hand_over(owner, definition, identity) {
            Ok(()) => Ok(directory),
            Err(error) => {
                let step = format!("credentials directory {}", directory.display());
                Err((step, error.raw_os_error().unwrap_or(0)))
            }
        }
    }

    /// Removes all that there is of an owner.
    pub fn forget(&mut self, owner: &str) {
        self.problems.remove(owner);
        self.settled(owner);
        if let Err(error) = std::fs::remove_dir_all(self.directory(owner))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!("credentials of {owner} cannot be removed: {error}");
        }
    }

    fn changed_path(&self, owner: &str) -> PathBuf {
        self.root.join(format!("{CHANGED}{owner}"))
    }

    /// What was replaced and not told to its end.
    fn untold(&self, owner: &str) -> BTreeSet<String> {
        let mut text = String::new();
        let read = File::open(self.changed_path(owner))
            .and_then(|file| file.take(CHANGED_BYTES_MAX).read_to_string(&mut text));
        read.map_or_else(|_| BTreeSet::new(), |_| text.lines().map(str::to_owned).collect())
    }

    /// Remembers what is about to be replaced.
    fn remember(&mut self, owner: &str, names: &[String]) -> io::Result<()> {
        self.make(owner)?;
        let mut untold = self.untold(owner);
        untold.extend(names.iter().cloned());
        let text: String = untold.iter().map(|name| format!("{name}\n")).collect();
        let new = self.root.join(format!("{NEW}{owner}"));
        std::fs::write(&new, text)?;
        std::fs::rename(&new, self.changed_path(owner))
    }

    /// Everybody has heard of the changes.
    pub fn settled(&self, owner: &str) {
        if let Err(error) = std::fs::remove_file(self.changed_path(owner))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!("{}: cannot be removed: {error}", self.changed_path(owner).display());
        }
    }
}

/// Names in a directory that are UTF-8, as ours are; none if it is not there.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// A regular file's bytes, one more than a credential may have. A FIFO would hold us.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(CREDENTIAL_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn own(file: &File, identity: &Identity) -> io::Result<()> {
    std::os::unix::fs::fchown(file, Some(identity.user), Some(identity.group))
}

impl Shell {
    /// The definition of a service, or the template of an app.
    fn owner(&self, name: &str) -> Option<&Definition> {
        let app = self.machine.app(name).map(|app| &app.template);
        app.or_else(|| self.machine.loaded().definitions.get(name))
    }

    /// Who a key's credentials are of: sides and tasks share those of their app.
    pub(crate) fn credentials_owner<'k>(&self, key: &'k str) -> &'k str {
        match self.machine.place(key) {
            Place::Side { app, .. } | Place::Task { app, .. } => app,
            Place::Service => key,
        }
    }

    /// The files of a run that starts; none if its definition names none.
    ///
    /// # Errors
    /// As [`Vault::prepare`].
    pub(crate) fn prepare_credentials(
        &mut self,
        key: &str,
        definition: &Definition,
        identity: &Identity,
    ) -> Result<Option<PathBuf>, Failure> {
        if definition.credentials.is_empty() {
            return Ok(None);
        }
        let owner = self.credentials_owner(key).to_owned();
        let directory = self.vault.prepare(&owner, definition, identity)?;
        self.publish_credentials();
        Ok(Some(directory))
    }

    /// A key is no longer defined: with the last one of its owner the files go.
    pub(crate) fn forget_credentials(&mut self, key: &str) {
        let side_of = key.strip_suffix(".0").or_else(|| key.strip_suffix(".1"));
        for owner in std::iter::once(key).chain(side_of) {
            if self.owner(owner).is_none() {
                self.vault.forget(owner);
            }
        }
    }

    /// What an earlier supervisor left: what is there, and what it replaced and may not have told.
    /// What belongs to nobody any more is removed.
    ///
    /// # Errors
    /// [`PortError`]: there is no PID 1 to carry anything out.
    pub(crate) fn recall_credentials(&mut self) -> Result<(), PortError> {
        for owner in self.vault.owners() {
            if self.owner(&owner).is_none() {
                self.vault.forget(&owner);
                continue;
            }
            let changed = self.vault.untold(&owner);
            self.tell_credentials(owner, changed)?;
        }
        Ok(())
    }

    fn tell_credentials(
        &mut self,
        owner: String,
        changed: BTreeSet<String>,
    ) -> Result<(), PortError> {
        let present = self.vault.present(&owner);
        let problems = self.vault.problems.get(&owner).cloned().unwrap_or_default();
        self.step(Event::Credentials { owner, present, problems, changed })?;
        self.publish_credentials();
        Ok(())
    }

    /// Takes a delivery: files first, then whoever waits for them or is to be told. Says which are
    /// new.
    ///
    /// # Errors
    /// [`PortError`] as for any input; the inner one is for who delivers.
    pub(crate) fn deliver(
        &mut self,
        delivery: Delivery,
    ) -> Result<Result<Vec<String>, Refused>, PortError> {
        let Delivery { owner, values, problems } = delivery;
        let Some(definition) = self.owner(&owner).cloned() else {
            return Ok(Err(Refused::Unknown));
        };
        if let Some(nonsense) = nonsense(&owner, &definition, &values, &problems) {
            return Ok(Err(Refused::Nonsense(nonsense)));
        }
        let known = self.vault.problems.entry(owner.clone()).or_default();
        // Of a definition before a reload nothing is left.
        known.retain(|name, _| definition.credentials.contains_key(name));
        for (name, _) in &values {
            known.remove(name);
        }
        known.extend(problems.into_iter().map(|problem| (problem.name, problem.reason)));
        let present = self.vault.present(&owner);
        let is_new = |(name, value): &(String, Vec<u8>)| !self.vault.holds(&owner, name, value);
        let new: Vec<(String, Vec<u8>)> = values.into_iter().filter(is_new).collect();
        let names: Vec<String> = new.iter().map(|(name, _)| name.clone()).collect();
        let replaced: Vec<String> =
            names.iter().filter(|name| present.contains(*name)).cloned().collect();
        let written = self.write_all(&owner, &definition, &new, &replaced);
        self.tell_credentials(owner, replaced.into_iter().collect())?;
        Ok(written.map(|()| names).map_err(Refused::Failed))
    }

    fn write_all(
        &mut self,
        owner: &str,
        definition: &Definition,
        new: &[(String, Vec<u8>)],
        replaced: &[String],
    ) -> Result<(), String> {
        let at = |name: &str, error: io::Error| {
            format!("the credential {name} of {owner} cannot be written: {error}")
        };
        if !replaced.is_empty() {
            let remembered = self.vault.remember(owner, replaced);
            remembered.map_err(|error| at(&replaced.join(", "), error))?;
        }
        // A user that does not exist yet does when the service starts, or the start says so.
        let accounts = identity::accounts_for(definition).ok();
        let identity = accounts.and_then(|found| identity::resolve(definition, &found).ok());
        for (name, value) in new {
            let written = self.vault.write(owner, name, value, identity.as_ref());
            written.map_err(|error| at(name, error))?;
        }
        Ok(())
    }

    /// All credentials that definitions name, by owner and name.
    #[must_use]
    pub(crate) fn credentials(&self) -> Vec<Credential> {
        let mut all = Vec::new();
        for (owner, definition) in self.machine.loaded().nodes() {
            if definition.credentials.is_empty() {
                continue;
            }
            let present = self.vault.present(owner);
            let problems = self.vault.problems.get(owner);
            for (name, credential) in &definition.credentials {
                let (source, place) = match &credential.source {
                    From::Path(path) => (CredentialSource::Path, path.clone()),
                    From::Ssm(parameter) => (CredentialSource::Ssm, parameter.clone()),
                };
                all.push(Credential {
                    owner: owner.clone(),
                    name: name.clone(),
                    source,
                    place,
                    present: present.contains(name),
                    problem: problems.and_then(|problems| problems.get(name)).cloned(),
                });
            }
        }
        all.sort_by(|a, b| (&a.owner, &a.name).cmp(&(&b.owner, &b.name)));
        all
    }

    /// Tells those who watch, if anything is different.
    pub(crate) fn publish_credentials(&mut self) {
        if self.watched_credentials.receiver_count() == 0 {
            return;
        }
        let now = self.credentials();
        self.watched_credentials.send_if_modified(|last| {
            let differs = *last != now;
            *last = now;
            differs
        });
    }
}

/// Why a delivery makes no sense; none if it does.
fn nonsense(
    owner: &str,
    definition: &Definition,
    values: &[(String, Vec<u8>)],
    problems: &[CredentialProblem],
) -> Option<String> {
    let named = values.iter().map(|(name, _)| name);
    for name in named.chain(problems.iter().map(|problem| &problem.name)) {
        match definition.credentials.get(name).map(|credential| &credential.source) {
            Some(From::Ssm(_)) => {}
            Some(From::Path(path)) => {
                return Some(format!("{owner} reads its credential {name} from {path} itself"));
            }
            None => {
                return Some(format!(
                    "{owner} has no credential {name:?}; its definition has to name it first"
                ));
            }
        }
    }
    let (name, value) = values.iter().find(|(_, value)| value.len() > CREDENTIAL_BYTES_MAX)?;
    let length = value.len();
    Some(format!("{owner}: {name} has {length} bytes, at most {CREDENTIAL_BYTES_MAX} are taken"))
}

#[cfg(test)]
mod tests;
