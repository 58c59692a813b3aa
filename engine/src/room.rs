//! The bound of the queue: how many tasks may wait, and who waits for room.
//!
//! A task enters when it is accepted and leaves when it is claimed (by a thread, a lane, or by its
//! cancellation). Entering and leaving are counted apart, so that submitters and runners do not
//! fight for one cache line; a submitter adds up the leavers only when the bound seems reached.
//!
//! # Protocol: no waiter sleeps while there is room
//! Waiter: 1. register, under the lock, and count itself in `waiting` (SeqCst). 2. try to enter
//! again. Leaver: 1. count the leaving (SeqCst). 2. load `waiting` (SeqCst); wake one if not zero.
//! One of the two sees the other.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::thread;

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use crate::task::Waiter;

const STRIPES: usize = 8;

/// See the module.
pub(crate) struct Room {
    entered: CachePadded<AtomicU64>,
    /// A lower bound of what has left, as a submitter last added it up.
    left_seen: CachePadded<AtomicU64>,
    left: [CachePadded<AtomicU64>; STRIPES],
    /// How often a task that had left entered again.
    again: AtomicU64,
    waiting: CachePadded<AtomicUsize>,
    waiters: Mutex<Waiters>,
    max: u64,
}

#[derive(Default)]
struct Waiters {
    queue: VecDeque<(u64, Waiter)>,
    next: u64,
}

/// Which stripe this thread counts in.
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static STRIPE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
    }
    STRIPE.try_with(|stripe| *stripe).unwrap_or(0)
}

impl Room {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            entered: CachePadded::default(),
            left_seen: CachePadded::default(),
            left: Default::default(),
            again: AtomicU64::new(0),
            waiting: CachePadded::default(),
            waiters: Mutex::default(),
            max: max as u64,
        }
    }

    /// Enters if there is room.
    #[inline]
    pub(crate) fn enter(&self) -> bool {
        let entered = self.entered.fetch_add(1, Ordering::Relaxed) + 1;
        if entered.wrapping_sub(self.left_seen.load(Ordering::Relaxed)) <= self.max {
            return true;
        }
        self.enter_exactly(entered)
    }

    #[cold]
    fn enter_exactly(&self, entered: u64) -> bool {
        let left = self.left();
        self.left_seen.fetch_max(left, Ordering::Relaxed);
        if entered.saturating_sub(left) <= self.max {
            return true;
        }
        self.entered.fetch_sub(1, Ordering::Relaxed);
        false
    }

    fn left(&self) -> u64 {
        // Pairs with the add in `leave`.
        self.left.iter().map(|stripe| stripe.load(Ordering::SeqCst)).sum()
    }

    /// A task no longer waits.
    #[inline]
    pub(crate) fn leave(&self) {
        self.left[stripe()].fetch_add(1, Ordering::SeqCst); // pairs with the loads in `left`
        // Pairs with the add in `register`.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.wake_one();
        }
    }

    /// A task that had left waits again: it is never refused.
    pub(crate) fn enter_again(&self) {
        self.again.fetch_add(1, Ordering::Relaxed);
        self.entered.fetch_add(1, Ordering::Relaxed);
    }

    /// Tasks that were accepted since the beginning.
    pub(crate) fn accepted(&self) -> u64 {
        let again = self.again.load(Ordering::Relaxed);
        self.entered.load(Ordering::Relaxed).saturating_sub(again)
    }

    /// Tasks that wait now.
    pub(crate) fn waiting_tasks(&self) -> u64 {
        self.entered.load(Ordering::Relaxed).saturating_sub(self.left())
    }

    #[cold]
    fn wake_one(&self) {
        let next = {
            let mut waiters = self.waiters.lock();
            let next = waiters.queue.pop_front();
            if next.is_some() {
                self.waiting.fetch_sub(1, Ordering::SeqCst); // pairs with the load in `leave`
            }
            next
        };
        if let Some((_, waiter)) = next {
            waiter.wake();
        }
    }

    /// Wakes everybody: the engine is closing.
    pub(crate) fn wake_all(&self) {
        // The load pairs with the add in `register`.
        while self.waiting.load(Ordering::SeqCst) > 0 {
            self.wake_one();
        }
    }

    fn register(&self, waiter: Waiter) -> u64 {
        let mut waiters = self.waiters.lock();
        let ticket = waiters.next;
        waiters.next += 1;
        waiters.queue.push_back((ticket, waiter));
        self.waiting.fetch_add(1, Ordering::SeqCst); // pairs with the load in `leave`
        ticket
    }

    /// Takes a registration back. One that was already woken hands its wake on.
    fn unregister(&self, ticket: u64) {
        let woken = {
            let mut waiters = self.waiters.lock();
            match waiters.queue.iter().position(|(number, _)| *number == ticket) {
                Some(index) => {
                    waiters.queue.remove(index);
                    self.waiting.fetch_sub(1, Ordering::SeqCst); // pairs with the load in `leave`
                    false
                }
                None => true,
            }
        };
        if woken && self.waiting.load(Ordering::SeqCst) > 0 {
            self.wake_one(); // the load pairs with the add in `register`
        }
    }

    /// Blocks until `attempt` answers something. It is tried at once and after each leaving.
    pub(crate) fn wait_blocking<R>(&self, mut attempt: impl FnMut() -> Option<R>) -> R {
        loop {
            if let Some(answer) = attempt() {
                return answer;
            }
            let registration = Registration {
                room: self,
                ticket: self.register(Waiter::Thread(thread::current())),
            };
            if let Some(answer) = attempt() {
                return answer;
            }
            thread::park();
            drop(registration);
        }
    }

    /// The same for async callers. Dropping the future takes the registration back.
    pub(crate) async fn wait<R>(&self, mut attempt: impl FnMut() -> Option<R>) -> R {
        let mut registration: Option<Registration<'_>> = None;
        poll_fn(move |cx| {
            drop(registration.take());
            if let Some(answer) = attempt() {
                return Poll::Ready(answer);
            }
            let ticket = self.register(Waiter::Waker(cx.waker().clone()));
            registration = Some(Registration { room: self, ticket });
            match attempt() {
                Some(answer) => {
                    drop(registration.take());
                    Poll::Ready(answer)
                }
                None => Poll::Pending,
            }
        })
        .await
    }
}

struct Registration<'a> {
    room: &'a Room,
    ticket: u64,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.room.unregister(self.ticket);
    }
}
