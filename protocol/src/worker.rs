//! The worker's end of a lane: claim, reply, ask for room, park, and say when a bell is owed.
//!
//! Role: called by the one thread that runs tasks ([`is_cancelled`](WorkerLane::is_cancelled) by
//! any). The worker trusts the host. It still checks what it reads, because a job may have
//! scribbled over RSP, and a worker that goes on with a broken lane does harm: it ends instead.
//!
//! # Invariants
//! 1. `cursor` is the oldest sequence that was not claimed nor passed. It only grows.
//! 2. REQ is read-only here, so it is only ever loaded, and Relaxed.
//! 3. A request's words are read after its claim and before its reply; at no other time are they
//!    this worker's to read.
//!
//! # Ordering
//! | site | order | pairs with | what becomes visible |
//! |---|---|---|---|
//! | `next` | CAS Acquire | `HostLane::publish` | the request |
//! | `park`, `park_for_grant` | CAS AcqRel | the swaps of `publish`, `grant` | PARKED, or the new word |
//! | `finish`, `need_space` | store Release | `HostLane::poll` | the reply, or the wish |
//! | `granted` | load Acquire | `HostLane::grant` | the answer |
//! | `claim` | CAS Release | `HostLane::answers` | the replies before it |
//! | `must_ring` | fence SeqCst | `HostLane::rearm` | the reply, or the epoch |

mod batch;

use crate::error::{Mismatch, Violation};
use crate::lane::{Req, Rsp, load_bytes, state_word_index, store_bytes};
use crate::layout::{
    ABI, ARENA_OFFSET, EPOCH_WORD, HARVESTED_WORD, INPUT_INLINE, LAYOUT_HASH, MAGIC, OUTPUT_INLINE,
    REQ_BYTES, RSP_ARENA_OFFSET, RSP_BYTES, SLOTS, header_word, req_word, rsp_word,
};
use crate::message::{
    Claimed, ClaimedInput, Context, Grant, GrantAnswer, Output, Place, ReplyKind,
};
use crate::slot::{AtCursor, Head, Word};
use crate::sync::{Ordering, fence};
pub use crate::worker::batch::{Batch, Put};

/// A state word to sleep on: FUTEX_WAIT on its low half while that is `expected`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Park {
    /// Index of the word in RSP.
    pub word: usize,
    /// The low half, with the PARKED bit.
    pub expected: u32,
}

/// See the module.
#[derive(Debug)]
pub struct WorkerLane {
    cursor: u64,
    last_done: u64,
    last_rung: u64,
}

impl WorkerLane {
    /// Checks the header and starts at the first sequence.
    ///
    /// # Errors
    /// The header is not this build's or not this lane's.
    pub fn attach(req: Req<'_>, lane: u64, incarnation: u64) -> Result<Self, Mismatch> {
        let fields = [
            ("magic", header_word::MAGIC, MAGIC),
            ("abi", header_word::ABI, u64::from(ABI)),
            ("layout", header_word::LAYOUT, LAYOUT_HASH),
            ("lane", header_word::LANE, lane),
            ("incarnation", header_word::INCARNATION, incarnation),
        ];
        for (field, word, wanted) in fields {
            let found = req.word(word).load(Ordering::Relaxed);
            if found != wanted {
                return Err(Mismatch { field, found, wanted });
            }
        }
        Ok(Self { cursor: 1, last_done: 0, last_rung: 0 })
    }

    /// Claims the next task, if there is one.
    ///
    /// # Errors
    /// The lane holds something that a host never writes.
    #[inline]
    pub fn next(&mut self, req: Req<'_>, rsp: Rsp<'_>) -> Result<Option<Claimed>, Violation> {
        loop {
            let seq = self.cursor;
            // PAIRS: slot.claim — Acquire, with the swap in `HostLane::publish`: after a sequence
            // was passed, the words of those before it are as new.
            let word = Word::from_bits(rsp.state(seq).load(Ordering::Acquire));
            match word.at_cursor(seq) {
                AtCursor::Vacant => return Ok(None),
                AtCursor::Queued => {
                    let running = Word::running(seq);
                    // PAIRS: slot.claim — Acquire, with the swap in `HostLane::publish`. It fails
                    // against `HostLane::revoke` only, and the word is looked at again.
                    let (won, lost) = (Ordering::Acquire, Ordering::Relaxed);
                    let claim =
                        rsp.state(seq).compare_exchange(word.bits(), running.bits(), won, lost);
                    if claim.is_ok() {
                        self.cursor += 1;
                        return read_request(req, seq).map(Some);
                    }
                }
                AtCursor::Revoked => self.cursor += 1,
                // A slot is used again only when all that is older than `later - SLOTS + 1` is
                // settled, and nothing from the cursor on was settled by a reply.
                AtCursor::Overtaken(later) => self.cursor = later - SLOTS as u64 + 1,
                AtCursor::Alien => {
                    let rule = "the cursor meets a fresh task or what was left there";
                    return Err(Violation::new(rule, word.bits()));
                }
            }
        }
    }

