//! A disk that loses its power: what was flushed is there, what was not may be.

use super::*;
use crate::bytes::ReadAt;
use crate::table::tests::{Place, UUID, UUID_TEXT, write_gpt};
use crate::table::{self, Table};
use proptest::prelude::*;
use std::cell::RefCell;

const MIB: u64 = 1024 * 1024;
const SECTOR: usize = 512;

/// A disk in memory. Writes are remembered by sector until they are flushed.
struct Memory {
    durable: RefCell<Vec<u8>>,
    /// In their order; what is read sees them.
    pending: RefCell<Vec<(usize, Vec<u8>)>>,
    /// Flushes that may still happen; then the power is gone.
    flushes_left: RefCell<usize>,
}

impl Memory {
    fn new(bytes: Vec<u8>, flushes: usize) -> Self {
        let (durable, pending) = (RefCell::new(bytes), RefCell::default());
        Self { durable, pending, flushes_left: RefCell::new(flushes) }
    }

    fn now(&self) -> Vec<u8> {
        let mut bytes = self.durable.borrow().clone();
        for (at, sector) in self.pending.borrow().iter() {
            bytes[*at..*at + sector.len()].copy_from_slice(sector);
        }
        bytes
    }

    /// What is on the disk when the power comes back: of the unflushed writes those that `kept`
    /// says, each a piece of one sector.
    fn after_power_cut(&self, kept: u64) -> Vec<u8> {
        let mut bytes = self.durable.borrow().clone();
        for (number, (at, sector)) in self.pending.borrow().iter().enumerate() {
            if kept >> (number % 64) & 1 == 1 {
                bytes[*at..*at + sector.len()].copy_from_slice(sector);
            }
        }
        bytes
    }
}

impl ReadAt for Memory {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.now().as_slice().read_at(buffer, offset)
    }
}

impl WriteAt for Memory {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut at = usize::try_from(offset).expect("a small disk");
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = (SECTOR - at % SECTOR).min(rest.len());
            let (piece, more) = rest.split_at(length);
            self.pending.borrow_mut().push((at, piece.to_owned()));
            (rest, at) = (more, at + length);
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut left = self.flushes_left.borrow_mut();
        if *left == 0 {
            return Err(io::Error::other("the power is gone"));
        }
        *left -= 1;
        let bytes = self.now();
        *self.durable.borrow_mut() = bytes;
        self.pending.borrow_mut().clear();
        Ok(())
    }
}

/// A disk of 4 MiB that was enlarged to `mib`: its second partition starts at 1 MiB.
fn enlarged(mib: u64) -> Vec<u8> {
    let mut disk = vec![0; usize::try_from(4 * MIB).expect("small")];
    let last = disk.len() / SECTOR - 1;
    let usable = (3, last as u64 - 2);
    let span = (2048, 4095);
    write_gpt(&mut disk, Place { header: 1, other: last, list: 2 }, usable, span);
    write_gpt(&mut disk, Place { header: last, other: 1, list: last - 1 }, usable, span);
    disk[446 + 4] = 0xee;
    disk[446 + 8] = 1;
    disk[446 + 12..446 + 16].copy_from_slice(&u32::try_from(last).expect("small").to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk.resize(usize::try_from(mib * MIB).expect("small"), 0);
    disk
}

fn sectors(disk: &[u8]) -> u64 {
    (disk.len() / SECTOR) as u64
}

fn grow(disk: &Memory) -> Result<Grown, GrowthError> {
    let sectors = sectors(&disk.durable.borrow());
    grow_in_table(disk, SECTOR as u64, sectors, 2)
}

fn grown(bytes: Vec<u8>) -> Vec<u8> {
    let disk = Memory::new(bytes, usize::MAX);
    grow(&disk).expect("it grows");
    assert!(disk.pending.borrow().is_empty(), "everything was flushed");
    disk.durable.into_inner()
}

/// The partition ends at the last full MiB before the copy, keeps its names, and the second time
/// there is nothing to do. sfdisk finds nothing to complain of.
#[test]
fn last_partition_takes_the_room() {
    let disk = Memory::new(enlarged(9), usize::MAX);
    let grown = grow(&disk).expect("it grows");
    let expected = Grown { start_bytes: MIB, before_bytes: MIB, after_bytes: 7 * MIB };
    assert_eq!(grown, expected);
    let bytes = disk.now();
    let Some(Table::Gpt(entries)) = table::read(bytes.as_slice(), 512, sectors(&bytes)) else {
        panic!("no table")
    };
    assert_eq!(entries[0].uuid.as_deref(), Some(UUID_TEXT));
    assert_eq!(&bytes[446 + 12..446 + 16], (9 * 2048_u32 - 1).to_le_bytes());
    let again = Memory::new(bytes.clone(), 0);
    let grown = grow(&again).expect("nothing to do");
    assert_eq!((grown.before_bytes, grown.after_bytes), (7 * MIB, 7 * MIB));
    assert!(again.pending.borrow().is_empty(), "nothing was written");
    verified(&bytes);
}

/// sfdisk's opinion of a disk.
fn verified(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("written");
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = std::process::Command::new("sfdisk");
    let output = command.arg("--verify").arg(file.path()).env("PATH", path).output();
    let output = output.expect("sfdisk; cargo xtask setup");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("No errors detected"), "{text}");
}

