//! What workers logged, told once more here, to the host's `tracing` subscriber.

use amphi_protocol::LogRecord;
use tracing::level_filters::LevelFilter;

/// The most verbose level that the host hears now, as records number it; 0: it hears none.
pub(super) fn level_heard() -> u8 {
    match LevelFilter::current() {
        LevelFilter::ERROR => 1,
        LevelFilter::WARN => 2,
        LevelFilter::INFO => 3,
        LevelFilter::DEBUG => 4,
        LevelFilter::TRACE => 5,
        _ => 0,
    }
}

/// One event of a worker.
pub(super) struct LogLine {
    worker: u32,
    job: Option<&'static str>,
    level: u8,
    spans: String,
    target: String,
    location: Option<String>,
    message: String,
}

impl LogLine {
    /// `None`: nobody hears it.
    pub(super) fn new(
        worker: u32,
        job: Option<&'static str>,
        record: &LogRecord<'_>,
    ) -> Option<Self> {
        (record.level <= level_heard()).then(|| Self {
            worker,
            job,
            level: record.level,
            spans: record.spans.to_owned(),
            target: record.target.to_owned(),
            location: (!record.file.is_empty()).then(|| format!("{}:{}", record.file, record.line)),
            message: record.message.to_owned(),
        })
    }

    /// Tells the subscriber, which is user code: without any lock. The event stands alone, whatever
    /// span the thread is in that happened to fetch it.
    pub(super) fn tell(&self) {
        /// A call site of its own: `tracing` keeps levels by them.
        macro_rules! tell {
            ($level:ident) => {
                tracing::event!(
                    target: "amphi::worker",
                    parent: None,
                    tracing::Level::$level,
                    worker = self.worker,
                    job = self.job,
                    spans = (!self.spans.is_empty()).then_some(self.spans.as_str()),
                    target = self.target.as_str(),
                    location = self.location.as_deref(),
                    "{}",
                    self.message
                )
            };
        }
        match self.level {
            1 => tell!(ERROR),
            2 => tell!(WARN),
            3 => tell!(INFO),
            4 => tell!(DEBUG),
            _ => tell!(TRACE),
        }
    }
}
