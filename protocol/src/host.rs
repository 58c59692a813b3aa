//! The host's end of a lane: every transition that the host makes, and every check of what a
//! worker wrote.
//!
//! Role: called under the lock of whoever owns the lane. It holds no reference to the memory;
//! every call is given views. Not here: waking (the caller does what [`Published::wake`] says) and
//! the bytes of blocks.
//!
//! # Invariants
//! 1. The [ledger](crate::ledger) is the truth. A shared word is loaded once, compared with the
//!    ledger, and never used as an index, a bound or a length before it was checked.
//! 2. The first violation latches: every later call answers it again, `remains` excepted.
//! 3. No panic depends on a shared word.
//!
//! # Ordering
//! | site | order | pairs with | what becomes visible |
//! |---|---|---|---|
//! | `publish` | swap AcqRel | claim in `WorkerLane::next` | the request; and, backwards, PARKED |
//! | `revoke` | CAS AcqRel, failing Acquire | claim in `WorkerLane::next` | that the task is taken back; or the word that was faster |
//! | `poll`, `stage` | load Acquire | `finish`, `need_space` | the reply, or the wish |
//! | `grant` | swap AcqRel | `WorkerLane::granted` | the answer; and, backwards, PARKED |
//! | `remains` | load Acquire | claim in `WorkerLane::next` | what a dead worker did last |
//! | `answers` | load Acquire | `WorkerLane::claim` | replies of a running batch |
//! | `arm`, `rearm` | fence SeqCst | `WorkerLane::must_ring` | the epoch, or the reply |

mod batch;

use crate::batch::{Progress, split_key};
use crate::error::Violation;
use crate::lane::{Req, Rsp, load_vec, store_bytes};
use crate::layout::{
    ABI, EPOCH_WORD, HARVESTED_WORD, INPUT_INLINE, LAYOUT_HASH, MAGIC, OUTPUT_INLINE, header_word,
    req_word, rsp_word,
};
use crate::ledger::Ledger;
use crate::message::{Done, Event, Grant, GrantAnswer, Input, Place, Request, Stage, Storage};
use crate::slot::{Head, Word};
use crate::sync::{Ordering, fence};

/// What [`HostLane::publish`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The task's sequence in the lane.
    pub seq: u64,
    /// The worker sleeps on this state word: wake it, even if the task is taken back before.
    pub wake: bool,
}

/// See the module.
#[derive(Debug)]
pub struct HostLane {
    lane: u64,
    incarnation: u64,
    ledger: Ledger,
    /// What `park_epoch` holds: odd while nobody polls.
    epoch: u64,
    broken: Option<Violation>,
}

impl HostLane {
    /// The ledger of a fresh lane, whose memory is zero.
    pub const fn new(lane: u64, incarnation: u64) -> Self {
        Self { lane, incarnation, ledger: Ledger::new(), epoch: 0, broken: None }
    }

    /// Writes the header that the worker checks. The descriptors are sent afterwards, which
    /// orders it.
    pub fn init(&self, req: Req<'_>) {
        let set = |word, value| req.word(word).store(value, Ordering::Relaxed);
        set(header_word::MAGIC, MAGIC);
        set(header_word::ABI, u64::from(ABI));
        set(header_word::LAYOUT, LAYOUT_HASH);
        set(header_word::LANE, self.lane);
        set(header_word::INCARNATION, self.incarnation);
    }

    /// Slots that can be published to now. A task taken back frees its slot once every older one
    /// is settled.
    #[inline]
    pub const fn free_slots(&self) -> usize {
        self.ledger.free_slots()
    }

    /// Tasks in the lane.
    #[inline]
    pub const fn in_flight(&self) -> usize {
        self.ledger.in_flight()
    }

    /// The sequence of the next publication.
    #[inline]
    pub const fn next_seq(&self) -> u64 {
        self.ledger.next_seq()
    }

    /// The oldest task in the lane: the one that a spinner looks at.
    #[inline]
    pub fn oldest(&self) -> Option<u64> {
        self.ledger.oldest()
    }

    #[inline]
    fn check(&self) -> Result<(), Violation> {
        self.broken.map_or(Ok(()), Err)
    }

