//! What a whole volume holds: nothing, a file system, or what must not be touched.
//!
//! ```text
//! mark of ours at the end? ── yes ─▶ Unfinished: a file system was being made when the power went
//!        │ no
//! superblocks? ── one ─▶ FileSystem    several ─▶ Foreign
//!        │ none
//! partition table? ── yes ─▶ Foreign
//!        │ no
//! zeros at both ends? ── yes ─▶ Blank     no ─▶ Foreign
//! ```
//!
//! Only `Blank` and `Unfinished` may be written to. Making a file system is not one step, so it is
//! done between two others: the mark is written to the blank volume's last block, and taken away
//! when the file system is whole. A volume with a mark was never mounted, so nothing on it is lost
//! by beginning again.

use crate::bytes::{ReadAt, WriteAt};
use crate::superblock::{Superblock, probe};
use crate::table::{self, Table};
use std::fmt;
use std::io;

/// Bytes at each end that are zero on a blank volume. Everything that partitions, encrypts, groups
/// or mirrors keeps its own data within the first or the last MiB; LUKS2's second header may lie
/// at 4 MiB.
const ENDS_BYTES: u64 = 5 * 1024 * 1024;

/// Read at a time in bytes.
const CHUNK_BYTES: usize = 256 * 1024;

/// The block of the mark in bytes.
const BLOCK_BYTES: u64 = 4096;

/// Logical sectors in bytes that disks have; a table that was written on one may lie on the other.
const SECTORS_BYTES: [u64; 2] = [512, 4096];

/// Smallest volume that can hold anything, in bytes.
const VOLUME_BYTES_MIN: u64 = 1024 * 1024;

/// The mark: a sentence for whoever looks at the disk, and enough of it to be no accident.
const MARK: &[u8; 128] = b"rollinit-volume: a file system was being made here, on a blank \
    volume. It is begun again when this is seen. 7d0e3f8c5b1942ad\n\0\0\0";

/// What a volume holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing: zeros at both ends.
    Blank,
    /// Our own half-made file system.
    Unfinished,
    /// One superblock, of a file system or not.
    Superblock(Superblock),
    /// Something that we did not make and that is no single superblock; in words.
    Foreign(String),
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("nothing"),
            Self::Unfinished => f.write_str("a file system that was not finished"),
            Self::Superblock(superblock) => write!(f, "{superblock}"),
            Self::Foreign(words) => f.write_str(words),
        }
    }
}

/// Looks at a whole volume of `bytes` bytes, without writing.
///
/// # Errors
/// Those of reading it.
pub fn look(volume: &(impl ReadAt + ?Sized), bytes: u64) -> io::Result<Content> {
    if bytes < VOLUME_BYTES_MIN {
        return Ok(Content::Foreign(format!("no room: {bytes} bytes")));
    }
    let mut mark = [0; MARK.len()];
    volume.read_at(&mut mark, mark_at(bytes))?;
    if mark == *MARK {
        return Ok(Content::Unfinished);
    }
    let mut found = probe(volume, bytes)?;
    if found.len() > 1 {
        let words: Vec<String> = found.iter().map(ToString::to_string).collect();
        return Ok(Content::Foreign(format!("the superblocks of {}", words.join(" and "))));
    }
    if let Some(superblock) = found.pop() {
        return Ok(Content::Superblock(superblock));
    }
    let tables = SECTORS_BYTES.map(|sector| table::read(volume, sector, bytes / sector));
    let words = match tables {
        [Some(Table::Gpt(_)), _] | [_, Some(Table::Gpt(_))] => Some("a partition table (GPT)"),
        [Some(Table::Dos(_)), _] | [_, Some(Table::Dos(_))] => Some("a partition table (DOS)"),
        [None, None] => None,
    };
    if let Some(words) = words {
        return Ok(Content::Foreign(words.to_owned()));
    }
    let ends = ENDS_BYTES.min(bytes);
    for start in [0, bytes - ends] {
        if let Some(at) = not_zero(volume, start, ends)? {
            let words = format!("data of an unknown kind, first seen at byte {at}");
            return Ok(Content::Foreign(words));
        }
    }
    Ok(Content::Blank)
}

