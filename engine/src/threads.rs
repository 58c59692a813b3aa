//! The thread pool: tasks on threads of the host, each under a token of the core budget.
//!
//! Role: the engine pushes, pool threads (or a caller that waits) run. Not here: placement.
//!
//! # Invariants
//! 1. A thread pops only while it holds a token, and gives it back before it sleeps.
//! 2. A task in the injector has an awake searcher, a running thread, or a thread that waits for
//!    a token (the budget will call): see [`sleep`].
//! 3. A panic in a job is an outcome; no thread of the pool ends before the pool does.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crossbeam::sync::Parker;
use parking_lot::{Condvar, Mutex};

use self::blocking::Blocking;
use self::queue::Queue;
use self::sleep::Sleep;
use crate::budget::{Appetite, Budget, TokenUser};
use crate::ctx::Ctx;
use crate::error::{Reason, TaskError};
use crate::home::Home;
use crate::keys::KeyUser;
use crate::limits::{STACK_BYTES, TOKEN_QUANTUM};
use crate::policy::Placement;
use crate::room::Room;
use crate::scheduler::Scheduler;
use crate::sys::clock;
use crate::task::{AnyTask, Core, Port};

mod blocking;
mod help;
mod place;
mod queue;
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
    me: Weak<Self>,
    queue: Queue,
    sleep: Sleep,
    budget: Arc<Budget>,
    appetite: Appetite,
    room: Arc<Room>,
    home: Arc<Home>,
    scheduler: Arc<Scheduler>,
    /// Where tasks go that mostly wait.
    blocking: Arc<Blocking>,
    /// The way of a task that turns out to be bound for a process.
    port: OnceLock<Weak<dyn Port>>,
    /// What each thread runs, so that closing the engine can settle it.
    current: Vec<Mutex<Option<Shared>>>,
    starting: Mutex<Option<Vec<Parker>>>,
    is_started: AtomicBool,
    is_closing: AtomicBool,
    /// What waits is cancelled, and nobody runs what comes later.
    is_over: AtomicBool,
    /// Entries of the queue, at most, whose task its handle has claimed.
    forgotten: AtomicUsize,
    sweeping: Mutex<()>,
    alive: Mutex<usize>,
    all_ended: Condvar,
}

impl Threads {
    /// A pool of as many threads as the budget has cores, and beside it at most `blocking` threads
    /// for tasks that mostly wait. They are started by the first task.
    pub(crate) fn new(
        budget: Arc<Budget>,
        room: Arc<Room>,
        home: Arc<Home>,
        scheduler: Arc<Scheduler>,
        blocking: usize,
    ) -> Arc<Self> {
        let parts = (Arc::clone(&room), Arc::clone(&home), Arc::clone(&scheduler));
        let blocking = Blocking::new(blocking, blocking::IDLE, parts.0, parts.1, parts.2);
        let count = budget.cores();
        let parkers: Vec<Parker> = (0..count).map(|_| Parker::new()).collect();
        let unparkers = parkers.iter().map(|parker| parker.unparker().clone()).collect();
        Arc::new_cyclic(|weak: &Weak<Self>| Self {
            me: weak.clone(),
            queue: Queue::new(),
            sleep: Sleep::new(unparkers),
            appetite: budget.join(weak.clone() as Weak<dyn TokenUser>),
            budget,
            room,
            home,
            scheduler,
            blocking,
            port: OnceLock::new(),
            current: (0..count).map(|_| Mutex::new(None)).collect(),
            starting: Mutex::new(Some(parkers)),
            is_started: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            forgotten: AtomicUsize::new(0),
            sweeping: Mutex::new(()),
            alive: Mutex::new(0),
            all_ended: Condvar::new(),
        })
    }

    /// Before the first task.
    pub(crate) fn set_port(&self, port: Weak<dyn Port>) {
        self.blocking.set_port(Weak::clone(&port));
        let _ = self.port.set(port);
    }

    fn port(&self) -> Option<Arc<dyn Port>> {
        self.port.get().and_then(Weak::upgrade)
    }

