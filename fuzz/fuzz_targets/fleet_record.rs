//! Any bytes as a record of a fleet's ledger: no bytes may make the readers panic, what they take
//! is written and read again, and a host and a migration lock go on with whatever that is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollout::fleet::{
    Event, Facts, Group, Lock, LockEffect, LockEvent, Member, Migrations, Seat, Status, Wish,
};
use rollout::{Cas, Now, Token};

fn at(seconds: u64) -> Now {
    Now { clock_ns: seconds * 1_000_000_000, wall_ms: 1 }
}

fn go_on(group: Option<Group>, members: Vec<Status>) {
    let facts = Facts { host: "i-0".to_owned(), apps: vec!["web".to_owned()], idle_ms: 10_000 };
    let mut member = Member::new(facts, at(1));
    let group = group.map(|group| (group, Token("1".to_owned())));
    for seconds in [1, 600, 1_200] {
        member.step(at(seconds), Event::Tick);
        let (group, members) = (group.clone(), members.clone());
        member.step(at(seconds), Event::Looked { group, members });
        member.step(at(seconds), Event::Wrote(Cas::Applied(Token("2".to_owned()))));
    }
}

fn migrate(record: Migrations) {
    let wish = Wish {
        host: "i-0".to_owned(),
        swap: "R1-7".to_owned(),
        path: "/nix/store/b".to_owned(),
        lease_ms: 30_000,
        force: true,
    };
    let mut lock = Lock::new(wish, at(1));
    for seconds in [1, 40, 80] {
        lock.step(at(seconds), LockEvent::Tick);
        let found = Some((record.clone(), Token("1".to_owned())));
        let effects = lock.step(at(seconds), LockEvent::Looked(found));
        if effects.iter().any(|effect| matches!(effect, LockEffect::Write { .. })) {
            lock.step(at(seconds), LockEvent::Wrote(Cas::Applied(Token("2".to_owned()))));
        }
        lock.step(at(seconds), LockEvent::Ended(Ok(())));
    }
}

fuzz_target!(|bytes: &[u8]| {
    let _ = Seat::read(bytes);
    if let Ok(record) = Migrations::read(bytes) {
        Migrations::read(&record.write().expect("bytes")).expect("it reads back");
        migrate(record);
    }
    let group = Group::read(bytes).ok();
    if let Some(group) = &group {
        Group::read(&group.write().expect("bytes")).expect("it reads back");
    }
    let members: Vec<Status> = Status::read(bytes).into_iter().collect();
    if group.is_some() || !members.is_empty() {
        go_on(group, members);
    }
});
