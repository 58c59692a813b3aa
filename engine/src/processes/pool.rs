//! [`Processes`]: what the engine sees of the process side, and what its parts share.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use amphi_protocol::{RestartBudget, StartStage, WorkerLimits};
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::After;
use super::queue::{Need, Queues};
use super::seat::Seat;
use super::supervisor::{self, Started};
use crate::budget::{Appetite, Budget, TokenUser};
use crate::error::{Reason, StartError, TaskError};
use crate::home::Home;
use crate::limits::{DROP_TIMEOUT, Life, Limits, Terms};
use crate::policy::{Placement, Why};
use crate::room::Room;
use crate::scheduler::{Scheduler, assert_outside};
use crate::sys::clock;
use crate::sys::doorbell::{Alarm, Bell};
use crate::sys::process::Surroundings;
use crate::task::{AnyTask, Port};

pub(super) type Shared = Arc<dyn AnyTask>;

/// So many forgotten entries may always stand in a queue.
const FORGOTTEN_MAX: usize = 64;

/// See the module `processes`.
pub(crate) struct Processes {
    pub(super) me: Weak<Self>,
    pub(super) home: Arc<Home>,
    pub(super) budget: Arc<Budget>,
    pub(super) appetite: Appetite,
    pub(super) room: Arc<Room>,
    pub(super) scheduler: Arc<Scheduler>,
    /// The way of a task that turns out to be bound for a thread.
    port: OnceLock<Weak<dyn Port>>,
    /// What workers of each kind are started with; the engine's own limits first.
    pub(super) kinds: Vec<WorkerLimits>,
    /// What each job needs of its worker.
    needs: Vec<Need>,
    /// How many workers there may be, and stay when nothing is to do.
    pub(super) workers: std::ops::RangeInclusive<usize>,
    /// When a worker is replaced, and when it is one too many.
    pub(super) life: Life,
    /// What every forkserver and worker finds as it was when the engine started.
    pub(super) surroundings: Surroundings,
    /// How long the start of a forkserver may take, preload included.
    pub(super) start_timeout: Duration,
    pub(super) inner: Mutex<Inner>,
    /// The last start failed, or the pool closes: submissions look at `inner` first. A hint.
    pub(super) is_troubled: AtomicBool,
    /// Signalled when the pool may have become idle.
    pub(super) idle: Condvar,
    /// Wakes the supervisor: a seat is wanted, or the engine ends.
    pub(super) call: Bell,
    /// Wakes the supervisor at the next deadline; set by anybody without waking it now.
    pub(super) alarm: Alarm,
    /// Somebody spins: one at a time.
    pub(super) spinner: AtomicBool,
    /// Waits that are not to spin, after fruitless ones.
    pub(super) spin_skip: AtomicU32,
    pub(super) spin_penalty: AtomicU32,
    pub(super) started: Mutex<Started>,
    pub(super) start_changed: Condvar,
    pub(super) supervisor: Mutex<Option<JoinHandle<()>>>,
}

/// What the lock guards.
pub(super) struct Inner {
    pub(super) queue: Queues,
    /// Entries of the queue, at most, whose task its handle has claimed.
    pub(super) forgotten: usize,
    pub(super) seats: Vec<Seat>,
    /// Since when threads have been waiting for a core that a lane has.
    pub(super) wanted_since: Option<Duration>,
    pub(super) alarm_at: Option<Duration>,
    /// The alarm looks for tasks that are stuck in a lane.
    pub(super) is_watching: bool,
    pub(super) restarts: RestartBudget,
    /// What the last failed start met.
    pub(super) problem: String,
    pub(super) closing: bool,
    /// Why there is no forkserver; it is tried again at times.
    pub(super) given_up: Option<String>,
    /// When the supervisor looks after the forkserver: it should be READY, or is tried again.
    pub(super) forkserver_due: Option<Duration>,
}

