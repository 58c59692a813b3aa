//! Bringing a claimed task into a lane: its bytes into the slot, a block or a memfd, then the word
//! that publishes it.
//!
//! Short inputs are copied under the pool's lock. A long one is copied without it, by whoever
//! dispatched the task: a slot (and, where it fits, a block) is kept meanwhile, and everything that
//! may have happened is looked at again before the task is published.
//!
//! # Invariants
//! 1. While a task is on its way, it is claimed, in no queue and in no flight; [`Sending`] owns it.
//! 2. A kept slot is given back exactly once, by [`Processes::arrive`], if its link is still there.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use amphi_protocol::{
    BLOCK_MAX, Block, Context, Grant, INPUT_INLINE, Input, OUTPUT_INLINE, Request, ToWorker,
    Violation, encode,
};

use super::After;
use super::link::Link;
use super::pool::{Inner, Processes, Shared};
use super::seat::{Flight, Lane};
use crate::error::{Reason, TaskError};
use crate::job::Entry;
use crate::outcome::Failure;
use crate::policy::Placement;
use crate::sys::clock;
use crate::sys::memory::sealed_memfd;
use crate::task::Core;

/// Inputs up to this length are copied under the lock (well under a microsecond).
pub(super) const COPY_UNDER_LOCK: u64 = 4 << 10;

/// What became of a dispatched task.
pub(super) enum Sent {
    /// It is in the lane, or on its way there.
    Yes,
    /// No room in the lane now.
    NoRoom,
    Failed(Failure),
}

/// A task whose input is being copied.
pub(super) struct Sending {
    task: Shared,
    seat: u32,
    generation: u64,
    lane: Arc<Lane>,
    /// Where the input goes; `None`: into a memfd.
    block: Option<Block>,
}

impl Sending {
    /// The copy takes milliseconds: fresh pages are needed for it.
    pub(super) fn is_slow(&self) -> bool {
        self.block.is_none()
    }
}

/// Where an input lies.
pub(super) enum Placed {
    Inline,
    Block(Block),
    Memfd(OwnedFd),
}

impl Processes {
    /// Puts a claimed task into the lane of a seat, or has it put there when the lock is released.
    pub(super) fn send(
        &self,
        inner: &mut Inner,
        index: usize,
        task: &Shared,
        after: &mut After,
    ) -> Sent {
        let seat = &mut inner.seats[index];
        let Some(link) = seat.link.as_mut().filter(|link| link.free_slots() > 0) else {
            return Sent::NoRoom;
        };
        if task.core().names_more()
            && let Err(unsent) = link.announce_blobs(task)
        {
            return unsent;
        }
        let len = task.core().input_bytes();
        if len <= INPUT_INLINE as u64 {
            return self.publish(inner, index, task, Placed::Inline, after);
        }
        let block = if len <= BLOCK_MAX { link.inputs.allocate(len) } else { None };
        if block.is_none() && len <= BLOCK_MAX && link.is_busy() {
            return Sent::NoRoom; // blocks come back with the replies
        }
        match block {
            Some(block) if len <= COPY_UNDER_LOCK => {
                let offset = usize::try_from(block.offset).expect("an offset of a mapping");
                let lane = &link.lane;
                task.with_encoded(&mut |bytes| lane.request.write(offset, bytes));
                self.publish(inner, index, task, Placed::Block(block), after)
            }
            block => {
                link.sending += 1;
                after.send(Sending {
                    task: Arc::clone(task),
                    seat: u32::try_from(index).expect("few seats"),
                    generation: seat.generation,
                    lane: Arc::clone(&link.lane),
                    block,
                });
                Sent::Yes
            }
        }
    }

