//! `replay`: the fuzzers' corpus, for the tests of everybody's build.
//!
//! Is: the files of a target's corpus, each whole, cut anywhere and with bytes damaged. May touch:
//! `fuzz/corpus`, to read. Never: be linked into anything that ships; know what a file means.
//!
//! What a fuzzer once found stays in the corpus, so it is looked at on stable and without a fuzzer.
//! Everything here panics where a test has to fail: a corpus that is not there proves nothing.

use std::path::{Path, PathBuf};

/// A file of a corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// What it is called.
    pub name: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// The folder of a target's corpus.
#[must_use]
pub fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

/// The files of a target's corpus, in the order of their names.
///
/// # Panics
/// There is none.
#[must_use]
pub fn seeds(target: &str) -> Vec<Seed> {
    let folder = folder(target);
    let read = || -> std::io::Result<Vec<Seed>> {
        let file = |entry: std::io::Result<std::fs::DirEntry>| {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            Ok(Seed { name, bytes: std::fs::read(entry.path())? })
        };
        std::fs::read_dir(&folder)?.map(file).collect()
    };
    let mut seeds = read().unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    assert!(!seeds.is_empty(), "{} is empty", folder.display());
    seeds.sort_by(|one, other| one.name.cmp(&other.name));
    seeds
}

/// The names of those files of a target's corpus that `look` understands.
pub fn understood(target: &str, look: impl Fn(&[u8]) -> bool) -> Vec<String> {
    let seeds = seeds(target).into_iter();
    seeds.filter(|seed| look(&seed.bytes)).map(|seed| seed.name).collect()
}

/// The same, after `look` was also shown each file spoiled, as [`spoil`] does.
pub fn understood_unspoiled(
    target: &str,
    values: &[u8],
    look: impl Fn(&[u8]) -> bool,
) -> Vec<String> {
    for seed in seeds(target) {
        spoil(&seed.bytes, values, |bytes| {
            look(bytes);
        });
    }
    understood(target, look)
}

/// Calls `look` with every cut of the bytes, and with every byte in turn set to each of `values`.
pub fn spoil(bytes: &[u8], values: &[u8], look: impl Fn(&[u8])) {
    let mut damaged = bytes.to_vec();
    for (at, whole) in bytes.iter().enumerate() {
        look(&bytes[..at]);
        for value in values {
            damaged[at] = *value;
            look(&damaged);
        }
        damaged[at] = *whole;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Each cut once, and at each byte each value once, with all else as it was.
    #[test]
    fn what_is_spoiled() {
        let seen = RefCell::new(Vec::new());
        spoil(b"ab", b"xy", |bytes| {
            seen.borrow_mut().push(String::from_utf8(bytes.to_vec()).expect("text"));
        });
        assert_eq!(seen.into_inner(), ["", "xb", "yb", "a", "ax", "ay"]);
    }

    #[test]
    fn every_corpus_is_found_in_order() {
        let all = std::fs::read_dir(folder("")).expect("the corpora");
        for entry in all {
            let target = entry.expect("an entry").file_name().into_string().expect("a name");
            let names = understood(&target, |_| true);
            assert!(names.is_sorted() && names.len() == seeds(&target).len(), "{target}");
            assert!(understood_unspoiled(&target, &[], |_| false).is_empty());
        }
    }
}
