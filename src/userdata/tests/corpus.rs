//! The fuzzer's corpus as a plain test: each document whole, cut anywhere and with each byte damaged
//! is read or refused, and what is taken can be put into force.

use std::path::Path;
use userdata::Purpose;

fn look(bytes: &[u8]) -> bool {
    let release = userdata::read_release("corpus", bytes, "web");
    let document = userdata::read("corpus", bytes);
    if let Ok(document) = &document
        && let Purpose::Apps(apps) = &document.purpose
    {
        for definition in apps.values().filter_map(|wish| wish.definition.as_ref()) {
            service::definition::parse_app("corpus", definition).expect("sound");
        }
    }
    if let Err(problems) = &document {
        assert!(!problems.is_empty(), "refused without a word");
    }
    document.is_ok() || release.is_ok()
}

#[test]
fn every_document_is_read_or_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/user_data");
    let mut sound = Vec::new();
    for entry in std::fs::read_dir(&path).expect("the corpus") {
        let entry = entry.expect("an entry");
        let bytes = std::fs::read(entry.path()).expect("a file");
        if look(&bytes) {
            sound.push(entry.file_name().into_string().expect("a name"));
        }
        for at in 0..bytes.len() {
            look(&bytes[..at]);
            for value in [0, b'\n', b'"', b'=', b'[', 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                look(&damaged);
            }
        }
    }
    sound.sort();
    assert_eq!(sound, ["apps", "release", "run", "system"]);
}
