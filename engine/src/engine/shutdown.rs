//! The end of an engine: by [`Engine::shutdown`], or by the drop of its last clone.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use super::{Engine, Shared};
use crate::error::TaskError;
use crate::limits::DROP_TIMEOUT;
use crate::sys;
use crate::task::{AnyTask, Port, Waiter};

/// What [`Engine::shutdown`] did.
///
/// ```no_run
/// # fn example(engine: amphi::Engine) {
/// let report = engine.shutdown(std::time::Duration::from_secs(5));
/// println!("{} tasks, {} of them cancelled", report.submitted, report.cancelled);
/// if report.threads_left {
///     eprintln!("a job does not look at its cancel token");
/// }
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Tasks that were accepted over the engine's life.
    pub submitted: u64,
    /// Tasks that had not ended when the grace time was over: they were cancelled, or asked to stop.
    pub cancelled: usize,
    /// Threads of the pool are still running a job that did not end: nobody can kill them.
    pub threads_left: bool,
}

/// Held by every clone of an engine; its drop is the engine's end.
pub(super) struct Last {
    shared: Option<Arc<Shared>>,
}

impl Last {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared: Some(shared) }
    }

    /// For a handle whose drop ends nothing.
    pub(super) const fn none() -> Self {
        Self { shared: None }
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.end(Duration::ZERO, DROP_TIMEOUT);
        }
    }
}

impl Engine {
    /// Accepts no more tasks, **blocks** until those it has accepted have ended or `grace` is
    /// over, then cancels the rest and kills the workers. Every handle resolves.
    ///
    /// Running jobs on threads are asked to stop and waited for at most 100 ms more. A `grace` of
    /// zero cancels at once. Other clones stay usable in the sense that they answer
    /// [`Reason::ShuttingDown`](crate::Reason::ShuttingDown); a second call finds nothing to do.
    ///
    /// ```no_run
    /// # fn example(engine: amphi::Engine) {
    /// let report = engine.shutdown(std::time::Duration::from_secs(5));
    /// assert_eq!(report.cancelled, 0, "five seconds were enough");
    /// # }
    /// ```
    pub fn shutdown(&self, grace: Duration) -> Report {
        self.shared.end(grace, DROP_TIMEOUT)
    }
}

impl Shared {
    /// Drains for `grace`, then cancels, and gives threads and processes `patience` in all. A
    /// second call finds nothing left to do.
    fn end(&self, grace: Duration, patience: Duration) -> Report {
        if std::process::id() != self.host {
            // A copy of the host, made by a fork: nothing of this is its own to end.
            return Report { submitted: self.room.accepted(), cancelled: 0, threads_left: false };
        }
        self.is_closing.store(true, Ordering::Relaxed);
        self.room.wake_all();
        let until = sys::clock::now().saturating_add(grace);
        let mut cancelled = 0;
        if !grace.is_zero() {
            // A job does not wait for itself.
            if !self.threads.is_in_job() {
                self.drain(until);
            }
            if let Some(processes) = &self.processes {
                processes.drain(until);
            }
            self.threads.close(until);
        }
        self.finish_audits();
        let until = sys::clock::now().saturating_add(patience);
        if let Some(processes) = &self.processes {
            cancelled += processes.end(patience);
        }
        let (waiting, running) = self.threads.abandon();
        for task in &waiting {
            self.settled(task.core(), task.settle_failure(TaskError::Cancelled));
        }
        for task in &running {
            task.core().ask_to_stop();
        }
        let ended = self.threads.close(until);
        let ours = |tasks: &[Arc<dyn AnyTask>]| {
            tasks.iter().filter(|task| !task.core().plan.is_private).count()
        };
        cancelled += ours(&waiting) + ours(&running) + self.cancel_late();
        Report { submitted: self.room.accepted(), cancelled, threads_left: !ended }
    }

    /// **Blocks** until every task has ended, those included that wait for their next try, or until
    /// `deadline`.
    fn drain(&self, deadline: Duration) {
        while !self.is_drained() {
            self.scheduler.drain.wait(Waiter::Thread(std::thread::current()));
            let left = deadline.saturating_sub(sys::clock::now());
            if self.is_drained() || left.is_zero() {
                return;
            }
            std::thread::park_timeout(left);
        }
    }

    /// Cancels a task that nobody will start, unless somebody has done so.
    pub(super) fn cancel_unstarted(&self, task: &Arc<dyn AnyTask>) {
        if task.core().claim() {
            self.room.leave(task.core());
            self.settled(task.core(), task.settle_failure(TaskError::Cancelled));
        }
    }

    /// What is still queued or running when the threads were waited for, or is queued afterwards:
    /// their threads may run for ever, their callers need not wait for it. How many were queued.
    pub(super) fn cancel_late(&self) -> usize {
        self.has_ended.store(true, Ordering::Relaxed);
        // Pairs with the fence in `Threads::push`: a task is seen here, or its submitter sees
        // `has_ended`.
        fence(Ordering::SeqCst);
        let (mut late, running) = self.threads.abandon();
        late.extend(self.clocks.close().into_iter().filter(|task| {
            let waits = task.core().claim();
            if waits {
                self.room.leave(task.core());
            }
            waits
        }));
        for task in late.iter().chain(&running) {
            self.settled(task.core(), task.settle_failure(TaskError::Cancelled));
        }
        late.iter().filter(|task| !task.core().plan.is_private).count()
    }
}
