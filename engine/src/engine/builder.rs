//! Setting an engine up and starting it.

use std::sync::Arc;
use std::time::Duration;

use super::parts::{Parts, Ways};
use super::shutdown::Last;
use super::{Engine, Shared, audit};
use crate::budget::Budget;
use crate::error::StartError;
use crate::home::{Home, Role};
use crate::limits::{
    BLOCKING_THREADS_DEFAULT, CORES_MAX, Life, Limits, PAYLOAD_BYTES_MAX_DEFAULT, QUEUE_DEFAULT,
    START_TIMEOUT_DEFAULT, Terms,
};
use crate::policy::{Adaptive, Placement, Policy};
use crate::processes::Processes;
use crate::task::ProcessSide;

/// Sets up an engine. Made by [`App::engine`](crate::App::engine). Settings are looked at by
/// [`start`](Self::start).
///
/// ```no_run
/// # fn example(app: amphi::App) -> Result<amphi::Engine, amphi::StartError> {
/// app.engine()
///     .place(amphi::Placement::Process)
///     .cores(2)
///     .limits(amphi::Limits::new().memory(512 << 20))
///     .start()
/// # }
/// ```
#[must_use = "an engine is started by start()"]
pub struct EngineBuilder {
    home: Result<Arc<Home>, StartError>,
    place: Placement,
    policy: Option<Box<dyn Policy>>,
    cores: Option<usize>,
    queue: usize,
    blocking: usize,
    terms: Terms,
}

impl EngineBuilder {
    /// `home` is what the [`App`](crate::App) came to; its problems are told by `start`.
    pub(crate) fn new(home: Result<Arc<Home>, StartError>) -> Self {
        Self {
            home,
            place: Placement::Auto,
            policy: None,
            cores: None,
            queue: QUEUE_DEFAULT,
            blocking: BLOCKING_THREADS_DEFAULT,
            terms: Terms {
                limits: Limits::new(),
                payload_bytes_max: PAYLOAD_BYTES_MAX_DEFAULT,
                start_timeout: START_TIMEOUT_DEFAULT,
                workers: None,
                life: Life::default(),
            },
        }
    }

    /// Where tasks go whose job and options leave it open, and `AMPHI_PLACE`, too: see
    /// [`Placement`]. `Placement::Thread` makes a threads-only engine without a forkserver (unless
    /// `AMPHI_PLACE` is `process`): tasks that need or ask for a process are refused.
    pub fn place(mut self, placement: Placement) -> Self {
        self.place = placement;
        self
    }

    /// Who decides where tasks run that may go either way, in place of
    /// [`Adaptive`]: see [`Policy`].
    pub fn policy(mut self, policy: impl Policy) -> Self {
        self.policy = Some(Box::new(policy));
        self
    }

    /// A core budget of its own for this engine. Without it, all engines of this process share
    /// one budget of every core the process may use (affinity and cgroup quota considered).
    ///
    /// The environment variable `AMPHI_CORES` overrides both: it is one budget for the whole
    /// process, which all its engines share, whatever they ask for here. Either is 1 to 1024;
    /// `start` refuses anything else.
    pub fn cores(mut self, count: usize) -> Self {
        self.cores = Some(count);
        self
    }

    /// How many tasks may wait (16 384 unless set). Beyond it submissions are refused or wait.
    /// `start` refuses 0.
    pub fn queue(mut self, tasks: usize) -> Self {
        self.queue = tasks;
        self
    }

    /// How many tasks of jobs that mostly wait ([`Spec::blocking`](crate::Spec::blocking)) run at a
    /// time (64 unless set), each on a thread of its own that keeps no core busy. Further ones
    /// wait in the queue. A thread is started when a task needs one, and ends when it has had
    /// nothing to do for about ten seconds. `start` refuses 0.
    ///
    /// Blocking tasks that wait for each other need as many threads as wait at once.
    pub fn blocking_threads(mut self, count: usize) -> Self {
        self.blocking = count;
        self
    }

    /// The largest encoded input or output in bytes that goes through a process (1 GiB unless
    /// set). A task above it ends as [`Reason::TooLarge`](crate::Reason::TooLarge); tasks on
    /// threads encode nothing and have no limit.
    pub fn payload_bytes_max(mut self, bytes: u64) -> Self {
        self.terms.payload_bytes_max = bytes;
        self
    }

