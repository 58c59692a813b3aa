//! The worker's end of a lane. The worker trusts the host and checks only that the mapping is the
//! lane it was promised.

use crate::error::{Mismatch, Violation};
use crate::lane::{Req, Rsp, load_bytes, req_word, rsp_word, state_word_index, store_bytes};
use crate::layout::{
    ABI, EPOCH_WORD, HARVESTED_WORD, HEADER_WORD, INPUT_INLINE, LAYOUT_HASH, MAGIC, OUTPUT_INLINE,
};
use crate::message::{Claimed, ClaimedInput, Grant, GrantAnswer, Output, ReplyKind};
use crate::slot::{State, Word};
use crate::sync::{Ordering, fence};

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
        let fields = ["magic", "abi", "layout", "lane", "incarnation"];
        let wanted = [MAGIC, u64::from(ABI), LAYOUT_HASH, lane, incarnation];
        for (index, (field, wanted)) in fields.into_iter().zip(wanted).enumerate() {
            let found = req.word(HEADER_WORD + index).load(Ordering::Relaxed);
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
    pub fn next(&mut self, req: Req<'_>, rsp: Rsp<'_>) -> Result<Option<Claimed>, Violation> {
        loop {
            let seq = self.cursor;
            let word = Word(rsp.state(seq).load(Ordering::Relaxed));
            match word.seq().cmp(&seq) {
                std::cmp::Ordering::Less => return Ok(None),
                std::cmp::Ordering::Greater => {
                    // Taken back, and the slot used again.
                    self.cursor += 1;
                    continue;
                }
                std::cmp::Ordering::Equal => {}
            }
            match word.state()? {
                State::Queued => {}
                State::Revoked => {
                    self.cursor += 1;
                    continue;
                }
                _ => return Err(Violation::new("the cursor meets a fresh task", word.0)),
            }
            let running = Word::new(seq, State::Running).0;
            // Acquire pairs with the Release half of the swap in `HostLane::publish`.
            let (acquire, relaxed) = (Ordering::Acquire, Ordering::Relaxed);
            if rsp.state(seq).compare_exchange(word.0, running, acquire, relaxed).is_err() {
                continue;
            }
            self.cursor += 1;
            return read_request(req, seq).map(Some);
        }
    }

    /// Marks the cursor's word as slept on; `None`: something arrived meanwhile.
    pub fn park(&self, rsp: Rsp<'_>) -> Option<Park> {
        let seq = self.cursor;
        let word = Word(rsp.state(seq).load(Ordering::Relaxed));
        if word.seq() >= seq {
            return None;
        }
        self.mark_parked(rsp, seq, word)
    }

    fn mark_parked(&self, rsp: Rsp<'_>, seq: u64, word: Word) -> Option<Park> {
        let parked = word.parked();
        // AcqRel: either this comes first and the host's swap sees PARKED (`HostLane::publish`),
        // or it fails and the caller looks again. One word, one order.
        let (both, relaxed) = (Ordering::AcqRel, Ordering::Relaxed);
        rsp.state(seq).compare_exchange(word.0, parked.0, both, relaxed).ok()?;
        Some(Park { word: state_word_index(seq), expected: parked.low() })
    }

    /// Asks for room for an output of `len` bytes. Ring the bell, then wait for
    /// [`granted`](Self::granted).
    pub fn need_space(&self, rsp: Rsp<'_>, seq: u64, len: u64) {
        rsp.slot(seq, rsp_word::HEAD).store(len, Ordering::Relaxed);
        // Release pairs with the Acquire load in `HostLane::poll`.
        rsp.state(seq).store(Word::new(seq, State::NeedSpace).0, Ordering::Release);
    }

    /// The host's answer, once it is there.
    pub fn granted(&self, req: Req<'_>, rsp: Rsp<'_>, seq: u64) -> Option<GrantAnswer> {
        // Acquire pairs with the Release half of the swap in `HostLane::grant`.
        let word = Word(rsp.state(seq).load(Ordering::Acquire));
        if word.state() != Ok(State::Granted) {
            return None;
        }
        let load = |word| req.slot(seq, word).load(Ordering::Relaxed);
        Some(match load(req_word::KIND) {
            1 => GrantAnswer::Block(Grant {
                offset: load(req_word::GRANT_OFFSET),
                capacity: load(req_word::GRANT_CAPACITY),
            }),
            2 => GrantAnswer::Memfd,
            _ => GrantAnswer::Refused,
        })
    }

    /// As [`park`](Self::park), for a task that waits for room.
    pub fn park_for_grant(&self, rsp: Rsp<'_>, seq: u64) -> Option<Park> {
        let word = Word::new(seq, State::NeedSpace);
        let now = Word(rsp.state(seq).load(Ordering::Relaxed));
        if now == word.parked() {
            return Some(Park { word: state_word_index(seq), expected: now.low() });
        }
        self.mark_parked(rsp, seq, word)
    }

    /// Publishes a reply.
    pub fn finish(
        &mut self,
        rsp: Rsp<'_>,
        seq: u64,
        kind: ReplyKind,
        output: Output<'_>,
        run_ns: u64,
    ) {
        let (storage, len) = match output {
            Output::Inline(bytes) => {
                let bytes = &bytes[..bytes.len().min(OUTPUT_INLINE)];
                store_bytes(rsp.inline(seq), bytes);
                (0, bytes.len() as u64)
            }
            Output::Block { len } => (1, len),
            Output::Memfd { len } => (2, len),
        };
        let head = len << 16 | storage << 8 | kind.number();
        rsp.slot(seq, rsp_word::HEAD).store(head, Ordering::Relaxed);
        rsp.slot(seq, rsp_word::RUN_NS).store(run_ns, Ordering::Relaxed);
        // Release pairs with the Acquire load in `HostLane::poll`.
        rsp.state(seq).store(Word::new(seq, State::Done).0, Ordering::Release);
        self.last_done = seq;
    }

    /// True: nobody polls, and this sleep of the host has not been rung for. Ring the bell.
    ///
    /// May be called some time after the replies it speaks for, but before the worker sleeps and
    /// before it begins anything long.
    pub fn must_ring(&mut self, req: Req<'_>) -> bool {
        // Pairs with the fence in `HostLane::arm`: if this one comes first, the host's poll after
        // it sees the reply; otherwise the load below sees the armed epoch.
        fence(Ordering::SeqCst);
        let epoch = req.word(EPOCH_WORD).load(Ordering::Relaxed);
        let ring = epoch % 2 == 1 && epoch != self.last_rung;
        if ring {
            self.last_rung = epoch;
        }
        ring
    }

    /// The host has harvested the last reply already: no bell is owed for it.
    pub fn is_harvested(&self, req: Req<'_>) -> bool {
        req.word(HARVESTED_WORD).load(Ordering::Relaxed) >= self.last_done
    }

    /// True once the host asked this task to stop.
    pub fn is_cancelled(req: Req<'_>, seq: u64) -> bool {
        req.slot(seq, req_word::CANCEL).load(Ordering::Relaxed) == seq
    }
}

/// Reads a claimed request.
fn read_request(req: Req<'_>, seq: u64) -> Result<Claimed, Violation> {
    let load = |word| req.slot(seq, word).load(Ordering::Relaxed);
    let found = load(req_word::SEQ);
    if found != seq {
        return Err(Violation::new("a request names its own task", found));
    }
    let job_and_flags = load(req_word::JOB_AND_FLAGS);
    let len = load(req_word::LEN);
    let input = match load(req_word::KIND) {
        0 if len <= INPUT_INLINE as u64 => {
            ClaimedInput::Inline(load_bytes(req.inline(seq), len as usize))
        }
        1 => ClaimedInput::Block { offset: load(req_word::OFFSET), len },
        2 => ClaimedInput::Memfd { len },
        kind => return Err(Violation::new("an input lies at a known place", kind)),
    };
    let grant =
        Grant { offset: load(req_word::GRANT_OFFSET), capacity: load(req_word::GRANT_CAPACITY) };
    Ok(Claimed {
        seq,
        job: (job_and_flags & 0xffff_ffff) as u32,
        flags: (job_and_flags >> 32) as u32,
        input,
        grant,
    })
}
