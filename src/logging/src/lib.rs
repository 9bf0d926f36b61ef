//! `logging`: what restartable daemons say, `tracing` events as lines of a log.
//!
//! Is: the one subscriber of supervisor and agent.
//! May touch: a sink of `sys::log_sink`, which says what becomes of a line not taken at once.
//! Never: wait for a reader, keep a line, filter what a daemon says of its own matters.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use sys::kmsg::Priority;
use sys::log_sink::LogSink;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// A subscriber without spans: lines name their object.
#[derive(Debug)]
pub struct Lines {
    sink: Mutex<LogSink>,
    ours: &'static [&'static str],
}

impl Lines {
    /// Lines into `sink`. Crates whose names begin with one of `ours` say what they do; all others
    /// speak of errors alone.
    #[must_use]
    pub const fn new(sink: LogSink, ours: &'static [&'static str]) -> Self {
        Self { sink: Mutex::new(sink), ours }
    }
}

/// The message, then other fields as ` name=value`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // To a library a caller that goes away is worth a warning; to people it is not.
        let is_ours = self.ours.iter().any(|name| metadata.target().starts_with(name));
        *metadata.level() <= if is_ours { Level::INFO } else { Level::ERROR }
    }

    fn new_span(&self, _attributes: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let priority = match *event.metadata().level() {
            Level::ERROR => Priority::Error,
            Level::WARN => Priority::Warning,
            _ => Priority::Information,
        };
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        sink.write(priority, &(text.message + &text.fields));
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}