    /// Queues a task and sees to it that somebody looks. Where the system gave no thread at all,
    /// the task is told at once.
    #[inline]
    pub(crate) fn push(self: &Arc<Self>, task: Shared) {
        if task.core().plan.blocking {
            return self.blocking.push(task);
        }
        if !self.is_started.load(Ordering::Relaxed) && !self.start() {
            if task.core().claim() {
                self.room.leave(task.core());
            }
            let settled = task.settle_failure(TaskError::Rejected(Reason::NoThreads));
            return self.scheduler.settled(task.core(), settled);
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
                if self.queue.is_empty() && !self.waits_for_keys() {
                    break;
                }
                // The cores are with others: the last tasks wait for one, this thread for them.
                std::thread::park_timeout(Duration::from_millis(1));
            }
            let may_go_on = || !self.queue.is_empty() && !self.appetite.is_hungry();
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

    fn waits_for_keys(&self) -> bool {
        let me: Weak<dyn KeyUser> = self.me.clone();
        self.home.table.keys().any(|gate| gate.has_waiting(&me))
    }

    /// Runs tasks while there are any, under one token. Enters as a searcher and leaves as one.
    fn work(&self, index: usize, cx: &mut Ctx) {
        let mut searching = true;
        let mut wanted_since = None;
        while let Some(task) = self.pop() {
            if searching && self.sleep.end_search() && !self.queue.is_empty() {
                // This was the only searcher and there is more: somebody else looks on. (The fence
                // of P2 is in `end_search`.)
                self.sleep.notify();
            }
            searching = false;
            self.run_task(index, cx, task);
            // Cores change hands for more than one task: each time wakes somebody.
            if self.budget.is_wanted() {
                let now = clock::now();
                let since = *wanted_since.get_or_insert(now);
                if now.saturating_sub(since) >= TOKEN_QUANTUM {
                    break;
                }
            } else {
                wanted_since = None;
            }
        }
        if !searching {
            self.sleep.begin_search();
        }
    }

    /// Looks for work a little longer, without a token.
    fn search(&self) {
        for round in 0..SEARCH_ROUNDS {
            if !self.queue.is_empty() || self.budget.cores() == 1 {
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

    /// Blocks in `wait`, without the token of the job that runs on this thread, if one does.
    pub(crate) fn while_waiting(&self, wait: &mut dyn FnMut()) {
        if self.is_beside() {
            self.blocking.while_waiting(wait)
        } else {
            self.budget.while_waiting(wait)
        }
    }

    /// A task that waits in the queue was claimed by its handle. Its entry is dropped when it is
    /// popped, or as soon as such entries are the greater part: a queue is bounded by its tasks.
    pub(crate) fn forget_one(&self, core: &Core) {
        if core.plan.blocking {
            return self.blocking.forget_one();
        }
        let forgotten = self.forgotten.fetch_add(1, Ordering::Relaxed) + 1;
        if forgotten <= FORGOTTEN_MAX || 2 * forgotten <= self.queue.len() {
            return;
        }
        let Some(_sweeper) = self.sweeping.try_lock() else { return };
        self.forgotten.store(0, Ordering::Relaxed);
        self.queue.sift(|task| task.core().is_waiting().then_some(task));
        self.home.table.keys().for_each(|gate| gate.sweep());
        // Pairs with the fences in `Sleep::sleep` (S3) and in `Shared::cancel_late`: what was put
        // back is seen.
        fence(Ordering::SeqCst);
        self.sleep.notify();
    }

    fn push_again(&self, task: Shared) {
        self.queue.push(task);
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
        self.blocking.begin_close();
        self.is_closing.store(true, Ordering::Relaxed);
        self.starting.lock().take();
        self.sleep.wake_all();
        // A job that drops its own engine does not wait for itself.
        let own = usize::from(self.own_index().is_some());
        let mut alive = self.alive.lock();
        while *alive > own {
            let left = deadline.saturating_sub(clock::now());
            if left.is_zero() {
                return false;
            }
            self.all_ended.wait_for(&mut alive, left.min(Duration::from_millis(10)));
            self.sleep.wake_all();
        }
        drop(alive);
        self.blocking.close(deadline)
    }

    /// Every task that no thread has started, and those that threads are running: for settling
    /// them when the engine ends.
    pub(crate) fn abandon(&self) -> (Vec<Shared>, Vec<Shared>) {
        self.is_over.store(true, Ordering::Relaxed);
        // Pairs with the fence in `has_key`: a task that is handed its key is seen here, or its
        // giver sees that nobody is left to run it.
        fence(Ordering::SeqCst);
        let mut waiting = Vec::new();
        let me: Weak<dyn KeyUser> = self.me.clone();
        while let Some(task) = self.queue.pop() {
            waiting.push(task);
        }
        let gates = self.home.table.keys();
        waiting.extend(gates.flat_map(|gate| gate.abandon(&me)));
        waiting.retain(|task| {
            let claimed = task.core().claim();
            if claimed {
                self.room.leave(task.core());
            }
            if task.core().take_key() {
                self.give_key(task.core());
            }
            claimed
        });
        let own = self.own_index();
        let others = self.current.iter().enumerate().filter(|(index, _)| Some(*index) != own);
        let mut running = others.filter_map(|(_, current)| current.lock().clone()).collect();
        self.blocking.abandon(&mut waiting, &mut running);
        (waiting, running)
    }

    /// The index of this thread, if it is one of the pool's.
    fn own_index(&self) -> Option<usize> {
        let (pool, index) = POOL_THREAD.get();
        (pool == std::ptr::from_ref(self).addr()).then_some(index)
    }

    /// The calling thread runs a job, under a token of this pool's budget or beside it.
    pub(crate) fn is_in_job(&self) -> bool {
        self.budget.is_held_here() || self.is_beside()
    }

    /// The calling thread runs a job that keeps no core busy.
    pub(crate) fn is_beside(&self) -> bool {
        self.blocking.is_own_thread()
    }

    pub(crate) fn cores(&self) -> usize {
        self.budget.cores()
    }

    /// No core is at work, for this engine or others that share its budget.
    pub(crate) fn all_cores_are_free(&self) -> bool {
        self.budget.free() >= self.budget.cores()
    }
}

impl KeyUser for Threads {
    fn has_key(&self, task: Shared) {
        task.core().set_has_key(true);
        self.queue.push_keyed(task);
        // Pairs with the fences in `Sleep::sleep` (S3), in `abandon` and in `Shared::cancel_late`.
        fence(Ordering::SeqCst);
        if self.is_over.load(Ordering::Relaxed) {
            // Other engines wait for the key, too.
            for task in self.abandon().0 {
                let settled = task.settle_failure(TaskError::Cancelled);
                self.scheduler.settled(task.core(), settled);
            }
        }
        if !self.appetite.is_hungry() {
            self.sleep.notify();
        }
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
