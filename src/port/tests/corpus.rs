//! The fuzzers' corpus as a plain test: what was found once is looked at by everybody's build.
//! Seeds are frames of version 1, so each must decode; what a fuzzer adds may be refused, but must
//! not panic, and what decodes must come back from its own encoding.
#![allow(missing_docs, clippy::unwrap_used)]

use port::limits::FRAME_BYTES_MAX;
use port::{Header, Message, Request};

#[test]
fn requests_of_the_corpus() {
    let understood = replay::understood("port_request", |packet| {
        let Ok(header) = Header::decode(packet) else { return false };
        let body = header.body(packet);
        let Ok(request) = body.and_then(|body| Request::decode(&header, body)) else {
            return false;
        };
        let mut again = vec![0; FRAME_BYTES_MAX];
        let length = request.encode(header.sequence, &mut again).unwrap();
        let header = Header::decode(&again[..length]).unwrap();
        let body = header.body(&again[..length]).unwrap();
        assert_eq!(Request::decode(&header, body), Ok(request));
        true
    });
    assert!(understood.len() >= 13, "each verb has a seed");
}

#[test]
fn messages_of_the_corpus() {
    let understood = replay::understood("port_message", |packet| {
        let Ok(message) = Message::decode(packet) else { return false };
        let mut again = vec![0; FRAME_BYTES_MAX];
        let length = message.encode(&mut again).unwrap();
        assert_eq!(Message::decode(&again[..length]), Ok(message));
        true
    });
    assert!(understood.len() >= 13, "each answer, event and page has a seed");
}
