//! Block devices: what is there, how large, and which partition is which.
//!
//! The kernel knows a partition's UUID but shows it in sysfs only since 6.9, so the partition table
//! is read here: GPT (UEFI specification, chapter 5: primary header, then the backup) and DOS
//! (signature at 440). Everything read from a disk is foreign: checked by its CRC and capped.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Devices looked at; a server has a dozen.
const DEVICES_MAX: usize = 1024;

/// `size` in sysfs counts these, whatever the disk's own sectors are.
const SYSFS_SECTOR_BYTES: u64 = 512;

/// Largest logical sector that a kernel of pages of 4 KiB takes.
const SECTOR_BYTES_MAX: u64 = 4096;

/// Smallest GPT header in bytes (UEFI, table 5-5).
const GPT_HEADER_BYTES_MIN: usize = 92;

/// A GPT's list of partitions in bytes: the usual one has 16 KiB, Linux takes 256 partitions.
const GPT_ENTRIES_BYTES_MAX: u64 = 256 * 1024;

/// A disk or a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Below `/dev`: `vda1`.
    pub name: String,
    /// Size in bytes; 0 for a drive without a medium.
    pub bytes: u64,
    /// PARTUUID as the kernel's `root=PARTUUID=` takes it, in lower case; none for a whole disk.
    pub partition_uuid: Option<String>,
}

/// Which partition of what table.
#[derive(Debug)]
enum Table {
    /// UUIDs by number, from 1.
    Gpt(Vec<Option<String>>),
    /// The disk's signature.
    Dos(u32),
}

/// Every block device, by name. A disk that cannot be read has partitions without UUID.
///
/// # Errors
/// Those of reading `/sys/class/block`; `ENOENT` without `/sys`.
pub fn devices() -> io::Result<Vec<Device>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/class/block")?.take(DEVICES_MAX) {
        let entry = entry?;
        let directory = entry.path();
        let Ok(name) = entry.file_name().into_string() else { continue };
        let sectors = number(&directory.join("size")).unwrap_or(0);
        let partition_uuid = partition_uuid(&directory);
        let bytes = sectors.saturating_mul(SYSFS_SECTOR_BYTES);
        found.push(Device { name, bytes, partition_uuid });
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// The PARTUUID of the device at a directory of `/sys/class/block`; none for a whole disk.
fn partition_uuid(directory: &Path) -> Option<String> {
    let partition = number(&directory.join("partition"))?;
    let disk = fs::canonicalize(directory).ok()?.parent()?.to_owned();
    let name = disk.file_name()?;
    let sector_bytes = number(&disk.join("queue/logical_block_size"))?;
    let sectors =
        number(&disk.join("size"))?.checked_mul(SYSFS_SECTOR_BYTES)? / sector_bytes.max(1);
    let file = File::open(Path::new("/dev").join(name)).ok()?;
    match read_table(&file, sector_bytes, sectors)? {
        Table::Gpt(uuids) => {
            uuids.into_iter().nth(usize::try_from(partition).ok()?.checked_sub(1)?)?
        }
        Table::Dos(signature) => Some(format!("{signature:08x}-{partition:02x}")),
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim_end().parse().ok()
}

/// The partition table of a disk of `sectors` sectors.
fn read_table(disk: &impl ReadAt, sector_bytes: u64, sectors: u64) -> Option<Table> {
    if !(512..=SECTOR_BYTES_MAX).contains(&sector_bytes) {
        return None;
    }
    let backup = sectors.checked_sub(1);
    let gpt = read_gpt(disk, sector_bytes, 1)
        .or_else(|| read_gpt(disk, sector_bytes, backup.filter(|sector| *sector > 1)?));
    if let Some(uuids) = gpt {
        return Some(Table::Gpt(uuids));
    }
    let mut first = [0; 512];
    disk.read_at(&mut first, 0)?;
    let signature = u32::from_le_bytes(*first[440..].first_chunk()?);
    first.ends_with(&[0x55, 0xaa]).then_some(Table::Dos(signature))
}

/// The UUIDs of a GPT whose header lies in `sector`; none if either checksum is wrong.
fn read_gpt(disk: &impl ReadAt, sector_bytes: u64, sector: u64) -> Option<Vec<Option<String>>> {
    let mut buffer = [0; 512];
    disk.read_at(&mut buffer, sector.checked_mul(sector_bytes)?)?;
    let length = usize::try_from(le32(&buffer, 12)?).ok()?;
    if !buffer.starts_with(b"EFI PART") || length < GPT_HEADER_BYTES_MIN {
        return None;
    }
    let header_sum = le32(&buffer, 16)?;
    buffer[16..20].fill(0);
    if crc32(buffer.get(..length)?) != header_sum || le64(&buffer, 24)? != sector {
        return None;
    }
    let (start, count, size) = (le64(&buffer, 72)?, le32(&buffer, 80)?, le32(&buffer, 84)?);
    let total = u64::from(count) * u64::from(size);
    if size < 128 || total > GPT_ENTRIES_BYTES_MAX {
        return None;
    }
    let mut entries = vec![0; usize::try_from(total).ok()?];
    disk.read_at(&mut entries, start.checked_mul(sector_bytes)?)?;
    if crc32(&entries) != le32(&buffer, 88)? {
        return None;
    }
    Some(entries.chunks_exact(usize::try_from(size).ok()?).map(uuid_of_entry).collect())
}

/// The unique GUID of an entry in use, in the mixed byte order of UEFI, appendix A.
fn uuid_of_entry(entry: &[u8]) -> Option<String> {
    let kind: &[u8; 16] = entry.first_chunk()?;
    let uuid: &[u8; 16] = entry.get(16..)?.first_chunk()?;
    if *kind == [0; 16] {
        return None;
    }
    let text = |order: &[usize]| order.iter().map(|at| format!("{:02x}", uuid[*at])).collect();
    let groups: [&[usize]; 5] =
        [&[3, 2, 1, 0], &[5, 4], &[7, 6], &[8, 9], &[10, 11, 12, 13, 14, 15]];
    let groups: Vec<String> = groups.into_iter().map(text).collect();
    Some(groups.join("-"))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// CRC-32 of ISO 3309, as GPT uses it. Bit by bit: 16 KiB a disk, once.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum: u32, _| {
            (sum >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(sum & 1))
        })
    })
}

/// Reading at an offset, so that tests read from memory.
trait ReadAt {
    /// Fills `buffer` from `offset`, or answers none.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Option<()>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Option<()> {
        self.read_exact_at(buffer, offset).ok()
    }
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
