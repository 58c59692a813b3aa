//! Somebody beside its handle who is told what a task came to: whoever audits it.

use std::sync::Arc;

use super::Core;
use crate::stats::Outcome;

/// What a task came to, as bytes where that was a reply: it ran from its encoded form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) reply: Option<Vec<u8>>,
}

/// See the module.
pub(crate) trait Witness: Send + Sync {
    /// The task has its outcome. Called once, without any lock, by whoever settled it.
    fn ended(self: Arc<Self>, core: &Core, ended: Ended);
}
