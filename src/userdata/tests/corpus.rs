//! The fuzzer's corpus as a plain test: each document whole, cut anywhere and with each byte damaged
//! is read or refused, and what is taken can be put into force.

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
    let sound = replay::understood_unspoiled("user_data", b"\0\n\"=[\x80\xff", look);
    assert_eq!(sound, ["apps", "release", "run", "system"]);
}
