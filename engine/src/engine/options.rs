//! Options of one task: [`TaskBuilder`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Engine;
use crate::error::{Reason, Rejected, TaskError};
use crate::job::Job;
use crate::policy::Placement;
use crate::sys::clock;
use crate::task::{Asked, Backoff, Priority, RetryIf, Task};

/// What a submission may ask for.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) place: Option<Placement>,
    pub(super) controls: Asked,
    /// Tries beside the first.
    pub(super) retries: u32,
    pub(super) backoff: Backoff,
    /// The work is a closure.
    pub(super) closure: bool,
    /// The caller will block for the outcome at once.
    pub(super) run: bool,
    /// A full queue does not refuse the task: its submitter is one of those who empty it.
    pub(super) above_bound: bool,
    /// One of the engine's own: it takes no room, and nobody counts it.
    pub(super) private: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            place: None,
            controls: Asked::default(),
            retries: 0,
            backoff: Backoff::NONE,
            closure: false,
            run: false,
            private: false,
            above_bound: false,
        }
    }
}

/// One task of a job, with options. Made by [`Engine::task`].
///
/// ```no_run
/// # use amphi::{Engine, Job, Placement};
/// # fn example<J: Job>(engine: Engine, job: J) -> Result<J::Output, amphi::TaskError<J::Error>> {
/// engine
///     .task(job)
///     .place(Placement::Process)
///     .kill_after(std::time::Duration::from_millis(500))
///     .run()
/// # }
/// ```
#[must_use = "a task is submitted by run, try_submit, submit or submit_blocking"]
pub struct TaskBuilder<J: Job> {
    engine: Engine,
    job: J,
    options: Options,
    retry_if: Option<RetryIf<J::Error>>,
}

impl<J: Job> TaskBuilder<J> {
    pub(super) fn new(engine: Engine, job: J) -> Self {
        Self { engine, job, options: Options::default(), retry_if: None }
    }

    /// Where the task runs; `Auto` asks for nothing. A place that the job's needs exclude is
    /// refused at submit. What else has a say is told at [`Placement`].
    pub fn place(mut self, placement: Placement) -> Self {
        self.options.place = Some(placement);
        self
    }

    /// Kills the worker when the task has run for `limit`; the outcome is
    /// [`TimedOut`](TaskError::TimedOut). The clock starts when the task is given to its worker.
    ///
    /// It needs a process: where the job or [`place`](Self::place) allows threads only, the task is
    /// refused at submit as a [`Contradiction`](Reason::Contradiction), and by an engine without
    /// processes as [`Unsupported`](Reason::Unsupported).
    pub fn kill_after(mut self, limit: Duration) -> Self {
        self.options.controls.change().kill_after = Some(limit);
        self
    }

