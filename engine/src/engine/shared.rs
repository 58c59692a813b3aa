//! What an engine's clones share: how a task is accepted, and the way from a task back to its
//! engine ([`Port`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::audit::Audits;
use super::calibrate::Calibration;
use super::clocks::{Clocks, OnAlarm};
use super::options::Options;
use crate::error::{Clock, Reason, TaskError};
use crate::home::Home;
use crate::job::Entry;
use crate::policy::{self, Class, Placement, Request};
use crate::room::Room;
use crate::scheduler::{self, Scheduler};
use crate::sys::clock;
use crate::task::{AnyTask, Inherited, Plan, Port, ProcessSide, Retry};
use crate::threads::Threads;

/// What an engine's clones, threads and handles share.
pub(super) struct Shared {
    pub(super) me: Weak<Self>,
    pub(super) home: Arc<Home>,
    pub(super) room: Arc<Room>,
    pub(super) scheduler: Arc<Scheduler>,
    pub(super) threads: Arc<Threads>,
    pub(super) processes: Option<Arc<dyn ProcessSide>>,
    /// The engine is a worker's: its process side is the host.
    pub(super) in_worker: bool,
    pub(super) clocks: Arc<Clocks>,
    pub(super) audits: Audits,
    pub(super) calibration: Mutex<Calibration>,
    pub(super) default: Placement,
    pub(super) environment: Option<Placement>,
    pub(super) payload_bytes_max: u64,
    pub(super) is_closing: AtomicBool,
    pub(super) has_ended: AtomicBool,
    /// The process that started the engine.
    pub(super) host: u32,
}

