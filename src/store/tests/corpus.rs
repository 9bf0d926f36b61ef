//! The fuzzers' corpus as a plain test: what was found once is looked at by everybody's build.
//! Seeds are well-formed; what a fuzzer adds may be refused, but must not panic, and what is
//! accepted must come back from our own writing, byte for byte (NARs) or as the same (narinfos).
#![allow(missing_docs, clippy::unwrap_used)]

use store::nar::{Event, NarError, Reader, Writer};
use store::narinfo::NarInfo;
use store::path::StorePath;

/// The archive that our writer makes of the events of `bytes`.
fn rewrite(bytes: &[u8]) -> Result<Vec<u8>, NarError> {
    let mut reader = Reader::new(bytes, u64::try_from(bytes.len()).unwrap());
    let mut again = Vec::new();
    let mut writer = Writer::new(&mut again);
    while let Some(event) = reader.next_event()? {
        writer.put(&event).unwrap();
        if let Event::File { .. } = event {
            loop {
                let piece = reader.contents()?;
                if piece.is_empty() {
                    break;
                }
                writer.contents(piece).unwrap();
            }
        }
    }
    writer.finish().unwrap();
    Ok(again)
}

#[test]
fn archives_of_the_corpus() {
    let understood = replay::understood("nar", |bytes| {
        let Ok(again) = rewrite(bytes) else { return false };
        assert_eq!(again, bytes);
        true
    });
    assert!(understood.len() >= 6, "file, executable, symlink, directory, empty ones, Nix's own");
}

#[test]
fn narinfos_of_the_corpus() {
    let asked: StorePath = "/nix/store/2c9p07z77phvv2hf6gm9f28syp39f1ag-web-1.9.3".parse().unwrap();
    let understood = replay::understood("narinfo", |bytes| {
        let Ok(info) = NarInfo::parse(bytes, &asked) else { return false };
        assert_eq!(NarInfo::parse(info.to_string().as_bytes(), &asked), Ok(info));
        true
    });
    assert!(understood.len() >= 4, "signed, bare, compressed, content-addressed");
}
