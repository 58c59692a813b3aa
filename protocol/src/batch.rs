//! What both ends agree on about batches: the claim word, the names of a batch's tasks, and how
//! their inputs and replies stand one behind the other. `host/batch.rs` and `worker/batch.rs` are
//! the ends; the protocol stands in `protocol/README.md`, 16.
//!
//! # Invariants
//! 1. The claim word is `seq << 16 | next << 8 | end`: the tasks before `next` were claimed, those
//!    from `end` on were taken back, and what lies between is nobody's yet. The worker raises
//!    `next`, the host lowers `end`, both by CAS of the whole word: each task goes to one of them.
//! 2. The word names its sequence (the low 48 bits), so that no word of an earlier batch of the
//!    slot is taken for this one's, by an end that came late or from memory that was scribbled on.
//! 3. No length of a piece is used before it was compared with what is left.

use crate::error::Violation;
use crate::layout::{BATCH_MAX, WORD};
use crate::message::ReplyKind;

const TAG_SHIFT: u32 = 16;
const NEXT_SHIFT: u32 = 8;
const BYTE: u64 = 0xff;
/// Sequences have 56 bits (see `slot.rs`); a task's place in its batch stands above them.
const KEY_SHIFT: u32 = 56;

/// One value of a claim word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claims(u64);

impl Claims {
    #[inline]
    pub(crate) const fn new(seq: u64, next: u8, end: u8) -> Self {
        Self(seq << TAG_SHIFT | (next as u64) << NEXT_SHIFT | end as u64)
    }

    #[inline]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) const fn next(self) -> u8 {
        (self.0 >> NEXT_SHIFT & BYTE) as u8
    }

    #[inline]
    pub(crate) const fn end(self) -> u8 {
        (self.0 & BYTE) as u8
    }

    /// It is a word of this batch.
    #[inline]
    pub(crate) const fn names(self, seq: u64) -> bool {
        self.0 >> TAG_SHIFT == seq << TAG_SHIFT >> TAG_SHIFT
    }
}

/// How far a batch is, as one end knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Tasks that were not taken back.
    pub(crate) end: u8,
    /// Tasks that were seen to be claimed.
    pub(crate) next: u8,
    /// Tasks whose replies were told.
    pub(crate) taken: u8,
    /// The last task that was asked to stop, plus one.
    pub(crate) cancelled: u8,
}

impl Progress {
    #[inline]
    pub(crate) fn new(count: usize) -> Self {
        assert!((1..=BATCH_MAX).contains(&count), "a batch has one task to BATCH_MAX");
        Self { end: count as u8, next: 0, taken: 0, cancelled: 0 }
    }

    /// The word that says this.
    #[inline]
    pub(crate) const fn word(self, seq: u64) -> Claims {
        Claims::new(seq, self.next, self.end)
    }

    /// Takes note of a claim word, as the host sees it.
    ///
    /// # Errors
    /// It is none that this batch can have.
    #[inline]
    pub(crate) fn observe(&mut self, seq: u64, word: Claims) -> Result<(), Violation> {
        let rule = "a claim word names its batch, keeps its end and claims onwards";
        let next = word.next();
        if !word.names(seq) || word.end() != self.end || next < self.next || next > self.end {
            return Err(Violation::new(rule, word.bits()));
        }
        self.next = next;
        Ok(())
    }
}

/// The name of a batch's task: its sequence, and its place above that. The first task's name, and
/// that of a task which is in no batch, is the sequence itself.
#[inline]
pub const fn key_of(seq: u64, index: usize) -> u64 {
    (index as u64 & BYTE) << KEY_SHIFT | seq
}

/// Sequence, and place in its batch, of a name.
#[inline]
pub const fn split_key(key: u64) -> (u64, usize) {
    (key & (u64::MAX >> (64 - KEY_SHIFT)), (key >> KEY_SHIFT) as usize)
}

/// One task's input, or its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// How long the job ran, in ns, at most 4 s; of an input 0.
    pub run_ns: u32,
    kind: u8,
}

impl Piece<'_> {
    /// What became of the task.
    ///
    /// # Errors
    /// It is no known kind, as that of an input.
    pub fn kind(&self) -> Result<ReplyKind, Violation> {
        let kind = ReplyKind::from_number(u64::from(self.kind));
        kind.ok_or_else(|| Violation::new("a reply has a known kind", u64::from(self.kind)))
    }
}

const LEN_SHIFT: u32 = 8;
const LEN_MAX: usize = (1 << 24) - 1;
const RUN_SHIFT: u32 = 32;

/// The word before a piece: `run_ns << 32 | len << 8 | kind`.
#[inline]
pub(crate) const fn piece_head(kind: u8, len: usize, run_ns: u32) -> u64 {
    assert!(len <= LEN_MAX, "a piece fits a block");
    (run_ns as u64) << RUN_SHIFT | (len as u64) << LEN_SHIFT | kind as u64
}

