//! Frames of version 1, byte by byte: an owner and a PID 1 of different builds must agree on them.
//! A change that turns one of these red needs a new version, once a version has been released.
#![allow(missing_docs, clippy::unwrap_used)]

use port::event::{
    Answer, Cause, End, Event, Failed, PowerSource, Refusal, Started, Step, Welcome,
};
use port::packed::{Limits, Numbers, ResourceLimit, Strings};
use port::request::{
    Attach, Deadline, Forget, KeepFd, Request, Scope, Set, Shutdown, ShutdownKind, Signal, Spawn,
    Stdio, Stop, TakeFd,
};
use port::snapshot::{KeptEntry, KeyEntry, Page, RunEntry, RunState, SnapshotEnd};
use port::{Header, Message, VERSION};

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Encodes to the bytes, and the bytes decode to it.
fn request(request: &Request<'_>, golden: &str) {
    let mut buffer = [0; 1024];
    let length = request.encode(0x0807_0605_0403_0201, &mut buffer).unwrap();
    assert_eq!(hexadecimal(&buffer[..length]), golden, "{request:?}");
    let header = Header::decode(&buffer[..length]).unwrap();
    let body = header.body(&buffer[..length]).unwrap();
    assert_eq!(Request::decode(&header, body).unwrap(), *request);
}

fn message(message: &Message<'_>, golden: &str) {
    let mut buffer = [0; 1024];
    let length = message.encode(&mut buffer).unwrap();
    assert_eq!(hexadecimal(&buffer[..length]), golden, "{message:?}");
    assert_eq!(Message::decode(&buffer[..length]).unwrap(), *message);
}

#[test]
fn requests_of_version_1() {
    assert_eq!(VERSION, 1);
    let (key, incarnation) = ("web", 300);
    request(
        &Request::Attach(Attach { version_min: 1, version_max: 2 }),
        "010100000200000001020304050607080102",
    );
    let limits = {
        let mut bytes = Vec::new();
        Limits::push(&mut bytes, ResourceLimit { resource: 7, soft: 1, hard: u64::MAX });
        bytes
    };
    let spawn = Spawn {
        key,
        incarnation,
        cgroup: "services/web.0",
        executable: b"/bin/web",
        arguments: Strings::new(b"web\0-p\0", "arguments").unwrap(),
        environment: Strings::new(b"LISTEN_PID=0000000000\0", "environment").unwrap(),
        pid_slot: Some(11),
        directory_attached: true,
        stdio: [Stdio::Null, Stdio::Kept("log/web/write"), Stdio::Attached],
        passed: Strings::new(b"listen/web/http\0", "passed").unwrap(),
        listen_backlog: 128,
        user: 1000,
        group: 100,
        groups: Numbers::new(&[4, 3, 2, 1], "groups").unwrap(),
        limits: Limits::new(&limits, "limits").unwrap(),
        umask: 0o22,
        oom_score_adjust: -5,
        vfork_safe: true,
    };
    request(
        &Request::Spawn(spawn),
        "0102000081000000010203040506070803776562ac020e73657276696365732f7765622e\
         30082f62696e2f77656207776562002d7000164c495354454e5f5049443d303030303030\
         3030303000010b0100010d6c6f672f7765622f777269746502106c697374656e2f776562\
         2f68747470008001e80764040403020111070100000000000000ffffffffffffffff1209\
         01",
    );
    request(
        &Request::Signal(Signal { key, incarnation, scope: Scope::Group, signal: 15 }),
        "0103000008000000010203040506070803776562ac02010f",
    );
    let stop = Stop { key, incarnation, scope: Scope::Cgroup, signal: 15, deadline_ns: 1 << 40 };
    request(&Request::Stop(stop), "010400000e000000010203040506070803776562ac02020f808080808020");
    request(
        &Request::Set(Set { key, memo: &[1, 2, 3] }),
        "010500000800000001020304050607080377656203010203",
    );
    request(
        &Request::Forget(Forget { key, incarnation: Some(1) }),
        "01060000060000000102030405060708037765620101",
    );
    request(
        &Request::Forget(Forget { key, incarnation: None }),
        "010600000500000001020304050607080377656200",
    );
    request(
        &Request::KeepFd(KeepFd { name: "control" }),
        "0107000008000000010203040506070807636f6e74726f6c",
    );
    request(
        &Request::TakeFd(TakeFd { name: "control", drop_entry: true }),
        "0108000009000000010203040506070807636f6e74726f6c01",
    );
    request(&Request::List, "01090000000000000102030405060708");
    request(
        &Request::Shutdown(Shutdown { kind: ShutdownKind::Reboot }),
        "010a000001000000010203040506070801",
    );
    request(
        &Request::Deadline(Deadline { key, incarnation, deadline_ns: Some(1 << 40) }),
        "010b00000d000000010203040506070803776562ac0201808080808020",
    );
    request(
        &Request::Deadline(Deadline { key, incarnation, deadline_ns: None }),
        "010b000007000000010203040506070803776562ac0200",
    );
}

