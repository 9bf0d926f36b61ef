//! NARs against Debian's Nix: the same bytes out, the same bytes taken.
#![allow(missing_docs, clippy::unwrap_used)]

mod archive;
mod reference;

use archive::{sample, spell, tree};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use reference::{Reference, dump, expected};
use std::os::fd::AsFd;
use store::nar::{Reader, unpack};

/// Each case runs Nix three times or more.
fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    })
}

/// What Nix unpacks from our archive we dump as the same, and what we unpack Nix dumps as the same;
/// its hash of the tree is ours.
#[test]
fn trees_go_both_ways() {
    let nix = Reference::new();
    let parent = nix.open();
    let there_and_back = |bytes: &[u8]| {
        unpack(bytes, &expected(bytes), parent.as_fd(), "ours".as_ref()).unwrap();
        assert_eq!(nix.dump(&nix.path().join("ours")), bytes, "Nix dumps what we unpacked");
        assert!(nix.restore(bytes, &nix.path().join("theirs")), "Nix unpacks what we wrote");
        let (again, dumped) = dump(&parent, "theirs");
        assert_eq!(again, bytes, "we dump what Nix unpacked");
        let hash = nix.run_text("nix-hash", &["--type", "sha256", "--base32", "ours"]);
        assert_eq!(hash, dumped.hash.base32());
        for name in ["ours", "theirs"] {
            assert!(sys::tree::remove(parent.as_fd(), name.as_ref()).unwrap());
        }
    };
    there_and_back(&sample().nar());
    runner(24)
        .run(&tree(), |tree| {
            there_and_back(&tree.nar());
            Ok(())
        })
        .unwrap();
}

/// We accept an archive exactly if Nix unpacks it to a tree whose archive it is. So nothing that
/// Nix would hash differently gets in, and nothing that Nix makes is refused.
#[test]
fn we_accept_what_nix_would_write() {
    let nix = Reference::new();
    let judge = |bytes: &[u8]| {
        let ours = Reader::new(bytes, u64::try_from(bytes.len()).unwrap()).finish();
        let path = nix.path().join("theirs");
        // `( )` is nothing at all, and Nix is content with it.
        let theirs = nix.restore(bytes, &path)
            && path.symlink_metadata().is_ok()
            && nix.dump(&path) == bytes;
        assert_eq!(ours.is_ok(), theirs, "{ours:?}: {}", bytes.escape_ascii());
        let _ = sys::tree::remove(nix.open().as_fd(), "theirs".as_ref()).unwrap();
        theirs
    };
    for text in [
        "( )",
        "( type regular )",
        "( type regular contents )",
        "( type regular contents _ )",
        "( type regular contents a contents b )",
        "( type regular contents a executable _ )",
        "( type regular executable _ contents a )",
        "( type symlink target _ )",
        "( type directory )",
        "( type directory entry ( name a node ( type directory ) ) )",
        "( type directory entry ( node ( type directory ) name a ) )",
        "( type directory entry ( name . node ( type directory ) ) )",
        "( type directory entry ( name b node ( ) ) )",
    ] {
        judge(&spell(text));
    }
    let mutated = (tree(), any::<prop::sample::Index>(), any::<u8>(), any::<bool>());
    let accepted = std::cell::Cell::new(0);
    runner(48)
        .run(&mutated, |(tree, at, byte, cut)| {
            let mut bytes = tree.nar();
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at);
            } else {
                let at = mild(&bytes, at);
                bytes[at] = byte;
            }
            accepted.set(accepted.get() + u32::from(judge(&bytes)));
            Ok(())
        })
        .unwrap();
    assert!(accepted.get() < 48, "some were spoilt");
}

/// A byte to alter in the eight around `at`: any of a text, but only a low one of a length, since
/// Nix would take gigabytes of memory for a string before it finds that there are none.
fn mild(bytes: &[u8], at: usize) -> usize {
    let start = at / 8 * 8;
    let is_text = bytes[start + 3..start + 8].iter().any(|byte| *byte != 0);
    if is_text { at } else { start + at % 2 }
}
