//! Ports for programs that bind them later.

use anyhow::{Context, Result};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below those that Linux takes for outgoing connections (`ip_local_port_range`, 32768 and up): a
/// port that is free is not taken by somebody's connection before it is bound.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// A port that nobody listens on, and that this process has not been given for long.
///
/// # Errors
/// There is none.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Other processes begin elsewhere.
    let process = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
    let port = |_| {
        let number = process.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        FIRST + number % COUNT
    };
    let is_free = |port: &u16| TcpListener::bind(("0.0.0.0", *port)).is_ok();
    (0..COUNT).map(port).find(is_free).context("no port is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_one_each_time() {
        let (one, two) = (free_port().expect("one"), free_port().expect("another"));
        assert!(one != two && one >= FIRST && two >= FIRST && one.max(two) < FIRST + COUNT);
        let taken = TcpListener::bind(("127.0.0.1", free_port().expect("a third")));
        assert!(taken.is_ok());
    }
}
