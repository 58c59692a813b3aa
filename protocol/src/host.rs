//! The host's end of a lane: the private ledger, and every transition that the host makes.
//!
//! # Invariants
//! 1. The ledger is the truth. A shared word is loaded once, compared with the ledger, and never
//!    used as an index, a bound or a length before it was checked.
//! 2. Sequences `tail..next` are in flight or were taken back; at most [`SLOTS`] of them.
//! 3. The first violation latches: every later call answers it again.

use crate::error::Violation;
use crate::lane::{Req, Rsp, load_bytes, req_word, rsp_word, store_bytes};
use crate::layout::{
    ABI, EPOCH_WORD, HARVESTED_WORD, HEADER_WORD, INPUT_INLINE, LAYOUT_HASH, MAGIC, OUTPUT_INLINE,
    SLOTS,
};
use crate::message::{Done, Event, Grant, GrantAnswer, Input, ReplyKind, Request, Stage, Storage};
use crate::slot::{SEQ_MAX, State, Word};
use crate::sync::{Ordering, fence};

/// What [`HostLane::publish`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The task's sequence in the lane.
    pub seq: u64,
    /// The worker sleeps on this state word: wake it.
    pub wake: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Free,
    /// Published; the last word the host wrote, the grant, and whether room was asked for.
    InFlight {
        word: Word,
        grant: Grant,
        asked: bool,
    },
    /// Taken back; the word REVOKED stands until the slot is used again.
    Revoked,
}

/// See the module.
#[derive(Debug)]
pub struct HostLane {
    lane: u64,
    incarnation: u64,
    tail: u64,
    next: u64,
    entries: [Entry; SLOTS],
    in_flight: usize,
    epoch: u64,
    broken: Option<Violation>,
}

impl HostLane {
    /// The ledger of a fresh lane.
    pub fn new(lane: u64, incarnation: u64) -> Self {
        Self {
            lane,
            incarnation,
            tail: 1,
            next: 1,
            entries: [Entry::Free; SLOTS],
            in_flight: 0,
            epoch: 0,
            broken: None,
        }
    }

    /// Writes the header that the worker checks.
    pub fn init(&self, req: Req<'_>) {
        let header = [MAGIC, u64::from(ABI), LAYOUT_HASH, self.lane, self.incarnation];
        for (index, word) in header.into_iter().enumerate() {
            req.word(HEADER_WORD + index).store(word, Ordering::Relaxed);
        }
    }

    /// Slots that can be published to now.
    #[inline]
    pub fn free_slots(&self) -> usize {
        SLOTS - (self.next - self.tail) as usize
    }

    /// Tasks in the lane.
    #[inline]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The sequence of the next publication.
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// The oldest task in the lane.
    #[inline]
    pub fn oldest(&self) -> Option<u64> {
        (self.tail < self.next).then_some(self.tail)
    }

    #[inline]
    fn entry(&mut self, seq: u64) -> &mut Entry {
        &mut self.entries[(seq % SLOTS as u64) as usize]
    }

    fn word_of(&self, seq: u64) -> Option<(Word, Grant, bool)> {
        if !(self.tail..self.next).contains(&seq) {
            return None;
        }
        match self.entries[(seq % SLOTS as u64) as usize] {
            Entry::InFlight { word, grant, asked } => Some((word, grant, asked)),
            Entry::Free | Entry::Revoked => None,
        }
    }

    fn latch<T>(&mut self, violation: Violation) -> Result<T, Violation> {
        Err(*self.broken.get_or_insert(violation))
    }

    fn check(&self) -> Result<(), Violation> {
        self.broken.map_or(Ok(()), Err)
    }

    /// Publishes a request. The state word is swapped, so that a worker that parked on it is
    /// seen (PARKED in the old value).
    ///
    /// # Errors
    /// The old word was not what the ledger says.
    ///
    /// # Panics
    /// If no slot is free, or an inline input is too long: bugs of the host.
    pub fn publish(
        &mut self,
        req: Req<'_>,
        rsp: Rsp<'_>,
        request: &Request<'_>,
    ) -> Result<Published, Violation> {
        self.check()?;
        assert!(self.free_slots() > 0, "the host publishes only to free slots");
        let seq = self.next;
        assert!(seq < SEQ_MAX, "a lane outlives 2^56 tasks");
        let (kind, len, offset) = match request.input {
            Input::Inline(bytes) => {
                assert!(bytes.len() <= INPUT_INLINE, "an inline input fits its slot");
                store_bytes(req.inline(seq), bytes);
                (0, bytes.len() as u64, 0)
            }
            Input::Block { offset, len } => (1, len, offset),
            Input::Memfd { len } => (2, len, 0),
        };
        let set = |word, value| req.slot(seq, word).store(value, Ordering::Relaxed);
        set(req_word::SEQ, seq);
        set(req_word::JOB_AND_FLAGS, u64::from(request.flags) << 32 | u64::from(request.job));
        set(req_word::KIND, kind);
        set(req_word::LEN, len);
        set(req_word::OFFSET, offset);
        set(req_word::GRANT_OFFSET, request.grant.offset);
        set(req_word::GRANT_CAPACITY, request.grant.capacity);

        let word = Word::new(seq, State::Queued);
        // AcqRel: the Release half pairs with the Acquire claim in `WorkerLane::next`.
        let old = Word(rsp.state(seq).swap(word.0, Ordering::AcqRel));
        let expected = self.word_before(seq);
        if !expected.contains(&old.unparked()) {
            return self.latch(Violation::new("a free slot's word stays as it was left", old.0));
        }
        *self.entry(seq) = Entry::InFlight { word, grant: request.grant, asked: false };
        self.next += 1;
        self.in_flight += 1;
        Ok(Published { seq, wake: old.is_parked() })
    }

