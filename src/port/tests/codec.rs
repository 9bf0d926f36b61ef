//! The codec, from both sides: what is encoded comes back, and no bytes at all make it panic.
#![allow(missing_docs, clippy::unwrap_used)]

use port::event::{
    Answer, Cause, End, Event, Failed, PowerSource, Refusal, Started, Step, Welcome,
};
use port::limits::{
    FRAME_BYTES_MAX, KEY_BYTES_MAX, MEMO_BYTES_MAX, STUCK_PIDS_MAX, WCHAN_BYTES_MAX,
};
use port::packed::{Limits, Numbers, ResourceLimit, Strings};
use port::request::{
    Attach, Deadline, Forget, KeepFd, Request, Scope, Set, Shutdown, ShutdownKind, Signal, Spawn,
    Stdio, Stop, TakeFd,
};
use port::snapshot::{KeptEntry, KeyEntry, Page, RunEntry, RunState, SnapshotEnd};
use port::{DecodeError, Header, Message};
use proptest::collection::vec;
use proptest::prelude::*;

/// Owned material of which every request and message can be made.
#[derive(Clone, Debug)]
struct Material {
    key: String,
    name: String,
    bytes: Vec<u8>,
    strings: Vec<u8>,
    numbers: Vec<u8>,
    limits: Vec<u8>,
    small: u8,
    word: u32,
    long: u64,
    flag: bool,
}

fn material() -> impl Strategy<Value = Material> {
    let key = "[a-zA-Z0-9@_-][a-zA-Z0-9.@_-]{0,63}";
    let name = "[!-~]{1,160}";
    let strings = vec("[^\0]{0,40}", 0..20)
        .prop_map(|strings| strings.iter().flat_map(|s| [s.as_bytes(), b"\0"].concat()).collect());
    let numbers = vec(any::<u32>(), 0..=STUCK_PIDS_MAX)
        .prop_map(|numbers| numbers.iter().flat_map(|n| n.to_le_bytes()).collect());
    let limits = vec(any::<(u8, u64, u64)>(), 0..16).prop_map(|limits| {
        let mut bytes = Vec::new();
        for (resource, soft, hard) in limits {
            Limits::push(&mut bytes, ResourceLimit { resource, soft, hard });
        }
        bytes
    });
    let bytes = vec(any::<u8>(), 0..=MEMO_BYTES_MAX);
    let plain = (any::<u8>(), any::<u32>(), any::<u64>(), any::<bool>());
    (key, name, bytes, strings, numbers, limits, plain).prop_map(
        |(key, name, bytes, strings, numbers, limits, (small, word, long, flag))| Material {
            key,
            name,
            bytes,
            strings,
            numbers,
            limits,
            small,
            word,
            long,
            flag,
        },
    )
}

