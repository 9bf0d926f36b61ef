//! Store paths: `/nix/store/` HASH `-` NAME.
//!
//! The hash is 32 digits of Nix's base 32. The name has 1 to [`NAME_BYTES_MAX`] of the characters
//! `0-9 A-Z a-z + - . _ ? =`. So a store path is one file name: it holds no slash, no NUL and no
//! space, and can be neither `.` nor `..`.

use crate::base32;
use std::fmt;

/// Where store paths lie, on every host: the directory is part of each path's hash.
pub const STORE_DIRECTORY: &str = "/nix/store";
/// Bytes of a name at most: Nix's own limit, which leaves room for `.lock` and the like in the 255
/// bytes of a file name.
pub const NAME_BYTES_MAX: usize = 211;
/// Digits of a hash part.
pub const HASH_DIGITS: usize = base32::length(HASH_BYTES);
/// Bytes that a hash part stands for.
const HASH_BYTES: usize = 20;

/// One store path, by its base name. Ordered as Nix orders references: by the base name's bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath(Box<str>);

/// A text that is no store path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not lie in the store.
    #[error("`{0}` is not in {STORE_DIRECTORY}: write /nix/store/HASH-NAME")]
    Elsewhere(String),
    /// It lies within a store path.
    #[error("`{0}` is within a store path: write the store path itself, /nix/store/HASH-NAME")]
    Within(String),
    /// The hash part.
    #[error(
        "`{0}` is no store path: it must begin with {HASH_DIGITS} digits of Nix's base 32 \
         (0-9 and a-z without e, o, t, u) and a dash"
    )]
    Hash(String),
    /// The name: empty, too long, or with a foreign character.
    #[error(
        "`{0}` is no store path: its name must have 1 to {NAME_BYTES_MAX} of the characters \
         0-9 A-Z a-z + - . _ ? ="
    )]
    Name(String),
}

impl StorePath {
    /// Reads a base name: `HASH-NAME`.
    ///
    /// # Errors
    /// It is none.
    pub fn from_base_name(text: &[u8]) -> Result<Self, PathError> {
        let hash = text.get(..HASH_DIGITS).and_then(base32::decode::<HASH_BYTES>);
        if hash.is_none() || text.get(HASH_DIGITS) != Some(&b'-') {
            return Err(PathError::Hash(shown(text)));
        }
        let name = &text[HASH_DIGITS + 1..];
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.iter().all(|byte| fits(*byte)) {
            return Err(PathError::Name(shown(text)));
        }
        match std::str::from_utf8(text) {
            Ok(text) => Ok(Self(text.into())),
            Err(_) => Err(PathError::Name(shown(text))),
        }
    }

    /// Reads a full path: `/nix/store/HASH-NAME`, nothing before or behind.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &[u8]) -> Result<Self, PathError> {
        let base = text
            .strip_prefix(STORE_DIRECTORY.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"/"))
            .ok_or_else(|| PathError::Elsewhere(shown(text)))?;
        if base.contains(&b'/') {
            return Err(PathError::Within(shown(text)));
        }
        Self::from_base_name(base)
    }

    /// `HASH-NAME`: its file name in the store directory.
    #[must_use]
    pub fn base_name(&self) -> &str {
        &self.0
    }

    /// `HASH`: what a binary cache calls its narinfo by.
    #[must_use]
    pub fn hash_part(&self) -> &str {
        &self.0[..HASH_DIGITS]
    }

    /// `NAME`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0[HASH_DIGITS + 1..]
    }
}

/// The characters of a name.
const fn fits(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_' | b'?' | b'=')
}

/// Foreign bytes for an error's text: printable, and short enough for a line or three.
pub(crate) fn shown(text: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 256;
    let start = &text[..text.len().min(SHOWN_BYTES_MAX)];
    let more = if text.len() > SHOWN_BYTES_MAX { "…" } else { "" };
    format!("{}{more}", start.escape_ascii())
}

/// The full path.
impl fmt::Display for StorePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{STORE_DIRECTORY}/{}", self.0)
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl std::str::FromStr for StorePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::parse(text.as_bytes())
    }
}