/// Where the first byte that is not zero lies.
fn not_zero(volume: &(impl ReadAt + ?Sized), start: u64, length: u64) -> io::Result<Option<u64>> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = start;
    while at < start + length {
        let left = usize::try_from(start + length - at).unwrap_or(usize::MAX);
        let chunk = &mut buffer[..left.min(CHUNK_BYTES)];
        volume.read_at(chunk, at)?;
        if let Some(found) = chunk.iter().position(|byte| *byte != 0) {
            return Ok(Some(at + found as u64));
        }
        at += chunk.len() as u64;
    }
    Ok(None)
}

/// The volume's last whole block.
fn mark_at(bytes: u64) -> u64 {
    (bytes / BLOCK_BYTES).saturating_sub(1) * BLOCK_BYTES
}

/// Marks a blank volume, before a file system is made on it.
///
/// # Errors
/// Those of writing and flushing.
pub fn mark(volume: &(impl WriteAt + ?Sized), bytes: u64) -> io::Result<()> {
    volume.write_at(MARK, mark_at(bytes))?;
    volume.flush()
}

/// Takes the mark away, after the file system was made and is on the disk. What the file system
/// itself has written there stays.
///
/// # Errors
/// Those of reading, writing and flushing: then the volume must not be mounted.
pub fn unmark(volume: &(impl WriteAt + ?Sized), bytes: u64) -> io::Result<()> {
    // First of all what was made: without the mark it counts as whole.
    volume.flush()?;
    let mut found = [0; MARK.len()];
    volume.read_at(&mut found, mark_at(bytes))?;
    if found != *MARK {
        return Ok(());
    }
    volume.write_at(&[0; MARK.len()], mark_at(bytes))?;
    volume.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::gpt_disk;
    use std::cell::RefCell;

    const MIB: usize = 1024 * 1024;

    fn content(volume: &[u8]) -> Content {
        look(volume, volume.len() as u64).expect("memory can be read")
    }

    /// Zeros are blank, whatever the size; one byte at either end is somebody's.
    #[test]
    fn blank_means_zeros_at_both_ends() {
        for mib in [1, 3, 6, 40] {
            let mut volume = vec![0; mib * MIB];
            assert_eq!(content(&volume), Content::Blank, "{mib} MiB");
            for at in [0, MIB - 1, volume.len() - MIB, volume.len() - 1] {
                volume[at] = 1;
                let words = format!("data of an unknown kind, first seen at byte {at}");
                assert_eq!(content(&volume), Content::Foreign(words));
                volume[at] = 0;
            }
        }
        assert!(matches!(content(&[0; 4096]), Content::Foreign(_)));
    }

    /// A table, and two superblocks of which one must be stale, are somebody's.
    #[test]
    fn tables_and_doubts_are_foreign() {
        let mut disk = gpt_disk();
        disk.resize(MIB, 0);
        assert_eq!(content(&disk).to_string(), "a partition table (GPT)");
        let mut volume = vec![0; MIB];
        volume[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(content(&volume).to_string(), "a partition table (DOS)");
        volume[..4].copy_from_slice(b"XFSB");
        assert_eq!(content(&volume).to_string(), "xfs");
        volume[1024 + 0x38..1024 + 0x3a].copy_from_slice(&[0x53, 0xef]);
        assert_eq!(content(&volume).to_string(), "the superblocks of ext2 and xfs");
    }

    struct Volume(RefCell<Vec<u8>>);

    impl ReadAt for Volume {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            self.0.borrow().as_slice().read_at(buffer, offset)
        }
    }

    impl WriteAt for Volume {
        fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
            let at = usize::try_from(offset).expect("small");
            self.0.borrow_mut()[at..at + bytes.len()].copy_from_slice(bytes);
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A mark says unfinished whatever else was half made; without it the file system counts, and
    /// what a file system has put over the mark is not wiped.
    #[test]
    fn mark_tells_the_unfinished() {
        let size = 2 * MIB + 512;
        let volume = Volume(RefCell::new(vec![0; size]));
        let bytes = size as u64;
        mark(&volume, bytes).expect("marked");
        assert_eq!(content(&volume.0.borrow()), Content::Unfinished);
        volume.write_at(b"XFSB", 0).expect("half made");
        assert_eq!(content(&volume.0.borrow()), Content::Unfinished);
        unmark(&volume, bytes).expect("unmarked");
        assert_eq!(content(&volume.0.borrow()).to_string(), "xfs");
        volume.write_at(b"a file system's own", mark_at(bytes)).expect("written");
        unmark(&volume, bytes).expect("nothing to do");
        assert!(volume.0.borrow()[..].windows(10).any(|word| word == b"a file sys"));
    }
}
