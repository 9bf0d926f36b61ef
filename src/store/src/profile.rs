//! Profiles: numbered generations of one app, as links that `nix-env --list-generations` reads.
//!
//! `profiles/rollinit/APP` is a link to `APP-N-link`, and that one to a store path. The highest
//! number ever given is kept beside them in `.APP.highest`, written before the link: Nix's own
//! count would give the number of a removed last generation again, and a number is never reused
//! here.

use crate::error::{Error, Fault, Result, Step};
use crate::path::StorePath;
use crate::roots::{self, as_bytes};
use crate::store::Layout;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// One generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number, from 1.
    pub number: u64,
    /// What it points to.
    pub path: StorePath,
    /// When it was made.
    pub created: SystemTime,
}

/// The profile of one app.
#[derive(Clone, Debug)]
pub struct Profile {
    folder: PathBuf,
    app: String,
}

impl Profile {
    /// The profile of `app` in the store under `root`; nothing is made yet.
    ///
    /// # Errors
    /// `app` is not a name.
    pub fn open(root: &Path, app: &str) -> Result<Self> {
        let app = roots::checked_name(Step::Profile, app)?.to_owned();
        Ok(Self { folder: Layout::new(root).profiles(), app })
    }

    /// The profile of the system in the store under `root`, where Nix has it: `profiles/system`.
    #[must_use]
    pub fn of_system(root: &Path) -> Self {
        Self { folder: Layout::new(root).state().join("profiles"), app: "system".to_owned() }
    }

    /// The link that a boot reads.
    #[must_use]
    pub fn link(&self) -> PathBuf {
        self.folder.join(&self.app)
    }

    /// All generations, in order of their numbers.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn generations(&self) -> Result<Vec<Generation>> {
        let mut found = Vec::new();
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            other => other.map_err(Error::io(Step::Profile, &self.folder))?,
        };
        for entry in entries {
            let entry = entry.map_err(Error::io(Step::Profile, &self.folder))?;
            if let Some(number) = self.number_in(as_bytes(Path::new(&entry.file_name()))) {
                found.extend(self.generation(number)?);
            }
        }
        found.sort_by_key(|generation| generation.number);
        Ok(found)
    }

    /// What the profile points to; `None` if nothing was ever committed.
    ///
    /// # Errors
    /// The link cannot be read, or points to what is no generation.
    pub fn current(&self) -> Result<Option<Generation>> {
        let link = self.link();
        let target = match fs::read_link(&link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::io(Step::Profile, &link))?,
        };
        let name = target.file_name().map(Path::new).map(as_bytes).unwrap_or_default();
        let number = self.number_in(name);
        number.map_or(Ok(None), |number| self.generation(number))
    }

    /// The number that the next new generation gets.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn next_number(&self) -> Result<u64> {
        let seen = self.generations()?.last().map_or(0, |generation| generation.number);
        let mark = match fs::read_to_string(self.mark()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            other => {
                let text = other.map_err(Error::io(Step::Profile, &self.mark()))?;
                // The mark is renamed into place whole. One that is not a number is not ours.
                text.trim().parse().unwrap_or(0)
            }
        };
        Ok(seen.max(mark) + 1)
    }

    /// Makes the profile point to `path`, as a new generation unless it points there already;
    /// durable when it returns. A power cut leaves the old one or the new one. Returns the number.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn commit(&self, path: &StorePath) -> Result<u64> {
        if let Some(current) = self.current()?
            && current.path == *path
        {
            return Ok(current.number);
        }
        let number = self.add(path)?;
        self.point_to(number).map_err(Error::io(Step::Profile, &self.folder))?;
        Ok(number)
    }

    /// Makes `path` a new generation that the profile does not point to yet; durable when it
    /// returns, and nothing that a collector takes. Returns its number.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn add(&self, path: &StorePath) -> Result<u64> {
        let failed = || Error::io(Step::Profile, &self.folder);
        fs::create_dir_all(&self.folder).map_err(failed())?;
        let number = self.next_number()?;
        self.write_mark(number).map_err(failed())?;
        let target = path.to_string();
        roots::place_link(&self.folder, &self.name_of(number), Path::new(&target))
            .map_err(failed())?;
        Ok(number)
    }

    /// Takes a generation away that the profile does not point to; one that is gone already is
    /// fine. Its number is never given again.
    ///
    /// # Errors
    /// The profile points to it, or the folder cannot be written.
    pub fn forget(&self, number: u64) -> Result<()> {
        let link = self.folder.join(self.name_of(number));
        if self.current()?.is_some_and(|current| current.number == number) {
            return Err(Error::io(Step::Profile, &link)(io::ErrorKind::ResourceBusy.into()));
        }
        match fs::remove_file(&link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed.map_err(Error::io(Step::Profile, &link))?,
        }
        sys::files::sync_folder(&self.folder).map_err(Error::io(Step::Profile, &self.folder))
    }

    /// Makes the profile point to a generation that it has; durable when it returns.
    ///
    /// # Errors
    /// There is no such generation, or the folder cannot be written.
    pub fn select(&self, number: u64) -> Result<Generation> {
        let failed = || Error::io(Step::Profile, &self.folder);
        let Some(generation) = self.generation(number)? else {
            let link = self.folder.join(self.name_of(number));
            return Err(Error::new(Step::Profile, link.display(), Fault::NotValid));
        };
        self.point_to(number).map_err(failed())?;
        Ok(generation)
    }

    fn point_to(&self, number: u64) -> io::Result<()> {
        roots::place_link(&self.folder, &self.app, Path::new(&self.name_of(number)))
    }

    fn name_of(&self, number: u64) -> String {
        format!("{}-{number}-link", self.app)
    }

    /// The number in the name of one of our generations. Written back it must be the same name, so
    /// `web-007-link` is none.
    fn number_in(&self, name: &[u8]) -> Option<u64> {
        let rest = name.strip_prefix(self.app.as_bytes())?.strip_prefix(b"-")?;
        let number = std::str::from_utf8(rest.strip_suffix(b"-link")?).ok()?.parse().ok()?;
        (number > 0 && self.name_of(number).as_bytes() == name).then_some(number)
    }

    /// Generation `number`, if its link is there and points to a store path.
    fn generation(&self, number: u64) -> Result<Option<Generation>> {
        let link = self.folder.join(self.name_of(number));
        let read = fs::symlink_metadata(&link).and_then(|of| Ok((fs::read_link(&link)?, of)));
        let (target, metadata) = match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::io(Step::Profile, &link))?,
        };
        let created = metadata.modified().map_err(Error::io(Step::Profile, &link))?;
        let path = StorePath::parse(as_bytes(&target)).ok();
        Ok(path.map(|path| Generation { number, path, created }))
    }

    fn mark(&self) -> PathBuf {
        self.folder.join(format!(".{}.highest", self.app))
    }

    fn write_mark(&self, number: u64) -> io::Result<()> {
        let fresh = self.folder.join(format!(".{}.highest.new", self.app));
        let mut file = File::create(&fresh)?;
        writeln!(file, "{number}")?;
        sys::files::sync(&file)?;
        fs::rename(&fresh, self.mark())
    }
}