/// What lies behind it, a table of another kind, a partition that is not there and a disk that was
/// cut are refused before anything is written.
#[test]
fn refusals_write_nothing() {
    let refused = |bytes: Vec<u8>, number: u32| {
        let disk = Memory::new(bytes, 0);
        let sectors = sectors(&disk.durable.borrow());
        let error = grow_in_table(&disk, 512, sectors, number).expect_err("refused");
        assert!(disk.pending.borrow().is_empty(), "nothing was written");
        error.to_string()
    };
    assert!(refused(vec![0; 1 << 20], 1).contains("no sound GPT"));
    assert!(refused(enlarged(8), 1).contains("no partition 1"));
    assert!(refused(enlarged(8), 0).contains("no partition 0"));
    let mut cut = enlarged(4);
    cut.truncate(usize::try_from(MIB + MIB / 2).expect("small"));
    assert!(refused(cut, 2).contains("ends before the partition"));
    // A further partition, behind the second: the list's entry 3, as entry 2 but later.
    let mut bytes = enlarged(8);
    let mut gpt = Gpt::read(bytes.as_slice(), 512, sectors(&bytes)).expect("a table");
    gpt.entries[2] = gpt.entries[1].clone();
    gpt.entries[2].unique_partition_guid = UUID.map(|byte| byte ^ 1);
    (gpt.entries[2].starting_lba, gpt.entries[2].ending_lba) = (4096, 5000);
    let disk = Memory::new(std::mem::take(&mut bytes), usize::MAX);
    let count = sectors(&disk.durable.borrow());
    gpt.write(&disk, count).expect("written");
    assert!(refused(disk.now(), 2).contains("partition 3 lies behind it"));
}

/// A disk whose MBR is more than protective keeps it.
#[test]
fn foreign_mbr_stays() {
    let mut bytes = enlarged(9);
    bytes[446 + 4] = 0x83;
    let before = bytes[440..512].to_owned();
    assert_eq!(grown(bytes)[440..512], before);
}

proptest! {
    /// The power goes at any flush, with any subset of the sectors written since the last: what is
    /// there then names the partition at its old or new size, never smaller, and the next boot
    /// makes of it, byte for byte in all that counts, what a boot without power cuts makes.
    #[test]
    fn power_cuts_are_made_good(
        mib in 4_u64..12,
        cuts in proptest::collection::vec((0_usize..4, any::<u64>()), 1..4),
    ) {
        let expected = grown(enlarged(mib));
        let mut bytes = enlarged(mib);
        for (flushes, kept) in cuts {
            let disk = Memory::new(bytes, flushes);
            let _ = grow(&disk);
            bytes = disk.after_power_cut(kept);
            let gpt = Gpt::read(bytes.as_slice(), 512, sectors(&bytes));
            let gpt = gpt.expect("one copy is sound at every moment");
            prop_assert_eq!(gpt.entries[1].unique_partition_guid, UUID);
            prop_assert_eq!(gpt.entries[1].starting_lba, 2048);
            prop_assert!(gpt.entries[1].ending_lba >= 4095);
        }
        let healed = grown(bytes);
        let copies = |bytes: &[u8]| Gpt::read(bytes, 512, sectors(bytes)).expect("a table");
        prop_assert!(copies(&healed).is_whole);
        prop_assert_eq!(copies(&healed), copies(&expected));
        let start = 2048 * SECTOR;
        prop_assert_eq!(&healed[..start], &expected[..start]);
    }
}
