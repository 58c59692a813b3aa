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

use crate::task::{Core, Waiter};

pub(crate) const STRIPES: usize = 8;

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
pub(crate) fn stripe() -> usize {
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

    /// Enters although there may be no room.
    pub(crate) fn enter_above(&self) {
        self.entered.fetch_add(1, Ordering::Relaxed);
    }

    /// True where [`enter`](Self::enter) would succeed now. For `wait`, as a try that takes no
    /// room.
    pub(crate) fn has_room(&self) -> bool {
        // Pairs with the sub in `enter_exactly`, as `left` does with `leave`.
        let entered = self.entered.load(Ordering::SeqCst);
        entered.saturating_sub(self.left()) < self.max
    }

    #[cold]
    fn enter_exactly(&self, entered: u64) -> bool {
        let left = self.left();
        self.left_seen.fetch_max(left, Ordering::Relaxed);
        if entered.saturating_sub(left) <= self.max {
            return true;
        }
        // Pairs with the loads of whoever tried meanwhile and counted this try as a task.
        self.entered.fetch_sub(1, Ordering::SeqCst);
        self.wake_if_there_is_room();
        false
    }

    fn wake_if_there_is_room(&self) {
        // Pairs with the add in `take`.
        if self.waiting.load(Ordering::SeqCst) > 0 && self.waiting_tasks() < self.max {
            self.wake_one();
        }
    }

    fn left(&self) -> u64 {
        // Pairs with the add in `leave`.
        self.left.iter().map(|stripe| stripe.load(Ordering::SeqCst)).sum()
    }

    /// A task no longer waits; one of the engine's own never entered.
    #[inline]
    pub(crate) fn leave(&self, core: &Core) {
        if !core.plan.is_private {
            self.leave_some(1);
        }
    }

    /// So many tasks no longer wait.
    #[inline]
    pub(crate) fn leave_some(&self, tasks: u64) {
        self.left[stripe()].fetch_add(tasks, Ordering::SeqCst); // pairs with the loads in `left`
        // Pairs with the add in `take`.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            (0..tasks).for_each(|_| self.wake_one());
        }
    }

    /// A task that had left waits again: it is never refused.
    pub(crate) fn enter_again(&self, core: &Core) {
        if core.plan.is_private {
            return;
        }
        self.entered.fetch_add(1, Ordering::Relaxed);
        // Pairs with the load in `accepted`: never is a task left out.
        self.again.fetch_add(1, Ordering::Release);
    }

    /// Tasks that were accepted since the beginning.
    pub(crate) fn accepted(&self) -> u64 {
        // Pairs with the add in `enter_again`.
        let again = self.again.load(Ordering::Acquire);
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
        // The load pairs with the add in `take`.
        while self.waiting.load(Ordering::SeqCst) > 0 {
            self.wake_one();
        }
    }

    /// Blocks until `attempt` answers something. It is tried at once, and each time that this
    /// waiter is woken.
    pub(crate) fn wait_blocking<R>(&self, mut attempt: impl FnMut() -> Option<R>) -> R {
        if let Some(answer) = attempt() {
            return answer;
        }
        let mut place = Place::new(self);
        loop {
            place.take(Waiter::Thread(thread::current()));
            if let Some(answer) = attempt() {
                return answer;
            }
            thread::park();
        }
    }

    /// The same for async callers. Dropping the future takes the registration back.
    pub(crate) async fn wait<R>(&self, mut attempt: impl FnMut() -> Option<R>) -> R {
        let mut place: Option<Place<'_>> = None;
        poll_fn(move |cx| {
            let place = match &mut place {
                Some(place) => place,
                empty => {
                    if let Some(answer) = attempt() {
                        return Poll::Ready(answer);
                    }
                    empty.insert(Place::new(self))
                }
            };
            place.take(Waiter::Waker(cx.waker().clone()));
            match attempt() {
                Some(answer) => {
                    place.leave();
                    Poll::Ready(answer)
                }
                None => Poll::Pending,
            }
        })
        .await
    }
}

/// A waiter's place in the line. One that was woken and found no room has it again, at the head:
/// a wake is for one try. A waiter that leaves the line wakes the next one if there is room still.
struct Place<'a> {
    room: &'a Room,
    ticket: Option<u64>,
}

