//! The worker's end of a batch: claim its tasks one by one, and answer each where its reply stays.
//!
//! # Invariants
//! 1. A reply is written whole before the next task is claimed, and stays where it is: so a claim
//!    says that all replies before it are there, even if the worker dies over the next task.
//! 2. `next` is written here only; the host lowers `end`, never below `next`. A word that says
//!    otherwise ends the worker.
//! 3. A task that does not fit asks for room as a single one does, and is the batch's last.

use crate::batch::{Claims, piece_bytes, piece_head};
use crate::error::Violation;
use crate::lane::{Rsp, store_bytes};
use crate::layout::{BATCH_MAX, OUTPUT_INLINE, WORD, rsp_word};
use crate::message::{Claimed, Grant, Place, ReplyKind};
use crate::slot::{Head, Word};
use crate::sync::Ordering;

use super::WorkerLane;

/// A batch that the worker runs.
#[derive(Debug)]
pub struct Batch {
    seq: u64,
    /// The claim word, as it was last seen.
    word: Claims,
    grant: Grant,
    used: usize,
}

/// Where a task's reply went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Into the slot.
    Done,
    /// Write these bytes, and the reply's behind them, at this offset of RSP before the next claim.
    At {
        /// Offset in bytes.
        offset: u64,
        /// What stands before the reply.
        head: [u8; WORD],
    },
    /// Nowhere: it does not fit. [Ask for room](WorkerLane::need_space), and
    /// [finish](WorkerLane::finish) with this reply alone; the host has the others' by then.
    NoRoom,
}

impl WorkerLane {
    /// The batch that was claimed; `None`: it is a single task.
    ///
    /// # Errors
    /// It is no batch that a host publishes.
    #[inline]
    pub fn batch(&self, rsp: Rsp<'_>, claimed: &Claimed) -> Result<Option<Batch>, Violation> {
        if claimed.flags == 0 {
            return Ok(None);
        }
        // Relaxed: the claim of the slot was an Acquire, and the host's first value came before.
        let word = Claims::from_bits(rsp.claims(claimed.seq).load(Ordering::Relaxed));
        let count = claimed.flags as usize;
        if !word.names(claimed.seq)
            || word.next() != 0
            || count > BATCH_MAX
            || usize::from(word.end()) > count
        {
            return Err(Violation::new("a fresh batch has its claim word", word.bits()));
        }
        Ok(Some(Batch { seq: claimed.seq, word, grant: claimed.grant, used: 0 }))
    }

    /// Claims the next task of a batch; `None`: there is none any more,
    /// [finish it](Self::finish_batch).
    ///
    /// # Errors
    /// The claim word holds something that a host never writes.
    #[inline]
    pub fn claim(&self, rsp: Rsp<'_>, batch: &mut Batch) -> Result<Option<usize>, Violation> {
        loop {
            let (next, end) = (batch.word.next(), batch.word.end());
            if next == end {
                return Ok(None);
            }
            let claimed = Claims::new(batch.seq, next + 1, end);
            // PAIRS: batch.answer — Release, with the Acquire loads in `HostLane::answers` and
            // `HostLane::remains`: the replies before this task. It fails against
            // `HostLane::take_back` only, of which it has to see nothing else.
            let (won, lost) = (Ordering::Release, Ordering::Relaxed);
            let word = rsp.claims(batch.seq);
            match word.compare_exchange(batch.word.bits(), claimed.bits(), won, lost) {
                Ok(_) => {
                    batch.word = claimed;
                    return Ok(Some(usize::from(next)));
                }
                Err(now) => {
                    let now = Claims::from_bits(now);
                    let lowered = (next..end).contains(&now.end());
                    if !now.names(batch.seq) || now.next() != next || !lowered {
                        let rule = "a claim word changes by taking back only";
                        return Err(Violation::new(rule, now.bits()));
                    }
                    batch.word = now;
                }
            }
        }
    }

    /// Answers the task that was claimed last.
    #[inline]
    pub fn answer(
        &self,
        rsp: Rsp<'_>,
        batch: &mut Batch,
        kind: ReplyKind,
        reply: &[u8],
        run_ns: u32,
    ) -> Put {
        let (used, room) = (batch.used, batch.room());
        if reply.len() > room || piece_bytes(reply.len()) > room - used {
            return Put::NoRoom;
        }
        batch.used += piece_bytes(reply.len());
        let head = piece_head(kind.number() as u8, reply.len(), run_ns);
        if batch.grant.capacity > 0 {
            let offset = batch.grant.offset + used as u64;
            return Put::At { offset, head: head.to_le_bytes() };
        }
        let words = &rsp.inline(batch.seq)[used / WORD..];
        words[0].store(head, Ordering::Relaxed);
        store_bytes(&words[1..], reply);
        Put::Done
    }

    /// Publishes the replies of a batch that has no more tasks.
    #[inline]
    pub fn finish_batch(&mut self, rsp: Rsp<'_>, batch: &Batch) {
        debug_assert_eq!(batch.word.next(), batch.word.end());
        let place = if batch.grant.capacity > 0 { Place::Block } else { Place::Inline };
        let (head, count) = (Head::replies(place, batch.used as u64), batch.word.end());
        rsp.slot(batch.seq, rsp_word::HEAD).store(head.bits(), Ordering::Relaxed);
        rsp.slot(batch.seq, rsp_word::RUN_NS).store(u64::from(count), Ordering::Relaxed);
        // PAIRS: slot.reply — Release, with the Acquire load in `HostLane::poll`.
        rsp.state(batch.seq).store(Word::done(batch.seq).bits(), Ordering::Release);
        self.last_done = batch.seq;
    }
}

impl Batch {
    fn room(&self) -> usize {
        match usize::try_from(self.grant.capacity) {
            Ok(0) => OUTPUT_INLINE,
            // A grant was compared with the arena when the task was claimed.
            Ok(capacity) => capacity,
            Err(_) => 0,
        }
    }
}
