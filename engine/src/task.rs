//! One submitted instance of a job: the handle that its caller holds ([`Task`]) and the cell that
//! the engine moves about.
//!
//! # Invariants
//! 1. A task has exactly one outcome: [`Cell::settle`] succeeds once, whoever comes first.
//! 2. Whoever turns `Waiting` into `Running` by [`Core::claim`] owns the task until it settles it
//!    or gives it back by [`Core::unclaim`]. Queues may hold entries whose task is no longer
//!    waiting; whoever pops one drops it.
//! 3. The handle's waiter is registered under the same lock that settles, so no wake is lost.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread::Thread;
use std::time::Duration;

use crate::error::TaskError;
use crate::job::Encoded;
use crate::policy::Placement;
use crate::stats::Outcome;
use crate::sys;

pub(crate) use self::cell::{Cell, RetryIf};
pub(crate) use self::child::{Answer, Child};
pub use self::controls::Priority;
pub(crate) use self::controls::{Asked, Backoff, Controls, Inherited, Turn};
pub(crate) use self::core::{Core, Port};
pub(crate) use self::mail::{Wakes, encode as encode_message};
pub use self::messages::Messages;
pub(crate) use self::plan::Plan;
pub(crate) use self::retry::Retry;
pub(crate) use self::side::ProcessSide;
pub(crate) use self::witness::{Ended, Witness};

mod cell;
mod child;
mod controls;
mod core;
mod mail;
mod measure;
mod member;
mod messages;
mod plan;
mod retry;
mod side;
mod witness;

/// What queues, threads and lanes see of a task, whatever its types.
pub(crate) trait AnyTask: crate::ctx::Signals {
    fn core(&self) -> &Core;
    /// Runs a claimed task on this thread and settles it. True: it ran in an unusual way, from its
    /// encoded form, or not at all.
    fn run_here(&self, cx: &crate::Ctx) -> (Settled, bool);
    /// Turns the typed input into bytes, once, and tells how many. After an error it is as it was.
    fn encode(&self) -> Result<u64, crate::outcome::Failure>;
    /// Shows the encoded input.
    fn with_encoded(&self, show: &mut dyn FnMut(&[u8]));
    /// Takes the encoded input out, for a copy that takes its time; [`put_encoded`](Self::put_encoded)
    /// brings it back. Only for the owner of a claimed task.
    fn take_encoded(&self) -> Encoded;
    /// The task may be sent once more.
    fn put_encoded(&self, bytes: Encoded);
    /// The memory that its bytes name: of its input, and of its output once that is there.
    fn regions(&self) -> Vec<Arc<crate::blob::Shared>>;
    /// Memory that its output names.
    fn add_region(&self, region: Arc<crate::blob::Shared>);
    /// The open files that its input names.
    fn files(&self) -> Vec<crate::fd::Fd>;
    /// Those that its output names.
    fn return_files(&self, files: Vec<crate::fd::Fd>);
    /// Settles with a worker's reply, which is decoded when the caller takes it.
    fn settle_reply(&self, kind: amphi_protocol::ReplyKind, bytes: Vec<u8>) -> Settled;
    /// Settles with an outcome that is not the job's.
    fn settle_failure(&self, failure: crate::outcome::Failure) -> Settled;
}

/// What became of an attempt to settle a task. The engine counts it:
/// [`Scheduler::settled`](crate::scheduler::Scheduler::settled).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the engine counts what is settled"]
pub(crate) enum Settled {
    /// Somebody was faster.
    Before,
    /// It will be tried once more.
    Again,
    /// This is its outcome.
    Now(Outcome),
}

/// The same with the types that its handle knows.
pub(crate) trait TypedTask<T, E>: AnyTask {
    /// Takes the outcome; `None`: there is none yet.
    fn take(&self) -> Option<Result<T, TaskError<E>>>;
    /// Where the task's messages are.
    fn mailbox(&self) -> Arc<mail::Mailbox>;
    /// Registers who is woken by the outcome; false: it is there already.
    fn wake_by(&self, waiter: Waiter) -> bool;
}

/// How often a job that waits looks whether it has to run the task itself.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Who waits for a task.
pub(crate) enum Waiter {
    Thread(Thread),
    Waker(Waker),
}

