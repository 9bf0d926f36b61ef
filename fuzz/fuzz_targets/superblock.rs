//! What any disk may hold: no bytes may make the reader of superblocks panic, and what it says can
//! be printed on a console as it is.
#![no_main]

use disk::content;
use disk::superblock::probe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for superblock in probe(bytes, bytes.len() as u64).expect("memory can be read") {
        assert!(!superblock.to_string().contains(char::is_control));
    }
    let _ = content::look(bytes, bytes.len() as u64).expect("memory can be read");
});
