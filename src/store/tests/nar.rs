//! NARs: what is refused, what is unpacked, what is left behind.
#![allow(missing_docs, clippy::unwrap_used)]

mod archive;
mod reference;

use archive::{Tree, sample, spell, tree, words};
use proptest::prelude::*;
use reference::{dump, expected};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use store::hash::Sha256;
use store::nar::{
    DEPTH_MAX, Event, Expected, NAME_BYTES_MAX, NarError, Reader, TARGET_BYTES_MAX, UnpackError,
    unpack,
};

/// Reads all of `bytes` as an archive of as many bytes; the events, contents merged.
fn read(bytes: &[u8]) -> Result<Vec<String>, NarError> {
    let mut reader = Reader::new(bytes, u64::try_from(bytes.len()).unwrap());
    let mut events = Vec::new();
    while let Some(event) = reader.next_event()? {
        events.push(format!("{event:?}"));
    }
    Ok(events)
}

type Entries = BTreeMap<Vec<u8>, Tree>;

/// Reads an archive back into a tree.
fn build(bytes: &[u8], most: usize) -> Result<Tree, NarError> {
    let input = Drip { bytes, most };
    let mut reader = Reader::new(input, u64::try_from(bytes.len()).unwrap());
    let mut open: Vec<(Vec<u8>, Entries)> = vec![(vec![], Entries::new())];
    while let Some(event) = reader.next_event()? {
        let (name, tree) = match event {
            Event::Directory { name } => {
                open.push((name.to_vec(), Entries::new()));
                continue;
            }
            Event::EndDirectory => {
                let (name, entries) = open.pop().unwrap();
                (name, Tree::Directory(entries))
            }
            Event::Symlink { name, target } => (name.to_vec(), Tree::Symlink(target.to_vec())),
            Event::File { name, executable, size } => {
                let (name, mut contents) = (name.to_vec(), Vec::new());
                loop {
                    let piece = reader.contents()?;
                    if piece.is_empty() {
                        break;
                    }
                    contents.extend(piece);
                }
                assert_eq!(u64::try_from(contents.len()).unwrap(), size);
                (name, Tree::File { executable, contents })
            }
        };
        open.last_mut().unwrap().1.insert(name, tree);
    }
    Ok(open.pop().unwrap().1.remove(&vec![]).unwrap())
}

/// Gives at most `most` bytes a read, as a channel or a socket may.
struct Drip<'bytes> {
    bytes: &'bytes [u8],
    most: usize,
}

impl Read for Drip<'_> {
    fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
        let most = self.most.min(place.len());
        self.bytes.read(&mut place[..most])
    }
}

struct Place {
    directory: tempfile::TempDir,
    open: OwnedFd,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let open = sys::tree::open_path(directory.path()).unwrap();
        Self { directory, open }
    }

    fn unpack(&self, input: impl Read, expected: &Expected) -> Result<(), UnpackError> {
        unpack(input, expected, self.open.as_fd(), "x.part".as_ref()).map(|_| ())
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

proptest! {
    /// What is written reads back, however small the pieces in which it comes.
    #[test]
    fn archives_read_back(tree in tree(), most in 1..30_usize) {
        prop_assert_eq!(build(&tree.nar(), most).unwrap(), tree);
    }

    /// On the disk and back: the dump of what was unpacked is the archive, bit for bit; the hash
    /// and the number of inodes are told.
    #[test]
    fn trees_unpack_and_dump(tree in tree(), most in 1..2000_usize) {
        let (place, bytes) = (Place::new(), tree.nar());
        let input = Drip { bytes: &bytes, most };
        let summary =
            unpack(input, &expected(&bytes), place.open.as_fd(), "x.part".as_ref()).unwrap();
        prop_assert_eq!(summary.nodes, tree.nodes());
        prop_assert_eq!(summary.hash, Sha256::of(&bytes));
        let (again, dumped) = dump(&place.open, "x.part");
        prop_assert_eq!(&again, &bytes);
        prop_assert_eq!(dumped.hash, summary.hash);
        prop_assert_eq!(dumped.size, summary.size);
        prop_assert!(sys::tree::remove(place.open.as_fd(), "x.part".as_ref()).unwrap());
        prop_assert!(place.names().is_empty());
    }

    /// No bytes make the reader panic, and what it accepts is the one archive of its tree.
    #[test]
    fn reading_is_total(tree in tree(), at: prop::sample::Index, byte: u8, noise: Vec<u8>) {
        let mut bytes = tree.nar();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        for bytes in [bytes, [spell("( type regular contents"), noise].concat()] {
            if let Ok(tree) = build(&bytes, 100) {
                prop_assert_eq!(tree.nar(), bytes);
            }
        }
    }
}

#[test]
fn every_cut_and_every_flip_is_refused_and_leaves_nothing() {
    let (place, bytes) = (Place::new(), sample().nar());
    let whole = expected(&bytes);
    for length in 0..bytes.len() {
        let error = place.unpack(&bytes[..length], &whole).unwrap_err();
        assert!(matches!(error, UnpackError::Nar(NarError::Truncated { .. })), "{length}: {error}");
        assert!(place.names().is_empty(), "cut at {length}: {:?}", place.names());
    }
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        place.unpack(bytes.as_slice(), &whole).unwrap_err();
        assert!(place.names().is_empty(), "flip at {at}: {:?}", place.names());
    }
    place.unpack(bytes.as_slice(), &whole).unwrap();
    assert_eq!(place.names(), ["x.part"]);
}

