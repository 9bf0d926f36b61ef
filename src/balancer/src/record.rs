//! What was taken out of a balancer, as it is on disk: JSON, which people may read.

use crate::limits::RECORD_BYTES_MAX;
use crate::machine::Taken;
use serde::{Deserialize, Serialize};

/// The format that is written, and the only one that is read.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    taken: Vec<Taken>,
}

/// Why bytes are no record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no record of what was taken out of a balancer: {0}")]
pub struct RecordError(String);

/// The bytes of a record.
#[must_use]
pub fn encode(taken: &[Taken]) -> Vec<u8> {
    let document = Document { version: VERSION, taken: taken.to_vec() };
    // Strings and numbers: nothing can fail.
    let mut bytes = serde_json::to_vec(&document).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// What these bytes say.
///
/// # Errors
/// They are no record, too many, or of another version.
pub fn decode(bytes: &[u8]) -> Result<Vec<Taken>, RecordError> {
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(RecordError(format!("longer than {RECORD_BYTES_MAX} bytes")));
    }
    let document: Document =
        serde_json::from_slice(bytes).map_err(|error| RecordError(error.to_string()))?;
    if document.version != VERSION {
        let found = document.version;
        return Err(RecordError(format!("version {found}, and this agent reads {VERSION}")));
    }
    Ok(document.taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_nothing_else_is_one() {
        let taken = vec![Taken { place: "web/n1 at lb:9999".to_owned(), was_well: true }];
        assert_eq!(decode(&encode(&taken)), Ok(taken.clone()));
        assert_eq!(decode(&encode(&[])), Ok(Vec::new()));
        let newer = String::from_utf8(encode(&taken)).expect("text").replace(":1,", ":2,");
        assert!(decode(newer.as_bytes()).is_err_and(|error| error.to_string().contains("version")));
        for bytes in [&b""[..], b"{}", b"[1]", b"\xff"] {
            assert!(decode(bytes).is_err());
        }
        assert!(decode(&vec![b' '; RECORD_BYTES_MAX + 1]).is_err());
    }
}
