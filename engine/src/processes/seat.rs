//! What a worker has in the host: its seat, its lane, and the tasks in flight there.

use std::time::Duration;

use amphi_protocol::{ARENA_OFFSET, Block, RSP_ARENA_OFFSET, Req, Rsp, state_word_index};

use super::link::Link;
use super::occupied::Occupied;
use super::pool::Shared;
use super::queue::Need;
use crate::sys::doorbell::futex_wake;
use crate::sys::memory::Segment;

/// The stable place of a worker.
#[derive(Default)]
pub(super) struct Seat {
    /// Which holder of the seat: counts up with every start.
    pub(super) generation: u64,
    pub(super) state: SeatState,
    pub(super) link: Option<Link>,
    pub(super) has_token: bool,
    /// How it has used the core.
    pub(super) occupied: Occupied,
    /// Which kind of worker holds it, or is to.
    pub(super) kind: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum SeatState {
    #[default]
    Empty,
    /// The supervisor is to start a worker, not before then.
    Wanted { from: Duration },
    /// It has been asked for; READY is waited for until then.
    Starting { until: Duration },
    /// It takes tasks.
    Ready,
    /// It is dead; how it ended is waited for until then.
    Dying { until: Duration },
}

impl Seat {
    pub(super) fn is_ready(&self) -> bool {
        self.state == SeatState::Ready && self.link.as_ref().is_some_and(|link| link.serves())
    }
}

impl Seat {
    /// Its worker may run a task with this need.
    pub(super) fn serves(&self, need: Need) -> bool {
        let is_fresh = || self.link.as_ref().is_some_and(Link::is_fresh);
        self.kind == need.kind && self.is_ready() && (!need.one_shot || is_fresh())
    }

    /// Somebody holds it, or is to, and serves or will.
    pub(super) fn is_taken(&self) -> bool {
        let is_leaving = |link: &Link| link.retiring || link.is_waiting;
        self.state != SeatState::Empty && !self.link.as_ref().is_some_and(is_leaving)
    }
}

/// Both mappings of a lane, as the host has them.
pub(super) struct Lane {
    pub(super) request: Segment,
    pub(super) response: Segment,
}

impl Lane {
    #[inline]
    pub(super) fn req(&self) -> Req<'_> {
        Req::new(self.request.words(0..ARENA_OFFSET))
    }

    #[inline]
    pub(super) fn rsp(&self) -> Rsp<'_> {
        Rsp::new(self.response.words(0..RSP_ARENA_OFFSET))
    }

    /// Wakes the worker that sleeps on the state word of `seq`.
    pub(super) fn wake(&self, seq: u64) {
        futex_wake(&self.response.words(0..RSP_ARENA_OFFSET)[state_word_index(seq)]);
    }
}

/// One task in a lane.
pub(super) struct Flight {
    pub(super) task: Shared,
    pub(super) seq: u64,
    pub(super) input: Option<Block>,
    pub(super) output: Option<Block>,
    pub(super) kill_at: Option<Duration>,
    /// How long the job is expected to run, in ns; `None`: nobody knows.
    pub(super) predicted_ns: Option<u64>,
}

impl Flight {
    /// Its predicted length, unless nobody should queue behind it.
    pub(super) fn bounded_ns(&self) -> Option<u64> {
        self.predicted_ns.filter(|_| !self.task.core().plan.controls.is_timed())
    }
}