    /// Copies a long input, without the lock, and publishes its task.
    pub(super) fn bring(&self, sending: Sending) -> After {
        let Sending { task, seat, generation, lane, block } = sending;
        let bytes = task.take_encoded();
        let copied = match block {
            Some(block) => {
                let offset = usize::try_from(block.offset).expect("an offset of a mapping");
                lane.request.write(offset, &bytes);
                Ok(Placed::Block(block))
            }
            None => sealed_memfd("amphi-input", &bytes).map(Placed::Memfd),
        };
        // A task that has not started can be taken back, and then needs them again.
        task.put_encoded(bytes);
        self.arrive(&task, (seat, generation), copied)
    }

    /// The copy is made: is the lane still there, and the task still wanted?
    fn arrive(&self, task: &Shared, place: (u32, u64), copied: std::io::Result<Placed>) -> After {
        let (seat, generation) = place;
        let mut after = After::default();
        let mut inner = self.lock();
        if let Some(link) = inner.current(seat, generation) {
            link.sending -= 1;
        }
        let serves = inner.current(seat, generation).is_some_and(|link| link.serves());
        let sent = match copied {
            Err(error) => Sent::Failed(TaskError::Rejected(Reason::NoWorkers(format!(
                "an input of {} bytes could not be handed over: {error}",
                task.core().input_bytes()
            )))),
            Ok(placed) if inner.closing || task.core().is_asked_to_stop() => {
                self.take_back_block(&mut inner, place, placed);
                Sent::Failed(TaskError::Cancelled)
            }
            Ok(placed) if serves => {
                self.publish(&mut inner, seat as usize, task, placed, &mut after)
            }
            Ok(placed) => {
                self.take_back_block(&mut inner, place, placed);
                Sent::NoRoom
            }
        };
        match sent {
            Sent::Yes => {}
            Sent::NoRoom => self.queue_again(&mut inner, Arc::clone(task)),
            Sent::Failed(failure) => after.fail(Arc::clone(task), failure),
        }
        self.dispatch(&mut inner, &mut after);
        after
    }

    fn take_back_block(&self, inner: &mut Inner, (seat, generation): (u32, u64), placed: Placed) {
        if let (Some(link), Placed::Block(block)) = (inner.current(seat, generation), placed) {
            link.free_blocks(Some(block), None);
        }
    }

    /// A task that had left the queue is its head again.
    pub(super) fn queue_again(&self, inner: &mut Inner, task: Shared) {
        task.core().clear_seat();
        task.core().unclaim();
        self.room.enter_again(task.core());
        inner.queue.of(self.need(&task)).push_front(task);
    }

    /// The same for several, in their order.
    pub(super) fn queue_all_again(&self, inner: &mut Inner, tasks: Vec<Shared>) {
        for task in tasks.into_iter().rev() {
            self.queue_again(inner, task);
        }
    }

