//! Partition tables: which partition is which, and where the last one may end.
//!
//! GPT (UEFI specification, chapter 5): the header in sector 1 with its list of partitions, and a
//! copy of both at the end of the disk; each guarded by checksums, read and written by `gptman`.
//! DOS: only the signature at 440, which the kernel makes PARTUUIDs of.
//!
//! A table is foreign: before `gptman` acts on a header's numbers they are bounded here.

use crate::bytes::{ReadAt, WriteAt, le32, uuid};
use gptman::{GPTHeader, GPTPartitionEntry};
use std::io::{self, Cursor, Seek, SeekFrom, Write};

/// Logical sectors in bytes that a kernel of pages of 4 KiB takes.
const SECTOR_BYTES: std::ops::RangeInclusive<u64> = 512..=4096;

/// Partitions of one table: Linux takes 256, the usual list has room for 128.
const PARTITIONS_MAX: u32 = 1024;

/// An entry of the list in bytes; `gptman` knows no other, nor does any tool write another.
const ENTRY_BYTES: u32 = 128;

/// The header of revision 1.0 in bytes.
const HEADER_BYTES: usize = 92;

/// Zeros behind what `gptman` decodes: it reads as much as its own structures take in memory, which
/// is some bytes more than what lies on the disk.
const PADDING_BYTES: usize = 128;

/// Where the primary header lies, and where its list does.
const PRIMARY_SECTOR: u64 = 1;
const PRIMARY_LIST_SECTOR: u64 = 2;

/// The type of a partition that firmware boots from, as text (UEFI, table 5-7).
pub const EFI_SYSTEM: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";

/// A disk's partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table {
    /// The partitions in use.
    Gpt(Vec<Entry>),
    /// The disk's signature.
    Dos(u32),
}

/// One partition of a GPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From 1.
    pub number: u32,
    /// PARTUUID, in lower case.
    pub uuid: Option<String>,
    /// PARTLABEL.
    pub label: Option<String>,
    /// The type's UUID, in lower case: [`EFI_SYSTEM`] and others.
    pub kind: Option<String>,
}

/// The partition table of a disk of `sectors` sectors; none if it has none that is sound.
#[must_use]
pub fn read(disk: &(impl ReadAt + ?Sized), sector_bytes: u64, sectors: u64) -> Option<Table> {
    if let Some(gpt) = Gpt::read(disk, sector_bytes, sectors) {
        return Some(Table::Gpt(gpt.used().map(entry_of).collect()));
    }
    let mut first = [0; 512];
    disk.read_at(&mut first, 0).ok()?;
    first.ends_with(&[0x55, 0xaa]).then(|| le32(&first, 440).map(Table::Dos)).flatten()
}

fn entry_of((number, entry): (u32, &GPTPartitionEntry)) -> Entry {
    let label = entry.partition_name.as_str();
    Entry {
        number,
        uuid: uuid(mixed(entry.unique_partition_guid)),
        label: (!label.is_empty()).then(|| label.to_owned()),
        kind: uuid(mixed(entry.partition_type_guid)),
    }
}

/// A GUID's bytes in the order in which people write them (UEFI, appendix A).
fn mixed(guid: [u8; 16]) -> [u8; 16] {
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    order.map(|at: usize| guid[at])
}

/// A sound GPT, from either copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gpt {
    pub(crate) sector_bytes: u64,
    /// As the primary's: a backup's is turned round when it is read.
    pub(crate) header: GPTHeader,
    pub(crate) entries: Vec<GPTPartitionEntry>,
    /// Both copies are sound, say the same, and the second is at the end of the disk.
    pub(crate) is_whole: bool,
}

impl Gpt {
    /// Reads the primary, or if that is not sound the copy at the end of the disk.
    pub(crate) fn read(
        disk: &(impl ReadAt + ?Sized),
        sector_bytes: u64,
        sectors: u64,
    ) -> Option<Self> {
        if !SECTOR_BYTES.contains(&sector_bytes) || !sector_bytes.is_power_of_two() {
            return None;
        }
        let last = sectors.checked_sub(1).filter(|last| *last > PRIMARY_SECTOR)?;
        let primary = read_copy(disk, sector_bytes, sectors, PRIMARY_SECTOR);
        let backup = read_copy(disk, sector_bytes, sectors, last);
        let is_whole = primary.as_ref().zip(backup.as_ref()).is_some_and(|(primary, backup)| {
            primary.0.backup_lba == last
                && primary.0.disk_guid == backup.0.disk_guid
                && primary.0.last_usable_lba == backup.0.last_usable_lba
                && primary.1 == backup.1
        });
        let (header, entries) = primary.or_else(|| {
            let (mut header, entries) = backup?;
            header.primary_lba = PRIMARY_SECTOR;
            header.backup_lba = last;
            header.partition_entry_lba = PRIMARY_LIST_SECTOR;
            Some((header, entries))
        })?;
        Some(Self { sector_bytes, header, entries, is_whole })
    }

