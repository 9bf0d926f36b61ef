//! What a cache may send as a NAR: no bytes may make the reader panic or take more than it is
//! given, and whatever it accepts is, byte for byte, what our writer makes of its events.
#![no_main]

use libfuzzer_sys::fuzz_target;
use store::nar::{Event, NarError, Reader, Writer};

fn rewrite(bytes: &[u8]) -> Result<Vec<u8>, NarError> {
    let mut reader = Reader::new(bytes, bytes.len() as u64);
    let mut again = Vec::new();
    let mut writer = Writer::new(&mut again);
    while let Some(event) = reader.next_event()? {
        writer.put(&event).expect("the reader keeps to the grammar");
        if let Event::File { .. } = event {
            loop {
                let piece = reader.contents()?;
                if piece.is_empty() {
                    break;
                }
                writer.contents(piece).expect("no more than its size");
            }
        }
    }
    writer.finish().expect("complete");
    Ok(again)
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(again) = rewrite(bytes) {
        assert_eq!(again, bytes);
    }
});
