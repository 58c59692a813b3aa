//! The host's private truth about a lane: which sequences are in it, how far each was seen to be,
//! and what it was granted. No shared memory and no atomics; words come in as values.
//!
//! # Invariants
//! 1. Sequences `tail..next` are in flight or taken back; they are at most [`SLOTS`], so each has
//!    a slot of its own. `tail` is in flight, or equals `next`.
//! 2. A task's states are only seen in the order of the state machine
//!    (`protocol/README.md`, 3); the host's own step, to Granted, is only ever made here.
//! 3. Only the host lowers the `end` of a batch, and notes it here; so `end` is never taken from a
//!    shared word. `taken <= next <= end`.
//! 4. A settled slot remembers the one word it must still hold when it is used again.

use crate::batch::Progress;
use crate::error::Violation;
use crate::lane::slot_of;
use crate::layout::SLOTS;
use crate::message::{Grant, Stage};
use crate::slot::{SEQ_MAX, Word};

#[derive(Debug, Clone, Copy)]
enum Entry {
    /// Nothing is in the slot; this word ended the last sequence (without PARKED).
    Settled(Word),
    /// Published, and not settled since.
    InFlight { seen: Stage, grant: Grant, asked: bool },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    tail: u64,
    next: u64,
    in_flight: usize,
    entries: [Entry; SLOTS],
    /// Of the slots that hold a batch, how far that is.
    batches: [Option<Progress>; SLOTS],
    /// The worker is dead: nothing is published any more.
    over: bool,
}

impl Ledger {
    pub(crate) const fn new() -> Self {
        let entries = [Entry::Settled(Word::done(0)); SLOTS];
        Self { tail: 1, next: 1, in_flight: 0, entries, batches: [None; SLOTS], over: false }
    }

    #[inline]
    pub(crate) const fn free_slots(&self) -> usize {
        if self.over { 0 } else { SLOTS - (self.next - self.tail) as usize }
    }

    #[inline]
    pub(crate) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    #[inline]
    pub(crate) const fn next_seq(&self) -> u64 {
        self.next
    }

    #[inline]
    pub(crate) fn oldest(&self) -> Option<u64> {
        (self.tail < self.next).then_some(self.tail)
    }

    #[inline]
    pub(crate) fn holds(&self, seq: u64) -> bool {
        (self.tail..self.next).contains(&seq)
            && matches!(self.entries[slot_of(seq)], Entry::InFlight { .. })
    }

    /// The next sequence goes into flight; `old` is what its slot held.
    #[inline]
    pub(crate) fn publish(
        &mut self,
        grant: Grant,
        old: Word,
        batch: Option<Progress>,
    ) -> Result<(), Violation> {
        assert!(self.next < SEQ_MAX, "a lane ends before its sequences do");
        let entry = &mut self.entries[slot_of(self.next)];
        let Entry::Settled(left) = *entry else { panic!("a free slot is settled") };
        if old.unparked() != left {
            return Err(Violation::new("a free slot's word stays as it was left", old.bits()));
        }
        *entry = Entry::InFlight { seen: Stage::Queued, grant, asked: false };
        self.batches[slot_of(self.next)] = batch;
        self.next += 1;
        self.in_flight += 1;
        Ok(())
    }

    /// How far a batch is; `None`: it is a single task, or not in the lane.
    #[inline]
    pub(crate) fn batch(&self, seq: u64) -> Option<Progress> {
        self.batches[slot_of(seq)].filter(|_| self.holds(seq))
    }

    /// Notes how far a batch is.
    #[inline]
    pub(crate) fn set_batch(&mut self, seq: u64, progress: Progress) {
        debug_assert!(self.batch(seq).is_some());
        self.batches[slot_of(seq)] = Some(progress);
    }

    /// It is a batch, and no task of it has asked for room and was heard.
    #[inline]
    pub(crate) fn is_open_batch(&self, seq: u64) -> bool {
        self.batches[slot_of(seq)].is_some() && !self.has_asked(seq)
    }

    /// It has asked for room, and was heard.
    #[inline]
    pub(crate) fn has_asked(&self, seq: u64) -> bool {
        matches!(self.entries[slot_of(seq)], Entry::InFlight { asked: true, .. })
    }

    /// Takes note of a task's word. Only for a sequence that the ledger [`holds`](Self::holds).
    #[inline]
    pub(crate) fn observe(&mut self, seq: u64, word: Word) -> Result<Stage, Violation> {
        let Entry::InFlight { seen, .. } = &mut self.entries[slot_of(seq)] else {
            return Ok(Stage::Done);
        };
        let now = word.stage(seq)?;
        if !may_follow(*seen, now) {
            return Err(Violation::new("a task's states follow one another", word.bits()));
        }
        *seen = now;
        Ok(now)
    }

