//! Boot slots: the names and texts of boot loader entries, and what has to go to make room.
//!
//! An entry is a file of the boot partition below `loader/entries`, in the format of the Boot
//! Loader Specification, type 1 (uapi-group.org/specifications). Ours are called
//! `rollinit-GENERATION.conf`. With a counter in the name, `rollinit-7+1.conf`, the loader
//! (systemd-boot) takes one try off before it starts the kernel, by renaming the file to
//! `rollinit-7+0-1.conf`; an entry without a try left comes after all others. Taking the counter
//! out of the name makes the entry a good one: that is the blessing.
//!
//! Kernel and initramfs lie below `rollinit/` under names of their content, so that generations
//! share them and none is ever written over.

use std::fmt;

/// Where entries lie on the boot partition.
pub const ENTRIES: &str = "loader/entries";

/// Where kernels and initramfs lie on the boot partition.
pub const FILES: &str = "rollinit";

/// Ends the name of an entry.
const SUFFIX: &str = ".conf";

/// Begins the name of an entry of ours.
const PREFIX: &str = "rollinit-";

/// An entry's file in bytes: a kernel command line has at most 4096.
pub const ENTRY_BYTES_MAX: usize = 16 * 1024;

/// The variable `LoaderBootCountPath` in bytes: 4 of attributes and a path of FAT.
pub const VARIABLE_BYTES_MAX: usize = 4 + 2 * 512;

/// Tries that a counter may have: beyond it a bad generation would boot all day.
pub const TRIES_MAX: u32 = 9;

/// Digits of a number in a name: no counter or generation has more.
const DIGITS_MAX: usize = 18;

/// The tries of an entry that is not blessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries {
    /// Boots that it still gets.
    pub left: u64,
    /// Boots that it had.
    pub done: u64,
}

/// The name of an entry, ours or another's: what is before the counter, and the counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryName {
    /// `rollinit-7`.
    pub stem: String,
    /// None: it is a good one.
    pub tries: Option<Tries>,
}

impl EntryName {
    /// The entry of a generation of ours, with so many tries.
    #[must_use]
    pub fn of(generation: u64, tries: u32) -> Self {
        let tries = Tries { left: u64::from(tries.clamp(1, TRIES_MAX)), done: 0 };
        Self { stem: format!("{PREFIX}{generation}"), tries: Some(tries) }
    }

    /// Reads a file name as systemd-boot does: `STEM.conf`, `STEM+LEFT.conf`,
    /// `STEM+LEFT-DONE.conf`. What looks only almost like a counter belongs to the stem.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(SUFFIX)?;
        let is_name = |stem: &str| !stem.is_empty() && !stem.starts_with('.');
        let counted = stem.rsplit_once('+').and_then(|(stem, counter)| {
            let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
            Some((stem, Tries { left: number(left)?, done: number(done)? }))
        });
        match counted.filter(|(stem, _)| is_name(stem)) {
            Some((stem, tries)) => Some(Self { stem: stem.to_owned(), tries: Some(tries) }),
            None => is_name(stem).then(|| Self { stem: stem.to_owned(), tries: None }),
        }
    }

    /// The generation, if it is an entry of ours.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        number(self.stem.strip_prefix(PREFIX)?).filter(|generation| *generation > 0)
    }

    /// The same entry as a good one.
    #[must_use]
    pub fn blessed(&self) -> Self {
        Self { stem: self.stem.clone(), tries: None }
    }

    /// The loader starts it only if there is nothing else.
    #[must_use]
    pub fn is_tried_out(&self) -> bool {
        self.tries.is_some_and(|tries| tries.left == 0)
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.stem)?;
        match self.tries {
            None => {}
            Some(Tries { left, done: 0 }) => write!(out, "+{left}")?,
            Some(Tries { left, done }) => write!(out, "+{left}-{done}")?,
        }
        out.write_str(SUFFIX)
    }
}

