//! Registration: a fresh store's database from what Nix says about a closure.
//!
//! Read are the three texts in which Nix tells a closure, all of lines, one path after the other:
//!
//! * `exportReferencesGraph`: path, deriver or nothing, count of references, references;
//! * `closureInfo`'s `registration` and `nix-store --dump-db`: path, hash, size of the NAR, deriver
//!   or nothing, count, references.
//!
//! Hashes are taken from the trees, also where the text has them: then they must agree.

use crate::database::PathInfo;
use crate::error::{Error, Fault, Result, Step};
use crate::fetch::dump_fault;
use crate::hash::Sha256;
use crate::nar;
use crate::path::StorePath;
use crate::store::{Layout, Store};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

/// Bytes of a registration text at most: 100,000 paths with 10 references each have some 80 MB.
pub const TEXT_BYTES_MAX: u64 = 256 << 20;

/// The registration time of every path of an image: the same inputs give the same bytes.
pub const REGISTRATION_TIME_S: u64 = 1;

/// One path as the text tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The path.
    pub path: StorePath,
    /// Hash and size of its NAR, if told.
    pub nar: Option<(Sha256, u64)>,
    /// What it was built from.
    pub deriver: Option<StorePath>,
    /// What it refers to.
    pub references: Vec<StorePath>,
}

/// Reads a text; `name` is for messages. A path that stands there twice must say the same.
///
/// # Errors
/// It is not such a text.
pub fn parse(name: &str, text: &str) -> Result<Vec<Registration>> {
    let mut lines = Lines { lines: text.lines(), number: 0 };
    let mut found: BTreeMap<StorePath, Registration> = BTreeMap::new();
    while let Some(first) = lines.lines.next() {
        lines.number += 1;
        let one = entry(first, &mut lines)
            .map_err(|what| Error::new(Step::Register, name, lines.fault(what)))?;
        let known = found.entry(one.path.clone()).or_insert_with(|| one.clone());
        if *known != one {
            let what = format!("{} stands there twice, with different words", one.path);
            return Err(Error::new(Step::Register, name, lines.fault(what)));
        }
    }
    Ok(found.into_values().collect())
}

struct Lines<'text> {
    lines: std::str::Lines<'text>,
    number: usize,
}

impl<'text> Lines<'text> {
    fn next(&mut self, what: &str) -> std::result::Result<&'text str, String> {
        self.number += 1;
        self.lines.next().ok_or_else(|| format!("the text ends where {what} is due"))
    }

    const fn fault(&self, what: String) -> Fault {
        Fault::Registration { line: self.number, what }
    }
}

fn entry(first: &str, lines: &mut Lines<'_>) -> std::result::Result<Registration, String> {
    let path: StorePath = first.parse().map_err(|error| format!("{error}"))?;
    let mut second = lines.next("a deriver or a hash")?;
    let mut nar = None;
    if !second.is_empty() && !second.starts_with('/') {
        let hash =
            if second.contains(':') { second.to_owned() } else { format!("sha256:{second}") };
        let hash = Sha256::parse(hash.as_bytes()).map_err(|error| format!("{error}"))?;
        let size = lines.next("the size of the NAR")?;
        let size = size.parse().map_err(|_| format!("`{size}` is not the size of a NAR"))?;
        nar = Some((hash, size));
        second = lines.next("a deriver")?;
    }
    let deriver = match second {
        "" => None,
        text => Some(text.parse().map_err(|error| format!("deriver: {error}"))?),
    };
    let count = lines.next("the count of references")?;
    let count: usize = count.parse().map_err(|_| format!("`{count}` is not a count"))?;
    let mut references = Vec::new();
    for _ in 0..count {
        let reference = lines.next("a reference")?;
        references.push(reference.parse().map_err(|error| format!("reference: {error}"))?);
    }
    references.sort();
    references.dedup();
    Ok(Registration { path, nar, deriver, references })
}

/// Makes the database of a fresh store under `root`, whose `nix/store` holds the trees of all
/// `paths`. The same trees and texts give the same bytes.
///
/// # Errors
/// A tree is not there, is not what the text says, or refers to what is not registered; or there is
/// a database already.
pub fn make_store(root: &Path, paths: &[Registration]) -> Result<()> {
    let layout = Layout::new(root);
    let mut infos = Vec::with_capacity(paths.len());
    for one in paths {
        infos.push(hashed(&layout, one)?);
    }
    Store::create(root)?.database().register(&infos, REGISTRATION_TIME_S)?;
    Ok(())
}

fn hashed(layout: &Layout, one: &Registration) -> Result<PathInfo> {
    let folder = layout.store();
    let parent = sys::tree::open_path(&folder).map_err(Error::io(Step::Register, &folder))?;
    let dumped = nar::dump(parent.as_fd(), one.path.base_name().as_ref(), std::io::sink())
        .map_err(|error| Error::new(Step::Register, &one.path, dump_fault(error)))?;
    match one.nar {
        Some((expected, _)) if expected != dumped.hash => {
            let fault = Fault::WrongHash { expected, found: dumped.hash };
            return Err(Error::new(Step::Register, &one.path, fault));
        }
        _ => {}
    }
    Ok(PathInfo {
        path: one.path.clone(),
        nar_hash: dumped.hash,
        nar_size: dumped.size,
        references: one.references.clone(),
        deriver: one.deriver.clone(),
        signatures: Vec::new(),
        content_address: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-a";
    const B: &str = "/nix/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-b";

    fn path(text: &str) -> StorePath {
        text.parse().expect("a store path")
    }

    #[test]
    fn both_texts_are_read_and_told_apart() {
        let graph = format!("{A}\n\n2\n{B}\n{A}\n{B}\n{A}.drv\n0\n");
        let read = parse("graph", &graph).expect("a text");
        assert_eq!(read.len(), 2);
        assert_eq!((&read[0].path, &read[0].nar, &read[0].deriver), (&path(A), &None, &None));
        assert_eq!(read[0].references, [path(A), path(B)]);
        assert_eq!(read[1].deriver, Some(path(&format!("{A}.drv"))));

        let hex = Sha256::of(b"x").hex();
        let base32 = Sha256::of(b"x");
        for hash in [hex, base32.to_string()] {
            let dump = format!("{A}\n{hash}\n120\n\n1\n{A}\n");
            let read = parse("dump", &dump).expect("a text");
            assert_eq!(read[0].nar, Some((base32, 120)));
        }
    }

    #[test]
    fn what_is_cut_or_contradicts_itself_is_refused_with_its_line() {
        let whole = format!("{A}\n\n1\n{B}\n");
        for lines in 1..4 {
            let cut: String = whole.split_inclusive('\n').take(lines).collect();
            let error = parse("text", &cut).expect_err("cut").to_string();
            assert!(error.contains(&format!("line {}", lines + 1)), "{error}");
        }
        let twice = format!("{A}\n\n0\n{A}\n\n1\n{A}\n");
        assert!(parse("text", &twice).expect_err("two words").to_string().contains("twice"));
        assert!(parse("text", "nonsense\n").is_err());
        assert_eq!(parse("text", "").expect("nothing"), []);
    }
}
