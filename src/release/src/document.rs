//! The document of a release: which closure an app of a group shall run.
//!
//! JSON, because it is read by the people who sign it, and canonical, because it is signed byte by
//! byte: the bytes are exactly those that [`Document::write`] writes, or it is refused. There are
//! no two readings of one document: no repeated keys, no unknown ones, no other order.
//!
//! ```text
//! {
//!   "format": 1,
//!   "app": "web",
//!   "group": "prod",
//!   "serial": 42,
//!   "path": "/nix/store/9q1c…-storefront-1.9.3",
//!   "closure-sha256": "4d0b…",
//!   "issued": "2026-11-21T10:00:00Z",
//!   "expires": "2026-12-21T10:00:00Z",
//!   "note": ""
//! }
//! ```

use crate::limits::{
    DOCUMENT_BYTES_MAX, NAME_BYTES_MAX, NOTE_BYTES_MAX, PATH_BYTES_MAX, SERIAL_MAX,
};
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// The format that is written and understood here. A document that asks for more than this format
/// has gets a number of its own: who does not know what was signed must not act on it.
pub const FORMAT: u32 = 1;

/// Which closure an app of a group shall run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Document {
    /// [`FORMAT`].
    pub format: u32,
    /// The app.
    pub app: String,
    /// The group of hosts.
    pub group: String,
    /// Grows with each release of the app in that group; 1 at least.
    pub serial: u64,
    /// The top store path.
    pub path: String,
    /// [`closure_digest`] of the whole closure, in lower-case hexadecimal digits.
    pub closure_sha256: String,
    /// When it was made.
    pub issued: Time,
    /// From when on nobody may begin it. What runs then goes on.
    pub expires: Time,
    /// A line for people.
    pub note: String,
}

/// Why a document is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is no JSON, or not of this shape.
    #[error("it cannot be read: {0}")]
    Shape(String),
    /// A newer rollinit wrote it.
    #[error("it has format {0}, and {FORMAT} is the newest known here")]
    Newer(u32),
    /// It says the same with other bytes.
    #[error("it is not written as `rollinit release make` writes it")]
    NotCanonical,
    /// One of its fields cannot be.
    #[error("its {field} {value:?} is none")]
    Field {
        /// Which.
        field: &'static str,
        /// What stands there, cut.
        value: String,
    },
    /// It ends before it begins.
    #[error("it expires at {expires}, and was made at {issued}")]
    Times {
        /// When it was made.
        issued: Time,
        /// When it expires.
        expires: Time,
    },
    /// It is too long.
    #[error("it is longer than {DOCUMENT_BYTES_MAX} bytes")]
    TooLong,
}

impl Document {
    /// Reads a document. Total.
    ///
    /// # Errors
    /// It is none, or not canonical.
    pub fn read(bytes: &[u8]) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let shape = |error: serde_json::Error| DocumentError::Shape(error.to_string());
        if bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(DocumentError::TooLong);
        }
        let head: Head = serde_json::from_slice(bytes).map_err(shape)?;
        if head.format > FORMAT {
            return Err(DocumentError::Newer(head.format));
        }
        let document: Self = serde_json::from_slice(bytes).map_err(shape)?;
        document.check()?;
        if document.write() != bytes {
            return Err(DocumentError::NotCanonical);
        }
        Ok(document)
    }

    /// Its bytes: the ones that are signed.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        // Strings and numbers: nothing of it can fail to be JSON.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Whether each field is what it should be.
    ///
    /// # Errors
    /// The first one that is not.
    pub fn check(&self) -> Result<(), DocumentError> {
        let wrong = |field, value: &str| {
            let value = value.chars().take(60).collect();
            Err(DocumentError::Field { field, value })
        };
        if self.format == 0 {
            return wrong("format", "0");
        }
        if !is_name(&self.app) {
            return wrong("app", &self.app);
        }
        if !is_name(&self.group) {
            return wrong("group", &self.group);
        }
        if !(1..=SERIAL_MAX).contains(&self.serial) {
            return wrong("serial", &self.serial.to_string());
        }
        if !is_store_path(&self.path) {
            return wrong("path", &self.path);
        }
        if !is_digest(&self.closure_sha256) {
            return wrong("closure-sha256", &self.closure_sha256);
        }
        if self.note.len() > NOTE_BYTES_MAX || self.note.chars().any(char::is_control) {
            return wrong("note", &self.note);
        }
        if self.issued >= self.expires {
            let (issued, expires) = (self.issued, self.expires);
            return Err(DocumentError::Times { issued, expires });
        }
        Ok(())
    }
}

/// Whether this names an app, a group or a host: what the fleet's records take, too.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('.')
}

/// Whether this is a store path, and nothing in it.
#[must_use]
pub fn is_store_path(text: &str) -> bool {
    const HASH_LETTERS: usize = 32;
    let is_hash =
        |hash: &str| hash.bytes().all(|byte| b"0123456789abcdfghijklmnpqrsvwxyz".contains(&byte));
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._?=".contains(&byte);
    let name = text.strip_prefix("/nix/store/").unwrap_or_default();
    text.len() <= PATH_BYTES_MAX
        && name.split_at_checked(HASH_LETTERS).is_some_and(|(hash, rest)| {
            is_hash(hash) && rest.len() > 1 && rest.starts_with('-') && rest.bytes().all(is_letter)
        })
}

