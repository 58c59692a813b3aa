//! What a thread does that waits for a task: run it, where it may run here and a core is free;
//! else look for a little while.

use std::sync::Arc;

use super::{JOIN_ROUNDS, Shared, Threads};
use crate::ctx::Ctx;
use crate::limits::STACK_BYTES;
use crate::policy::Placement;
use crate::task::Core;

impl Threads {
    /// The caller will block for `task`: run it here if it has not started and a core is free,
    /// else look at it a little longer than it takes to be woken.
    pub(crate) fn help(self: &Arc<Self>, core: &Core, share: &dyn Fn() -> Shared, may_run: bool) {
        if may_run && core.is_waiting() && core.may_start_on_a_thread() {
            self.run_unstarted(core, share);
        }
        // One that mostly waits is not worth looking at.
        if self.budget.cores() == 1 || core.plan.blocking {
            return;
        }
        for round in 1..=JOIN_ROUNDS {
            if core.is_settled() || self.budget.is_held_here() {
                return;
            }
            // The thread that was woken for it may be waiting for this very core. Where none was,
            // all are at work, and a yield would cost the caller a whole time slice.
            if round % 64 == 0 && self.sleep.has_searchers() {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }

    /// Runs a task that was never queued on the calling thread; false: no core is free, or it
    /// wants another place.
    pub(crate) fn run_now(self: &Arc<Self>, task: &Shared) -> bool {
        let core = task.core();
        if core.plan.no_caller_run || core.plan.blocking {
            return false;
        }
        if self.budget.is_held_here() {
            return self.run_claimed(core, &|| Arc::clone(task));
        }
        let free = self.budget.take();
        if !free {
            return false;
        }
        let ran = self.run_claimed(core, &|| Arc::clone(task));
        self.budget.give_back();
        ran
    }

    /// Runs a task that has not started for the caller who will wait for it. A job that waits has
    /// a token, under which its child runs; whoever else waits needs a free one.
    fn run_unstarted(self: &Arc<Self>, core: &Core, share: &dyn Fn() -> Shared) {
        let may_run_here = !core.plan.no_caller_run && !core.plan.blocking;
        if self.budget.is_held_here() {
            if may_run_here {
                self.run_claimed(core, share);
                return;
            }
            if core.plan.blocking {
                return; // it needs none of the pool's threads
            }
            // Every pool thread may be waiting as this one is: a thread of the child's own.
            let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
            std::thread::scope(|scope| {
                let apart = || {
                    let share = share();
                    move || {
                        self.run_claimed(share.core(), &|| Arc::clone(&share));
                    }
                };
                let _ = builder.spawn_scoped(scope, apart());
            });
        } else if may_run_here && !self.is_better_left(core) && self.budget.take() {
            self.run_claimed(core, share);
            self.budget.give_back();
        }
    }

    /// Many long tasks wait, and threads for them sleep or look for work: the caller would take a core
    /// from one of them, and run beside another on a single core. It was woken there, or woke it
    /// there, and the kernel moves neither to an idle virtual processor before its next tick
    /// (measured, 50 tasks of 100 µs at once on two processors: most bursts took 4 to 5 ms instead of
    /// 2.7). One alone is run here: waking somebody for it would cost a good part of it.
    fn is_better_left(&self, core: &Core) -> bool {
        self.scheduler.is_known_long(core.plan.class)
            && self.sleep.has_idle()
            && self.room.waiting_tasks() > 1
    }

    /// Claims the task and runs it here, or hands it to a worker where that is its place. False:
    /// it is somebody else's, or its key is taken.
    fn run_claimed(self: &Arc<Self>, core: &Core, share: &dyn Fn() -> Shared) -> bool {
        // One that was handed its key is the next of some thread.
        let gate = core.plan.key.as_ref();
        if core.has_key() || gate.is_some_and(|gate| !gate.try_take()) {
            return false;
        }
        if !core.claim() {
            if let Some(gate) = gate {
                gate.give();
            }
            return false;
        }
        let task = share();
        if self.place(&task) == Placement::Thread {
            self.room.leave(core);
            let mut cx = Ctx::new(Arc::clone(&self.home), Placement::Thread);
            self.run_measured(&task, &mut cx);
        } else if let Some(gate) = gate {
            gate.give();
        }
        true
    }
}