#[test]
fn another_archive_is_refused_by_its_hash() {
    let (place, bytes) = (Place::new(), sample().nar());
    let other = Expected { hash: Sha256::of(b"other"), ..expected(&bytes) };
    match place.unpack(bytes.as_slice(), &other).unwrap_err() {
        UnpackError::Hash { expected, found } => {
            assert_eq!((expected, found), (other.hash, Sha256::of(&bytes)));
        }
        error => panic!("{error}"),
    }
    assert!(place.names().is_empty());
}

#[test]
fn the_size_is_exact() {
    let (place, bytes) = (Place::new(), sample().nar());
    let right = expected(&bytes);
    let with_size = |size| Expected { size, ..right };
    let error = place.unpack(bytes.as_slice(), &with_size(right.size - 8)).unwrap_err();
    assert!(matches!(error, UnpackError::Nar(NarError::TooLong { .. })), "{error}");
    let error = place.unpack(bytes.as_slice(), &with_size(right.size + 8)).unwrap_err();
    assert!(matches!(error, UnpackError::Nar(NarError::TooShort { .. })), "{error}");
    let longer = [bytes.as_slice(), &[0]].concat();
    for size in [right.size, right.size + 1] {
        let error = place.unpack(longer.as_slice(), &with_size(size)).unwrap_err();
        assert!(matches!(error, UnpackError::Nar(NarError::Trailing { .. })), "{error}");
    }
    let error = place.unpack(bytes.as_slice(), &with_size(0)).unwrap_err();
    assert!(matches!(error, UnpackError::Nar(NarError::TooLong { .. })), "{error}");
    assert!(place.names().is_empty());
}

/// An archive that goes on for ever: of a decompressor that could fill the disk no more is taken
/// than the signed size and one byte.
#[test]
fn a_bomb_is_not_even_read() {
    struct Bomb<'taken> {
        start: &'taken [u8],
        taken: &'taken std::cell::Cell<u64>,
    }
    impl Read for Bomb<'_> {
        fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
            let length = self.start.read(place)?;
            let length = if length == 0 { place.len() } else { length };
            self.taken.set(self.taken.get() + u64::try_from(length).unwrap());
            Ok(length)
        }
    }
    let (place, taken) = (Place::new(), std::cell::Cell::new(0));
    let bomb = |start| Bomb { start, taken: &taken };
    // Its file's length is a lie that fits into no size.
    let huge = [spell("( type regular contents"), u64::MAX.to_le_bytes().to_vec()].concat();
    // Its file ends within the size, and zeros follow for ever.
    let file = spell("( type regular contents hello ) ");
    // Zeros for ever where entries are due.
    let entries = spell("( type directory");
    for (start, size) in [(&huge, 1 << 20), (&file, 1 << 20), (&entries, 4096), (&huge, 100)] {
        taken.set(0);
        let wanted = Expected { hash: Sha256::of(b""), size };
        place.unpack(bomb(start), &wanted).unwrap_err();
        assert!(taken.get() <= size + 1, "took {} of {size} bytes", taken.get());
        assert!(place.names().is_empty());
    }
}

/// A file that says to be longer than what can still come is refused at its length, before a byte
/// of it is written.
#[test]
fn a_length_that_cannot_come_is_refused_at_once() {
    let mut bytes = spell("( type regular contents");
    let at = u64::try_from(bytes.len()).unwrap() + 8;
    bytes.extend(1000_u64.to_le_bytes());
    bytes.resize(bytes.len() + 900, 0);
    let size = u64::try_from(bytes.len()).unwrap();
    let error = Reader::new(bytes.as_slice(), size).next_event().unwrap_err();
    assert!(matches!(error, NarError::TooLong { at: found, .. } if found == at), "{error}");
}

