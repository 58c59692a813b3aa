//! What an engine's clones share, and the way from a task back to it ([`Port`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::options::Options;
use crate::error::{Reason, TaskError};
use crate::home::Home;
use crate::job::Work;
use crate::policy::{self, Placement, Request, Route};
use crate::processes::Processes;
use crate::room::Room;
use crate::task::{AnyTask, Cell, Core, Port};
use crate::threads::Threads;

/// What an engine's clones, threads and handles share.
pub(super) struct Shared {
    pub(super) home: Arc<Home>,
    pub(super) room: Arc<Room>,
    pub(super) threads: Arc<Threads>,
    pub(super) processes: Option<Arc<Processes>>,
    pub(super) default: Placement,
    pub(super) environment: Option<Placement>,
    pub(super) payload_bytes_max: u64,
    pub(super) is_closing: AtomicBool,
    pub(super) has_ended: AtomicBool,
    /// The process that started the engine.
    pub(super) host: u32,
}

impl Shared {
    /// The task's core and route, or why it cannot be accepted.
    pub(super) fn route<K: 'static>(&self, options: &Options) -> Result<(Core, Route), Reason> {
        if self.is_closing.load(Ordering::Relaxed) {
            return Err(Reason::ShuttingDown);
        }
        let (index, name, spec) = if options.closure {
            (u32::MAX, "closure", crate::Spec::new())
        } else {
            let index = self.home.table.index_of::<K>();
            let entry = index.and_then(|index| self.home.table.entry(index));
            let Some((index, entry)) = index.zip(entry) else {
                return Err(Reason::NotRegistered(std::any::type_name::<K>()));
            };
            (index, entry.name, entry.spec)
        };
        let route = policy::route(Request {
            task: options.place,
            spec,
            environment: self.environment,
            engine: self.default,
            kill_after: options.kill_after.is_some(),
            closure: options.closure,
            processes: self.processes.is_some(),
        })?;
        if route.placement == Placement::Process
            && let Some(processes) = &self.processes
        {
            processes.check()?;
        }
        let core = Core::new(index, name, route, options.kill_after, spec.no_caller_run);
        Ok((core, route))
    }

    pub(super) fn to_process<W: Work>(&self, cell: Arc<Cell<W>>) {
        let processes = self.processes.as_ref().expect("the route was checked");
        cell.core().bind(Placement::Process);
        match cell.encode() {
            None => self.room.leave(),
            Some(bytes) if bytes > self.payload_bytes_max => {
                if cell.core().claim() {
                    self.room.leave();
                }
                let max = self.payload_bytes_max;
                cell.settle_failure(TaskError::Rejected(Reason::TooLarge { bytes, max }));
            }
            Some(_) => processes.push(cell),
        }
    }
}

impl Port for Shared {
    fn help(&self, core: &Core, share: &dyn Fn() -> Arc<dyn AnyTask>, deadline: Option<Duration>) {
        match (core.placement(), &self.processes) {
            (Some(Placement::Process), Some(processes)) => processes.help(core),
            _ => self.threads.help(core, share, deadline.is_none()),
        }
    }

    fn while_waiting(&self, wait: &mut dyn FnMut()) {
        self.threads.while_waiting(wait);
    }

    fn left_queue(&self, core: &Core) {
        self.room.leave();
        match (core.placement(), &self.processes) {
            (Some(Placement::Process), Some(processes)) => processes.forget_one(),
            _ => {
                self.threads.forget_one();
                // It may have queued tasks anew beside the engine's end, as a submission may.
                if self.has_ended.load(Ordering::Relaxed) {
                    self.cancel_late();
                }
            }
        }
    }

    fn cancel(&self, core: &Core) {
        if let (Some(Placement::Process), Some(processes)) = (core.placement(), &self.processes) {
            processes.cancel(core);
        }
    }

    fn kill(&self, core: &Core) -> bool {
        self.processes.as_ref().is_some_and(|processes| processes.kill(core))
    }

    fn refresh(&self, core: &Core) {
        if let Some(processes) = &self.processes {
            processes.refresh(core);
        }
    }
}