    #[inline]
    fn latch<T>(&mut self, result: Result<T, Violation>) -> Result<T, Violation> {
        if let Err(violation) = result {
            self.broken = Some(violation);
        }
        result
    }

    /// Publishes a request. The state word is swapped, so that a worker that parked on it is
    /// seen (PARKED in the old value).
    ///
    /// # Errors
    /// The old word was not what the ledger says.
    ///
    /// # Panics
    /// If no slot is free, or an inline input is too long: bugs of the host.
    #[inline]
    pub fn publish(
        &mut self,
        req: Req<'_>,
        rsp: Rsp<'_>,
        request: &Request<'_>,
    ) -> Result<Published, Violation> {
        self.publish_as(req, rsp, request, None)
    }

    #[inline(always)] // without a batch it is as if there were none
    fn publish_as(
        &mut self,
        req: Req<'_>,
        rsp: Rsp<'_>,
        request: &Request<'_>,
        batch: Option<Progress>,
    ) -> Result<Published, Violation> {
        self.check()?;
        assert!(self.free_slots() > 0, "the host publishes only to free slots");
        let seq = self.next_seq();
        write_request(req, seq, request);
        if let Some(batch) = batch {
            // Relaxed: the swap below publishes it with the request.
            rsp.claims(seq).store(batch.word(seq).bits(), Ordering::Relaxed);
        }
        // PAIRS: slot.claim — Release, with the claim's Acquire in `WorkerLane::next`; and
        // slot.parked — Acquire, with the CAS in `WorkerLane::park`: one word, one order.
        let old = rsp.state(seq).swap(Word::queued(seq).bits(), Ordering::AcqRel);
        let old = Word::from_bits(old);
        let noted = self.ledger.publish(request.grant, old, batch);
        self.latch(noted)?;
        Ok(Published { seq, wake: old.is_parked() })
    }

    /// After a violation in [`publish`](Self::publish), which has written the word by then: takes
    /// that word back. True: nobody has acted on it.
    pub fn withdraw(&self, rsp: Rsp<'_>) -> bool {
        let seq = self.next_seq();
        let (queued, revoked) = (Word::queued(seq), Word::revoked(seq));
        // PAIRS: slot.claim — as in `revoke`: of the two CAS on QUEUED one wins.
        let (won, lost) = (Ordering::AcqRel, Ordering::Relaxed);
        rsp.state(seq).compare_exchange(queued.bits(), revoked.bits(), won, lost).is_ok()
    }

    /// Takes a task back; true: it never started and is no longer in the lane. False: it has
    /// started, or is not in the lane.
    ///
    /// # Errors
    /// The word is none that this task can have.
    #[inline]
    pub fn revoke(&mut self, rsp: Rsp<'_>, seq: u64) -> Result<bool, Violation> {
        self.check()?;
        if !self.ledger.looked_queued(seq) {
            return Ok(false);
        }
        let (queued, revoked) = (Word::queued(seq), Word::revoked(seq));
        // PAIRS: slot.claim — the other CAS on QUEUED is the claim in `WorkerLane::next`: one of
        // them wins. Acquire on failure for the word that is then looked at.
        let (won, lost) = (Ordering::AcqRel, Ordering::Acquire);
        match rsp.state(seq).compare_exchange(queued.bits(), revoked.bits(), won, lost) {
            Ok(_) => {
                self.ledger.settle(seq, revoked);
                Ok(true)
            }
            Err(now) => {
                let seen = self.ledger.observe(seq, Word::from_bits(now));
                self.latch(seen).map(|_| false)
            }
        }
    }

    /// Asks a task to stop; its job sees it when it looks. A task of a batch by its
    /// [key](crate::key_of).
    #[inline]
    pub fn cancel(&mut self, req: Req<'_>, key: u64) {
        let (seq, index) = split_key(key);
        if self.ledger.holds(seq) && self.may_cancel(seq, index) {
            req.slot(seq, req_word::CANCEL).store(key, Ordering::Relaxed);
        }
    }

