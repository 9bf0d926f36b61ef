//! Signed releases in a group's record: their serials only grow, whatever else is rolled between.

use rollout::fleet::{Group, Refusal, Rollout, Version};

fn rollout(id: &str, serial: u64) -> Rollout {
    let path = format!("/nix/store/0c5mkq5pxkq1c8h2b4bm3c0qk2gsl5bg-{id}");
    Rollout {
        id: id.to_owned(),
        to: Version { path, serial },
        by: "test".to_owned(),
        began_ms: 1,
        paused: None,
        forced: false,
    }
}

#[test]
fn a_serial_outlives_what_is_rolled_by_hand() {
    let mut group = Group::new();
    group.start("web", rollout("release-5", 5), false).expect("the first");
    for by_hand in ["hand-1", "hand-2"] {
        group.start("web", rollout(by_hand, 0), true).expect("by hand");
    }
    let older = group.start("web", rollout("release-4", 4), true);
    assert_eq!(older, Err(Refusal::Older { serial: 4, newest: 5 }));
    let read = Group::read(&group.write().expect("bytes")).expect("a record");
    assert_eq!(read.apps["web"].serial, 5);
    group.start("web", rollout("release-6", 6), true).expect("a newer one");
    let forced = Rollout { forced: true, ..rollout("release-3", 3) };
    group.start("web", forced, true).expect("insisted on");
    assert_eq!(group.apps["web"].serial, 6, "it never goes back");
}