impl Processes {
    /// Starts the supervisor and, in it, the forkserver. Waits only where there is a preload.
    pub(crate) fn start(
        home: Arc<Home>,
        budget: Arc<Budget>,
        room: Arc<Room>,
        scheduler: Arc<Scheduler>,
        terms: &Terms,
    ) -> Result<Arc<Self>, StartError> {
        let cores = budget.cores();
        let failed = |doing| move |error| StartError::forkserver(doing, error);
        let (call, alarm) = (
            Bell::new().map_err(failed("making an eventfd"))?,
            Alarm::new().map_err(failed("making a timerfd"))?,
        );
        let (kinds, needs) = kinds(&home, terms);
        let workers = terms.workers.clone().unwrap_or(0..=cores);
        // One more than may serve: a replacement starts before the one it replaces leaves.
        let seats = 1 + workers.end();
        let pool = Arc::new_cyclic(|weak: &Weak<Self>| Self {
            me: weak.clone(),
            appetite: budget.join(weak.clone() as Weak<dyn TokenUser>),
            home,
            budget,
            room,
            scheduler,
            port: OnceLock::new(),
            kinds,
            needs,
            workers,
            life: terms.life,
            surroundings: Surroundings::capture(),
            start_timeout: terms.start_timeout,
            inner: Mutex::new(Inner {
                queue: Queues::default(),
                forgotten: 0,
                seats: (0..seats).map(|_| Seat::default()).collect(),
                wanted_since: None,
                alarm_at: None,
                is_watching: false,
                restarts: RestartBudget::new(),
                problem: String::new(),
                closing: false,
                given_up: None,
                forkserver_due: None,
            }),
            is_troubled: AtomicBool::new(false),
            idle: Condvar::new(),
            call,
            alarm,
            spinner: AtomicBool::new(false),
            spin_skip: AtomicU32::new(0),
            spin_penalty: AtomicU32::new(1),
            started: Mutex::new(Started::Starting),
            start_changed: Condvar::new(),
            supervisor: Mutex::new(None),
        });
        let thread = supervisor::spawn(Arc::clone(&pool))
            .map_err(failed("starting the supervisor thread"))?;
        *pool.supervisor.lock() = Some(thread);
        let mut after = After::default();
        pool.want_the_least(&mut pool.lock(), &mut after);
        after.run(&pool);
        if pool.home.has_preload() {
            pool.wait_for_preload()?;
        }
        Ok(pool)
    }

    /// A preload may take its time; a forkserver that dies meanwhile ends the wait.
    fn wait_for_preload(&self) -> Result<(), StartError> {
        let mut started = self.started.lock();
        loop {
            match &*started {
                Started::Starting => {}
                Started::Ready => return Ok(()),
                Started::Failed(stage, text) => {
                    let error = match stage {
                        Some(StartStage::Handshake) => StartError::app(text.clone()),
                        _ => StartError::preload(text.clone()),
                    };
                    drop(started);
                    self.end(DROP_TIMEOUT);
                    return Err(error);
                }
            }
            // The supervisor gives up on a forkserver that is not READY in time.
            self.start_changed.wait(&mut started);
        }
    }

    /// Before the first task.
    pub(crate) fn set_port(&self, port: Weak<dyn Port>) {
        let _ = self.port.set(port);
    }

    pub(super) fn port(&self) -> Option<Arc<dyn Port>> {
        self.port.get().and_then(Weak::upgrade)
    }

    /// What a task needs of its worker.
    pub(super) fn need(&self, task: &Shared) -> Need {
        self.needs.get(task.core().plan.job as usize).copied().unwrap_or_default()
    }

