//! What a worker logs, on its way to the host's `tracing` subscriber: a subscriber of our own, that
//! is installed after `each_process` where that set none.
//!
//! # Invariants
//! 1. A job is not held up: an event that finds no room in the ring is dropped and counted.
//! 2. What the host would not hear at the worker's start is not formatted, not even asked about
//!    twice: `tracing` remembers for each call site.
//! 3. User code (a field's `Debug`) runs under no lock, so it may log itself.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use amphi_protocol::LogRecord;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, Subscriber};
use tracing::{Event, Level, Metadata};
use tracing_core::span::Current;

use self::spans::{FIELDS_BYTES_MAX, Spans};
use super::signals::LaneSignals;

mod spans;

/// A longer text of an event's message and fields is cut.
const MESSAGE_BYTES_MAX: usize = 1536;

/// Makes the events of this process up to a level reach the host, unless somebody set a
/// subscriber before. 0: none is wanted.
pub(super) fn install(level: u8, signals: &Arc<LaneSignals>) {
    let level = match level {
        1 => LevelFilter::ERROR,
        2 => LevelFilter::WARN,
        3 => LevelFilter::INFO,
        4 => LevelFilter::DEBUG,
        5 => LevelFilter::TRACE,
        _ => return,
    };
    if !tracing::dispatcher::has_been_set() {
        let forward = Forward { level, signals: Arc::clone(signals), spans: Spans::default() };
        // A thread that `each_process` started may be faster: then it is the worker's own.
        let _ = tracing::subscriber::set_global_default(forward);
    }
}

/// The number of a level in a record.
fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// The subscriber: see the module.
struct Forward {
    level: LevelFilter,
    signals: Arc<LaneSignals>,
    spans: Spans,
}

impl Subscriber for Forward {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut fields = Text::new(FIELDS_BYTES_MAX);
        attributes.record(&mut fields);
        let parent = match attributes.parent() {
            Some(parent) => Some(parent.into_u64()),
            None if attributes.is_contextual() => spans::current(),
            None => None,
        };
        Id::from_u64(self.spans.add(attributes.metadata(), fields.text, parent))
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut fields = Text::new(FIELDS_BYTES_MAX);
        values.record(&mut fields);
        self.spans.record(span.into_u64(), &fields.text);
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut message = Text::new(MESSAGE_BYTES_MAX);
        event.record(&mut message);
        let span = match event.parent() {
            Some(parent) => Some(parent.into_u64()),
            None if event.is_contextual() => spans::current(),
            None => None,
        };
        let metadata = event.metadata();
        self.signals.log(LogRecord {
            seq: 0, // the running task's, which is known there
            level: number(*metadata.level()),
            line: metadata.line().unwrap_or(0),
            file: metadata.file().unwrap_or(""),
            target: metadata.target(),
            spans: &self.spans.text(span),
            message: &message.text,
        });
    }

    fn enter(&self, span: &Id) {
        spans::enter(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        spans::exit(span.into_u64());
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.spans.hold(span.into_u64());
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        self.spans.release(span.into_u64())
    }

    fn current_span(&self) -> Current {
        let span = spans::current();
        match span.and_then(|span| Some((span, self.spans.metadata(span)?))) {
            Some((span, metadata)) => Current::new(Id::from_u64(span), metadata),
            None => Current::none(),
        }
    }
}

/// Fields as text, the message first: `hello answer=42`. What is longer than `max` is cut.
struct Text {
    text: String,
    max: usize,
}

impl Text {
    fn new(max: usize) -> Self {
        Self { text: String::new(), max }
    }

    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if field.name() == "message" {
            let fields = std::mem::take(&mut self.text);
            let _ = self.write_fmt(value);
            if !fields.is_empty() {
                let _ = write!(self, " {fields}");
            }
            return;
        }
        let between = if self.text.is_empty() { "" } else { " " };
        let _ = write!(self, "{between}{}=", field.name());
        let _ = self.write_fmt(value);
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.max - self.text.len();
        let end = (0..=text.len().min(room)).rev().find(|end| text.is_char_boundary(*end));
        self.text.push_str(&text[..end.unwrap_or(0)]);
        // The rest of a long value need not be formatted.
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.add(field, format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }
}