    /// The partitions in use, with their numbers.
    pub(crate) fn used(&self) -> impl Iterator<Item = (u32, &GPTPartitionEntry)> {
        (1..).zip(&self.entries).filter(|(_, entry)| entry.is_used())
    }

    /// Sectors of one list of partitions.
    fn list_sectors(&self) -> u64 {
        let bytes = u64::from(self.header.number_of_partition_entries) * u64::from(ENTRY_BYTES);
        bytes.div_ceil(self.sector_bytes)
    }

    /// The last sector that a partition may use on a disk of `sectors` sectors: behind it lie the
    /// copy of the list and that of the header.
    pub(crate) fn last_usable(&self, sectors: u64) -> u64 {
        sectors.saturating_sub(self.list_sectors() + 2)
    }

    /// Writes both copies for a disk of `sectors` sectors. The copy at the end goes first and is on
    /// the disk before the primary is touched: at every moment one of them is sound.
    pub(crate) fn write(&mut self, disk: &(impl WriteAt + ?Sized), sectors: u64) -> io::Result<()> {
        let last = sectors.saturating_sub(1);
        self.header.backup_lba = last;
        self.header.last_usable_lba = self.last_usable(sectors);
        let mut backup = self.header.clone();
        backup.primary_lba = last;
        backup.backup_lba = PRIMARY_SECTOR;
        backup.partition_entry_lba = self.header.last_usable_lba + 1;
        for header in [&mut backup, &mut self.header] {
            let mut out = Out { disk, at: 0 };
            header
                .write_into(&mut out, self.sector_bytes, &self.entries)
                .map_err(io::Error::other)?;
            disk.flush()?;
        }
        self.is_whole = true;
        Ok(())
    }
}

/// The copy whose header lies in `sector`, if both checksums are right and its numbers make sense.
fn read_copy(
    disk: &(impl ReadAt + ?Sized),
    sector_bytes: u64,
    sectors: u64,
    sector: u64,
) -> Option<(GPTHeader, Vec<GPTPartitionEntry>)> {
    let mut bytes = [0; HEADER_BYTES + PADDING_BYTES];
    disk.read_at(&mut bytes[..HEADER_BYTES], sector.checked_mul(sector_bytes)?).ok()?;
    let header = GPTHeader::read_from(&mut Cursor::new(bytes)).ok()?;
    let count = header.number_of_partition_entries;
    let sound = header.primary_lba == sector
        && header.size_of_partition_entry == ENTRY_BYTES
        && (1..=PARTITIONS_MAX).contains(&count)
        && header.partition_entry_lba < sectors
        && header.first_usable_lba <= header.last_usable_lba;
    if !sound {
        return None;
    }
    let list_bytes = usize::try_from(u64::from(count) * u64::from(ENTRY_BYTES)).ok()?;
    let mut list = vec![0; list_bytes + PADDING_BYTES];
    let list_at = header.partition_entry_lba.checked_mul(sector_bytes)?;
    disk.read_at(&mut list[..list_bytes], list_at).ok()?;
    // It looks for the list where the header says: here, that is the start of what was read.
    let here = GPTHeader { partition_entry_lba: 0, ..header.clone() };
    let entries = here.read_partitions(&mut Cursor::new(list), sector_bytes).ok()?;
    let ordered = |entry: &GPTPartitionEntry| entry.starting_lba <= entry.ending_lba;
    entries.iter().all(|entry| entry.is_unused() || ordered(entry)).then_some((header, entries))
}

/// Writes at the place that was sought last.
struct Out<'a, Disk: ?Sized> {
    disk: &'a Disk,
    at: u64,
}

impl<Disk: WriteAt + ?Sized> Write for Out<'_, Disk> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.write_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.flush()
    }
}

impl<Disk: ?Sized> Seek for Out<'_, Disk> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            SeekFrom::Start(at) => self.at = at,
            SeekFrom::Current(_) | SeekFrom::End(_) => {
                return Err(io::ErrorKind::Unsupported.into());
            }
        }
        Ok(self.at)
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
pub(crate) mod tests;