fn is_digest(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 64 && text.bytes().all(is_digit)
}

/// The digest of a closure: SHA-256 over the fingerprints of all its paths, sorted byte by byte,
/// each with a newline. A fingerprint (`1;PATH;NARHASH;NARSIZE;REFERENCES`) is what a binary cache
/// signs; one path's fingerprint says nothing of what its references hold, all of them do.
#[must_use]
pub fn closure_digest<'f>(fingerprints: impl IntoIterator<Item = &'f str>) -> String {
    use sha2::Digest as _;
    let mut lines: Vec<&str> = fingerprints.into_iter().collect();
    lines.sort_unstable();
    lines.dedup();
    let mut hash = sha2::Sha256::new();
    for line in lines {
        hash.update(line.as_bytes());
        hash.update(b"\n");
    }
    hexadecimal(&hash.finalize())
}

/// The SHA-256 of bytes.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hexadecimal(&sha2::Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // A String takes everything.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn document() -> Document {
        Document {
            format: FORMAT,
            app: "web".to_owned(),
            group: "prod".to_owned(),
            serial: 42,
            path: "/nix/store/0c5mkq5pxkq1c8h2b4bm3c0qk2gsl5bg-storefront-1.9.3".to_owned(),
            closure_sha256: closure_digest(["1;/nix/store/x;sha256:y;1;"]),
            issued: "2026-11-21T10:00:00Z".parse().expect("a time"),
            expires: "2026-12-21T10:00:00Z".parse().expect("a time"),
            note: String::new(),
        }
    }

    #[test]
    fn a_document_is_read_as_it_is_written_and_not_otherwise() {
        let document = document();
        let bytes = document.write();
        assert_eq!(Document::read(&bytes), Ok(document));
        let text = String::from_utf8(bytes).expect("text");
        assert!(text.starts_with("{\n  \"format\": 1,\n  \"app\": \"web\",\n"), "{text}");
        for (from, to) in [
            ("  \"app\"", "\t\"app\""),
            ("\"web\"", "\"\\u0077eb\""),
            ("\n}\n", "\n}"),
            ("\n}\n", "\n}\n\n"),
            ("  \"app\": \"web\",\n", "  \"app\": \"web\",\r\n"),
        ] {
            let other = text.replacen(from, to, 1);
            assert_ne!(other, text, "{from:?}");
            assert_eq!(Document::read(other.as_bytes()), Err(DocumentError::NotCanonical), "{to}");
        }
    }

    #[test]
    fn what_is_no_document_is_said() {
        let text = String::from_utf8(document().write()).expect("text");
        for (from, to, word) in [
            ("\"format\": 1", "\"format\": 2", "format 2"),
            ("\"format\": 1", "\"format\": 0", "format"),
            ("\"web\"", "\"../x\"", "app"),
            ("\"prod\"", "\"\"", "group"),
            ("42", "0", "serial"),
            ("42", "10000000000", "serial"),
            ("42", "-1", "cannot be read"),
            ("42", "4.2", "cannot be read"),
            ("/nix/store/", "/nix/store/../", "path"),
            ("-storefront-1.9.3", "-storefront/bin", "path"),
            ("\"note\": \"\"", "\"note\": \"a\\u0007\"", "note"),
            ("\"note\": \"\"", "\"note\": \"\",\n  \"sudo\": true", "unknown field"),
            ("\"app\": \"web\"", "\"app\": \"web\", \"app\": \"api\"", "duplicate field"),
            ("2026-12-21T10", "2026-11-21T10", "expires at"),
            ("2026-12-21T10", "2026-12-21 10", "no time"),
            (",\n  \"note\": \"\"", "", "missing field"),
            ("{", "[", "cannot be read"),
        ] {
            let other = text.replacen(from, to, 1);
            assert_ne!(other, text, "{from:?}");
            let error = Document::read(other.as_bytes()).expect_err(to).to_string();
            assert!(error.contains(word), "{to}: {error}");
        }
        let long = vec![b' '; DOCUMENT_BYTES_MAX + 1];
        assert_eq!(Document::read(&long), Err(DocumentError::TooLong));
        let mut upper = document();
        upper.closure_sha256 = upper.closure_sha256.to_uppercase();
        assert!(upper.check().is_err());
    }

    #[test]
    fn the_digest_is_of_the_set_of_fingerprints() {
        // printf '1;a\n1;b\n' | sha256sum
        let digest = "85c352f527cc46de03c86043801b0763b2a49b62a4b846fba2f2a7c1ad04add4";
        assert_eq!(closure_digest(["1;b", "1;a", "1;b"]), digest);
        assert_eq!(closure_digest(["1;a", "1;b"]), digest);
        assert_ne!(closure_digest(["1;a"]), digest);
    }

    proptest! {
        /// Whatever the bytes are: no panic, and what is read is written as it was.
        #[test]
        fn reading_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            if let Ok(document) = Document::read(&bytes) {
                prop_assert_eq!(document.write(), bytes);
            }
        }

        #[test]
        fn a_changed_byte_is_another_document(at in 0..300_usize, byte in any::<u8>()) {
            let mut bytes = document().write();
            let at = at % bytes.len();
            let before = bytes[at];
            bytes[at] = byte;
            let read = Document::read(&bytes);
            prop_assert_eq!(read == Ok(document()), byte == before);
        }
    }
}
