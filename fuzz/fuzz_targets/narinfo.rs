//! What a cache may say about a path: no bytes may make the parser panic, what it accepts is about
//! the path that was asked for, stays in the cache, and comes back from our own writing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use store::narinfo::NarInfo;
use store::path::StorePath;

fuzz_target!(|bytes: &[u8]| {
    let asked: StorePath =
        "/nix/store/2c9p07z77phvv2hf6gm9f28syp39f1ag-web-1.9.3".parse().expect("a store path");
    let Ok(info) = NarInfo::parse(bytes, &asked) else { return };
    assert_eq!(info.path, asked);
    assert!(!info.url.starts_with('/') && !info.url.split('/').any(|step| step == ".."));
    assert_eq!(NarInfo::parse(info.to_string().as_bytes(), &asked), Ok(info));
});
