//! The other lives of this program: the fake supervisor, a maker of orphans, and a fork bomb.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use sys::seqpacket;

/// Set for a child that makes this many orphans.
pub const ORPHANS: &str = "ROLLINIT_TEST_ORPHANS";

/// Set for a fork bomb of so many generations.
pub const BOMB: &str = "ROLLINIT_TEST_BOMB";

/// Where the fake supervisor finds its test, below the run directory.
pub const SOCKET: &str = "test";

pub fn is_wanted() -> bool {
    ["ROLLINIT_PORT_FD", ORPHANS, BOMB].iter().any(|name| std::env::var_os(name).is_some())
}

pub fn run() {
    if let Some(count) = std::env::var(ORPHANS).ok().and_then(|count| count.parse().ok()) {
        return make_orphans(count);
    }
    if let Some(generations) = std::env::var(BOMB).ok().and_then(|count| count.parse().ok()) {
        bomb(generations);
    }
    let run = std::env::var("ROLLINIT_RUN").unwrap();
    let mut test = UnixStream::connect(Path::new(&run).join(SOCKET)).unwrap();
    assert_eq!(std::env::var("ROLLINIT_PORT_FD").unwrap(), "3");
    hand_over(&test);
    // One byte means "die as if by kill -9"; the end of the test ends us in peace.
    if test.read(&mut [0]).unwrap() == 1 {
        sys::cgroup::signal_process(std::process::id(), 9).unwrap();
    }
}

/// Gives the port away and keeps no copy, so that the test alone decides when it closes.
fn hand_over(test: &UnixStream) {
    let path = format!("/proc/{}/fd/3", std::process::id());
    assert!(std::fs::read_link(path).unwrap().to_str().unwrap().starts_with("socket:"));
    let port = sys::process::adopt(3);
    let pid = std::process::id().to_le_bytes();
    assert!(seqpacket::send(test.as_fd(), &pid, &[port.as_fd()]).unwrap());
}

/// Children that exit at once and are never waited for: when we exit, PID 1 has to.
fn make_orphans(count: usize) {
    for _ in 0..count {
        sys::helper::start(|| 0).unwrap();
    }
}

/// Doubles with each generation; the last one forks without end, so that whenever it is killed
/// some child is just being born. Bounded by generations and not by a limit of the kernel's, so
/// that its size is known.
fn bomb(generations: u32) -> ! {
    for _ in 0..2 {
        if generations > 0 {
            sys::helper::start(|| bomb(generations - 1)).unwrap();
        }
    }
    loop {
        if generations == 0 {
            sys::helper::start(|| 0).unwrap();
            while let Some(dead) = sys::reap::peek().unwrap() {
                sys::reap::release(dead.pid).unwrap();
            }
        } else {
            sys::poll::until(&mut [], None).unwrap();
        }
    }
}
