//! SHA-256 in the ways that Nix writes it.

use crate::{base32, base64};
use sha2::Digest;
use std::fmt;

/// Bytes of a SHA-256.
pub const SHA256_BYTES: usize = 32;

/// A SHA-256. `Display` is Nix's usual spelling, `sha256:` and base 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; SHA256_BYTES]);

/// A text that is no SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Another algorithm, or none.
    #[error("not a SHA-256: it must begin with `sha256:` or `sha256-`")]
    Algorithm,
    /// The digest itself.
    #[error(
        "not a SHA-256: after the colon 64 digits in base 16, 52 in Nix's base 32 or 44 in base 64 \
         are due"
    )]
    Digest,
}

impl Sha256 {
    /// The hash whose 32 bytes these are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; SHA256_BYTES]) -> Self {
        Self(bytes)
    }

    /// Hashes `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Reads `sha256:` with base 16, base 32 or base 64 after it, or SRI's `sha256-` with base 64.
    ///
    /// # Errors
    /// Another algorithm, length or digit.
    pub fn parse(text: &[u8]) -> Result<Self, HashError> {
        if let Some(digest) = text.strip_prefix(b"sha256-") {
            return base64::decode(digest).map(Self).ok_or(HashError::Digest);
        }
        let digest = text.strip_prefix(b"sha256:").ok_or(HashError::Algorithm)?;
        let bytes = match digest.len() {
            64 => decode_hex(digest),
            52 => base32::decode(digest),
            _ => base64::decode(digest),
        };
        bytes.map(Self).ok_or(HashError::Digest)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SHA256_BYTES] {
        &self.0
    }

    /// 64 digits in base 16, without a prefix: how Nix's database has it after its `sha256:`.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// 52 digits in Nix's base 32, without a prefix: how a narinfo has it after its `sha256:`.
    #[must_use]
    pub fn base32(&self) -> String {
        base32::encode(&self.0)
    }

    /// SRI: `sha256-` and base 64.
    #[must_use]
    pub fn sri(&self) -> String {
        format!("sha256-{}", base64::encode(&self.0))
    }
}

fn decode_hex(text: &[u8]) -> Option<[u8; SHA256_BYTES]> {
    let mut bytes = [0; SHA256_BYTES];
    if text.len() != 2 * SHA256_BYTES {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |character: u8| char::from(character).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

impl fmt::Display for Sha256 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "sha256:{}", self.base32())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// A SHA-256 over bytes that come in pieces.
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Nothing hashed yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all pieces.
    #[must_use]
    pub fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Hasher")
    }
}

impl std::io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