    /// The oldest sequence that may still be claimed.
    #[inline]
    pub const fn cursor(&self) -> u64 {
        self.cursor
    }

    /// A glance: the next task is there already. Decides nothing.
    #[inline]
    pub fn has_next(&self, rsp: Rsp<'_>) -> bool {
        rsp.state(self.cursor).load(Ordering::Relaxed) == Word::queued(self.cursor).bits()
    }

    /// Marks the cursor's word as slept on; `None`: something arrived meanwhile, call
    /// [`next`](Self::next) again.
    #[inline]
    pub fn park(&self, rsp: Rsp<'_>) -> Option<Park> {
        let word = Word::from_bits(rsp.state(self.cursor).load(Ordering::Relaxed));
        if !word.is_vacant_for(self.cursor) {
            return None;
        }
        mark_parked(rsp, self.cursor, word)
    }

    /// As [`park`](Self::park), for a task that waits for room.
    #[inline]
    pub fn park_for_grant(&self, rsp: Rsp<'_>, seq: u64) -> Option<Park> {
        let word = Word::from_bits(rsp.state(seq).load(Ordering::Relaxed));
        if word.unparked() != Word::need_space(seq) {
            return None;
        }
        mark_parked(rsp, seq, word)
    }

    /// Asks for room for an output of `len` bytes. Ring if [`must_ring`](Self::must_ring) says
    /// so, whatever [`is_harvested`](Self::is_harvested) does, then wait for
    /// [`granted`](Self::granted): a task that asked has to hear the answer.
    pub fn need_space(&self, rsp: Rsp<'_>, seq: u64, len: u64) {
        rsp.slot(seq, rsp_word::HEAD).store(Head::wish(len).bits(), Ordering::Relaxed);
        // PAIRS: slot.reply — Release, with the Acquire load in `HostLane::poll`.
        rsp.state(seq).store(Word::need_space(seq).bits(), Ordering::Release);
    }

    /// The host's answer, once it is there.
    pub fn granted(&self, req: Req<'_>, rsp: Rsp<'_>, seq: u64) -> Option<GrantAnswer> {
        // PAIRS: slot.granted — Acquire, with the swap in `HostLane::grant`.
        let word = Word::from_bits(rsp.state(seq).load(Ordering::Acquire));
        if word != Word::granted(seq) {
            return None;
        }
        let number = req.slot(seq, req_word::PLACE).load(Ordering::Relaxed);
        // A grant outside of the arena is none: the output is then refused, not misplaced.
        let grant = read_grant(req, seq);
        let answer = grant.ok().and_then(|grant| GrantAnswer::from_number(number, grant));
        Some(answer.unwrap_or(GrantAnswer::Refused))
    }

    /// Publishes a reply.
    ///
    /// # Panics
    /// If an inline output is too long: a bug of the worker.
    #[inline]
    pub fn finish(
        &mut self,
        rsp: Rsp<'_>,
        seq: u64,
        kind: ReplyKind,
        output: Output<'_>,
        run_ns: u64,
    ) {
        let (place, len) = match output {
            Output::Inline(bytes) => {
                assert!(bytes.len() <= OUTPUT_INLINE, "an inline output fits its slot");
                store_bytes(rsp.inline(seq), bytes);
                (Place::Inline, bytes.len() as u64)
            }
            Output::Block { len } => (Place::Block, len),
            Output::Memfd { len } => (Place::Memfd, len),
        };
        let head = Head::reply(kind, place, len);
        rsp.slot(seq, rsp_word::HEAD).store(head.bits(), Ordering::Relaxed);
        rsp.slot(seq, rsp_word::RUN_NS).store(run_ns, Ordering::Relaxed);
        // PAIRS: slot.reply — Release, with the Acquire load in `HostLane::poll`.
        rsp.state(seq).store(Word::done(seq).bits(), Ordering::Release);
        self.last_done = seq;
    }

