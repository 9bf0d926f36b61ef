//! Archives for tests: small trees to draw, and words to put together against the grammar.
#![allow(dead_code, reason = "compiled into each test program, which uses a part of it")]
#![allow(missing_docs, reason = "no interface: the tests beside it are its readers")]
#![allow(clippy::unwrap_used, reason = "a panic is the test's verdict")]

use proptest::prelude::*;
use std::collections::BTreeMap;
use store::nar::{Event, Writer};

/// A tree as a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    File { executable: bool, contents: Vec<u8> },
    Symlink(Vec<u8>),
    Directory(BTreeMap<Vec<u8>, Tree>),
}

impl Tree {
    /// Its NAR, by our writer.
    pub fn nar(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        self.put(b"", &mut writer);
        let size = writer.finish().unwrap();
        assert_eq!(usize::try_from(size).unwrap(), bytes.len());
        bytes
    }

    fn put(&self, name: &[u8], writer: &mut Writer<&mut Vec<u8>>) {
        match self {
            Self::File { executable, contents } => {
                let size = u64::try_from(contents.len()).unwrap();
                writer.put(&Event::File { name, executable: *executable, size }).unwrap();
                contents.chunks(1000).for_each(|piece| writer.contents(piece).unwrap());
            }
            Self::Symlink(target) => writer.put(&Event::Symlink { name, target }).unwrap(),
            Self::Directory(entries) => {
                writer.put(&Event::Directory { name }).unwrap();
                entries.iter().for_each(|(name, tree)| tree.put(name, writer));
                writer.put(&Event::EndDirectory).unwrap();
            }
        }
    }

    pub fn nodes(&self) -> u64 {
        match self {
            Self::Directory(entries) => 1 + entries.values().map(Self::nodes).sum::<u64>(),
            _ => 1,
        }
    }
}

/// Names of any bytes that a name can have: not only UTF-8, and close to `.`, `..` and each other.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop_oneof![Just(b'.'), Just(b'a'), Just(0xff), (1..=255_u8)];
    prop::collection::vec(bytes, 1..6)
        .prop_filter("a name", |name| name != b"." && name != b".." && !name.contains(&b'/'))
}

pub fn tree() -> impl Strategy<Value = Tree> {
    let contents = prop::collection::vec(any::<u8>(), 0..40);
    let file = (any::<bool>(), contents)
        .prop_map(|(executable, contents)| Tree::File { executable, contents });
    let target = prop::collection::vec(1..=255_u8, 1..20);
    let symlink = target.prop_map(Tree::Symlink);
    prop_oneof![2 => file, 1 => symlink].prop_recursive(4, 24, 5, |inner| {
        prop::collection::btree_map(name(), inner, 0..5).prop_map(Tree::Directory)
    })
}

/// Words of an archive, each as it stands in one.
pub fn words(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in words {
        bytes.extend(u64::try_from(word.len()).unwrap().to_le_bytes());
        bytes.extend(*word);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes
}

/// An archive from its words, separated by spaces; `_` is the empty word.
pub fn spell(text: &str) -> Vec<u8> {
    let all: Vec<&[u8]> = std::iter::once("nix-archive-1")
        .chain(text.split_ascii_whitespace())
        .map(|word| if word == "_" { "" } else { word }.as_bytes())
        .collect();
    words(&all)
}

/// A tree with one of everything.
pub fn sample() -> Tree {
    let file = |executable, contents: &[u8]| Tree::File { executable, contents: contents.to_vec() };
    let entries = |entries: Vec<(&[u8], Tree)>| {
        Tree::Directory(entries.into_iter().map(|(name, tree)| (name.to_vec(), tree)).collect())
    };
    let bin = entries(vec![(b"serve", file(true, b"#!/bin/sh\n")), (b"empty", file(false, b""))]);
    entries(vec![
        (b"bin", bin),
        (b"away", Tree::Symlink(b"/etc/passwd".to_vec())),
        (b"upwards", Tree::Symlink(b"../../../etc/shadow".to_vec())),
        (b"nothing", entries(vec![])),
        (b"eight", file(false, b"12345678")),
        (b"\xff\n", file(false, b"name of bytes")),
    ])
}
