//! Tasks that the host runs for jobs of its workers. To the engine they are tasks as any others,
//! whose outcome nobody takes but the worker that asked.

use std::sync::{Arc, OnceLock};
use std::task::{Wake, Waker};
use std::time::Duration;

use amphi_protocol::{Ask, ReplyKind};

use super::Shared;
use super::options::Options;
use crate::beside::Beside;
use crate::error::{Reason, TaskError};
use crate::job::RawWork;
use crate::policy::Placement;
use crate::task::{
    Answer, AnyTask, Cell, Child, Controls, Core, Port, Priority, TypedTask, Waiter, stop,
};

fn controls(ask: &Ask) -> Controls {
    let time = |ns: Option<u64>| ns.map(Duration::from_nanos);
    Controls {
        priority: match ask.priority {
            0 => Priority::Low,
            2 => Priority::High,
            _ => Priority::Normal,
        },
        kill_after: time(ask.kill_after_ns),
        queue_timeout: time(ask.queue_timeout_ns),
        timeout: time(ask.timeout_ns),
        deadline: time(Some(ask.deadline_ns).filter(|ns| *ns > 0)),
        trace: ask.trace,
    }
}

/// Hands a child's outcome on when it is there.
struct Courier {
    cell: OnceLock<Arc<Cell<RawWork>>>,
    answer: Arc<dyn Answer>,
}

impl Wake for Courier {
    fn wake(self: Arc<Self>) {
        let Some(cell) = self.cell.get() else { return };
        // Taking the outcome lets them go.
        let beside = Beside { regions: cell.regions(), files: cell.output_files() };
        let Some(outcome) = cell.take() else { return };
        let outcome = match outcome {
            Ok(bytes) => Ok((ReplyKind::Ok, bytes)),
            Err(TaskError::Failed(bytes)) => Ok((ReplyKind::Failed, bytes)),
            Err(other) => Err(other.narrow()),
        };
        self.answer.done(outcome, beside);
    }
}

impl Shared {
    /// Runs a task of a worker's job. It is never refused for a full queue: the one that waits
    /// for it is a task, too, which came through that queue.
    pub(super) fn run_child(&self, child: Child) {
        let Child { job, ask, bytes, files, inherited, answer } = child;
        let options = Options {
            place: ask.on_thread.then_some(Placement::Thread),
            controls: controls(&ask).into(),
            ..Options::default()
        };
        let plan = match self.home.table.entry(job) {
            Some(entry) => {
                let size = || bytes.len() as u64;
                self.plan_entry(job, Some(entry), &options, Some(&inherited), size)
            }
            None => Err(Reason::NotRegistered("a job of the worker")),
        };
        let plan = match plan {
            Ok(plan) => plan,
            Err(reason) => return answer.done(Err(TaskError::Rejected(reason)), Beside::default()),
        };
        self.room.enter_above();
        let cell = Arc::new(Cell::<RawWork>::encoded(Core::new(plan), bytes, files));
        let task: Arc<dyn AnyTask> = Arc::clone(&cell) as _;
        let is_wanted = answer.accepted(&task);
        let courier = Arc::new(Courier { cell: OnceLock::new(), answer });
        let _ = courier.cell.set(Arc::clone(&cell));
        cell.wake_by(Waiter::Waker(Waker::from(courier)));
        self.accept(Arc::clone(&task), false);
        if !is_wanted {
            self.stop_task(&task, false);
        }
    }

    /// Cancels a task that has no handle.
    pub(super) fn stop_task(&self, task: &Arc<dyn AnyTask>, kill: bool) {
        stop(task.as_ref(), self);
        if kill && !task.core().is_settled() {
            Port::kill(self, task.core());
        }
    }
}
