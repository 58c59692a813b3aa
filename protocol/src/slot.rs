//! A slot's state word and reply head: `seq << 8 | PARKED | state`, `len << 16 | place << 8 | kind`.
//!
//! The only place with bit arithmetic. Everybody else asks what a word *is* for a sequence, and
//! names the word that a transition writes; the state machine stands in `protocol/README.md`, 3.
//!
//! # Invariants
//! 1. A word that names another sequence, an unknown state, or PARKED where nobody parks is
//!    nothing: reading it is a violation, never a guess.
//! 2. The zero word is DONE of sequence 0, so that fresh memory is a valid lane.

use crate::error::Violation;
use crate::layout::SLOTS;
use crate::message::{Place, ReplyKind, Stage};

const STATE_BITS: u64 = 0x7f;
const PARKED: u64 = 0x80;
const SEQ_SHIFT: u32 = 8;

const DONE: u64 = 0;
const QUEUED: u64 = 1;
const RUNNING: u64 = 2;
const REVOKED: u64 = 3;
const NEED_SPACE: u64 = 4;
const GRANTED: u64 = 5;

const _: () = assert!(GRANTED <= STATE_BITS && STATE_BITS | PARKED == (1 << SEQ_SHIFT) - 1);

/// Sequences have 56 bits: at ten million a second they last two centuries.
pub(crate) const SEQ_MAX: u64 = u64::MAX >> SEQ_SHIFT;

/// One value of a state word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(u64);

/// What a state word is to a worker whose cursor stands at its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtCursor {
    /// Nothing was published yet: the slot is as its last holder left it.
    Vacant,
    /// A task to claim.
    Queued,
    /// Taken back before it was claimed.
    Revoked,
    /// Taken back, and its slot used again for this later sequence.
    Overtaken(u64),
    /// Nothing that a host or this worker ever writes.
    Alien,
}

impl Word {
    #[inline]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    const fn of(seq: u64, state: u64) -> Self {
        Self(seq << SEQ_SHIFT | state)
    }

    /// Written by the host's publication.
    #[inline]
    pub(crate) const fn queued(seq: u64) -> Self {
        Self::of(seq, QUEUED)
    }

    /// Written by the worker's claim.
    #[inline]
    pub(crate) const fn running(seq: u64) -> Self {
        Self::of(seq, RUNNING)
    }

    /// Written by the host's taking back.
    #[inline]
    pub(crate) const fn revoked(seq: u64) -> Self {
        Self::of(seq, REVOKED)
    }

    /// Written by the worker that asks for room.
    #[inline]
    pub(crate) const fn need_space(seq: u64) -> Self {
        Self::of(seq, NEED_SPACE)
    }

    /// Written by the host's answer.
    #[inline]
    pub(crate) const fn granted(seq: u64) -> Self {
        Self::of(seq, GRANTED)
    }

    /// Written by the worker's reply.
    #[inline]
    pub(crate) const fn done(seq: u64) -> Self {
        Self::of(seq, DONE)
    }

    #[inline]
    const fn seq(self) -> u64 {
        self.0 >> SEQ_SHIFT
    }

    #[inline]
    pub(crate) const fn is_parked(self) -> bool {
        self.0 & PARKED != 0
    }

    #[inline]
    pub(crate) const fn parked(self) -> Self {
        Self(self.0 | PARKED)
    }

    #[inline]
    pub(crate) const fn unparked(self) -> Self {
        Self(self.0 & !PARKED)
    }

    /// The half that a futex compares. That it repeats after 2^24 sequences does no harm: it is
    /// slept on with PARKED set, which only the sleeper itself sets.
    #[inline]
    pub(crate) const fn low(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }

    /// How far `seq` is, as its word says. PARKED may stand only on what a worker parks on: a
    /// slot that is done, and a wish for room.
    ///
    /// # Errors
    /// The word is none that this task's slot can show to the host.
    #[inline]
    pub(crate) fn stage(self, seq: u64) -> Result<Stage, Violation> {
        if self.seq() != seq {
            return Err(Violation::new("a state word names its own task", self.0));
        }
        match self.0 & (STATE_BITS | PARKED) {
            QUEUED => Ok(Stage::Queued),
            RUNNING => Ok(Stage::Running),
            GRANTED => Ok(Stage::Granted),
            state if state & STATE_BITS == NEED_SPACE => Ok(Stage::NeedSpace),
            state if state & STATE_BITS == DONE => Ok(Stage::Done),
            _ => Err(Violation::new("a task in flight is in one of its states", self.0)),
        }
    }

    /// What the word is to a worker at `cursor`.
    #[inline]
    pub(crate) fn at_cursor(self, cursor: u64) -> AtCursor {
        if self == Self::queued(cursor) {
            return AtCursor::Queued;
        }
        if self.is_vacant_for(cursor) {
            return AtCursor::Vacant;
        }
        if self == Self::revoked(cursor) {
            return AtCursor::Revoked;
        }
        let (seq, slots) = (self.seq(), SLOTS as u64);
        let fresh = self == Self::queued(seq) || self == Self::revoked(seq);
        if fresh && seq > cursor && seq % slots == cursor % slots {
            return AtCursor::Overtaken(seq);
        }
        AtCursor::Alien
    }

    /// The slot is as the sequence before `seq` in it left it, whether somebody parked on it or
    /// not.
    #[inline]
    pub(crate) fn is_vacant_for(self, seq: u64) -> bool {
        let before = seq.saturating_sub(SLOTS as u64);
        let word = self.unparked();
        word == Self::done(before) || (before > 0 && word == Self::revoked(before))
    }
}

