//! `rollinit release`: documents of releases, made, signed, verified and put on a ledger. No host
//! and no agent is needed for any of it.

mod arguments;
mod files;
mod make;
mod publish;

pub use arguments::Verb;

use crate::exit::{Code, Failure};
use crate::screen::{Screen, printable};
use arguments::Trust;
use release::{Document, Envelope, Policy, Refusal, Signers, Time, Verified, judge};
use serde::Serialize;
use std::path::Path;

/// Does what is asked for.
pub async fn run(verb: &Verb, agent_socket: &Path, screen: &mut Screen) -> Result<Code, Failure> {
    match verb {
        Verb::Make(make) => make::run(make, screen).await,
        Verb::Sign { file, key } => sign(file, key, screen),
        Verb::Document { file } => document(file, screen),
        Verb::Verify { file, trust } => verify(file, trust, screen),
        Verb::Publish { file, trust, ledger } => {
            publish::run(file, trust, ledger.as_deref(), agent_socket, screen).await
        }
    }
}

/// The JSON form of a release.
#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    document: &'a Document,
    /// Who signed it, as far as that is known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    persons: Option<&'a [String]>,
    signatures: usize,
}

fn now() -> Time {
    Time(crate::times::now_ms() / 1_000)
}

/// Adds a signature.
fn sign(file: &Path, key: &Path, screen: &mut Screen) -> Result<Code, Failure> {
    let bytes = files::read(file)?;
    let envelope = Envelope::split(&bytes).map_err(|error| unsound(file, &error.to_string()))?;
    let document =
        Document::read(envelope.document).map_err(|error| unsound(file, &error.to_string()))?;
    let text = files::read_text(key)?;
    let key = release::sign::Key::read(&text).map_err(|error| {
        let text = error.to_string();
        let (message, cure) = text.split_once("; ").unwrap_or((&text, ""));
        let message = format!("{}: {message}", key.display());
        failure(Code::Failed, "key", message, cure)
    })?;
    let signature = key.sign(envelope.document).map_err(|error| {
        failure(Code::Failed, "key", error.to_string(), "Is the key's file whole?")
    })?;
    let mut signatures = envelope.signatures.clone();
    // Ed25519 signs the same alike: once more would be nothing new.
    let is_new = !signatures.iter().any(|known| known.trim() == signature.trim());
    if is_new {
        signatures.push(&signature);
        let signed = Envelope { document: envelope.document, signatures: signatures.clone() };
        files::replace(file, &signed.join())?;
    }
    if screen.json {
        screen.json(&Report {
            document: &document,
            persons: None,
            signatures: signatures.len(),
        })?;
    } else {
        let words = if is_new { "signed with" } else { "was signed already with" };
        let count = signatures.len();
        let plural = if count == 1 { "" } else { "s" };
        show(&document, screen)?;
        let text = format!("{words} {}; {count} signature{plural}\n", key.fingerprint());
        screen.text(&text)?;
    }
    Ok(Code::Done)
}

/// What is signed, and nothing else: for whoever else signs.
fn document(file: &Path, screen: &mut Screen) -> Result<Code, Failure> {
    let bytes = files::read(file)?;
    let envelope = Envelope::split(&bytes).map_err(|error| unsound(file, &error.to_string()))?;
    let document =
        Document::read(envelope.document).map_err(|error| unsound(file, &error.to_string()))?;
    if screen.json {
        let signatures = envelope.signatures.len();
        screen.json(&Report { document: &document, persons: None, signatures })?;
    } else {
        screen.bytes(envelope.document)?;
    }
    Ok(Code::Done)
}

fn verify(file: &Path, trust: &Trust, screen: &mut Screen) -> Result<Code, Failure> {
    let bytes = files::read(file)?;
    let verified = judged(&bytes, file, trust)?;
    let signatures = Envelope::split(&bytes).map_or(0, |envelope| envelope.signatures.len());
    if screen.json {
        let persons = Some(&verified.persons[..]);
        screen.json(&Report { document: &verified.document, persons, signatures })?;
    } else {
        show(&verified.document, screen)?;
        screen.text(&format!("signed by {}\n", printable(&verified.persons.join(", "))))?;
    }
    Ok(Code::Done)
}

/// What a host without a memory would say.
fn judged(bytes: &[u8], file: &Path, trust: &Trust) -> Result<Verified, Failure> {
    let text = files::read_text(&trust.signers)?;
    let signers = Signers::read(&text).map_err(|error| {
        let message = format!("{}: {error}", trust.signers.display());
        failure(Code::Failed, "signers", message, "docs/releases.md shows such a file.")
    })?;
    let persons = signers.persons().len();
    if trust.threshold == 0 || trust.threshold > persons {
        let message = format!(
            "{} of the {persons} persons in {} cannot sign",
            trust.threshold,
            trust.signers.display()
        );
        let cure = "Give --threshold a number from 1 to that of the persons.";
        return Err(failure(Code::Failed, "signers", message, cure));
    }
    // Whom it is for is compared if that was asked for; else it is taken from the document itself.
    let named = Envelope::split(bytes).ok().and_then(|one| Document::read(one.document).ok());
    let own = |of: fn(&Document) -> &String| named.as_ref().map(of).cloned().unwrap_or_default();
    let policy = Policy {
        app: trust.app.clone().unwrap_or_else(|| own(|document| &document.app)),
        group: trust.group.clone().unwrap_or_else(|| own(|document| &document.group)),
        signers,
        threshold: trust.threshold,
    };
    judge(bytes, &policy, None, now()).map_err(|refusal| refused(file, &refusal))
}

fn refused(file: &Path, refusal: &Refusal) -> Failure {
    let message = format!("{}: {refusal}", file.display());
    failure(Code::SwapRefused, refusal.name(), message, refusal.cure())
}

fn unsound(file: &Path, reason: &str) -> Failure {
    let message = format!("{} is no release: {reason}", file.display());
    failure(Code::Failed, "not-a-document", message, "`rollinit release make` writes one.")
}

fn failure(code: Code, kind: &'static str, message: String, cure: &str) -> Failure {
    let cures = if cure.is_empty() { Vec::new() } else { vec![cure.to_owned()] };
    Failure { code, kind, message, cures }
}

/// What a document says, for people who are about to put their name under it.
fn show(document: &Document, screen: &mut Screen) -> Result<(), Failure> {
    let Document { app, group, serial, path, closure_sha256, issued, expires, note, .. } = document;
    let mut lines = vec![
        ("release", format!("{serial} of {app} for the group {group}")),
        ("path", path.clone()),
        ("closure", closure_sha256.clone()),
        ("made", issued.to_string()),
        ("expires", expires.to_string()),
    ];
    if !note.is_empty() {
        lines.push(("note", note.clone()));
    }
    for (name, value) in lines {
        screen.text(&format!("{name:<8} {}\n", printable(&value)))?;
    }
    Ok(())
}
