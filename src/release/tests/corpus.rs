//! The fuzzer's corpus as a plain test: each file whole, cut anywhere and with each byte damaged is
//! read or refused, and nothing is obeyed but the one document that two persons signed.
//!
//! `ROLLINIT_UPDATE=1` writes what is signed anew, with the keys of these tests.

mod people;

use people::{NOW, document, policy, signed};
use release::{Document, Envelope, Signers, judge};

/// The target of the fuzzer.
const TARGET: &str = "release";

fn write() {
    let lines = [("alice", 1), ("alice", 2), ("bob", 3), ("carol", 4)];
    let lines: String = lines.into_iter().map(|(who, seed)| people::line(who, seed)).collect();
    for (name, bytes) in [
        ("signed", signed(&document(42), &[1, 3])),
        ("unsigned", document(42).write()),
        ("too-few", signed(&document(42), &[1, 2])),
        ("signers", lines.into_bytes()),
    ] {
        std::fs::write(replay::folder(TARGET).join(name), bytes).expect("written");
    }
}

/// Whether it is obeyed. Nothing here may panic.
fn look(bytes: &[u8]) -> bool {
    if let Ok(text) = str::from_utf8(bytes) {
        let _ = Signers::read(text);
    }
    if let Ok(envelope) = Envelope::split(bytes)
        && let Ok(document) = Document::read(envelope.document)
    {
        assert_eq!(document.write(), envelope.document);
    }
    let verdict = judge(bytes, &policy(), None, NOW);
    if let Ok(verified) = &verdict {
        assert_eq!(verified.document, document(42));
    }
    verdict.is_ok()
}

#[test]
fn every_file_is_obeyed_or_refused() {
    if std::env::var_os("ROLLINIT_UPDATE").is_some() {
        write();
    }
    let obeyed = replay::understood_unspoiled(TARGET, b"0A\n", look);
    assert_eq!(obeyed, ["signed"]);
}
