//! Giving queued tasks to workers: which seat, and under which token. `send` brings them there.

use std::sync::Arc;
use std::time::Duration;

use super::After;
use super::batch::NoRoom;
use super::pool::{Inner, Processes, Shared};
use super::queue::{Queue, Queues};
use super::send::Sent;
use crate::error::TaskError;
use crate::job::Entry;
use crate::limits::{PREFETCH, START_WORTH, TAKE_BACK_AFTER, TOKEN_QUANTUM, WAKE_COST};
use crate::policy::Placement;
use crate::sys::clock;

/// What to do with the task at the head of the queue.
enum Choice {
    Seat(usize),
    /// Wait: for a slot, a token, or a worker.
    Wait,
}

impl Processes {
    /// Dispatches from the head of each queue while there are seats and tokens, then sees to idle
    /// seats: their tokens go, and so does a worker that is to go.
    pub(super) fn dispatch(&self, inner: &mut Inner, after: &mut After) {
        if let Some(text) = inner.given_up.clone() {
            self.refuse_queue(inner, &text, after);
        }
        self.dispatch_from(inner, |queues| &mut queues.usual, after);
        if !inner.queue.special.is_empty() {
            self.dispatch_from(inner, |queues| &mut queues.special, after);
        }
        for index in 0..inner.seats.len() {
            let seat = &mut inner.seats[index];
            let (busy, leaves) = seat
                .link
                .as_ref()
                .map_or((false, false), |link| (link.is_busy(), link.worn || link.retiring));
            if seat.has_token && !busy {
                seat.has_token = false;
                after.tokens += 1;
                inner.wanted_since = None;
            }
            if leaves {
                self.wear_out(inner, index, after);
            }
        }
    }

    fn dispatch_from(
        &self,
        inner: &mut Inner,
        queue: fn(&mut Queues) -> &mut Queue,
        after: &mut After,
    ) {
        while let Some(task) = queue(&mut inner.queue).front() {
            if !task.core().is_waiting() {
                queue(&mut inner.queue).pop_front();
                inner.forgotten = inner.forgotten.saturating_sub(1);
                continue;
            }
            let task = Arc::clone(task);
            let index = match self.choose(inner, &task, after) {
                Choice::Seat(index) => index,
                Choice::Wait => break,
            };
            queue(&mut inner.queue).pop_front();
            if !task.core().claim() {
                continue;
            }
            if task.core().is_open() && self.scheduler.bind(task.core()) == Placement::Thread {
                after.to_threads.push(task);
                continue;
            }
            if task.core().is_asked_to_stop() {
                after.leave(task.core());
                after.fail(task, TaskError::Cancelled);
                continue;
            }
            let task = match self.batch(inner, queue, index, task, after) {
                Ok(Some(alone)) => alone,
                Ok(None) => continue,
                Err(NoRoom) => break,
            };
            match self.send(inner, index, &task, after) {
                Sent::Yes => after.leave(task.core()),
                Sent::NoRoom => {
                    task.core().unclaim();
                    queue(&mut inner.queue).push_front(task);
                    break;
                }
                Sent::Failed(failure) => {
                    after.leave(task.core());
                    after.fail(task, failure);
                }
            }
        }
    }

    /// A lane with less work than waking another worker costs; else an idle worker, if a core is
    /// free; else the lane with the least work, if that is bounded.
    fn choose(&self, inner: &mut Inner, task: &Shared, after: &mut After) -> Choice {
        let predicted = self.predicted_ns(task);
        // A clock that kills must not run for somebody else's task, and a task of unknown length
        // is nobody to queue before others.
        let need = self.need(task);
        let shares = !task.core().plan.controls.is_timed() && !need.one_shot && predicted.is_some();
        let waiting = inner.queue.of(need).len();
        let (mut idle, mut shortest, mut crowded) = (None, None::<(Duration, usize)>, false);
        for (index, seat) in inner.seats.iter().enumerate().filter(|(_, seat)| seat.serves(need)) {
            let Some(link) = &seat.link else { continue };
            if !link.is_busy() {
                idle = idle.or(Some(index));
                continue;
            }
            let Some(backlog) = link.backlog().filter(|_| shares) else { continue };
            if link.free_slots() == 0 {
                crowded |= backlog < WAKE_COST;
            } else if shortest.is_none_or(|(least, _)| backlog < least) {
                shortest = Some((backlog, index));
            }
        }
        // While threads wait for a core, after a while no lane is filled up: it runs dry, and its
        // token goes.
        let wanted = self.budget.is_wanted_by_others(&self.appetite) && self.is_others_turn(inner);
        if let Some((backlog, index)) = shortest.filter(|_| !wanted)
            && backlog < WAKE_COST
        {
            self.watch_lanes(inner);
            return Choice::Seat(index);
        }
        if crowded && work(predicted, waiting) < WAKE_COST {
            self.watch_lanes(inner);
            return Choice::Wait; // a slot is free sooner than another worker is awake
        }
        if let Some(index) = idle {
            let seat = &mut inner.seats[index];
            if wanted && std::mem::take(&mut seat.has_token) {
                self.budget.wait_for_turn(&self.appetite);
                after.tokens += 1;
                return Choice::Wait;
            }
            if seat.has_token || self.budget.take_or_wait(&self.appetite) {
                if !std::mem::replace(&mut seat.has_token, true) {
                    seat.occupied.begin(predicted);
                }
                return Choice::Seat(index);
            }
        } else {
            let soon = shortest.is_some_and(|(backlog, _)| backlog < START_WORTH);
            if !(soon || crowded) || work(predicted, waiting) >= START_WORTH {
                self.want_worker(inner, need, after);
            }
        }
        match shortest {
            Some((backlog, index)) if backlog < PREFETCH && !wanted => {
                self.watch_lanes(inner);
                Choice::Seat(index)
            }
            _ => {
                self.watch_lanes(inner);
                Choice::Wait
            }
        }
    }

    /// Somebody else has waited for a core long enough.
    fn is_others_turn(&self, inner: &mut Inner) -> bool {
        let now = clock::now();
        let since = *inner.wanted_since.get_or_insert(now);
        now.saturating_sub(since) >= TOKEN_QUANTUM
    }

    /// How long a task's job takes in a worker, if that was seen before.
    pub(super) fn predicted_ns(&self, task: &Shared) -> Option<u64> {
        self.home.table.entry(task.core().plan.job).and_then(Entry::service_ns)
    }

    /// Looks later whether what waits in or for a lane is stuck behind a longer task than
    /// predicted.
    fn watch_lanes(&self, inner: &mut Inner) {
        if !inner.is_watching {
            inner.is_watching = true;
            self.alarm_by(inner, clock::now() + TAKE_BACK_AFTER);
        }
    }

    /// The supervisor looks at all deadlines at `at` or before.
    pub(super) fn alarm_by(&self, inner: &mut Inner, at: Duration) {
        if inner.alarm_at.is_none_or(|now| at < now) {
            inner.alarm_at = Some(at);
            self.alarm.set(Some(at));
        }
    }
}

/// Predicted work of `count` tasks like this one.
fn work(predicted_ns: Option<u64>, count: usize) -> Duration {
    predicted_ns.map_or(Duration::MAX, |ns| Duration::from_nanos(ns.saturating_mul(count as u64)))
}
