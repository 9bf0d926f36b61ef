//! What an owner may send to PID 1: no packet may make it panic, and whatever decodes must encode
//! to a frame that decodes to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use port::limits::FRAME_BYTES_MAX;
use port::{Header, Request};

fuzz_target!(|packet: &[u8]| {
    let Ok(header) = Header::decode(packet) else { return };
    let Ok(body) = header.body(packet) else { return };
    let Ok(request) = Request::decode(&header, body) else { return };
    let mut again = vec![0; FRAME_BYTES_MAX];
    let length = request.encode(header.sequence, &mut again).expect("it was within its caps");
    let header = Header::decode(&again[..length]).expect("own header");
    let body = header.body(&again[..length]).expect("own body");
    assert_eq!(Request::decode(&header, body), Ok(request));
});
