//! Ends of tasks, counted together where several come at once: each count is a locked instruction,
//! which waits for the stores to lines that a worker holds.

use super::Scheduler;
use crate::policy::Placement;
use crate::stats::Outcome;
use crate::task::{Core, Settled};

/// Tasks of one kind that have ended and are not counted yet.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    kind: Option<(u32, Placement, Outcome)>,
    tasks: u64,
}

impl Ends {
    /// Somebody tried to settle a task.
    #[inline]
    pub(crate) fn add(&mut self, scheduler: &Scheduler, core: &Core, settled: Settled) {
        if core.plan.is_private {
            return;
        }
        match settled {
            Settled::Now(outcome) => {
                let kind = (core.plan.job, core.placement().unwrap_or_default(), outcome);
                if self.kind != Some(kind) {
                    self.tell(scheduler);
                    self.kind = Some(kind);
                }
                self.tasks += 1;
            }
            Settled::Again => scheduler.counters.retried(core.plan.job),
            Settled::Before => {}
        }
    }

    /// Counts them.
    #[inline]
    pub(crate) fn tell(&mut self, scheduler: &Scheduler) {
        let Some((job, place, outcome)) = self.kind.take() else { return };
        let tasks = std::mem::take(&mut self.tasks);
        scheduler.counters.outcome(job, place, outcome, tasks);
        scheduler.drain.done(tasks);
    }
}
