//! A task that a job in a worker submits to the host, and the way back of its outcome.

use std::sync::Arc;

use super::{AnyTask, Inherited};
use crate::beside::Beside;
use crate::fd::Fd;
use crate::outcome::Failure;

/// A task that a job in a worker submits to the host.
pub(crate) struct Child {
    pub(crate) job: u32,
    pub(crate) ask: amphi_protocol::Ask,
    pub(crate) bytes: Vec<u8>,
    /// The open files that they name.
    pub(crate) files: Vec<Fd>,
    /// What it takes over from the task that asks.
    pub(crate) inherited: Inherited,
    /// Who is told what became of it.
    pub(crate) answer: Arc<dyn Answer>,
}

/// Where a child's outcome goes.
pub(crate) trait Answer: Send + Sync {
    /// It runs now; false: its worker is gone already.
    fn accepted(&self, task: &Arc<dyn AnyTask>) -> bool;
    /// Its outcome: the reply's kind and bytes, and what they name; or another end.
    fn done(&self, outcome: Result<(amphi_protocol::ReplyKind, Vec<u8>), Failure>, beside: Beside);
}
