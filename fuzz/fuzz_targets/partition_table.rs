//! What any disk may hold where its partition table is: no bytes may make the reader panic or take
//! more memory than the largest table has.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for sector_bytes in [512, 4096] {
        let sectors = bytes.len() as u64 / sector_bytes;
        let _ = disk::table::read(bytes, sector_bytes, sectors);
    }
});
