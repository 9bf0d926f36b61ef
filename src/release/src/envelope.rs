//! A document and its signatures in one file: the document, and after it each signature as
//! `ssh-keygen -Y sign` writes it. `cat web.json web.json.sig > web.release` makes one.
//!
//! One file, so that one answer of a server has all of it, of one moment.

use crate::limits::{RELEASE_BYTES_MAX, SIGNATURES_MAX};

/// How a signature begins.
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
/// How it ends.
const END: &str = "-----END SSH SIGNATURE-----";

/// A file that is no document with signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It is too long.
    #[error("it is longer than {RELEASE_BYTES_MAX} bytes")]
    TooLong,
    /// It has too many signatures.
    #[error("it has more than {SIGNATURES_MAX} signatures")]
    TooMany,
    /// Something stands between the signatures that is none.
    #[error("after the document it has something that is no signature of ssh-keygen")]
    Foreign,
}

/// The bytes that were signed, and the signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'b> {
    /// The document.
    pub document: &'b [u8],
    /// The signatures, each in its armour.
    pub signatures: Vec<&'b str>,
}

impl<'b> Envelope<'b> {
    /// Takes a file apart. Total; what the parts hold is not looked at.
    ///
    /// # Errors
    /// It is too long, or has something else after the document.
    pub fn split(bytes: &'b [u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > RELEASE_BYTES_MAX {
            return Err(EnvelopeError::TooLong);
        }
        let Some(begin) = first_line(bytes, BEGIN.as_bytes()) else {
            return Ok(Self { document: bytes, signatures: Vec::new() });
        };
        let (document, rest) = bytes.split_at(begin);
        let mut rest = str::from_utf8(rest).map_err(|_| EnvelopeError::Foreign)?;
        let mut signatures = Vec::new();
        while !rest.trim_ascii().is_empty() {
            let begins = rest.trim_ascii_start();
            let end = begins.find(END).filter(|_| begins.starts_with(BEGIN));
            let end = end.ok_or(EnvelopeError::Foreign)? + END.len();
            if signatures.len() >= SIGNATURES_MAX {
                return Err(EnvelopeError::TooMany);
            }
            signatures.push(&begins[..end]);
            rest = &begins[end..];
        }
        Ok(Self { document, signatures })
    }

    /// The file of these parts.
    #[must_use]
    pub fn join(&self) -> Vec<u8> {
        let mut bytes = self.document.to_vec();
        for signature in &self.signatures {
            bytes.extend_from_slice(signature.trim_ascii().as_bytes());
            bytes.push(b'\n');
        }
        bytes
    }
}

/// Where the first line begins that begins with `word`.
fn first_line(bytes: &[u8], word: &[u8]) -> Option<usize> {
    let mut at = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(word) {
            return Some(at);
        }
        at += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_cat_makes_is_taken_apart() {
        let one = format!("{BEGIN}\nAAAA\n{END}");
        let file = format!("{{\n}}\n{one}\n\n{one}\n");
        let envelope = Envelope::split(file.as_bytes()).expect("a file");
        assert_eq!(envelope.document, b"{\n}\n");
        assert_eq!(envelope.signatures, [one.as_str(), one.as_str()]);
        assert_eq!(envelope.join(), format!("{{\n}}\n{one}\n{one}\n").into_bytes());
        assert!(Envelope::split(b"{\n}\n").expect("unsigned").signatures.is_empty());
    }

    #[test]
    fn what_is_none_is_said() {
        let one = format!("{BEGIN}\nAAAA\n{END}\n");
        for (file, error) in [
            (format!("{{}}\n{one}sudo\n"), EnvelopeError::Foreign),
            (format!("{{}}\n{BEGIN}\nAAAA\n"), EnvelopeError::Foreign),
            (format!("{{}}\n{}", one.repeat(SIGNATURES_MAX + 1)), EnvelopeError::TooMany),
            (" ".repeat(RELEASE_BYTES_MAX + 1), EnvelopeError::TooLong),
        ] {
            assert_eq!(Envelope::split(file.as_bytes()), Err(error));
        }
    }

    proptest! {
        #[test]
        fn splitting_is_total(
            file in "(-----(BEGIN|END) SSH SIGNATURE-----|\n|A|é| |\\{){0,30}",
        ) {
            if let Ok(envelope) = Envelope::split(file.as_bytes()) {
                let joined = envelope.join();
                let again = Envelope::split(&joined);
                prop_assert_eq!(again, Ok(envelope));
            }
        }
    }
}
