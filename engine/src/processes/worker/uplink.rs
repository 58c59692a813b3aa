//! The way of a worker's tasks up to the host: those that need another process, or a thread of the
//! host. The host runs them as its own and answers by a message.
//!
//! # Invariants
//! 1. A task that was sent up is claimed, and in `children` until its answer has come; nobody else
//!    settles it.
//! 2. The host is told that the worker only waits while a thread of it waits for tasks and some
//!    are up there: it lends the worker's core to others meanwhile.

use std::collections::HashMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use amphi_protocol::{Ask, ChildOutcome, FromWorker, ReplyKind, encode};
use parking_lot::Mutex;

use crate::error::{Reason, TaskError};
use crate::job::Encoded;
use crate::outcome::{Failure, failure_from_bytes};
use crate::policy::Placement;
use crate::processes::carry::{descriptors, is_refusal, pack, unpack};
use crate::sys::clock;
use crate::sys::process;
use crate::sys::socket::Channel;
use crate::task::{AnyTask, Core, Port, ProcessSide};

/// How long a host that does not read its messages holds a job up; then the worker ends, because
/// nobody would ever answer it.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Uplink {
    socket: Arc<Channel>,
    output_max: u64,
    port: OnceLock<Weak<dyn Port>>,
    children: Mutex<HashMap<u64, Arc<dyn AnyTask>>>,
    next: AtomicU64,
    waits: Mutex<Waits>,
}

/// How many threads of jobs wait, and what the host was told of it. Held while it is told, so that
/// the last word is the right one.
#[derive(Default)]
struct Waits {
    waiting: usize,
    told: bool,
}

impl Uplink {
    pub(super) fn new(socket: Arc<Channel>, output_max: u64) -> Self {
        Self {
            socket,
            output_max,
            port: OnceLock::new(),
            children: Mutex::default(),
            next: AtomicU64::new(1),
            waits: Mutex::default(),
        }
    }

    fn send(&self, message: &FromWorker) {
        if self.socket.send_patiently(&encode(message), &[], PATIENCE).is_err() {
            process::exit_now(2);
        }
    }

    /// The same with descriptors.
    ///
    /// # Errors
    /// The system does not let these be sent.
    fn send_with(&self, message: &FromWorker, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        match self.socket.send_patiently(&encode(message), fds, PATIENCE) {
            Err(error) if is_refusal(&error) => Err(error),
            Err(_) => process::exit_now(2),
            Ok(()) => Ok(()),
        }
    }

    /// A task that could not be sent up ends.
    fn fail(&self, task: &Arc<dyn AnyTask>, error: &io::Error) {
        let text = format!("its input could not be handed up: {error}");
        let settled = task.settle_failure(TaskError::Rejected(Reason::NoWorkers(text)));
        if let Some(port) = self.port.get().and_then(Weak::upgrade) {
            port.settled(task.core(), settled);
        }
    }

    /// The host has answered. `None`: this process has no room for the descriptors.
    pub(super) fn done(&self, child: u64, outcome: ChildOutcome, fds: Option<Vec<OwnedFd>>) {
        let Some(task) = self.children.lock().remove(&child) else { return };
        let settled = match outcome {
            ChildOutcome::Failure(bytes) => task.settle_failure(failure_from_bytes(&bytes)),
            ChildOutcome::Reply { kind, output } => {
                let kind = ReplyKind::from_number(u64::from(kind));
                match (kind, unpack(output, fds, self.output_max)) {
                    (Some(kind), Ok((bytes, files))) => {
                        task.return_files(files);
                        task.settle_reply(kind, bytes)
                    }
                    (_, Err(error)) => task.settle_failure(TaskError::Lost {
                        message: format!("the host's answer could not be read: {error}"),
                    }),
                    (None, Ok(_)) => process::exit_now(2),
                }
            }
        };
        if let Some(port) = self.port.get().and_then(Weak::upgrade) {
            port.settled(task.core(), settled);
        }
    }

    /// Tells the host whether the worker only waits, if that has changed.
    fn tell(&self, waits: &mut Waits) {
        let only_waits = waits.waiting > 0 && !self.children.lock().is_empty();
        if std::mem::replace(&mut waits.told, only_waits) != only_waits {
            self.send(&FromWorker::Waits(only_waits));
        }
    }

    fn child_of(&self, core: &Core) -> Option<u64> {
        let children = self.children.lock();
        let found = children.iter().find(|(_, task)| std::ptr::eq(task.core(), core));
        found.map(|(child, _)| *child)
    }

    fn stop(&self, core: &Core, kill: bool) -> bool {
        let Some(child) = self.child_of(core) else { return false };
        self.send(&FromWorker::Stop { child, kill });
        true
    }
}

fn ask(core: &Core) -> Ask {
    let controls = &core.plan.controls;
    Ask {
        on_thread: core.plan.needs_host_thread,
        kill_after_ns: controls.kill_after.map(clock::as_ns),
        timeout_ns: controls.timeout.map(clock::as_ns),
        queue_timeout_ns: controls.queue_timeout.map(clock::as_ns),
        deadline_ns: controls.deadline.map_or(0, clock::as_ns),
        trace: controls.trace,
        priority: controls.priority as u8,
    }
}

impl ProcessSide for Uplink {
    fn set_port(&self, port: Weak<dyn Port>) {
        let _ = self.port.set(port);
    }

    fn check(&self) -> Result<(), Reason> {
        Ok(())
    }

    fn push(&self, task: Arc<dyn AnyTask>) {
        let core = task.core();
        if !core.claim() {
            return; // it was cancelled meanwhile
        }
        if let Some(port) = self.port.get().and_then(Weak::upgrade) {
            port.taken(core);
        }
        core.bind(Placement::Process);
        let child = self.next.fetch_add(1, Ordering::Relaxed);
        let bytes = task.take_encoded();
        let again = core.plan.retry.is_some().then(|| bytes.clone());
        let packed = pack(bytes);
        task.put_encoded(again.unwrap_or(Encoded::new()));
        let (input, fd) = match packed {
            Ok(packed) => packed,
            Err(error) => return self.fail(&task, &error),
        };
        let files = task.files();
        let (fds, files) = descriptors(fd.as_ref(), &files);
        let message =
            FromWorker::Submit { child, job: core.plan.job, ask: ask(core), input, files };
        self.children.lock().insert(child, Arc::clone(&task));
        if let Err(error) = self.send_with(&message, &fds) {
            self.children.lock().remove(&child);
            return self.fail(&task, &error);
        }
        self.tell(&mut self.waits.lock()); // others wait for it already, maybe
        if core.is_asked_to_stop() {
            self.stop(core, false);
        }
    }

    fn help(&self, _core: &Core) {}

    fn waits(&self, begins: bool) {
        let mut waits = self.waits.lock();
        if begins {
            waits.waiting += 1;
        } else {
            waits.waiting = waits.waiting.saturating_sub(1);
        }
        self.tell(&mut waits);
    }

    fn forget_one(&self) {}

    fn cancel(&self, core: &Core) {
        self.stop(core, false);
    }

    /// It has left this process: the host watches the clocks that were sent along.
    fn take_back(&self, _core: &Core, _failure: Failure) {}

    fn kill(&self, core: &Core) -> bool {
        self.stop(core, true)
    }

    fn refresh(&self, _core: &Core) {}

    fn pids(&self) -> Vec<u32> {
        Vec::new()
    }

    fn drain(&self, _deadline: Duration) {}

    fn end(&self, _patience: Duration) -> usize {
        0
    }
}
