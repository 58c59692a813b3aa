//! What deciding and counting cost a task, for the benchmark that watches it: the engine's own code
//! around one task that never runs.

use super::Scheduler;
use crate::policy::{Adaptive, Class, Costs, Event, Placement, Ran, Route};
use crate::stats::{Outcome, Stage};
use crate::task::{Core, Plan, Settled};

/// See the module.
pub struct Overhead {
    scheduler: Scheduler,
    core: Core,
}

impl Overhead {
    /// A class whose both places are known.
    pub fn new() -> Self {
        let scheduler = Scheduler::new(Box::new(Adaptive::new()), vec!["job"]);
        let class = Class::of(0, 64);
        scheduler.calibrated(Costs {
            thread_ns: 200.0,
            process_ns: 600.0,
            byte_ns: 0.1,
            large_byte_ns: 0.1,
        });
        for (placement, count) in [(Placement::Thread, 200), (Placement::Process, 40)] {
            for _ in 0..count {
                let (service_ns, bytes_in, bytes_out, tasks) = (90e3, 64.0, 0.0, 1.0);
                let over_ns = None;
                let ran = Ran { class, placement, service_ns, bytes_in, bytes_out, tasks, over_ns };
                scheduler.with_policy(|policy, now| policy.observe(&Event::Ran(ran), now));
            }
        }
        let route = Route { placement: Placement::Auto, rule: "" };
        let core = Core::new(Plan { bytes: 64, ..Plan::new(0, "job", route, class) });
        Self { scheduler, core }
    }

    /// What each open task does when a core is free for it.
    pub fn bind(&self) -> bool {
        self.core.bind(Placement::Auto);
        self.scheduler.bind(&self.core) == Placement::Process
    }

    /// What each task does for the figures when it has ended, those included that one in sixteen
    /// short tasks is measured for.
    pub fn count(&self) {
        if let Some(tasks) = self.scheduler.samples(self.core.plan.class) {
            for stage in [Stage::Queue, Stage::Run, Stage::Wake] {
                self.scheduler.counters.record(0, Placement::Thread, stage, 2000, tasks);
            }
        }
        self.scheduler.settled(&self.core, Settled::Now(Outcome::Ok));
    }

    /// Its tasks are short from here on: not each is measured.
    pub fn make_short(&self) {
        if let Some(cached) = self.scheduler.cached(self.core.plan.class) {
            cached.service_ns.store(2000, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

impl Default for Overhead {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Overhead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overhead").finish_non_exhaustive()
    }
}
