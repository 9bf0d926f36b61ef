//! Who signed a path: ed25519, as binary caches do it.
//!
//! A key and a signature are both written `NAME:BASE64`. The name only says which key to try; what
//! counts is the key. A signature is over the fingerprint of a path (`narinfo::fingerprint`).

use crate::base64;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use std::fmt;

/// Bytes of a key's name at most: it is a line in a narinfo, usually a host name and a number.
pub const KEY_NAME_BYTES_MAX: usize = 255;
/// Trusted keys at most: each costs a verification when a path has that many signatures.
pub const TRUSTED_KEYS_MAX: usize = 64;
/// Bytes of a public key.
const PUBLIC_KEY_BYTES: usize = 32;
/// Bytes of a secret key: seed and public key, as libsodium keeps it.
const SECRET_KEY_BYTES: usize = 64;
/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 64;

/// A text that is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No colon, an empty name, or a name with other than visible ASCII.
    #[error("not a key: write it as NAME:BASE64, as nix-store --generate-binary-cache-key does")]
    Shape,
    /// The part after the colon.
    #[error("key `{0}`: after the colon {due} bytes in base 64 are due", due = PUBLIC_KEY_BYTES)]
    Public(String),
    /// The part after the colon of a secret key. Says nothing of its contents.
    #[error("secret key `{0}`: after the colon {due} bytes in base 64, of which the last \
             {PUBLIC_KEY_BYTES} are the public key, are due", due = SECRET_KEY_BYTES)]
    Secret(String),
    /// A trusted name with two keys: nobody could say which one was meant.
    #[error("key `{0}` is given twice with different keys: give the new key a name of its own")]
    TwoKeys(String),
    /// Too many.
    #[error("more than {TRUSTED_KEYS_MAX} trusted keys: remove those that no cache signs with")]
    TooMany,
}

/// Why a path is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Nobody signed it.
    #[error("it has no signature: sign the cache (nix store sign) or take one that is signed")]
    Unsigned,
    /// Only keys signed it that are not trusted.
    #[error("it is signed by {0} only, which is not trusted: if it should be, add its public key")]
    Untrusted(String),
    /// A trusted key's name stands there, but the signature is not its own over these words.
    #[error("the signature of the trusted key `{0}` is wrong: the cache's word was altered")]
    Wrong(String),
}

/// `NAME:REST`, the name being visible ASCII.
fn split(text: &[u8]) -> Option<(&str, &[u8])> {
    let colon = text.iter().position(|byte| *byte == b':')?;
    let (name, rest) = (&text[..colon], &text[colon + 1..]);
    let fits = !name.is_empty() && name.len() <= KEY_NAME_BYTES_MAX;
    if !fits || !name.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    Some((std::str::from_utf8(name).ok()?, rest))
}

/// A public key with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
}

impl PublicKey {
    /// Reads `NAME:BASE64`.
    ///
    /// # Errors
    /// It is not one, or its point is not on the curve.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, rest) = split(text.trim_ascii().as_bytes()).ok_or(KeyError::Shape)?;
        let key = base64::decode::<PUBLIC_KEY_BYTES>(rest)
            .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
            .ok_or_else(|| KeyError::Public(name.to_owned()))?;
        Ok(Self { name: name.to_owned(), key })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `signature` is this key's over `message`.
    fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.key.verify_strict(message, &signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.name, base64::encode(self.key.as_bytes()))
    }
}

/// One signature of a narinfo: the name of a key, and what is to be checked with it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signature {
    name: String,
    bytes: [u8; SIGNATURE_BYTES],
}

impl Signature {
    /// Reads `NAME:BASE64`; `None` if it is not one.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (name, rest) = split(text)?;
        Some(Self { name: name.to_owned(), bytes: base64::decode(rest)? })
    }

    /// The name of the key that it claims to be of.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// As it stands in a narinfo and in Nix's database.
impl fmt::Display for Signature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.name, base64::encode(&self.bytes))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The keys whose word counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedKeys(Vec<PublicKey>);

impl TrustedKeys {
    /// Reads a list of `NAME:BASE64`; the same key twice counts once.
    ///
    /// # Errors
    /// One of them is no key, a name has two keys, or there are too many.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, KeyError> {
        let mut keys: Vec<PublicKey> = Vec::new();
        for text in texts {
            let key = PublicKey::parse(text)?;
            match keys.iter().find(|known| known.name == key.name) {
                Some(known) if known.key == key.key => {}
                Some(_) => return Err(KeyError::TwoKeys(key.name)),
                None if keys.len() == TRUSTED_KEYS_MAX => return Err(KeyError::TooMany),
                None => keys.push(key),
            }
        }
        Ok(Self(keys))
    }

    /// The keys, in the order given.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.0
    }

    /// How many different keys signed `message`. A key under two names, or with two signatures,
    /// counts once.
    #[must_use]
    pub fn count(&self, message: &[u8], signatures: &[Signature]) -> usize {
        let mut counted: Vec<&VerifyingKey> = Vec::new();
        for key in &self.0 {
            let mut own = signatures.iter().filter(|signature| signature.name == key.name);
            if !counted.contains(&&key.key) && own.any(|one| key.verifies(message, &one.bytes)) {
                counted.push(&key.key);
            }
        }
        counted.len()
    }

    /// The first trusted key that signed `message`.
    ///
    /// # Errors
    /// There is none; says whether nobody signed, or others, or somebody in a trusted name.
    pub fn verify(
        &self,
        message: &[u8],
        signatures: &[Signature],
    ) -> Result<&PublicKey, SignatureError> {
        let mut wrong = None;
        for signature in signatures {
            let Some(key) = self.0.iter().find(|key| key.name == signature.name) else { continue };
            if key.verifies(message, &signature.bytes) {
                return Ok(key);
            }
            wrong = Some(key);
        }
        if let Some(key) = wrong {
            return Err(SignatureError::Wrong(key.name.clone()));
        }
        if signatures.is_empty() {
            return Err(SignatureError::Unsigned);
        }
        let mut names: Vec<&str> = signatures.iter().map(Signature::name).collect();
        names.dedup();
        Err(SignatureError::Untrusted(names.join(", ")))
    }
}

/// A secret key with its name, as `nix-store --generate-binary-cache-key` writes it.
#[derive(Clone)]
pub struct SecretKey {
    name: String,
    key: SigningKey,
}

impl SecretKey {
    /// Reads `NAME:BASE64`.
    ///
    /// # Errors
    /// It is not one, or its two halves do not belong together.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, rest) = split(text.trim_ascii().as_bytes()).ok_or(KeyError::Shape)?;
        let key = base64::decode::<SECRET_KEY_BYTES>(rest)
            .and_then(|bytes| SigningKey::from_keypair_bytes(&bytes).ok())
            .ok_or_else(|| KeyError::Secret(name.to_owned()))?;
        Ok(Self { name: name.to_owned(), key })
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature { name: self.name.clone(), bytes: self.key.sign(message).to_bytes() }
    }

    /// The public key that belongs to it, under the same name.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey { name: self.name.clone(), key: self.key.verifying_key() }
    }
}

/// The name only.
impl fmt::Debug for SecretKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SecretKey({})", self.name)
    }
}