fn entry(name: &[u8]) -> Vec<u8> {
    let all: [&[u8]; 12] = [
        b"entry",
        b"(",
        b"name",
        name,
        b"node",
        b"(",
        b"type",
        b"regular",
        b"contents",
        b"",
        b")",
        b")",
    ];
    words(&all)
}

fn directory(entries: &[Vec<u8>]) -> Vec<u8> {
    [spell("( type directory"), entries.concat(), words(&[b")"])].concat()
}

#[test]
fn names_are_one_step() {
    for name in [
        &b""[..],
        b".",
        b"..",
        b"/",
        b"a/b",
        b"../x",
        b"/etc/passwd",
        b"a\0b",
        b"\0",
        b"a/",
        b"./a",
    ] {
        let place = Place::new();
        let bytes = directory(&[entry(name)]);
        let error = place.unpack(bytes.as_slice(), &expected(&bytes)).unwrap_err();
        assert!(matches!(error, UnpackError::Nar(NarError::Name { .. })), "{name:?}: {error}");
        assert!(place.names().is_empty());
    }
    assert!(
        read(&directory(&[entry(b"..."), entry(b"...a"), entry(b"..a"), entry(b".a")])).is_ok()
    );
    let longest = vec![b'x'; NAME_BYTES_MAX];
    assert!(read(&directory(&[entry(&longest)])).is_ok());
    let longer = vec![b'x'; NAME_BYTES_MAX + 1];
    let error = read(&directory(&[entry(&longer)])).unwrap_err();
    assert!(matches!(error, NarError::Length { length: 256, most: 255, .. }), "{error}");
}

#[test]
fn entries_are_in_order() {
    for (first, second) in [("b", "a"), ("a", "a"), ("aa", "a"), ("a", "B"), ("\u{e9}", "e")] {
        let bytes = directory(&[entry(first.as_bytes()), entry(second.as_bytes())]);
        let error = read(&bytes).unwrap_err();
        assert!(matches!(error, NarError::Order { .. }), "{first} {second}: {error}");
    }
    // Each directory has an order of its own.
    let inner = "entry ( name a node ( type directory entry ( name z node ( type directory ) ) ) )";
    let bytes =
        spell(&format!("( type directory {inner} entry ( name b node ( type directory ) ) )"));
    assert_eq!(read(&bytes).unwrap().len(), 8);
}

/// A symlink and then a directory of the same name, with a file in it: followed, the file would be
/// written outside.
#[test]
fn nothing_is_written_through_a_symlink() {
    let place = Place::new();
    let outside = place.directory.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let target = outside.to_str().unwrap();
    let link = format!("entry ( name a node ( type symlink target {target} ) )");
    let through = "entry ( name a node ( type directory \
                   entry ( name evil node ( type regular contents _ ) ) ) )";
    let bytes = spell(&format!("( type directory {link} {through} )"));
    let error = place.unpack(bytes.as_slice(), &expected(&bytes)).unwrap_err();
    assert!(matches!(error, UnpackError::Nar(NarError::Order { .. })), "{error}");
    assert_eq!(place.names(), ["outside"]);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    // And the writer of files by itself, without the reader's order: the kernel refuses.
    std::os::unix::fs::symlink(target, place.directory.path().join("a")).unwrap();
    let parent = place.open.as_fd();
    let refused = |error: io::Error| error.raw_os_error().unwrap();
    let (eexist, eloop, enotdir) = (17, 40, 20);
    assert_eq!(refused(sys::tree::make_directory(parent, "a".as_ref()).unwrap_err()), eexist);
    assert_eq!(refused(sys::tree::make_file(parent, "a".as_ref()).unwrap_err()), eexist);
    let error = refused(sys::tree::open_directory(parent, "a".as_ref()).unwrap_err());
    assert!([eloop, enotdir].contains(&error), "{error}");
    assert!(sys::tree::remove(parent, "a".as_ref()).unwrap());
    assert!(outside.is_dir(), "the link was removed, not what it points to");
}

