//! A lane's views: how both ends see the shared words, and nothing but words.
//!
//! The numbered protocols stand in `protocol/README.md`; [`HostLane`](crate::HostLane) and
//! [`WorkerLane`](crate::WorkerLane) are their two ends.

use crate::layout::{
    ARENA_OFFSET, REQ_INLINE_WORD, REQ_SLOTS_WORD, RSP_ARENA_OFFSET, RSP_INLINE_WORD, SLOT_WORDS,
    SLOTS, WORD,
};
use crate::message::InlineBytes;
use crate::slot::{State, Word};
use crate::sync::{AtomicU64, Ordering};

/// The control part of a REQ mapping. Written by: host. Read by: worker (Relaxed loads only, the
/// mapping is read-only there).
#[derive(Debug, Clone, Copy)]
pub struct Req<'a>(&'a [AtomicU64]);

/// The control part of an RSP mapping. State words are written by both; the rest by the worker.
#[derive(Debug, Clone, Copy)]
pub struct Rsp<'a>(&'a [AtomicU64]);

/// Words of a request slot, in order.
pub(crate) mod req_word {
    pub(crate) const SEQ: usize = 0;
    pub(crate) const JOB_AND_FLAGS: usize = 1;
    pub(crate) const KIND: usize = 2;
    pub(crate) const LEN: usize = 3;
    pub(crate) const OFFSET: usize = 4;
    pub(crate) const GRANT_OFFSET: usize = 5;
    pub(crate) const GRANT_CAPACITY: usize = 6;
    pub(crate) const CANCEL: usize = 7;
}

/// Words of a response slot, in order.
pub(crate) mod rsp_word {
    pub(crate) const STATE: usize = 0;
    /// `len << 16 | storage << 8 | kind`
    pub(crate) const HEAD: usize = 1;
    pub(crate) const RUN_NS: usize = 2;
}

impl<'a> Req<'a> {
    /// The view of a mapping's first words.
    ///
    /// # Panics
    /// If there are fewer words than the control part has.
    pub fn new(words: &'a [AtomicU64]) -> Self {
        assert!(words.len() >= ARENA_OFFSET / WORD, "a REQ mapping has its control part");
        Self(words)
    }

    #[inline]
    pub(crate) fn word(self, index: usize) -> &'a AtomicU64 {
        &self.0[index]
    }

    #[inline]
    pub(crate) fn slot(self, seq: u64, word: usize) -> &'a AtomicU64 {
        &self.0[REQ_SLOTS_WORD + slot_of(seq) * SLOT_WORDS + word]
    }

    pub(crate) fn inline(self, seq: u64) -> &'a [AtomicU64] {
        let first = REQ_SLOTS_WORD + slot_of(seq) * SLOT_WORDS;
        &self.0[first + REQ_INLINE_WORD..first + SLOT_WORDS]
    }
}

impl<'a> Rsp<'a> {
    /// The view of a mapping's first words.
    ///
    /// # Panics
    /// If there are fewer words than the control part has.
    pub fn new(words: &'a [AtomicU64]) -> Self {
        assert!(words.len() >= RSP_ARENA_OFFSET / WORD, "an RSP mapping has its control part");
        Self(words)
    }

    #[inline]
    pub(crate) fn word(self, index: usize) -> &'a AtomicU64 {
        &self.0[index]
    }

    #[inline]
    pub(crate) fn state(self, seq: u64) -> &'a AtomicU64 {
        &self.0[state_word_index(seq)]
    }

    #[inline]
    pub(crate) fn slot(self, seq: u64, word: usize) -> &'a AtomicU64 {
        &self.0[slot_of(seq) * SLOT_WORDS + word]
    }

    pub(crate) fn inline(self, seq: u64) -> &'a [AtomicU64] {
        let first = slot_of(seq) * SLOT_WORDS;
        &self.0[first + RSP_INLINE_WORD..first + SLOT_WORDS]
    }
}

#[inline]
const fn slot_of(seq: u64) -> usize {
    (seq % SLOTS as u64) as usize
}

/// The index of a sequence's state word in RSP, for the futex on its low half.
#[inline]
pub const fn state_word_index(seq: u64) -> usize {
    slot_of(seq) * SLOT_WORDS + rsp_word::STATE
}

/// A spinner's glance without the ledger: true once the host has something to do for `seq`.
#[inline]
pub fn looks_done(rsp: Rsp<'_>, seq: u64) -> bool {
    let word = Word(rsp.state(seq).load(Ordering::Relaxed));
    let same = word.seq() == seq;
    !(same && matches!(word.state(), Ok(State::Queued | State::Running | State::Granted)))
}

/// Copies bytes into words; the last word is filled up with zeros.
#[inline]
pub(crate) fn store_bytes(words: &[AtomicU64], bytes: &[u8]) {
    let mut chunks = bytes.chunks_exact(WORD);
    let mut index = 0;
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().expect("a chunk of eight"));
        words[index].store(word, Ordering::Relaxed);
        index += 1;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut last = [0; WORD];
        last[..rest.len()].copy_from_slice(rest);
        words[index].store(u64::from_le_bytes(last), Ordering::Relaxed);
    }
}

/// Copies `len` bytes out of words. The caller has checked `len <= N` and that the words hold it.
#[inline]
pub(crate) fn load_bytes<const N: usize>(words: &[AtomicU64], len: usize) -> InlineBytes<N> {
    let mut bytes = [0; N];
    for (chunk, word) in bytes[..len.next_multiple_of(WORD).min(N)].chunks_mut(WORD).zip(words) {
        let word = word.load(Ordering::Relaxed).to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    InlineBytes { bytes, len }
}