    /// Publishes a task whose input is in its place.
    fn publish(
        &self,
        inner: &mut Inner,
        index: usize,
        task: &Shared,
        placed: Placed,
        after: &mut After,
    ) -> Sent {
        let Some(link) = inner.seats[index].link.as_mut() else { return Sent::NoRoom };
        let core = task.core();
        let len = core.input_bytes();
        let placed = match announce(link, task, placed) {
            Ok(placed) => placed,
            Err(unsent) => return unsent,
        };
        let wanted = self.home.table.entry(core.plan.job).map_or(0, Entry::output_bytes);
        let output = match wanted {
            bytes if bytes > OUTPUT_INLINE as u64 => link.outputs.allocate(bytes),
            _ => None,
        };
        let grant = output.as_ref().map_or(Grant::NONE, grant_of);
        let context = context_of(core);
        let mut published = None;
        let mut publish = |input: Input<'_>| {
            let request = Request { job: core.plan.job, flags: 0, context, input, grant };
            published = Some(link.host.publish(link.lane.req(), link.lane.rsp(), &request));
        };
        match &placed {
            Placed::Inline => task.with_encoded(&mut |bytes| publish(Input::Inline(bytes))),
            Placed::Block(block) => publish(Input::Block { offset: block.offset, len }),
            Placed::Memfd(_) => publish(Input::Memfd { len }),
        }
        let input = if let Placed::Block(block) = placed { Some(block) } else { None };
        let published = match published {
            Some(Ok(published)) => published,
            Some(Err(violation)) => {
                link.free_blocks(input, output);
                return link.unpublished(&violation);
            }
            None => {
                link.free_blocks(input, output);
                return Sent::NoRoom;
            }
        };
        let kill_at = core.plan.controls.kill_after.map(|limit| clock::now().saturating_add(limit));
        if core.measure.weight().is_some() {
            self.scheduler.waited(core, Placement::Process, clock::now());
        }
        core.set_seat(u32::try_from(index).expect("few seats"), published.seq);
        if published.wake {
            core.note_wake();
            after.wake(&link.lane, published.seq);
        }
        if self.need(task).one_shot {
            link.retire();
        }
        link.put_flight(Flight {
            task: Arc::clone(task),
            batch: None,
            seq: published.seq,
            input,
            output,
            kill_at,
            predicted_ns: self.predicted_ns(task),
        });
        if let Some(at) = kill_at {
            self.alarm_by(inner, at);
        }
        if core.plan.controls.timeout.is_some() {
            after.started.push((Arc::clone(task), core.runs_before()));
        }
        Sent::Yes
    }
}

impl Link {
    /// Its worker wrote to a slot that was free.
    pub(super) fn unpublished(&mut self, violation: &Violation) -> Sent {
        self.break_off(violation.to_string());
        if self.host.withdraw(self.lane.rsp()) {
            return Sent::NoRoom;
        }
        // Whoever scribbles in the lane has acted on the word, too: a second try might be a second
        // run.
        let message = format!("the worker broke the protocol and was killed: {violation}");
        Sent::Failed(TaskError::Lost { message })
    }
}

pub(super) const fn grant_of(block: &Block) -> Grant {
    Grant { offset: block.offset, capacity: block.capacity }
}

/// What the task hands on to those that it submits.
pub(super) fn context_of(core: &Core) -> Context {
    let controls = &core.plan.controls;
    let deadline_ns = controls.deadline.map_or(0, clock::as_ns);
    Context { deadline_ns, trace: controls.trace }
}

/// Sends a large input's memfd, and the open files that an input names, ahead of the word that speaks
/// of them.
fn announce(link: &mut Link, task: &Shared, placed: Placed) -> Result<Placed, Sent> {
    let core = task.core();
    if let Placed::Memfd(fd) = &placed {
        let len = core.input_bytes();
        let message = encode(&ToWorker::Payload { seq: link.host.next_seq(), len });
        let sent = link.socket.send(&message, &[fd.as_fd()]);
        sent.map_err(|error| unsent(link, len, &error))?;
    }
    if core.names_more()
        && let Err(unsent) = link.announce_files(task)
    {
        match placed {
            Placed::Inline => {}
            Placed::Block(block) => link.free_blocks(Some(block), None),
            // It would be taken for the input of the next task.
            Placed::Memfd(_) => link.retire(),
        }
        return Err(unsent);
    }
    Ok(placed)
}

/// What becomes of a task whose descriptor could not be sent.
pub(super) fn unsent(link: &mut Link, len: u64, error: &std::io::Error) -> Sent {
    use std::io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, WouldBlock};
    match error.kind() {
        // Its control thread only reads: a worker that has left hundreds of messages hangs.
        WouldBlock => {
            link.break_off("it does not read its messages".to_owned());
            Sent::NoRoom
        }
        // It has just died, which will be told; the task goes to another one.
        BrokenPipe | ConnectionReset | ConnectionRefused => {
            link.is_deaf = true;
            Sent::NoRoom
        }
        _ => Sent::Failed(TaskError::Rejected(Reason::NoWorkers(format!(
            "an input of {len} bytes could not be handed over: {error}"
        )))),
    }
}
