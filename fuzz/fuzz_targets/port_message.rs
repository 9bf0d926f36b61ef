//! What PID 1 may send to its owner: as for requests.
#![no_main]

use libfuzzer_sys::fuzz_target;
use port::Message;
use port::limits::FRAME_BYTES_MAX;

fuzz_target!(|packet: &[u8]| {
    let Ok(message) = Message::decode(packet) else { return };
    let mut again = vec![0; FRAME_BYTES_MAX];
    let length = message.encode(&mut again).expect("it was within its caps");
    assert_eq!(Message::decode(&again[..length]), Ok(message));
});
