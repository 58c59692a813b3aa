//! What a task's handle asks of the process side, and the end of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::After;
use super::pool::Processes;
use super::seat::SeatState;
use crate::error::TaskError;
use crate::outcome::Failure;
use crate::sys::clock;
use crate::task::Core;

impl Processes {
    /// A task was asked to stop: back from its lane, or a word to its worker. One that is on its
    /// way into a lane is met there: whoever sends it looks once more, under the lock.
    pub(crate) fn cancel(&self, core: &Core) {
        self.stop(core, TaskError::Cancelled, true);
    }

    /// Ends a task with `failure` if it lies in a lane and was not started.
    pub(crate) fn take_back(&self, core: &Core, failure: Failure) {
        self.stop(core, failure, false);
    }

    fn stop(&self, core: &Core, failure: Failure, running_too: bool) {
        let mut after = After::default();
        let mut inner = self.lock();
        let Some((index, key)) = core.seat() else { return };
        if let Some(link) = inner.link_of(index, key, core) {
            let lane = Arc::clone(&link.lane);
            match link.revoke(key) {
                Ok(Some((task, others))) => {
                    after.fail(task, failure);
                    self.queue_all_again(&mut inner, others);
                }
                Ok(None) if running_too => link.host.cancel(lane.req(), key),
                Ok(None) => {}
                Err(violation) => link.break_off(violation.to_string()),
            }
        }
        self.dispatch(&mut inner, &mut after);
        drop(inner);
        after.run(self);
    }

    /// Kills the worker that runs a task; its neighbours in the lane are taken back first.
    pub(crate) fn kill(&self, core: &Core) -> bool {
        let mut after = After::default();
        let mut inner = self.lock();
        let Some((index, seq)) = core.seat() else {
            // On its way into a lane, where it will be found to be cancelled.
            return core.is_with_processes();
        };
        self.harvest(&mut inner, index, &mut after);
        if inner.link_of(index, seq, core).is_some() {
            self.kill_flight(&mut inner, index, seq, TaskError::Cancelled, &mut after);
        }
        self.dispatch(&mut inner, &mut after); // what was harvested made room, and rings no bell
        drop(inner);
        after.run(self);
        true
    }

    /// The workers' pids.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let inner = self.lock();
        let alive =
            inner.seats.iter().filter(|seat| !matches!(seat.state, SeatState::Dying { .. }));
        alive.filter_map(|seat| seat.link.as_ref()?.pid).collect()
    }

    /// **Blocks** until nothing is queued or in flight, or until `deadline`.
    pub(crate) fn drain(&self, deadline: Duration) {
        let mut inner = self.lock();
        while !inner.is_idle() {
            let left = deadline.saturating_sub(clock::now());
            if left.is_zero() {
                return;
            }
            self.idle.wait_for(&mut inner, left.min(Duration::from_millis(20)));
        }
    }

    /// Cancels everything, kills the workers, and waits a moment for the supervisor. How many
    /// tasks were cancelled.
    pub(crate) fn end(&self, patience: Duration) -> usize {
        let mut after = After::default();
        let mut inner = self.lock();
        inner.closing = true;
        self.is_troubled.store(true, Ordering::Relaxed);
        for task in inner.queue.take_all() {
            if task.core().claim() {
                after.leave(task.core());
                after.fail(task, TaskError::Cancelled);
            }
        }
        for index in 0..inner.seats.len() {
            let seat = &mut inner.seats[index];
            if std::mem::take(&mut seat.has_token) {
                after.tokens += 1;
            }
            if let Some(link) = &mut seat.link {
                link.read_records(&mut after);
                for task in link.take_all() {
                    after.fail(task, TaskError::Cancelled);
                }
                link.kill();
            }
        }
        drop(inner);
        let cancelled = after.failures();
        after.run(self);
        self.call.ring();
        if let Some(thread) = self.supervisor.lock().take() {
            let until = clock::now() + patience;
            while !thread.is_finished() && clock::now() < until {
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
        cancelled
    }
}
