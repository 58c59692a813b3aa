//! From the queue to a run: the next task that a thread runs, what goes elsewhere on the way, and
//! what the scheduler is told of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::{Shared, Threads};
use crate::ctx::{Ctx, Signals};
use crate::error::{Reason, TaskError};
use crate::policy::{Class, Placement, Why};
use crate::scheduler::Sample;
use crate::sys::clock;
use crate::task::{Core, Settled};

impl Threads {
    /// The next task that is to run on a thread, claimed. What turns out to be bound for a process
    /// is sent there on the way; what has to wait for its key is left at its gate.
    pub(super) fn pop(&self) -> Option<Shared> {
        loop {
            let task = self.queue.pop()?;
            let core = task.core();
            let has_key = core.take_key();
            if core.rests() {
                // An entry from before a run by its caller: it is queued anew when it is due.
                if has_key {
                    self.give_key(core);
                }
                continue;
            }
            if let Some(gate) = &core.plan.key
                && !has_key
                && !gate.take_or_wait(self.me.clone(), &task)
            {
                continue;
            }
            if core.claim() {
                if core.is_asked_to_stop() {
                    // While somebody had it in hand, so that nobody could claim it.
                    self.room.leave(core);
                    let settled = task.settle_failure(TaskError::Cancelled);
                    self.scheduler.settled(core, settled);
                } else if self.place(&task) == Placement::Thread {
                    return Some(task);
                }
            }
            if let Some(gate) = &task.core().plan.key {
                gate.give();
            }
        }
    }

    /// Binds a claimed task, if that is still open, and sends it to a process, if that is its
    /// place.
    pub(super) fn place(&self, task: &Shared) -> Placement {
        let core = task.core();
        if !core.is_open() {
            // Its caller has sent it to a process, and this was its entry from before.
            if core.placement() == Some(Placement::Process)
                && self.port().is_some_and(|port| port.to_process(task))
            {
                return Placement::Process;
            }
            core.bind(Placement::Thread);
            return Placement::Thread;
        }
        if self.scheduler.bind(core) == Placement::Process {
            let is_probe = core.why() == Why::Probe;
            if self.port().is_some_and(|port| port.to_process(task)) {
                if !is_probe {
                    self.send_others(core.plan.class);
                }
                return Placement::Process;
            }
            if core.why() == Why::Crashes {
                // It has ended workers: better no outcome than the host's end.
                self.room.leave(core);
                let text = "the job has ended workers, and none can be had now".to_owned();
                let failure = TaskError::Rejected(Reason::NoWorkers(text));
                self.scheduler.settled(core, task.settle_failure(failure));
                return Placement::Process;
            }
            core.bind_because(Placement::Thread, Why::NoProcess);
        }
        Placement::Thread
    }

    /// The class has changed its place: what still waits here goes along, so that no thread takes
    /// a core for tasks that it does not run.
    #[cold]
    fn send_others(&self, class: Class) {
        let Some(_sweeper) = self.sweeping.try_lock() else { return };
        let Some(port) = self.port() else { return };
        self.queue.sift(|task| {
            let core = task.core();
            if core.plan.class != class || !core.is_open() || !core.claim() {
                return core.is_waiting().then_some(task);
            }
            if self.scheduler.glance(class) == Placement::Process && port.to_process(&task) {
                return None;
            }
            core.unclaim();
            Some(task)
        });
        // Pairs with the fences in `Sleep::sleep` (S3): what was put back is seen.
        fence(Ordering::SeqCst);
        self.sleep.notify();
    }

    pub(super) fn run_task(&self, index: usize, cx: &mut Ctx, task: Shared) {
        self.room.leave(task.core());
        *self.current[index].lock() = Some(Arc::clone(&task));
        self.run_measured(&task, cx);
        let own = self.current[index].lock().take();
        // The last to let go of a detached task drops its output: user code.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            cx.end();
            drop((own, task));
        }));
    }

    /// Runs a claimed task under a token that this thread holds, and tells the scheduler what it
    /// took, now and then. Lets its key go.
    pub(super) fn run_measured(&self, task: &Shared, cx: &mut Ctx) {
        let core = task.core();
        if core.plan.controls.timeout.is_some()
            && let Some(port) = self.port()
        {
            port.started(task, core.runs_before());
        }
        cx.begin(Arc::clone(task) as Arc<dyn Signals>);
        let Some(tasks) = core.measure.weight() else {
            let (settled, _) = self.budget.hold(|| run_in_span(task, cx));
            self.scheduler.settled(core, settled);
            return self.give_key(core);
        };
        let before = self.stands_for(core);
        let begun = clock::now();
        self.scheduler.waited(core, Placement::Thread, begun);
        let (settled, is_odd) = self.budget.hold(|| run_in_span(task, cx));
        self.scheduler.settled(core, settled);
        let ns = clock::ns_since(begun);
        let stands_for = f64::midpoint(before, self.stands_for(core));
        self.give_key(core);
        let sample = Sample { tasks, stands_for, bytes_out: 0, over_ns: None, is_odd };
        self.scheduler.ran(core, Placement::Thread, ns, sample);
    }

    /// How many cores a task on a thread keeps busy, or idle by its key.
    fn stands_for(&self, core: &Core) -> f64 {
        let Some(gate) = &core.plan.key else { return 1.0 };
        gate.stands_for(self.budget.free(), self.room.waiting_tasks())
    }

    pub(super) fn give_key(&self, core: &Core) {
        if let Some(gate) = &core.plan.key {
            gate.give();
        }
    }
}

/// Runs a task in a span of its own, where the host's subscriber hears of such: one load otherwise.
#[inline]
pub(super) fn run_in_span(task: &Shared, cx: &Ctx) -> (Settled, bool) {
    let job = task.core().plan.name;
    let span = tracing::debug_span!(target: "amphi", "task", job, placement = "thread");
    span.in_scope(|| task.run_here(cx))
}