    /// What a slot may hold before `seq` is published to it: the end of the sequence before.
    fn word_before(&self, seq: u64) -> [Word; 2] {
        match seq.checked_sub(SLOTS as u64) {
            None | Some(0) => [Word(0), Word(0)],
            Some(before) => [Word::new(before, State::Done), Word::new(before, State::Revoked)],
        }
    }

    /// Takes a task back; true: it never started and is no longer in the lane.
    ///
    /// # Errors
    /// The word is none that this task can have.
    pub fn revoke(&mut self, rsp: Rsp<'_>, seq: u64) -> Result<bool, Violation> {
        self.check()?;
        let Some((word, ..)) = self.word_of(seq) else { return Ok(false) };
        if word.state() != Ok(State::Queued) {
            return Ok(false);
        }
        // The worker may have parked on this very word before it was published, never after: a
        // published word carries no PARKED bit, and parking needs an empty slot.
        let revoked = Word::new(seq, State::Revoked).0;
        let (acquire, relaxed) = (Ordering::AcqRel, Ordering::Relaxed); // pairs with `next`'s claim
        match rsp.state(seq).compare_exchange(word.0, revoked, acquire, relaxed) {
            Ok(_) => {
                *self.entry(seq) = Entry::Revoked;
                self.in_flight -= 1;
                self.advance();
                Ok(true)
            }
            Err(now) => match (Word(now).seq() == seq, Word(now).state()?) {
                (true, State::Running | State::Done | State::NeedSpace) => Ok(false),
                _ => self.latch(Violation::new("a queued task is claimed or stays", now)),
            },
        }
    }

    /// Passes what was taken back at the tail.
    ///
    /// A revoked sequence at the tail may be one the worker has not passed yet: its slot can be
    /// used again at once, because the worker skips every sequence that is older than what it
    /// finds.
    fn advance(&mut self) {
        while self.tail < self.next && *self.entry(self.tail) == Entry::Revoked {
            *self.entry(self.tail) = Entry::Free;
            self.tail += 1;
        }
    }

    /// Asks a task to stop; its job sees it when it looks.
    pub fn cancel(&self, req: Req<'_>, seq: u64) {
        if self.word_of(seq).is_some() {
            req.slot(seq, req_word::CANCEL).store(seq, Ordering::Relaxed);
        }
    }

    /// Looks at the oldest task. `None`: nothing to do.
    ///
    /// # Errors
    /// The worker wrote something that the ledger does not allow.
    pub fn poll(&mut self, req: Req<'_>, rsp: Rsp<'_>) -> Result<Option<Event>, Violation> {
        self.check()?;
        let Some(seq) = self.oldest() else { return Ok(None) };
        let Some((_, grant, asked)) = self.word_of(seq) else { return Ok(None) };
        // Acquire pairs with the Release stores in `WorkerLane::finish` and `need_space`.
        let now = Word(rsp.state(seq).load(Ordering::Acquire));
        let state = match now.state() {
            Ok(state) if now.seq() == seq => state,
            _ => return self.latch(Violation::new("a state word names its own task", now.0)),
        };
        let grant_answered = matches!(
            *self.entry(seq),
            Entry::InFlight { word, .. } if word.state() == Ok(State::Granted)
        );
        match state {
            State::Queued | State::Running | State::Granted => Ok(None),
            State::NeedSpace if asked && !grant_answered => Ok(None),
            State::NeedSpace if asked => {
                self.latch(Violation::new("a task asks for room at most once", now.0))
            }
            State::NeedSpace => {
                let len = rsp.slot(seq, rsp_word::HEAD).load(Ordering::Relaxed);
                *self.entry(seq) = Entry::InFlight { word: now, grant, asked: true };
                Ok(Some(Event::NeedSpace { seq, len }))
            }
            State::Revoked => self.latch(Violation::new("only the host takes back", now.0)),
            State::Done => match read_done(rsp, seq, grant) {
                Ok(done) => {
                    *self.entry(seq) = Entry::Free;
                    self.tail += 1;
                    self.in_flight -= 1;
                    self.advance();
                    // A hint that forgives the worker its bell; nothing depends on it.
                    req.word(HARVESTED_WORD).store(seq, Ordering::Relaxed);
                    Ok(Some(Event::Done(done)))
                }
                Err(violation) => self.latch(violation),
            },
        }
    }