    /// Asks the job to stop when it has run for `limit`, in either place. A job that looks
    /// ([`Ctx::check`](crate::Ctx::check)) and returns an error ends as
    /// [`TimedOut`](TaskError::TimedOut); one that does not look goes on, and its own outcome
    /// counts. [`kill_after`](Self::kill_after) is the limit that no job can ignore.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.options.controls.change().timeout = Some(limit);
        self
    }

    /// Gives up when the task has not started within `limit`: [`TimedOut`](TaskError::TimedOut)
    /// with [`Clock::Queue`](crate::Clock::Queue). A running task is not touched.
    pub fn queue_timeout(mut self, limit: Duration) -> Self {
        self.options.controls.change().queue_timeout = Some(limit);
        self
    }

    /// The moment after which nobody wants the outcome: a task that has not started then never
    /// will, a running one is asked to stop, as by [`timeout`](Self::timeout). Tasks that the job
    /// submits by [`Ctx::engine`](crate::Ctx::engine) have it, too, unless theirs is earlier.
    pub fn deadline(mut self, at: Instant) -> Self {
        self.options.controls.change().deadline = Some(clock::at(at));
        self
    }

    /// Before or after other tasks that wait: see [`Priority`].
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options.controls.change().priority = priority;
        self
    }

    /// Which chain of work the task belongs to: any number, such as the trace id of the request
    /// that it serves. Tasks that the job submits have it, too, and records of the task name it;
    /// see [`Ctx::trace`](crate::Ctx::trace).
    pub fn trace(mut self, trace: u128) -> Self {
        self.options.controls.change().trace = trace;
        self
    }

    /// Runs the task again, `count` times at most, where its worker crashed, was killed by
    /// [`kill_after`](Self::kill_after) or was lost, or the job panicked. So it may run **more than
    /// once**: only for jobs that may. One that was running at two crashes ends as
    /// [`Poisoned`](TaskError::Poisoned) all the same. The input is kept as bytes meanwhile, in
    /// either place. A cancelled task is not tried again.
    pub fn retries(mut self, count: u32) -> Self {
        self.options.retries = count;
        self
    }

    /// Waits before each further try: `first`, then twice as long each time, at most `most`, less
    /// up to a quarter, so that tasks that failed together do not come back together. Without it
    /// there is no wait.
    pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.options.backoff = Backoff { first, most };
        self
    }

    /// Tries again also where the job itself failed with an error that `accept` accepts, within
    /// the same [`retries`](Self::retries). It is called where the outcome arrives, and must be
    /// quick.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn example<J: amphi::Job<Error = amphi::Error>>(engine: amphi::Engine, job: J) {
    /// let fetch = engine.task(job).retries(3).backoff(Duration::from_millis(50), Duration::MAX);
    /// let outcome = fetch.retry_if(|error| error.to_string().contains("busy")).run();
    /// # drop(outcome) }
    /// ```
    pub fn retry_if(mut self, accept: impl Fn(&J::Error) -> bool + Send + Sync + 'static) -> Self {
        self.retry_if = Some(Arc::new(accept));
        self
    }

    /// Submits, and **blocks** until the outcome is there. A full queue is an outcome, too.
    ///
    /// # Errors
    /// See [`TaskError`]; what [`try_submit`](Self::try_submit) refuses is
    /// [`Rejected`](TaskError::Rejected).
    pub fn run(self) -> Result<J::Output, TaskError<J::Error>> {
        let options = Options { run: true, ..self.options };
        match self.engine.place_job(self.job, &options, self.retry_if) {
            Ok(task) => task.join(),
            Err(rejected) => Err(TaskError::Rejected(rejected.reason)),
        }
    }

    /// Submits, or gives the job back. Never blocks.
    ///
    /// # Errors
    /// [`Rejected`] with the job and the [`Reason`]: the queue is full, the engine closes, the job
    /// is not registered, needs and options exclude every place, or a process is needed and the
    /// engine has none or can start no worker.
    ///
    /// The input is encoded once the task is accepted, so one above
    /// [`payload_bytes_max`](crate::EngineBuilder::payload_bytes_max) does not give the job back:
    /// the handle resolves to [`TaskError::Rejected`] with [`Reason::TooLarge`].
    pub fn try_submit(self) -> Result<Task<J::Output, J::Error>, Rejected<J>> {
        self.engine.place_job(self.job, &self.options, self.retry_if)
    }

    /// Submits, waiting for room in the queue. A future that is dropped before it was ready has
    /// submitted nothing, and drops the job.
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit), but never for a full queue.
    pub async fn submit(self) -> Result<Task<J::Output, J::Error>, Rejected<J>> {
        let Self { engine, job, options, retry_if } = self;
        let mut job = Some(job);
        engine.shared.room.wait(|| attempt(&engine, &mut job, &options, retry_if.as_ref())).await
    }

    /// Submits and **blocks** while the queue is full.
    ///
    /// Not for use inside a job on a thread of the same engine: where every thread waits so,
    /// nobody is left to empty the queue.
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit), but never for a full queue.
    pub fn submit_blocking(self) -> Result<Task<J::Output, J::Error>, Rejected<J>> {
        let Self { engine, job, options, retry_if } = self;
        let (mut job, retry_if) = (Some(job), retry_if.as_ref());
        if let Some(decided) = attempt(&engine, &mut job, &options, retry_if) {
            return decided;
        }
        let mut decided = None;
        engine.shared.threads.while_waiting(&mut || {
            let room = &engine.shared.room;
            decided = Some(room.wait_blocking(|| attempt(&engine, &mut job, &options, retry_if)));
        });
        decided.expect("the wait ends with an answer")
    }
}

impl<J: Job> std::fmt::Debug for TaskBuilder<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

type Submission<J> = Result<Task<<J as Job>::Output, <J as Job>::Error>, Rejected<J>>;

/// One try of a submission that waits for room; `None`: the queue is full, `job` is kept.
fn attempt<J: Job>(
    engine: &Engine,
    job: &mut Option<J>,
    options: &Options,
    retry_if: Option<&RetryIf<J::Error>>,
) -> Option<Submission<J>> {
    match engine.place_job(job.take()?, options, retry_if.cloned()) {
        Err(Rejected { job: back, reason: Reason::QueueFull }) => {
            *job = Some(back);
            None
        }
        decided => Some(decided),
    }
}
