//! The boot partition: which one the loader came from, what lies there, and how it is changed so
//! that a power cut at any moment leaves every older generation bootable.
//!
//! FAT has no journal. So nothing that an entry needs is ever written over: a kernel is written
//! under a name that nobody reads, synced, renamed, synced; then the entry that needs it, the same
//! way. What has to go goes first: an entry before the files it needs. The partition is mounted
//! while something is done, in the mount namespace of this process, and at no other time.

use rollout::slot::{self, Entry, EntryName, Listing, Removal, Wanted};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use sys::mount::{Options, mount};

/// Vendor of systemd-boot's variables (systemd.io/BOOT_LOADER_INTERFACE).
const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Where efivarfs shows them; PID 1 mounts it.
const VARIABLES: &str = "/sys/firmware/efi/efivars";

/// Only root reads kernels. The charsets are those that stage 1 loads modules for.
const MOUNT_OPTIONS: &[u8] = b"umask=0077,codepage=437,iocharset=ascii,noatime,nosuid,nodev,noexec";

/// Files and entries that are looked at; a partition of ours has a dozen.
const NAMES_MAX: usize = 512;

/// Ends the name of a file that is being written. Neither the loader nor anybody else reads it.
const UNFINISHED: &str = ".part";

/// A step with the boot partition that failed.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The loader does not count, or there is none.
    #[error("{0}")]
    NoSlots(String),
    /// A file could not be read or written.
    #[error("{step} {}: {error}", path.display())]
    File {
        /// What was done.
        step: &'static str,
        /// With what.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// There is no room.
    #[error(transparent)]
    Full(#[from] slot::Full),
}

fn at(step: &'static str, path: &Path) -> impl Fn(io::Error) -> SlotError {
    move |error| SlotError::File { step, path: path.to_owned(), error }
}

/// The boot partition of this host.
#[derive(Clone, Debug)]
pub struct Slots {
    variables: PathBuf,
    mount_point: PathBuf,
}

impl Slots {
    /// Mounted below `run`, when something is done.
    #[must_use]
    pub fn new(run: &Path) -> Self {
        Self { variables: VARIABLES.into(), mount_point: run.join("boot-partition") }
    }

    /// The content of a variable of the loader, if it is there.
    fn variable(&self, name: &str) -> Result<Option<Vec<u8>>, SlotError> {
        let path = self.variables.join(format!("{name}-{VENDOR}"));
        match crate::disk::read_capped(&path, slot::VARIABLE_BYTES_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at("read", &path)(error.error)),
        }
    }

    /// The entry of this boot, if the loader counted it.
    ///
    /// # Errors
    /// The variable cannot be read, or makes no sense.
    pub fn counted(&self) -> Result<Option<EntryName>, SlotError> {
        let Some(bytes) = self.variable("LoaderBootCountPath")? else { return Ok(None) };
        let name = slot::boot_count_path(&bytes);
        name.map(Some).map_err(|error| {
            SlotError::NoSlots(format!("the EFI variable LoaderBootCountPath: {error}"))
        })
    }

    /// The partition that the loader was started from.
    fn device(&self) -> Result<PathBuf, SlotError> {
        let Some(bytes) = self.variable("LoaderDevicePartUUID")? else {
            return Err(SlotError::NoSlots(
                "this host was not started by systemd-boot (no EFI variable LoaderDevicePartUUID)"
                    .to_owned(),
            ));
        };
        let letters = bytes.get(4..).unwrap_or_default().chunks_exact(2);
        let letters = letters.map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let uuid: String = char::decode_utf16(letters).filter_map(Result::ok).collect();
        let uuid = uuid.trim_end_matches('\0').to_ascii_lowercase();
        let devices = disk::devices().map_err(at("list", Path::new("/sys/class/block")))?;
        let found = devices.into_iter().find(|device| {
            device.partition.as_ref().is_some_and(|part| part.uuid.as_ref() == Some(&uuid))
        });
        found.map(|device| device.path).ok_or_else(|| {
            SlotError::NoSlots(format!(
                "the loader's partition, PARTUUID={uuid}, is not to be found"
            ))
        })
    }

    /// Whether new entries can be written here at all.
    ///
    /// # Errors
    /// [`SlotError::NoSlots`] says why not.
    pub fn check(&self) -> Result<(), SlotError> {
        self.device().map(drop)
    }

    /// Does something with the mounted partition.
    ///
    /// # Errors
    /// It cannot be mounted, or what `act` says.
    pub fn with<T>(
        &self,
        act: impl FnOnce(&Partition) -> Result<T, SlotError>,
    ) -> Result<T, SlotError> {
        let (device, target) = (self.device()?, &self.mount_point);
        fs::create_dir_all(target).map_err(at("make", target))?;
        // One that an agent left behind that was killed.
        while sys::detach::unmount(target).is_ok() {}
        let options = Options::parse(MOUNT_OPTIONS).map_err(at("mount", &device))?;
        mount(&device, target, "vfat", &options).map_err(|error| match error.raw_os_error() {
            Some(ENODEV) => SlotError::NoSlots(
                "the kernel has no vfat: the modules vfat, nls_cp437 and nls_ascii must be loaded \
                 (boot.kernelModules)"
                    .to_owned(),
            ),
            _ => at("mount", &device)(error),
        })?;
        let done = act(&Partition { root: target.clone() });
        let unmounted = sys::detach::unmount(target).map_err(at("unmount", target));
        let done = done?;
        unmounted.map(|()| done)
    }
}

/// errno(3): the kernel has no such file system.
const ENODEV: i32 = 19;

/// A mounted boot partition.
#[derive(Debug)]
pub struct Partition {
    root: PathBuf,
}

