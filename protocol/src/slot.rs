//! A slot's state word: `seq << 8 | PARKED | state`. The only place with bit arithmetic.

use crate::error::Violation;

/// What a slot's state word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// The reply is there; the slot is free once the host has harvested it. The zero word.
    Done,
    /// The host has published a request.
    Queued,
    /// The worker has claimed it.
    Running,
    /// The host has taken it back before it was claimed.
    Revoked,
    /// The worker waits for room for its output.
    NeedSpace,
    /// The host has answered that.
    Granted,
}

const PARKED: u64 = 0x80;
const STATE_MASK: u64 = 0x7f;
/// Sequences have 56 bits.
pub(crate) const SEQ_MAX: u64 = u64::MAX >> 8;

/// One value of a state word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

impl Word {
    pub(crate) const fn new(seq: u64, state: State) -> Self {
        let state = match state {
            State::Done => 0,
            State::Queued => 1,
            State::Running => 2,
            State::Revoked => 3,
            State::NeedSpace => 4,
            State::Granted => 5,
        };
        Self(seq << 8 | state)
    }

    pub(crate) const fn seq(self) -> u64 {
        self.0 >> 8
    }

    /// The state, whatever the parked bit.
    pub(crate) fn state(self) -> Result<State, Violation> {
        Ok(match self.0 & STATE_MASK {
            0 => State::Done,
            1 => State::Queued,
            2 => State::Running,
            3 => State::Revoked,
            4 => State::NeedSpace,
            5 => State::Granted,
            _ => return Err(Violation::new("a state word holds a known state", self.0)),
        })
    }

    pub(crate) const fn is_parked(self) -> bool {
        self.0 & PARKED != 0
    }

    pub(crate) const fn parked(self) -> Self {
        Self(self.0 | PARKED)
    }

    pub(crate) const fn unparked(self) -> Self {
        Self(self.0 & !PARKED)
    }

    /// The half that a futex compares.
    pub(crate) const fn low(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }
}
