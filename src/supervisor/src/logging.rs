//! The supervisor's own words: `tracing` events as lines of the kernel's log, or of stderr.
//! `sys::log_sink` says what becomes of a line that is not taken at once.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use sys::kmsg::Priority;
use sys::log_sink::LogSink;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// A subscriber without spans: the supervisor is one thread, and its lines name their object.
#[derive(Debug)]
pub struct Lines(Mutex<LogSink>);

impl Lines {
    /// PID 1 of the kernel gives us /dev/null as stderr, and then the kernel's log is the place; in
    /// every other case somebody reads stderr.
    #[must_use]
    pub fn new() -> Self {
        Self(Mutex::new(LogSink::choose("rollinit-supervisor")))
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
        // Libraries speak of errors alone: to zlink a caller that goes away is worth a warning.
        let ours = metadata.target().starts_with("rollinit_supervisor");
        *metadata.level() <= if ours { Level::INFO } else { Level::ERROR }
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
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sink.write(priority, &(text.message + &text.fields));
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}
