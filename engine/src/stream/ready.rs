//! Which tasks of a stream have ended: a list that each of them enters by itself, so that nobody
//! looks through the window.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Wake, Waker};

use parking_lot::Mutex;

use crate::task::Waiter;

/// See the module.
#[derive(Default)]
pub(super) struct Ready {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    slots: VecDeque<usize>,
    /// Whoever waits for the first entry. Only while the list is empty.
    waiter: Option<Waiter>,
}

impl Ready {
    /// Moves the whole list into `slots`, which is empty: one lock for all that ended meanwhile.
    pub(super) fn take(&self, slots: &mut VecDeque<usize>) {
        std::mem::swap(&mut self.inner.lock().slots, slots);
    }

    /// Registers who is woken by the next entry; false: there is one.
    pub(super) fn wake_by(&self, waiter: Waiter) -> bool {
        let mut inner = self.inner.lock();
        if !inner.slots.is_empty() {
            return false;
        }
        let old = inner.waiter.replace(waiter);
        drop(inner);
        drop(old); // a waker's Drop is user code
        true
    }

    fn push(&self, slot: usize) {
        let waiter = {
            let mut inner = self.inner.lock();
            inner.slots.push_back(slot);
            inner.waiter.take()
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

/// Enters one slot into the list. The same bell serves each task that the slot holds in turn: a
/// task wakes once, and the slot is emptied only after that.
struct Bell {
    ready: Arc<Ready>,
    slot: usize,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ready.push(self.slot);
    }
}

/// The waker for the tasks of `slot`.
pub(super) fn bell(ready: &Arc<Ready>, slot: usize) -> Waker {
    Waker::from(Arc::new(Bell { ready: Arc::clone(ready), slot }))
}
