//! What is left to do when the lock is released: wakes, outcomes, tokens.

use std::sync::Arc;

use amphi_protocol::{Block, ReplyKind};
use smallvec::SmallVec;

use super::link::Lane;
use super::pool::{Processes, Shared};
use crate::error::TaskError;
use crate::outcome::Failure;
use crate::sys::memory::read_sealed;

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
}

pub(super) struct Finished {
    pub(super) task: Shared,
    pub(super) kind: ReplyKind,
    pub(super) source: Source,
    pub(super) seat: u32,
    pub(super) generation: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct After {
    finished: SmallVec<[Finished; 8]>,
    failed: Vec<(Shared, Failure)>,
    wakes: SmallVec<[(Arc<Lane>, u64); 4]>,
    /// Tokens to give back.
    pub(super) tokens: usize,
    /// The supervisor has something to do.
    pub(super) call: bool,
}

impl After {
    pub(super) fn finish(&mut self, finished: Finished) {
        self.finished.push(finished);
    }

    pub(super) fn fail(&mut self, task: Shared, failure: Failure) {
        self.failed.push((task, failure));
    }

    pub(super) fn failures(&self) -> usize {
        self.failed.len()
    }

    pub(super) fn wake(&mut self, lane: &Arc<Lane>, seq: u64) {
        self.wakes.push((Arc::clone(lane), seq));
    }

    /// Does it, without the lock.
    pub(super) fn run(self, pool: &Processes) {
        for (lane, seq) in self.wakes {
            lane.wake(seq);
        }
        if self.call {
            pool.call.ring();
        }
        let settled = !self.finished.is_empty() || !self.failed.is_empty();
        for finished in self.finished {
            settle(pool, finished);
        }
        for (task, failure) in self.failed {
            task.settle_failure(failure);
        }
        for _ in 0..self.tokens {
            pool.budget.give_back();
        }
        if settled {
            pool.idle.notify_all();
        }
    }
}

fn settle(pool: &Processes, finished: Finished) {
    let Finished { task, kind, source, seat, generation } = finished;
    match source {
        Source::Here(bytes) => task.settle_reply(kind, bytes),
        Source::Block { lane, block, len } => {
            let offset = usize::try_from(block.offset).expect("an offset of a mapping");
            let bytes = lane.response.copy_out(offset, len);
            {
                let mut inner = pool.inner.lock();
                let seat = &mut inner.seats[seat as usize];
                if seat.generation == generation
                    && let Some(link) = &mut seat.link
                {
                    link.free_blocks(None, Some(block));
                }
            }
            task.settle_reply(kind, bytes);
        }
        Source::Memfd { fd, len } => match read_sealed(std::os::fd::AsFd::as_fd(&fd), len) {
            Ok(bytes) => task.settle_reply(kind, bytes),
            Err(error) => task.settle_failure(TaskError::Lost {
                message: format!("the worker's large output could not be read: {error}"),
            }),
        },
    }
}
