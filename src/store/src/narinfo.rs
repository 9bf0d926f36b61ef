//! What a binary cache says about one path.
//!
//! A narinfo is lines of `Key: value`, each ended by a newline. The rules are those of Nix 2.8,
//! tightened where Nix would guess: a known key stands once (but `Sig`), a line without its colon,
//! space and newline is refused, and the path must be the one that was asked for. Unknown keys are
//! skipped and not kept.
//!
//! Only what is in the [fingerprint](NarInfo::fingerprint) is signed: path, NAR hash, NAR size and
//! the names of the references. `URL`, `Compression`, `FileHash`, `FileSize`, `Deriver` and `CA`
//! are a cache's word that anybody on the way may have altered: good for finding the bytes, never
//! for admitting them.

use crate::hash::{HashError, Sha256};
use crate::path::{PathError, StorePath, shown};
use crate::signature::{Signature, SignatureError, TrustedKeys};
use std::collections::BTreeSet;
use std::fmt::{self, Write};

/// Bytes of a narinfo at most: some 15,000 references, far more than any real path has.
pub const NARINFO_BYTES_MAX: usize = 1 << 20;
/// Bytes of a NAR at most, 1 TiB: sums over a closure stay far below 2^63, SQLite's integers.
pub const NAR_BYTES_MAX: u64 = 1 << 40;
/// Bytes of a URL at most: it is relative to the cache.
pub const URL_BYTES_MAX: usize = 1024;
/// Signatures of one path at most: each costs a verification.
pub const SIGNATURES_MAX: usize = 64;
/// Bytes of a content address at most: a kind, an algorithm and one hash.
pub const CONTENT_ADDRESS_BYTES_MAX: usize = 256;

/// How a cache packed a NAR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Zstandard.
    Zstd,
    /// LZMA in an xz frame.
    Xz,
    /// bzip2: what a narinfo without the key means.
    Bzip2,
    /// Another word; whoever fetches says that it is not known.
    Other(String),
}

impl fmt::Display for Compression {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::None => "none",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
            Self::Other(word) => word,
        })
    }
}

/// A narinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NarInfo {
    /// The path that it is about: the one that was asked for.
    pub path: StorePath,
    /// Where the packed NAR is, relative to the cache; never leads out of it.
    pub url: String,
    /// How it is packed.
    pub compression: Compression,
    /// Hash of the packed bytes, unsigned.
    pub file_hash: Option<Sha256>,
    /// Number of the packed bytes, unsigned; `None` also for 0, which some caches write.
    pub file_size: Option<u64>,
    /// Hash of the NAR.
    pub nar_hash: Sha256,
    /// Bytes of the NAR; never 0.
    pub nar_size: u64,
    /// What it refers to, itself included if it does.
    pub references: BTreeSet<StorePath>,
    /// What it was built from.
    pub deriver: Option<StorePath>,
    /// Signatures that can be read; one that cannot be is nobody's.
    pub signatures: Vec<Signature>,
    /// Content address, as it stands there.
    pub content_address: Option<String>,
}

/// Why a narinfo is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NarInfoError {
    /// More bytes than [`NARINFO_BYTES_MAX`].
    #[error("narinfo of {0}: more than {NARINFO_BYTES_MAX} bytes; is the cache one of Nix's?")]
    TooLong(StorePath),
    /// One line.
    #[error("narinfo of {path}, line {line}: {fault}")]
    Line {
        /// What was asked for.
        path: StorePath,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        fault: LineFault,
    },
    /// A key that must be there.
    #[error("narinfo of {0}: has no {1}; is the cache one of Nix's?")]
    Missing(StorePath, &'static str),
    /// It is about another path: a cache that answers so is broken or lies.
    #[error("narinfo of {asked}: is about {found} instead; the cache answers with another path")]
    OtherPath {
        /// What was asked for.
        asked: StorePath,
        /// What it is about.
        found: StorePath,
    },
}

