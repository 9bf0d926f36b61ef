//! Whether a document may be obeyed: who signed it, for whom it is, and whether it is still time.
//!
//! The signatures come first: nothing of a document is looked at before as many persons as are due
//! signed exactly these bytes. A person counts once, however many keys they have. A signature of
//! somebody unknown counts for nothing; one that bears the key of a person who may sign, and is not
//! theirs, refuses the whole: somebody changed something.

use crate::document::{Document, DocumentError, sha256};
use crate::envelope::{Envelope, EnvelopeError};
use crate::limits::CLOCK_AHEAD_S;
use crate::signers::{NAMESPACE, Signers, fingerprint};
use crate::time::Time;
use serde::{Deserialize, Serialize};
use ssh_key::public::KeyData;
use ssh_key::{PublicKey, SshSig};
use std::collections::BTreeMap;

/// A token's flag by which it says that somebody touched it (FIDO's "user present").
const TOUCHED: u8 = 1;

/// Bytes at the end of a token's signature: one of flags, four of its counter.
const TOKEN_TRAILER_BYTES: usize = 5;

/// What a host obeys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The app.
    pub app: String,
    /// The group that this host is a member of.
    pub group: String,
    /// Who may sign.
    pub signers: Signers,
    /// How many persons have to.
    pub threshold: usize,
}

/// The newest release that a host has seen of an app: older ones are refused from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The app.
    pub app: String,
    /// Its serial.
    pub serial: u64,
    /// SHA-256 of the document's bytes: one serial has one document.
    pub document_sha256: String,
    /// Where it goes.
    pub path: String,
    /// What its closure's digest has to be.
    pub closure_sha256: String,
    /// Who signed it.
    pub persons: Vec<String>,
    /// What followed from it is over, well or not: it is not begun again.
    pub settled: bool,
}

impl Seen {
    /// What a host remembers of a document that nobody signed.
    pub(crate) fn plain(app: &str, path: String) -> Self {
        Self {
            app: app.to_owned(),
            serial: 0,
            document_sha256: String::new(),
            path,
            closure_sha256: String::new(),
            persons: Vec::new(),
            settled: false,
        }
    }
}

/// A document that may be obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The document.
    pub document: Document,
    /// Who signed it, in order; as many as were due, or more.
    pub persons: Vec<String>,
    /// SHA-256 of its bytes.
    pub document_sha256: String,
}

impl Verified {
    /// What a host remembers of it.
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen {
            app: self.document.app.clone(),
            serial: self.document.serial,
            document_sha256: self.document_sha256.clone(),
            path: self.document.path.clone(),
            closure_sha256: self.document.closure_sha256.clone(),
            persons: self.persons.clone(),
            settled: false,
        }
    }
}

