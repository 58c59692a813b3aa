//! Tiny tasks of one job that wait one behind the other share a slot (`protocol/README.md`, 16).
//!
//! **Which.** The head of the queue and those behind it that are like it: of one job, priority and
//! trace, predicted to run at most 10 µs, with at most 1 KiB of input, for any worker, without a
//! key, a clock and retries. They are at most 32, 50 µs of predicted work, and 4 KiB of inputs and
//! of outputs, since both are copied under the lock.
//!
//! **When.** In a lane that is busy, and only where more tasks wait than it has free slots: what
//! could go alone now does, so that a single task and an idle lane are as without batches. The
//! slots are filled evenly; and each idle worker leaves as many tasks in the queue as it gets.
//!
//! **What holds for each task.** Its run time is its own, as the worker measured it. A cancel (or
//! the end of its time) takes it back as long as it was not claimed, with all behind it, which are
//! queued again; a claimed one sees its cancel flag as any running task does. A kill takes back what
//! is behind it, tells what was answered before it, and then ends the worker. So does a death, after
//! which the one that was claimed last had started; those that were not are queued again, in order.
//! Where a batch stands still the alarm does the same without a kill, so that nobody waits for a
//! neighbour for more than some 2 ms.
//!
//! # Invariants
//! 1. A task is in its flight from the publication until its reply is told or it is taken back; how
//!    many tasks a flight has is what the protocol's ledger says, before the lock is released.
//! 2. Before the worker is killed for a task, nothing behind that task can be claimed any more, and
//!    what is proved to be answered was told.

use std::iter::once;
use std::sync::Arc;

use amphi_protocol::{
    Answers, BATCH_MAX, Grant, INPUT_INLINE, Input, OUTPUT_INLINE, Piece, Pieces, Request, Storage,
    Violation, key_of, push_piece, split_key,
};

use super::After;
use super::after::{Finished, Source};
use super::link::Link;
use super::pool::{Inner, Processes, Shared};
use super::queue::{Queue, Queues};
use super::seat::{Flight, Others};
use super::send::{COPY_UNDER_LOCK, Placed, Sent, context_of, grant_of};
use crate::error::TaskError;
use crate::job::Entry;
use crate::limits::{BATCH_WORK, BATCHED_INPUT, BATCHED_SERVICE};
use crate::policy::Placement;
use crate::sys::clock::{self, as_ns};

type Of = fn(&mut Queues) -> &mut Queue;

/// A batch was to be published, and its tasks are queued again, or have ended.
pub(super) struct NoRoom;

/// Bytes that one task's input or output fills among those of its batch.
const fn piece_bytes(len: u64) -> u64 {
    8 + len.next_multiple_of(8)
}

impl Processes {
    /// The predicted length of a task that may share a slot with others: nobody waits for it by a
    /// clock, it is not tried again, and any worker may run it.
    fn tiny_ns(&self, task: &Shared) -> Option<u64> {
        let core = task.core();
        let is_plain = core.input_bytes() <= BATCHED_INPUT
            && !core.plan.controls.is_timed()
            && !core.plan.controls.has_clocks()
            && core.plan.retry.is_none()
            && core.plan.key.is_none()
            && core.plan.held.is_none()
            && !core.names_more()
            && !core.plan.is_private
            && !self.need(task).is_special();
        self.predicted_ns(task).filter(|ns| is_plain && *ns <= as_ns(BATCHED_SERVICE))
    }

    /// How many tasks go into the next slot of a lane, if they are like `head`.
    fn batch_of(&self, inner: &mut Inner, index: usize, waiting: usize, head: &Shared) -> usize {
        let need = self.need(head);
        let Some(link) = &inner.seats[index].link else { return 1 };
        let free = link.free_slots();
        // A worker that recycles after so many tasks counts each of them.
        if waiting <= free || free == 0 || self.life.tasks.is_some() {
            return 1;
        }
        let entry = self.home.table.entry(head.core().plan.job);
        if entry.is_some_and(Entry::returns_files) {
            return 1;
        }
        let Some(ns) = self.tiny_ns(head) else { return 1 };
        let is_idle = |link: &Link| !link.is_busy();
        let others = inner.seats.iter().filter(|seat| seat.serves(need));
        let idle = others.filter(|seat| seat.link.as_ref().is_some_and(is_idle)).count();
        let by_work = usize::try_from(as_ns(BATCH_WORK) / ns.max(1)).unwrap_or(BATCH_MAX);
        let output = piece_bytes(self.output_bytes(head));
        let by_output = usize::try_from(COPY_UNDER_LOCK / output).unwrap_or(BATCH_MAX);
        let share = waiting.div_ceil(free).min(waiting / (1 + idle));
        share.min(by_work).min(by_output).min(BATCH_MAX)
    }