    /// Whether a task was last seen unclaimed.
    #[inline]
    pub(crate) fn looked_queued(&self, seq: u64) -> bool {
        let entry = self.entries[slot_of(seq)];
        self.holds(seq) && matches!(entry, Entry::InFlight { seen: Stage::Queued, .. })
    }

    /// What the task may fill.
    #[inline]
    pub(crate) fn grant_of(&self, seq: u64) -> Grant {
        match self.entries[slot_of(seq)] {
            Entry::InFlight { grant, .. } if self.holds(seq) => grant,
            _ => Grant::NONE,
        }
    }

    /// True the first time: a wish for room is told once.
    #[inline]
    pub(crate) fn tell_wish(&mut self, seq: u64) -> bool {
        match &mut self.entries[slot_of(seq)] {
            Entry::InFlight { asked, .. } => !std::mem::replace(asked, true),
            Entry::Settled(_) => false,
        }
    }

    /// Whether the task's wish was told and not answered.
    pub(crate) fn waits_for_answer(&self, seq: u64) -> bool {
        let entry = self.entries[slot_of(seq)];
        let waits = matches!(entry, Entry::InFlight { seen: Stage::NeedSpace, asked: true, .. });
        self.holds(seq) && waits
    }

    /// The host has answered the wish.
    pub(crate) fn answer(&mut self, seq: u64, grant: Grant) {
        self.entries[slot_of(seq)] = Entry::InFlight { seen: Stage::Granted, grant, asked: true };
    }

    /// The task leaves the lane; its slot holds `left` until it is used again.
    #[inline]
    pub(crate) fn settle(&mut self, seq: u64, left: Word) {
        self.entries[slot_of(seq)] = Entry::Settled(left);
        self.in_flight -= 1;
        while self.tail < self.next && !self.holds(self.tail) {
            self.tail += 1;
        }
    }

    /// Every sequence in flight, oldest first.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = u64> {
        (self.tail..self.next).filter(|&seq| self.holds(seq))
    }

    /// The lane is over; nothing is in flight, and no slot is free.
    pub(crate) const fn close(&mut self) {
        self.over = true;
        self.tail = self.next;
        self.in_flight = 0;
    }
}

/// The state machine, as the host may see it: a state may be missed, never go back, and nothing
/// but the host's own answer leads out of NeedSpace.
#[inline]
const fn may_follow(seen: Stage, now: Stage) -> bool {
    match seen {
        Stage::Queued => !matches!(now, Stage::Granted),
        Stage::Running => matches!(now, Stage::Running | Stage::NeedSpace | Stage::Done),
        Stage::NeedSpace => matches!(now, Stage::NeedSpace),
        Stage::Granted => matches!(now, Stage::Granted | Stage::Done),
        Stage::Done => matches!(now, Stage::Done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_follow_is_the_state_machine_and_its_shortcuts() {
        const ALL: [Stage; 5] =
            [Stage::Queued, Stage::Running, Stage::NeedSpace, Stage::Granted, Stage::Done];
        let table = [
            [true, true, true, false, true],
            [false, true, true, false, true],
            [false, false, true, false, false],
            [false, false, false, true, true],
            [false, false, false, false, true],
        ];
        for (seen, row) in ALL.into_iter().zip(table) {
            for (now, expected) in ALL.into_iter().zip(row) {
                assert_eq!(may_follow(seen, now), expected, "{seen:?} then {now:?}");
            }
        }
    }

    #[test]
    fn a_slot_taken_back_in_the_middle_is_free_once_the_older_are_settled() {
        let mut ledger = Ledger::new();
        for _ in 0..SLOTS {
            ledger.publish(Grant::NONE, Word::done(0), None).unwrap();
        }
        assert_eq!((ledger.free_slots(), ledger.in_flight()), (0, 8));
        ledger.settle(2, Word::revoked(2));
        assert_eq!((ledger.free_slots(), ledger.in_flight(), ledger.oldest()), (0, 7, Some(1)));
        ledger.settle(1, Word::done(1));
        assert_eq!((ledger.free_slots(), ledger.in_flight(), ledger.oldest()), (2, 6, Some(3)));
        assert!(ledger.sequences().eq(3..=8));
        ledger.publish(Grant::NONE, Word::done(1).parked(), None).unwrap();
        // Sequence 2 was taken back: a word that says it was done is a lie.
        ledger.publish(Grant::NONE, Word::done(2), None).unwrap_err();
    }
}
