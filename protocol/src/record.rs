//! The record ring: small messages from a running job to the host, beside its reply.
//!
//! Single writer, single reader, in RSP. A record is a head word, `len << 8 | kind`, and its bytes
//! filled up to whole words. Positions count words and never wrap; a position's word is its
//! remainder. The host drains the ring when it takes a reply, when it is asked, and when a bell
//! rings; for which kinds the worker rings is its choice ([`RecordWriter::must_ring`]). A record
//! that does not fit is refused; whether its writer waits or drops it is the writer's choice, too.
//!
//! # Invariants
//! 1. `tail` and the data are written by the worker, `head` by the host. Each end goes by its own
//!    private copy of what it writes and never reads that back.
//! 2. The host loads `tail` once a drain and checks its distance; a record's length is checked
//!    before it bounds anything; bytes are copied out before anybody looks at them.
//! 3. A drain ends: it goes to the `tail` it began with, at most one ring away, however fast the
//!    worker writes.
//!
//! # Ordering
//! | site | order | pairs with | what becomes visible |
//! |---|---|---|---|
//! | `push`, tail | store Release | `pop`, load Acquire | the record |
//! | `pop`, head | store Release | `push`, load Acquire | that its words may be written again |
//! | `must_ring` | fence SeqCst | `HostLane::rearm` | the record, or the epoch |

use serde::{Deserialize, Serialize};

use crate::error::Violation;
use crate::lane::{Req, Rsp};
use crate::layout::{WORD, record_word};
use crate::sync::{AtomicU64, Ordering};
use crate::worker::owes_bell;

/// A record's kinds.
pub mod record_kind {
    /// A [`ProgressRecord`](crate::ProgressRecord).
    pub const PROGRESS: u8 = 1;
    /// The first part of a message, which may be all of it: see [`Assembly`](crate::Assembly).
    pub const MESSAGE: u8 = 2;
    /// A further part of it.
    pub const MESSAGE_MORE: u8 = 3;
    /// A [`DroppedRecord`](crate::DroppedRecord).
    pub const MESSAGES_DROPPED: u8 = 4;
    /// A [`LogRecord`](crate::LogRecord).
    pub const LOG: u8 = 5;
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressRecord {
    /// The task's sequence in the lane.
    pub seq: u64,
    /// Units done.
    pub done: u64,
    /// Units in all.
    pub total: u64,
}

/// The largest record, in bytes.
pub const RECORD_BYTES_MAX: usize = 2048;

const DATA_WORDS: u64 = record_word::DATA_WORDS as u64;
const _: () = assert!(RECORD_BYTES_MAX / WORD < record_word::DATA_WORDS);

/// The worker's end.
#[derive(Debug, Default)]
pub struct RecordWriter {
    tail: u64,
    dropped: u64,
    last_rung: u64,
}

/// The host's end.
#[derive(Debug, Default)]
pub struct RecordReader {
    head: u64,
    /// Where the drain that is going on ends.
    until: Option<u64>,
    broken: Option<Violation>,
}

impl RecordWriter {
    /// The end of a fresh ring.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records that found no room.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn free(&self, rsp: Rsp<'_>) -> u64 {
        // PAIRS: records.head — Acquire, with the Release store in `RecordReader::pop`.
        let head = rsp.word(record_word::HEAD).load(Ordering::Acquire);
        DATA_WORDS.saturating_sub(self.tail.wrapping_sub(head))
    }

    /// Whether there is room for a record of so many bytes.
    pub fn fits(&self, rsp: Rsp<'_>, len: usize) -> bool {
        len <= RECORD_BYTES_MAX && words_of(len) <= self.free(rsp)
    }

    /// The host should drain the ring before it is full.
    pub fn is_half_full(&self, rsp: Rsp<'_>) -> bool {
        self.free(rsp) < DATA_WORDS / 2
    }

    /// As [`WorkerLane::must_ring`](crate::WorkerLane::must_ring), for the records that were
    /// written.
    pub fn must_ring(&mut self, req: Req<'_>) -> bool {
        owes_bell(req, &mut self.last_rung)
    }

    /// Writes a record; false: the ring is full or the record too large, it was dropped.
    pub fn push(&mut self, rsp: Rsp<'_>, kind: u8, bytes: &[u8]) -> bool {
        if !self.fits(rsp, bytes.len()) {
            self.dropped += 1;
            return false;
        }
        let head = (bytes.len() as u64) << 8 | u64::from(kind);
        data(rsp, self.tail).store(head, Ordering::Relaxed);
        for (position, chunk) in (self.tail + 1..).zip(bytes.chunks(WORD)) {
            let mut word = [0; WORD];
            word[..chunk.len()].copy_from_slice(chunk);
            data(rsp, position).store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
        self.tail += words_of(bytes.len());
        // PAIRS: records.tail — Release, with the Acquire load in `RecordReader::pop`.
        rsp.word(record_word::TAIL).store(self.tail, Ordering::Release);
        true
    }
}

impl RecordReader {
    /// The end of a fresh ring.
    pub fn new() -> Self {
        Self::default()
    }

    /// A glance before a drain: whether it would meet anything. Decides nothing.
    #[inline]
    pub fn has_more(&self, rsp: Rsp<'_>) -> bool {
        rsp.word(record_word::TAIL).load(Ordering::Relaxed) != self.head || self.broken.is_some()
    }

