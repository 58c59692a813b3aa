//! The engine: accepts a task, gives it a place, hands back its handle. Start reading at
//! [`Engine::place`].

use std::convert::Infallible;
use std::sync::Arc;

use crate::ctx::Ctx;
use crate::error::{Reason, Rejected, TaskError};
use crate::job::{CallWork, Job, JobWork, Work};
use crate::task::{AnyTask, Cell, Core, Inherited, Port, RetryIf, Task};

pub use self::builder::EngineBuilder;
pub use self::explain::Explanation;
pub use self::options::TaskBuilder;
pub use self::scope::{Scope, ScopedTask};
pub use self::shutdown::Report;

mod audit;
mod builder;
mod calibrate;
mod children;
mod clocks;
mod closure;
mod explain;
mod late;
mod nested;
mod options;
mod parts;
mod port;
mod scope;
mod shared;
mod shutdown;
mod streamed;
mod watch;

use self::closure::ClosureWork;
use self::options::Options;
use self::shared::Shared;

/// Runs jobs on threads and in processes. Cheap to clone, usable from any thread and any async
/// runtime.
///
/// When the last clone is dropped, waiting tasks are `Cancelled`, workers killed, threads waited
/// for at most 100 ms; every handle resolves. [`shutdown`](Engine::shutdown) lets tasks end.
///
/// ```no_run
/// # fn double(x: u64) -> Result<u64, amphi::Error> { Ok(2 * x) }
/// # fn example(app: amphi::App) -> Result<(), Box<dyn std::error::Error>> {
/// let engine = app.engine().start()?;
/// assert_eq!(engine.call(double, 21).join()?, 42);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    /// What tasks take over from the one that submits them, where this handle is a job's.
    inherited: Option<Arc<Inherited>>,
    _last: Arc<shutdown::Last>,
}

impl Engine {
    /// Submits a call of a registered function. Never blocks; where the engine does not accept it
    /// (the queue is full; the encoded input is above `payload_bytes_max`, [`Reason::TooLarge`]),
    /// the handle resolves at once to [`TaskError::Rejected`].
    ///
    /// ```no_run
    /// # fn checksum(text: String) -> Result<u64, amphi::Error> { Ok(text.len() as u64) }
    /// # async fn example(engine: amphi::Engine) -> Result<(), Box<dyn std::error::Error>> {
    /// let task = engine.call(checksum, "abc".to_string());
    /// println!("{}", task.await?); // or task.join()?, which blocks
    /// # Ok(()) }
    /// ```
    pub fn call<F, I, O, E>(&self, function: F, input: I) -> Task<O, E>
    where
        F: Fn(I) -> Result<O, E> + Copy + Send + Sync + 'static,
        I: serde::Serialize + Send + 'static,
        O: serde::de::DeserializeOwned + Send + 'static,
        E: serde::de::DeserializeOwned + Send + 'static,
    {
        let work = CallWork { function, input };
        match self.place::<F, _>(work, &Options::default(), None) {
            Ok(task) => task,
            Err(rejected) => self.settled(rejected.job, rejected.reason),
        }
    }

    /// Submits a call of a registered function and **blocks** until its outcome is there: the
    /// shortest way through the engine, on this thread where the call may run there.
    ///
    /// ```no_run
    /// # fn checksum(text: String) -> Result<u64, amphi::Error> { Ok(text.len() as u64) }
    /// # fn example(engine: amphi::Engine) -> Result<u64, amphi::TaskError<amphi::Error>> {
    /// engine.run_call(checksum, "abc".to_string())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`TaskError`]; a full queue is an outcome, too.
    pub fn run_call<F, I, O, E>(&self, function: F, input: I) -> Result<O, TaskError<E>>
    where
        F: Fn(I) -> Result<O, E> + Copy + Send + Sync + 'static,
        I: serde::Serialize + Send + 'static,
        O: serde::de::DeserializeOwned + Send + 'static,
        E: serde::de::DeserializeOwned + Send + 'static,
    {
        let options = Options { run: true, ..Options::default() };
        match self.place::<F, _>(CallWork { function, input }, &options, None) {
            Ok(task) => task.join(),
            Err(rejected) => Err(TaskError::Rejected(rejected.reason)),
        }
    }