#[test]
fn the_grammar_is_exact() {
    let good = "( type regular contents hello )";
    assert_eq!(read(&spell(good)).unwrap().len(), 1);
    for text in [
        "",
        "(",
        "( )",
        "type regular contents hello",
        "( type )",
        "( type fifo )",
        "( type regular )",
        "( type regular contents )",
        "( type regular executable contents hello )",
        "( type regular executable x contents hello )",
        "( type regular executable _ )",
        "( type regular executable _ executable _ contents hello )",
        "( type regular contents hello executable _ )",
        "( type regular contents hello contents hello )",
        "( contents hello type regular )",
        "( type regular type regular contents hello )",
        "( type symlink )",
        "( type symlink contents hello )",
        "( type symlink target a target b )",
        "( type directory entry )",
        "( type directory entry ( ) )",
        "( type directory entry ( name a ) )",
        "( type directory entry ( name a node ) )",
        "( type directory entry ( node ( type directory ) name a ) )",
        "( type directory entry ( name a name b node ( type directory ) ) )",
        "( type directory entry ( name a node ( type directory ) )",
        "( type directory contents hello )",
        "( type regular contents hello ) )",
        "( type directory-and-more )",
    ] {
        let error = read(&spell(text)).unwrap_err();
        let length = u64::try_from(spell(text).len()).unwrap();
        assert!(error.to_string().starts_with("NAR at byte "), "{error}");
        let at: u64 = error.to_string()[12..].split(':').next().unwrap().parse().unwrap();
        assert!(at <= length, "{text}: {error}");
    }
    let magic = spell(good).replace_first(b"nix-archive-1", b"nix-archive-2");
    assert!(matches!(read(&magic), Err(NarError::Grammar { at: 0, .. })));
    assert!(matches!(read(b""), Err(NarError::TooLong { at: 0, size: 0 })));
}

trait ReplaceFirst {
    fn replace_first(&self, from: &[u8], to: &[u8]) -> Vec<u8>;
}

impl ReplaceFirst for Vec<u8> {
    fn replace_first(&self, from: &[u8], to: &[u8]) -> Vec<u8> {
        let at = self.windows(from.len()).position(|window| window == from).unwrap();
        [&self[..at], to, &self[at + from.len()..]].concat()
    }
}

#[test]
fn padding_is_zero() {
    let bytes = sample().nar();
    // Behind `(`, behind contents, behind a name: bytes that no string covers.
    for (word, offset) in [(&b"("[..], 3), (b"#!/bin/sh\n", 4), (b"eight", 2), (b"/etc/passwd", 1)]
    {
        let at = bytes.windows(word.len()).position(|window| window == word).unwrap();
        let mut bytes = bytes.clone();
        bytes[at + word.len() + offset - 1] = 1;
        let error = read(&bytes).unwrap_err();
        assert!(matches!(error, NarError::Padding { .. }), "{word:?}: {error}");
    }
}

#[test]
fn targets_have_bounds_and_no_nul() {
    let link = |target: &[u8]| {
        words(&[b"nix-archive-1", b"(", b"type", b"symlink", b"target", target, b")"])
    };
    assert!(read(&link(&[b'x'; TARGET_BYTES_MAX])).is_ok());
    let error = read(&link(&[b'x'; TARGET_BYTES_MAX + 1])).unwrap_err();
    assert!(matches!(error, NarError::Length { .. }), "{error}");
    for target in [&b""[..], b"a\0b", b"\0"] {
        assert!(matches!(read(&link(target)), Err(NarError::Target { .. })));
    }
}

/// Deep is possible to the cap, on the disk too; one more is refused, and what was made is removed.
#[test]
fn depth_has_a_bound() {
    let nested = |levels: usize| {
        let inner = "( type directory entry ( name d node ".repeat(levels - 1);
        spell(&format!("{inner} ( type directory {}", ") ) ".repeat(levels - 1) + ")"))
    };
    let place = Place::new();
    let bytes = nested(DEPTH_MAX + 1);
    let error = place.unpack(bytes.as_slice(), &expected(&bytes)).unwrap_err();
    assert!(matches!(error, UnpackError::Nar(NarError::Depth { .. })), "{error}");
    assert!(place.names().is_empty());
    let bytes = nested(DEPTH_MAX);
    place.unpack(bytes.as_slice(), &expected(&bytes)).unwrap();
    let (again, _) = dump(&place.open, "x.part");
    assert_eq!(again, bytes);
    assert!(sys::tree::remove(place.open.as_fd(), "x.part".as_ref()).unwrap());
    assert!(place.names().is_empty());
}

fn facts(path: &Path) -> (u32, i64) {
    let facts = std::fs::symlink_metadata(path).unwrap();
    (facts.permissions().mode() & 0o7777, facts.mtime())
}

