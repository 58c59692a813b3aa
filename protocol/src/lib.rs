#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod layout;
mod slot;
mod message;
mod lane;
mod batch;
mod ledger;
mod host;
mod worker;
mod record;
mod parts;
mod log;
mod arena;
mod control;
mod life;
mod error;
mod sync;
#[cfg(all(test, not(amphi_loom)))]
mod tests;

pub use crate::arena::{Arena, Block};
pub use crate::batch::{Piece, Pieces, key_of, push_piece, split_key};
pub use crate::control::{
    Ask, CARRIED_BYTES_MAX, Carried, ChildOutcome, DESCRIPTORS_MAX, Exit, FILES_MAX,
    FromForkserver, FromWorker, MESSAGE_BYTES_MAX, StartStage, ToForkserver, ToWorker, WorkerId,
    WorkerLimits, decode, encode,
};
pub use crate::error::{Mismatch, Violation};
pub use crate::host::{HostLane, Published};
pub use crate::lane::{Req, Rsp, looks_done, state_word_index};
pub use crate::layout::{
    ABI, ARENA_BYTES, ARENA_OFFSET, BATCH_MAX, BLOCK_MAX, BLOCK_MIN, INPUT_INLINE, LAYOUT_HASH,
    OUTPUT_INLINE, POPULATE_BYTES, RECORDS_BYTES, RECORDS_OFFSET, REQ_BYTES, RSP_ARENA_OFFSET,
    RSP_BYTES, SLOTS,
};
pub use crate::life::{Budget as RestartBudget, Death, Verdict};
pub use crate::log::{LOG_LEVEL_MAX, LogRecord};
pub use crate::message::{
    Answers, Claimed, ClaimedInput, Context, Done, Event, Grant, GrantAnswer, InlineBytes, Input,
    Output, ReplyKind, Request, Stage, Storage,
};
pub use crate::parts::{Assembly, DroppedRecord, EMITTED_BYTES_MAX, Emitted, send_message};
pub use crate::record::{
    ProgressRecord, RECORD_BYTES_MAX, RecordReader, RecordWriter, record_kind,
};
pub use crate::worker::{Batch, Park, Put, WorkerLane};
