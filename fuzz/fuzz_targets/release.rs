//! Any bytes as a release with its signatures, and as the file of those who may sign: no bytes may
//! make the readers panic, what they take is written as it was, and nothing is obeyed that the
//! persons of the corpus did not sign.
#![no_main]

use libfuzzer_sys::fuzz_target;
use release::{Document, Envelope, Policy, Signers, Time, judge};

/// Those who signed what is in the corpus: the keys that the room's own tests have.
const SIGNERS: &str = include_str!("../corpus/release/signers");

/// When that was.
const NOW: Time = Time(1_795_255_200);

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = str::from_utf8(bytes) {
        let _ = Signers::read(text);
        let _ = release::sign::Key::read(text);
    }
    if let Ok(envelope) = Envelope::split(bytes) {
        if let Ok(document) = Document::read(envelope.document) {
            assert_eq!(document.write(), envelope.document);
        }
    }
    let signers = Signers::read(SIGNERS).expect("sound");
    let (app, group) = ("web".to_owned(), "prod".to_owned());
    let policy = Policy { app, group, signers, threshold: 2 };
    if let Ok(verified) = judge(bytes, &policy, None, NOW) {
        assert!(verified.persons.len() >= 2);
        assert_eq!(verified.document.serial, 42);
    }
});
