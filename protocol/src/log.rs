//! One event of a worker's log, as a record of the ring.
//!
//! # Invariants
//! 1. Every text is cut to its bound, so that an event is one record.
//! 2. An event is all of its record's bytes, its level one of five; anything else is none.

use serde::{Deserialize, Serialize};

use crate::record::RECORD_BYTES_MAX;

/// The most bytes of each text.
const TARGET_MAX: usize = 96;
const FILE_MAX: usize = 128;
const SPANS_MAX: usize = 256;
const MESSAGE_MAX: usize = 1536;

/// The numbers at their longest, and the lengths of the texts.
const NUMBERS_MAX: usize = 10 + 1 + 5 + 4 * 2;
const _: () = assert!(
    NUMBERS_MAX + TARGET_MAX + FILE_MAX + SPANS_MAX + MESSAGE_MAX <= RECORD_BYTES_MAX,
    "an event is one record"
);

/// The most verbose level's number; 1 is an error, 0 none at all.
pub const LOG_LEVEL_MAX: u8 = 5;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord<'a> {
    /// The sequence of the task that runs; 0 before the first.
    pub seq: u64,
    /// 1 error, 2 warning, 3 info, 4 debug, 5 trace.
    pub level: u8,
    /// Where it is written, or 0.
    pub line: u32,
    /// Where it is written, or empty.
    pub file: &'a str,
    /// What it is about: a module, usually.
    pub target: &'a str,
    /// The spans that it is in, outermost first, as `outer{id=7}:inner`.
    pub spans: &'a str,
    /// Its message and fields.
    pub message: &'a str,
}

impl<'a> LogRecord<'a> {
    /// Its bytes: a record at most.
    ///
    /// # Panics
    /// Never: the texts are cut.
    pub fn encode(mut self) -> Vec<u8> {
        // Of a path the end says more.
        self.file = tail(self.file, FILE_MAX);
        self.target = head(self.target, TARGET_MAX);
        self.spans = head(self.spans, SPANS_MAX);
        self.message = head(self.message, MESSAGE_MAX);
        postcard::to_allocvec(&self).expect("an event is plain data")
    }

    /// The event that `bytes` are, if they are one.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (record, []) = postcard::take_from_bytes::<Self>(bytes).ok()? else { return None };
        (1..=LOG_LEVEL_MAX).contains(&record.level).then_some(record)
    }
}

fn head(text: &str, max: usize) -> &str {
    let end = (0..=text.len().min(max)).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

fn tail(text: &str, max: usize) -> &str {
    let start = (text.len().saturating_sub(max)..=text.len()).find(|at| text.is_char_boundary(*at));
    &text[start.unwrap_or(text.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: LogRecord<'_> = LogRecord {
        seq: u64::MAX,
        level: 3,
        line: u32::MAX,
        file: "src/main.rs",
        target: "program::part",
        spans: "outer{id=7}:inner",
        message: "hello answer=42",
    };

    #[test]
    fn an_event_comes_out_as_it_went_in_and_nothing_else_does() {
        let bytes = EVENT.encode();
        assert_eq!(LogRecord::decode(&bytes), Some(EVENT));
        assert_eq!(LogRecord::decode(&bytes[..bytes.len() - 1]), None, "cut short");
        assert_eq!(LogRecord::decode(&[&bytes[..], &[0]].concat()), None, "more than an event");
        for level in [0, 6, 255] {
            assert_eq!(LogRecord::decode(&LogRecord { level, ..EVENT }.encode()), None);
        }
    }

    #[test]
    fn texts_are_cut_to_one_record_at_whole_characters() {
        let long = "ü€".repeat(2000);
        let (file, target, spans, message) = (&*long, &*long, &*long, &*long);
        let bytes = LogRecord { file, target, spans, message, ..EVENT }.encode();
        assert!(bytes.len() <= RECORD_BYTES_MAX, "{} bytes", bytes.len());
        let event = LogRecord::decode(&bytes).expect("still an event");
        assert!(long.starts_with(event.message) && event.message.len() > MESSAGE_MAX - 3);
        assert!(long.ends_with(event.file) && event.file.len() > FILE_MAX - 3);
    }
}
