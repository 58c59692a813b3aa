//! Threads for tasks that mostly wait ([`Spec::blocking`](crate::Spec::blocking)), beside the pool's
//! own: they hold no token of the core budget. They are started when a task needs one, up to a
//! bound, and end when they have had nothing to do for a while.
//!
//! # Invariants
//! 1. A thread that is alive runs a task, looks for one, or stands in the list of idle ones. Only
//!    who takes it off that list, under the lock, may wake it for a task or end it.
//! 2. No task waits while a thread is idle or one more may be started. A pusher pushes and then
//!    locks; a thread locks, looks at the queue once more and only then is idle: one of the two
//!    sees the other. Beyond the bound every thread is awake and looks after its task.
//! 3. Once the pool is abandoned no thread is started for a task: whoever pushes one cancels it.

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crossbeam::sync::{Parker, Unparker};
use parking_lot::{Condvar, Mutex};

use super::place::run_in_span;
use super::queue::Queue;
use super::{FORGOTTEN_MAX, Shared};
use crate::ctx::{Ctx, Signals};
use crate::error::{Reason, TaskError};
use crate::home::Home;
use crate::keys::KeyUser;
use crate::limits::STACK_BYTES;
use crate::policy::Placement;
use crate::room::Room;
use crate::scheduler::{Sample, Scheduler};
use crate::sys::clock;
use crate::task::{Core, Port};

#[cfg(test)]
mod tests;

/// How long a thread stays that has nothing to do.
pub(super) const IDLE: Duration = Duration::from_secs(10);

thread_local! {
    /// The address of the pool whose thread this is, and its number there.
    static OWN: Cell<(usize, u64)> = const { Cell::new((0, 0)) };
}

/// See the module.
pub(super) struct Blocking {
    me: Weak<Self>,
    /// So many threads at most.
    max: usize,
    idle_timeout: Duration,
    queue: Queue,
    room: Arc<Room>,
    home: Arc<Home>,
    scheduler: Arc<Scheduler>,
    /// Where tasks with a clock of their own are told to have begun.
    port: OnceLock<Weak<dyn Port>>,
    /// Entries of the queue, at most, whose task its handle has claimed.
    forgotten: AtomicUsize,
    state: Mutex<State>,
    some_ended: Condvar,
}

#[derive(Default)]
struct State {
    alive: usize,
    /// Those of them whose job waits for other tasks.
    waiting: usize,
    /// The number of the thread that was started last.
    last: u64,
    /// Who has nothing to do; the last to fall idle is the first to be woken.
    idle: Vec<(u64, Unparker)>,
    /// What each thread runs, so that closing the engine can settle it.
    running: HashMap<u64, Shared>,
    /// Threads end when there is nothing to do.
    is_closing: bool,
    /// No thread is started any more.
    is_abandoned: bool,
    /// Somebody settles all that waits, and goes on with what comes meanwhile.
    is_failing: bool,
}

