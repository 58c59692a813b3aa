//! Keys of jobs that are not thread-safe: of all tasks with one key at most one runs at a time on
//! the threads of this process, whichever engine it belongs to. (A worker runs one task at a time
//! anyway.)
//!
//! A task whose key is taken waits at its [`Gate`], in no queue and without a core. Whoever lets
//! the key go hands it to the first that waits, through that one's pool.
//!
//! # Invariants
//! 1. A key is held by one task at a time, and by none only while nobody waits.
//! 2. A task at the gate is waiting (anybody may claim it, to cancel it), and is handed the key
//!    once; one that was claimed meanwhile hands it on.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::task::AnyTask;

/// How long a worker waits before it looks again whether a key is free.
const TAKE_AGAIN: Duration = Duration::from_micros(200);

/// A pool whose tasks wait for keys.
pub(crate) trait KeyUser: Send + Sync {
    /// The task has its key now: it is the pool's next.
    fn has_key(&self, task: Arc<dyn AnyTask>);
}

/// The gate of one key.
pub(crate) struct Gate {
    state: Mutex<State>,
    /// Tasks with this key that are not settled.
    present: AtomicUsize,
    /// Those of them that are in lanes.
    in_lanes: AtomicUsize,
}

#[derive(Default)]
struct State {
    is_taken: bool,
    waiting: VecDeque<(Weak<dyn KeyUser>, Arc<dyn AnyTask>)>,
}

impl Gate {
    /// The gate of a key in this process.
    pub(crate) fn of(key: &'static str) -> Arc<Self> {
        static GATES: Mutex<Option<HashMap<&'static str, Arc<Gate>>>> = Mutex::new(None);
        let mut gates = GATES.lock();
        let gate = gates.get_or_insert_default().entry(key).or_insert_with(|| {
            let (present, in_lanes) = (AtomicUsize::new(0), AtomicUsize::new(0));
            Arc::new(Self { state: Mutex::default(), present, in_lanes })
        });
        Arc::clone(gate)
    }

    /// Takes the key if nobody has it.
    pub(crate) fn try_take(&self) -> bool {
        let mut state = self.state.lock();
        let free = !state.is_taken;
        state.is_taken = true;
        free
    }

    /// Takes the key, **blocking** while somebody has it: in a worker, where that is a task that an
    /// earlier one left behind.
    pub(crate) fn take(&self) {
        while !self.try_take() {
            std::thread::park_timeout(TAKE_AGAIN);
        }
    }

    /// Takes the key, or leaves the task here until it is its turn.
    pub(crate) fn take_or_wait(&self, user: Weak<dyn KeyUser>, task: &Arc<dyn AnyTask>) -> bool {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.is_taken, true) {
            state.waiting.push_back((user, Arc::clone(task)));
            return false;
        }
        true
    }

    /// Lets the key go: to the first that waits for it.
    pub(crate) fn give(&self) {
        loop {
            let mut state = self.state.lock();
            let Some((user, task)) = state.waiting.pop_front() else {
                state.is_taken = false;
                return;
            };
            drop(state);
            // One that was claimed meanwhile, or whose engine is gone, is passed over.
            if task.core().is_waiting()
                && let Some(user) = user.upgrade()
            {
                return user.has_key(task);
            }
        }
    }

    /// Entries whose task was claimed meanwhile are dropped.
    pub(crate) fn sweep(&self) {
        let mut state = self.state.lock();
        let (kept, gone) = std::mem::take(&mut state.waiting)
            .into_iter()
            .partition(|(_, task)| task.core().is_waiting());
        state.waiting = kept;
        drop(state);
        // Outside of the lock: the last to let go of a task drops its input, user code.
        let gone: VecDeque<_> = gone;
        drop(gone);
    }

    pub(crate) fn has_waiting(&self, user: &Weak<dyn KeyUser>) -> bool {
        let state = self.state.lock();
        state
            .waiting
            .iter()
            .any(|(other, task)| Weak::ptr_eq(other, user) && task.core().is_waiting())
    }

    /// Takes out every task that waits for this pool, which ends.
    pub(crate) fn abandon(&self, user: &Weak<dyn KeyUser>) -> Vec<Arc<dyn AnyTask>> {
        let mut state = self.state.lock();
        let (own, others) = std::mem::take(&mut state.waiting)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(other, _)| Weak::ptr_eq(other, user));
        state.waiting = others;
        drop(state);
        own.into_iter().map(|(_, task)| task).collect()
    }

    pub(crate) fn came(&self) {
        self.present.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn went(&self) {
        self.present.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn entered_lane(&self) {
        self.in_lanes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn left_lane(&self) {
        self.in_lanes.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many cores would run tasks of this key, were it not for the key: those of its tasks
    /// that are here, as far as cores are `free` for them or serve them in lanes already. One,
    /// where tasks without it wait (`waiting` is all that do): they use the cores meanwhile.
    pub(crate) fn stands_for(&self, free: usize, waiting: u64) -> f64 {
        let present = self.present.load(Ordering::Relaxed);
        if waiting > present as u64 {
            return 1.0;
        }
        let usable = 1 + free + self.in_lanes.load(Ordering::Relaxed);
        present.min(usable).max(1) as f64
    }
}

/// The keys that a running task holds with those it was submitted from: none of their children may
/// wait for one of them.
pub(crate) struct Held {
    gate: Arc<Gate>,
    above: Option<Arc<Self>>,
}

impl Held {
    pub(crate) fn new(gate: Arc<Gate>, above: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self { gate, above })
    }

    pub(crate) fn holds(&self, gate: &Arc<Gate>) -> bool {
        let mut next = Some(self);
        while let Some(held) = next {
            if Arc::ptr_eq(&held.gate, gate) {
                return true;
            }
            next = held.above.as_deref();
        }
        false
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("present", &self.present).finish_non_exhaustive()
    }
}