    /// An output of this length is expected; at least a word.
    fn output_bytes(&self, task: &Shared) -> u64 {
        self.home.table.entry(task.core().plan.job).map_or(0, Entry::output_bytes).max(8)
    }

    /// Publishes a claimed task with those that follow it in the queue, if they are a batch. Else it
    /// comes back: where the lane is idle, and where nothing follows, it has a slot of its own.
    #[inline]
    pub(super) fn batch(
        &self,
        inner: &mut Inner,
        queue: Of,
        index: usize,
        head: Shared,
        after: &mut After,
    ) -> Result<Option<Shared>, NoRoom> {
        let is_busy = inner.seats[index].link.as_ref().is_some_and(Link::is_busy);
        if is_busy { self.try_batch(inner, queue, index, head, after) } else { Ok(Some(head)) }
    }

    #[inline(never)]
    fn try_batch(
        &self,
        inner: &mut Inner,
        queue: Of,
        index: usize,
        head: Shared,
        after: &mut After,
    ) -> Result<Option<Shared>, NoRoom> {
        let waiting = queue(&mut inner.queue).len() + 1;
        let most = self.batch_of(inner, index, waiting, &head);
        if most < 2 {
            return Ok(Some(head));
        }
        let tasks =
            self.followers(queue(&mut inner.queue), &mut inner.forgotten, head, most, after);
        if tasks.len() < 2 {
            return Ok(tasks.into_iter().next());
        }
        let Err((why, tasks)) = self.send_batch(inner, index, tasks, after) else {
            return Ok(None);
        };
        let queue = queue(&mut inner.queue);
        for task in tasks.into_iter().rev() {
            if let Sent::Failed(failure) = &why {
                after.leave(task.core());
                after.fail(task, failure.clone());
            } else {
                task.core().unclaim();
                queue.push_front(task);
            }
        }
        Err(NoRoom)
    }

    /// A claimed task and those that follow it in the queue and are like it, claimed likewise.
    fn followers(
        &self,
        queue: &mut Queue,
        forgotten: &mut usize,
        head: Shared,
        most: usize,
        after: &mut After,
    ) -> Vec<Shared> {
        let mut bytes = piece_bytes(head.core().input_bytes());
        let mut tasks = Vec::with_capacity(most);
        tasks.push(head);
        while tasks.len() < most {
            let is_like = |task: &&Shared| {
                let (core, first) = (task.core(), tasks[0].core());
                core.plan.job == first.plan.job
                    && core.plan.controls.trace == first.plan.controls.trace
                    && core.plan.controls.priority == first.plan.controls.priority
                    && self.tiny_ns(task).is_some()
                    && bytes + piece_bytes(core.input_bytes()) <= COPY_UNDER_LOCK
            };
            if queue.front().filter(is_like).is_none() {
                break;
            }
            let Some(task) = queue.pop_front() else { break };
            let core = task.core();
            if !core.claim() {
                *forgotten = forgotten.saturating_sub(1);
            } else if core.is_open() && self.scheduler.bind(core) == Placement::Thread {
                after.to_threads.push(task);
            } else if core.is_asked_to_stop() {
                after.leave(core);
                after.fail(task, TaskError::Cancelled);
            } else {
                bytes += piece_bytes(core.input_bytes());
                tasks.push(task);
            }
        }
        tasks
    }

