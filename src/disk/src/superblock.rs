//! Whose superblock is on a device: the kind of its content, its label and its UUID.
//!
//! ```text
//! magic number at its place ─▶ kind ─▶ label, UUID, size, state from the fields beside it
//! ```
//!
//! Kinds have blkid's names, which for file systems are mount(2)'s too. Every byte is foreign: only
//! what lies in the few kilobytes that were read is looked at, and nothing is believed beyond being
//! a name to compare. Several superblocks on one device are all reported: which of them is stale,
//! nobody can tell.
//!
//! Sources: the kernel's fs/ext4/ext4.h, fs/xfs/libxfs/xfs_format.h,
//! include/uapi/linux/btrfs_tree.h, include/linux/swap.h, fs/squashfs/squashfs_fs.h,
//! fs/erofs/erofs_fs.h, include/linux/f2fs_fs.h,
//! include/uapi/linux/raid/md_p.h; Microsoft's FAT and exFAT specifications; ECMA-119 (ISO 9660);
//! LUKS1 and LUKS2 on-disk format; LVM2's lib/format_text/layout.h.

use crate::bytes::{ReadAt, array, be32, be64, le16, le32, le64, text, uuid};
use std::fmt;
use std::io;

/// Bytes at the start of a device that are looked at: btrfs has its superblock at 64 KiB.
const HEAD_BYTES: usize = 68 * 1024;

/// Where a mirror member of the oldest two formats has its superblock: near the end.
const MIRROR_MAGIC: u32 = 0xa92b_4efc;

/// What kind of content it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// A file system: `kind` is what mount(2) takes.
    FileSystem,
    /// Swap space.
    Swap,
    /// A member or a wrapping of something else: encryption, a volume group, an array.
    Container,
}

/// What a superblock says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// blkid's name: `ext4`, `xfs`, `swap`, `crypto_LUKS`, ….
    pub kind: &'static str,
    /// Whether it can be mounted.
    pub usage: Usage,
    /// Its label.
    pub label: Option<String>,
    /// Its UUID, in lower case (FAT: `1a2b-3c4d`).
    pub uuid: Option<String>,
    /// The size it was made for or grown to, in bytes, where it says so.
    pub bytes: Option<u64>,
    /// The file system noted down that it is damaged (ext only): it wants a check before a mount.
    pub has_errors: bool,
}

impl fmt::Display for Superblock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        if let Some(label) = &self.label {
            // A label is a stranger's text on somebody's console.
            write!(f, " LABEL={}", label.escape_debug())?;
        }
        if let Some(uuid) = &self.uuid {
            write!(f, " UUID={}", uuid.escape_debug())?;
        }
        if self.has_errors { f.write_str(" (errors recorded)") } else { Ok(()) }
    }
}

/// Every superblock on a device of `bytes` bytes; usually one or none.
///
/// # Errors
/// Those of reading the device.
pub fn probe(device: &(impl ReadAt + ?Sized), bytes: u64) -> io::Result<Vec<Superblock>> {
    let length = usize::try_from(bytes).unwrap_or(usize::MAX).min(HEAD_BYTES);
    let mut head = vec![0; length];
    device.read_at(&mut head, 0)?;
    let mut found: Vec<Superblock> = PROBES.iter().filter_map(|probe| probe(&head)).collect();
    if !found.iter().any(|superblock| superblock.kind == "linux_raid_member")
        && is_mirror_at_end(device, bytes)?
    {
        found.push(plain("linux_raid_member", Usage::Container));
    }
    Ok(found)
}

type Probe = fn(&[u8]) -> Option<Superblock>;

const PROBES: [Probe; 14] =
    [luks, lvm, mirror, swap, ext, xfs, btrfs, fat, exfat, ntfs, f2fs, squashfs, erofs, iso9660];

fn plain(kind: &'static str, usage: Usage) -> Superblock {
    Superblock { kind, usage, label: None, uuid: None, bytes: None, has_errors: false }
}

fn file_system(kind: &'static str) -> Superblock {
    plain(kind, Usage::FileSystem)
}

fn starts(head: &[u8], at: usize, magic: &[u8]) -> Option<()> {
    head.get(at..)?.starts_with(magic).then_some(())
}