    /// Looks at the oldest task. `None`: nothing to do. Call it until then.
    ///
    /// # Errors
    /// The worker wrote something that the ledger does not allow.
    #[inline]
    pub fn poll(&mut self, req: Req<'_>, rsp: Rsp<'_>) -> Result<Option<Event>, Violation> {
        self.check()?;
        let Some(seq) = self.oldest() else { return Ok(None) };
        let seen = self.look(rsp, seq);
        match self.latch(seen)? {
            Stage::Queued | Stage::Running | Stage::Granted => Ok(None),
            stage if self.ledger.is_open_batch(seq) => self.poll_batch(req, rsp, seq, stage),
            Stage::NeedSpace => {
                let head = Head::from_bits(rsp.slot(seq, rsp_word::HEAD).load(Ordering::Relaxed));
                let wish = Event::NeedSpace { seq, len: head.len() };
                Ok(self.ledger.tell_wish(seq).then_some(wish))
            }
            Stage::Done => {
                let done = read_done(rsp, seq, self.ledger.grant_of(seq));
                let done = self.latch(done)?;
                self.settle_done(req, seq);
                Ok(Some(Event::Done(done)))
            }
        }
    }

    #[inline]
    fn settle_done(&mut self, req: Req<'_>, seq: u64) {
        self.ledger.settle(seq, Word::done(seq));
        if self.ledger.in_flight() == 0 {
            // Relaxed: a hint that forgives the worker its bell. It is stored after the reply was
            // seen, so it never promises too much; and only when the lane is empty, since a worker
            // with a task ahead does not look at it.
            req.word(HARVESTED_WORD).store(seq, Ordering::Relaxed);
        }
    }

    #[inline]
    fn look(&mut self, rsp: Rsp<'_>, seq: u64) -> Result<Stage, Violation> {
        // PAIRS: slot.reply — Acquire, with the Release stores in `WorkerLane::finish` and
        // `WorkerLane::need_space`.
        let now = Word::from_bits(rsp.state(seq).load(Ordering::Acquire));
        self.ledger.observe(seq, now)
    }

    /// Answers a wish for room; true: the worker sleeps on the word, wake it. False also where
    /// the task waits for no answer (any more): then nothing is done.
    ///
    /// # Errors
    /// The worker changed the word while it waited.
    pub fn grant(
        &mut self,
        req: Req<'_>,
        rsp: Rsp<'_>,
        seq: u64,
        answer: GrantAnswer,
    ) -> Result<bool, Violation> {
        self.check()?;
        if !self.ledger.waits_for_answer(seq) {
            return Ok(false);
        }
        let grant = match answer {
            GrantAnswer::Block(grant) => grant,
            GrantAnswer::Memfd | GrantAnswer::Refused => Grant::NONE,
        };
        let set = |word, value| req.slot(seq, word).store(value, Ordering::Relaxed);
        set(req_word::GRANT_OFFSET, grant.offset);
        set(req_word::GRANT_CAPACITY, grant.capacity);
        set(req_word::PLACE, answer.number());
        // PAIRS: slot.granted — Release, with the Acquire load in `WorkerLane::granted`; and
        // slot.parked — Acquire, with the CAS in `WorkerLane::park_for_grant`.
        let old = rsp.state(seq).swap(Word::granted(seq).bits(), Ordering::AcqRel);
        let old = Word::from_bits(old);
        if old.unparked() != Word::need_space(seq) {
            let violation = Violation::new("a task that asked for room waits", old.bits());
            return self.latch(Err(violation));
        }
        self.ledger.answer(seq, grant);
        Ok(old.is_parked())
    }

    /// How far a task is; what is not in the lane (any more) is [`Stage::Done`].
    ///
    /// # Errors
    /// The word is none that this task can have.
    #[inline]
    pub fn stage(&mut self, rsp: Rsp<'_>, seq: u64) -> Result<Stage, Violation> {
        self.check()?;
        if !self.ledger.holds(seq) {
            return Ok(Stage::Done);
        }
        let seen = self.look(rsp, seq);
        self.latch(seen)
    }

    /// Nobody polls from now on: completions must ring. **Poll once more afterwards.** An armed
    /// lane stays in its epoch; after a bell, [`rearm`](Self::rearm).
    #[inline]
    pub fn arm(&mut self, req: Req<'_>) {
        if self.is_armed() {
            // PAIRS: lane.bell — SeqCst, with the fence in `WorkerLane::must_ring`.
            fence(Ordering::SeqCst);
        } else {
            self.rearm(req);
        }
    }