/// What is wrong with one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// Not `Key: value` and a newline.
    #[error("not `Key: value` with a newline at its end")]
    Shape,
    /// The key stands twice.
    #[error("{0} stands there twice")]
    Twice(&'static str),
    /// A number.
    #[error("{0} is no whole number of bytes up to {NAR_BYTES_MAX}, or is 0 and must not be")]
    Number(&'static str),
    /// The URL.
    #[error("URL `{0}` must be relative, within the cache, and of visible ASCII")]
    Url(String),
    /// The content address.
    #[error("CA must be `text:…` or `fixed:…`, of visible ASCII")]
    ContentAddress,
    /// The word for the compression.
    #[error("Compression must be one word of at most 32 letters and digits")]
    Compression,
    /// More signatures than [`SIGNATURES_MAX`].
    #[error("more than {SIGNATURES_MAX} signatures")]
    Signatures,
    /// A path.
    #[error("{0}: {1}")]
    Path(&'static str, PathError),
    /// A hash.
    #[error("{0}: {1}")]
    Hash(&'static str, HashError),
}

/// What has been read so far.
#[derive(Default)]
struct Draft {
    path: Option<StorePath>,
    url: Option<String>,
    compression: Option<Compression>,
    file_hash: Option<Sha256>,
    file_size: Option<u64>,
    nar_hash: Option<Sha256>,
    nar_size: Option<u64>,
    references: Option<BTreeSet<StorePath>>,
    deriver: Option<Option<StorePath>>,
    signatures: Vec<Signature>,
    signature_lines: usize,
    content_address: Option<String>,
}

impl NarInfo {
    /// Reads the narinfo that a cache gave for `asked`.
    ///
    /// # Errors
    /// It breaks a rule of the module's doc, or is about another path.
    pub fn parse(text: &[u8], asked: &StorePath) -> Result<Self, NarInfoError> {
        if text.len() > NARINFO_BYTES_MAX {
            return Err(NarInfoError::TooLong(asked.clone()));
        }
        let mut draft = Draft::default();
        for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            draft.line(line).map_err(|fault| NarInfoError::Line {
                path: asked.clone(),
                line: index + 1,
                fault,
            })?;
        }
        draft.finish(asked)
    }

    /// The words that a signature is over: `1;PATH;NARHASH;NARSIZE;REFERENCE,REFERENCE…`, paths in
    /// full, hash in base 32, references sorted.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.path, &self.nar_hash, self.nar_size, &self.references)
    }

    /// The name of a trusted key that signed it.
    ///
    /// # Errors
    /// There is none.
    pub fn verify<'keys>(&self, keys: &'keys TrustedKeys) -> Result<&'keys str, SignatureError> {
        keys.verify(self.fingerprint().as_bytes(), &self.signatures).map(|key| key.name())
    }
}

/// The fingerprint of a path, see [`NarInfo::fingerprint`].
#[must_use]
pub fn fingerprint(
    path: &StorePath,
    nar_hash: &Sha256,
    nar_size: u64,
    references: &BTreeSet<StorePath>,
) -> String {
    let mut text = format!("1;{path};{nar_hash};{nar_size};");
    for (index, reference) in references.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{reference}");
    }
    text
}

impl Draft {
    fn line(&mut self, line: &[u8]) -> Result<(), LineFault> {
        let line = line.strip_suffix(b"\n").ok_or(LineFault::Shape)?;
        let colon = line.iter().position(|byte| *byte == b':').ok_or(LineFault::Shape)?;
        let value = line[colon + 1..].strip_prefix(b" ").ok_or(LineFault::Shape)?;
        match &line[..colon] {
            b"StorePath" => once("StorePath", &mut self.path, store_path(value)?),
            b"URL" => once("URL", &mut self.url, url(value)?),
            b"Compression" => once("Compression", &mut self.compression, compression(value)?),
            b"FileHash" => once("FileHash", &mut self.file_hash, hash("FileHash", value)?),
            b"FileSize" => once("FileSize", &mut self.file_size, number("FileSize", value)?),
            b"NarHash" => once("NarHash", &mut self.nar_hash, hash("NarHash", value)?),
            b"NarSize" => match number("NarSize", value)? {
                0 => Err(LineFault::Number("NarSize")),
                size => once("NarSize", &mut self.nar_size, size),
            },
            b"References" => once("References", &mut self.references, references(value)?),
            b"Deriver" => once("Deriver", &mut self.deriver, deriver(value)?),
            b"Sig" => self.signature(value),
            b"CA" => once("CA", &mut self.content_address, content_address(value)?),
            _ => Ok(()),
        }
    }

    /// A signature that cannot be read is skipped, as one by an unknown key would be: it proves
    /// nothing, and another one may.
    fn signature(&mut self, value: &[u8]) -> Result<(), LineFault> {
        if self.signature_lines == SIGNATURES_MAX {
            return Err(LineFault::Signatures);
        }
        self.signature_lines += 1;
        if let Some(signature) = Signature::parse(value)
            && !self.signatures.contains(&signature)
        {
            self.signatures.push(signature);
        }
        Ok(())
    }

    fn finish(self, asked: &StorePath) -> Result<NarInfo, NarInfoError> {
        let missing = |key| move || NarInfoError::Missing(asked.clone(), key);
        let path = self.path.ok_or_else(missing("StorePath"))?;
        if path != *asked {
            return Err(NarInfoError::OtherPath { asked: asked.clone(), found: path });
        }
        Ok(NarInfo {
            path,
            url: self.url.ok_or_else(missing("URL"))?,
            compression: self.compression.unwrap_or(Compression::Bzip2),
            file_hash: self.file_hash,
            file_size: self.file_size.filter(|size| *size != 0),
            nar_hash: self.nar_hash.ok_or_else(missing("NarHash"))?,
            nar_size: self.nar_size.ok_or_else(missing("NarSize"))?,
            references: self.references.unwrap_or_default(),
            deriver: self.deriver.flatten(),
            signatures: self.signatures,
            content_address: self.content_address,
        })
    }
}