/// A file of the store, and the name that it has on the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Below [`slot::FILES`].
    pub name: String,
    /// Where it is.
    pub from: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// What shall be written.
pub fn wanted(sources: &[Source]) -> Wanted {
    Wanted { files: sources.iter().map(|source| (source.name.clone(), source.bytes)).collect() }
}

impl Partition {
    /// What lies there.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn list(&self) -> Result<Listing, SlotError> {
        let free = sys::files::free(&self.root).map_err(at("ask", &self.root))?;
        let mut listing =
            Listing { free_bytes: free.bytes, block_bytes: free.block_bytes, ..Listing::default() };
        let entries = self.root.join(slot::ENTRIES);
        for (name, path) in names(&entries)? {
            let Some(name) = EntryName::parse(&name) else { continue };
            let text = crate::disk::read_capped(&path, slot::ENTRY_BYTES_MAX);
            let text = text.map_err(|error| at("read", &path)(error.error))?;
            listing.entries.push((name, Entry::parse(&text)));
        }
        for (name, path) in names(&self.root.join(slot::FILES))? {
            let metadata = fs::metadata(&path).map_err(at("look at", &path))?;
            if metadata.is_file() {
                listing.files.push((name, metadata.len()));
            }
        }
        Ok(listing)
    }

    /// Takes away what makes room: entries, and then what only they needed.
    fn remove(&self, removal: &Removal) -> Result<(), SlotError> {
        let entries = self.root.join(slot::ENTRIES);
        for name in &removal.entries {
            remove(&entries.join(name.to_string()))?;
        }
        self.settle()?;
        let files = self.root.join(slot::FILES);
        removal.files.iter().try_for_each(|name| remove(&files.join(name)))?;
        self.settle()
    }

    /// Makes room, writes what is missing, and then the entry. Whoever repeats it does no harm.
    ///
    /// # Errors
    /// There is no room, which is known before anything is touched; or a step failed.
    pub fn write(
        &self,
        name: &EntryName,
        entry: &Entry,
        sources: &[Source],
        kept: &[u64],
        keep: usize,
    ) -> Result<Removal, SlotError> {
        let removal = slot::make_room(&self.list()?, &wanted(sources), kept, keep)?;
        self.remove(&removal)?;
        let files = self.root.join(slot::FILES);
        fs::create_dir_all(&files).map_err(at("make", &files))?;
        for source in sources {
            let target = files.join(&source.name);
            if !is_same(&source.from, &target).map_err(at("compare", &target))? {
                let content = fs::read(&source.from).map_err(at("read", &source.from))?;
                self.put(&target, &content)?;
            }
        }
        let entries = self.root.join(slot::ENTRIES);
        fs::create_dir_all(&entries).map_err(at("make", &entries))?;
        self.put(&entries.join(name.to_string()), entry.text().as_bytes())?;
        Ok(removal)
    }

    /// A file with all its bytes, or none of that name.
    fn put(&self, target: &Path, content: &[u8]) -> Result<(), SlotError> {
        use std::io::Write as _;
        let mut part = target.as_os_str().to_owned();
        part.push(UNFINISHED);
        let part = PathBuf::from(part);
        let written = File::create(&part).and_then(|mut file| {
            file.write_all(content)?;
            sys::files::sync(&file)
        });
        if let Err(error) = written {
            // A full partition must not stay full of our halves.
            let _ = fs::remove_file(&part);
            return Err(at("write", &part)(error));
        }
        self.settle()?;
        fs::rename(&part, target).map_err(at("rename to", target))?;
        self.settle()
    }

    /// Takes the counter out of an entry's name.
    ///
    /// # Errors
    /// It is not there, or cannot be renamed.
    pub fn bless(&self, name: &EntryName) -> Result<(), SlotError> {
        let entries = self.root.join(slot::ENTRIES);
        let (from, to) = (entries.join(name.to_string()), entries.join(name.blessed().to_string()));
        match fs::rename(&from, &to) {
            // Done by an agent that died before it could say so.
            Err(error) if error.kind() == io::ErrorKind::NotFound && to.exists() => {}
            renamed => renamed.map_err(at("rename", &from))?,
        }
        self.settle()
    }

    /// Takes away the entries of a generation. Its files go when room is made the next time.
    ///
    /// # Errors
    /// They cannot be removed.
    pub fn discard(&self, generation: u64) -> Result<(), SlotError> {
        let entries = self.root.join(slot::ENTRIES);
        for (name, path) in names(&entries)? {
            let name = EntryName::parse(&name);
            if name.and_then(|name| name.generation()) == Some(generation) {
                remove(&path)?;
            }
        }
        self.settle()
    }

    /// All that was done to the partition is on it.
    fn settle(&self) -> Result<(), SlotError> {
        let root = File::open(&self.root).map_err(at("open", &self.root))?;
        sys::files::sync_volume(&root).map_err(at("sync", &self.root))
    }
}

fn remove(path: &Path) -> Result<(), SlotError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The names in a folder; none if it is not there.
fn names(folder: &Path) -> Result<Vec<(String, PathBuf)>, SlotError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at("list", folder))?,
    };
    let mut found = Vec::new();
    for entry in entries.take(NAMES_MAX) {
        let entry = entry.map_err(at("list", folder))?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file is there and has these bytes: one that a power cut left half is not trusted.
fn is_same(source: &Path, target: &Path) -> io::Result<bool> {
    let there = match fs::metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        there => there?,
    };
    let is_as_long = there.len() == fs::metadata(source)?.len();
    Ok(is_as_long && fs::read(source)? == fs::read(target)?)
}

#[cfg(test)]
mod tests;
