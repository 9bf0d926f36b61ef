//! Partition tables from memory.

use super::*;

impl ReadAt for Vec<u8> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Option<()> {
        let start = usize::try_from(offset).ok()?;
        buffer.copy_from_slice(self.get(start..start.checked_add(buffer.len())?)?);
        Some(())
    }
}

const SECTORS: usize = 128;
const UUID: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
/// `UUID` as text: the example of UEFI, appendix A.
const UUID_TEXT: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";

/// Writes a header in `sector` whose list of four partitions, the second in use, starts at `list`.
fn write_gpt(disk: &mut [u8], sector: usize, list: usize) {
    let mut entries = vec![0; 4 * 128];
    entries[128..144].fill(7);
    entries[144..160].copy_from_slice(&UUID);
    disk[list * 512..][..entries.len()].copy_from_slice(&entries);
    let mut header = [0; 92];
    header[..8].copy_from_slice(b"EFI PART");
    header[12] = 92;
    header[24..32].copy_from_slice(&(sector as u64).to_le_bytes());
    header[72..80].copy_from_slice(&(list as u64).to_le_bytes());
    header[80] = 4;
    header[84] = 128;
    header[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
    let sum = crc32(&header);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    disk[sector * 512..][..92].copy_from_slice(&header);
}

fn disk() -> Vec<u8> {
    let mut disk = vec![0; SECTORS * 512];
    disk[440..444].copy_from_slice(&0xdead_beef_u32.to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

fn uuids(disk: &Vec<u8>) -> Option<Vec<Option<String>>> {
    match read_table(disk, 512, SECTORS as u64) {
        Some(Table::Gpt(uuids)) => Some(uuids),
        _ => None,
    }
}

/// The check value of CRC-32/ISO-HDLC.
#[test]
fn checksum() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

/// Numbers count from 1 and keep their gaps; the byte order is that of the specification.
#[test]
fn gpt_names_its_partitions() {
    let mut disk = disk();
    write_gpt(&mut disk, 1, 2);
    assert_eq!(uuids(&disk), Some(vec![None, Some(UUID_TEXT.to_owned()), None, None]));
}

/// A damaged first header is not believed: the backup at the end of the disk answers.
#[test]
fn backup_answers_for_a_damaged_primary() {
    let mut disk = disk();
    write_gpt(&mut disk, 1, 2);
    write_gpt(&mut disk, SECTORS - 1, 100);
    disk[512 + 40] ^= 1;
    disk[2 * 512] ^= 1;
    assert_eq!(uuids(&disk).and_then(|uuids| uuids[1].clone()).as_deref(), Some(UUID_TEXT));
}

/// Without a GPT the DOS signature counts; without that there is no table.
#[test]
fn dos_signature() {
    let mut disk = disk();
    assert!(matches!(read_table(&disk, 512, SECTORS as u64), Some(Table::Dos(0xdead_beef))));
    disk[511] = 0;
    assert!(read_table(&disk, 512, SECTORS as u64).is_none());
}

/// Every single damaged byte of header or list, and every cut of the disk, is answered without a
/// panic and never by a wrong UUID: checksums guard both.
#[test]
fn damage_is_never_believed() {
    let mut whole = disk();
    write_gpt(&mut whole, 1, 2);
    for at in (512..512 + 92).chain(1024..1024 + 512) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        assert_eq!(uuids(&damaged), None, "byte {at}");
    }
    for length in (0..2048).step_by(37) {
        let _ = read_table(&whole[..length].to_vec(), 512, SECTORS as u64);
    }
    // A header with a right checksum and absurd sizes asks for no memory.
    let mut absurd = whole.clone();
    absurd[512 + 80..512 + 88].fill(0xff);
    absurd[512 + 16..512 + 20].fill(0);
    let sum = crc32(&absurd[512..512 + 92]);
    absurd[512 + 16..512 + 20].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(uuids(&absurd), None);
}