/// Why a document is refused. [`Refusal::name`] is one word for each, [`Refusal::cure`] what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The file is no document with signatures.
    #[error("the release cannot be taken apart: {0}")]
    Envelope(#[from] EnvelopeError),
    /// Nobody signed it.
    #[error("the release is not signed, and {due} of {} must sign it", list(.persons))]
    Unsigned {
        /// How many have to.
        due: usize,
        /// Who may.
        persons: Vec<String>,
    },
    /// A signature bears the key of a person who may sign, and is not theirs over these bytes.
    #[error(
        "the release is forged: the signature with {person}'s key ({key}) is not over this document"
    )]
    Forged {
        /// Whose key.
        person: String,
        /// The key's fingerprint.
        key: String,
    },
    /// Too few persons signed it.
    #[error(
        "the release has the signatures of {}, and {due} of {} must sign it{}",
        list(.have), list(.persons), remarks_text(.remarks)
    )]
    TooFew {
        /// Who did.
        have: Vec<String>,
        /// How many have to.
        due: usize,
        /// Who may.
        persons: Vec<String>,
        /// What is wrong with the other signatures.
        remarks: Vec<String>,
    },
    /// Too few persons signed it, and one of them with two keys.
    #[error(
        "the release is signed by {person} with {keys} keys, which is one person, and {due} of {} \
         must sign it",
        list(.persons)
    )]
    OnePerson {
        /// Who did.
        person: String,
        /// With how many keys.
        keys: usize,
        /// How many persons have to.
        due: usize,
        /// Who may.
        persons: Vec<String>,
    },
    /// It was signed, and is no document.
    #[error("the release is signed, but its document is none: {0}")]
    Document(#[from] DocumentError),
    /// It is for another app.
    #[error("the release is of the app {found}, not of {due}")]
    OtherApp {
        /// For which.
        found: String,
        /// This one.
        due: String,
    },
    /// It is for another group.
    #[error("the release {serial} is for the group {found}, and this host is in {due}")]
    OtherGroup {
        /// Its serial.
        serial: u64,
        /// For which.
        found: String,
        /// This one.
        due: String,
    },
    /// Its time is over.
    #[error("the release {serial} expired at {expires}, and it is {now}")]
    Expired {
        /// Its serial.
        serial: u64,
        /// When.
        expires: Time,
        /// Now.
        now: Time,
    },
    /// It was made in the future.
    #[error("the release {serial} was made at {issued}, and here it is only {now}")]
    Early {
        /// Its serial.
        serial: u64,
        /// When.
        issued: Time,
        /// Now.
        now: Time,
    },
    /// A newer one was seen.
    #[error("the release {serial} is old: this host has seen {newest}")]
    Old {
        /// Its serial.
        serial: u64,
        /// The newest one that was seen.
        newest: u64,
    },
    /// Another document of the same serial was seen.
    #[error("the release {serial} is another one than the {serial} that this host has seen")]
    Twice {
        /// The serial.
        serial: u64,
    },
}