/// As Nix leaves store paths: nobody may write, everything is from 1970-01-01 00:00:01, links say
/// what they said.
#[test]
fn what_comes_out_is_canonical() {
    let (place, bytes) = (Place::new(), sample().nar());
    place.unpack(bytes.as_slice(), &expected(&bytes)).unwrap();
    let root = place.directory.path().join("x.part");
    for (name, mode) in [
        ("", 0o555),
        ("bin", 0o555),
        ("bin/serve", 0o555),
        ("bin/empty", 0o444),
        ("nothing", 0o555),
        ("eight", 0o444),
    ] {
        assert_eq!(facts(&root.join(name)), (mode, 1), "{name}");
    }
    let link = |name: &str| std::fs::read_link(root.join(name)).unwrap();
    assert_eq!(link("away"), Path::new("/etc/passwd"));
    assert_eq!(link("upwards"), Path::new("../../../etc/shadow"));
    assert_eq!(facts(&root.join("away")).1, 1);
    assert_eq!(std::fs::read(root.join("eight")).unwrap(), b"12345678");
    // A path may also be one file or one link.
    for tree in [
        Tree::File { executable: true, contents: vec![1; 100_000] },
        Tree::Symlink(b"/nix/store/x".to_vec()),
    ] {
        sys::tree::remove(place.open.as_fd(), "x.part".as_ref()).unwrap();
        let bytes = tree.nar();
        place.unpack(bytes.as_slice(), &expected(&bytes)).unwrap();
        assert_eq!(dump(&place.open, "x.part").0, bytes);
        assert_eq!(facts(&root).1, 1);
    }
}

/// Whatever has the staging name already is somebody else's: refused, and left as it was.
#[test]
fn what_is_there_already_stays() {
    for (index, tree) in [
        sample(),
        Tree::File { executable: false, contents: b"new".to_vec() },
        Tree::Symlink(b"new".to_vec()),
    ]
    .iter()
    .enumerate()
    {
        let (place, bytes) = (Place::new(), tree.nar());
        std::fs::write(place.directory.path().join("x.part"), "old").unwrap();
        match place.unpack(bytes.as_slice(), &expected(&bytes)).unwrap_err() {
            UnpackError::File { source, .. } => {
                assert_eq!(source.kind(), io::ErrorKind::AlreadyExists);
            }
            error => panic!("{index}: {error}"),
        }
        let left = std::fs::read(place.directory.path().join("x.part")).unwrap();
        assert_eq!(left, b"old", "{index}");
    }
}

/// An input that fails in the middle, as a download does: its own words come through.
#[test]
fn a_failing_input_leaves_nothing() {
    struct Broken<'bytes>(&'bytes [u8]);
    impl Read for Broken<'_> {
        fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
            match self.0.read(place)? {
                0 => Err(io::Error::new(io::ErrorKind::ConnectionReset, "cache went away")),
                length => Ok(length),
            }
        }
    }
    let (place, bytes) = (Place::new(), sample().nar());
    for length in (0..bytes.len()).step_by(8) {
        let error = place.unpack(Broken(&bytes[..length]), &expected(&bytes)).unwrap_err();
        assert!(error.to_string().contains("cache went away"), "{error}");
        assert!(place.names().is_empty());
    }
}

/// After an error the reader stays at it; contents that nobody reads are hashed all the same.
#[test]
fn a_reader_does_not_go_on_after_an_error() {
    let bytes = spell("( type fifo )");
    let mut reader = Reader::new(bytes.as_slice(), u64::try_from(bytes.len()).unwrap());
    assert!(matches!(reader.next_event(), Err(NarError::Grammar { .. })));
    assert!(matches!(reader.next_event(), Err(NarError::Stopped { .. })));
    assert!(matches!(reader.contents(), Err(NarError::Stopped { .. })));
    let bytes = sample().nar();
    let reader = Reader::new(bytes.as_slice(), u64::try_from(bytes.len()).unwrap());
    let summary = reader.finish().unwrap();
    assert_eq!((summary.hash, summary.nodes), (Sha256::of(&bytes), sample().nodes()));
}

#[test]
fn what_a_nar_has_no_word_for_is_not_dumped() {
    let place = Place::new();
    let socket = place.directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let error = store::nar::dump(place.open.as_fd(), "socket".as_ref(), io::sink()).unwrap_err();
    assert!(error.to_string().contains("`socket` is neither"), "{error}");
    let error = store::nar::dump(place.open.as_fd(), "absent".as_ref(), io::sink()).unwrap_err();
    assert!(error.to_string().contains("look at `absent`"), "{error}");
}
