//! The engine: accepts a task, gives it a place, hands back its handle. Start reading at
//! [`Engine::place`].

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::ctx::Ctx;
use crate::error::{Reason, Rejected, TaskError};
use crate::home::Home;
use crate::job::{CallWork, Job, JobWork, Work};
use crate::policy::{self, Placement, Request, Route};
use crate::processes::Processes;
use crate::room::Room;
use crate::task::{AnyTask, Cell, Core, Port, Task};
use crate::threads::Threads;

pub use self::builder::EngineBuilder;
pub use self::options::TaskBuilder;
pub use self::scope::{Scope, ScopedTask};
pub use self::shutdown::Report;

mod builder;
mod closure;
mod options;
mod scope;
mod shutdown;

use self::closure::ClosureWork;
use self::options::Options;

/// Runs jobs on threads and in processes. Cheap to clone, usable from any thread and any async
/// runtime.
///
/// When the last clone is dropped, waiting tasks are `Cancelled`, workers killed, threads waited
/// for at most 100 ms; every handle resolves. [`shutdown`](Engine::shutdown) lets tasks end.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    _last: Arc<shutdown::Last>,
}

/// What an engine's clones, threads and handles share.
pub(crate) struct Shared {
    home: Arc<Home>,
    room: Arc<Room>,
    threads: Arc<Threads>,
    processes: Option<Arc<Processes>>,
    default: Placement,
    environment: Option<Placement>,
    payload_bytes_max: u64,
    is_closing: AtomicBool,
    has_ended: AtomicBool,
    /// The process that started the engine.
    host: u32,
}

impl Engine {
    /// Submits a call of a registered function. Never blocks; where the engine does not accept it
    /// (the queue is full), the handle resolves at once to [`TaskError::Rejected`].
    pub fn call<F, I, O, E>(&self, function: F, input: I) -> Task<O, E>
    where
        F: Fn(I) -> Result<O, E> + Copy + Send + Sync + 'static,
        I: serde::Serialize + Send + 'static,
        O: serde::de::DeserializeOwned + Send + 'static,
        E: serde::de::DeserializeOwned + Send + 'static,
    {
        let work = CallWork { function, input };
        match self.place::<F, _>(work, &Options::default()) {
            Ok(task) => task,
            Err(rejected) => self.settled(rejected.job, rejected.reason),
        }
    }

    /// Submits a call of a registered function and **blocks** until its outcome is there: the
    /// shortest way through the engine, on this thread where the call may run there.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub fn run_call<F, I, O, E>(&self, function: F, input: I) -> Result<O, TaskError<E>>
    where
        F: Fn(I) -> Result<O, E> + Copy + Send + Sync + 'static,
        I: serde::Serialize + Send + 'static,
        O: serde::de::DeserializeOwned + Send + 'static,
        E: serde::de::DeserializeOwned + Send + 'static,
    {
        let options = Options { run: true, ..Options::default() };
        match self.place::<F, _>(CallWork { function, input }, &options) {
            Ok(task) => task.join(),
            Err(rejected) => Err(TaskError::Rejected(rejected.reason)),
        }
    }

    /// Submits a job, or gives it back. Never blocks.
    ///
    /// # Errors
    /// [`Rejected`] with the job and the [`Reason`]: the queue is full, the engine closes, the job
    /// is not registered, or its needs exclude every place.
    pub fn try_submit<J: Job>(&self, job: J) -> Result<Task<J::Output, J::Error>, Rejected<J>> {
        self.task(job).try_submit()
    }

