//! The supervisor's own words: `tracing` events as lines of the kernel's log, or of stderr.
//!
//! A line that the kernel does not take at once is dropped and counted; the count is said with
//! the next line that gets through. Nothing here waits, but for the kernel's own printing: a
//! console that was slow to take a line is spared the next ones, which then are in the log alone.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use sys::clock::monotonic_ns;
use sys::kmsg::{Kmsg, Priority, Slow};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Begins every line.
const NAME: &str = "rollinit-supervisor: ";

/// The device number of /dev/null: major 1, minor 3 (Documentation/admin-guide/devices.txt).
const DEV_NULL: u64 = 0x103;

/// Where lines go.
#[derive(Debug)]
enum Sink {
    Kmsg(Kmsg, Slow),
    /// An ordinary process's stderr: a terminal or a file of whoever runs it.
    Stderr,
}

/// A subscriber without spans: the supervisor is one thread, and its lines name their object.
#[derive(Debug)]
pub struct Lines {
    sink: Mutex<Sink>,
    dropped: AtomicU64,
}

impl Lines {
    /// Chooses the sink: PID 1 of the kernel gives us /dev/null as stderr, and then the kernel's
    /// log is the place; in every other case somebody reads stderr.
    #[must_use]
    pub fn new() -> Self {
        let is_null = std::fs::metadata("/proc/self/fd/2").is_ok_and(|metadata| {
            metadata.file_type().is_char_device() && metadata.rdev() == DEV_NULL
        });
        let kmsg = if is_null { Kmsg::open().ok() } else { None };
        let sink = kmsg.map_or(Sink::Stderr, |kmsg| Sink::Kmsg(kmsg, Slow::default()));
        Self { sink: Mutex::new(sink), dropped: AtomicU64::new(0) }
    }

    fn write(&self, priority: Priority, text: &str) {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let dropped = self.dropped.load(Ordering::Relaxed);
        let mut line = format!("{NAME}{text}");
        if dropped > 0 {
            // Writing to a string cannot fail.
            let _ = write!(line, " ({dropped} lines before this one were dropped)");
        }
        let written = match &mut *sink {
            Sink::Kmsg(kmsg, slow) => {
                let before_ns = monotonic_ns();
                let spared = slow.is_spared(before_ns);
                let logged_at = if spared { Priority::Debug } else { priority };
                let written = kmsg.write_line(logged_at, line.as_bytes());
                slow.took(before_ns, monotonic_ns());
                written
            }
            Sink::Stderr => {
                line.push('\n');
                std::io::stderr().write_all(line.as_bytes()).is_ok()
            }
        };
        self.dropped.store(if written { 0 } else { dropped + 1 }, Ordering::Relaxed);
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
        self.write(priority, &(text.message + &text.fields));
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}