/// A label of at most `length` bytes at `at`.
fn label(head: &[u8], at: usize, length: usize) -> Option<String> {
    text(head.get(at..at + length)?)
}

fn id(head: &[u8], at: usize) -> Option<String> {
    uuid(array(head, at)?)
}

/// ext2, ext3 and ext4 share one superblock; what sets them apart are the features in use.
fn ext(head: &[u8]) -> Option<Superblock> {
    const START: usize = 1024;
    const HAS_JOURNAL: u32 = 0x4;
    const IS_JOURNAL: u32 = 0x8;
    const SIXTY_FOUR_BITS: u32 = 0x80;
    /// Features that ext3 knows: filetype, recover, meta_bg; sparse_super, large_file, btree_dir.
    const INCOMPATIBLE_OF_EXT3: u32 = 0x2 | 0x4 | 0x10;
    const READ_ONLY_OF_EXT3: u32 = 0x1 | 0x2 | 0x4;
    const ERRORS: u16 = 0x2;
    starts(head, START + 0x38, &[0x53, 0xef])?;
    let (compatible, incompatible) = (le32(head, START + 0x5c)?, le32(head, START + 0x60)?);
    let read_only = le32(head, START + 0x64)?;
    let is_ext4 = incompatible & !INCOMPATIBLE_OF_EXT3 != 0 || read_only & !READ_ONLY_OF_EXT3 != 0;
    let kind = match () {
        () if incompatible & IS_JOURNAL != 0 => "jbd",
        () if is_ext4 => "ext4",
        () if compatible & HAS_JOURNAL != 0 => "ext3",
        () => "ext2",
    };
    let high = if incompatible & SIXTY_FOUR_BITS == 0 { 0 } else { le32(head, START + 0x150)? };
    let blocks = u64::from(high) << 32 | u64::from(le32(head, START + 0x4)?);
    let block_bytes = 1024_u64.checked_shl(le32(head, START + 0x18)?).unwrap_or(0);
    let usage = if kind == "jbd" { Usage::Container } else { Usage::FileSystem };
    Some(Superblock {
        label: label(head, START + 0x78, 16),
        uuid: id(head, START + 0x68),
        bytes: blocks.checked_mul(block_bytes),
        has_errors: le16(head, START + 0x3a)? & ERRORS != 0,
        ..plain(kind, usage)
    })
}

fn xfs(head: &[u8]) -> Option<Superblock> {
    starts(head, 0, b"XFSB")?;
    let bytes = be64(head, 8)?.checked_mul(u64::from(be32(head, 4)?));
    Some(Superblock {
        label: label(head, 108, 12),
        uuid: id(head, 32),
        bytes,
        ..file_system("xfs")
    })
}

fn btrfs(head: &[u8]) -> Option<Superblock> {
    const START: usize = 64 * 1024;
    starts(head, START + 0x40, b"_BHRfS_M")?;
    Some(Superblock {
        label: label(head, START + 0x12b, 256),
        uuid: id(head, START + 0x20),
        bytes: le64(head, START + 0x70),
        ..file_system("btrfs")
    })
}

/// FAT12, FAT16 and FAT32. The label is the boot sector's; its copy in the root directory, which
/// some systems alone rename, is not looked for.
fn fat(head: &[u8]) -> Option<Superblock> {
    starts(head, 510, &[0x55, 0xaa])?;
    let extended = if starts(head, 82, b"FAT32   ").is_some() {
        64
    } else {
        let old: [&[u8]; 3] = [b"FAT12   ", b"FAT16   ", b"FAT     "];
        old.iter().find_map(|magic| starts(head, 54, magic))?;
        36
    };
    // Sectors are powers of two, and so are clusters: a boot loader's text seldom is.
    let sector_bytes = le16(head, 11)?;
    if !(512..=4096).contains(&sector_bytes) || !sector_bytes.is_power_of_two() {
        return None;
    }
    let serial = le32(head, extended + 3)?;
    let name = label(head, extended + 7, 11).filter(|label| label != "NO NAME");
    let sectors = match le16(head, 19)? {
        0 => le32(head, 32)?,
        few => u32::from(few),
    };
    Some(Superblock {
        label: name,
        uuid: Some(serial_of(serial)),
        bytes: Some(u64::from(sectors) * u64::from(sector_bytes)),
        ..file_system("vfat")
    })
}