    /// Publishes claimed tasks as one batch. The tasks come back where that was not done.
    fn send_batch(
        &self,
        inner: &mut Inner,
        index: usize,
        tasks: Vec<Shared>,
        after: &mut After,
    ) -> Result<(), (Sent, Vec<Shared>)> {
        let Some(link) = inner.seats[index].link.as_mut() else {
            return Err((Sent::NoRoom, tasks));
        };
        let core = tasks[0].core();
        let mut pieces = std::mem::take(&mut link.pieces);
        pieces.clear();
        for task in &tasks {
            task.with_encoded(&mut |input| push_piece(&mut pieces, input));
        }
        let len = pieces.len() as u64;
        let mut placed = Placed::Inline;
        if pieces.len() > INPUT_INLINE {
            let Some(block) = link.inputs.allocate(len) else { return Err((Sent::NoRoom, tasks)) };
            let offset = usize::try_from(block.offset).expect("an offset of a mapping");
            link.lane.request.write(offset, &pieces);
            placed = Placed::Block(block);
        }
        let output = match piece_bytes(self.output_bytes(&tasks[0])) * tasks.len() as u64 {
            bytes if bytes > OUTPUT_INLINE as u64 => link.outputs.allocate(bytes),
            _ => None,
        };
        let grant = output.as_ref().map_or(Grant::NONE, grant_of);
        let input = match &placed {
            Placed::Block(block) => Input::Block { offset: block.offset, len },
            _ => Input::Inline(&pieces),
        };
        let context = context_of(core);
        let request = Request { job: core.plan.job, flags: 0, context, input, grant };
        let (lane, count) = (&link.lane, tasks.len());
        let published = link.host.publish_batch(lane.req(), lane.rsp(), &request, count);
        link.pieces = pieces;
        let input = if let Placed::Block(block) = placed { Some(block) } else { None };
        let published = match published {
            Ok(published) => published,
            Err(violation) => {
                link.free_blocks(input, output);
                return Err((link.unpublished(&violation), tasks));
            }
        };
        if published.wake {
            after.wake(&link.lane, published.seq);
        }
        let seat = u32::try_from(index).expect("few seats");
        for (place, task) in tasks.iter().enumerate() {
            let core = task.core();
            if core.measure.weight().is_some() {
                self.scheduler.waited(core, Placement::Process, clock::now());
            }
            core.set_seat(seat, key_of(published.seq, place));
            if published.wake {
                core.note_wake();
            }
            after.leave(core);
        }
        let predicted_ns = self.predicted_ns(&tasks[0]).map(|ns| ns.saturating_mul(count as u64));
        let mut tasks = tasks.into_iter();
        let Some(task) = tasks.next() else { return Ok(()) };
        let (seq, kill_at) = (published.seq, None);
        let batch = Some(Box::new(Others { tasks: tasks.collect(), told: 0 }));
        link.put_flight(Flight { task, batch, seq, input, output, kill_at, predicted_ns });
        Ok(())
    }

    /// Takes out the replies of a batch's tasks; how many.
    #[inline(never)]
    pub(super) fn take_answers(
        &self,
        link: &mut Link,
        answers: &Answers,
        (seat, generation): (u32, u64),
        after: &mut After,
    ) -> usize {
        link.read_records(after);
        let range = answers.first..answers.until;
        let lane = Arc::clone(&link.lane);
        let Some(flight) = link.flight(answers.seq) else { return 0 };
        let copy;
        let stored = answers.output(lane.rsp());
        let bytes: &[u8] = match (&stored, &flight.output) {
            (Storage::Inline(bytes), _) => bytes,
            (Storage::Block { len }, Some(block)) => {
                let offset = usize::try_from(block.offset).expect("an offset of a mapping");
                copy = lane.response.copy_out(offset, usize::try_from(*len).unwrap_or(0));
                &copy
            }
            _ => &[],
        };
        let told = Pieces::of(bytes).skip(range.start).take(range.len());
        link.look_for_more(told.flatten().filter_map(|piece| piece.kind().ok()));
        let Some(flight) = link.flight(answers.seq) else { return 0 };
        let Some(others) = &mut flight.batch else { return 0 };
        others.told = range.end;
        let tasks: Vec<Shared> = if answers.last {
            let Some(mut flight) = link.take_flight(answers.seq) else { return 0 };
            link.free_blocks(flight.input.take(), flight.output.take());
            flight.into_all().skip(range.start).collect()
        } else {
            let all = once(&flight.task).chain(&others.tasks);
            all.skip(range.start).take(range.len()).map(Arc::clone).collect()
        };
        let count = tasks.len();
        let mut pieces = Pieces::of(bytes).skip(range.start);
        for (place, task) in (range.start..).zip(tasks) {
            let entry = self.home.table.entry(task.core().plan.job);
            let piece = pieces.next().and_then(Result::ok);
            let (kind, source, run_ns, bytes) = match piece.map(|piece| (piece, piece.kind())) {
                Some((Piece { bytes, run_ns, .. }, Ok(kind))) => {
                    (kind, Source::Here(bytes.to_vec()), u64::from(run_ns), bytes.len() as u64)
                }
                _ => {
                    let lost = link.lost_reply("a reply of a batch is no piece of it");
                    (amphi_protocol::ReplyKind::Ok, lost, 0, 0)
                }
            };
            link.hand_over_files(key_of(answers.seq, place), kind, &task, entry);
            if let Some(entry) = entry {
                entry.observe(run_ns, bytes);
            }
            let over_ns = None;
            after.finish(Finished { task, kind, source, run_ns, bytes, over_ns, seat, generation });
        }
        count
    }