impl Material {
    fn spawn(&self) -> Spawn<'_> {
        Spawn {
            key: &self.key,
            incarnation: self.long,
            cgroup: if self.flag { "services/web.0" } else { "" },
            executable: b"/bin/true",
            arguments: Strings::new(&self.strings, "arguments").unwrap(),
            environment: Strings::new(&self.strings, "environment").unwrap(),
            pid_slot: None,
            directory_attached: self.flag,
            stdio: [Stdio::Null, Stdio::Kept(&self.name), Stdio::Attached],
            passed: Strings::default(),
            listen_backlog: self.word,
            user: self.word,
            group: !self.word,
            groups: Numbers::new(&self.numbers, "groups").unwrap(),
            limits: Limits::new(&self.limits, "limits").unwrap(),
            umask: self.word,
            oom_score_adjust: i16::from(self.small),
            vfork_safe: self.flag,
        }
    }

    /// One of each verb.
    fn requests(&self) -> Vec<Request<'_>> {
        let (key, incarnation) = (self.key.as_str(), self.long);
        let signal = self.small % 64 + 1;
        vec![
            Request::Attach(Attach { version_min: self.small, version_max: !self.small }),
            Request::Spawn(self.spawn()),
            Request::Signal(Signal { key, incarnation, scope: Scope::Group, signal }),
            Request::Stop(Stop {
                key,
                incarnation,
                scope: Scope::Cgroup,
                signal,
                deadline_ns: self.long,
            }),
            Request::Set(Set { key, memo: &self.bytes }),
            Request::Deadline(Deadline {
                key,
                incarnation,
                deadline_ns: self.flag.then_some(self.long),
            }),
            Request::Forget(Forget { key, incarnation: self.flag.then_some(self.long) }),
            Request::KeepFd(KeepFd { name: &self.name }),
            Request::TakeFd(TakeFd { name: &self.name, drop_entry: self.flag }),
            Request::List,
            Request::Shutdown(Shutdown { kind: ShutdownKind::Reboot }),
        ]
    }

    /// One of each answer, event and page.
    fn messages(&self) -> Vec<Message<'_>> {
        let (key, incarnation) = (self.key.as_str(), self.long);
        let end = End {
            status: self.word.cast_signed(),
            cause: Cause::OutOfMemory,
            ended_ns: self.long,
            user_us: self.long / 2,
            system_us: self.long / 3,
            resident_max_kib: self.long / 4,
        };
        let started = Started { pid: self.word, started_ns: self.long };
        let failed = Failed { step: Step::Exec, errno: self.word.cast_signed() };
        let welcome = Welcome {
            version: self.small,
            pid: self.word,
            started_ns: self.long,
            attaches: self.word,
            shutting_down: self.flag,
        };
        let answers = [
            Answer::Done,
            Answer::Welcome(welcome),
            Answer::Started(started),
            Answer::Failed(failed),
            Answer::Refused(Refusal { errno: self.word.cast_signed() }),
        ];
        let wchan = &self.key[..self.key.len().min(WCHAN_BYTES_MAX)];
        let pids = Numbers::new(&self.numbers, "pids").unwrap();
        let source = PowerSource::Signal(self.small);
        let events = [
            Event::Exited { key, incarnation, end, emptied: self.flag },
            Event::Emptied { key, incarnation },
            Event::Stuck { key, incarnation, pids, wchan },
            Event::Power { kind: ShutdownKind::Halt, source },
        ];
        let run = RunEntry {
            key,
            incarnation,
            cgroup: "services/web.0",
            state: RunState::Ended { end, emptied: self.flag },
            pid: self.word,
            started_ns: self.long,
            stop_deadline_ns: self.flag.then_some(self.long),
            deadline_ns: (!self.flag).then_some(self.long),
        };
        let pages = [
            Page::Key(KeyEntry { key, incarnation_last: self.long, memo: &self.bytes }),
            Page::Run(run),
            Page::Kept(KeptEntry { name: &self.name }),
        ];
        let end = SnapshotEnd { keys: self.word, runs: 1, kept: 2 };
        let answers = answers.map(|answer| Message::Answer(self.long, answer));
        let mut messages = answers.to_vec();
        messages.extend(events.map(Message::Event));
        messages.extend(pages.map(Message::Page));
        messages.push(Message::SnapshotEnd(end));
        messages
    }

    /// Every frame there is, with whether it is a request.
    fn frames(&self) -> Vec<(Vec<u8>, bool)> {
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        let mut frames = Vec::new();
        for request in self.requests() {
            let length = request.encode(self.long, &mut buffer).unwrap();
            frames.push((buffer[..length].to_vec(), true));
        }
        for message in self.messages() {
            let length = message.encode(&mut buffer).unwrap();
            frames.push((buffer[..length].to_vec(), false));
        }
        frames
    }
}

/// Decodes as PID 1 does; the request is dropped, only its outcome counts.
fn decode_request(packet: &[u8]) -> Result<(), DecodeError> {
    let header = Header::decode(packet)?;
    Request::decode(&header, header.body(packet)?).map(drop)
}

fn decode(packet: &[u8], is_request: bool) -> Result<(), DecodeError> {
    if is_request { decode_request(packet) } else { Message::decode(packet).map(drop) }
}

