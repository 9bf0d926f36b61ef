//! Growing the last partition of a disk, and the file system in it, to what the disk has.
//!
//! ```text
//! read the table ─▶ last partition? ─▶ end it at the last full MiB ─▶ copy at the end, flush
//!                                                                         │
//!        file system ◀─ mounted ◀─ tell the kernel ◀─ protective MBR ◀─ primary, flush
//! ```
//!
//! Every step is done, or found done, at every boot: a crash between two of them is made good by
//! the next boot. What could not be made good is never done: a copy of the table is written only
//! while the other is whole.

use crate::bytes::{WriteAt, le32};
use crate::device::Device;
use crate::table::Gpt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Partitions end at multiples of this, as they begin: what every tool aligns to.
const ALIGNMENT_BYTES: u64 = 1024 * 1024;

/// Where the first entry of the protective MBR is, its type within it, and that type.
const MBR_ENTRY: u64 = 446;
const MBR_TYPE: usize = 4;
const MBR_PROTECTIVE: u8 = 0xee;

/// Why a partition does not grow.
#[derive(Debug, thiserror::Error)]
pub enum GrowthError {
    /// There is no GPT whose checksums are right.
    #[error("the disk has no sound GPT; make one, or let root= name the whole disk")]
    NoTable,
    /// The table has no such partition.
    #[error("the GPT has no partition {0}; the kernel and the disk disagree, reboot")]
    NoPartition(u32),
    /// Something lies behind it.
    #[error("partition {0} lies behind it; only the last partition of a disk grows")]
    NotLast(u32),
    /// The disk is smaller than its table says.
    #[error("the disk ends before the partition does; it was cut, restore it from a snapshot")]
    Cut,
    /// The disk could not be read or written.
    #[error("{step}: {error}")]
    Disk {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        error: io::Error,
    },
}

fn at(step: &'static str) -> impl FnOnce(io::Error) -> GrowthError {
    move |error| GrowthError::Disk { step, error }
}

/// Where a partition lies after its growth, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grown {
    /// Where it starts.
    pub start_bytes: u64,
    /// How long the table said it was.
    pub before_bytes: u64,
    /// How long it is.
    pub after_bytes: u64,
}

/// Makes the partition of `partition`'s disk as long as the disk allows, on the disk and in the
/// kernel's mind, also while it is mounted. Nothing to do is fine.
///
/// # Errors
/// See [`GrowthError`]; then nothing was written, or what was is as good as before.
pub fn grow_partition(partition: &Device) -> Result<Grown, GrowthError> {
    let none = || GrowthError::NoTable;
    let (entry, disk) =
        partition.partition.as_ref().zip(partition.disk.as_ref()).ok_or_else(none)?;
    let file = OpenOptions::new().read(true).write(true).open(&disk.path);
    let file = file.map_err(at("open the disk"))?;
    let sectors = disk.bytes / disk.sector_bytes.max(1);
    let grown = grow_in_table(&file, disk.sector_bytes, sectors, entry.number)?;
    if grown.after_bytes != partition.bytes {
        sys::partition::resize(&file, entry.number, grown.start_bytes, grown.after_bytes)
            .map_err(at("tell the kernel how long the partition is"))?;
    }
    Ok(grown)
}

/// Grows a partition in both copies of its table.
fn grow_in_table(
    disk: &(impl WriteAt + ?Sized),
    sector_bytes: u64,
    sectors: u64,
    number: u32,
) -> Result<Grown, GrowthError> {
    let mut gpt = Gpt::read(disk, sector_bytes, sectors).ok_or(GrowthError::NoTable)?;
    let index = usize::try_from(number).unwrap_or(0).wrapping_sub(1);
    let entry = gpt.entries.get(index).filter(|entry| entry.is_used()).cloned();
    let entry = entry.ok_or(GrowthError::NoPartition(number))?;
    let behind = gpt.used().find(|(_, other)| other.starting_lba > entry.starting_lba);
    if let Some((other, _)) = behind {
        return Err(GrowthError::NotLast(other));
    }
    let usable = gpt.last_usable(sectors);
    if entry.ending_lba > usable {
        return Err(GrowthError::Cut);
    }
    let alignment = (ALIGNMENT_BYTES / sector_bytes).max(1);
    // Never shorter than it is: one that ends at no full MiB stays.
    let ending = ((usable + 1) / alignment * alignment).saturating_sub(1).max(entry.ending_lba);
    if ending != entry.ending_lba || !gpt.is_whole {
        gpt.entries[index].ending_lba = ending;
        gpt.write(disk, sectors).map_err(at("write the partition table"))?;
    }
    cover_by_mbr(disk, sectors).map_err(at("write the protective MBR"))?;
    let bytes = |ending: u64| (ending + 1 - entry.starting_lba) * sector_bytes;
    Ok(Grown {
        start_bytes: entry.starting_lba * sector_bytes,
        before_bytes: bytes(entry.ending_lba),
        after_bytes: bytes(ending),
    })
}

/// Lets the protective MBR cover the whole disk, so that tools of the old table see no free room.
/// An MBR of another form is somebody's, and stays.
fn cover_by_mbr(disk: &(impl WriteAt + ?Sized), sectors: u64) -> io::Result<()> {
    let mut entry = [0; 16];
    disk.read_at(&mut entry, MBR_ENTRY)?;
    let covered = u32::try_from(sectors.saturating_sub(1)).unwrap_or(u32::MAX);
    let is_ours = entry[MBR_TYPE] == MBR_PROTECTIVE && le32(&entry, 8) == Some(1);
    if !is_ours || le32(&entry, 12) == Some(covered) {
        return Ok(());
    }
    entry[12..].copy_from_slice(&covered.to_le_bytes());
    disk.write_at(&entry, MBR_ENTRY)?;
    disk.flush()
}

/// Grows the file system that is mounted at `directory` to `device_bytes`; returns its size before
/// and after, in bytes. Nothing to do is fine.
///
/// # Errors
/// `Unsupported` for a kind that does not grow while it is mounted; those of the kernel, such as
/// `EROFS` for one that is mounted read-only.
pub fn grow_file_system(kind: &str, directory: &Path, device_bytes: u64) -> io::Result<(u64, u64)> {
    let mounted = File::open(directory)?;
    let before = sys::files::capacity(&mounted)?;
    match kind {
        "ext4" | "ext3" => sys::growth::ext4(&mounted, device_bytes)?,
        "xfs" => sys::growth::xfs(&mounted, device_bytes)?,
        "btrfs" => sys::growth::btrfs(&mounted)?,
        _ => return Err(io::ErrorKind::Unsupported.into()),
    }
    Ok((before, sys::files::capacity(&mounted)?))
}

#[cfg(test)]
#[path = "growth_tests.rs"]
mod tests;
