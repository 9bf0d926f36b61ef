//! The fuzzer's corpus as a plain test: what is on a ledger was written by somebody, maybe by hand.
//! Each record whole, cut anywhere and with each byte damaged is read or refused, and whatever is
//! read, a host and a lock go on with.
//!
//! `ROLLINIT_UPDATE=1` writes the corpus anew.

use rollout::fleet::{
    AppStatus, AppWord, Ended, Event, Facts, Failed, Gone, Group, Hold, Holder, How, Local,
    LocalSwap, Lock, LockEffect, LockEvent, Member, Migrations, Outcome, Pause, Portion, Rollout,
    Seat, Status, Track, Version, Wish,
};
use rollout::{Cas, Now, Token};
use std::collections::BTreeMap;

/// The target of the fuzzer.
const TARGET: &str = "fleet_record";

fn version(path: &str) -> Version {
    Version { path: path.to_owned(), serial: 42 }
}

/// With every field in use, and numbers as large as they get.
fn group() -> Group {
    let mut group = Group::new();
    group.writer = "i-0".to_owned();
    group.max_unavailable = Portion::Percent(100);
    group.fences = u64::MAX;
    let rollout = Rollout {
        id: "R1".to_owned(),
        to: version("/nix/store/b"),
        by: "alice@laptop".to_owned(),
        began_ms: u64::MAX,
        paused: Some(Pause { by: "bob".to_owned(), why: "lunch".to_owned() }),
        forced: true,
    };
    let last = Ended {
        id: "R0".to_owned(),
        to: version("/nix/store/c"),
        how: How::Failed("i-1: no".to_owned()),
        ended_ms: 1,
    };
    let failed = Failed {
        path: "/nix/store/c".to_owned(),
        host: "i-1".to_owned(),
        reason: "no".to_owned(),
        wall_ms: 1,
    };
    let track = Track {
        blessed: Some(version("/nix/store/a")),
        rollout: Some(rollout),
        last: Some(last),
        failed: vec![failed],
        serial: u64::MAX,
        document: String::new(),
        rest: BTreeMap::from([("later".to_owned(), true.into())]),
    };
    group.apps.insert("web".to_owned(), track);
    for (host, fence) in [("i-0", u64::MAX), ("i-9", 7)] {
        group.holders.push(Holder {
            host: host.to_owned(),
            fence,
            app: "web".to_owned(),
            path: "/nix/store/b".to_owned(),
            rollout: "R1".to_owned(),
            since_ms: u64::MAX,
            leaves: fence == 7,
        });
    }
    group
}

fn status() -> Status {
    let app = AppStatus {
        path: Some("/nix/store/a".to_owned()),
        word: AppWord::Swaps,
        text: "gate".to_owned(),
    };
    Status {
        format: 1,
        host: "i-9".to_owned(),
        beat: u64::MAX,
        wall_ms: u64::MAX,
        apps: BTreeMap::from([("web".to_owned(), app)]),
        peer: Some("10.0.0.9:7465".to_owned()),
        ..Status::default()
    }
}

fn migrations() -> Migrations {
    let hold = Hold {
        host: "i-9".to_owned(),
        swap: "R1-7".to_owned(),
        path: "/nix/store/b".to_owned(),
        beat: u64::MAX,
        lease_ms: u64::MAX,
        since_ms: u64::MAX,
    };
    let outcome = Outcome {
        path: "/nix/store/a".to_owned(),
        host: "i-1".to_owned(),
        fence: 6,
        failed: Some("exit code 1".to_owned()),
        ended_ms: 1,
    };
    Migrations {
        format: 1,
        fence: u64::MAX,
        holder: Some(hold),
        outcomes: vec![outcome],
        ..Migrations::default()
    }
}