#[test]
fn messages_of_version_1() {
    let (key, incarnation) = ("web", 300);
    let welcome = Welcome { version: 1, pid: 1, started_ns: 5, attaches: 2, shutting_down: false };
    let end = End {
        status: 9,
        cause: Cause::Deadline,
        ended_ns: 1000,
        user_us: 1,
        system_us: 2,
        resident_max_kib: 3,
    };
    let answers = [
        (Answer::Done, "0180000001000000070000000000000000"),
        (Answer::Welcome(welcome), "01800000060000000700000000000000010101050200"),
        (
            Answer::Started(Started { pid: 77, started_ns: 1 << 40 }),
            "01800000080000000700000000000000024d808080808020",
        ),
        (
            Answer::Failed(Failed { step: Step::Exec, errno: 2 }),
            "01800000030000000700000000000000031004",
        ),
        (Answer::Refused(Refusal { errno: 38 }), "01800000020000000700000000000000044c"),
    ];
    for (answer, golden) in answers {
        message(&Message::Answer(7, answer), golden);
    }
    let pids = Numbers::new(&[5, 0, 0, 0], "pids").unwrap();
    let source = PowerSource::Signal(30);
    let events = [
        (
            Event::Exited { key, incarnation, end, emptied: true },
            "018100000f00000000000000000000000003776562ac021202e80701020301",
        ),
        (Event::Emptied { key, incarnation }, "018100000700000000000000000000000103776562ac02"),
        (
            Event::Stuck { key, incarnation, pids, wchan: "io_schedule" },
            "018100001800000000000000000000000203776562ac0204050000000b696f5f73636865\
         64756c65",
        ),
        (
            Event::Power { kind: ShutdownKind::PowerOff, source },
            "018100000400000000000000000000000300021e",
        ),
        (
            Event::Power { kind: ShutdownKind::Reboot, source: PowerSource::Trial },
            "01810000030000000000000000000000030103",
        ),
    ];
    for (event, golden) in events {
        message(&Message::Event(event), golden);
    }
    let run = RunEntry {
        key,
        incarnation,
        cgroup: "services/web.0",
        state: RunState::Ended { end, emptied: false },
        pid: 0,
        started_ns: 1,
        stop_deadline_ns: Some(2),
        deadline_ns: Some(3),
    };
    let pages = [
        (
            Page::Key(KeyEntry { key, incarnation_last: 300, memo: b"memo" }),
            "018200000c00000000000000000000000003776562ac02046d656d6f",
        ),
        (
            Page::Run(run),
            "018200002500000000000000000000000103776562ac020e73657276696365732f776562\
         2e30021202e80701020300000101020103",
        ),
        (
            Page::Kept(KeptEntry { name: "control" }),
            "018200000900000000000000000000000207636f6e74726f6c",
        ),
    ];
    for (page, golden) in pages {
        message(&Message::Page(page), golden);
    }
    let end = SnapshotEnd { keys: 1, runs: 2, kept: 3 };
    message(&Message::SnapshotEnd(end), "01830000030000000000000000000000010203");
}
