//! What a stream of tasks needs of its engine: submissions whose refusal is an outcome, and room.

use std::sync::atomic::Ordering;

use super::{Engine, Options};
use crate::error::{Reason, Rejected};
use crate::job::{Job, JobWork};
use crate::task::{Port, Task};

type TaskOf<J> = Task<<J as Job>::Output, <J as Job>::Error>;

impl Engine {
    /// Submits. `Err`: the queue is full, and the job comes back; any other refusal is the outcome
    /// of the handle.
    pub(crate) fn submit_or_keep<J: Job>(&self, job: J) -> Result<TaskOf<J>, J> {
        match self.place_job(job, &Options::default(), None) {
            Err(Rejected { job, reason: Reason::QueueFull }) => Err(job),
            decided => Ok(self.settle_rejected(decided)),
        }
    }

    /// The same, **blocking** while the queue is full. A job does not wait for room that may never
    /// come, its thread being one of those that make it: it enters above the bound.
    pub(crate) fn submit_when_room<J: Job>(&self, job: J) -> TaskOf<J> {
        let decided = if self.is_in_job() {
            self.place_job(job, &Options { above_bound: true, ..Options::default() }, None)
        } else {
            self.submit_blocking(job)
        };
        self.settle_rejected(decided)
    }

    /// Waits until a submission will be accepted, or refused for another reason than a full queue,
    /// unless somebody else is faster.
    pub(crate) async fn wait_for_room(self) {
        let shared = &self.shared;
        let is_closing = || shared.is_closing.load(Ordering::Relaxed);
        shared.room.wait(|| (is_closing() || shared.room.has_room()).then_some(())).await;
    }

    /// The calling thread runs a job of this engine.
    pub(crate) fn is_in_job(&self) -> bool {
        self.shared.threads.is_in_job()
    }

    /// Blocks in `wait`; a job lets its core go meanwhile.
    pub(crate) fn while_waiting(&self, wait: &mut dyn FnMut()) {
        Port::while_waiting(&*self.shared, wait);
    }

    fn settle_rejected<J: Job>(&self, decided: Result<TaskOf<J>, Rejected<J>>) -> TaskOf<J> {
        decided.unwrap_or_else(|Rejected { job, reason }| self.settled(JobWork(job), reason))
    }
}
