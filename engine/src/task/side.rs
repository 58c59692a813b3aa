//! The process side of an engine, as the engine sees it: workers of its own in the host; in a worker
//! the way up to the host.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{AnyTask, Core, Port};
use crate::error::Reason;
use crate::outcome::Failure;

/// See the module.
pub(crate) trait ProcessSide: Send + Sync {
    /// The way back to the engine. Before the first task.
    fn set_port(&self, port: Weak<dyn Port>);
    /// Refuses fast while no task can be run.
    fn check(&self) -> Result<(), Reason>;
    /// Queues a task that waits and is encoded.
    fn push(&self, task: Arc<dyn AnyTask>);
    /// The caller will block for the task: wait actively for a short while.
    fn help(&self, core: &Core);
    /// A thread of a job begins, or ends, to wait for tasks.
    fn waits(&self, begins: bool);
    /// A task that waits here was claimed by its handle.
    fn forget_one(&self);
    /// The task was asked to stop.
    fn cancel(&self, core: &Core);
    /// Ends a task with `failure`, if it has been accepted here and was not started.
    fn take_back(&self, core: &Core, failure: Failure);
    /// Kills the worker that runs the task; false where none does.
    fn kill(&self, core: &Core) -> bool;
    /// Reads what the task reported since.
    fn refresh(&self, core: &Core);
    /// The workers' process ids.
    fn pids(&self) -> Vec<u32>;
    /// **Blocks** until nothing is queued or runs, or until `deadline`.
    fn drain(&self, deadline: Duration);
    /// Cancels everything; how many tasks that were.
    fn end(&self, patience: Duration) -> usize;
}