fn serial_of(serial: u32) -> String {
    format!("{:04x}-{:04x}", serial >> 16, serial & 0xffff)
}

fn exfat(head: &[u8]) -> Option<Superblock> {
    starts(head, 3, b"EXFAT   ")?;
    Some(Superblock { uuid: Some(serial_of(le32(head, 100)?)), ..file_system("exfat") })
}

fn ntfs(head: &[u8]) -> Option<Superblock> {
    starts(head, 3, b"NTFS    ")?;
    let serial = le64(head, 0x48)?;
    Some(Superblock { uuid: Some(format!("{serial:016x}")), ..file_system("ntfs") })
}

fn f2fs(head: &[u8]) -> Option<Superblock> {
    const START: usize = 1024;
    starts(head, START, &[0x10, 0x20, 0xf5, 0xf2])?;
    Some(Superblock { uuid: id(head, START + 108), ..file_system("f2fs") })
}

fn squashfs(head: &[u8]) -> Option<Superblock> {
    starts(head, 0, b"hsqs")?;
    (le16(head, 28)? == 4).then(|| Superblock { bytes: le64(head, 40), ..file_system("squashfs") })
}

fn erofs(head: &[u8]) -> Option<Superblock> {
    const START: usize = 1024;
    starts(head, START, &[0xe2, 0xe1, 0xf5, 0xe0])?;
    let (label, uuid) = (label(head, START + 64, 16), id(head, START + 48));
    Some(Superblock { label, uuid, ..file_system("erofs") })
}

fn iso9660(head: &[u8]) -> Option<Superblock> {
    const START: usize = 32 * 1024;
    starts(head, START + 1, b"CD001")?;
    Some(Superblock { label: label(head, START + 40, 32), ..file_system("iso9660") })
}

/// Swap of pages of 4, 16 or 64 KiB: the magic number ends the first page.
fn swap(head: &[u8]) -> Option<Superblock> {
    let pages = [4096, 16 * 1024, 64 * 1024];
    pages.into_iter().find_map(|page: usize| starts(head, page - 10, b"SWAPSPACE2"))?;
    let (label, uuid) = (label(head, 1024 + 28, 16), id(head, 1024 + 12));
    Some(Superblock { label, uuid, ..plain("swap", Usage::Swap) })
}

fn luks(head: &[u8]) -> Option<Superblock> {
    starts(head, 0, b"LUKS\xba\xbe")?;
    let label = if head.get(6..8)? == [0, 2] { label(head, 24, 48) } else { None };
    let uuid = text(head.get(168..208)?);
    Some(Superblock { label, uuid, ..plain("crypto_LUKS", Usage::Container) })
}

/// A physical volume has its label in one of the first four sectors.
fn lvm(head: &[u8]) -> Option<Superblock> {
    let found = (0..4).any(|sector| {
        starts(head, sector * 512, b"LABELONE").is_some()
            && starts(head, sector * 512 + 24, b"LVM2 001").is_some()
    });
    found.then(|| plain("LVM2_member", Usage::Container))
}

/// A member of an array of the formats 1.1 (at the start) and 1.2 (at 4 KiB).
fn mirror(head: &[u8]) -> Option<Superblock> {
    let found = [0, 4096]
        .into_iter()
        .any(|at| le32(head, at) == Some(MIRROR_MAGIC) && le32(head, at + 4) == Some(1));
    found.then(|| plain("linux_raid_member", Usage::Container))
}

/// The formats 0.90 and 1.0 at the end of the device.
fn is_mirror_at_end(device: &(impl ReadAt + ?Sized), bytes: u64) -> io::Result<bool> {
    const OLD: u64 = 64 * 1024;
    let one = (bytes / 512).checked_sub(16).map(|sector| sector / 8 * 8 * 512);
    let old = (bytes / OLD).checked_sub(1).map(|block| block * OLD);
    for at in [one, old].into_iter().flatten() {
        let mut magic = [0; 4];
        device.read_at(&mut magic, at)?;
        if u32::from_le_bytes(magic) == MIRROR_MAGIC {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
#[path = "superblock_tests.rs"]
mod tests;
