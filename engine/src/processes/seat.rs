//! What a worker has in the host: its seat, its lane, and the tasks in flight there.

use std::time::Duration;

use amphi_protocol::{
    ARENA_OFFSET, Block, RSP_ARENA_OFFSET, Req, Rsp, split_key, state_word_index,
};

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
    /// It is a batch: its other tasks.
    pub(super) batch: Option<Box<Others>>,
    pub(super) seq: u64,
    pub(super) input: Option<Block>,
    pub(super) output: Option<Block>,
    pub(super) kill_at: Option<Duration>,
    /// How long the job, or all of a batch, is expected to run, in ns; `None`: nobody knows.
    pub(super) predicted_ns: Option<u64>,
}

/// The tasks of a batch behind its first.
pub(super) struct Others {
    pub(super) tasks: Vec<Shared>,
    /// How many tasks of the batch have had their replies, its first included.
    pub(super) told: usize,
}

impl Flight {
    /// How many tasks of a batch have had their replies.
    fn told(&self) -> usize {
        self.batch.as_ref().map_or(0, |others| others.told)
    }

    /// The task with this key, if its reply was not told.
    pub(super) fn at(&self, key: u64) -> Option<&Shared> {
        let (seq, index) = split_key(key);
        let task = match (index, &self.batch) {
            (0, _) => Some(&self.task),
            (_, Some(others)) => others.tasks.get(index - 1),
            (_, None) => None,
        };
        task.filter(|_| seq == self.seq && index >= self.told())
    }

    /// Those whose replies were not told, in order.
    pub(super) fn into_tasks(self) -> impl Iterator<Item = Shared> {
        let told = self.told();
        self.into_all().skip(told)
    }

    /// All of them, in order.
    pub(super) fn into_all(mut self) -> impl Iterator<Item = Shared> {
        let others = self.batch.take().map(|others| others.tasks).unwrap_or_default();
        std::iter::once(self.task).chain(others)
    }

    /// The only one whose reply was not told.
    #[inline]
    pub(super) fn into_last(mut self) -> Shared {
        self.batch.take().and_then(|mut others| others.tasks.pop()).unwrap_or(self.task)
    }

    /// Its predicted length, unless nobody should queue behind it.
    pub(super) fn bounded_ns(&self) -> Option<u64> {
        self.predicted_ns.filter(|_| !self.task.core().plan.controls.is_timed())
    }
}
