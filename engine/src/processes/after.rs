//! What is left to do when the lock is released: wakes, outcomes, tokens.

use std::collections::VecDeque;
use std::sync::Arc;

use amphi_protocol::{Block, ReplyKind};
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::children::Request;
use super::logs::LogLine;
use super::pool::{Processes, Shared};
use super::seat::Lane;
use super::send::Sending;
use crate::error::TaskError;
use crate::outcome::Failure;
use crate::policy::Placement;
use crate::scheduler::{Ends, Sample};
use crate::sys::memory::read_sealed;
use crate::sys::pipe::forward_to_stderr;
use crate::task::{Core, Wakes};

/// Where a reply's bytes are.
pub(super) enum Source {
    Here(Vec<u8>),
    /// In a block of a lane, to be copied out and then given back.
    Block {
        lane: Arc<Lane>,
        block: Block,
        len: usize,
    },
    Memfd {
        fd: std::os::fd::OwnedFd,
        len: u64,
    },
    /// They are nowhere; the text says why.
    Lost(String),
}

pub(super) struct Finished {
    pub(super) task: Shared,
    pub(super) kind: ReplyKind,
    pub(super) source: Source,
    /// How long it ran, in ns, and the bytes of its output.
    pub(super) run_ns: u64,
    pub(super) bytes: u64,
    /// Its share of the time in which its lane kept a core for no job, in ns, if that is known.
    pub(super) over_ns: Option<f64>,
    pub(super) seat: u32,
    pub(super) generation: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct After {
    finished: SmallVec<[Finished; 8]>,
    failed: Vec<(Shared, Failure)>,
    wakes: SmallVec<[(Arc<Lane>, u64); 4]>,
    sends: Vec<Sending>,
    /// Who waits for messages that came.
    pub(super) receivers: Vec<Wakes>,
    /// What workers logged.
    pub(super) logs: Vec<LogLine>,
    /// What workers wrote to standard error.
    pub(super) stderr: Vec<u8>,
    /// What the host's `tracing` subscriber is told.
    pub(super) notes: Vec<String>,
    /// What workers ask for.
    pub(super) requests: Vec<Request>,
    /// Children of workers that are dead.
    pub(super) orphans: Vec<Shared>,
    /// Tasks that turned out to be bound for a thread.
    pub(super) to_threads: Vec<Shared>,
    /// Tasks whose own clock starts, each with the number of its run.
    pub(super) started: Vec<(Shared, u32)>,
    /// Tasks that left the queue.
    leaves: u64,
    /// Tokens to give back.
    pub(super) tokens: usize,
    /// The supervisor has something to do.
    pub(super) call: bool,
}

impl After {
    /// The task left the queue.
    pub(super) fn leave(&mut self, core: &Core) {
        self.leaves += u64::from(!core.plan.is_private);
    }

    pub(super) fn finish(&mut self, finished: Finished) {
        self.finished.push(finished);
    }

    /// The tasks that finished last.
    pub(super) fn last_finished(&mut self, count: usize) -> &mut [Finished] {
        let all = self.finished.len();
        &mut self.finished[all.saturating_sub(count)..]
    }

    pub(super) fn fail(&mut self, task: Shared, failure: Failure) {
        self.failed.push((task, failure));
    }

    pub(super) fn failures(&self) -> usize {
        self.failed.iter().filter(|(task, _)| !task.core().plan.is_private).count()
    }

    pub(super) fn send(&mut self, sending: Sending) {
        self.sends.push(sending);
    }

    pub(super) fn wake(&mut self, lane: &Arc<Lane>, seq: u64) {
        self.wakes.push((Arc::clone(lane), seq));
    }

    /// Does it, without the lock.
    #[inline]
    pub(super) fn run(mut self, pool: &Processes) {
        // A copy makes room for the next one to be dispatched: a loop, not a recursion.
        let mut sends = VecDeque::from(std::mem::take(&mut self.sends));
        self.run_quick(pool);
        while let Some(sending) = sends.pop_front() {
            let mut after = pool.bring(sending);
            sends.extend(after.sends.drain(..));
            after.run_quick(pool);
        }
    }

