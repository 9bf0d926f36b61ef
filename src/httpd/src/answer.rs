//! What is asked, and what is answered.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who asks.
    pub from: SocketAddr,
    /// The path, as it was sent: not decoded, with its first slash.
    pub path: String,
    /// What follows the question mark; empty without one.
    pub query: String,
}

/// Writes the bytes of a stream, on a thread of its own that may block. It ends early with an
/// error when the client goes.
pub type Write = Box<dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + Send>;

/// An answer.
pub enum Answer {
    /// A small one.
    Text {
        /// The HTTP status.
        status: u16,
        /// Its media type.
        kind: &'static str,
        /// Further fields of its head.
        fields: Vec<(&'static str, String)>,
        /// Its body.
        text: String,
    },
    /// One of so many bytes, of which a client may ask for the last ones only (`bytes=N-`).
    Stream {
        /// Its media type.
        kind: &'static str,
        /// Bytes of the whole.
        length: u64,
        /// Writes the whole.
        write: Write,
    },
}

impl Answer {
    /// A line of text.
    #[must_use]
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self::Text { status, kind: "text/plain; charset=utf-8", fields: vec![], text: text.into() }
    }

    /// There is no such thing.
    #[must_use]
    pub fn missing() -> Self {
        Self::text(404, "there is no such thing here\n")
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { status, text, .. } => write!(out, "{status} {text:?}"),
            Self::Stream { length, .. } => write!(out, "a stream of {length} bytes"),
        }
    }
}
