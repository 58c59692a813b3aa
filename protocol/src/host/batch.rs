//! The host's end of a batch: publish it, take its tail back, tell its replies, and say what had
//! started.
//!
//! # Invariants
//! 1. `end` is what the ledger says; a claim word that says otherwise is a violation. `next` only
//!    grows, and never beyond `end`.
//! 2. A task is told once: as a reply ([`Answers`]), as taken back (it lies beyond
//!    [`tasks`](HostLane::tasks)), or among what is left at the worker's death.
//! 3. A loop on the claim word ends after [`BATCH_MAX`](crate::BATCH_MAX) rounds, whatever the
//!    worker writes: a CAS fails only against a claim, and claims only go on.

use crate::batch::{Claims, Progress, key_of};
use crate::error::Violation;
use crate::lane::{Req, Rsp, load_vec};
use crate::layout::{OUTPUT_INLINE, rsp_word};
use crate::message::{Answers, Event, Grant, Place, Request, Stage, Storage};
use crate::slot::Head;
use crate::sync::Ordering;

use super::{HostLane, Published};

impl HostLane {
    /// Publishes `count` tasks of one job as one: `request.input` is their
    /// [pieces](crate::push_piece), inline or in a block. Their replies go where the grant says, or
    /// into the slot.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    ///
    /// # Panics
    /// If they are none or more than [`BATCH_MAX`](crate::BATCH_MAX), and as `publish`.
    #[inline]
    pub fn publish_batch(
        &mut self,
        req: Req<'_>,
        rsp: Rsp<'_>,
        request: &Request<'_>,
        count: usize,
    ) -> Result<Published, Violation> {
        let batch = Progress::new(count);
        let request = Request { flags: u32::from(batch.end), ..*request };
        self.publish_as(req, rsp, &request, Some(batch))
    }

    /// How many tasks of a batch were not taken back; 1 for a task that is in none.
    pub fn tasks(&self, seq: u64) -> usize {
        self.ledger.batch(seq).map_or(1, |batch| usize::from(batch.end))
    }

    /// Takes back the tasks of a batch from `from` on, as far as none of them was claimed. Returns
    /// how many tasks the batch still has: those behind never started and are not in the lane any
    /// more, those before had been claimed or were not asked for.
    ///
    /// # Errors
    /// The claim word is none that this batch can have.
    pub fn take_back(&mut self, rsp: Rsp<'_>, seq: u64, from: usize) -> Result<usize, Violation> {
        self.check()?;
        let Some(batch) = self.ledger.batch(seq) else { return Ok(self.tasks(seq)) };
        let taken = self.lower_end(rsp, seq, batch, from);
        self.latch(taken)
    }

    fn lower_end(
        &mut self,
        rsp: Rsp<'_>,
        seq: u64,
        mut batch: Progress,
        from: usize,
    ) -> Result<usize, Violation> {
        // Relaxed throughout: one word, one order of modifications, and nothing hangs on it but
        // itself. Replies are read after an Acquire load only.
        let mut found = Claims::from_bits(rsp.claims(seq).load(Ordering::Relaxed));
        loop {
            batch.observe(seq, found)?;
            self.ledger.set_batch(seq, batch);
            let end = usize::from(batch.end).min(from).max(usize::from(batch.next)) as u8;
            if end == batch.end {
                return Ok(usize::from(end));
            }
            let lower = Claims::new(seq, batch.next, end);
            let (won, lost) = (Ordering::Relaxed, Ordering::Relaxed);
            match rsp.claims(seq).compare_exchange(found.bits(), lower.bits(), won, lost) {
                Ok(_) => {
                    batch.end = end;
                    self.ledger.set_batch(seq, batch);
                    return Ok(usize::from(end));
                }
                Err(now) => found = Claims::from_bits(now),
            }
            if found.next() <= batch.next {
                let rule = "a claim word changes by a claim only";
                return Err(Violation::new(rule, found.bits()));
            }
        }
    }

    /// What the oldest task has answered, if that is a batch that runs, and was not told before.
    /// It costs the worker a miss: for when the batch takes long, or is over by the worker's death.
    ///
    /// # Errors
    /// The claim word, or the state word, is none that this batch can have.
    pub fn answers(&mut self, rsp: Rsp<'_>) -> Result<Option<Answers>, Violation> {
        self.check()?;
        let Some(seq) = self.oldest() else { return Ok(None) };
        let Some(mut batch) = self.ledger.batch(seq) else { return Ok(None) };
        if self.ledger.has_asked(seq) {
            return Ok(None);
        }
        let seen = self.look(rsp, seq);
        if self.latch(seen)? != Stage::Running {
            return Ok(None);
        }
        // PAIRS: batch.answer — Acquire, with the CAS in `WorkerLane::claim`. A CAS of `take_back`
        // in between goes on with what that one released.
        let found = Claims::from_bits(rsp.claims(seq).load(Ordering::Acquire));
        let seen = batch.observe(seq, found);
        self.latch(seen)?;
        Ok(self.tell(seq, batch))
    }

    /// The replies that a sound claim word proves and that were not told: a task was answered when
    /// the next one was claimed.
    fn tell(&mut self, seq: u64, mut batch: Progress) -> Option<Answers> {
        let (first, until) = (batch.taken, batch.next.saturating_sub(1));
        batch.taken = first.max(until);
        self.ledger.set_batch(seq, batch);
        let grant = self.ledger.grant_of(seq);
        let answers = Answers {
            seq,
            first: usize::from(first),
            until: usize::from(until),
            len: room(grant),
            in_block: grant.capacity > 0,
            last: false,
        };
        (first < until).then_some(answers)
    }