    /// Copies the next record into `into` and tells its kind. `None` ends a drain: there is no
    /// more, or no more than there was when it began.
    ///
    /// # Errors
    /// The worker claims more than the ring holds, or a record longer than what it published.
    /// The first violation latches.
    pub fn pop(&mut self, rsp: Rsp<'_>, into: &mut Vec<u8>) -> Result<Option<u8>, Violation> {
        self.broken.map_or(Ok(()), Err)?;
        let popped = self.try_pop(rsp, into);
        self.broken = popped.err();
        popped
    }

    fn try_pop(&mut self, rsp: Rsp<'_>, into: &mut Vec<u8>) -> Result<Option<u8>, Violation> {
        let until = match self.until {
            Some(until) => until,
            None => self.begin_drain(rsp)?,
        };
        if self.head == until {
            self.until = None;
            return Ok(None);
        }
        let head = data(rsp, self.head).load(Ordering::Relaxed);
        let len = head >> 8;
        if len > RECORD_BYTES_MAX as u64 || words_of(len as usize) > until - self.head {
            return Err(Violation::new("a record is as long as it was published", head));
        }
        let end = self.head + words_of(len as usize);
        into.clear();
        for position in self.head + 1..end {
            let word = data(rsp, position).load(Ordering::Relaxed);
            into.extend_from_slice(&word.to_le_bytes());
        }
        into.truncate(len as usize);
        self.head = end;
        // PAIRS: records.head — Release, with the Acquire load in `RecordWriter::push`.
        rsp.word(record_word::HEAD).store(self.head, Ordering::Release);
        Ok(Some((head & 0xff) as u8))
    }

    fn begin_drain(&mut self, rsp: Rsp<'_>) -> Result<u64, Violation> {
        // PAIRS: records.tail — Acquire, with the Release store in `RecordWriter::push`.
        let tail = rsp.word(record_word::TAIL).load(Ordering::Acquire);
        if tail.wrapping_sub(self.head) > DATA_WORDS {
            return Err(Violation::new("records fit their ring", tail));
        }
        self.until = Some(tail);
        Ok(tail)
    }
}

const fn words_of(bytes: usize) -> u64 {
    1 + bytes.div_ceil(WORD) as u64
}

fn data(rsp: Rsp<'_>, position: u64) -> &AtomicU64 {
    rsp.word(record_word::DATA + (position % DATA_WORDS) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::RSP_CONTROL_WORDS;

    fn ring() -> Vec<AtomicU64> {
        (0..RSP_CONTROL_WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn records_of_every_length_come_out_as_they_went_in_round_and_round() {
        let memory = ring();
        let rsp = Rsp::new(&memory);
        let (mut writer, mut reader) = (RecordWriter::new(), RecordReader::new());
        let mut out = Vec::new();
        for len in 0..=RECORD_BYTES_MAX {
            let bytes: Vec<u8> = (0..len).map(|index| (index * 7 + len) as u8).collect();
            assert!(writer.push(rsp, len as u8, &bytes));
            assert_eq!(reader.pop(rsp, &mut out), Ok(Some(len as u8)));
            assert_eq!(out, bytes);
            assert_eq!(reader.pop(rsp, &mut out), Ok(None));
        }
        assert!(!writer.push(rsp, 0, &[0; RECORD_BYTES_MAX + 1]));
        assert_eq!(writer.dropped(), 1);
    }

    #[test]
    fn a_full_ring_drops_and_goes_on_after_a_drain() {
        let memory = ring();
        let rsp = Rsp::new(&memory);
        let (mut writer, mut reader) = (RecordWriter::new(), RecordReader::new());
        let mut pushed = 0;
        while writer.push(rsp, 1, &[9; 100]) {
            pushed += 1;
        }
        assert_eq!((pushed, writer.dropped()), (DATA_WORDS / words_of(100), 1));
        let mut out = Vec::new();
        for _ in 0..pushed {
            assert_eq!(reader.pop(rsp, &mut out), Ok(Some(1)));
            // A drain is not prolonged by what is written meanwhile.
            assert!(writer.push(rsp, 2, &[8; 100]));
        }
        assert_eq!(reader.pop(rsp, &mut out), Ok(None));
        assert_eq!(reader.pop(rsp, &mut out), Ok(Some(2)), "the next drain");
    }

    #[test]
    fn what_no_writer_writes_is_a_violation_and_latches() {
        for (tail, head) in [
            (DATA_WORDS + 1, 0),
            (u64::MAX, 0),
            (1, 1 << 8),
            (3, 17 << 8),
            (DATA_WORDS, (RECORD_BYTES_MAX as u64 + 1) << 8),
            (DATA_WORDS, u64::MAX),
        ] {
            let memory = ring();
            let rsp = Rsp::new(&memory);
            memory[record_word::TAIL].store(tail, Ordering::Relaxed);
            memory[record_word::DATA].store(head, Ordering::Relaxed);
            let mut reader = RecordReader::new();
            let violation = reader.pop(rsp, &mut Vec::new()).unwrap_err();
            memory[record_word::TAIL].store(0, Ordering::Relaxed);
            assert_eq!(reader.pop(rsp, &mut Vec::new()), Err(violation), "{tail} {head:#x}");
        }
    }

    #[test]
    fn a_scribbled_head_only_drops_records() {
        let memory = ring();
        let rsp = Rsp::new(&memory);
        let mut writer = RecordWriter::new();
        for head in [1, u64::MAX, 1 << 63, DATA_WORDS] {
            memory[record_word::HEAD].store(head, Ordering::Relaxed);
            writer.push(rsp, 1, b"x");
        }
    }
}