    /// Resource limits of each worker. A job's own ([`Spec::limits`](crate::Spec::limits)) go before
    /// them, limit by limit.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.terms.limits = limits;
        self
    }

    /// How many workers there may be, and how many stay when nothing is to do: `2..=8`. Unless set,
    /// none stays, and there are as many as cores at most. The least number is started with the
    /// engine. More than cores serve tasks that mostly wait; the core budget is not raised by
    /// them. `start` refuses a range that has no worker in it or is empty.
    ///
    /// ```no_run
    /// # fn example(app: amphi::App) -> Result<amphi::Engine, amphi::StartError> {
    /// app.engine()
    ///     .workers(1..=4)
    ///     .idle_timeout(std::time::Duration::from_secs(10))
    ///     .recycle_after_growth(256 << 20) // for jobs that leak
    ///     .start()
    /// # }
    /// ```
    pub fn workers(mut self, count: std::ops::RangeInclusive<usize>) -> Self {
        self.terms.workers = Some(count);
        self
    }

    /// How long a worker beyond the least number may have nothing to do before it ends (60 s
    /// unless set): between once and twice this time.
    pub fn idle_timeout(mut self, time: Duration) -> Self {
        self.terms.life.idle = Some(time);
        self
    }

    /// Replaces each worker after so many tasks, less up to a tenth, so that they do not all
    /// leave at once. The replacement is started first, and no task waits for it.
    pub fn recycle_after_tasks(mut self, count: u64) -> Self {
        self.terms.life.tasks = Some(count);
        self
    }

    /// Replaces each worker when it is so old, likewise.
    pub fn recycle_after_age(mut self, age: Duration) -> Self {
        self.terms.life.age = Some(age);
        self
    }

    /// Replaces a worker whose resident memory has grown by so many bytes since it was forked,
    /// likewise: for jobs that leak. It is looked at between two tasks, not during one; for that
    /// there is [`Limits::memory`].
    pub fn recycle_after_growth(mut self, bytes: u64) -> Self {
        self.terms.life.growth = Some(bytes);
        self
    }

    /// How long the process that workers are forked from may take to start, its
    /// [`preload`](crate::App::preload) included (60 s unless set). Beyond it `start` fails where
    /// there is a preload; else tasks that need a process are refused.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.terms.start_timeout = timeout;
        self
    }

    /// Starts the engine and **blocks** while [`each_process`](crate::App::each_process) runs here
    /// and [`preload`](crate::App::preload) in the forkserver. Without them it takes well under a
    /// millisecond: threads and workers are started by the first tasks.
    ///
    /// # Errors
    /// [`StartError`]: the binary has no `amphi::app!`, this is a worker, a setting makes no
    /// sense, jobs share a name, `preload` or `each_process` failed, or no process could be
    /// started.
    pub fn start(self) -> Result<Engine, StartError> {
        match Role::current() {
            Role::Host => {}
            Role::Forkserver => return Err(StartError::not_in_host("the forkserver")),
            Role::Worker => return Err(StartError::not_in_host("a worker")),
        }
        let home = self.home?;
        let environment = placement_from_environment()?;
        let audit = audit::is_asked_for()?;
        let budget = budget(self.cores)?;
        if self.queue == 0 {
            return Err(StartError::setting("queue(0) accepts no task; give it room for one"));
        }
        if self.blocking == 0 {
            return Err(StartError::setting(
                "blocking_threads(0) runs no blocking job; give them one thread at least",
            ));
        }
        if self.terms.workers.as_ref().is_some_and(|count| count.is_empty() || *count.end() == 0) {
            return Err(StartError::setting(
                "workers(..) needs a range that is not empty and ends with 1 or more; use \
                 Placement::Thread for an engine without workers",
            ));
        }
        home.set_rayon_threads(budget.cores());
        home.run_each_process().map_err(StartError::app)?;

        if cfg!(panic = "abort") {
            tracing::warn!(
                target: "amphi",
                "this program is built with panic = \"abort\": a job that panics on a thread ends \
                 it; build with panic = \"unwind\", or place such jobs in processes"
            );
        }

        let policy = self.policy.unwrap_or_else(|| Box::new(Adaptive::new()));
        let parts = Parts::new(&home, budget, self.queue, self.blocking, policy);
        let wants_processes =
            self.place != Placement::Thread || environment == Some(Placement::Process);
        let processes = if wants_processes && cfg!(target_os = "linux") {
            let (budget, room) = (Arc::clone(&parts.budget), Arc::clone(&parts.room));
            let scheduler = Arc::clone(&parts.scheduler);
            let home = Arc::clone(&home);
            let processes = Processes::start(home, budget, room, scheduler, &self.terms)?;
            Some(processes as Arc<dyn ProcessSide>)
        } else {
            None
        };
        let ways = Ways {
            processes,
            in_worker: false,
            default: self.place,
            environment,
            payload_bytes_max: self.terms.payload_bytes_max,
            audit,
        };
        let shared = Shared::new(parts, ways);
        shared.plant();
        let last = Arc::new(Last::new(Arc::clone(&shared)));
        Ok(Engine { shared, inherited: None, _last: last })
    }
}

fn placement_from_environment() -> Result<Option<Placement>, StartError> {
    match std::env::var("AMPHI_PLACE") {
        Ok(text) => match text.parse() {
            Ok(placement) => Ok(Some(placement)),
            Err(problem) => Err(StartError::setting(format!("AMPHI_PLACE: {problem}"))),
        },
        Err(_) => Ok(None),
    }
}

fn budget(asked: Option<usize>) -> Result<Arc<Budget>, StartError> {
    let environment = match std::env::var("AMPHI_CORES") {
        Ok(text) => match text.parse() {
            Ok(count) => Some(count),
            Err(_) => {
                let text = format!("AMPHI_CORES: {text:?} is no number of cores; use 1 or more");
                return Err(StartError::setting(text));
            }
        },
        Err(_) => None,
    };
    match environment.or(asked) {
        None => Ok(Budget::shared(None)),
        Some(count) if (1..=CORES_MAX).contains(&count) => Ok(match environment {
            // The machine's share for this whole process, however many engines it has.
            Some(_) => Budget::shared(environment),
            None => Arc::new(Budget::new(count)),
        }),
        Some(count) => Err(StartError::setting(format!(
            "{count} cores make no sense; use 1 to {CORES_MAX}, or leave it to the engine"
        ))),
    }
}

impl std::fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineBuilder").field("place", &self.place).finish_non_exhaustive()
    }
}