    /// Somebody polls: completions need not ring.
    #[inline]
    pub fn disarm(&mut self, req: Req<'_>) {
        if self.is_armed() {
            self.epoch += 1;
            req.word(EPOCH_WORD).store(self.epoch, Ordering::Relaxed);
        }
    }

    /// The next armed epoch, so that the next completion rings (again). **Poll once more
    /// afterwards.**
    #[inline]
    pub fn rearm(&mut self, req: Req<'_>) {
        self.epoch += if self.is_armed() { 2 } else { 1 };
        req.word(EPOCH_WORD).store(self.epoch, Ordering::Relaxed);
        // PAIRS: lane.bell — SeqCst, with the fence in `WorkerLane::must_ring`.
        fence(Ordering::SeqCst);
    }

    /// True while completions must ring.
    #[inline]
    pub const fn is_armed(&self) -> bool {
        self.epoch % 2 == 1
    }

    /// What is left after the worker's death, when `poll` and `answers` find nothing more: each
    /// task's sequence (of a batch, each task's [key](crate::key_of)), oldest first, and whether it
    /// had started. Nothing is in flight afterwards, and no slot is free. A lane that a violation
    /// latched answers, too; what its words do not prove unstarted had started.
    pub fn remains(&mut self, rsp: Rsp<'_>) -> Vec<(u64, bool)> {
        let started = |seq| {
            // PAIRS: slot.claim — Acquire, the dead worker's last step; its exit came after.
            let now = Word::from_bits(rsp.state(seq).load(Ordering::Acquire));
            now != Word::queued(seq) || !self.ledger.looked_queued(seq)
        };
        let each = self.ledger.sequences().flat_map(|seq| self.tasks_left(rsp, seq, started(seq)));
        let left = each.collect();
        self.ledger.close();
        left
    }
}

/// Fills a request slot. Its words are nobody else's: an honest worker reads them only between
/// its claim and its reply.
#[inline]
fn write_request(req: Req<'_>, seq: u64, request: &Request<'_>) {
    let (place, len, offset) = match request.input {
        Input::Inline(bytes) => {
            assert!(bytes.len() <= INPUT_INLINE, "an inline input fits its slot");
            store_bytes(req.inline(seq), bytes);
            (Place::Inline, bytes.len() as u64, 0)
        }
        Input::Block { offset, len } => (Place::Block, len, offset),
        Input::Memfd { len } => (Place::Memfd, len, 0),
    };
    let set = |word, value| req.slot(seq, word).store(value, Ordering::Relaxed);
    set(req_word::SEQ, seq);
    set(req_word::JOB_AND_FLAGS, u64::from(request.flags) << 32 | u64::from(request.job));
    set(req_word::PLACE, place.number());
    set(req_word::LEN, len);
    set(req_word::OFFSET, offset);
    set(req_word::DEADLINE, request.context.deadline_ns);
    set(req_word::TRACE, request.context.trace as u64);
    set(req_word::TRACE + 1, (request.context.trace >> 64) as u64);
    set(req_word::GRANT_OFFSET, request.grant.offset);
    set(req_word::GRANT_CAPACITY, request.grant.capacity);
}

/// Copies a reply out and checks it against the grant.
#[inline]
fn read_done(rsp: Rsp<'_>, seq: u64, grant: Grant) -> Result<Done, Violation> {
    let head = Head::from_bits(rsp.slot(seq, rsp_word::HEAD).load(Ordering::Relaxed));
    let run_ns = rsp.slot(seq, rsp_word::RUN_NS).load(Ordering::Relaxed);
    let (kind, place, len) = (head.kind()?, head.place()?, head.len());
    let output = match place {
        Place::Inline if len <= OUTPUT_INLINE as u64 => {
            Storage::Inline(load_vec(rsp.inline(seq), len as usize))
        }
        Place::Block if grant.capacity > 0 && len <= grant.capacity => Storage::Block { len },
        Place::Memfd => Storage::Memfd { len },
        Place::Inline | Place::Block => {
            return Err(Violation::new("a reply fits where it says it lies", head.bits()));
        }
    };
    Ok(Done { seq, kind, output, run_ns })
}
