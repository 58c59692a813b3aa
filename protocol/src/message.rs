//! What travels in a slot: requests, replies, and where their bytes lie.
//!
//! Offsets count from the start of the mapping. A reply carries lengths only: where a block lies
//! is what the host's ledger granted, whatever the worker writes.

use std::fmt;
use std::ops::Deref;

use crate::layout::INPUT_INLINE;

/// Where a request's input lies.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// In the slot: at most [`INPUT_INLINE`] bytes.
    Inline(&'a [u8]),
    /// In a block of REQ's arena, by its offset from the start of the mapping.
    Block {
        /// Offset in bytes.
        offset: u64,
        /// Length in bytes.
        len: u64,
    },
    /// In a sealed memfd that was sent before.
    Memfd {
        /// Length in bytes.
        len: u64,
    },
}

/// A block of RSP's arena that the worker may fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grant {
    /// Offset from the start of the mapping.
    pub offset: u64,
    /// Its size in bytes; 0: no block.
    pub capacity: u64,
}

impl Grant {
    /// No block.
    pub const NONE: Self = Self { offset: 0, capacity: 0 };
}

/// What a task takes over from the one that it was submitted from, and hands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Context {
    /// When nobody wants the outcome any more, in ns of the machine's monotonic clock; 0: never.
    pub deadline_ns: u64,
    /// Which chain of tasks it belongs to; 0: none that was named.
    pub trace: u128,
}

impl Context {
    /// None.
    pub const NONE: Self = Self { deadline_ns: 0, trace: 0 };
}

/// What the host publishes.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Index in the job table.
    pub job: u32,
    /// Of a batch, how many tasks it has, which [`publish_batch`](crate::HostLane::publish_batch)
    /// sets; 0 else.
    pub flags: u32,
    /// What it hands on to tasks that it submits.
    pub context: Context,
    /// The encoded input.
    pub input: Input<'a>,
    /// Where the output may go.
    pub grant: Grant,
}

/// What became of a task in a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ReplyKind {
    /// The output follows.
    Ok = 1,
    /// The job's error follows.
    Failed,
    /// The panic's text follows.
    Panicked,
    /// The job saw its cancel token and returned an error.
    CancelledSeen,
    /// Input or output could not be coded; the text follows.
    Codec,
    /// The output is above the limit; its size and the limit follow as two words.
    TooLarge,
    /// The output follows, and names memory that was sent ahead of it. (7 says that these are the
    /// replies of a batch.)
    OkShared = 8,
}

impl ReplyKind {
    /// Its number in a reply.
    #[inline]
    pub const fn number(self) -> u64 {
        self as u64
    }

    /// The kind with this number.
    #[inline]
    pub const fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Ok,
            2 => Self::Failed,
            3 => Self::Panicked,
            4 => Self::CancelledSeen,
            5 => Self::Codec,
            6 => Self::TooLarge,
            8 => Self::OkShared,
            _ => return None,
        })
    }
}

/// Where a payload lies, as a shared word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Inline = 1,
    Block = 2,
    Memfd = 3,
}

impl Place {
    #[inline]
    pub(crate) const fn number(self) -> u64 {
        self as u64
    }

    #[inline]
    pub(crate) const fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Inline,
            2 => Self::Block,
            3 => Self::Memfd,
            _ => return None,
        })
    }
}

/// Where a reply's bytes lie, as the worker says.
#[derive(Debug, Clone, Copy)]
pub enum Output<'a> {
    /// In the slot: at most [`OUTPUT_INLINE`](crate::OUTPUT_INLINE) bytes.
    Inline(&'a [u8]),
    /// In the granted block.
    Block {
        /// Length in bytes.
        len: u64,
    },
    /// In a sealed memfd that was sent before.
    Memfd {
        /// Length in bytes.
        len: u64,
    },
}

/// A private copy of bytes that lay in a slot.
#[derive(Clone, Copy)]
pub struct InlineBytes<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> InlineBytes<N> {
    #[inline]
    pub(crate) const fn new(bytes: [u8; N], len: usize) -> Self {
        Self { bytes, len }
    }
}

impl<const N: usize> Deref for InlineBytes<N> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl<const N: usize> fmt::Debug for InlineBytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InlineBytes").field(&self.len).finish()
    }
}