fn write() {
    let seat = Seat {
        ledger: "etcd://10.0.0.5:2379/shop".to_owned(),
        group: "prod".to_owned(),
        host: "i-0".to_owned(),
    };
    let mut free = migrations();
    free.holder = None;
    for (name, bytes) in [
        ("group", group().write().expect("bytes")),
        ("status", status().write().expect("bytes")),
        ("migrations", migrations().write().expect("bytes")),
        ("migrations-free", free.write().expect("bytes")),
        ("seat", seat.write()),
        ("newer", br#"{"format":2,"unheard":{"of":[1,2.5,null]}}"#.to_vec()),
    ] {
        let folder = replay::folder(TARGET);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(name), bytes).expect("written");
    }
}

fn at(seconds: u64) -> Now {
    Now { clock_ns: seconds * 1_000_000_000, wall_ms: 1 }
}

/// A host that finds such a record, and whose group says such things.
fn go_on(group: Option<Group>, members: Vec<Status>) {
    let facts = Facts { host: "i-0".to_owned(), apps: vec!["web".to_owned()], idle_ms: 10_000 };
    let mut member = Member::new(facts, at(1));
    let local = Local {
        app: "web".to_owned(),
        path: Some("/nix/store/a".to_owned()),
        swap: LocalSwap::None,
        barred: Vec::new(),
        says: String::new(),
    };
    member.step(at(1), Event::Local(local));
    let group = group.map(|group| (group, Token("1".to_owned())));
    for seconds in [1, 2, 600, 1_200] {
        member.step(at(seconds), Event::Tick);
        let (group, members) = (group.clone(), members.clone());
        member.step(at(seconds), Event::Looked { group, members });
        member.step(at(seconds), Event::Wrote(Cas::Applied(Token("2".to_owned()))));
        let gone = Event::Gone { host: "i-9".to_owned(), gone: Gone::Terminated };
        member.step(at(seconds), gone);
    }
}

/// A host that wants to migrate and finds such a record.
fn migrate(record: &Migrations) {
    for (host, path) in [("i-0", "/nix/store/b"), ("i-9", "/nix/store/a")] {
        let wish = Wish {
            host: host.to_owned(),
            swap: "R1-7".to_owned(),
            path: path.to_owned(),
            lease_ms: 30_000,
            force: host == "i-0",
        };
        let mut lock = Lock::new(wish, at(1));
        let mut seen = (record.clone(), Token("1".to_owned()));
        for seconds in [1, 20, 40, 80, 120] {
            lock.step(at(seconds), LockEvent::Tick);
            let mut effects = lock.step(at(seconds), LockEvent::Looked(Some(seen.clone())));
            // What it writes is what it finds next.
            while let Some(LockEffect::Write { record, .. }) =
                effects.iter().find(|effect| matches!(effect, LockEffect::Write { .. }))
            {
                seen = ((**record).clone(), Token(seconds.to_string()));
                let wrote = LockEvent::Wrote(Cas::Applied(seen.1.clone()));
                effects = lock.step(at(seconds), wrote);
            }
            lock.step(at(seconds), LockEvent::Ended(Err("no".to_owned())));
        }
    }
}

/// Whether it is any record. Nothing here may panic.
fn look(bytes: &[u8]) -> bool {
    let group = Group::read(bytes);
    let status = Status::read(bytes);
    let migrations = Migrations::read(bytes);
    if let Ok(migrations) = &migrations {
        migrate(migrations);
        Migrations::read(&migrations.write().expect("bytes")).expect("it reads back");
    }
    if let Ok(group) = &group {
        Group::read(&group.write().expect("bytes")).expect("it reads back");
    }
    let is_any = group.is_ok() || status.is_ok() || migrations.is_ok();
    if is_any {
        go_on(group.ok(), status.into_iter().collect());
    }
    is_any | Seat::read(bytes).is_ok()
}

#[test]
fn every_record_is_read_or_refused() {
    if std::env::var_os("ROLLINIT_UPDATE").is_some() {
        write();
    }
    let sound = replay::understood_unspoiled(TARGET, b"\0\"9-{,\xff", look);
    assert_eq!(sound, ["group", "migrations", "migrations-free", "seat", "status"]);
}