impl Refusal {
    /// One word for each kind, for logs and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Envelope(_) => "not-a-release",
            Self::Unsigned { .. } => "unsigned",
            Self::Forged { .. } => "forged",
            Self::TooFew { .. } => "too-few-persons",
            Self::OnePerson { .. } => "one-person-twice",
            Self::Document(_) => "not-a-document",
            Self::OtherApp { .. } => "other-app",
            Self::OtherGroup { .. } => "other-group",
            Self::Expired { .. } => "expired",
            Self::Early { .. } => "from-the-future",
            Self::Old { .. } => "old-serial",
            Self::Twice { .. } => "serial-twice",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn cure(&self) -> &'static str {
        match self {
            Self::Envelope(_) => "put there what `rollinit release sign` wrote",
            Self::Unsigned { .. } | Self::TooFew { .. } | Self::OnePerson { .. } => {
                "have further persons sign it (`rollinit release sign FILE --key KEY`), and put \
                 it there again"
            }
            Self::Forged { .. } => {
                "find out who changed it; `rollinit release verify FILE` tells more. If it was \
                 you, have it signed anew"
            }
            Self::Document(_) => "make it with `rollinit release make`, as old as these hosts",
            Self::OtherApp { .. } | Self::OtherGroup { .. } => {
                "each app of each group has a release of its own: put this one where its hosts \
                 look, or correct what they are told to look at"
            }
            Self::Expired { .. } => {
                "make and sign a new one with a higher serial; or is this host's clock wrong?"
            }
            Self::Early { .. } => "this host's clock is behind, or was that of who made it ahead?",
            Self::Old { .. } | Self::Twice { .. } => {
                "make a new one with a higher serial, also to go back to an older closure"
            }
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

fn remarks_text(remarks: &[String]) -> String {
    if remarks.is_empty() { String::new() } else { format!(" ({})", remarks.join("; ")) }
}

/// Judges a file. `seen`: the newest release that this host has seen.
///
/// # Errors
/// It may not be obeyed, and why.
pub fn judge(
    bytes: &[u8],
    policy: &Policy,
    seen: Option<&Seen>,
    now: Time,
) -> Result<Verified, Refusal> {
    let envelope = Envelope::split(bytes)?;
    let persons = count(&envelope, policy, now)?;
    let document = Document::read(envelope.document)?;
    let document_sha256 = sha256(envelope.document);
    let (serial, group) = (document.serial, &document.group);
    if document.app != policy.app {
        return Err(Refusal::OtherApp { found: document.app, due: policy.app.clone() });
    }
    if *group != policy.group {
        let (found, due) = (group.clone(), policy.group.clone());
        return Err(Refusal::OtherGroup { serial, found, due });
    }
    if let Some(seen) = seen {
        if serial < seen.serial {
            return Err(Refusal::Old { serial, newest: seen.serial });
        }
        if serial == seen.serial && document_sha256 != seen.document_sha256 {
            return Err(Refusal::Twice { serial });
        }
    }
    if document.issued > now.plus_s(CLOCK_AHEAD_S) {
        return Err(Refusal::Early { serial, issued: document.issued, now });
    }
    if document.expires <= now {
        return Err(Refusal::Expired { serial, expires: document.expires, now });
    }
    Ok(Verified { document, persons, document_sha256 })
}

/// Who signed these bytes, if they are as many persons as are due.
fn count(envelope: &Envelope<'_>, policy: &Policy, now: Time) -> Result<Vec<String>, Refusal> {
    // Nobody asks for nobody's signature.
    let due = policy.threshold.max(1);
    let may = || policy.signers.persons().into_iter().map(str::to_owned).collect::<Vec<_>>();
    if envelope.signatures.is_empty() {
        return Err(Refusal::Unsigned { due, persons: may() });
    }
    let mut keys: BTreeMap<&str, Vec<KeyData>> = BTreeMap::new();
    let mut remarks = Vec::new();
    for armoured in &envelope.signatures {
        let Ok(signature) = SshSig::from_pem(armoured) else {
            remarks.push("one signature cannot be read".to_owned());
            continue;
        };
        let print = fingerprint(signature.public_key());
        let Some(signer) = policy.signers.of_key(signature.public_key()) else {
            remarks.push(format!("the key {print} is nobody's who may sign"));
            continue;
        };
        let person = signer.person.as_str();
        if let Err(fault) = check(&signature, envelope.document) {
            match fault {
                Fault::Forged => {
                    return Err(Refusal::Forged { person: person.to_owned(), key: print });
                }
                Fault::Other(text) => remarks.push(format!("{person}'s signature {text}")),
            }
            continue;
        }
        if let Some(fault) = signer.fault_at(now) {
            remarks.push(format!("{person}'s key {print} {fault}"));
            continue;
        }
        let known = keys.entry(person).or_default();
        if !known.contains(signature.public_key()) {
            known.push(signature.public_key().clone());
        }
    }
    if keys.len() >= due {
        return Ok(keys.into_keys().map(str::to_owned).collect());
    }
    let twice = keys.iter().find(|(_, keys)| keys.len() > 1);
    Err(match twice {
        Some((person, keys)) => Refusal::OnePerson {
            person: (*person).to_owned(),
            keys: keys.len(),
            due,
            persons: may(),
        },
        None => {
            let have = keys.into_keys().map(str::to_owned).collect();
            Refusal::TooFew { have, due, persons: may(), remarks }
        }
    })
}

enum Fault {
    Forged,
    Other(String),
}

/// Whether a signature is over these bytes, made for releases, and by somebody who was there.
fn check(signature: &SshSig, document: &[u8]) -> Result<(), Fault> {
    if signature.namespace() != NAMESPACE {
        let other = signature.namespace().escape_debug().take(40).collect::<String>();
        return Err(Fault::Other(format!("is for the namespace {other:?}, not {NAMESPACE:?}")));
    }
    let key = PublicKey::from(signature.public_key().clone());
    key.verify(NAMESPACE, document, signature).map_err(|_| Fault::Forged)?;
    let bytes = signature.signature_bytes();
    let flags = bytes.len().checked_sub(TOKEN_TRAILER_BYTES).and_then(|at| bytes.get(at));
    if key.key_data().is_sk_ed25519() && flags.is_none_or(|flags| flags & TOUCHED == 0) {
        return Err(Fault::Other("was made by a token that nobody touched".to_owned()));
    }
    Ok(())
}
