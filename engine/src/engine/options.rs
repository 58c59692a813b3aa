//! Options of one task: [`TaskBuilder`].

use std::time::Duration;

use super::Engine;
use crate::error::{Reason, Rejected, TaskError};
use crate::job::Job;
use crate::policy::Placement;
use crate::task::Task;

/// What a submission may ask for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Options {
    pub(super) place: Option<Placement>,
    pub(super) kill_after: Option<Duration>,
    /// The work is a closure.
    pub(super) closure: bool,
    /// The caller will block for the outcome at once.
    pub(super) run: bool,
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
#[derive(Debug)]
#[must_use = "a task is submitted by run, try_submit, submit or submit_blocking"]
pub struct TaskBuilder<J> {
    engine: Engine,
    job: J,
    options: Options,
}

impl<J: Job> TaskBuilder<J> {
    pub(super) fn new(engine: Engine, job: J) -> Self {
        Self { engine, job, options: Options::default() }
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
        self.options.kill_after = Some(limit);
        self
    }

    /// Submits, and **blocks** until the outcome is there. A full queue is an outcome, too.
    ///
    /// # Errors
    /// See [`TaskError`]; what [`try_submit`](Self::try_submit) refuses is
    /// [`Rejected`](TaskError::Rejected).
    pub fn run(self) -> Result<J::Output, TaskError<J::Error>> {
        let options = Options { run: true, ..self.options };
        match self.engine.place_job(self.job, &options) {
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
        self.engine.place_job(self.job, &self.options)
    }

    /// Submits, waiting for room in the queue. A future that is dropped before it was ready has
    /// submitted nothing, and drops the job.
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit), but never for a full queue.
    pub async fn submit(self) -> Result<Task<J::Output, J::Error>, Rejected<J>> {
        let Self { engine, job, options } = self;
        let mut job = Some(job);
        engine.shared.room.wait(|| attempt(&engine, &mut job, &options)).await
    }

    /// Submits and **blocks** while the queue is full.
    ///
    /// Not for use inside a job on a thread of the same engine: where every thread waits so,
    /// nobody is left to empty the queue.
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit), but never for a full queue.
    pub fn submit_blocking(self) -> Result<Task<J::Output, J::Error>, Rejected<J>> {
        let Self { engine, job, options } = self;
        let mut job = Some(job);
        if let Some(decided) = attempt(&engine, &mut job, &options) {
            return decided;
        }
        let mut decided = None;
        engine.shared.threads.while_waiting(&mut || {
            let room = &engine.shared.room;
            decided = Some(room.wait_blocking(|| attempt(&engine, &mut job, &options)));
        });
        decided.expect("the wait ends with an answer")
    }
}

type Submission<J> = Result<Task<<J as Job>::Output, <J as Job>::Error>, Rejected<J>>;

/// One try of a submission that waits for room; `None`: the queue is full, `job` is kept.
fn attempt<J: Job>(
    engine: &Engine,
    job: &mut Option<J>,
    options: &Options,
) -> Option<Submission<J>> {
    match engine.place_job(job.take()?, options) {
        Err(Rejected { job: back, reason: Reason::QueueFull }) => {
            *job = Some(back);
            None
        }
        decided => Some(decided),
    }
}
