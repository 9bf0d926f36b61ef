//! What lies on a boot partition and what the loader says by a variable: no bytes may make the
//! readers panic, and a name or an entry that is read comes back from our own writing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollout::slot::{Entry, EntryName, boot_count_path};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(name) = boot_count_path(bytes) {
        assert!(!name.stem.contains(['/', '\0']) && name.tries.is_some());
        assert_eq!(EntryName::parse(&name.to_string()), Some(name));
    }
    let entry = Entry::parse(bytes);
    if let Some(name) = std::str::from_utf8(bytes).ok().and_then(EntryName::parse) {
        assert_eq!(EntryName::parse(&name.to_string()), Some(name));
    }
    assert!(entry.text().len() >= entry.options.len());
});