proptest! {
    /// What is encoded is what is decoded, sequence and all.
    #[test]
    fn requests_come_back(material in material()) {
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        for request in material.requests() {
            let length = request.encode(material.long, &mut buffer).unwrap();
            let header = Header::decode(&buffer[..length]).unwrap();
            prop_assert_eq!(header.sequence, material.long);
            let body = header.body(&buffer[..length]).unwrap();
            prop_assert_eq!(Request::decode(&header, body).unwrap(), request);
        }
    }

    #[test]
    fn messages_come_back(material in material()) {
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        for message in material.messages() {
            let length = message.encode(&mut buffer).unwrap();
            prop_assert_eq!(Message::decode(&buffer[..length]).unwrap(), message);
        }
    }

    /// A spawn apart from its frame is the same spawn.
    #[test]
    fn spawns_come_back_from_a_memfd(material in material()) {
        let mut body = vec![0; FRAME_BYTES_MAX];
        let spawn = material.spawn();
        let (head, length) = spawn.encode_apart(material.long, &mut body).unwrap();
        let header = Header::decode(&head).unwrap();
        prop_assert_eq!(header.length as usize, length);
        let decoded = Request::decode(&header, &body[..length]).unwrap();
        prop_assert_eq!(decoded, Request::Spawn(spawn));
    }

    /// No frame decodes with bytes missing or added.
    #[test]
    fn cut_and_padded_frames_are_refused(
        material in material(),
        cut in any::<prop::sample::Index>(),
    ) {
        for (frame, is_request) in material.frames() {
            let end = cut.index(frame.len());
            prop_assert!(decode(&frame[..end], is_request).is_err());
            let padded = [frame.as_slice(), b"\0"].concat();
            prop_assert!(decode(&padded, is_request).is_err());
        }
    }

    /// A frame sent the wrong way never decodes.
    #[test]
    fn frames_have_a_direction(material in material()) {
        for (frame, is_request) in material.frames() {
            prop_assert!(matches!(decode(&frame, !is_request), Err(DecodeError::Kind(_))));
        }
    }

    /// Damaged frames are an error or another frame, never a panic, and what decodes encodes again.
    #[test]
    fn damaged_frames_do_not_panic(
        material in material(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        for (mut frame, _) in material.frames() {
            for (at, byte) in &damage {
                let at = at.index(frame.len());
                frame[at] = *byte;
            }
            let mut again = vec![0; FRAME_BYTES_MAX];
            if let Ok(message) = Message::decode(&frame) {
                message.encode(&mut again).unwrap();
            }
            let Ok(header) = Header::decode(&frame) else { continue };
            if let Some(Ok(request)) =
                header.body(&frame).ok().map(|body| Request::decode(&header, body))
            {
                request.encode(header.sequence, &mut again).unwrap();
            }
        }
    }

    /// Neither does noise.
    #[test]
    fn noise_does_not_panic(noise in vec(any::<u8>(), 0..512)) {
        let _ = decode_request(&noise);
        let _ = Message::decode(&noise);
    }
}

/// Caps hold on both sides: what may not be sent is not encoded, what was sent anyway is refused.
#[test]
fn caps_are_kept() {
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    let long_key = "k".repeat(KEY_BYTES_MAX + 1);
    for key in ["", "a/b", ".hidden", "with space", "ünicode", &long_key] {
        let request = Request::Set(Set { key, memo: b"" });
        request.encode(1, &mut buffer).expect_err(key);
    }
    let own_words = Request::Set(Set { key: "@app/web", memo: b"" });
    own_words.encode(1, &mut buffer).expect("it names no file");
    let memo = vec![0; MEMO_BYTES_MAX + 1];
    let request = Request::Set(Set { key: "key", memo: &memo });
    assert!(request.encode(1, &mut buffer).is_err());
    for signal in [0, 65] {
        let (key, scope) = ("key", Scope::Leader);
        let request = Request::Signal(Signal { key, incarnation: 1, scope, signal });
        assert!(request.encode(1, &mut buffer).is_err());
    }
    // By hand, since the encoder refuses: set, key "a/b", empty memo.
    let frame = [1, 5, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3, b'a', b'/', b'b', 0];
    assert_eq!(decode_request(&frame), Err(DecodeError::Field("key")));
}

/// The pid slot must be ten digits of the environment's own, ended by a NUL.
#[test]
fn the_pid_slot_lies_in_the_environment() {
    let environment = b"A=1\0LISTEN_PID=0000000000\0";
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    for (slot, fine) in [(15, true), (14, false), (16, false), (0, false), (u32::MAX, false)] {
        let material = Material {
            key: "web".into(),
            name: "n".into(),
            bytes: Vec::new(),
            strings: environment.to_vec(),
            numbers: Vec::new(),
            limits: Vec::new(),
            small: 0,
            word: 0,
            long: 1,
            flag: false,
        };
        let spawn = Spawn { pid_slot: Some(slot), ..material.spawn() };
        assert_eq!(Request::Spawn(spawn).encode(1, &mut buffer).is_ok(), fine, "{slot}");
    }
}
