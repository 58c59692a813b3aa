//! The pool of workers as an engine's process side.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::pool::Processes;
use crate::error::Reason;
use crate::outcome::Failure;
use crate::task::{AnyTask, Core, Port, ProcessSide};

impl ProcessSide for Processes {
    fn set_port(&self, port: Weak<dyn Port>) {
        Self::set_port(self, port);
    }

    #[inline]
    fn check(&self) -> Result<(), Reason> {
        Self::check(self)
    }

    fn push(&self, task: Arc<dyn AnyTask>) {
        Self::push(self, task);
    }

    fn help(&self, core: &Core) {
        Self::help(self, core);
    }

    /// A thread that waits keeps no lane from anybody.
    fn waits(&self, _begins: bool) {}

    fn forget_one(&self) {
        Self::forget_one(self);
    }

    fn cancel(&self, core: &Core) {
        Self::cancel(self, core);
    }

    fn take_back(&self, core: &Core, failure: Failure) {
        Self::take_back(self, core, failure);
    }

    fn kill(&self, core: &Core) -> bool {
        Self::kill(self, core)
    }

    fn refresh(&self, core: &Core) {
        Self::refresh(self, core);
    }

    fn pids(&self) -> Vec<u32> {
        Self::pids(self)
    }

    fn drain(&self, deadline: Duration) {
        Self::drain(self, deadline);
    }

    fn end(&self, patience: Duration) -> usize {
        Self::end(self, patience)
    }
}