    /// Answers a wish for room; true: the worker sleeps on the word, wake it.
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
        let Some((_, _, true)) = self.word_of(seq) else { return Ok(false) };
        let (grant, kind) = match answer {
            GrantAnswer::Block(grant) => (grant, 1),
            GrantAnswer::Memfd => (Grant::NONE, 2),
            GrantAnswer::Refused => (Grant::NONE, 3),
        };
        req.slot(seq, req_word::GRANT_OFFSET).store(grant.offset, Ordering::Relaxed);
        req.slot(seq, req_word::GRANT_CAPACITY).store(grant.capacity, Ordering::Relaxed);
        req.slot(seq, req_word::KIND).store(kind, Ordering::Relaxed);
        let word = Word::new(seq, State::Granted);
        // AcqRel: the Release half pairs with the Acquire load in `WorkerLane::granted`.
        let old = Word(rsp.state(seq).swap(word.0, Ordering::AcqRel));
        if old.unparked() != Word::new(seq, State::NeedSpace) {
            return self.latch(Violation::new("a task that asked for room waits", old.0));
        }
        *self.entry(seq) = Entry::InFlight { word, grant, asked: true };
        Ok(old.is_parked())
    }

    /// How far a task is.
    ///
    /// # Errors
    /// The word is none that this task can have.
    pub fn stage(&mut self, rsp: Rsp<'_>, seq: u64) -> Result<Stage, Violation> {
        self.check()?;
        // Acquire pairs with the worker's transitions in `next` and `finish`.
        let now = Word(rsp.state(seq).load(Ordering::Acquire));
        match now.state() {
            Ok(State::Queued) if now.seq() == seq => Ok(Stage::Queued),
            Ok(State::Running) if now.seq() == seq => Ok(Stage::Running),
            Ok(State::NeedSpace) if now.seq() == seq => Ok(Stage::NeedSpace),
            Ok(State::Granted) if now.seq() == seq => Ok(Stage::Granted),
            Ok(State::Done) if now.seq() == seq => Ok(Stage::Done),
            _ => self.latch(Violation::new("a state word names its own task", now.0)),
        }
    }

    /// Nobody polls from now on: completions must ring. **Poll once more afterwards.**
    pub fn arm(&mut self, req: Req<'_>) {
        if self.epoch % 2 == 0 {
            self.epoch += 1;
            req.word(EPOCH_WORD).store(self.epoch, Ordering::Relaxed);
        }
        // Pairs with the fence in `WorkerLane::must_ring`.
        fence(Ordering::SeqCst);
    }

    /// Somebody polls: completions need not ring.
    pub fn disarm(&mut self, req: Req<'_>) {
        if self.epoch % 2 == 1 {
            self.epoch += 1;
            req.word(EPOCH_WORD).store(self.epoch, Ordering::Relaxed);
        }
    }

    /// A new armed epoch after a bell, so that the next completion rings again. Poll afterwards.
    pub fn rearm(&mut self, req: Req<'_>) {
        self.epoch += if self.epoch % 2 == 1 { 2 } else { 1 };
        req.word(EPOCH_WORD).store(self.epoch, Ordering::Relaxed);
        // Pairs with the fence in `WorkerLane::must_ring`.
        fence(Ordering::SeqCst);
    }

    /// True while completions must ring.
    pub fn is_armed(&self) -> bool {
        self.epoch % 2 == 1
    }

    /// What is left after the worker's death, when `poll` finds nothing more: each sequence, and
    /// whether it had started. The ledger is empty afterwards.
    pub fn remains(&mut self, rsp: Rsp<'_>) -> Vec<(u64, bool)> {
        let mut left = Vec::new();
        for seq in self.tail..self.next {
            if let Some((word, ..)) = self.word_of(seq) {
                // Acquire: the dead worker's last transition; its exit came before.
                let now = rsp.state(seq).load(Ordering::Acquire);
                left.push((seq, now != word.0 || word.state() != Ok(State::Queued)));
            }
            *self.entry(seq) = Entry::Free;
        }
        self.tail = self.next;
        self.in_flight = 0;
        left
    }
}

/// Copies a reply out and checks it against the grant.
fn read_done(rsp: Rsp<'_>, seq: u64, grant: Grant) -> Result<Done, Violation> {
    let head = rsp.slot(seq, rsp_word::HEAD).load(Ordering::Relaxed);
    let run_ns = rsp.slot(seq, rsp_word::RUN_NS).load(Ordering::Relaxed);
    let kind = ReplyKind::from_number(head & 0xff)?;
    let len = head >> 16;
    let output = match (head >> 8) & 0xff {
        0 if len <= OUTPUT_INLINE as u64 => {
            Storage::Inline(load_bytes(rsp.inline(seq), len as usize))
        }
        1 if len <= grant.capacity => Storage::Block { len },
        2 => Storage::Memfd { len },
        _ => return Err(Violation::new("a reply fits where it says it lies", head)),
    };
    Ok(Done { seq, kind, output, run_ns })
}