    /// Takes back the tasks of a batch from `from` on, as far as they have not started, and queues
    /// them again. Its first one stays: it is about to start.
    pub(super) fn take_back_tail(&self, inner: &mut Inner, index: u32, seq: u64, from: usize) {
        let Some(link) = inner.seats[index as usize].link.as_mut() else { return };
        match link.host.take_back(link.lane.rsp(), seq, from.max(1)) {
            Ok(end) => {
                let tail = link.cut_flight(seq, end);
                self.queue_all_again(inner, tail);
            }
            Err(violation) => link.break_off(violation.to_string()),
        }
    }
}

impl Link {
    /// The task in the lane that has this key.
    pub(super) fn task_of(&mut self, key: u64) -> Option<&Shared> {
        self.flight(split_key(key).0).and_then(|flight| flight.at(key))
    }

    pub(super) fn holds(&mut self, key: u64) -> bool {
        self.task_of(key).is_some()
    }

    /// Takes a task back, and those of its batch that have not started then: they have to be
    /// queued again, in this order. `None`: it has started.
    pub(super) fn revoke(&mut self, key: u64) -> Result<Option<(Shared, Vec<Shared>)>, Violation> {
        let (seq, place) = split_key(key);
        let lane = Arc::clone(&self.lane);
        if self.host.revoke(lane.rsp(), seq)? {
            let Some(mut flight) = self.take_flight(seq) else { return Ok(None) };
            self.free_blocks(flight.input.take(), flight.output.take());
            let mut others: Vec<Shared> = flight.into_tasks().collect();
            return Ok((place < others.len()).then(|| (others.remove(place), others)));
        }
        if place == 0 || self.host.take_back(lane.rsp(), seq, place)? > place {
            return Ok(None);
        }
        let mut tail = self.cut_flight(seq, place);
        Ok((!tail.is_empty()).then(|| (tail.remove(0), tail)))
    }

    /// Of a batch of which `end` tasks are left: the others.
    pub(super) fn cut_flight(&mut self, seq: u64, end: usize) -> Vec<Shared> {
        let Some(flight) = self.flight(seq) else { return Vec::new() };
        let Some(others) = &mut flight.batch else { return Vec::new() };
        let before = 1 + others.tasks.len();
        if end.max(1) >= before {
            return Vec::new();
        }
        let cut = others.tasks.split_off(end.max(1) - 1);
        let ns = flight.predicted_ns.unwrap_or(0) / before as u64 * cut.len() as u64;
        flight.predicted_ns = flight.predicted_ns.map(|all| all.saturating_sub(ns));
        self.known_ns = self.known_ns.saturating_sub(ns);
        cut
    }

    /// Some slot holds a batch.
    pub(super) fn has_batch(&self) -> bool {
        self.flights().any(|flight| flight.batch.is_some())
    }

    /// The worker is dead, and what becomes of its tasks is known.
    pub(super) fn clear_flights(&mut self) {
        let seqs: Vec<u64> = self.flights().map(|flight| flight.seq).collect();
        seqs.into_iter().for_each(|seq| drop(self.take_flight(seq)));
    }
}