    /// Submits a job, or gives it back. Never blocks.
    ///
    /// ```no_run
    /// # fn example<J: amphi::Job>(engine: amphi::Engine, job: J, later: &mut Vec<J>) {
    /// match engine.try_submit(job) {
    ///     Ok(task) => task.detach(),
    ///     Err(rejected) => later.push(rejected.job),
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Rejected`] with the job and the [`Reason`], see [`TaskBuilder::try_submit`]. An encoded
    /// input above `payload_bytes_max` does not give the job back: the handle resolves to
    /// [`TaskError::Rejected`] with [`Reason::TooLarge`].
    pub fn try_submit<J: Job>(&self, job: J) -> Result<Task<J::Output, J::Error>, Rejected<J>> {
        self.task(job).try_submit()
    }

    /// Submits a job, waiting for room in the queue.
    ///
    /// ```no_run
    /// # async fn example<J: amphi::Job>(engine: amphi::Engine, job: J) {
    /// let Ok(task) = engine.submit(job).await else { return }; // refused: see the reason
    /// let _outcome = task.await;
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit), but never for a full queue.
    pub async fn submit<J: Job>(&self, job: J) -> Result<Task<J::Output, J::Error>, Rejected<J>> {
        self.task(job).submit().await
    }

    /// Submits a job and **blocks** while the queue is full; not for use inside a job.
    ///
    /// ```no_run
    /// # fn example<J: amphi::Job>(engine: amphi::Engine, jobs: Vec<J>) {
    /// for job in jobs {
    ///     engine.submit_blocking(job).expect("nobody shuts it down").detach();
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit), but never for a full queue.
    pub fn submit_blocking<J: Job>(
        &self,
        job: J,
    ) -> Result<Task<J::Output, J::Error>, Rejected<J>> {
        self.task(job).submit_blocking()
    }

    /// Submits a job and **blocks** until its outcome is there, running it on this thread where it
    /// may run there and a core is free.
    ///
    /// ```no_run
    /// # fn example<J: amphi::Job>(engine: amphi::Engine, job: J) {
    /// let outcome = engine.run(job); // `Err` says why there is no output
    /// # drop(outcome) }
    /// ```
    ///
    /// # Errors
    /// See [`TaskError`]; a full queue is an outcome, too.
    pub fn run<J: Job>(&self, job: J) -> Result<J::Output, TaskError<J::Error>> {
        self.task(job).run()
    }

    /// A task of `job` with options of its own. Nothing is submitted yet.
    ///
    /// ```no_run
    /// # fn example<J: amphi::Job>(engine: amphi::Engine, job: J) {
    /// let limit = std::time::Duration::from_millis(500);
    /// let outcome = engine.task(job).kill_after(limit).run();
    /// # drop(outcome) }
    /// ```
    pub fn task<J: Job>(&self, job: J) -> TaskBuilder<J> {
        TaskBuilder::new(self.clone(), job)
    }

    /// Submits a job whose outcome nobody waits for. Never blocks.
    ///
    /// ```no_run
    /// # fn example<J: amphi::Job>(engine: amphi::Engine, job: J) {
    /// engine.spawn_detached(job).unwrap_or_else(|rejected| eprintln!("not run: {rejected}"));
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit).
    pub fn spawn_detached<J: Job>(&self, job: J) -> Result<(), Rejected<J>> {
        self.try_submit(job).map(Task::detach)
    }

    /// Runs a closure on a thread of the pool, never in a process. Never blocks; where the queue
    /// is full, the handle resolves at once to [`TaskError::Rejected`].
    ///
    /// ```no_run
    /// # fn example(engine: amphi::Engine) {
    /// let words = vec!["one", "two"];
    /// let task = engine.spawn(move |_cx| words.concat().len());
    /// assert_eq!(task.join(), Ok(6));
    /// # }
    /// ```
    pub fn spawn<T, F>(&self, closure: F) -> Task<T, Infallible>
    where
        T: Send + 'static,
        F: FnOnce(&Ctx) -> T + Send + 'static,
    {
        let options = Options { closure: true, ..Options::default() };
        match self.place::<(), _>(ClosureWork(closure), &options, None) {
            Ok(task) => task,
            Err(rejected) => self.settled(rejected.job, rejected.reason),
        }
    }

    /// Tasks that wait for a place now.
    pub fn queued(&self) -> u64 {
        self.shared.room.waiting_tasks()
    }

    /// Cores that this engine keeps busy at most.
    pub fn cores(&self) -> usize {
        self.shared.threads.cores()
    }

    /// The process ids of the workers that exist now; for tests and reports.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.shared.processes.as_ref().map_or_else(Vec::new, |processes| processes.pids())
    }

    /// **One task's way in.** What it needs and asks for becomes a plan; it enters the queue's
    /// bound; [`Shared::accept`] queues it. `K` is the type it is registered under.
    fn place<K: 'static, W: Work>(
        &self,
        work: W,
        options: &Options,
        retry_if: Option<RetryIf<W::Error>>,
    ) -> Result<Task<W::Output, W::Error>, Rejected<W>> {
        let shared = &self.shared;
        let plan = match shared.plan::<K>(options, self.inherited.as_deref(), || work.size()) {
            Ok(plan) => plan,
            Err(reason) => return Err(Rejected { job: work, reason }),
        };
        if options.above_bound {
            shared.room.enter_above();
        } else if !options.private && !shared.room.enter() {
            // It may have counted as accepted for a moment.
            shared.scheduler.drain.look();
            return Err(Rejected { job: work, reason: Reason::QueueFull });
        }
        let port = Arc::clone(shared) as Arc<dyn Port>;
        let cell = Arc::new(Cell::new(Core::new(plan), work, retry_if));
        let task = Task::new(Arc::clone(&cell) as _, port);
        shared.accept(cell, options.run);
        Ok(task)
    }

    /// A handle whose outcome is a rejection, for calls that never give their input back.
    fn settled<W: Work>(&self, work: W, reason: Reason) -> Task<W::Output, W::Error> {
        let cell = Arc::new(Cell::new(Core::new(self.shared.rejected()), work, None));
        let _ = cell.settle_failure(TaskError::Rejected(reason)); // it was never accepted
        Task::new(cell, Arc::clone(&self.shared) as Arc<dyn Port>)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("cores", &self.cores()).finish_non_exhaustive()
    }
}

/// Keeps `JobWork` in one place: what a typed submission goes through.
impl Engine {
    fn place_job<J: Job>(
        &self,
        job: J,
        options: &Options,
        retry_if: Option<RetryIf<J::Error>>,
    ) -> Result<Task<J::Output, J::Error>, Rejected<J>> {
        self.place::<J, _>(JobWork(job), options, retry_if)
            .map_err(|Rejected { job: JobWork(job), reason }| Rejected { job, reason })
    }
}
