//! Replies of `GetLogs` and `WatchEvents`.

use crate::base64;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use zlink::introspect::{CustomType, Type};

/// Reply of `GetLogs`, one of several with `more`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct LogBatch {
    /// When the reply was made; CLOCK_MONOTONIC nanoseconds.
    pub now_ns: u64,
    /// Lines, oldest first.
    pub records: Vec<LogRecord>,
    /// Lines that were lost before these: the ring had no room, or the reader was too slow.
    pub lost: u64,
}

/// A line of a service's stdout or stderr, without its line end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct LogRecord {
    /// The service that wrote it.
    pub service: String,
    /// The run that wrote it.
    pub incarnation: u64,
    /// Of an app: the key of that run, which is a side (web.0, web.1) or a task (web.migrate).
    pub key: Option<String>,
    /// When it was read; CLOCK_MONOTONIC nanoseconds.
    pub time_ns: u64,
    /// The line; with U+FFFD for what is not UTF-8.
    pub text: String,
    /// The exact bytes in base64 (RFC 4648), only if they are not UTF-8.
    pub base64: Option<String>,
}

impl LogRecord {
    /// A record that keeps `line` exactly, whatever its bytes are.
    #[must_use]
    pub fn new(service: &str, incarnation: u64, time_ns: u64, line: &[u8]) -> LogRecord {
        let (text, encoded) = match String::from_utf8_lossy(line) {
            Cow::Borrowed(text) => (text.to_owned(), None),
            Cow::Owned(text) => (text, Some(base64::encode(line))),
        };
        let service = service.to_owned();
        LogRecord { service, incarnation, key: None, time_ns, text, base64: encoded }
    }

    /// The same, written by the run of this key.
    #[must_use]
    pub fn with_key(self, key: &str) -> LogRecord {
        LogRecord { key: Some(key.to_owned()), ..self }
    }

    /// The exact bytes of the line. `None` if the sender's base64 is broken.
    #[must_use]
    pub fn bytes(&self) -> Option<Cow<'_, [u8]>> {
        match &self.base64 {
            None => Some(Cow::Borrowed(self.text.as_bytes())),
            Some(encoded) => base64::decode(encoded).map(Cow::Owned),
        }
    }
}

/// Reply of `WatchEvents`, one of several with `more`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct EventBatch {
    /// When the reply was made; CLOCK_MONOTONIC nanoseconds.
    pub now_ns: u64,
    /// Events, oldest first.
    pub events: Vec<Event>,
    /// Events that were lost before these: the reader was too slow.
    pub lost: u64,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomType)]
pub struct Event {
    /// When; CLOCK_MONOTONIC nanoseconds.
    pub time_ns: u64,
    /// What, in one word: starting, started, ready, exited, backoff, failed, stuck and others.
    pub what: String,
    /// The service it happened to; none for the host.
    pub service: Option<String>,
    /// The run it happened to.
    pub incarnation: Option<u64>,
    /// The whole of it, for a person, the service's name included.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::LogRecord;

    /// UTF-8 travels as text alone; other bytes survive exactly, through JSON and back.
    #[test]
    fn bytes_survive() {
        let plain = LogRecord::new("web", 1, 2, "grün".as_bytes());
        assert_eq!((plain.text.as_str(), &plain.base64), ("grün", &None));

        let line = b"a\xff\x00\xfeb";
        let record = LogRecord::new("web", 1, 2, line);
        let json = serde_json::to_string(&record).unwrap();
        let back: LogRecord = serde_json::from_str(&json).unwrap();
        assert_eq!(back.bytes().unwrap().as_ref(), line);
        assert_eq!(back.text, "a\u{fffd}\u{0}\u{fffd}b");
    }

    /// A sender's broken base64 is told apart from bytes.
    #[test]
    fn broken_base64() {
        let mut record = LogRecord::new("web", 1, 2, b"\xff");
        record.base64 = Some("not base64".into());
        assert_eq!(record.bytes(), None);
    }
}
