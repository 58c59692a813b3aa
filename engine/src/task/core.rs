//! The untyped part of a task: its state, its seat, its signals.
//!
//! # States
//! `Waiting` → `Running` (claimed by a thread, a lane, or whoever cancels it) → `Settled`;
//! `Running` → `Waiting` when a lane gives an unstarted task back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::{AnyTask, Progress};
use crate::policy::{Placement, Route};

/// The way from a task to its engine, so that a handle needs no more than this.
pub(crate) trait Port: Send + Sync {
    /// The caller is about to block: run the task here, or wait actively for a short while.
    /// `share` makes what runs it.
    fn help(&self, core: &Core, share: &dyn Fn() -> Arc<dyn AnyTask>, deadline: Option<Duration>);
    /// Blocks in `wait`. A job that waits for a task lets its core go meanwhile.
    fn while_waiting(&self, wait: &mut dyn FnMut());
    /// A task was claimed by its handle: its entry in the queue stands for nothing any more.
    fn left_queue(&self, core: &Core);
    /// The task was asked to stop and is not waiting in the queue: take it back from a lane or
    /// tell the worker.
    fn cancel(&self, core: &Core);
    /// Kill the worker that runs the task; false where none does.
    fn kill(&self, core: &Core) -> bool;
    /// Read what the worker reported since.
    fn refresh(&self, core: &Core);
}

/// No lane holds the task.
pub(crate) const NO_SEAT: u32 = u32::MAX;

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const SETTLED: u8 = 2;

/// See the module.
pub(crate) struct Core {
    state: AtomicU8,
    /// A `Placement`, once bound.
    placement: AtomicU8,
    stop: AtomicBool,
    /// Its publication woke a sleeping worker, which may be waiting for this very core. A hint.
    woke: AtomicBool,
    /// The seat of the lane that holds the task, or [`NO_SEAT`]. A hint for whoever waits.
    /// Written by: whoever dispatches or harvests, under the pool's lock.
    seat: AtomicU32,
    /// The task's slot sequence in that lane.
    seq: AtomicU64,
    input_bytes: AtomicU64,
    done: AtomicU64,
    total: AtomicU64,
    pub(crate) job: u32,
    pub(crate) name: &'static str,
    pub(crate) route: Route,
    pub(crate) kill_after: Option<Duration>,
    pub(crate) no_caller_run: bool,
}

impl Core {
    pub(crate) fn new(
        job: u32,
        name: &'static str,
        route: Route,
        kill_after: Option<Duration>,
        no_caller_run: bool,
    ) -> Self {
        Self {
            state: AtomicU8::new(WAITING),
            placement: AtomicU8::new(0),
            stop: AtomicBool::new(false),
            woke: AtomicBool::new(false),
            seat: AtomicU32::new(NO_SEAT),
            seq: AtomicU64::new(0),
            input_bytes: AtomicU64::new(0),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            job,
            name,
            route,
            kill_after,
            no_caller_run,
        }
    }

    /// `Waiting` → `Running`; false: somebody else was faster.
    pub(crate) fn claim(&self) -> bool {
        // Acquire pairs with the Release of `unclaim`: the new owner sees what the old one did.
        let acquire = Ordering::Acquire;
        self.state.compare_exchange(WAITING, RUNNING, acquire, Ordering::Relaxed).is_ok()
    }

    /// `Running` → `Waiting`, by the owner, before it queues the task again.
    pub(crate) fn unclaim(&self) {
        // Release pairs with the Acquire of `claim`.
        self.state.store(WAITING, Ordering::Release);
    }

    /// Only [`Cell`](super::Cell) calls this, under its lock.
    pub(super) fn set_settled(&self) {
        // Release pairs with the Acquire of `is_settled`.
        self.state.store(SETTLED, Ordering::Release);
    }

    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        // Acquire pairs with the Release of `set_settled`.
        self.state.load(Ordering::Acquire) == SETTLED
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.state.load(Ordering::Relaxed) == WAITING
    }

    pub(crate) fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_asked_to_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn bind(&self, placement: Placement) {
        let number = match placement {
            Placement::Auto => 0,
            Placement::Thread => 1,
            Placement::Process => 2,
        };
        self.placement.store(number, Ordering::Relaxed);
    }

    pub(crate) fn placement(&self) -> Option<Placement> {
        match self.placement.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Placement::Thread),
            _ => Some(Placement::Process),
        }
    }

    pub(crate) fn set_seat(&self, seat: u32, seq: u64) {
        self.seq.store(seq, Ordering::Relaxed);
        self.seat.store(seat, Ordering::Relaxed);
    }

    pub(crate) fn note_wake(&self) {
        self.woke.store(true, Ordering::Relaxed);
    }

    pub(crate) fn woke_a_worker(&self) -> bool {
        self.woke.load(Ordering::Relaxed)
    }

    /// No lane holds the task any more.
    pub(crate) fn clear_seat(&self) {
        self.seat.store(NO_SEAT, Ordering::Relaxed);
    }

    /// Bytes of the encoded input; 0 before it was encoded.
    pub(crate) fn input_bytes(&self) -> u64 {
        self.input_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_input_bytes(&self, bytes: u64) {
        self.input_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Seat and sequence of the lane that holds the task; checked again under the pool's lock.
    pub(crate) fn seat(&self) -> Option<(u32, u64)> {
        match self.seat.load(Ordering::Relaxed) {
            NO_SEAT => None,
            seat => Some((seat, self.seq.load(Ordering::Relaxed))),
        }
    }

    pub(crate) fn set_progress(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) -> Option<Progress> {
        let progress = Progress {
            done: self.done.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
        };
        (progress.total != 0 || progress.done != 0).then_some(progress)
    }

    pub(crate) fn explain(&self) -> String {
        match self.placement() {
            Some(placement) => format!("{} → {placement}: {}", self.name, self.route.rule),
            None => {
                format!("{} → {} (waiting): {}", self.name, self.route.placement, self.route.rule)
            }
        }
    }
}
