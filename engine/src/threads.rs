//! The thread pool: tasks on threads of the host, each under a token of the core budget.
//!
//! Role: the engine pushes, pool threads (or a caller that waits) run. Not here: placement.
//!
//! # Invariants
//! 1. A thread pops only while it holds a token, and gives it back before it sleeps.
//! 2. A task in the injector has an awake searcher, a running thread, or a thread that waits for
//!    a token (the budget will call): see [`sleep`](self::sleep).
//! 3. A panic in a job is an outcome; no thread of the pool ends before the pool does.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam::deque::{Injector, Steal};
use crossbeam::sync::Parker;
use parking_lot::{Condvar, Mutex};

use self::sleep::Sleep;
use crate::budget::{Appetite, Budget, TokenUser};
use crate::ctx::{Ctx, Signals};
use crate::error::{Reason, TaskError};
use crate::home::Home;
use crate::limits::STACK_BYTES;
use crate::policy::Placement;
use crate::room::Room;
use crate::sys;
use crate::task::{AnyTask, Core};

mod sleep;

type Shared = Arc<dyn AnyTask>;

/// Rounds a thread looks for work before it sleeps; each is a few dozen nanoseconds. Long enough
/// to bridge the caller's turnaround, shorter than the wake-up (8–10 µs for the caller) it saves.
const SEARCH_ROUNDS: u32 = 50;

/// Rounds a caller looks at its task before it sleeps.
const JOIN_ROUNDS: u32 = 1000;

/// So many forgotten entries may always stand in a queue.
const FORGOTTEN_MAX: usize = 64;