    /// The pool's lock. Code of others is not called under it, but for the policy, which cannot call
    /// back.
    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        assert_outside();
        self.inner.lock()
    }

    /// Refuses fast while no worker can be started.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Reason> {
        if self.is_troubled.load(Ordering::Relaxed) { self.check_closely() } else { Ok(()) }
    }

    #[cold]
    fn check_closely(&self) -> Result<(), Reason> {
        let inner = self.lock();
        if inner.closing {
            return Err(Reason::ShuttingDown);
        }
        if let Some(text) = &inner.given_up {
            return Err(Reason::NoWorkers(text.clone()));
        }
        if inner.restarts.is_tripped(clock::now()) {
            return match inner.serves() {
                true => Ok(()),
                false => Err(Reason::NoWorkers(inner.problem.clone())),
            };
        }
        self.is_troubled.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Queues an encoded task and dispatches what can be.
    pub(crate) fn push(&self, task: Shared) {
        let mut after = After::default();
        let mut inner = self.lock();
        if inner.closing {
            drop(inner);
            if task.core().claim() {
                self.room.leave(task.core());
            }
            let settled = task.settle_failure(TaskError::Cancelled);
            return self.scheduler.settled(task.core(), settled);
        }
        let queue = inner.queue.of(self.need(&task));
        // One that is measured goes first, the shadow of one that is audited waits its turn.
        if task.core().plan.is_private && task.core().witness().is_none() {
            queue.push_front(task);
        } else {
            queue.push_back(task);
        }
        self.harvest_all(&mut inner, &mut after);
        self.dispatch(&mut inner, &mut after);
        drop(inner);
        after.run(self);
    }

    /// A task that waits here was claimed by its handle. Its entry is dropped when it comes to the
    /// head, or as soon as such entries are the greater part: a queue is bounded by its tasks.
    pub(crate) fn forget_one(&self) {
        let mut inner = self.lock();
        inner.forgotten += 1;
        if inner.forgotten > FORGOTTEN_MAX && 2 * inner.forgotten > inner.queue.len() {
            inner.queue.retain(|task| task.core().is_waiting());
            inner.forgotten = 0;
        }
    }

    /// No worker can be started: every task that waits is told why.
    pub(super) fn refuse_queue(&self, inner: &mut Inner, text: &str, after: &mut After) {
        self.is_troubled.store(true, Ordering::Relaxed);
        for task in inner.queue.take_all() {
            if !task.core().claim() {
                continue;
            }
            if task.core().is_open() && !self.scheduler.keeps_off_threads(task.core().plan.job) {
                task.core().bind_because(Placement::Thread, Why::NoProcess);
                after.to_threads.push(task);
                continue;
            }
            after.leave(task.core());
            after.fail(task, TaskError::Rejected(Reason::NoWorkers(text.to_owned())));
        }
    }
}

impl Inner {
    pub(super) fn is_idle(&self) -> bool {
        self.queue.iter().all(|task| !task.core().is_waiting())
            && self.seats.iter().all(|seat| seat.link.as_ref().is_none_or(|link| link.is_idle()))
    }

    /// Some worker takes tasks.
    pub(super) fn serves(&self) -> bool {
        self.seats.iter().any(|seat| seat.is_ready())
    }
}

impl TokenUser for Processes {
    fn token_is_free(&self) {
        let mut after = After::default();
        let mut inner = self.lock();
        self.dispatch(&mut inner, &mut after);
        drop(inner);
        after.run(self);
        self.budget.pass_on();
    }
}

/// The kinds of workers that the jobs of an app need, and which each job does.
fn kinds(home: &Home, terms: &Terms) -> (Vec<WorkerLimits>, Vec<Need>) {
    let growth = terms.life.growth;
    let limits = |limits: &Limits| WorkerLimits {
        memory: limits.memory,
        nofile: limits.nofile,
        fsize: limits.fsize,
        core: limits.core,
        cpu: limits.cpu.map(|time| time.as_secs() + u64::from(time.subsec_nanos() > 0)),
        growth,
        rayon_threads: 1,
        output_bytes_max: terms.payload_bytes_max,
        log_level: 0, // as it is when a worker starts
    };
    let mut kinds = vec![limits(&terms.limits)];
    let needs = home.table.specs().map(|spec| {
        let own = spec.limits.map(|own| limits(&own.or(&terms.limits)));
        let kind = own.map_or(0, |own| {
            kinds.iter().position(|kind| *kind == own).unwrap_or_else(|| {
                kinds.push(own);
                kinds.len() - 1
            })
        });
        Need { kind: u16::try_from(kind).unwrap_or(u16::MAX), one_shot: spec.one_shot }
    });
    let needs = needs.collect();
    (kinds, needs)
}
