//! What becomes of a task whose clock has run out, or whose next try is due.

use std::sync::Arc;

use super::clocks::{Alarm, OnAlarm};
use super::shared::Shared;
use crate::error::{Clock, TaskError};
use crate::task::{AnyTask, Port};

impl OnAlarm for Shared {
    fn on_alarm(&self, alarm: Alarm) {
        match alarm {
            Alarm::Expired(task, clock) => {
                if let Some(task) = task.upgrade().filter(|task| !task.core().is_settled()) {
                    self.expired(&task, clock);
                }
            }
            Alarm::Overrun(task, run) => {
                let is_current = |task: &Arc<dyn AnyTask>| task.core().runs_before() == run;
                if let Some(task) = task.upgrade().filter(is_current) {
                    self.expired(&task, Clock::Timeout);
                }
            }
            Alarm::Again(task) if task.core().is_waiting() => {
                task.core().set_rests(false);
                self.queue_again(task);
            }
            Alarm::Again(_) => {}
        }
    }
}

impl Shared {
    /// A clock of the task has run out.
    fn expired(&self, task: &Arc<dyn AnyTask>, clock: Clock) {
        let core = task.core();
        let claim = || {
            let waiting = core.claim();
            if waiting {
                self.left_queue(core);
                let failure = TaskError::TimedOut { clock, killed: false };
                self.settled(core, task.settle_failure(failure));
            }
            waiting
        };
        if clock == Clock::Queue {
            if core.runs_before() > 0 {
                return; // it has started, and waits for its next try
            }
            // One that lies in a lane and was not started has waited, too.
            if !claim()
                && let Some(processes) =
                    self.processes.as_ref().filter(|_| core.is_with_processes())
            {
                processes.take_back(core, TaskError::TimedOut { clock, killed: false });
            }
            return;
        }
        core.expire(clock);
        core.ask_to_stop();
        if !claim() && !core.is_settled() {
            self.cancel(core);
            claim(); // it may have come back from a lane meanwhile
        }
    }
}
