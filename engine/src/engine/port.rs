//! The way from a task back to its engine.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Shared;
use crate::error::TaskError;
use crate::sys::clock;
use crate::task::{AnyTask, Child, Core, Port, Settled};

impl Port for Shared {
    fn help(&self, core: &Core, share: &dyn Fn() -> Arc<dyn AnyTask>, deadline: Option<Duration>) {
        match &self.processes {
            Some(processes) if core.is_with_processes() => processes.help(core),
            _ => self.threads.help(core, share, deadline.is_none()),
        }
    }

    fn is_in_job(&self) -> bool {
        self.threads.is_in_job()
    }

    fn while_waiting(&self, wait: &mut dyn FnMut()) {
        match &self.processes {
            // Of a worker's core only a job that keeps it busy can let go.
            Some(processes) if self.in_worker && !self.threads.is_beside() => {
                processes.waits(true);
                self.threads.while_waiting(wait);
                processes.waits(false);
            }
            _ => self.threads.while_waiting(wait),
        }
    }

    fn left_queue(&self, core: &Core) {
        self.room.leave(core);
        match &self.processes {
            Some(processes) if core.is_with_processes() => processes.forget_one(),
            _ => {
                self.threads.forget_one(core);
                // It may have queued tasks anew beside the engine's end, as a submission may.
                if self.has_ended.load(Ordering::Relaxed) {
                    self.cancel_late();
                }
            }
        }
    }

    fn cancel(&self, core: &Core) {
        if let Some(processes) = self.processes.as_ref().filter(|_| core.is_with_processes()) {
            processes.cancel(core);
        }
    }

    fn kill(&self, core: &Core) -> bool {
        let processes = self.processes.as_ref().filter(|_| core.is_with_processes());
        processes.is_some_and(|processes| processes.kill(core))
    }

    fn refresh(&self, core: &Core) {
        if let Some(processes) = &self.processes {
            processes.refresh(core);
        }
    }

    fn again(&self, task: Arc<dyn AnyTask>, delay: Duration) {
        self.room.enter_again(task.core());
        task.core().forget_run();
        task.core().measure.mark(clock::now());
        if self.has_ended.load(Ordering::Relaxed) {
            self.room.leave(task.core());
            return self.settled(task.core(), task.settle_failure(TaskError::Cancelled));
        }
        task.core().set_rests(!delay.is_zero());
        task.core().unclaim();
        if delay.is_zero() {
            return self.queue_again(task);
        }
        self.clocks.again(&self.on_alarm(), Arc::clone(&task), delay);
        // The clocks may have been closed before it came there, and then it is nobody's.
        if self.has_ended.load(Ordering::Relaxed) {
            self.cancel_unstarted(&task);
        }
    }

    fn to_thread(&self, task: Arc<dyn AnyTask>) {
        task.core().set_with_processes(false);
        task.core().unclaim();
        self.queue_for_thread(task, false);
    }

    fn to_process(&self, task: &Arc<dyn AnyTask>) -> bool {
        if !self.can_process(task) {
            return false;
        }
        task.core().set_with_processes(true);
        task.core().unclaim();
        // Another one may claim it from here on, and the push finds it claimed.
        self.push_to_process(task);
        true
    }

    fn taken(&self, core: &Core) {
        self.room.leave(core);
    }

    fn submit_child(&self, child: Child) {
        self.run_child(child);
    }

    fn stop_child(&self, task: &Arc<dyn AnyTask>, kill: bool) {
        self.stop_task(task, kill);
    }

    fn took(&self, core: &Core) {
        self.scheduler.took(core);
    }

    fn settled(&self, core: &Core, settled: Settled) {
        self.scheduler.settled(core, settled);
    }

    fn started(&self, task: &Arc<dyn AnyTask>, run: u32) {
        self.clocks.started(&self.on_alarm(), task, run);
    }

    fn explain(&self, core: &Core) -> String {
        self.explain_task(core)
    }
}
