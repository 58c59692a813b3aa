//! What an engine tells of itself: its figures, and when it has nothing left to do.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use super::{Engine, Shared};
use crate::home::ECHO;
use crate::stats::Stats;
use crate::task::Waiter;

impl Engine {
    /// What the engine has counted since it started: outcomes of each job in each place, how long
    /// the parts of their way took, why they went there. For people by `{}`, for programs as
    /// [`serde::Serialize`].
    ///
    /// ```no_run
    /// # fn example(engine: amphi::Engine) {
    /// println!("{}", engine.stats());
    /// # }
    /// ```
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        let (accepted, queued) = (shared.room.accepted(), shared.room.waiting_tasks());
        let ended = shared.scheduler.drain.ended();
        // A task may end before whoever sent it to a worker has counted it off the queue.
        let queued = queued.min(accepted.saturating_sub(ended));
        let mut counted = shared.scheduler.counters.snapshot();
        // What calibration runs is nobody's job.
        counted.jobs.retain(|job| job.name != ECHO);
        Stats {
            cores: shared.threads.cores() as u64,
            workers: self.worker_pids().len() as u64,
            queued,
            running: accepted.saturating_sub(ended).saturating_sub(queued),
            accepted,
            ..counted
        }
    }

    /// Waits until every task that was accepted has its outcome, those included that are accepted
    /// meanwhile. It ends for an engine that has nothing to do, and does not close it.
    ///
    /// ```no_run
    /// # async fn example<J: amphi::Job>(engine: amphi::Engine, jobs: Vec<J>) {
    /// for job in jobs {
    ///     engine.submit(job).await.expect("nobody shuts it down").detach();
    /// }
    /// engine.drained().await;
    /// # }
    /// ```
    pub async fn drained(&self) {
        let shared = Arc::clone(&self.shared);
        poll_fn(move |cx| {
            if shared.is_drained() {
                return Poll::Ready(());
            }
            shared.scheduler.drain.wait(Waiter::Waker(cx.waker().clone()));
            if shared.is_drained() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// **Blocks** like [`drained`](Self::drained). Not for use inside a job, which would wait for
    /// itself.
    ///
    /// ```no_run
    /// # fn example<J: amphi::Job>(engine: amphi::Engine, job: J) {
    /// engine.spawn_detached(job).expect("there is room");
    /// engine.drained_blocking();
    /// # }
    /// ```
    pub fn drained_blocking(&self) {
        while !self.shared.is_drained() {
            self.shared.scheduler.drain.wait(Waiter::Thread(std::thread::current()));
            if self.shared.is_drained() {
                return;
            }
            std::thread::park();
        }
    }
}

impl Shared {
    pub(super) fn is_drained(&self) -> bool {
        self.scheduler.drain.ended() >= self.room.accepted()
    }
}
