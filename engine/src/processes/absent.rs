//! The process side where there is none: never made, so that every need for it is refused at
//! submit.

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::budget::Budget;
use crate::error::{Reason, StartError};
use crate::home::Home;
use crate::limits::Terms;
use crate::outcome::Failure;
use crate::room::Room;
use crate::scheduler::Scheduler;
use crate::task::{AnyTask, Core, Port, ProcessSide};

/// No value of it exists.
pub(crate) struct Processes(Infallible);

impl Processes {
    pub(crate) fn start(
        _home: Arc<Home>,
        _budget: Arc<Budget>,
        _room: Arc<Room>,
        _scheduler: Arc<Scheduler>,
        _terms: &Terms,
    ) -> Result<Arc<Self>, StartError> {
        Err(StartError::setting("processes need Linux; use Placement::Thread"))
    }
}

impl ProcessSide for Processes {
    fn set_port(&self, _port: Weak<dyn Port>) {
        match self.0 {}
    }

    fn check(&self) -> Result<(), Reason> {
        match self.0 {}
    }

    fn push(&self, _task: Arc<dyn AnyTask>) {
        match self.0 {}
    }

    fn help(&self, _core: &Core) {
        match self.0 {}
    }

    fn waits(&self, _begins: bool) {
        match self.0 {}
    }

    fn forget_one(&self) {
        match self.0 {}
    }

    fn cancel(&self, _core: &Core) {
        match self.0 {}
    }

    fn take_back(&self, _core: &Core, _failure: Failure) {
        match self.0 {}
    }

    fn kill(&self, _core: &Core) -> bool {
        match self.0 {}
    }

    fn refresh(&self, _core: &Core) {
        match self.0 {}
    }

    fn pids(&self) -> Vec<u32> {
        match self.0 {}
    }

    fn drain(&self, _deadline: Duration) {
        match self.0 {}
    }

    fn end(&self, _patience: Duration) -> usize {
        match self.0 {}
    }
}