    /// The same for the supervisor, who must not stand still for the copy of a large input or
    /// output.
    pub(super) fn run_beside(mut self, pool: &Arc<Processes>) {
        let mut slow = Self::default();
        (slow.sends, self.sends) = self.sends.drain(..).partition(Sending::is_slow);
        let is_large = |finished: &Finished| matches!(finished.source, Source::Memfd { .. });
        (slow.finished, self.finished) = self.finished.drain(..).partition(is_large);
        self.run(pool);
        if slow.sends.is_empty() && slow.finished.is_empty() {
            return;
        }
        let later = Arc::new(Mutex::new(slow));
        let (own, copier) = (Arc::clone(&later), Arc::clone(pool));
        let copy = move || std::mem::take(&mut *own.lock()).run(&copier);
        if std::thread::Builder::new().name("amphi-copy".to_owned()).spawn(copy).is_err() {
            let all = std::mem::take(&mut *later.lock());
            all.run(pool);
        }
    }

    /// In place: it is a kilobyte, which would be moved for each task.
    fn run_quick(&mut self, pool: &Processes) {
        for (lane, seq) in self.wakes.drain(..) {
            lane.wake(seq);
        }
        if self.call {
            pool.call.ring();
        }
        self.receivers.drain(..).for_each(Wakes::wake);
        forward_to_stderr(&self.stderr);
        self.logs.iter().for_each(LogLine::tell);
        for note in &self.notes {
            tracing::warn!(target: "amphi", "{note}");
        }
        if !(self.to_threads.is_empty() && self.started.is_empty())
            && let Some(port) = pool.port()
        {
            self.started.iter().for_each(|(task, run)| port.started(task, *run));
            self.to_threads.drain(..).for_each(|task| port.to_thread(task));
        }
        if !self.requests.is_empty() {
            pool.serve(std::mem::take(&mut self.requests));
        }
        if !self.orphans.is_empty()
            && let Some(port) = pool.port()
        {
            self.orphans.iter().for_each(|task| port.stop_child(task, false));
        }
        if self.leaves > 0 {
            pool.room.leave_some(std::mem::take(&mut self.leaves));
        }
        let settled = !self.finished.is_empty() || !self.failed.is_empty();
        let mut ends = Ends::default();
        for finished in self.finished.drain(..) {
            settle(pool, finished, &mut ends);
        }
        ends.tell(&pool.scheduler);
        for (task, failure) in self.failed.drain(..) {
            // Before anybody can know of it, or the task is tried again.
            if matches!(failure, TaskError::Crashed { .. }) && !task.core().plan.is_private {
                pool.scheduler.crashed(task.core().plan.job);
            }
            let settled = task.settle_failure(failure);
            pool.scheduler.settled(task.core(), settled);
        }
        for _ in 0..self.tokens {
            pool.budget.give_back();
        }
        if settled {
            pool.idle.notify_all();
        }
    }
}

/// Tells the scheduler what the task took, now and then.
fn observe(pool: &Processes, finished: &Finished) {
    let core = finished.task.core();
    if let Some(tasks) = core.measure.weight() {
        pool.scheduler.travelled(core, finished.run_ns);
        let ns = finished.run_ns.saturating_add(core.encode_ns());
        let sample = Sample {
            tasks,
            stands_for: 1.0,
            bytes_out: finished.bytes,
            over_ns: finished.over_ns,
            is_odd: false,
        };
        pool.scheduler.ran(core, Placement::Process, ns, sample);
    }
}

fn settle(pool: &Processes, finished: Finished, ends: &mut Ends) {
    observe(pool, &finished);
    let Finished { task, kind, source, seat, generation, .. } = finished;
    let settled = match source {
        Source::Here(bytes) => task.settle_reply(kind, bytes),
        Source::Block { lane, block, len } => {
            let offset = usize::try_from(block.offset).expect("an offset of a mapping");
            let bytes = lane.response.copy_out(offset, len);
            {
                let mut inner = pool.lock();
                let seat = &mut inner.seats[seat as usize];
                if seat.generation == generation
                    && let Some(link) = &mut seat.link
                {
                    link.free_blocks(None, Some(block));
                }
            }
            task.settle_reply(kind, bytes)
        }
        Source::Lost(message) => task.settle_failure(TaskError::Lost { message }),
        Source::Memfd { fd, len } => {
            let read = read_sealed(std::os::fd::AsFd::as_fd(&fd), len);
            drop(fd); // before its caller goes on
            match read {
                Ok(bytes) => task.settle_reply(kind, bytes),
                Err(error) => task.settle_failure(TaskError::Lost {
                    message: format!("the worker's large output could not be read: {error}"),
                }),
            }
        }
    };
    ends.add(&pool.scheduler, task.core(), settled);
}
