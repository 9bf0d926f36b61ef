//! Deadlines of the state machine as tokio instants.

use std::time::Duration;
use tokio::time::Instant;

/// The moment of the machine.
#[must_use]
pub fn now() -> service::Now {
    service::Now(sys::clock::monotonic_ns())
}

/// The instant of a `CLOCK_MONOTONIC` time; tokio's own clock is the same one.
#[must_use]
pub fn instant(deadline: service::Now) -> Instant {
    let left = deadline.0.saturating_sub(sys::clock::monotonic_ns());
    // Rounded up: a timer that fires a moment early would turn the loop once for nothing.
    Instant::now() + Duration::from_nanos(left) + Duration::from_micros(1)
}
