//! Putting an engine's parts together: for a program, for a worker's jobs, and for a handle that
//! outlives its engine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use super::Shared;
use super::audit::Audits;
use crate::budget::Budget;
use crate::home::Home;
use crate::limits::{BLOCKING_THREADS_DEFAULT, PAYLOAD_BYTES_MAX_DEFAULT, QUEUE_DEFAULT};
use crate::policy::{Adaptive, Placement, Policy};
use crate::room::Room;
use crate::scheduler::Scheduler;
use crate::task::ProcessSide;
use crate::threads::Threads;

/// What an engine is made of, whatever it is for.
pub(super) struct Parts {
    pub(super) home: Arc<Home>,
    pub(super) budget: Arc<Budget>,
    pub(super) room: Arc<Room>,
    pub(super) scheduler: Arc<Scheduler>,
    pub(super) threads: Arc<Threads>,
}

impl Parts {
    pub(super) fn new(
        home: &Arc<Home>,
        budget: Arc<Budget>,
        queue: usize,
        blocking: usize,
        policy: Box<dyn Policy>,
    ) -> Self {
        let room = Arc::new(Room::new(queue));
        let scheduler = Arc::new(Scheduler::new(policy, home.table.names()));
        let threads = Threads::new(
            Arc::clone(&budget),
            Arc::clone(&room),
            Arc::clone(home),
            Arc::clone(&scheduler),
            blocking,
        );
        Self { home: Arc::clone(home), budget, room, scheduler, threads }
    }
}

/// Where tasks go, and what may.
pub(super) struct Ways {
    pub(super) processes: Option<Arc<dyn ProcessSide>>,
    pub(super) in_worker: bool,
    pub(super) default: Placement,
    pub(super) environment: Option<Placement>,
    pub(super) payload_bytes_max: u64,
    /// `AMPHI_AUDIT`.
    pub(super) audit: bool,
}

impl Shared {
    pub(super) fn new(parts: Parts, ways: Ways) -> Arc<Self> {
        let audits = Audits::new(ways.audit, ways.processes.is_some());
        let shared = Arc::new_cyclic(|me: &Weak<Self>| Self {
            me: me.clone(),
            home: parts.home,
            room: parts.room,
            scheduler: parts.scheduler,
            threads: parts.threads,
            processes: ways.processes,
            in_worker: ways.in_worker,
            clocks: Arc::default(),
            audits,
            calibration: <_>::default(),
            default: ways.default,
            environment: ways.environment,
            payload_bytes_max: ways.payload_bytes_max,
            is_closing: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            host: std::process::id(),
        });
        shared.connect();
        shared
    }

    /// Threads under this budget, and the way up to the host, if there is one: what the jobs of a
    /// worker submit to.
    pub(super) fn in_worker(
        home: &Arc<Home>,
        budget: Arc<Budget>,
        host: Option<Arc<dyn ProcessSide>>,
    ) -> Arc<Self> {
        let policy = Box::new(Adaptive::new());
        let parts = Parts::new(home, budget, QUEUE_DEFAULT, BLOCKING_THREADS_DEFAULT, policy);
        let ways = Ways {
            processes: host,
            in_worker: true,
            default: Placement::Thread,
            environment: None,
            payload_bytes_max: PAYLOAD_BYTES_MAX_DEFAULT,
            audit: false,
        };
        Self::new(parts, ways)
    }

    /// One that accepts nothing.
    pub(super) fn ended(home: &Arc<Home>) -> Arc<Self> {
        let shared = Self::in_worker(home, Arc::new(Budget::new(1)), None);
        shared.is_closing.store(true, Ordering::Relaxed);
        shared
    }
}