impl<'a> Place<'a> {
    fn new(room: &'a Room) -> Self {
        Self { room, ticket: None }
    }

    /// Stands in line: at the end the first time, else where it stood, or at the head.
    fn take(&mut self, waiter: Waiter) {
        let mut waiters = self.room.waiters.lock();
        // Tickets are numbers in the order of arrival, and so is the line.
        let ticket = *self.ticket.get_or_insert_with(|| {
            waiters.next += 1;
            waiters.next
        });
        let old = match waiters.queue.iter_mut().find(|(number, _)| *number == ticket) {
            Some((_, old)) => Some(std::mem::replace(old, waiter)),
            None => {
                let after = waiters.queue.iter().position(|(number, _)| *number > ticket);
                let index = after.unwrap_or(waiters.queue.len());
                waiters.queue.insert(index, (ticket, waiter));
                self.room.waiting.fetch_add(1, Ordering::SeqCst); // pairs with the load in `leave`
                None
            }
        };
        drop(waiters);
        drop(old); // a waker's Drop is user code
    }

    /// Leaves the line.
    fn leave(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let mut waiters = self.room.waiters.lock();
        let index = waiters.queue.iter().position(|(number, _)| *number == ticket);
        let own = index.and_then(|index| waiters.queue.remove(index));
        if own.is_some() {
            self.room.waiting.fetch_sub(1, Ordering::SeqCst); // pairs with the load in `leave`
        }
        drop(waiters);
        drop(own);
        // It may have been woken and have taken no room, because it was refused or gave up.
        self.room.wake_if_there_is_room();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn stand_in_line(room: &Room, count: usize) {
        while room.waiting.load(Ordering::SeqCst) < count {
            thread::yield_now();
        }
    }

    /// The first in line is woken and then refused for another reason: its wake is not lost.
    #[test]
    fn a_waiter_that_takes_no_room_leaves_it_to_the_next() {
        let (room, refused) = (Arc::new(Room::new(1)), Arc::new(AtomicBool::new(false)));
        assert!(room.enter());
        let (tell, told) = mpsc::channel();
        let first = {
            let (room, refused) = (Arc::clone(&room), Arc::clone(&refused));
            move || room.wait_blocking(|| refused.load(Ordering::SeqCst).then_some(()))
        };
        let first = thread::spawn(first);
        stand_in_line(&room, 1);
        let second = Arc::clone(&room);
        thread::spawn(move || {
            let entered = second.wait_blocking(|| second.enter().then_some(true));
            tell.send(entered)
        });
        stand_in_line(&room, 2);
        refused.store(true, Ordering::SeqCst);
        room.leave_some(1);
        first.join().unwrap();
        assert_eq!(told.recv_timeout(Duration::from_secs(5)), Ok(true), "the second one enters");
        assert_eq!(room.waiting_tasks(), 1);
    }

    #[test]
    fn as_many_as_the_bound_enter_and_the_line_is_kept() {
        let room = Arc::new(Room::new(2));
        assert!(room.enter() && room.enter() && !room.enter());
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiters: Vec<_> = (0..3)
            .map(|number| {
                let (own, order) = (Arc::clone(&room), Arc::clone(&order));
                let tries = Arc::new(AtomicUsize::new(0));
                let tried = Arc::clone(&tries);
                let waiter = thread::spawn(move || {
                    own.wait_blocking(|| {
                        let entered = own.enter();
                        tried.fetch_add(1, Ordering::SeqCst);
                        entered.then(|| order.lock().push(number))
                    });
                });
                // Once more after it stands in line: from then on it enters when it is woken.
                while tries.load(Ordering::SeqCst) < 2 {
                    thread::yield_now();
                }
                stand_in_line(&room, number + 1);
                waiter
            })
            .collect();
        for done in 1..=3 {
            room.leave_some(1);
            while order.lock().len() < done {
                thread::yield_now();
            }
        }
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!(*order.lock(), [0, 1, 2]);
        assert_eq!((room.waiting_tasks(), room.accepted()), (2, 5));
    }
}
