//! How many tasks have ended, and who waits until all have.
//!
//! # Protocol: nobody waits for tasks that have all ended
//! Waiter: 1. register, under the lock, and count itself in `waiting` (SeqCst). 2. compare what was
//! accepted with what has ended. Settler: 1. count the end (SeqCst). 2. load `waiting` (SeqCst);
//! wake everybody if it is not zero. One of the two sees the other.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use crate::room::{STRIPES, stripe};
use crate::task::Waiter;

/// See the module.
#[derive(Default)]
pub(crate) struct Drain {
    ended: [CachePadded<AtomicU64>; STRIPES],
    waiting: CachePadded<AtomicUsize>,
    waiters: Mutex<Vec<Waiter>>,
}

impl Drain {
    /// So many tasks have their outcomes.
    #[inline]
    pub(super) fn done(&self, tasks: u64) {
        self.ended[stripe()].fetch_add(tasks, Ordering::SeqCst); // pairs with the loads in `ended`
        self.look();
    }

    /// Whoever waits looks again.
    #[inline]
    pub(crate) fn look(&self) {
        // Pairs with the add in `wait`.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.wake_all();
        }
    }

    /// Tasks that have ended since the beginning.
    pub(crate) fn ended(&self) -> u64 {
        // Pairs with the add in `done`.
        self.ended.iter().map(|stripe| stripe.load(Ordering::SeqCst)).sum()
    }

    /// Wakes `waiter` when the next task ends. Look afterwards whether one has ended before.
    pub(crate) fn wait(&self, waiter: Waiter) {
        let mut waiters = self.waiters.lock();
        // One that looks often is woken once.
        if !waiters.iter().any(|other| other.is_same(&waiter)) {
            waiters.push(waiter);
        }
        self.waiting.store(waiters.len(), Ordering::SeqCst); // pairs with the load in `done`
    }

    #[cold]
    fn wake_all(&self) {
        let woken = {
            let mut waiters = self.waiters.lock();
            self.waiting.store(0, Ordering::SeqCst); // pairs with the load in `done`
            std::mem::take(&mut *waiters)
        };
        woken.into_iter().for_each(Waiter::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn whoever_looks_often_waits_once() {
        let drain = Drain::default();
        let waker = Waker::noop();
        (0..100).for_each(|_| drain.wait(Waiter::Waker(waker.clone())));
        (0..100).for_each(|_| drain.wait(Waiter::Thread(std::thread::current())));
        assert_eq!(drain.waiters.lock().len(), 2);
        drain.done(3);
        assert_eq!((drain.ended(), drain.waiters.lock().len()), (3, 0));
    }
}
