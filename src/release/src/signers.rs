//! Who may sign releases: OpenSSH's file of allowed signers (ssh-keygen(1), "ALLOWED SIGNERS"),
//! narrowed so that each line says one person.
//!
//! ```text
//! # PERSON [OPTIONS] KEYTYPE BASE64 [COMMENT]
//! alice ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA… laptop
//! alice sk-ssh-ed25519@openssh.com AAAAGnNr… her token
//! bob namespaces="rollinit-release",valid-before="20270101Z" ssh-ed25519 AAAAC3NzaC1lZDI1…
//! ```
//!
//! `ssh-keygen -Y verify` reads the same file. What it could read and this cannot is refused with
//! its line: patterns and several principals (who would be the one that counts?), certificates, and
//! keys of other kinds than Ed25519. Times without `Z` are UTC here.

use crate::limits::{NAME_BYTES_MAX, SIGNERS_BYTES_MAX, SIGNERS_MAX};
use crate::time::Time;
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey};
use std::collections::BTreeSet;

/// The namespace in which releases are signed: a signature for anything else counts for nothing.
pub const NAMESPACE: &str = "rollinit-release";

/// One key of one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Who it is.
    pub person: String,
    /// The key.
    pub(crate) key: KeyData,
    /// Whether it may sign releases: its line may keep it to other namespaces.
    pub(crate) is_for_releases: bool,
    valid_after: Option<Time>,
    valid_before: Option<Time>,
}

/// All keys of all persons who may sign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signers {
    signers: Vec<Signer>,
}

/// A line that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct SignersError {
    /// Which, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong, and what to write instead.
    pub reason: String,
}

impl Signers {
    /// Reads the file's text. Total.
    ///
    /// # Errors
    /// The first line that cannot be used.
    pub fn read(text: &str) -> Result<Self, SignersError> {
        let wrong = |line, reason: &str| SignersError { line, reason: reason.to_owned() };
        if text.len() > SIGNERS_BYTES_MAX {
            return Err(wrong(0, &format!("the file is longer than {SIGNERS_BYTES_MAX} bytes")));
        }
        let mut signers: Vec<Signer> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let (number, line) = (number + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let signer = signer(line).map_err(|reason| SignersError { line: number, reason })?;
            let other = signers.iter().find(|other| other.key == signer.key);
            if let Some(other) = other {
                let (one, two) = (&other.person, &signer.person);
                let reason = if one == two {
                    format!("this key of {one} stands here already: remove one of the lines")
                } else {
                    format!(
                        "the key of {one} again, for {two}: who has it would count twice; every \
                         person needs a key of their own"
                    )
                };
                return Err(SignersError { line: number, reason });
            }
            if signers.len() >= SIGNERS_MAX {
                return Err(wrong(number, &format!("more than {SIGNERS_MAX} keys")));
            }
            signers.push(signer);
        }
        Ok(Self { signers })
    }

    /// The persons, whose keys may be several.
    #[must_use]
    pub fn persons(&self) -> BTreeSet<&str> {
        let of_releases = self.signers.iter().filter(|signer| signer.is_for_releases);
        of_releases.map(|signer| signer.person.as_str()).collect()
    }

    /// Whose key this is.
    pub(crate) fn of_key(&self, key: &KeyData) -> Option<&Signer> {
        self.signers.iter().find(|signer| signer.key == *key)
    }
}

impl Signer {
    /// Why the key does not count at that moment.
    pub(crate) fn fault_at(&self, now: Time) -> Option<String> {
        if !self.is_for_releases {
            return Some(format!("is not for the namespace {NAMESPACE}"));
        }
        if let Some(after) = self.valid_after.filter(|after| now < *after) {
            return Some(format!("is valid from {after} on"));
        }
        if let Some(before) = self.valid_before.filter(|before| now >= *before) {
            return Some(format!("was valid until {before}"));
        }
        None
    }
}

/// A key as people compare it: `SHA256:…`.
pub(crate) fn fingerprint(key: &KeyData) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

