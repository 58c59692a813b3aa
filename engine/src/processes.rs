//! The process side: a queue of tasks bound for workers, a seat for each worker, the supervisor.
//!
//! There is no dispatcher thread: whoever submits or harvests dispatches, under one lock. The
//! supervisor thread alone starts workers, reads their sockets and learns of deaths.
//!
//! One task's way: [`Processes::push`] → `dispatch` (a seat and a token, bytes into the lane) →
//! the worker → `harvest` → its cell is settled, by whoever polls: a waiter, a submitter, or the
//! supervisor when a bell rings.
//!
//! # Invariants
//! 1. A seat holds a token exactly while its lane has a task in flight.
//! 2. A task is in the queue (waiting), in one flight (claimed), or settled.
//! 3. Nothing is settled, woken or given back under the lock: [`After`] does it.

mod after;
mod batch;
mod blobs;
mod carry;
mod children;
mod control;
mod crowd;
mod deaths;
mod dispatch;
pub(crate) mod forkserver;
mod files;
mod harvest;
mod inbox;
mod life;
mod link;
mod logs;
mod occupied;
mod pool;
mod queue;
mod records;
mod seat;
mod send;
mod side;
mod starter;
mod supervisor;
mod token;
mod wait;
mod worker;

pub(crate) use self::after::After;
pub(crate) use self::pool::Processes;

/// Marks a child of the engine in its environment; it is removed there at once.
pub(crate) const MARKER: &str = "AMPHI_FORKSERVER";
