//! Messages of a job in the record ring: the worker cuts them into parts, the host puts them
//! together.
//!
//! The first part says how long the message is; so many bytes follow, in it and in the parts
//! behind it. Records of other kinds may stand between two parts, parts of another message not.
//!
//! # Invariants
//! 1. A message has at most [`EMITTED_BYTES_MAX`] bytes; its writer drops and counts longer ones.
//! 2. The host keeps one unfinished message at most, and of it only bytes that have come: a length
//!    that is claimed reserves nothing.
//! 3. A writer that gives up in the midst of a message begins the next one with its first part;
//!    what had come of the other is forgotten.

use serde::{Deserialize, Serialize};

use crate::error::Violation;
use crate::record::{RECORD_BYTES_MAX, record_kind};

/// The longest message in bytes.
pub const EMITTED_BYTES_MAX: usize = 1 << 20;

/// A first part begins with the task's sequence and the message's length, a further one with the
/// sequence; words in little-endian order.
const FIRST_HEAD: usize = 16;
const MORE_HEAD: usize = 8;

/// Messages that a task emitted and its worker dropped, beside those it told of before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedRecord {
    /// The task's sequence in the lane.
    pub seq: u64,
    /// How many.
    pub count: u64,
}

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// The sequence of the task that emitted it.
    pub seq: u64,
    /// What it emitted.
    pub bytes: Vec<u8>,
}

/// Gives the records of a message to `send`, one after the other, each with its kind, until that
/// says no. True: all were sent.
pub fn send_message(seq: u64, message: &[u8], mut send: impl FnMut(u8, &[u8]) -> bool) -> bool {
    if message.len() > EMITTED_BYTES_MAX {
        return false;
    }
    let (first, rest) = message.split_at(message.len().min(RECORD_BYTES_MAX - FIRST_HEAD));
    let mut record = Vec::with_capacity(RECORD_BYTES_MAX.min(FIRST_HEAD + message.len()));
    record.extend_from_slice(&seq.to_le_bytes());
    record.extend_from_slice(&(message.len() as u64).to_le_bytes());
    record.extend_from_slice(first);
    let mut goes_on = send(record_kind::MESSAGE, &record);
    for part in rest.chunks(RECORD_BYTES_MAX - MORE_HEAD) {
        record.truncate(MORE_HEAD);
        record.extend_from_slice(part);
        goes_on = goes_on && send(record_kind::MESSAGE_MORE, &record);
    }
    goes_on
}

/// The host's end: puts the parts of one worker's messages together.
#[derive(Debug, Default)]
pub struct Assembly {
    seq: u64,
    /// Bytes of the message that is under way; 0: none is.
    len: usize,
    bytes: Vec<u8>,
}

impl Assembly {
    /// Nothing has come.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a record of kind `MESSAGE`, and tells the message if that was all of it.
    ///
    /// # Errors
    /// No worker writes such a part.
    pub fn first(&mut self, record: &[u8]) -> Result<Option<Emitted>, Violation> {
        let (seq, rest) = word(record)?;
        let (len, bytes) = word(rest)?;
        if len > EMITTED_BYTES_MAX as u64 {
            return Err(Violation::new("a message is no longer than they may be", len));
        }
        (self.seq, self.len) = (seq, len as usize);
        self.bytes.clear();
        self.add(bytes)
    }

    /// The same for a record of kind `MESSAGE_MORE`.
    ///
    /// # Errors
    /// As [`first`](Self::first).
    pub fn more(&mut self, record: &[u8]) -> Result<Option<Emitted>, Violation> {
        let (seq, bytes) = word(record)?;
        if self.len == 0 || seq != self.seq || bytes.is_empty() {
            return Err(Violation::new("a part continues the message before it", seq));
        }
        self.add(bytes)
    }

