//! A `tracing` subscriber that keeps each event and each new span as a line.

use std::fmt::{Debug, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

static KEPT: Mutex<Vec<String>> = Mutex::new(Vec::new());
static SPANS: AtomicU64 = AtomicU64::new(0);

/// Keeps what is of this level or above.
pub(crate) struct Lines(pub(crate) LevelFilter);

impl Lines {
    pub(crate) fn install(self) {
        tracing::subscriber::set_global_default(self).expect("the only one");
    }

    fn keep(line: String) {
        KEPT.lock().expect("nobody panics here").push(line);
    }
}

/// What was kept until now.
pub(crate) fn kept() -> Vec<String> {
    KEPT.lock().expect("nobody panics here").clone()
}

/// Waits until what was kept satisfies `condition`.
pub(crate) fn wait_for(what: &str, condition: impl Fn(&[String]) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition(&kept()) {
        assert!(Instant::now() < deadline, "no {what} in {:#?}", kept());
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.0
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(format!("span {}", span.metadata().name()));
        span.record(&mut line);
        Self::keep(line.0);
        Id::from_u64(SPANS.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut line = Line(format!("{} {}", metadata.level(), metadata.target()));
        event.record(&mut line);
        Self::keep(line.0);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