impl Waiter {
    /// Waking one wakes the other.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Thread(one), Self::Thread(other)) => one.id() == other.id(),
            (Self::Waker(one), Self::Waker(other)) => one.will_wake(other),
            _ => false,
        }
    }

    pub(crate) fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            // A waker is user code; its panic is nobody's here.
            Self::Waker(waker) => {
                let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            }
        }
    }
}

/// How far a running task is, in units of the job's own: see [`Task::progress`].
///
/// ```no_run
/// # fn example<T: 'static, E: 'static>(task: &amphi::Task<T, E>) {
/// if let Some(amphi::Progress { done, total }) = task.progress() {
///     println!("{done} of {total}");
/// }
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all.
    pub total: u64,
}

/// The caller's handle of one task. **Dropping it cancels the task**: one that has not started
/// never will, a running one is asked to stop. [`detach`](Task::detach) lets it go on without a
/// handle, and [`Engine::spawn_detached`](crate::Engine::spawn_detached) submits without one.
///
/// It is a future for any async runtime, and a thing to [`join`](Task::join).
///
/// ```no_run
/// # fn checksum(path: String) -> Result<u64, amphi::Error> { Ok(path.len() as u64) }
/// # fn example(engine: amphi::Engine) -> Result<(), Box<dyn std::error::Error>> {
/// let task = engine.call(checksum, "Cargo.toml".to_string());
/// println!("{}", task.explain());
/// let sum = task.join()?;
/// # let _ = sum; Ok(())
/// # }
/// ```
#[must_use = "dropping a task cancels it; join it, await it or detach it"]
pub struct Task<T, E> {
    cell: Arc<dyn TypedTask<T, E>>,
    port: Arc<dyn Port>,
    /// The handle still stands for the outcome: dropping it cancels.
    linked: bool,
}

impl<T: 'static, E: 'static> Task<T, E> {
    pub(crate) fn new(cell: Arc<dyn TypedTask<T, E>>, port: Arc<dyn Port>) -> Self {
        Self { cell, port, linked: true }
    }

    /// **Blocks** until the outcome is there and returns it. A task that has not started may run
    /// on the calling thread, if it may run on a thread at all and a core is free.
    ///
    /// Inside async code use `.await` instead. A job may join tasks of its own: it keeps no core
    /// busy while it waits. It must not block on the future instead: that keeps its core, and
    /// where every thread does so, nobody is left to run the tasks.
    ///
    /// # Errors
    /// See [`TaskError`].
    ///
    /// # Panics
    /// If the outcome was taken before, by polling the task as a future.
    pub fn join(mut self) -> Result<T, TaskError<E>> {
        self.wait(None).expect("without a deadline the wait ends with the outcome")
    }

    /// **Blocks** like [`join`](Self::join), for at most `timeout`, and never runs the task on
    /// the calling thread. When the time is over it gives the task back, untouched.
    ///
    /// # Errors
    /// The task itself, where there is no outcome yet.
    ///
    /// # Panics
    /// As [`join`](Self::join).
    pub fn join_timeout(mut self, timeout: Duration) -> Result<Result<T, TaskError<E>>, Self> {
        let deadline = sys::clock::now().saturating_add(timeout);
        match self.wait(Some(deadline)) {
            Some(outcome) => Ok(outcome),
            None => Err(self),
        }
    }

    fn has_taken(&mut self) {
        self.linked = false;
        let core = self.cell.core();
        if core.measure.weight().is_some() {
            self.port.took(core);
        }
    }

    /// The task as queues see it.
    pub(crate) fn shared(&self) -> Arc<dyn AnyTask> {
        Arc::clone(&self.cell) as Arc<dyn AnyTask>
    }

