//! The untyped part of a task: its state, its seat, its signals.
//!
//! # States
//! `Waiting` → `Running` (claimed by a thread, a lane, or whoever cancels it) → `Settled`;
//! `Running` → `Waiting` when a lane gives an unstarted task back, or it is tried once more.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::child::Child;
use super::controls::Priority;
use super::mail::Mailbox;
use super::measure::Measure;
use super::{AnyTask, Plan, Progress, Settled, Witness};
use crate::error::Clock;
use crate::policy::{Placement, Why};

/// The way from a task to its engine, so that a handle needs no more than this.
pub(crate) trait Port: Send + Sync {
    /// The caller is about to block: run the task here, or wait actively for a short while.
    /// `share` makes what runs it.
    fn help(&self, core: &Core, share: &dyn Fn() -> Arc<dyn AnyTask>, deadline: Option<Duration>);
    /// The calling thread runs a job of the engine.
    fn is_in_job(&self) -> bool;
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
    /// Queue a task that has run for one more try, after a while.
    fn again(&self, task: Arc<dyn AnyTask>, delay: Duration);
    /// A claimed task that is bound for a thread: queue it there.
    fn to_thread(&self, task: Arc<dyn AnyTask>);
    /// A claimed task that is bound for a process: queue it there. False: there is none, the task
    /// is still the caller's.
    fn to_process(&self, task: &Arc<dyn AnyTask>) -> bool;
    /// A task that waited was claimed to run: it is in no queue any more.
    fn taken(&self, core: &Core);
    /// A worker's task submits one that this engine is to run.
    fn submit_child(&self, child: Child);
    /// The task's worker is gone, or no longer wants it.
    fn stop_child(&self, task: &Arc<dyn AnyTask>, kill: bool);
    /// The outcome of a measured task was taken by its handle.
    fn took(&self, core: &Core);
    /// Somebody tried to settle a task.
    fn settled(&self, core: &Core, settled: Settled);
    /// A task with a clock of its own begins the run with this number.
    fn started(&self, task: &Arc<dyn AnyTask>, run: u32);
    /// Why the task runs where it does.
    fn explain(&self, core: &Core) -> String;
}

/// No lane holds the task.
pub(crate) const NO_SEAT: u32 = u32::MAX;

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const SETTLED: u8 = 2;

/// What few tasks have.
#[derive(Default)]
struct Seldom {
    done: AtomicU64,
    total: AtomicU64,
    mailbox: Arc<Mailbox>,
    /// Who is told what it came to, beside its handle.
    witness: OnceLock<Arc<dyn Witness>>,
}

/// See the module. Every line of it that is looked at travels from processor to processor.
pub(crate) struct Core {
    state: AtomicU8,
    /// A `Placement`, once bound.
    placement: AtomicU8,
    why: AtomicU8,
    stop: AtomicBool,
    /// The clock that ran out, if one did: `Clock as u8 + 1`.
    expired: AtomicU8,
    /// Its publication woke a sleeping worker, which may be waiting for this very core. A hint.
    woke: AtomicBool,
    /// It was handed its key and not started yet.
    has_key: AtomicBool,
    /// It waits for the moment of its next try, in no queue.
    rests: AtomicBool,
    /// It is in the hands of the process side: its queue, or a lane.
    with_processes: AtomicBool,
    /// Its bytes name memory or open files beside them.
    names_more: AtomicBool,
    /// The seat of the lane that holds the task, or [`NO_SEAT`]. A hint for whoever waits.
    /// Written by: whoever dispatches or harvests, under the pool's lock.
    seat: AtomicU32,
    /// The task's slot sequence in that lane.
    seq: AtomicU64,
    input_bytes: AtomicU64,
    /// What encoding its input took, in ns, where that was measured.
    encode_ns: AtomicU64,
    /// How its way is measured, if it is.
    pub(crate) measure: Measure,
    /// From the first message, progress or witness on, or the first who asks for them.
    seldom: OnceLock<Box<Seldom>>,
    pub(crate) plan: Plan,
}

