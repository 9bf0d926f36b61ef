//! Partition tables in memory, made by hand from the specification: not by what reads them.

use super::*;
use proptest::prelude::*;

pub(crate) const SECTORS: u64 = 128;
pub(crate) const UUID: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
/// `UUID` as text: the example of UEFI, appendix A.
pub(crate) const UUID_TEXT: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";

/// CRC-32 of ISO 3309, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum: u32, _| {
            (sum >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(sum & 1))
        })
    })
}

/// The place of one copy of a table, in sectors.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) header: usize,
    pub(crate) other: usize,
    pub(crate) list: usize,
}

/// Writes a copy whose list of four partitions has the second in use.
pub(crate) fn write_gpt(disk: &mut [u8], place: Place, usable: (u64, u64), span: (u64, u64)) {
    let mut entries = vec![0; 4 * 128];
    entries[128..144].fill(7);
    entries[144..160].copy_from_slice(&UUID);
    entries[160..168].copy_from_slice(&span.0.to_le_bytes());
    entries[168..176].copy_from_slice(&span.1.to_le_bytes());
    for (at, letter) in "root".bytes().enumerate() {
        entries[184 + 2 * at] = letter;
    }
    disk[place.list * 512..][..entries.len()].copy_from_slice(&entries);
    let mut header = [0; 92];
    header[..8].copy_from_slice(b"EFI PART");
    header[10] = 1;
    header[12] = 92;
    header[24..32].copy_from_slice(&(place.header as u64).to_le_bytes());
    header[32..40].copy_from_slice(&(place.other as u64).to_le_bytes());
    header[40..48].copy_from_slice(&usable.0.to_le_bytes());
    header[48..56].copy_from_slice(&usable.1.to_le_bytes());
    header[56..72].fill(9);
    header[72..80].copy_from_slice(&(place.list as u64).to_le_bytes());
    header[80] = 4;
    header[84] = 128;
    header[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
    sum(&mut header);
    disk[place.header * 512..][..92].copy_from_slice(&header);
}

/// Puts a header's own checksum right.
fn sum(header: &mut [u8]) {
    header[16..20].fill(0);
    let sum = crc32(&header[..92]);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
}

const PRIMARY: Place = Place { header: 1, other: 127, list: 2 };
const BACKUP: Place = Place { header: 127, other: 1, list: 126 };

fn disk() -> Vec<u8> {
    let mut disk = vec![0; 128 * 512];
    disk[440..444].copy_from_slice(&0xdead_beef_u32.to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

/// A disk of 64 KiB with both copies, and a second partition `root`.
pub(crate) fn gpt_disk() -> Vec<u8> {
    let mut disk = disk();
    write_gpt(&mut disk, PRIMARY, (3, 125), (40, 55));
    write_gpt(&mut disk, BACKUP, (3, 125), (40, 55));
    disk
}

fn entries(disk: &[u8]) -> Option<Vec<Entry>> {
    match read(disk, 512, SECTORS) {
        Some(Table::Gpt(entries)) => Some(entries),
        _ => None,
    }
}

/// Numbers count from 1 and keep their gaps; the byte order is that of the specification.
#[test]
fn gpt_names_its_partitions() {
    let expected = Entry {
        number: 2,
        uuid: Some(UUID_TEXT.to_owned()),
        label: Some("root".to_owned()),
        kind: Some("07070707-0707-0707-0707-070707070707".to_owned()),
    };
    assert_eq!(entries(&gpt_disk()), Some(vec![expected]));
    assert!(Gpt::read(gpt_disk().as_slice(), 512, SECTORS).is_some_and(|gpt| gpt.is_whole));
}

/// A damaged first header is not believed: the copy at the end of the disk answers.
#[test]
fn backup_answers_for_a_damaged_primary() {
    let mut disk = gpt_disk();
    disk[512 + 40] ^= 1;
    assert_eq!(entries(&disk).map(|entries| entries[0].number), Some(2));
    let gpt = Gpt::read(disk.as_slice(), 512, SECTORS).expect("the copy");
    assert_eq!((gpt.header.primary_lba, gpt.header.partition_entry_lba), (1, 2));
    assert!(!gpt.is_whole);
}

/// Without a GPT the DOS signature counts; without that there is no table.
#[test]
fn dos_signature() {
    let mut disk = disk();
    assert_eq!(read(disk.as_slice(), 512, SECTORS), Some(Table::Dos(0xdead_beef)));
    disk[511] = 0;
    assert_eq!(read(disk.as_slice(), 512, SECTORS), None);
}

/// Every single damaged byte of header or list, and every cut of the disk, is answered without a
/// panic and never by a wrong UUID: checksums guard both.
#[test]
fn damage_is_never_believed() {
    let mut whole = disk();
    write_gpt(&mut whole, PRIMARY, (3, 125), (40, 55));
    for at in (512..512 + 92).chain(1024..1024 + 512) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        assert_eq!(entries(&damaged), None, "byte {at}");
    }
    for length in (0..2048).step_by(37) {
        let _ = read(&whole[..length], 512, SECTORS);
    }
}

/// A header whose checksum is right and whose numbers are absurd asks for no memory and makes
/// nobody panic.
#[test]
fn absurd_numbers_are_refused() {
    let mut whole = disk();
    write_gpt(&mut whole, PRIMARY, (3, 125), (40, 55));
    let fields = [(24, 8), (40, 8), (48, 8), (72, 8), (80, 4), (84, 4)];
    for (at, length) in fields {
        for filling in [0xff, 0x00, 0x80, 0x7f] {
            let mut absurd = whole.clone();
            absurd[512 + at..512 + at + length].fill(filling);
            sum(&mut absurd[512..512 + 92]);
            let gpt = Gpt::read(absurd.as_slice(), 512, SECTORS);
            // The first sector that may be used is nobody's business here.
            assert!(gpt.is_none() || at == 40 || at == 48, "{at} {filling}: {gpt:?}");
        }
    }
    assert!(
        read(whole.as_slice(), 0, SECTORS).is_none_or(|table| table == Table::Dos(0xdead_beef))
    );
    assert!(Gpt::read(whole.as_slice(), 1 << 40, SECTORS).is_none());
    assert!(Gpt::read(whole.as_slice(), 512, u64::MAX).is_some());
}

proptest! {
    /// Any header with a right checksum over any list is answered.
    #[test]
    fn total(mut header in proptest::collection::vec(any::<u8>(), 92), small in any::<bool>()) {
        let mut disk = gpt_disk();
        header[..8].copy_from_slice(b"EFI PART");
        header[8..16].copy_from_slice(&[0, 0, 1, 0, 92, 0, 0, 0]);
        if small {
            header[24..32].copy_from_slice(&1_u64.to_le_bytes());
            header[72..92].copy_from_slice(&disk[512 + 72..512 + 92]);
        }
        sum(&mut header);
        disk[512..512 + 92].copy_from_slice(&header);
        let _ = read(disk.as_slice(), 512, SECTORS);
    }
}
