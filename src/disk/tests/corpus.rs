//! The fuzzers' corpus as a plain test: what was found once is looked at by everybody's build.
//! Seeds are what mke2fs, mkfs.xfs, mkfs.btrfs, mkfs.vfat, mkswap and sfdisk wrote; what a fuzzer
//! adds may be nothing that is known, but must not panic.
#![allow(missing_docs, clippy::unwrap_used)]

use disk::{content, superblock, table};

#[test]
fn superblocks_of_the_corpus() {
    let understood = replay::understood("superblock", |bytes| {
        content::look(bytes, bytes.len() as u64).unwrap();
        let found = superblock::probe(bytes, bytes.len() as u64).unwrap();
        assert!(!found.iter().any(|found| found.to_string().contains(char::is_control)));
        !found.is_empty()
    });
    assert!(understood.len() >= 5, "{understood:?}");
}

#[test]
fn partition_tables_of_the_corpus() {
    let understood = replay::understood("partition_table", |bytes| {
        let read = |sector| table::read(bytes, sector, bytes.len() as u64 / sector);
        read(512).or(read(4096)).is_some()
    });
    assert!(understood.len() >= 2, "{understood:?}");
}