impl Blocking {
    pub(super) fn new(
        max: usize,
        idle_timeout: Duration,
        room: Arc<Room>,
        home: Arc<Home>,
        scheduler: Arc<Scheduler>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            max,
            idle_timeout,
            queue: Queue::new(),
            room,
            home,
            scheduler,
            port: OnceLock::new(),
            forgotten: AtomicUsize::new(0),
            state: Mutex::default(),
            some_ended: Condvar::new(),
        })
    }

    pub(super) fn set_port(&self, port: Weak<dyn Port>) {
        let _ = self.port.set(port);
    }

    /// Queues a task. Where the system gives no thread and there is none, it is told at once.
    pub(super) fn push(&self, task: Shared) {
        self.queue.push(task);
        self.serve();
    }

    /// Something was pushed: wakes or starts a thread for it, within the bound.
    fn serve(&self) {
        let mut state = self.state.lock();
        if state.is_abandoned {
            drop(state);
            return self.fail_waiting(&TaskError::Cancelled);
        }
        if let Some((_, unparker)) = state.idle.pop() {
            drop(state);
            return unparker.unpark();
        }
        if state.alive - state.waiting >= self.max || state.is_failing {
            return;
        }
        state.alive += 1;
        state.last += 1;
        let number = state.last;
        drop(state);
        let Some(pool) = self.me.upgrade() else { return };
        let thread = std::thread::Builder::new()
            .name(format!("amphi-block-{number}"))
            .stack_size(STACK_BYTES)
            .spawn(move || pool.run(number));
        if thread.is_err() {
            let mut state = self.state.lock();
            state.alive -= 1;
            // Fewer threads serve the same queue, if there are any.
            if state.alive == 0 {
                drop(state);
                self.fail_waiting(&TaskError::Rejected(Reason::NoThreads));
            }
        }
    }

    /// Blocks in `wait` on a thread of this pool, which does not count meanwhile: what it waits for
    /// may wait here.
    pub(super) fn while_waiting(&self, wait: &mut dyn FnMut()) {
        struct Counts<'a>(&'a Blocking);
        impl Drop for Counts<'_> {
            fn drop(&mut self) {
                self.0.state.lock().waiting -= 1;
            }
        }
        self.state.lock().waiting += 1;
        let _counts = Counts(self);
        if !self.queue.is_empty() {
            self.serve();
        }
        wait();
    }

    /// Nobody will run what waits here. One at a time: a key that is let go pushes the next task.
    #[cold]
    fn fail_waiting(&self, failure: &crate::outcome::Failure) {
        if std::mem::replace(&mut self.state.lock().is_failing, true) {
            return;
        }
        loop {
            while let Some(task) = self.queue.pop() {
                let core = task.core();
                if core.claim() {
                    self.room.leave(core);
                    self.scheduler.settled(core, task.settle_failure(failure.clone()));
                }
                if core.take_key() {
                    give_key(core);
                }
            }
            let mut state = self.state.lock();
            if self.queue.is_empty() {
                state.is_failing = false;
                return;
            }
        }
    }

    /// One thread's life.
    fn run(self: Arc<Self>, number: u64) {
        OWN.set((Arc::as_ptr(&self).addr(), number));
        let parker = Parker::new();
        let mut cx = Ctx::new(Arc::clone(&self.home), Placement::Thread);
        loop {
            while let Some(task) = self.pop() {
                self.run_task(number, &mut cx, task);
            }
            if !self.wait(number, &parker) {
                return;
            }
        }
    }

    /// The next task, claimed. What has to wait for its key is left at its gate.
    fn pop(&self) -> Option<Shared> {
        loop {
            let task = self.queue.pop()?;
            let core = task.core();
            if let Some(gate) = &core.plan.key
                && !core.take_key()
                && !gate.take_or_wait(self.me.clone(), &task)
            {
                continue;
            }
            if core.claim() {
                core.bind(Placement::Thread);
                return Some(task);
            }
            give_key(core);
        }
    }

    fn run_task(&self, number: u64, cx: &mut Ctx, task: Shared) {
        let core = task.core();
        self.room.leave(core);
        self.state.lock().running.insert(number, Arc::clone(&task));
        if core.plan.controls.timeout.is_some()
            && let Some(port) = self.port.get().and_then(Weak::upgrade)
        {
            port.started(&task, core.runs_before());
        }
        cx.begin(Arc::clone(&task) as Arc<dyn Signals>);
        let begun = clock::now();
        self.scheduler.waited(core, Placement::Thread, begun);
        let (settled, is_odd) = run_in_span(&task, cx);
        self.scheduler.settled(core, settled);
        if let Some(tasks) = core.measure.weight() {
            // It keeps no core from others: what it took says nothing of what it costs.
            let sample = Sample { tasks, stands_for: 1.0, bytes_out: 0, over_ns: None, is_odd };
            self.scheduler.ran(core, Placement::Thread, clock::ns_since(begun), sample);
        }
        give_key(core);
        let own = self.state.lock().running.remove(&number);
        // The last to let go of a detached task drops its output: user code.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            cx.end();
            drop((own, task));
        }));
    }

    /// Idle until there is something to do; false: the thread ends.
    fn wait(&self, number: u64, parker: &Parker) -> bool {
        let mut state = self.state.lock();
        if state.is_abandoned {
            return self.end(&mut state);
        }
        if !self.queue.is_empty() {
            return true;
        }
        if state.is_closing {
            return self.end(&mut state);
        }
        state.idle.push((number, parker.unparker().clone()));
        drop(state);
        let until = clock::now().saturating_add(self.idle_timeout);
        loop {
            let left = until.saturating_sub(clock::now());
            parker.park_timeout(left);
            let mut state = self.state.lock();
            let position = state.idle.iter().position(|(idle, _)| *idle == number);
            let Some(position) = position else { return true };
            if left.is_zero() || state.is_closing {
                state.idle.remove(position);
                return self.end(&mut state);
            }
        }
    }

    fn end(&self, state: &mut State) -> bool {
        state.alive -= 1;
        if state.is_closing {
            self.some_ended.notify_all();
        }
        false
    }

    /// As [`Threads::forget_one`](super::Threads::forget_one).
    pub(super) fn forget_one(&self) {
        let forgotten = self.forgotten.fetch_add(1, Ordering::Relaxed) + 1;
        if forgotten <= FORGOTTEN_MAX || 2 * forgotten <= self.queue.len() {
            return;
        }
        self.forgotten.store(0, Ordering::Relaxed);
        self.queue.sift(|task| task.core().is_waiting().then_some(task));
        self.home.table.keys().for_each(|gate| gate.sweep());
        // Somebody may have found the queue empty while an entry was on its way back.
        if !self.queue.is_empty() {
            self.serve();
        }
    }

    /// Idle threads end, and each other one that has nothing more to do.
    pub(super) fn begin_close(&self) {
        let mut state = self.state.lock();
        state.is_closing = true;
        state.idle.iter().for_each(|(_, unparker)| unparker.unpark());
    }

    /// Waits until `deadline` for every thread to end. Returns false where some still run.
    pub(super) fn close(&self, deadline: Duration) -> bool {
        self.begin_close();
        // A job that drops its own engine does not wait for itself.
        let own = usize::from(self.is_own_thread());
        let mut state = self.state.lock();
        while state.alive > own || self.waits_for_keys() {
            let left = deadline.saturating_sub(clock::now());
            if left.is_zero() {
                return false;
            }
            self.some_ended.wait_for(&mut state, left.min(Duration::from_millis(10)));
        }
        true
    }

    /// Tasks of this pool that others will hand their key.
    fn waits_for_keys(&self) -> bool {
        let me: Weak<dyn KeyUser> = self.me.clone();
        self.home.table.keys().any(|gate| gate.has_waiting(&me))
    }

    /// As [`Threads::abandon`](super::Threads::abandon): adds claimed tasks that no thread has
    /// started to `waiting`, and those that other threads are running to `running`.
    pub(super) fn abandon(&self, waiting: &mut Vec<Shared>, running: &mut Vec<Shared>) {
        self.state.lock().is_abandoned = true;
        self.begin_close();
        let me: Weak<dyn KeyUser> = self.me.clone();
        let mut left: Vec<Shared> = std::iter::from_fn(|| self.queue.pop()).collect();
        left.extend(self.home.table.keys().flat_map(|gate| gate.abandon(&me)));
        for task in left {
            if task.core().take_key() {
                give_key(task.core());
            }
            if task.core().claim() {
                self.room.leave(task.core());
                waiting.push(task);
            }
        }
        let own = OWN.get().1 * u64::from(self.is_own_thread());
        let state = self.state.lock();
        let others = state.running.iter().filter(|(number, _)| **number != own);
        running.extend(others.map(|(_, task)| Arc::clone(task)));
    }

    /// The calling thread is one of these, which run nothing but jobs.
    pub(super) fn is_own_thread(&self) -> bool {
        OWN.get().0 == std::ptr::from_ref(self).addr()
    }
}

fn give_key(core: &Core) {
    if let Some(gate) = &core.plan.key {
        gate.give();
    }
}

impl KeyUser for Blocking {
    fn has_key(&self, task: Shared) {
        task.core().set_has_key(true);
        self.queue.push_keyed(task);
        self.serve();
    }
}