impl Core {
    pub(crate) fn new(plan: Plan) -> Self {
        Self {
            state: AtomicU8::new(WAITING),
            placement: AtomicU8::new(0),
            why: AtomicU8::new(Why::Rule as u8),
            stop: AtomicBool::new(false),
            expired: AtomicU8::new(0),
            woke: AtomicBool::new(false),
            has_key: AtomicBool::new(false),
            rests: AtomicBool::new(false),
            with_processes: AtomicBool::new(false),
            names_more: AtomicBool::new(false),
            seat: AtomicU32::new(NO_SEAT),
            seq: AtomicU64::new(0),
            input_bytes: AtomicU64::new(plan.bytes),
            encode_ns: AtomicU64::new(0),
            measure: Measure::default(),
            seldom: OnceLock::new(),
            plan,
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
        if let Some(gate) = &self.plan.key {
            gate.went();
        }
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

    /// A clock of the task has run out; the first one counts.
    pub(crate) fn expire(&self, clock: Clock) {
        let number = clock.number() + 1;
        let _ = self.expired.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn expired(&self) -> Option<Clock> {
        Clock::from_number(self.expired.load(Ordering::Relaxed).wrapping_sub(1))
    }

    /// The policy has a say in where it runs.
    pub(crate) fn is_auto(&self) -> bool {
        self.plan.route.placement == Placement::Auto
    }

    /// … and has not had it yet.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.is_auto() && self.placement.load(Ordering::Relaxed) == 0
    }

    /// It is nobody to learn from.
    pub(crate) fn is_urgent(&self) -> bool {
        self.plan.controls.priority == Priority::High || self.plan.controls.deadline.is_some()
    }

    pub(crate) fn set_has_key(&self, has: bool) {
        self.has_key.store(has, Ordering::Relaxed);
    }

    /// True for one entry of the task alone, however many stand in queues: that one lets it go.
    pub(crate) fn take_key(&self) -> bool {
        self.has_key.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn has_key(&self) -> bool {
        self.has_key.load(Ordering::Relaxed)
    }

    pub(crate) fn set_rests(&self, rests: bool) {
        self.rests.store(rests, Ordering::Relaxed);
    }

    /// Whoever waits for it may start it: it is due, and not bound for a process.
    pub(crate) fn may_start_on_a_thread(&self) -> bool {
        self.plan.route.placement != Placement::Process && !self.rests()
    }

    /// One that nobody can start now may be for threads later: it is retried, or its key is given,
    /// or the process side hands it over.
    pub(crate) fn may_come_back(&self) -> bool {
        self.plan.retry.is_some() || self.plan.key.is_some() || self.is_auto()
    }

    pub(crate) fn rests(&self) -> bool {
        self.rests.load(Ordering::Relaxed)
    }

    /// Runs that have ended and were not its last.
    pub(crate) fn runs_before(&self) -> u32 {
        self.plan.retry.as_ref().map_or(0, |retry| retry.used())
    }

    pub(crate) fn set_with_processes(&self, with: bool) {
        self.with_processes.store(with, Ordering::Relaxed);
    }

    pub(crate) fn is_with_processes(&self) -> bool {
        self.with_processes.load(Ordering::Relaxed)
    }

    /// Before one more try: open again, if it was.
    pub(crate) fn forget_run(&self) {
        self.clear_seat();
        self.set_with_processes(false);
        // One that is audited stays where its witness has put it.
        if self.is_auto() && self.witness().is_none() {
            self.bind(Placement::Auto);
        }
    }

    pub(crate) fn bind(&self, placement: Placement) {
        let number = match placement {
            Placement::Auto => 0,
            Placement::Thread => 1,
            Placement::Process => 2,
        };
        self.placement.store(number, Ordering::Relaxed);
    }

    pub(crate) fn bind_because(&self, placement: Placement, why: Why) {
        self.why.store(why as u8, Ordering::Relaxed);
        self.bind(placement);
    }

    pub(crate) fn why(&self) -> Why {
        Why::from_number(self.why.load(Ordering::Relaxed))
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

    /// Only [`Cell`](super::Cell) calls this, before anybody else sees those bytes.
    pub(super) fn set_names_more(&self) {
        self.names_more.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn names_more(&self) -> bool {
        self.names_more.load(Ordering::Relaxed)
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

    /// Bytes of the encoded input, or about so many before it was encoded.
    pub(crate) fn input_bytes(&self) -> u64 {
        self.input_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_input_bytes(&self, bytes: u64) {
        self.input_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn encode_ns(&self) -> u64 {
        self.encode_ns.load(Ordering::Relaxed)
    }

    pub(crate) fn set_encode_ns(&self, ns: u64) {
        self.encode_ns.store(ns, Ordering::Relaxed);
    }

    /// Seat and sequence of the lane that holds the task; checked again under the pool's lock.
    pub(crate) fn seat(&self) -> Option<(u32, u64)> {
        match self.seat.load(Ordering::Relaxed) {
            NO_SEAT => None,
            seat => Some((seat, self.seq.load(Ordering::Relaxed))),
        }
    }

    /// Before it is queued.
    pub(crate) fn set_witness(&self, witness: Arc<dyn Witness>) {
        let _ = self.seldom().witness.set(witness);
    }

    pub(crate) fn witness(&self) -> Option<&Arc<dyn Witness>> {
        self.seldom.get()?.witness.get()
    }

    fn seldom(&self) -> &Seldom {
        self.seldom.get_or_init(Box::default)
    }

    /// Where its messages are, for whoever brings one.
    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.seldom().mailbox
    }

    /// The same, if anybody may have asked.
    pub(super) fn mailbox_if_any(&self) -> Option<&Arc<Mailbox>> {
        Some(&self.seldom.get()?.mailbox)
    }

    pub(crate) fn set_progress(&self, done: u64, total: u64) {
        let seldom = self.seldom();
        seldom.done.store(done, Ordering::Relaxed);
        seldom.total.store(total, Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) -> Option<Progress> {
        let seldom = self.seldom.get()?;
        let progress = Progress {
            done: seldom.done.load(Ordering::Relaxed),
            total: seldom.total.load(Ordering::Relaxed),
        };
        (progress.total != 0 || progress.done != 0).then_some(progress)
    }
}