/// Where a reply's bytes lie, checked.
#[derive(Debug, Clone)]
pub enum Storage {
    /// They came with the slot.
    Inline(Vec<u8>),
    /// In the block that the ledger granted.
    Block {
        /// Length in bytes, at most the grant's.
        len: u64,
    },
    /// In a memfd that the worker sent.
    Memfd {
        /// Length in bytes, as the worker says.
        len: u64,
    },
}

/// One finished task, as the host sees it.
#[derive(Debug, Clone)]
pub struct Done {
    /// Its sequence in the lane.
    pub seq: u64,
    /// What became of it.
    pub kind: ReplyKind,
    /// Where its bytes lie.
    pub output: Storage,
    /// How long the job ran, in ns, as the worker says.
    pub run_ns: u64,
}

/// Replies of a batch's tasks, in order: those of `first..until`. [`Pieces`](crate::Pieces) tells
/// them apart.
#[derive(Debug, Clone, Copy)]
pub struct Answers {
    /// The batch's sequence.
    pub seq: u64,
    /// How many tasks' replies stand before these in the output, and were told before.
    pub first: usize,
    /// The first task whose reply is not told.
    pub until: usize,
    /// Bytes that the replies may fill while the batch runs, and fill when it is over; checked.
    pub len: u64,
    /// They lie in the block that the ledger granted, not in the slot.
    pub in_block: bool,
    /// The batch is over, and left the lane.
    pub last: bool,
}

/// What the host finds at the oldest task of a lane.
#[derive(Debug, Clone)]
pub enum Event {
    /// It is done.
    Done(Done),
    /// It is a batch, and of its tasks some are done. Where another one is about to ask for room,
    /// those behind that one were taken back: see [`tasks`](crate::HostLane::tasks).
    Answers(Answers),
    /// It wants room for an output of `len` bytes. Of a batch: its last task does, the others'
    /// replies were told before.
    NeedSpace {
        /// Its sequence.
        seq: u64,
        /// Bytes it wants.
        len: u64,
    },
}

/// The host's answer to a wish for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantAnswer {
    /// This block.
    Block(Grant),
    /// Make a memfd and send it.
    Memfd,
    /// The output is above the limit.
    Refused,
}

impl GrantAnswer {
    // Other numbers than a [`Place`] has: they share a word.
    const BLOCK: u64 = 4;
    const MEMFD: u64 = 5;
    const REFUSED: u64 = 6;

    pub(crate) const fn number(self) -> u64 {
        match self {
            Self::Block(_) => Self::BLOCK,
            Self::Memfd => Self::MEMFD,
            Self::Refused => Self::REFUSED,
        }
    }

    pub(crate) const fn from_number(number: u64, grant: Grant) -> Option<Self> {
        Some(match number {
            Self::BLOCK => Self::Block(grant),
            Self::MEMFD => Self::Memfd,
            Self::REFUSED => Self::Refused,
            _ => return None,
        })
    }
}

/// How far a task in a lane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Not claimed.
    Queued,
    /// Claimed.
    Running,
    /// Waits for room.
    NeedSpace,
    /// Has been answered.
    Granted,
    /// Done, harvested or not; also what is not in the lane any more.
    Done,
}

/// What a worker has claimed.
#[derive(Debug, Clone, Copy)]
pub struct Claimed {
    /// Its sequence in the lane.
    pub seq: u64,
    /// Index in the job table.
    pub job: u32,
    /// Of a batch, how many tasks it had at first; 0 else.
    pub flags: u32,
    /// What it hands on to tasks that it submits.
    pub context: Context,
    /// Where its input lies.
    pub input: ClaimedInput,
    /// Where its output may go.
    pub grant: Grant,
}

/// Where a claimed task's input lies.
#[derive(Debug, Clone, Copy)]
pub enum ClaimedInput {
    /// It came with the slot.
    Inline(InlineBytes<INPUT_INLINE>),
    /// In a block of REQ.
    Block {
        /// Offset from the start of the mapping.
        offset: u64,
        /// Length in bytes.
        len: u64,
    },
    /// In a memfd that was sent before.
    Memfd {
        /// Length in bytes.
        len: u64,
    },
}