/// The first word of a reply: what became of the task, where its bytes lie, how many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head(u64);

/// The kind of a head that stands for the replies of a batch; no [`ReplyKind`] has this number.
const REPLIES: u64 = 7;

/// Lengths in a head have 48 bits, which is more than an address space holds.
pub(crate) const HEAD_LEN_MAX: u64 = u64::MAX >> 16;

impl Head {
    #[inline]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) const fn reply(kind: ReplyKind, place: Place, len: u64) -> Self {
        assert!(len <= HEAD_LEN_MAX, "an output fits an address space");
        Self(len << 16 | place.number() << 8 | kind.number())
    }

    /// The head of a batch's replies.
    #[inline]
    pub(crate) const fn replies(place: Place, len: u64) -> Self {
        assert!(len <= HEAD_LEN_MAX, "an output fits an address space");
        Self(len << 16 | place.number() << 8 | REPLIES)
    }

    #[inline]
    pub(crate) const fn is_replies(self) -> bool {
        self.0 & 0xff == REPLIES
    }

    #[inline]
    pub(crate) const fn wish(len: u64) -> Self {
        assert!(len <= HEAD_LEN_MAX, "an output fits an address space");
        Self(len << 16)
    }

    #[inline]
    pub(crate) const fn len(self) -> u64 {
        self.0 >> 16
    }

    /// # Errors
    /// It is no known kind.
    #[inline]
    pub(crate) fn kind(self) -> Result<ReplyKind, Violation> {
        let kind = ReplyKind::from_number(self.0 & 0xff);
        kind.ok_or_else(|| Violation::new("a reply has a known kind", self.0))
    }

    /// # Errors
    /// It is no known place.
    #[inline]
    pub(crate) fn place(self) -> Result<Place, Violation> {
        let place = Place::from_number(self.0 >> 8 & 0xff);
        place.ok_or_else(|| Violation::new("a reply lies at a known place", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_a_vacant_slot_of_the_first_round() {
        for seq in 1..=SLOTS as u64 {
            assert_eq!(Word::from_bits(0).at_cursor(seq), AtCursor::Vacant);
            assert_eq!(Word::from_bits(0).parked().at_cursor(seq), AtCursor::Vacant);
        }
        assert_eq!(Word::from_bits(0).at_cursor(9), AtCursor::Alien);
        assert_eq!(Word::revoked(0).at_cursor(1), AtCursor::Alien);
    }

    #[test]
    fn a_cursor_tells_every_word_of_its_slot_apart() {
        let cases = [
            (Word::queued(20), AtCursor::Queued),
            (Word::revoked(20), AtCursor::Revoked),
            (Word::done(12), AtCursor::Vacant),
            (Word::revoked(12).parked(), AtCursor::Vacant),
            (Word::queued(28), AtCursor::Overtaken(28)),
            (Word::revoked(8012), AtCursor::Overtaken(8012)),
            (Word::queued(29), AtCursor::Alien),
            (Word::queued(12), AtCursor::Alien),
            (Word::running(20), AtCursor::Alien),
            (Word::done(20), AtCursor::Alien),
            (Word::done(28), AtCursor::Alien),
            (Word::done(4), AtCursor::Alien),
            (Word::queued(20).parked(), AtCursor::Alien),
            (Word::from_bits(20 << 8 | 6), AtCursor::Alien),
            (Word::from_bits(u64::MAX), AtCursor::Alien),
        ];
        for (word, expected) in cases {
            assert_eq!(word.at_cursor(20), expected, "{word:?}");
        }
    }

    #[test]
    fn a_stage_is_exactly_a_known_word_of_the_task() {
        let known = [
            (Word::queued(5), Stage::Queued),
            (Word::running(5), Stage::Running),
            (Word::need_space(5), Stage::NeedSpace),
            (Word::need_space(5).parked(), Stage::NeedSpace),
            (Word::granted(5), Stage::Granted),
            (Word::done(5), Stage::Done),
            (Word::done(5).parked(), Stage::Done),
        ];
        for low in 0..=u64::from(u8::MAX) {
            let word = Word::from_bits(5 << 8 | low);
            let expected = known.iter().find(|(known, _)| *known == word).map(|(_, stage)| *stage);
            assert_eq!(word.stage(5).ok(), expected, "{word:?}");
            assert!(word.stage(4).is_err() && word.stage(13).is_err());
        }
    }

    #[test]
    fn sequences_do_not_disturb_states() {
        for seq in [1, 7, 8, 1 << 24, SEQ_MAX - 1] {
            assert_eq!(Word::running(seq).stage(seq), Ok(Stage::Running));
            assert_eq!(Word::need_space(seq).parked().unparked(), Word::need_space(seq));
            assert_ne!(Word::done(seq).low(), Word::done(seq).parked().low());
        }
    }

    #[test]
    fn a_head_gives_back_what_it_was_made_of() {
        for len in [0, 1, 232, 1 << 20, HEAD_LEN_MAX] {
            let head = Head::reply(ReplyKind::Panicked, Place::Memfd, len);
            assert_eq!(head.len(), len);
            assert_eq!(head.kind(), Ok(ReplyKind::Panicked));
            assert_eq!(head.place(), Ok(Place::Memfd));
            assert_eq!(Head::wish(len).len(), len);
        }
        assert!(Head::from_bits(0).kind().is_err() && Head::from_bits(0).place().is_err());
        assert!(Head::from_bits(u64::MAX).kind().is_err());
        let head = Head::replies(Place::Block, 400);
        assert!(head.is_replies() && head.kind().is_err());
        assert_eq!((head.place(), head.len()), (Ok(Place::Block), 400));
    }
}