    fn wait(&mut self, deadline: Option<Duration>) -> Option<Result<T, TaskError<E>>> {
        if !self.cell.core().is_settled() {
            let share = || Arc::clone(&self.cell) as Arc<dyn AnyTask>;
            self.port.help(self.cell.core(), &share, deadline);
        }
        loop {
            if let Some(outcome) = self.cell.take() {
                self.has_taken();
                return Some(outcome);
            }
            assert!(self.linked, "the outcome of a task was taken twice");
            if !self.cell.wake_by(Waiter::Thread(std::thread::current())) {
                continue;
            }
            let mut left = deadline.map(|deadline| deadline.saturating_sub(sys::clock::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            // It may come (back) to the queue of a pool whose threads all wait as this one does.
            let core = self.cell.core();
            if deadline.is_none() && core.may_come_back() && self.port.is_in_job() {
                if core.is_waiting() {
                    let share = || Arc::clone(&self.cell) as Arc<dyn AnyTask>;
                    self.port.help(core, &share, None);
                }
                left = Some(LOOK_AGAIN);
            }
            self.port.while_waiting(&mut || match left {
                None => std::thread::park(),
                Some(left) => std::thread::park_timeout(left),
            });
        }
    }

    /// Asks the task to stop. One that has not started is [`Cancelled`](TaskError::Cancelled) at
    /// once; a running job sees it by [`Ctx::check`](crate::Ctx::check) and may ignore it. No
    /// process is killed; see [`kill`](Self::kill).
    pub fn cancel(&self) {
        stop(self.cell.as_ref(), self.port.as_ref());
    }

    /// Cancels, and kills the worker if the task is running in one: the hard end, which no job can
    /// ignore. Other tasks are not touched. Returns false where the task runs on a thread, which
    /// nobody can kill: it was only asked to stop.
    ///
    /// The outcome is [`Cancelled`](TaskError::Cancelled), or the task's own if it was faster.
    pub fn kill(&self) -> bool {
        self.cancel();
        let core = self.cell.core();
        core.is_settled() || self.port.kill(core)
    }

    /// Lets the task go on without a handle. Its outcome is dropped.
    pub fn detach(mut self) {
        self.linked = false;
    }

    /// True once the outcome is there: `join` will not block.
    pub fn is_finished(&self) -> bool {
        self.cell.core().is_settled()
    }

    /// What the job last told by [`Ctx::progress`](crate::Ctx::progress); `None` before it told
    /// anything but zeros.
    pub fn progress(&self) -> Option<Progress> {
        self.port.refresh(self.cell.core());
        self.cell.core().progress()
    }

    /// Where the task runs or ran; `None` while that is open.
    pub fn placement(&self) -> Option<Placement> {
        self.cell.core().placement()
    }

    /// Why the task runs where it does, in one line for people: the place, the reason, and where
    /// the policy decided by cost, its figures. Before it is bound to a place, where it may go.
    ///
    /// ```no_run
    /// # fn example<T: 'static, E: 'static>(task: &amphi::Task<T, E>) {
    /// println!("{}", task.explain());
    /// // checksum/64 KiB → process (cost): thread 1.31 ms + 200 ns, process 920 µs + 14.0 µs; …
    /// # }
    /// ```
    pub fn explain(&self) -> String {
        self.port.explain(self.cell.core())
    }
}

/// See [`Task::cancel`]; also for a task without a handle.
pub(crate) fn stop(task: &(impl AnyTask + ?Sized), port: &dyn Port) {
    let core = task.core();
    core.ask_to_stop();
    let claim = || {
        let unstarted = core.claim();
        if unstarted {
            port.left_queue(core);
            port.settled(core, task.settle_failure(TaskError::Cancelled));
        }
        unstarted
    };
    if !claim() && !core.is_settled() {
        port.cancel(core);
        // It may have come back to the queue meanwhile, from a lane that it had not started in.
        claim();
    }
}

impl<T: 'static, E: 'static> Future for Task<T, E> {
    type Output = Result<T, TaskError<E>>;

    /// # Panics
    /// If polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if let Some(outcome) = self.cell.take() {
                self.has_taken();
                return Poll::Ready(outcome);
            }
            assert!(self.linked, "a task was polled after it was ready");
            if self.cell.wake_by(Waiter::Waker(cx.waker().clone())) {
                return Poll::Pending;
            }
        }
    }
}

impl<T, E> Drop for Task<T, E> {
    fn drop(&mut self) {
        if self.linked && !self.cell.core().is_settled() {
            stop(self.cell.as_ref(), self.port.as_ref());
        }
    }
}

impl<T, E> fmt::Debug for Task<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("job", &self.cell.core().plan.name).finish_non_exhaustive()
    }
}
