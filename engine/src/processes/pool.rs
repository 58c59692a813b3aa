//! [`Processes`]: what the engine sees of the process side, and what its parts share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use amphi_protocol::{RestartBudget, WorkerLimits};
use parking_lot::{Condvar, Mutex};

use super::After;
use super::link::{Seat, SeatState};
use super::supervisor::{self, Started};
use crate::budget::{Appetite, Budget, TokenUser};
use crate::error::{Reason, StartError, TaskError};
use crate::home::Home;
use crate::limits::{DROP_TIMEOUT, HANDSHAKE_TIMEOUT, Limits};
use crate::room::Room;
use crate::sys::clock;
use crate::sys::doorbell::{Alarm, Bell};
use crate::task::{AnyTask, Core};

pub(super) type Shared = Arc<dyn AnyTask>;

/// See the module `processes`.
pub(crate) struct Processes {
    pub(super) home: Arc<Home>,
    pub(super) budget: Arc<Budget>,
    pub(super) appetite: Appetite,
    pub(super) room: Arc<Room>,
    pub(super) limits: WorkerLimits,
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
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

/// What the lock guards.
pub(super) struct Inner {
    pub(super) queue: VecDeque<Shared>,
    pub(super) seats: Vec<Seat>,
    pub(super) alarm_at: Option<Duration>,
    pub(super) restarts: RestartBudget,
    /// No worker is started before this.
    pub(super) start_after: Option<Duration>,
    /// What the last failed start met.
    pub(super) problem: String,
    pub(super) closing: bool,
    /// Why there will never be a worker.
    pub(super) given_up: Option<String>,
}

impl Processes {
    /// Starts the supervisor and, in it, the forkserver. Waits only where there is a preload.
    pub(crate) fn start(
        home: Arc<Home>,
        budget: Arc<Budget>,
        room: Arc<Room>,
        limits: &Limits,
        payload_bytes_max: u64,
    ) -> Result<Arc<Self>, StartError> {
        let cores = budget.cores();
        let failed = |doing| move |error| StartError::forkserver(doing, error);
        let (call, alarm) = (
            Bell::new().map_err(failed("making an eventfd"))?,
            Alarm::new().map_err(failed("making a timerfd"))?,
        );
        let limits = WorkerLimits {
            memory: limits.memory,
            nofile: limits.nofile,
            fsize: limits.fsize,
            core: limits.core,
            rayon_threads: 1,
            output_bytes_max: payload_bytes_max,
        };
        let pool = Arc::new_cyclic(|weak: &Weak<Self>| Self {
            appetite: budget.join(weak.clone() as Weak<dyn TokenUser>),
            home,
            budget,
            room,
            limits,
            inner: Mutex::new(Inner {
                queue: VecDeque::new(),
                seats: (0..cores).map(|_| Seat::default()).collect(),
                alarm_at: None,
                restarts: RestartBudget::new(),
                start_after: None,
                problem: String::new(),
                closing: false,
                given_up: None,
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
                Started::Failed(text) => {
                    let error = StartError::preload(text.clone());
                    drop(started);
                    self.end();
                    return Err(error);
                }
            }
            self.start_changed.wait_for(&mut started, HANDSHAKE_TIMEOUT);
        }
    }

    /// Refuses fast while no worker can be started.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Reason> {
        if self.is_troubled.load(Ordering::Relaxed) { self.check_closely() } else { Ok(()) }
    }

    #[cold]
    fn check_closely(&self) -> Result<(), Reason> {
        let inner = self.inner.lock();
        if inner.closing {
            return Err(Reason::ShuttingDown);
        }
        if let Some(text) = &inner.given_up {
            return Err(Reason::NoWorkers(text.clone()));
        }
        if inner.start_after.is_some() && inner.restarts.is_tripped(clock::now()) && !inner.serves()
        {
            return Err(Reason::NoWorkers(inner.problem.clone()));
        }
        Ok(())
    }

    /// Queues an encoded task and dispatches what can be.
    pub(crate) fn push(&self, task: Shared) {
        let mut after = After::default();
        let mut inner = self.inner.lock();
        if inner.closing {
            drop(inner);
            if task.core().claim() {
                self.room.leave();
            }
            task.settle_failure(TaskError::Cancelled);
            return;
        }
        inner.queue.push_back(task);
        self.harvest_all(&mut inner, &mut after);
        self.dispatch(&mut inner, &mut after);
        drop(inner);
        after.run(self);
    }

    /// A task was asked to stop: back from its lane, or a word to its worker.
    pub(crate) fn cancel(&self, core: &Core) {
        let Some((index, seq)) = core.seat() else { return };
        let mut after = After::default();
        let mut inner = self.inner.lock();
        if let Some(link) = inner.link_of(index, seq, core) {
            let lane = Arc::clone(&link.lane);
            match link.host.revoke(lane.rsp(), seq) {
                Ok(true) => {
                    if let Some(flight) = link.take_flight(seq) {
                        link.free_blocks(flight.input, flight.output);
                        after.fail(flight.task, TaskError::Cancelled);
                    }
                }
                Ok(false) => link.host.cancel(lane.req(), seq),
                Err(violation) => link.break_off(violation.to_string()),
            }
        }
        self.dispatch(&mut inner, &mut after);
        drop(inner);
        after.run(self);
    }

    /// Kills the worker that runs a task; its neighbours in the lane are taken back first.
    pub(crate) fn kill(&self, core: &Core) -> bool {
        let Some((index, seq)) = core.seat() else { return false };
        let mut after = After::default();
        let mut inner = self.inner.lock();
        self.harvest(&mut inner, index, &mut after);
        if inner.link_of(index, seq, core).is_some() {
            self.kill_flight(&mut inner, index, seq, TaskError::Cancelled, &mut after);
        }
        drop(inner);
        after.run(self);
        true
    }

    /// Reads what a task's worker reported since.
    pub(crate) fn refresh(&self, core: &Core) {
        let Some((index, _)) = core.seat() else { return };
        let mut inner = self.inner.lock();
        if let Some(link) = inner.seats.get_mut(index as usize).and_then(|seat| seat.link.as_mut())
        {
            link.read_records();
        }
    }

    /// The workers' pids.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let inner = self.inner.lock();
        let alive =
            inner.seats.iter().filter(|seat| !matches!(seat.state, SeatState::Dying { .. }));
        alive.filter_map(|seat| seat.link.as_ref()?.pid).collect()
    }

