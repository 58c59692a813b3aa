//! Large inputs in a worker: received by its control thread, read by its job thread.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sys::memory::read_sealed;

/// A descriptor is sent before the task that speaks of it: one that does not come is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Memfds on their way from the control thread to the job thread.
#[derive(Default)]
pub(super) struct Payloads {
    arrived: Mutex<Arrived>,
    changed: Condvar,
}

#[derive(Default)]
struct Arrived {
    inputs: HashMap<u64, (OwnedFd, u64)>,
    /// What is older was run or taken back: nobody will ask for it.
    oldest: u64,
}

impl Arrived {
    fn forget_before(&mut self, seq: u64) {
        self.oldest = seq;
        self.inputs.retain(|task, _| *task >= seq);
    }
}

impl Payloads {
    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The control thread received the input of `seq`.
    pub(super) fn arrived(&self, seq: u64, fd: OwnedFd, len: u64) {
        let mut arrived = self.lock();
        if seq >= arrived.oldest {
            arrived.inputs.insert(seq, (fd, len));
            self.changed.notify_all();
        }
    }

    /// Every task before `seq` was run or taken back.
    pub(super) fn forget_before(&self, seq: u64) {
        self.lock().forget_before(seq);
    }

    /// **Blocks** until the input of `seq` is there, and reads it.
    pub(super) fn take(&self, seq: u64, len: u64) -> Option<Vec<u8>> {
        let (mut arrived, _) = self
            .changed
            .wait_timeout_while(self.lock(), PATIENCE, |arrived| !arrived.inputs.contains_key(&seq))
            .unwrap_or_else(PoisonError::into_inner);
        let (fd, announced) = arrived.inputs.remove(&seq)?;
        arrived.forget_before(seq);
        drop(arrived);
        (announced == len).then(|| read_sealed(fd.as_fd(), len).ok()).flatten()
    }
}
