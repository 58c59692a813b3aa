//! A lane's views: how both ends see the shared words, and nothing but words.
//!
//! Role: [`HostLane`](crate::HostLane) and [`WorkerLane`](crate::WorkerLane) are the two ends and
//! the only callers. A view borrows the control part of a mapping (everything before the arena);
//! whoever maps the memory makes it. Arena bytes are the mapper's business.
//!
//! # Invariants
//! 1. A view has exactly its control part, so an index made of a slot's number and a constant is
//!    in bounds; no index is ever made of a shared value.
//! 2. Payload words are Relaxed. What orders them is the state word of their slot.

use crate::layout::{
    CLAIM_WORDS, CLAIMS_WORD, REQ_CONTROL_WORDS, REQ_SLOTS_WORD, RSP_CONTROL_WORDS, SLOT_WORDS,
    SLOTS, WORD, req_word, rsp_word,
};
use crate::message::{InlineBytes, Stage};
use crate::slot::Word;
use crate::sync::{AtomicU64, Ordering};

/// The control part of a REQ mapping. Written by: host. Read by: worker (Relaxed loads only, the
/// mapping is read-only there).
#[derive(Debug, Clone, Copy)]
pub struct Req<'a>(&'a [AtomicU64; REQ_CONTROL_WORDS]);

/// The control part of an RSP mapping. State words and claim words are written by both, the record
/// ring's head by the host, the rest by the worker.
#[derive(Debug, Clone, Copy)]
pub struct Rsp<'a>(&'a [AtomicU64; RSP_CONTROL_WORDS]);

impl<'a> Req<'a> {
    /// The view of a mapping's first words.
    ///
    /// # Panics
    /// If there are fewer words than the control part has.
    #[inline]
    pub fn new(words: &'a [AtomicU64]) -> Self {
        Self(words.first_chunk().expect("a REQ mapping has its control part"))
    }

    #[inline]
    pub(crate) fn word(self, index: usize) -> &'a AtomicU64 {
        &self.0[index]
    }

    #[inline]
    pub(crate) fn slot(self, seq: u64, word: usize) -> &'a AtomicU64 {
        &self.0[REQ_SLOTS_WORD + slot_of(seq) * SLOT_WORDS + word]
    }

    #[inline]
    pub(crate) fn inline(self, seq: u64) -> &'a [AtomicU64] {
        let first = REQ_SLOTS_WORD + slot_of(seq) * SLOT_WORDS;
        &self.0[first + req_word::INLINE..first + SLOT_WORDS]
    }
}

impl<'a> Rsp<'a> {
    /// The view of a mapping's first words.
    ///
    /// # Panics
    /// If there are fewer words than the control part has.
    #[inline]
    pub fn new(words: &'a [AtomicU64]) -> Self {
        Self(words.first_chunk().expect("an RSP mapping has its control part"))
    }

    #[inline]
    pub(crate) fn word(self, index: usize) -> &'a AtomicU64 {
        &self.0[index]
    }

    #[inline]
    pub(crate) fn state(self, seq: u64) -> &'a AtomicU64 {
        self.slot(seq, rsp_word::STATE)
    }

    /// The claim word of a batch.
    #[inline]
    pub(crate) fn claims(self, seq: u64) -> &'a AtomicU64 {
        &self.0[CLAIMS_WORD + slot_of(seq) * CLAIM_WORDS]
    }

    #[inline]
    pub(crate) fn slot(self, seq: u64, word: usize) -> &'a AtomicU64 {
        &self.0[slot_of(seq) * SLOT_WORDS + word]
    }

    #[inline]
    pub(crate) fn inline(self, seq: u64) -> &'a [AtomicU64] {
        let first = slot_of(seq) * SLOT_WORDS;
        &self.0[first + rsp_word::INLINE..first + SLOT_WORDS]
    }
}

#[inline]
pub(crate) const fn slot_of(seq: u64) -> usize {
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
    // Relaxed: it decides nothing; whoever acts on it polls, and that load is an Acquire.
    let word = Word::from_bits(rsp.state(seq).load(Ordering::Relaxed));
    !matches!(word.stage(seq), Ok(Stage::Queued | Stage::Running | Stage::Granted))
}

/// Copies bytes into words; the last word is filled up with zeros. The words hold them.
#[inline]
pub(crate) fn store_bytes(words: &[AtomicU64], bytes: &[u8]) {
    debug_assert!(bytes.len() <= words.len() * WORD);
    let (full, rest) = bytes.as_chunks::<WORD>();
    for (word, chunk) in words.iter().zip(full) {
        word.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
    }
    if let (false, Some(word)) = (rest.is_empty(), words.get(full.len())) {
        let mut last = [0; WORD];
        last[..rest.len()].copy_from_slice(rest);
        word.store(u64::from_le_bytes(last), Ordering::Relaxed);
    }
}

/// Copies `len` bytes out of words into memory of their own: a reply moves several times before its
/// caller has it. The caller has checked `len`.
#[inline]
pub(crate) fn load_vec(words: &[AtomicU64], len: usize) -> Vec<u8> {
    debug_assert!(len <= words.len() * WORD);
    let mut bytes = Vec::with_capacity(len.next_multiple_of(WORD));
    for word in words.iter().take(len.div_ceil(WORD)) {
        bytes.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The same where they are looked at in place.
#[inline]
pub(crate) fn load_bytes<const N: usize>(words: &[AtomicU64], len: usize) -> InlineBytes<N> {
    debug_assert!(len <= N && N.is_multiple_of(WORD));
    let mut bytes = [0; N];
    let (chunks, _) = bytes.as_chunks_mut::<WORD>();
    for (chunk, word) in chunks.iter_mut().zip(words).take(len.div_ceil(WORD)) {
        *chunk = word.load(Ordering::Relaxed).to_le_bytes();
    }
    InlineBytes::new(bytes, len)
}
