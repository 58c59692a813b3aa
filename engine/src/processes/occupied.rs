//! How long a lane keeps its core beside the jobs it runs: waking, carrying, waiting for the host.
//!
//! A lane has its core from the moment it gets a token until its last task is harvested. What of
//! that time no job ran in is dispatch, whatever it was; it is divided among the tasks of one
//! harvest. Lanes of short tasks are not looked at: a look costs as much as they do.

use std::time::Duration;

use super::after::Finished;
use crate::sys::clock;

/// From this service time on a look at the clock is nothing beside it.
pub(super) const LONG_NS: u64 = 20_000;

/// What is known of a seat's present holding of a core.
#[derive(Debug, Default)]
pub(super) struct Occupied {
    /// Since when it is accounted for; `None`: nobody looked.
    since: Option<Duration>,
    /// What jobs ran since then that is not accounted for yet, in ns.
    ran_ns: u64,
}

impl Occupied {
    /// The lane gets its core, for a task of about this length.
    pub(super) fn begin(&mut self, predicted_ns: Option<u64>) {
        let is_long = predicted_ns.is_none_or(|ns| ns >= LONG_NS);
        *self = Self { since: is_long.then(clock::now), ran_ns: 0 };
    }

    /// These tasks were harvested: each is told its share of what was no job's time, if that is
    /// known.
    pub(super) fn harvested(&mut self, finished: &mut [Finished]) {
        let ran = finished.iter().fold(0, |sum: u64, task| sum.saturating_add(task.run_ns));
        self.ran_ns = self.ran_ns.saturating_add(ran);
        if !finished.iter().any(|task| task.run_ns >= LONG_NS) {
            return;
        }
        let now = clock::now();
        if let Some(since) = self.since {
            let held = clock::as_ns(now.saturating_sub(since)) as f64;
            let share = (held - self.ran_ns as f64) / finished.len() as f64;
            finished.iter_mut().for_each(|task| task.over_ns = Some(share));
        }
        *self = Self { since: Some(now), ran_ns: 0 };
    }
}