fn signer(line: &str) -> Result<Signer, String> {
    let shape = || "write PERSON KEYTYPE BASE64, as `alice ssh-ed25519 AAAA…`".to_owned();
    let (person, rest) = line.split_once([' ', '\t']).ok_or_else(shape)?;
    if person.contains([',', '*', '?', '!']) {
        return Err(format!("{person:?}: one person a line, without patterns"));
    }
    let is_letter = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
    if person.len() > NAME_BYTES_MAX || !person.bytes().all(is_letter) {
        return Err(format!("{person:?} is no name of a person"));
    }
    let (first, after_first) = word(rest.trim_start()).ok_or_else(shape)?;
    let (options, key) =
        if is_key_type(first) { ("", rest.trim_start()) } else { (first, after_first) };
    let kind = key.split([' ', '\t']).next().unwrap_or_default();
    if !is_key_type(kind) {
        return Err(shape());
    }
    if !matches!(kind, "ssh-ed25519" | "sk-ssh-ed25519@openssh.com") {
        return Err(format!(
            "a key of the kind {kind}: make one with `ssh-keygen -t ed25519`, or `-t ed25519-sk` \
             for a token"
        ));
    }
    let key = PublicKey::from_openssh(key).map_err(|error| format!("no public key: {error}"))?;
    let mut signer = Signer {
        person: person.to_owned(),
        key: key.key_data().clone(),
        is_for_releases: true,
        valid_after: None,
        valid_before: None,
    };
    take_options(options, &mut signer)?;
    Ok(signer)
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "sk-ssh-", "ecdsa-", "sk-ecdsa-"].iter().any(|prefix| word.starts_with(prefix))
}

/// The first word, in which spaces between quotes are letters like others; and what follows it.
fn word(text: &str) -> Option<(&str, &str)> {
    let mut is_quoted = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '"' => is_quoted = !is_quoted,
            ' ' | '\t' if !is_quoted => return Some((&text[..at], text[at..].trim_start())),
            _ => {}
        }
    }
    None
}

/// `namespaces="A,B",valid-after="20260101",valid-before="20270101Z"`.
fn take_options(options: &str, signer: &mut Signer) -> Result<(), String> {
    let mut rest = options;
    while !rest.is_empty() {
        let known = "known are namespaces=\"…\", valid-after=\"…\" and valid-before=\"…\"";
        let (name, value) =
            rest.split_once("=\"").ok_or_else(|| format!("the option {rest:?}: {known}"))?;
        let (value, after) =
            value.split_once('"').ok_or_else(|| format!("{name}: its quotes are not closed"))?;
        match name.to_ascii_lowercase().as_str() {
            "namespaces" => signer.is_for_releases = namespaces(value)?,
            "valid-after" => signer.valid_after = Some(moment(value)?),
            "valid-before" => signer.valid_before = Some(moment(value)?),
            _ => return Err(format!("the option {name:?}: {known}")),
        }
        rest = match after.strip_prefix(',') {
            Some(next) if !next.is_empty() => next,
            None if after.is_empty() => "",
            _ => return Err(format!("after {name}: write a comma and another option, or a space")),
        };
    }
    Ok(())
}

/// Whether a list of namespaces has ours.
fn namespaces(list: &str) -> Result<bool, String> {
    let mut has_ours = false;
    for name in list.split(',').map(str::trim) {
        if name != "*" && name.contains(['*', '?', '!']) {
            return Err(format!("{name:?}: write the namespace as it is, {NAMESPACE:?}"));
        }
        has_ours |= name == "*" || name == NAMESPACE;
    }
    Ok(has_ours)
}

/// `YYYYMMDD` or `YYYYMMDDHHMM[SS]`, with or without `Z`.
fn moment(text: &str) -> Result<Time, String> {
    let wrong = || format!("{text:?} is no time; write YYYYMMDDZ or YYYYMMDDHHMMSSZ");
    let digits = text.strip_suffix('Z').unwrap_or(text);
    let is_shape =
        matches!(digits.len(), 8 | 12 | 14) && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_shape {
        return Err(wrong());
    }
    let number = |from: usize, to: usize| {
        digits.get(from..to).map_or(0, |text| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let date = Time::of_date(number(0, 4), number(4, 6), number(6, 8));
    date.and_then(|date| date.with(number(8, 10), number(10, 12), number(12, 14))).ok_or_else(wrong)
}

#[cfg(test)]
mod tests;
