//! docs/rollout.md is read at 3 a.m.: every text of a fleet that people may meet is in it.

use rollout::fleet::limits::RECORD_BYTES_MAX;
use rollout::fleet::{AppWord, Refusal};

const PAGE: &str = include_str!("../../../docs/rollout.md");

/// What hosts say about their part, with the source that says it.
const SAID: [(&str, &str); 6] = [
    ("a rollout that ended badly left it here; roll the one you want", DECIDE),
    ("for a swap that somebody began by hand", DECIDE),
    ("the group does not roll this release any more", DECIDE),
    ("it failed here before: ", DECIDE),
    ("the host is gone, in the middle of its swap: ", GROUP),
    (" paused it: ", DECIDE),
];
const DECIDE: &str = include_str!("../src/fleet/member/decide.rs");
const GROUP: &str = include_str!("../src/fleet/group.rs");

/// One of each, with the page's words for what differs. A new one does not compile before it is
/// here.
fn one_of_each() -> Vec<Refusal> {
    let app = || "APP".to_owned();
    let (id, path, host) = (|| "ID".to_owned(), || "PATH".to_owned(), || "HOST".to_owned());
    let all = vec![
        Refusal::Newer { what: "the group's record", format: 2 },
        Refusal::Unreadable { what: "the group's record", reason: "REASON".to_owned() },
        Refusal::TooLarge {
            what: "the group's record",
            limit: format!("{RECORD_BYTES_MAX} bytes"),
        },
        Refusal::Name { what: "WHAT", name: "NAME".to_owned() },
        Refusal::RolloutId("NAME".to_owned()),
        Refusal::UnderWay { id: id(), path: path() },
        Refusal::Barred { path: path(), host: host(), reason: "REASON".to_owned() },
        Refusal::Older { serial: 3, newest: 7 },
        Refusal::NoRollout(app()),
        Refusal::NothingBlessed(app()),
        Refusal::NoHolder(host()),
        Refusal::NoMigration(app()),
        Refusal::NoTrack(app()),
        Refusal::Busy { app: app(), host: host() },
        Refusal::Full { holders: vec![host()], allowed: 1 },
    ];
    for refusal in &all {
        match refusal {
            Refusal::Newer { .. }
            | Refusal::Unreadable { .. }
            | Refusal::TooLarge { .. }
            | Refusal::Name { .. }
            | Refusal::RolloutId(_)
            | Refusal::UnderWay { .. }
            | Refusal::Barred { .. }
            | Refusal::Older { .. }
            | Refusal::NoRollout(_)
            | Refusal::NothingBlessed(_)
            | Refusal::NoHolder(_)
            | Refusal::NoMigration(_)
            | Refusal::NoTrack(_)
            | Refusal::Busy { .. }
            | Refusal::Full { .. } => {}
        }
    }
    all
}

#[test]
fn every_refusal_is_in_the_page() {
    for refusal in one_of_each() {
        let text = refusal.to_string();
        assert!(PAGE.contains(&text), "docs/rollout.md lacks {text:?}");
    }
}

#[test]
fn what_hosts_say_is_in_the_page() {
    for (text, source) in SAID {
        assert!(source.contains(text), "nobody says {text:?} any more: take it out of the page");
        assert!(PAGE.contains(text.trim()), "docs/rollout.md lacks {text:?}");
    }
    for word in [
        AppWord::Serves,
        AppWord::Prepares,
        AppWord::Waits,
        AppWord::Swaps,
        AppWord::Failed,
        AppWord::Refused,
        AppWord::Leaves,
    ] {
        assert!(PAGE.contains(&format!("| `{}` |", word.word())), "{word:?}");
    }
}
