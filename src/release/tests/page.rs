//! The page that people read when a release is refused has every refusal by its name.

use release::{Document, DocumentError, EnvelopeError, Refusal, Time};

/// One of each; a new kind does not compile before it is here.
fn all() -> Vec<Refusal> {
    let (persons, now) = (vec!["alice".to_owned()], Time(0));
    let word = || "x".to_owned();
    let refusals = vec![
        Refusal::Envelope(EnvelopeError::Foreign),
        Refusal::Unsigned { due: 1, persons: persons.clone() },
        Refusal::Forged { person: word(), key: word() },
        Refusal::TooFew { have: vec![], due: 1, persons: persons.clone(), remarks: vec![] },
        Refusal::OnePerson { person: word(), keys: 2, due: 2, persons },
        Refusal::Document(DocumentError::NotCanonical),
        Refusal::OtherApp { found: word(), due: word() },
        Refusal::OtherGroup { serial: 1, found: word(), due: word() },
        Refusal::Expired { serial: 1, expires: now, now },
        Refusal::Early { serial: 1, issued: now, now },
        Refusal::Old { serial: 1, newest: 2 },
        Refusal::Twice { serial: 1 },
    ];
    for refusal in &refusals {
        match refusal {
            Refusal::Envelope(_)
            | Refusal::Unsigned { .. }
            | Refusal::Forged { .. }
            | Refusal::TooFew { .. }
            | Refusal::OnePerson { .. }
            | Refusal::Document(_)
            | Refusal::OtherApp { .. }
            | Refusal::OtherGroup { .. }
            | Refusal::Expired { .. }
            | Refusal::Early { .. }
            | Refusal::Old { .. }
            | Refusal::Twice { .. } => {}
        }
    }
    refusals
}

#[test]
fn every_refusal_is_on_the_page() {
    let page = include_str!("../../../docs/releases.md");
    for refusal in all() {
        let name = format!("`{}`", refusal.name());
        let line = page.lines().find(|line| line.starts_with("| `") && line.contains(&name));
        assert!(line.is_some(), "{name} is not in docs/releases.md");
        // What it says begins there as it does on a console.
        let said = refusal.to_string().replace(['1', '2'], "N");
        let begins: String = said.split_whitespace().take(4).collect::<Vec<_>>().join(" ");
        assert!(line.is_some_and(|line| line.contains(&begins)), "{name}: {begins}");
        assert!(!refusal.cure().is_empty());
    }
    let example = page.split("```\n").nth(1).expect("the example");
    let document = example.split("-----BEGIN").next().expect("its document");
    let keys = |text: &str| -> Vec<String> {
        let key = |line: &str| line.trim().split_once(':').map(|(key, _)| key.to_owned());
        text.lines().filter_map(key).collect()
    };
    let sound = Document {
        format: release::FORMAT,
        app: String::new(),
        group: String::new(),
        serial: 1,
        path: String::new(),
        closure_sha256: String::new(),
        issued: Time(0),
        expires: Time(1),
        note: String::new(),
    };
    let written = String::from_utf8(sound.write()).expect("text");
    assert_eq!(keys(document), keys(&written), "the example has the keys that are written");
}
