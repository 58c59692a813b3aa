//! The record ring: small messages from a running job to the host, beside its reply.
//!
//! Single writer, single reader, in RSP. Written by the worker: `tail` and the data. Written by
//! the host: `head`. The host keeps its own head and never trusts the shared one; it loads `tail`
//! once, checks its distance, copies a record out and checks the copy's length. A full ring drops
//! the record: what travels here (progress, logs) is worth less than the job's time.

use crate::error::Violation;
use crate::lane::Rsp;
use crate::layout::{RECORDS_BYTES, RECORDS_OFFSET, WORD};
use crate::sync::Ordering;

/// A record's kinds.
pub mod record_kind {
    /// A [`ProgressRecord`](crate::ProgressRecord).
    pub const PROGRESS: u8 = 1;
    /// A line of text for the host's log.
    pub const LOG: u8 = 2;
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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

const TAIL_WORD: usize = RECORDS_OFFSET / WORD;
const HEAD_WORD: usize = TAIL_WORD + 16;
const DATA_WORD: usize = TAIL_WORD + 32;
const DATA_WORDS: u64 = ((RECORDS_BYTES / WORD) - 32) as u64;

/// The worker's end.
#[derive(Debug, Default)]
pub struct RecordWriter {
    tail: u64,
    dropped: u64,
}

/// The host's end.
#[derive(Debug, Default)]
pub struct RecordReader {
    head: u64,
}

fn data(rsp: Rsp<'_>, position: u64) -> &crate::sync::AtomicU64 {
    rsp.word(DATA_WORD + (position % DATA_WORDS) as usize)
}

impl RecordWriter {
    /// The end of a fresh ring.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Writes a record; false: the ring is full or the record too large, it was dropped.
    pub fn push(&mut self, rsp: Rsp<'_>, kind: u8, bytes: &[u8]) -> bool {
        let words = 1 + bytes.len().div_ceil(WORD) as u64;
        // Acquire pairs with the Release store of `head` in `RecordReader::pop`.
        let head = rsp.word(HEAD_WORD).load(Ordering::Acquire);
        let free = DATA_WORDS.saturating_sub(self.tail.wrapping_sub(head));
        if bytes.len() > RECORD_BYTES_MAX || words > free {
            self.dropped += 1;
            return false;
        }
        let header = (bytes.len() as u64) << 8 | u64::from(kind);
        data(rsp, self.tail).store(header, Ordering::Relaxed);
        for (index, chunk) in bytes.chunks(WORD).enumerate() {
            let mut word = [0; WORD];
            word[..chunk.len()].copy_from_slice(chunk);
            let position = self.tail + 1 + index as u64;
            data(rsp, position).store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
        self.tail += words;
        // Release pairs with the Acquire load in `RecordReader::pop`.
        rsp.word(TAIL_WORD).store(self.tail, Ordering::Release);
        true
    }
}

impl RecordReader {
    /// The end of a fresh ring.
    pub fn new() -> Self {
        Self::default()
    }

    /// Copies the next record into `into` and tells its kind.
    ///
    /// # Errors
    /// The worker claims more than the ring holds, or a record longer than what it published.
    pub fn pop(&mut self, rsp: Rsp<'_>, into: &mut Vec<u8>) -> Result<Option<u8>, Violation> {
        // Acquire pairs with the Release store of `tail` in `RecordWriter::push`.
        let tail = rsp.word(TAIL_WORD).load(Ordering::Acquire);
        let filled = tail.wrapping_sub(self.head);
        if filled == 0 {
            return Ok(None);
        }
        if filled > DATA_WORDS {
            return Err(Violation::new("records fit their ring", tail));
        }
        let header = data(rsp, self.head).load(Ordering::Relaxed);
        let len = (header >> 8) as usize;
        let words = 1 + len.div_ceil(WORD) as u64;
        if len > RECORD_BYTES_MAX || words > filled {
            return Err(Violation::new("a record is as long as it was published", header));
        }
        into.clear();
        for index in 1..words {
            let word = data(rsp, self.head + index).load(Ordering::Relaxed);
            into.extend_from_slice(&word.to_le_bytes());
        }
        into.truncate(len);
        self.head += words;
        // Release pairs with the Acquire load in `RecordWriter::push`.
        rsp.word(HEAD_WORD).store(self.head, Ordering::Release);
        Ok(Some((header & 0xff) as u8))
    }
}
