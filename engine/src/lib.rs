//! Typed jobs on **threads or in forked processes**, chosen per task by one scheduler behind one
//! job API.
//!
//! A [`Job`] (a type or a plain function, registered in an [`App`]) becomes a [`Task`]; the policy
//! gives it a [`Placement`]; a thread runs it, or its bytes go through shared memory to a worker
//! that a single-threaded forkserver forked. The caller holds one handle whichever it was, and a
//! crash of the worker is one typed outcome.
//!
//! ```no_run
//! amphi::app!(app);
//!
//! fn app() -> amphi::App {
//!     amphi::App::new().function("checksum", checksum)
//! }
//!
//! fn checksum(text: String) -> Result<u32, amphi::Error> {
//!     Ok(text.bytes().map(u32::from).sum())
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let engine = app().engine().place(amphi::Placement::Process).start()?;
//!     println!("{}", engine.call(checksum, "hello".to_string()).join()?);
//!     Ok(())
//! }
//! ```
//!
//! Two environment variables need no change of code: `AMPHI_PLACE` says where tasks go
//! ([`Placement`]), `AMPHI_CORES` how many cores they keep busy ([`EngineBuilder::cores`]).
//!
//! A third one finds jobs that come to something else in a worker than on a thread: with
//! `AMPHI_AUDIT=1` every task whose place is open runs in both, from its encoded input, and the
//! encoded outcomes are compared. The handle has the thread's. A difference is an error event of
//! `tracing`, a line on standard error that names the job and says what to do, and a count
//! ([`Stats::audit_mismatches`]). It is for tests: jobs run twice, with all that they do. A program
//! that ends waits up to ten seconds for what is still to be compared.
//!
//! Reading order: [`Engine`], then one task followed: `engine.rs`, `task.rs`, `threads.rs`,
//! `processes.rs` and back.

// The README's programs are compiled with the tests.
#![cfg_attr(doctest, doc = include_str!("../../README.md"))]

mod app;
mod stream;
mod engine;
#[cfg_attr(not(target_os = "linux"), path = "processes/absent.rs")]
mod processes;
mod threads;
mod sys;

mod beside;
mod blob;
mod budget;
mod ctx;
mod error;
mod fd;
mod home;
mod job;
mod keys;
mod limits;
mod outcome;
pub mod policy;
mod room;
mod scheduler;
mod stats;
mod task;

pub use bytes::Bytes;

pub use crate::app::App;
pub use crate::blob::{Blob, BlobMut, Blocks};
pub use crate::ctx::Ctx;
pub use crate::engine::{
    Engine, EngineBuilder, Explanation, Report, Scope, ScopedTask, TaskBuilder,
};
pub use crate::error::{CancelRequested, Clock, Error, Reason, Rejected, StartError, TaskError};
pub use crate::fd::Fd;
pub use crate::home::{Role, Setup};
pub use crate::job::{Job, Spec};
pub use crate::limits::Limits;
pub use crate::policy::{Placement, Policy};
pub use crate::stats::{Decided, Distribution, JobStats, Outcome, PlaceStats, Stage, Stats};
pub use crate::stream::{Ordered, StreamBuilder, Unordered};
pub use crate::task::{Messages, Priority, Progress, Task};

/// What the macro [`app!`] expands to, and what a benchmark of the project looks at; not for use by
/// hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::app::enter;
    pub use crate::scheduler::Overhead;
    pub use crate::sys::copies::copies;
}
