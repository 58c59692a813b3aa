//! What jobs in workers ask of the host beside their replies: tasks that it is to run for them, and
//! that it lends their core to others while they wait.
//!
//! # Invariants
//! 1. A child that was accepted is in its link's `children` until its outcome is sent, or its
//!    worker is dead: then it is cancelled.
//! 2. A lane whose task waits holds no token; it takes one, free or not, when the task goes on.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use amphi_protocol::{ChildOutcome, FromWorker, ReplyKind, ToWorker, encode};

use super::After;
use super::carry::{descriptors, is_refusal, pack, unpack};
use super::pool::{Inner, Processes, Shared};
use crate::beside::Beside;
use crate::error::{Reason, TaskError};
use crate::outcome::{Failure, failure_to_bytes};
use crate::sys::socket::Channel;
use crate::task::{Answer, Child};

/// Children that one worker may have under way; more is no honest worker.
pub(super) const CHILDREN_MAX: usize = 1 << 16;
/// Open files that these may have together; those of further ones are refused.
pub(super) const CHILD_FILES_MAX: usize = 1 << 10;
/// How long a worker that does not read its messages holds up who answers it.
const PATIENCE: Duration = Duration::from_secs(1);

/// A message of a worker, with whose it is.
pub(super) struct Request {
    seat: u32,
    generation: u64,
    socket: Arc<Channel>,
    message: FromWorker,
    /// `None`: this process has no room for them.
    fds: Option<Vec<OwnedFd>>,
    /// The task that runs there: the one that asks.
    parent: Option<Shared>,
}

/// The way back to the worker that asked.
struct Return {
    pool: Weak<Processes>,
    seat: u32,
    generation: u64,
    child: u64,
    /// How many open files its input has.
    files: usize,
    socket: Arc<Channel>,
}

impl Answer for Return {
    fn accepted(&self, task: &Shared) -> bool {
        let Some(pool) = self.pool.upgrade() else { return false };
        let mut inner = pool.lock();
        let Some(link) = inner.current(self.seat, self.generation) else { return false };
        if link.children.contains_key(&self.child) {
            // Its bound counts numbers.
            link.break_off("it gave two children one number".to_owned());
            return false;
        }
        link.children.insert(self.child, Arc::clone(task));
        true
    }

    fn done(&self, outcome: Result<(ReplyKind, Vec<u8>), Failure>, beside: Beside) {
        let Beside { regions, mut files } = beside;
        if let Some(pool) = self.pool.upgrade() {
            let gone = {
                let mut inner = pool.lock();
                let link = inner.current(self.seat, self.generation);
                link.and_then(|link| {
                    link.child_files = link.child_files.saturating_sub(self.files);
                    // What is not sent is missed by whoever decodes the output.
                    let _ = link.holding.announce(&regions);
                    link.children.remove(&self.child)
                })
            };
            drop(gone);
        }
        let packed = match outcome {
            Ok((kind, bytes)) => pack(bytes.into())
                .map(|(output, fd)| {
                    let kind = u8::try_from(kind.number()).expect("few kinds");
                    (ChildOutcome::Reply { kind, output }, fd)
                })
                .map_err(|error| TaskError::Lost {
                    message: format!("the output could not be handed to the worker: {error}"),
                }),
            Err(failure) => Err(failure),
        };
        let (outcome, fd) = packed.unwrap_or_else(|failure| {
            files.clear();
            (ChildOutcome::Failure(failure_to_bytes(&failure)), None)
        });
        let (fds, files) = descriptors(fd.as_ref(), &files);
        let message = encode(&ToWorker::ChildDone { child: self.child, outcome, files });
        let sent = match self.socket.send_patiently(&message, &fds, PATIENCE) {
            Err(error) if is_refusal(&error) => {
                let message = format!("the output could not be handed to the worker: {error}");
                let failure = TaskError::Lost { message };
                let outcome = ChildOutcome::Failure(failure_to_bytes(&failure));
                let message = ToWorker::ChildDone { child: self.child, outcome, files: 0 };
                self.socket.send_patiently(&encode(&message), &[], PATIENCE)
            }
            sent => sent,
        };
        if sent.is_err()
            && let Some(pool) = self.pool.upgrade()
        {
            // Nobody would ever answer it, and each further answer would be waited for as long.
            let mut inner = pool.lock();
            if let Some(link) = inner.current(self.seat, self.generation) {
                link.break_off("it does not read its messages".to_owned());
            }
        }
    }
}

impl Processes {
    /// Takes over what a worker has asked for since.
    pub(super) fn take_requests(&self, inner: &mut Inner, index: u32, after: &mut After) {
        let Some(seat) = inner.seats.get_mut(index as usize) else { return };
        let generation = seat.generation;
        let Some(link) = &mut seat.link else { return };
        let socket = Arc::clone(&link.socket);
        let oldest = link.host.oldest().and_then(|seq| link.flight(seq));
        let parent = oldest.map(|flight| Arc::clone(&flight.task));
        after.requests.extend(link.requests.drain(..).map(|(message, fds)| Request {
            seat: index,
            generation,
            socket: Arc::clone(&socket),
            message,
            fds,
            parent: parent.clone(),
        }));
        if link.waits == link.is_waiting {
            return;
        }
        link.is_waiting = link.waits;
        if link.is_waiting {
            after.tokens += usize::from(std::mem::take(&mut seat.has_token));
            self.take_back_others(inner, index, u64::MAX);
        } else if !std::mem::replace(&mut seat.has_token, true) {
            self.budget.take_anyway();
            seat.occupied.begin(None);
        }
    }

    /// Does what workers have asked for, without the lock.
    pub(super) fn serve(&self, requests: Vec<Request>) {
        let Some(port) = self.port() else { return };
        for Request { seat, generation, socket, message, fds, parent } in requests {
            match message {
                FromWorker::Submit { child, job, ask, input, files } => {
                    let pool = self.me.clone();
                    let files = fds.as_ref().map_or(0, |_| usize::from(files));
                    let answer = Arc::new(Return { pool, seat, generation, child, files, socket });
                    match unpack(input, fds, self.output_bytes_max()) {
                        Ok((bytes, files)) => {
                            let inherited = parent.map(|task| task.inherited()).unwrap_or_default();
                            port.submit_child(Child { job, ask, bytes, files, inherited, answer });
                        }
                        Err(error) => answer.done(
                            Err(TaskError::Rejected(Reason::NoWorkers(format!(
                                "the input could not be taken from the worker: {error}"
                            )))),
                            Beside::default(),
                        ),
                    }
                }
                FromWorker::Stop { child, kill } => {
                    let task = {
                        let mut inner = self.lock();
                        let link = inner.current(seat, generation);
                        link.and_then(|link| link.children.get(&child).map(Arc::clone))
                    };
                    if let Some(task) = task {
                        port.stop_child(&task, kill);
                    }
                }
                _ => {}
            }
        }
    }
}