    /// No worker will ever start again: every task that waits is told why.
    pub(super) fn no_workers(&self, text: String) {
        let mut after = After::default();
        let mut inner = self.inner.lock();
        inner.given_up = Some(text.clone());
        self.is_troubled.store(true, Ordering::Relaxed);
        for task in std::mem::take(&mut inner.queue) {
            if task.core().claim() {
                self.room.leave();
                after.fail(task, TaskError::Rejected(Reason::NoWorkers(text.clone())));
            }
        }
        drop(inner);
        after.run(self);
    }

    /// **Blocks** until nothing is queued or in flight, or until `deadline`.
    pub(crate) fn drain(&self, deadline: Duration) {
        let mut inner = self.inner.lock();
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
    pub(crate) fn end(&self) -> usize {
        let mut after = After::default();
        let mut inner = self.inner.lock();
        inner.closing = true;
        self.is_troubled.store(true, Ordering::Relaxed);
        for task in std::mem::take(&mut inner.queue) {
            if task.core().claim() {
                self.room.leave();
                after.fail(task, TaskError::Cancelled);
            }
        }
        for index in 0..inner.seats.len() {
            let seat = &mut inner.seats[index];
            if std::mem::take(&mut seat.has_token) {
                after.tokens += 1;
            }
            if let Some(link) = &mut seat.link {
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
            let until = clock::now() + DROP_TIMEOUT;
            while !thread.is_finished() && clock::now() < until {
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
        cancelled
    }
}

impl Inner {
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
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
        let mut inner = self.inner.lock();
        self.dispatch(&mut inner, &mut after);
        drop(inner);
        after.run(self);
        self.budget.pass_on();
    }
}
