//! `httpd`: the HTTP that a host of ours serves: its store to its group, its metrics to Prometheus.
//!
//! Is: connections that are accepted, bounded and given up; requests in a form that has nothing of
//! HTTP in it; answers that are small, or streamed by a thread that may block. May touch: the
//! sockets that it is given. Never: reads a byte of HTTP itself (hyper does), takes a body, knows
//! what is asked for.
//!
//! A client costs only itself: it may have so many connections, each is given up when nothing moves
//! on it for a while, and streams beyond a number are refused for the moment.

mod answer;
mod connection;
mod stream;

pub use answer::{Answer, Question, Write};
pub use connection::serve;
pub use stream::Pace;

use std::future::Future;
use std::time::Duration;

/// What is served.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers a request. Not called for methods other than GET and HEAD.
    fn answer(&self, question: Question) -> impl Future<Output = Answer> + Send;
}

/// What clients may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; one more is closed at once. Each takes a descriptor and some KiB.
    pub connections_max: usize,
    /// Connections of one address at once.
    pub connections_per_address_max: usize,
    /// Streamed answers at once; one more is told to come back. Each takes a thread.
    pub streams_max: usize,
    /// A connection on which nothing moves for so long is closed, idle or not.
    pub idle: Duration,
    /// Bytes a second of all streams together; none: as fast as it goes.
    pub stream_bytes_per_second: Option<u64>,
}

impl Default for Limits {
    /// For a host with other things to do.
    fn default() -> Self {
        Self {
            connections_max: 256,
            connections_per_address_max: 64,
            streams_max: 32,
            idle: Duration::from_secs(30),
            stream_bytes_per_second: None,
        }
    }
}