thread_local! {
    /// The address of the pool whose thread this is, and its index there.
    static POOL_THREAD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// See the module.
pub(crate) struct Threads {
    injector: Injector<Shared>,
    sleep: Sleep,
    budget: Arc<Budget>,
    appetite: Appetite,
    room: Arc<Room>,
    home: Arc<Home>,
    /// What each thread runs, so that closing the engine can settle it.
    current: Vec<Mutex<Option<Shared>>>,
    starting: Mutex<Option<Vec<Parker>>>,
    is_started: AtomicBool,
    is_closing: AtomicBool,
    /// Entries of the queue, at most, whose task its handle has claimed.
    forgotten: AtomicUsize,
    sweeping: Mutex<()>,
    alive: Mutex<usize>,
    all_ended: Condvar,
}

impl Threads {
    /// A pool of as many threads as the budget has cores. They are started by the first task.
    pub(crate) fn new(budget: Arc<Budget>, room: Arc<Room>, home: Arc<Home>) -> Arc<Self> {
        let count = budget.cores();
        let parkers: Vec<Parker> = (0..count).map(|_| Parker::new()).collect();
        let unparkers = parkers.iter().map(|parker| parker.unparker().clone()).collect();
        Arc::new_cyclic(|weak: &Weak<Self>| Self {
            injector: Injector::new(),
            sleep: Sleep::new(unparkers),
            appetite: budget.join(weak.clone() as Weak<dyn TokenUser>),
            budget,
            room,
            home,
            current: (0..count).map(|_| Mutex::new(None)).collect(),
            starting: Mutex::new(Some(parkers)),
            is_started: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            forgotten: AtomicUsize::new(0),
            sweeping: Mutex::new(()),
            alive: Mutex::new(0),
            all_ended: Condvar::new(),
        })
    }

    /// Queues a task and sees to it that somebody looks. Where the system gave no thread at all,
    /// the task is told at once.
    #[inline]
    pub(crate) fn push(self: &Arc<Self>, task: Shared) {
        if !self.is_started.load(Ordering::Relaxed) && !self.start() {
            if task.core().claim() {
                self.room.leave();
            }
            return task.settle_failure(TaskError::Rejected(Reason::NoThreads));
        }
        self.push_again(task);
    }

    /// False: there is no thread, and there will be none.
    #[cold]
    fn start(self: &Arc<Self>) -> bool {
        let mut starting = self.starting.lock();
        let Some(parkers) = starting.take() else { return *self.alive.lock() > 0 };
        for (index, parker) in parkers.into_iter().enumerate() {
            let pool = Arc::clone(self);
            *self.alive.lock() += 1;
            let thread = std::thread::Builder::new()
                .name(format!("amphi-thread-{index}"))
                .stack_size(STACK_BYTES)
                .spawn(move || pool.run(index, &parker));
            if thread.is_err() {
                // Fewer threads serve the same queue.
                *self.alive.lock() -= 1;
            }
        }
        let some = *self.alive.lock() > 0;
        self.is_started.store(some, Ordering::Relaxed);
        some
    }

    /// One thread's life.
    fn run(self: Arc<Self>, index: usize, parker: &Parker) {
        POOL_THREAD.set((Arc::as_ptr(&self).addr(), index));
        let mut cx = Ctx::new(Arc::clone(&self.home), Placement::Thread);
        self.sleep.begin_search();
        loop {
            if self.budget.take_or_wait(&self.appetite) {
                self.work(index, &mut cx);
                self.budget.give_back();
                self.search();
            }
            if self.is_closing.load(Ordering::Relaxed) {
                if self.injector.is_empty() {
                    break;
                }
                // The cores are with others: the last tasks wait for one, this thread for them.
                std::thread::park_timeout(Duration::from_millis(1));
            }
            let may_go_on = || !self.injector.is_empty() && !self.appetite.is_hungry();
            let closing = || self.is_closing.load(Ordering::Relaxed);
            self.sleep.sleep(index, parker, || may_go_on() || closing());
        }
        self.sleep.end_search();
        let mut alive = self.alive.lock();
        *alive -= 1;
        if *alive == 0 {
            self.all_ended.notify_all();
        }
    }

    /// Runs tasks while there are any, under one token. Enters as a searcher and leaves as one.
    fn work(&self, index: usize, cx: &mut Ctx) {
        let mut searching = true;
        while let Some(task) = self.pop() {
            if searching && self.sleep.end_search() && !self.injector.is_empty() {
                // This was the only searcher and there is more: somebody else looks on. (The fence
                // of P2 is in `end_search`.)
                self.sleep.notify();
            }
            searching = false;
            self.run_task(index, cx, task);
            if self.budget.is_wanted() {
                break;
            }
        }
        if !searching {
            self.sleep.begin_search();
        }
    }

    /// Looks for work a little longer, without a token.
    fn search(&self) {
        for round in 0..SEARCH_ROUNDS {
            if !self.injector.is_empty() || self.budget.cores() == 1 {
                return;
            }
            if round % 16 == 15 {
                std::thread::yield_now();
            }
            // The lines of the queue's ends are left to who pushes and pops in between.
            for _ in 0..4 {
                std::hint::spin_loop();
            }
        }
    }

    fn pop(&self) -> Option<Shared> {
        loop {
            match self.injector.steal() {
                Steal::Success(task) => {
                    if task.core().claim() {
                        return Some(task);
                    }
                }
                Steal::Empty => return None,
                Steal::Retry => std::hint::spin_loop(),
            }
        }
    }

    fn run_task(&self, index: usize, cx: &mut Ctx, task: Shared) {
        self.room.leave();
        task.core().bind(Placement::Thread);
        cx.begin(Arc::clone(&task) as Arc<dyn Signals>);
        *self.current[index].lock() = Some(Arc::clone(&task));
        self.budget.hold(|| task.run_here(cx));
        let own = self.current[index].lock().take();
        // The last to let go of a detached task drops its output: user code.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            cx.end();
            drop((own, task));
        }));
    }

    /// The caller will block for `task`: run it here if it has not started and a core is free,
    /// else look at it a little longer than it takes to be woken.
    pub(crate) fn help(&self, core: &Core, share: &dyn Fn() -> Shared, may_run: bool) {
        if may_run && core.is_waiting() {
            self.run_unstarted(core, share);
        }
        if self.budget.cores() == 1 {
            return;
        }
        for round in 1..=JOIN_ROUNDS {
            if core.is_settled() || self.budget.is_held_here() {
                return;
            }
            // The thread that was woken for it may be waiting for this very core. Where none was,
            // all are at work, and a yield would cost the caller a whole time slice.
            if round % 64 == 0 && self.sleep.has_searchers() {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }

    /// Runs a task that was never queued on the calling thread; false: no core is free, or the
    /// job wants a thread of its own.
    pub(crate) fn run_now(&self, task: &Shared) -> bool {
        if task.core().no_caller_run {
            return false;
        }
        if self.budget.is_held_here() {
            self.run_claimed(task.core(), &|| Arc::clone(task));
            return true;
        }
        let free = self.budget.take();
        if free {
            self.run_claimed(task.core(), &|| Arc::clone(task));
            self.budget.give_back();
        }
        free
    }

    /// Runs a task that has not started for the caller who will wait for it. A job that waits has
    /// a token, under which its child runs; whoever else waits needs a free one.
    fn run_unstarted(&self, core: &Core, share: &dyn Fn() -> Shared) {
        if self.budget.is_held_here() {
            if !core.no_caller_run {
                return self.run_claimed(core, share);
            }
            // Every pool thread may be waiting as this one is: a thread of the child's own.
            let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
            std::thread::scope(|scope| {
                let apart = || {
                    let share = share();
                    move || self.run_claimed(share.core(), &|| Arc::clone(&share))
                };
                let _ = builder.spawn_scoped(scope, apart());
            });
        } else if !core.no_caller_run && self.budget.take() {
            self.run_claimed(core, share);
            self.budget.give_back();
        }
    }

    fn run_claimed(&self, core: &Core, share: &dyn Fn() -> Shared) {
        if core.claim() {
            self.room.leave();
            self.run_inline(&share());
        }
    }

    /// Blocks in `wait`, without the token of the job that runs on this thread, if one does.
    pub(crate) fn while_waiting(&self, wait: &mut dyn FnMut()) {
        self.budget.while_waiting(wait);
    }

    /// Runs a claimed task on the calling thread, under a token that the caller holds.
    pub(crate) fn run_inline(&self, task: &Shared) {
        task.core().bind(Placement::Thread);
        let mut cx = Ctx::new(Arc::clone(&self.home), Placement::Thread);
        cx.begin(Arc::clone(task) as Arc<dyn Signals>);
        self.budget.hold(|| task.run_here(&cx));
    }

    /// A task that waits in the queue was claimed by its handle. Its entry is dropped when it is
    /// popped, or as soon as such entries are the greater part: a queue is bounded by its tasks.
    pub(crate) fn forget_one(&self) {
        let forgotten = self.forgotten.fetch_add(1, Ordering::Relaxed) + 1;
        let entries = self.injector.len();
        if forgotten <= FORGOTTEN_MAX || 2 * forgotten <= entries {
            return;
        }
        let Some(_sweeper) = self.sweeping.try_lock() else { return };
        self.forgotten.store(0, Ordering::Relaxed);
        for _ in 0..entries {
            match self.injector.steal() {
                Steal::Success(task) if task.core().is_waiting() => self.push_again(task),
                Steal::Success(_) | Steal::Retry => {}
                Steal::Empty => return,
            }
        }
    }

    fn push_again(&self, task: Shared) {
        self.injector.push(task);
        // Pairs with the fences in `Sleep::sleep` (S3) and in `Shared::cancel_late`: whoever does
        // not see this task is seen by the loads below and by those of the caller.
        fence(Ordering::SeqCst);
        // A thread that waits for a token will be called by the budget, and looks then.
        if !self.appetite.is_hungry() {
            self.sleep.notify();
        }
    }

    /// Lets the threads end once the queue is empty, and waits for them until `deadline`.
    /// Returns false where some still run.
    pub(crate) fn close(&self, deadline: Duration) -> bool {
        self.is_closing.store(true, Ordering::Relaxed);
        self.starting.lock().take();
        self.sleep.wake_all();
        // A job that drops its own engine does not wait for itself.
        let own = usize::from(self.own_index().is_some());
        let mut alive = self.alive.lock();
        while *alive > own {
            let left = deadline.saturating_sub(sys::clock::now());
            if left.is_zero() {
                return false;
            }
            self.all_ended.wait_for(&mut alive, left.min(Duration::from_millis(10)));
            self.sleep.wake_all();
        }
        true
    }

    /// Every task that no thread has started, and those that threads are running: for settling
    /// them when the engine ends.
    pub(crate) fn abandon(&self) -> (Vec<Shared>, Vec<Shared>) {
        let mut waiting = Vec::new();
        while let Some(task) = self.pop() {
            self.room.leave();
            waiting.push(task);
        }
        let own = self.own_index();
        let others = self.current.iter().enumerate().filter(|(index, _)| Some(*index) != own);
        let running = others.filter_map(|(_, current)| current.lock().clone()).collect();
        (waiting, running)
    }

    /// The index of this thread, if it is one of the pool's.
    fn own_index(&self) -> Option<usize> {
        let (pool, index) = POOL_THREAD.get();
        (pool == std::ptr::from_ref(self).addr()).then_some(index)
    }

    pub(crate) fn cores(&self) -> usize {
        self.budget.cores()
    }
}

impl TokenUser for Threads {
    fn token_is_free(&self) {
        if !self.sleep.wake_one() {
            // Every thread is awake and will look, or there are none: nobody here waits.
            self.budget.pass_on();
        }
    }
}