fn number(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && (1..=DIGITS_MAX).contains(&text.len())).then(|| text.parse().ok())?
}

/// What an entry says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What the loader's menu shows.
    pub title: String,
    /// Orders entries; the higher comes first.
    pub version: u64,
    /// The kernel, from the root of the boot partition: `/rollinit/kernel-HASH`.
    pub linux: String,
    /// The initramfs, likewise.
    pub initrd: Vec<String>,
    /// The kernel command line.
    pub options: String,
}

impl Entry {
    /// Its file's content.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { title, version, linux, initrd, options } = self;
        let initrd: String = initrd.iter().map(|path| format!("initrd {path}\n")).collect();
        format!(
            "title {title}\nsort-key rollinit\nversion {version}\nlinux {linux}\n{initrd}\
             options {options}\n"
        )
    }

    /// Reads the keys that matter here; others are passed over, as the specification asks for.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let text = text.get(..ENTRY_BYTES_MAX).unwrap_or(text);
        let text = String::from_utf8_lossy(text);
        let mut entry = Self::default();
        for line in text.lines() {
            let line = line.trim();
            let Some((key, value)) = line.split_once([' ', '\t']) else { continue };
            let value = value.trim();
            match key {
                "title" => value.clone_into(&mut entry.title),
                "version" => entry.version = number(value).unwrap_or(0),
                "linux" => value.clone_into(&mut entry.linux),
                "initrd" => entry.initrd.push(value.to_owned()),
                "options" if entry.options.is_empty() => value.clone_into(&mut entry.options),
                "options" => entry.options.extend([" ", value]),
                _ => {}
            }
        }
        entry
    }

    /// The names below [`FILES`] that it needs.
    fn files(&self) -> impl Iterator<Item = &str> {
        let paths = [&self.linux].into_iter().chain(&self.initrd);
        paths.filter_map(|path| path.trim_start_matches('/').strip_prefix("rollinit/"))
    }
}

/// Why what the loader left behind cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// No attributes, half a letter, or longer than any.
    #[error("{0} bytes are no variable of the boot loader")]
    Length(usize),
    /// Not a file directly below `\loader\entries`, or not UTF-16.
    #[error("it names no entry below \\loader\\entries")]
    Path,
}

/// The entry that this boot was started from, if it was counted: the content of the EFI variable
/// `LoaderBootCountPath` as efivarfs shows it, 4 bytes of attributes and a path in UTF-16,
/// `\loader\entries\rollinit-7+0-1.conf` (systemd.io/BOOT_LOADER_INTERFACE).
///
/// # Errors
/// It is something else.
pub fn boot_count_path(variable: &[u8]) -> Result<EntryName, VariableError> {
    let wrong = VariableError::Length(variable.len());
    if variable.len() > VARIABLE_BYTES_MAX || !variable.len().is_multiple_of(2) {
        return Err(wrong);
    }
    let letters = variable.get(4..).ok_or(wrong)?;
    let letters = letters.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let path: Result<String, _> = char::decode_utf16(letters).collect();
    let path = path.map_err(|_| VariableError::Path)?;
    let path = path.trim_end_matches('\0').replace('\\', "/");
    let name = path.trim_start_matches('/').strip_prefix("loader/entries/");
    let name = name.filter(|name| !name.contains(['/', '\0'])).ok_or(VariableError::Path)?;
    EntryName::parse(name).filter(|name| name.tries.is_some()).ok_or(VariableError::Path)
}

/// The name below [`FILES`] of a kernel (`kernel`) or initramfs (`initrd`) that lies at this place
/// of the store: a store path's hash stands for all that went into it.
#[must_use]
pub fn content_name(kind: &str, store_file: &str) -> Option<String> {
    let base = store_file.strip_prefix("/nix/store/")?;
    let (hash, _) = base.split_once('-')?;
    let is_hash = hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_hash.then(|| format!("{kind}-{hash}"))
}