fn once<T>(key: &'static str, slot: &mut Option<T>, value: T) -> Result<(), LineFault> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(LineFault::Twice(key)),
    }
}

fn store_path(value: &[u8]) -> Result<StorePath, LineFault> {
    StorePath::parse(value).map_err(|error| LineFault::Path("StorePath", error))
}

/// A relative path, perhaps with a query, that stays within the cache whatever is put before it:
/// no scheme, no host, no step upwards (also not one that a server would decode).
fn url(value: &[u8]) -> Result<String, LineFault> {
    let fault = || LineFault::Url(shown(value));
    let text = std::str::from_utf8(value).map_err(|_| fault())?;
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let visible = path.bytes().chain(query.bytes()).all(|byte| byte.is_ascii_graphic());
    let upwards = path.split('/').any(|step| {
        matches!(step.to_ascii_lowercase().replace("%2e", ".").as_str(), "" | "." | "..")
    });
    let strange = path.contains([':', '\\', '#']) || path.to_ascii_lowercase().contains("%2f");
    if text.len() > URL_BYTES_MAX || !visible || upwards || strange {
        return Err(fault());
    }
    Ok(text.to_owned())
}

fn compression(value: &[u8]) -> Result<Compression, LineFault> {
    const WORD_BYTES_MAX: usize = 32;
    Ok(match value {
        b"none" => Compression::None,
        b"zstd" => Compression::Zstd,
        b"xz" => Compression::Xz,
        b"bzip2" | b"" => Compression::Bzip2,
        word if word.len() <= WORD_BYTES_MAX && word.iter().all(u8::is_ascii_alphanumeric) => {
            Compression::Other(shown(word))
        }
        _ => return Err(LineFault::Compression),
    })
}

fn hash(key: &'static str, value: &[u8]) -> Result<Sha256, LineFault> {
    Sha256::parse(value).map_err(|error| LineFault::Hash(key, error))
}

/// Digits only.
fn number(key: &'static str, value: &[u8]) -> Result<u64, LineFault> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value)
        .ok()
        .filter(|_| digits)
        .and_then(|text| text.parse().ok())
        .filter(|number| *number <= NAR_BYTES_MAX)
        .ok_or(LineFault::Number(key))
}

fn references(value: &[u8]) -> Result<BTreeSet<StorePath>, LineFault> {
    value
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty())
        .map(|word| {
            StorePath::from_base_name(word).map_err(|error| LineFault::Path("References", error))
        })
        .collect()
}

fn deriver(value: &[u8]) -> Result<Option<StorePath>, LineFault> {
    if value == b"unknown-deriver" {
        return Ok(None);
    }
    let path = StorePath::from_base_name(value);
    path.map(Some).map_err(|error| LineFault::Path("Deriver", error))
}

fn content_address(value: &[u8]) -> Result<String, LineFault> {
    let known = value.starts_with(b"text:") || value.starts_with(b"fixed:");
    let short = value.len() <= CONTENT_ADDRESS_BYTES_MAX;
    match std::str::from_utf8(value) {
        Ok(text) if known && short && value.iter().all(u8::is_ascii_graphic) => Ok(text.to_owned()),
        _ => Err(LineFault::ContentAddress),
    }
}

/// As a cache serves it: what [`NarInfo::parse`] reads back as the same.
impl fmt::Display for NarInfo {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "StorePath: {}", self.path)?;
        writeln!(out, "URL: {}", self.url)?;
        writeln!(out, "Compression: {}", self.compression)?;
        if let Some(hash) = &self.file_hash {
            writeln!(out, "FileHash: {hash}")?;
        }
        if let Some(size) = self.file_size {
            writeln!(out, "FileSize: {size}")?;
        }
        writeln!(out, "NarHash: {}", self.nar_hash)?;
        writeln!(out, "NarSize: {}", self.nar_size)?;
        let names: Vec<&str> = self.references.iter().map(StorePath::base_name).collect();
        writeln!(out, "References: {}", names.join(" "))?;
        if let Some(deriver) = &self.deriver {
            writeln!(out, "Deriver: {}", deriver.base_name())?;
        }
        for signature in &self.signatures {
            writeln!(out, "Sig: {signature}")?;
        }
        if let Some(address) = &self.content_address {
            writeln!(out, "CA: {address}")?;
        }
        Ok(())
    }
}
