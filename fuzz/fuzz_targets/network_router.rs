//! An option of a router advertisement: no bytes may make the parser panic, and names that come out
//! of it are names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use network::router::{RouterWord, read};

fuzz_target!(|bytes: &[u8]| {
    let Some(option) = read(bytes) else { return };
    if let RouterWord::Search(names) = option.word {
        for name in &names {
            assert_eq!(network::names::domain(name).as_ref(), Some(name));
        }
    }
});
