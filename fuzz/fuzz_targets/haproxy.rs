//! Any bytes as HAProxy's two answers about a backend, a zero byte between them: no bytes may make
//! the reader panic, and what it takes are servers with names.
#![no_main]

use balancer::haproxy::answer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (states, stats) = text.split_once('\0').unwrap_or((&text, ""));
    let _ = answer::backend_number(states);
    match answer::servers(states, stats) {
        Ok(servers) => assert!(servers.len() <= states.lines().count()),
        Err(error) => assert!(!error.to_string().is_empty() && !error.cure().is_empty()),
    }
});
