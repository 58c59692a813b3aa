//! Trying a task once more: what a task that asked for it keeps for the purpose.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use super::controls::Backoff;
use super::{AnyTask, Port};

/// See the module.
pub(crate) struct Retry {
    max: u32,
    backoff: Backoff,
    /// Tries that were made beside the first.
    used: AtomicU32,
    /// Workers that died of it, not by the engine's order.
    deaths: AtomicU32,
    way: OnceLock<(Weak<dyn AnyTask>, Weak<dyn Port>)>,
}

/// Who queues which task, and after how long.
type Again = (Arc<dyn AnyTask>, Arc<dyn Port>, Duration);

/// A task that was running at so many deaths is poisoned.
pub(crate) const DEATHS_MAX: u32 = 2;

impl Retry {
    pub(crate) fn new(max: u32, backoff: Backoff) -> Self {
        let (used, deaths) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { max, backoff, used, deaths, way: OnceLock::new() }
    }

    /// How the task gets back to its engine's queue.
    pub(crate) fn set_way(&self, task: Weak<dyn AnyTask>, port: Weak<dyn Port>) {
        let _ = self.way.set((task, port));
    }

    /// Further tries that were made, the one included that is about to be.
    pub(crate) fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    /// The task was running when its worker died. How often that has happened.
    pub(crate) fn died(&self) -> u32 {
        self.deaths.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A further try, if there is one left: who queues the task, and after how long.
    pub(crate) fn take(&self) -> Option<Again> {
        let (task, port) = self.way.get()?;
        let (task, port) = (task.upgrade()?, port.upgrade()?);
        let relaxed = Ordering::Relaxed;
        let used =
            self.used.fetch_update(relaxed, relaxed, |used| (used < self.max).then_some(used + 1));
        let attempt = used.ok()? + 1;
        let seed = std::ptr::from_ref(self).addr() as u64 ^ u64::from(attempt);
        Some((task, port, self.backoff.delay(attempt, seed)))
    }
}

impl std::fmt::Debug for Retry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Retry")
            .field("max", &self.max)
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}
