//! Every bound of this room, with its unit and its reason.

use std::time::Duration;

/// Between two looks while requests end: HAProxy answers in a millisecond, and most drains are over
/// in a few of these.
pub const HAPROXY_POLL: Duration = Duration::from_millis(100);

/// The same for an ALB: each look is a call, and a group's hosts share one budget of calls.
pub const ALB_POLL: Duration = Duration::from_secs(2);

/// Until a look or an order that failed is tried again, and until others are looked at again for
/// whether they are well.
pub const AGAIN: Duration = Duration::from_secs(2);

/// How long one exchange with HAProxy may take: it answers from memory.
pub const HAPROXY_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of HAProxy's answer: a backend of a thousand servers has some 400 KiB.
pub const HAPROXY_ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of HAProxy's words that an error shows: a line of a person's screen.
pub const EXCERPT_BYTES_MAX: usize = 160;

/// Bytes of the kernel's table of connections that are read: some 30,000 connections.
pub const CONNECTIONS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of the record of what was taken out: a host has a handful of places.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;

/// Beside a target group's own health checks: what AWS needs until the first of them.
pub const JOIN_SLACK: Duration = Duration::from_secs(60);