    /// True: nobody polls, and this sleep of the host has not been rung for. Ring the bell.
    ///
    /// May be called some time after the replies it speaks for, but before the worker sleeps and
    /// before it begins anything long.
    #[inline]
    pub fn must_ring(&mut self, req: Req<'_>) -> bool {
        owes_bell(req, &mut self.last_rung)
    }

    /// The host has harvested the last reply already: no bell is owed for it.
    #[inline]
    pub fn is_harvested(&self, req: Req<'_>) -> bool {
        req.word(HARVESTED_WORD).load(Ordering::Relaxed) >= self.last_done
    }

    /// True once the host asked this task to stop.
    #[inline]
    pub fn is_cancelled(req: Req<'_>, seq: u64) -> bool {
        req.slot(seq, req_word::CANCEL).load(Ordering::Relaxed) == seq
    }
}

/// The worker's half of the bell, for replies and for records, each with its own `last_rung`.
#[inline]
pub(crate) fn owes_bell(req: Req<'_>, last_rung: &mut u64) -> bool {
    // PAIRS: lane.bell — SeqCst, with the fence in `HostLane::rearm`: if this one comes first, the
    // host's poll after its own sees the reply or record; otherwise the load sees the epoch.
    fence(Ordering::SeqCst);
    let epoch = req.word(EPOCH_WORD).load(Ordering::Relaxed);
    let ring = epoch % 2 == 1 && epoch != *last_rung;
    if ring {
        *last_rung = epoch;
    }
    ring
}

/// Sets PARKED on `word`, which may carry it since a sleep that ended for no reason.
#[inline]
fn mark_parked(rsp: Rsp<'_>, seq: u64, word: Word) -> Option<Park> {
    let parked = word.parked();
    // PAIRS: slot.parked — AcqRel, with the swaps in `HostLane::publish` and `HostLane::grant`.
    // Either this comes first and the swap sees PARKED, or it fails and the caller looks again.
    let (won, lost) = (Ordering::AcqRel, Ordering::Relaxed);
    rsp.state(seq).compare_exchange(word.bits(), parked.bits(), won, lost).ok()?;
    Some(Park { word: state_word_index(seq), expected: parked.low() })
}

/// Reads a claimed request.
#[inline]
fn read_request(req: Req<'_>, seq: u64) -> Result<Claimed, Violation> {
    let load = |word| req.slot(seq, word).load(Ordering::Relaxed);
    let found = load(req_word::SEQ);
    if found != seq {
        return Err(Violation::new("a request names its own task", found));
    }
    let job_and_flags = load(req_word::JOB_AND_FLAGS);
    let (place, len) = (load(req_word::PLACE), load(req_word::LEN));
    let input = match Place::from_number(place) {
        Some(Place::Inline) if len <= INPUT_INLINE as u64 => {
            ClaimedInput::Inline(load_bytes(req.inline(seq), len as usize))
        }
        Some(Place::Block) => {
            let offset = load(req_word::OFFSET);
            in_arena(offset, len, ARENA_OFFSET, REQ_BYTES)?;
            ClaimedInput::Block { offset, len }
        }
        Some(Place::Memfd) => ClaimedInput::Memfd { len },
        _ => return Err(Violation::new("an input lies at a known place", place)),
    };
    Ok(Claimed {
        seq,
        job: (job_and_flags & 0xffff_ffff) as u32,
        flags: (job_and_flags >> 32) as u32,
        context: Context {
            deadline_ns: load(req_word::DEADLINE),
            trace: u128::from(load(req_word::TRACE + 1)) << 64 | u128::from(load(req_word::TRACE)),
        },
        input,
        grant: read_grant(req, seq)?,
    })
}

#[inline]
fn read_grant(req: Req<'_>, seq: u64) -> Result<Grant, Violation> {
    let load = |word| req.slot(seq, word).load(Ordering::Relaxed);
    let capacity = load(req_word::GRANT_CAPACITY);
    if capacity == 0 {
        return Ok(Grant::NONE);
    }
    let offset = load(req_word::GRANT_OFFSET);
    in_arena(offset, capacity, RSP_ARENA_OFFSET, RSP_BYTES)?;
    Ok(Grant { offset, capacity })
}

#[inline]
const fn in_arena(offset: u64, len: u64, start: usize, end: usize) -> Result<(), Violation> {
    if offset < start as u64 || offset > end as u64 || len > end as u64 - offset {
        return Err(Violation::new("a block lies in its arena", offset));
    }
    Ok(())
}