    /// Submits a job, waiting for room in the queue.
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit), but never for a full queue.
    pub async fn submit<J: Job>(&self, job: J) -> Result<Task<J::Output, J::Error>, Rejected<J>> {
        self.task(job).submit().await
    }

    /// Submits a job and **blocks** while the queue is full.
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
    /// # Errors
    /// See [`TaskError`].
    pub fn run<J: Job>(&self, job: J) -> Result<J::Output, TaskError<J::Error>> {
        self.task(job).run()
    }

    /// A task of `job` with options of its own.
    pub fn task<J: Job>(&self, job: J) -> TaskBuilder<J> {
        TaskBuilder::new(self.clone(), job)
    }

    /// Submits a job whose outcome nobody waits for.
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit).
    pub fn spawn_detached<J: Job>(&self, job: J) -> Result<(), Rejected<J>> {
        self.try_submit(job).map(Task::detach)
    }

    /// Runs a closure on a thread of the pool, never in a process. Never blocks; where the queue
    /// is full, the handle resolves at once to [`TaskError::Rejected`].
    pub fn spawn<T, F>(&self, closure: F) -> Task<T, Infallible>
    where
        T: Send + 'static,
        F: FnOnce(&Ctx) -> T + Send + 'static,
    {
        let options = Options { closure: true, ..Options::default() };
        match self.place::<(), _>(ClosureWork(closure), &options) {
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

    /// **One task's way in.** Its needs settle the route; it enters the queue's bound; the place
    /// takes it. `K` is the type it is registered under.
    fn place<K: 'static, W: Work>(
        &self,
        work: W,
        options: &Options,
    ) -> Result<Task<W::Output, W::Error>, Rejected<W>> {
        let shared = &self.shared;
        let (core, route) = match shared.route::<K>(options) {
            Ok(found) => found,
            Err(reason) => return Err(Rejected { job: work, reason }),
        };
        if !shared.room.enter() {
            return Err(Rejected { job: work, reason: Reason::QueueFull });
        }
        let port = Arc::clone(shared) as Arc<dyn Port>;
        let cell = Arc::new(Cell::new(core, work));
        let task = Task::new(Arc::clone(&cell) as _, port);
        match policy::decide(route) {
            Placement::Process => shared.to_process(cell),
            // `run` tries the caller's own thread first, and nobody is woken for it.
            _ if options.run && shared.threads.run_now(&(Arc::clone(&cell) as _)) => {}
            _ => {
                // Its fence pairs with that in `Shared::cancel_late`.
                shared.threads.push(cell);
                if shared.has_ended.load(Ordering::Relaxed) {
                    shared.cancel_late();
                }
            }
        }
        Ok(task)
    }

    /// A handle whose outcome is a rejection, for calls that never give their input back.
    fn settled<W: Work>(&self, work: W, reason: Reason) -> Task<W::Output, W::Error> {
        let route = Route { placement: Placement::Auto, rule: "it was rejected" };
        let core = Core::new(u32::MAX, "call", route, None, true);
        let cell = Arc::new(Cell::new(core, work));
        cell.settle_failure(TaskError::Rejected(reason));
        Task::new(cell, Arc::clone(&self.shared) as Arc<dyn Port>)
    }
}

impl Shared {
    /// The task's core and route, or why it cannot be accepted.
    fn route<K: 'static>(&self, options: &Options) -> Result<(Core, Route), Reason> {
        if self.is_closing.load(Ordering::Relaxed) {
            return Err(Reason::ShuttingDown);
        }
        let (index, name, spec) = if options.closure {
            (u32::MAX, "closure", crate::Spec::new())
        } else {
            let index = self.home.table.index_of::<K>();
            let entry = index.and_then(|index| self.home.table.entry(index));
            let Some((index, entry)) = index.zip(entry) else {
                return Err(Reason::NotRegistered(std::any::type_name::<K>()));
            };
            (index, entry.name, entry.spec)
        };
        let route = policy::route(Request {
            task: options.place,
            spec,
            environment: self.environment,
            engine: self.default,
            kill_after: options.kill_after.is_some(),
            closure: options.closure,
            processes: self.processes.is_some(),
        })?;
        if route.placement == Placement::Process
            && let Some(processes) = &self.processes
        {
            processes.check()?;
        }
        let core = Core::new(index, name, route, options.kill_after, spec.no_caller_run);
        Ok((core, route))
    }

    fn to_process<W: Work>(&self, cell: Arc<Cell<W>>) {
        let processes = self.processes.as_ref().expect("the route was checked");
        cell.core().bind(Placement::Process);
        match cell.encode() {
            None => self.room.leave(),
            Some(bytes) if bytes > self.payload_bytes_max => {
                if cell.core().claim() {
                    self.room.leave();
                }
                let max = self.payload_bytes_max;
                cell.settle_failure(TaskError::Rejected(Reason::TooLarge { bytes, max }));
            }
            Some(_) => processes.push(cell),
        }
    }
}

impl Port for Shared {
    fn help(&self, core: &Core, share: &dyn Fn() -> Arc<dyn AnyTask>, deadline: Option<Duration>) {
        match (core.placement(), &self.processes) {
            (Some(Placement::Process), Some(processes)) => processes.help(core),
            _ => self.threads.help(core, share, deadline.is_none()),
        }
    }

    fn while_waiting(&self, wait: &mut dyn FnMut()) {
        self.threads.while_waiting(wait);
    }

    fn left_queue(&self, core: &Core) {
        self.room.leave();
        match (core.placement(), &self.processes) {
            (Some(Placement::Process), Some(processes)) => processes.forget_one(),
            _ => self.threads.forget_one(),
        }
    }

    fn cancel(&self, core: &Core) {
        if let (Some(Placement::Process), Some(processes)) = (core.placement(), &self.processes) {
            processes.cancel(core);
        }
    }

    fn kill(&self, core: &Core) -> bool {
        self.processes.as_ref().is_some_and(|processes| processes.kill(core))
    }

    fn refresh(&self, core: &Core) {
        if let Some(processes) = &self.processes {
            processes.refresh(core);
        }
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
    ) -> Result<Task<J::Output, J::Error>, Rejected<J>> {
        self.place::<J, _>(JobWork(job), options)
            .map_err(|Rejected { job: JobWork(job), reason }| Rejected { job, reason })
    }
}