    fn add(&mut self, bytes: &[u8]) -> Result<Option<Emitted>, Violation> {
        if bytes.len() > self.len - self.bytes.len() {
            let whole = (self.bytes.len() + bytes.len()) as u64;
            return Err(Violation::new("a message is as long as it was announced", whole));
        }
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() < self.len {
            return Ok(None);
        }
        self.len = 0;
        Ok(Some(Emitted { seq: self.seq, bytes: std::mem::take(&mut self.bytes) }))
    }
}

fn word(bytes: &[u8]) -> Result<(u64, &[u8]), Violation> {
    match bytes.split_first_chunk() {
        Some((word, rest)) => Ok((u64::from_le_bytes(*word), rest)),
        None => Err(Violation::new("a part has its whole head", bytes.len() as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(assembly: &mut Assembly, kind: u8, record: &[u8]) -> Option<Emitted> {
        match kind {
            record_kind::MESSAGE => assembly.first(record),
            _ => assembly.more(record),
        }
        .expect("a worker's own part")
    }

    #[test]
    fn messages_of_every_length_are_put_together_as_they_were() {
        let mut assembly = Assembly::new();
        let (one, two) = (RECORD_BYTES_MAX - FIRST_HEAD, RECORD_BYTES_MAX - MORE_HEAD);
        for len in [0, 1, one - 1, one, one + 1, one + two, one + two + 1, EMITTED_BYTES_MAX] {
            let bytes: Vec<u8> = (0..len).map(|index| (index * 7 + len) as u8).collect();
            let mut came = Vec::new();
            assert!(send_message(9, &bytes, |kind, record| {
                assert!(record.len() <= RECORD_BYTES_MAX);
                came.extend(take(&mut assembly, kind, record));
                true
            }));
            assert_eq!(came, [Emitted { seq: 9, bytes }]);
        }
        let never = |_: u8, _: &[u8]| unreachable!("it is too long");
        assert!(!send_message(9, &vec![0; EMITTED_BYTES_MAX + 1], never));
    }

    #[test]
    fn a_message_that_its_writer_gave_up_leaves_nothing_behind() {
        let mut assembly = Assembly::new();
        let mut left = 2;
        let sent = send_message(1, &[7; 10_000], |kind, record| {
            assert_eq!(take(&mut assembly, kind, record), None);
            left -= 1;
            left > 0
        });
        assert!(!sent && left == 0, "nothing is sent after a no");
        let mut came = None;
        send_message(2, b"next", |kind, record| {
            came = take(&mut assembly, kind, record);
            true
        });
        assert_eq!(came, Some(Emitted { seq: 2, bytes: b"next".to_vec() }));
    }

    #[test]
    fn what_no_worker_writes_is_a_violation() {
        let head = |seq: u64, len: u64| [seq.to_le_bytes(), len.to_le_bytes()].concat();
        let first = |record: &[u8]| Assembly::new().first(record);
        first(&head(1, EMITTED_BYTES_MAX as u64 + 1)).expect_err("too long");
        first(&head(1, u64::MAX)).expect_err("far too long");
        first(&head(1, 3)[..15]).expect_err("half a head");
        first(&[&head(1, 3)[..], b"four"].concat()).expect_err("more than announced");

        let mut assembly = Assembly::new();
        let more = |seq: u64, bytes: &[u8]| [&seq.to_le_bytes()[..], bytes].concat();
        assembly.more(&more(1, b"x")).expect_err("nothing is under way");
        assert_eq!(assembly.first(&head(1, 3)), Ok(None));
        assembly.more(&more(2, b"x")).expect_err("of another task");
        assembly.more(&more(1, b"")).expect_err("of nothing");
        assembly.more(&more(1, b"four")).expect_err("more than announced");
        assembly.more(b"1234567").expect_err("half a head");
        let whole = assembly.more(&more(1, b"abc"));
        assert_eq!(whole, Ok(Some(Emitted { seq: 1, bytes: b"abc".to_vec() })));
        assembly.more(&more(1, b"x")).expect_err("it is complete");
    }
}
