//! How threads sleep and are woken, so that no task waits while its thread sleeps.
//!
//! # Protocol (after tokio's multi-thread `idle.rs`)
//! A thread is *searching* (awake, without a task), *running*, or *sleeping*.
//!
//! Pusher: P1 push. P2 `fence(SeqCst)`. P3 if nobody searches and somebody sleeps: wake one, which
//! counts as searching from that moment.
//! Searcher that found a task: F1 leave the searchers. F2 if it was the last one and the queue is
//! not empty: as P3, so that a burst wakes thread after thread, never all at once.
//! Searcher that found none: S1 enter the list of sleepers. S2 leave the searchers.
//! S3 `fence(SeqCst)`. S4 look at the queue once more; not empty: leave the list and search on.
//! S5 park.
//!
//! Sketch of proof: the fences P2 and S3 are ordered. If P2 comes first, S4 sees the push. If S3
//! comes first, P3 sees the sleeper (S1); and either it sees no searcher and wakes, or it sees a
//! searcher that has not done S2 yet, whose own S3 then comes after P2, so that its S4 sees the
//! push.

use std::sync::atomic::{AtomicUsize, Ordering, fence};

use crossbeam::sync::{Parker, Unparker};
use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

/// See the module.
pub(super) struct Sleep {
    searching: CachePadded<AtomicUsize>,
    sleeping: CachePadded<AtomicUsize>,
    /// Who sleeps; the last to fall asleep is the first to be woken, its caches are warm.
    sleepers: Mutex<Vec<usize>>,
    unparkers: Vec<Unparker>,
}

impl Sleep {
    pub(super) fn new(unparkers: Vec<Unparker>) -> Self {
        Self {
            searching: CachePadded::default(),
            sleeping: CachePadded::default(),
            sleepers: Mutex::new(Vec::with_capacity(unparkers.len())),
            unparkers,
        }
    }

    /// Work was pushed, and a SeqCst fence passed since (P3).
    #[inline]
    pub(super) fn notify(&self) {
        if self.searching.load(Ordering::Relaxed) == 0 && self.sleeping.load(Ordering::Relaxed) > 0
        {
            self.wake_one();
        }
    }

    /// Wakes one sleeper as a searcher; false: nobody sleeps.
    #[cold]
    pub(super) fn wake_one(&self) -> bool {
        let woken = {
            let mut sleepers = self.sleepers.lock();
            let woken = sleepers.pop();
            if woken.is_some() {
                self.sleeping.fetch_sub(1, Ordering::Relaxed);
                self.searching.fetch_add(1, Ordering::Relaxed);
            }
            woken
        };
        if let Some(index) = woken {
            self.unparkers[index].unpark();
        }
        woken.is_some()
    }

    pub(super) fn wake_all(&self) {
        while self.wake_one() {}
    }

    /// Some thread is awake, or about to be, without a task. A hint.
    pub(super) fn has_searchers(&self) -> bool {
        self.searching.load(Ordering::Relaxed) > 0
    }

    /// Some thread sleeps, or is awake without a task. A hint.
    pub(super) fn has_idle(&self) -> bool {
        self.has_searchers() || self.sleeping.load(Ordering::Relaxed) > 0
    }

    pub(super) fn begin_search(&self) {
        self.searching.fetch_add(1, Ordering::Relaxed);
    }

    /// F1; true: this was the last searcher.
    pub(super) fn end_search(&self) -> bool {
        // SeqCst pairs with the pusher's fence (P2): a pusher that still saw this searcher has
        // pushed before it, and F2 sees the push.
        self.searching.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// A searcher sleeps until it is woken, unless `look` finds a reason not to; it wakes as a
    /// searcher.
    pub(super) fn sleep(&self, index: usize, parker: &Parker, look: impl Fn() -> bool) {
        {
            let mut sleepers = self.sleepers.lock();
            sleepers.push(index);
            self.sleeping.fetch_add(1, Ordering::Relaxed);
        }
        self.searching.fetch_sub(1, Ordering::Relaxed);
        fence(Ordering::SeqCst); // pairs with the fence of a pusher (P2)
        if look() && self.leave_list(index) {
            return;
        }
        // Nobody but a waker takes the index off the list, so a park that returns early parks on.
        loop {
            parker.park();
            if !self.sleepers.lock().contains(&index) {
                return;
            }
        }
    }

    /// Takes oneself off the list, as a searcher; false: a waker was faster, and its unpark comes.
    fn leave_list(&self, index: usize) -> bool {
        let mut sleepers = self.sleepers.lock();
        let Some(position) = sleepers.iter().position(|sleeper| *sleeper == index) else {
            return false;
        };
        sleepers.remove(position);
        self.sleeping.fetch_sub(1, Ordering::Relaxed);
        self.searching.fetch_add(1, Ordering::Relaxed);
        true
    }
}