    /// The oldest task is a batch that has come so far.
    #[inline(never)]
    pub(super) fn poll_batch(
        &mut self,
        req: Req<'_>,
        rsp: Rsp<'_>,
        seq: u64,
        stage: Stage,
    ) -> Result<Option<Event>, Violation> {
        let Some(batch) = self.ledger.batch(seq) else { return Ok(None) };
        match stage {
            Stage::Queued | Stage::Running | Stage::Granted => Ok(None),
            Stage::NeedSpace => {
                let answers = self.before_wish(rsp, seq, batch);
                if let Some(answers) = self.latch(answers)? {
                    return Ok(Some(Event::Answers(answers)));
                }
                let head = Head::from_bits(rsp.slot(seq, rsp_word::HEAD).load(Ordering::Relaxed));
                self.ledger.tell_wish(seq);
                Ok(Some(Event::NeedSpace { seq, len: head.len() }))
            }
            Stage::Done => {
                let answers = self.read_replies(rsp, seq, batch);
                let answers = self.latch(answers)?;
                self.settle_done(req, seq);
                Ok(Some(Event::Answers(answers)))
            }
        }
    }

    /// A batch whose last claimed task asks for room becomes that task: the others' replies are
    /// told, and what it has not claimed is taken back.
    fn before_wish(
        &mut self,
        rsp: Rsp<'_>,
        seq: u64,
        mut batch: Progress,
    ) -> Result<Option<Answers>, Violation> {
        // PAIRS: batch.answer — Acquire, with the CAS in `WorkerLane::claim`.
        let found = Claims::from_bits(rsp.claims(seq).load(Ordering::Acquire));
        batch.observe(seq, found)?;
        let rule = "a batch that asks for room has claimed a task, and waits";
        let lower = Claims::new(seq, batch.next, batch.next);
        let (won, lost) = (Ordering::Relaxed, Ordering::Relaxed);
        // Nothing is noted before the last check: what a violation hides is among the remains.
        let is_sound = batch.next > 0
            && rsp.claims(seq).compare_exchange(found.bits(), lower.bits(), won, lost).is_ok();
        if !is_sound {
            return Err(Violation::new(rule, found.bits()));
        }
        batch.end = batch.next;
        Ok(self.tell(seq, batch))
    }

    /// The replies of a batch that is done.
    fn read_replies(&self, rsp: Rsp<'_>, seq: u64, batch: Progress) -> Result<Answers, Violation> {
        let head = Head::from_bits(rsp.slot(seq, rsp_word::HEAD).load(Ordering::Relaxed));
        let count = rsp.slot(seq, rsp_word::RUN_NS).load(Ordering::Relaxed);
        if !head.is_replies() || count != u64::from(batch.end) {
            let rule = "a batch answers each task that was not taken back";
            return Err(Violation::new(rule, if head.is_replies() { count } else { head.bits() }));
        }
        let (grant, len) = (self.ledger.grant_of(seq), head.len());
        let place = if grant.capacity > 0 { Place::Block } else { Place::Inline };
        if head.place()? != place || len > room(grant) {
            return Err(Violation::new("a reply fits where it says it lies", head.bits()));
        }
        Ok(Answers {
            seq,
            first: usize::from(batch.taken),
            until: usize::from(batch.end),
            len,
            in_block: grant.capacity > 0,
            last: true,
        })
    }

    /// A later task of the batch is not asked to stop by an earlier one's word: that one is over.
    #[inline]
    pub(super) fn may_cancel(&mut self, seq: u64, index: usize) -> bool {
        let Some(mut batch) = self.ledger.batch(seq) else { return index == 0 };
        let is_later = index < usize::from(batch.end) && index + 1 >= usize::from(batch.cancelled);
        if is_later {
            batch.cancelled = index as u8 + 1;
            self.ledger.set_batch(seq, batch);
        }
        is_later
    }

    /// What is left of a task, or of each of a batch, after the worker's death.
    pub(super) fn tasks_left(
        &self,
        rsp: Rsp<'_>,
        seq: u64,
        started: bool,
    ) -> impl Iterator<Item = (u64, bool)> + use<> {
        let (mut tasks, mut claimed) = (0..1, usize::from(started));
        if let Some(mut batch) = self.ledger.batch(seq) {
            tasks = usize::from(batch.taken)..usize::from(batch.end);
            // PAIRS: batch.answer — Acquire, the dead worker's last step; its exit came after.
            let word = Claims::from_bits(rsp.claims(seq).load(Ordering::Acquire));
            let is_sound = self.broken.is_none() && batch.observe(seq, word).is_ok();
            claimed = match (started, is_sound) {
                (false, _) => 0,
                (true, true) => usize::from(batch.next),
                (true, false) => tasks.end,
            };
        }
        tasks.map(move |index| (key_of(seq, index), index < claimed))
    }
}

/// What a batch's replies may fill.
#[inline]
const fn room(grant: Grant) -> u64 {
    if grant.capacity > 0 { grant.capacity } else { OUTPUT_INLINE as u64 }
}

impl Answers {
    /// Where the replies lie. Ask before the slot is used again.
    pub fn output(&self, rsp: Rsp<'_>) -> Storage {
        if self.in_block {
            Storage::Block { len: self.len }
        } else {
            // The minimum is what every one of these has been compared with.
            let len = self.len.min(OUTPUT_INLINE as u64) as usize;
            Storage::Inline(load_vec(rsp.inline(self.seq), len))
        }
    }
}