impl Shared {
    /// What becomes of a task with these options, or why it cannot be accepted. `size` tells about
    /// how long its encoded input is.
    pub(super) fn plan<K: 'static>(
        &self,
        options: &Options,
        inherited: Option<&Inherited>,
        size: impl FnOnce() -> u64,
    ) -> Result<Plan, Reason> {
        scheduler::assert_outside();
        if self.is_closing.load(Ordering::Relaxed) {
            return Err(Reason::ShuttingDown);
        }
        if options.closure {
            return self.plan_entry(u32::MAX, None, options, inherited, size);
        }
        let job = self.home.table.index_of::<K>();
        let Some((job, entry)) = job.and_then(|job| Some((job, self.home.table.entry(job)?)))
        else {
            return Err(Reason::NotRegistered(std::any::type_name::<K>()));
        };
        self.plan_entry(job, Some(entry), options, inherited, size)
    }

    /// The same for a job whose place in the table is known.
    pub(super) fn plan_entry(
        &self,
        job: u32,
        entry: Option<&Entry>,
        options: &Options,
        inherited: Option<&Inherited>,
        size: impl FnOnce() -> u64,
    ) -> Result<Plan, Reason> {
        let spec = entry.map_or(const { &crate::Spec::new() }, |entry| &entry.spec);
        let controls = options.controls.under(inherited);
        let key = entry.and_then(|entry| entry.key.clone());
        let held = inherited.and_then(|inherited| inherited.held.clone());
        let route = policy::route(Request {
            task: options.place,
            spec,
            environment: self.environment,
            engine: self.default,
            kill_after: controls.kill_after.is_some(),
            closure: options.closure,
            waits_for_own_key: key.as_ref().zip(held.as_ref()).is_some_and(|(k, h)| h.holds(k)),
            processes: self.processes.is_some(),
            in_worker: self.in_worker,
        })?;
        if route.placement == Placement::Process
            && let Some(processes) = &self.processes
        {
            processes.check()?;
        }
        let bytes = if route.placement == Placement::Auto { size() } else { 0 };
        let retry =
            (options.retries > 0).then(|| Arc::new(Retry::new(options.retries, options.backoff)));
        Ok(Plan {
            job,
            name: entry.map_or("closure", |entry| entry.name),
            route,
            class: Class::of(job, bytes),
            bytes,
            controls,
            no_caller_run: spec.no_caller_run,
            blocking: spec.blocking,
            is_private: options.private,
            needs_host_thread: self.in_worker
                && (spec.threads_only || options.place == Some(Placement::Thread)),
            key,
            held,
            retry,
        })
    }

    /// Shows threads and processes the way back here. Once, before the first task.
    pub(super) fn connect(&self) {
        self.threads.set_port(self.port());
        if let Some(processes) = &self.processes {
            processes.set_port(self.port());
        }
    }

    fn port(&self) -> Weak<dyn Port> {
        self.me.clone()
    }

    pub(super) fn on_alarm(&self) -> Weak<dyn OnAlarm> {
        self.me.clone()
    }

    /// Takes an accepted task in. Its clocks run from here. `run`: its caller will wait for it at
    /// once.
    pub(super) fn accept(&self, task: Arc<dyn AnyTask>, run: bool) {
        let core = task.core();
        if let Some(gate) = &core.plan.key {
            gate.came();
        }
        if core.plan.controls.deadline.is_some_and(|at| at <= clock::now()) {
            let failure = TaskError::TimedOut { clock: Clock::Deadline, killed: false };
            return self.refuse(&task, failure);
        }
        if let Some(retry) = &core.plan.retry {
            retry.set_way(Arc::downgrade(&task), self.port());
            // What may run more than once is kept as bytes.
            if let Err(failure) = task.encode() {
                return self.refuse(&task, failure);
            }
        }
        if !core.plan.is_private
            && let Some(weight) = self.scheduler.samples(core.plan.class)
        {
            core.measure.begin(weight, clock::now());
        }
        if core.plan.controls.has_clocks() {
            self.clocks.accepted(&self.on_alarm(), &task);
        }
        match core.plan.route.placement {
            Placement::Process => self.queue_for_process(&task),
            Placement::Auto if self.audit(&task) => self.queue_for_thread(task, run),
            Placement::Auto => {
                if self.scheduler.asks_for_calibration() {
                    self.calibrate();
                }
                let place = self.scheduler.glance(core.plan.class);
                if place != Placement::Process || !self.try_process(&task) {
                    self.queue_for_thread(task, run);
                }
            }
            Placement::Thread => self.queue_for_thread(task, run),
        }
    }

    /// Queues a task that waits and is (or may be) bound for a thread.
    pub(super) fn queue_for_thread(&self, task: Arc<dyn AnyTask>, run: bool) {
        // `run` tries the caller's own thread first, and nobody is woken for it.
        if run && self.threads.run_now(&task) {
            return;
        }
        // Its fence pairs with that in `Shared::cancel_late`.
        self.threads.push(task);
        if self.has_ended.load(Ordering::Relaxed) {
            self.cancel_late();
        }
    }

    /// Encodes and queues a task that must run in a process, or settles it.
    fn queue_for_process(&self, task: &Arc<dyn AnyTask>) {
        task.core().bind(Placement::Process);
        let max = self.payload_bytes_max;
        match task.encode() {
            Err(failure) => self.refuse(task, failure),
            Ok(bytes) if bytes > max => {
                self.refuse(task, TaskError::Rejected(Reason::TooLarge { bytes, max }));
            }
            Ok(_) => self.push_to_process(task),
        }
    }

    pub(super) fn push_to_process(&self, task: &Arc<dyn AnyTask>) {
        task.core().set_with_processes(true);
        self.processes.as_ref().expect("the route was checked").push(Arc::clone(task));
    }

    /// Queues a task that waits and may run in a process, if it can.
    fn try_process(&self, task: &Arc<dyn AnyTask>) -> bool {
        let can = self.can_process(task);
        if can {
            self.push_to_process(task);
        }
        can
    }

    pub(super) fn can_process(&self, task: &Arc<dyn AnyTask>) -> bool {
        self.processes.as_ref().is_some_and(|processes| processes.check().is_ok())
            && task.core().input_bytes() <= self.payload_bytes_max
            && task.encode().is_ok_and(|bytes| bytes <= self.payload_bytes_max)
    }

    /// A task that cannot be queued.
    fn refuse(&self, task: &Arc<dyn AnyTask>, failure: crate::outcome::Failure) {
        if task.core().claim() {
            self.room.leave(task.core());
        }
        self.settled(task.core(), task.settle_failure(failure));
    }

    /// Queues a task that waits once more.
    pub(super) fn queue_again(&self, task: Arc<dyn AnyTask>) {
        match task.core().plan.route.placement {
            Placement::Process => self.queue_for_process(&task),
            Placement::Auto
                if task.core().is_open()
                    && self.scheduler.glance(task.core().plan.class) == Placement::Process =>
            {
                if !self.try_process(&task) {
                    self.queue_for_thread(task, false);
                }
            }
            _ => self.queue_for_thread(task, false),
        }
    }
}

impl Shared {
    /// A core that asks why: needs no place of its own.
    pub(super) fn rejected(&self) -> Plan {
        let route = policy::Route { placement: Placement::Auto, rule: "it was rejected" };
        Plan {
            no_caller_run: true,
            is_private: true,
            ..Plan::new(u32::MAX, "call", route, Class::of(u32::MAX, 0))
        }
    }
}
