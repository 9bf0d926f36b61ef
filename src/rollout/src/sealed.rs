//! The bytes of a record on disk: whole and ours, or refused with the reason.
//!
//! 8 of magic, version (u16), length of the body (u32), CRC-32 of the body (u32), all
//! little-endian, then the body in postcard. Whoever reads an unknown version is told so.

use crate::limits::RECORD_BYTES_MAX;
use serde::Serialize;
use serde::de::DeserializeOwned;

const HEADER_BYTES: usize = 18;
/// The version that is written.
pub const VERSION: u16 = 1;

/// Why bytes are no record. The text names the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// They do not begin like one, or end too early or too late.
    #[error("this is no swap record: {0}; restore the file or remove it (the app serves on)")]
    Form(&'static str),
    /// They were changed after they were written.
    #[error(
        "the swap record is damaged: its checksum is {found:08x}, not {written:08x}; \
         remove it (the app serves on)"
    )]
    Checksum {
        /// What the body has.
        found: u32,
        /// What the header says.
        written: u32,
    },
    /// A later agent wrote it.
    #[error("the swap record has version {found}, this agent reads {VERSION}; start a newer agent")]
    Version {
        /// Its version.
        found: u16,
    },
}

/// The bytes of a record.
#[must_use]
pub fn seal(magic: [u8; 8], record: &impl Serialize) -> Vec<u8> {
    // A vector grows as needed and all types have fixed shapes: nothing can fail.
    let body = postcard::to_stdvec(record).unwrap_or_default();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&checksum(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// The record that these bytes are.
///
/// # Errors
/// They are none, damaged, or of an unknown version.
pub fn open<T: DeserializeOwned>(magic: [u8; 8], bytes: &[u8]) -> Result<T, RecordError> {
    let form = RecordError::Form;
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(form("it is too long"));
    }
    let (head, body) = bytes.split_at_checked(HEADER_BYTES).ok_or(form("it is too short"))?;
    let (found_magic, head) = head.split_at(magic.len());
    if found_magic != magic {
        return Err(form("it begins differently"));
    }
    let field = |from: usize| -> [u8; 4] {
        std::array::from_fn(|index| head.get(from + index).copied().unwrap_or_default())
    };
    let found = u16::from_le_bytes([field(0)[0], field(0)[1]]);
    if found != VERSION {
        return Err(RecordError::Version { found });
    }
    if u32::try_from(body.len()) != Ok(u32::from_le_bytes(field(2))) {
        return Err(form("its length is wrong"));
    }
    let (found, written) = (checksum(body), u32::from_le_bytes(field(6)));
    if found != written {
        return Err(RecordError::Checksum { found, written });
    }
    let (record, rest) =
        postcard::take_from_bytes(body).map_err(|_| form("its body cannot be read"))?;
    if rest.is_empty() { Ok(record) } else { Err(form("something follows its body")) }
}

/// CRC-32 as IEEE 802.3 has it, a nibble at a time.
fn checksum(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 16] = nibbles();
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        sum = (sum >> 4) ^ TABLE[(sum & 15) as usize];
        sum = (sum >> 4) ^ TABLE[(sum & 15) as usize];
    }
    !sum
}

const fn nibbles() -> [u32; 16] {
    let mut table = [0; 16];
    let mut nibble: u32 = 0;
    while nibble < 16 {
        let mut sum = nibble;
        let mut bit = 0;
        while bit < 4 {
            sum = (sum >> 1) ^ (0xedb8_8320 * (sum & 1));
            bit += 1;
        }
        table[nibble as usize] = sum;
        nibble += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_common_one() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }
}