/// Bytes that a piece fills, its head and what fills its last word included.
#[inline]
pub(crate) const fn piece_bytes(len: usize) -> usize {
    WORD + len.next_multiple_of(WORD)
}

/// Appends a task's input to those of its batch.
///
/// # Panics
/// If it is longer than a block.
pub fn push_piece(batch: &mut Vec<u8>, input: &[u8]) {
    batch.extend_from_slice(&piece_head(0, input.len(), 0).to_le_bytes());
    batch.extend_from_slice(input);
    batch.resize(batch.len().next_multiple_of(WORD), 0);
}

/// The pieces of a batch, one after the other, out of a private copy (or read-only memory): an
/// error where one does not fit what is left, and nothing afterwards.
#[derive(Debug, Clone)]
pub struct Pieces<'a>(Option<&'a [u8]>);

impl<'a> Pieces<'a> {
    /// Those that `bytes` begins with.
    pub const fn of(bytes: &'a [u8]) -> Self {
        Self(Some(bytes))
    }

    /// Nothing stands behind the last piece.
    pub fn is_empty(&self) -> bool {
        self.0.is_none_or(<[u8]>::is_empty)
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<Piece<'a>, Violation>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.0.take()?;
        let (head, rest) = bytes.split_first_chunk::<WORD>()?;
        let head = u64::from_le_bytes(*head);
        let len = (head >> LEN_SHIFT) as usize & LEN_MAX;
        let Some((padded, rest)) = rest.split_at_checked(len.next_multiple_of(WORD)) else {
            let rule = "a piece of a batch ends where its batch does";
            return Some(Err(Violation::new(rule, head)));
        };
        self.0 = Some(rest);
        let kind = (head & BYTE) as u8;
        Some(Ok(Piece { bytes: &padded[..len], run_ns: (head >> RUN_SHIFT) as u32, kind }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_word_gives_back_what_it_was_made_of_and_knows_its_batch() {
        for seq in [1, 9, 1 << 47, (1 << 56) - 1] {
            let word = Claims::new(seq, 3, 32);
            assert_eq!((word.next(), word.end()), (3, 32));
            assert!(word.names(seq) && !word.names(seq - 1) && !word.names(seq ^ 8));
        }
        assert!(!Claims::from_bits(0).names(8));
    }

    #[test]
    fn a_claim_word_only_goes_on_and_keeps_its_end() {
        let mut seen = Progress { next: 2, ..Progress::new(5) };
        for (next, end) in [(1, 5), (6, 5), (3, 4), (3, 6)] {
            seen.observe(8, Claims::new(8, next, end)).unwrap_err();
            assert_eq!(seen.next, 2);
        }
        seen.observe(8, Claims::new(16, 3, 5)).unwrap_err();
        seen.observe(8, Claims::new(8, 5, 5)).unwrap();
        assert_eq!(seen.next, 5);
    }

    #[test]
    fn keys_give_back_sequence_and_place() {
        assert_eq!(key_of(77, 0), 77);
        assert_eq!(split_key(77), (77, 0));
        let last = (1 << 56) - 1;
        assert_eq!(split_key(key_of(last, BATCH_MAX - 1)), (last, BATCH_MAX - 1));
        assert_eq!(key_of(13, 31) % 8, 13 % 8, "a key lies in the slot of its sequence");
    }

    #[test]
    fn pieces_of_every_length_come_back_in_order() {
        let inputs: Vec<Vec<u8>> = (0..20).map(|len| vec![len as u8 + 1; len]).collect();
        let mut batch = Vec::new();
        inputs.iter().for_each(|input| push_piece(&mut batch, input));
        let mut pieces = Pieces::of(&batch);
        for input in &inputs {
            assert_eq!(pieces.next().unwrap().unwrap().bytes, input);
        }
        assert!(pieces.is_empty() && pieces.next().is_none());
    }

    #[test]
    fn a_piece_that_goes_beyond_its_batch_is_a_violation_and_the_last_one() {
        let whole = [&piece_head(1, 9, 7).to_le_bytes()[..], &[5; 16]].concat();
        let piece = Pieces::of(&whole).next().unwrap().unwrap();
        assert_eq!((piece.bytes, piece.run_ns, piece.kind()), (&[5; 9][..], 7, Ok(ReplyKind::Ok)));
        for cut in 8..whole.len() {
            let mut pieces = Pieces::of(&whole[..cut]);
            pieces.next().unwrap().unwrap_err();
            assert!(pieces.next().is_none());
        }
        assert!(Pieces::of(&whole[..7]).next().is_none());
        let input = Piece { bytes: &[], run_ns: 0, kind: 0 };
        input.kind().unwrap_err();
    }
}