/// What the boot partition holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Entries: their names, and what they say.
    pub entries: Vec<(EntryName, Entry)>,
    /// What lies below [`FILES`]: names and bytes.
    pub files: Vec<(String, u64)>,
    /// Free bytes.
    pub free_bytes: u64,
    /// What a file takes at least, in bytes.
    pub block_bytes: u64,
}

/// What shall be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Names below [`FILES`] and bytes.
    pub files: Vec<(String, u64)>,
}

/// What is removed before anything is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// Entries, oldest first; removed before the files that they need.
    pub entries: Vec<EntryName>,
    /// Names below [`FILES`] that no entry needs then.
    pub files: Vec<String>,
}

/// The boot partition is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the boot partition is full: {needed_bytes} bytes are needed, {free_bytes} are free, and \
     {freed_bytes} more could be made free without touching the generations that are kept"
)]
pub struct Full {
    /// What has to be written.
    pub needed_bytes: u64,
    /// What is free.
    pub free_bytes: u64,
    /// What else could be made free.
    pub freed_bytes: u64,
}

/// Bytes that stay free: folders grow, and the loader renames entries.
const RESERVE_BYTES: u64 = 256 * 1024;

/// What has to go so that `wanted` fits. Generations beyond the newest `keep` go in any case,
/// further ones only as far as it takes; `kept` never go, nor do entries of others.
///
/// # Errors
/// It does not fit even so.
pub fn make_room(
    listing: &Listing,
    wanted: &Wanted,
    kept: &[u64],
    keep: usize,
) -> Result<Removal, Full> {
    let block = listing.block_bytes.max(1);
    let whole = |bytes: u64| bytes.div_ceil(block).saturating_mul(block);
    let is_there = |name: &str| listing.files.iter().any(|(file, _)| file == name);
    let missing = wanted.files.iter().filter(|(name, _)| !is_there(name));
    let entry_bytes = whole(ENTRY_BYTES_MAX as u64);
    let needed_bytes = missing.map(|(_, bytes)| whole(*bytes)).sum::<u64>() + entry_bytes;
    let mut ours: Vec<&EntryName> = listing.entries.iter().map(|(name, _)| name).collect();
    ours.retain(|name| name.generation().is_some());
    ours.sort_by_key(|name| name.generation());
    let newest = ours.len().saturating_sub(keep.saturating_sub(1));
    let may_go =
        |name: &&&EntryName| name.generation().is_some_and(|number| !kept.contains(&number));
    let must_go = ours.iter().take(newest).filter(may_go).count();
    let candidates: Vec<EntryName> =
        ours.iter().filter(may_go).map(|name| (*name).clone()).collect();
    let mut freed_bytes = 0;
    for count in must_go..=candidates.len() {
        let entries = candidates.get(..count).unwrap_or_default().to_vec();
        let files = unneeded(listing, wanted, &entries);
        freed_bytes = files.iter().map(|(_, bytes)| whole(*bytes)).sum();
        let free_bytes = listing.free_bytes.saturating_add(freed_bytes);
        if needed_bytes.saturating_add(RESERVE_BYTES) <= free_bytes {
            let files = files.into_iter().map(|(name, _)| name).collect();
            return Ok(Removal { entries, files });
        }
    }
    Err(Full { needed_bytes, free_bytes: listing.free_bytes, freed_bytes })
}

/// The files that nobody needs once these entries are gone.
fn unneeded(listing: &Listing, wanted: &Wanted, gone: &[EntryName]) -> Vec<(String, u64)> {
    let stays = listing.entries.iter().filter(|(name, _)| !gone.contains(name));
    let needed: Vec<&str> = stays.flat_map(|(_, entry)| entry.files()).collect();
    let is_needed = |name: &str| {
        needed.contains(&name) || wanted.files.iter().any(|(wanted, _)| wanted == name)
    };
    listing.files.iter().filter(|(name, _)| !is_needed(name)).cloned().collect()
}

#[cfg(test)]
mod tests;
