//! Blobs in a worker: the host's memory, received by the control thread and named by inputs; and the
//! worker's own, which its outputs name.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use amphi_protocol::{FromWorker, encode};

use crate::beside::was_named;
use crate::blob::Shared;
use crate::sys::socket::Channel;

/// Memory is sent before the task that names it: what does not come is lost.
const PATIENCE: Duration = Duration::from_secs(5);

type Known = HashMap<u64, Option<Arc<Shared>>>;

/// What the host has sent and not told to forget.
#[derive(Default)]
pub(super) struct Blobs {
    /// `None`: it came, and could not be mapped.
    known: Mutex<Known>,
    changed: Condvar,
}

impl Blobs {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn arrived(&self, id: u64, fd: OwnedFd, len: u64, host: &Arc<Channel>) {
        let shared = Shared::of_host(id, fd, len, Arc::clone(host));
        self.lock().insert(id, shared.ok());
        self.changed.notify_all();
    }

    /// It came, and this process had no room for its descriptor.
    pub(super) fn lost(&self, id: u64) {
        self.lock().insert(id, None);
        self.changed.notify_all();
    }

    /// With the last handle that a job has it is unmapped, and the host hears of it.
    pub(super) fn forget(&self, id: u64) {
        let forgotten = self.lock().remove(&id);
        drop(forgotten); // without the lock
    }

    /// **Blocks** until it is there.
    pub(super) fn wait_for(&self, id: u64) -> Option<Arc<Shared>> {
        let missing = |known: &mut Known| !known.contains_key(&id);
        let (known, _) = self
            .changed
            .wait_timeout_while(self.lock(), PATIENCE, missing)
            .unwrap_or_else(PoisonError::into_inner);
        known.get(&id)?.as_ref().map(Arc::clone)
    }
}

/// Tells what the reply of task `key` names beside its own input, and sends what the worker made.
/// True: the host has to look for it.
pub(super) fn send(socket: &Channel, key: u64, regions: &[Arc<Shared>]) -> io::Result<bool> {
    let mut sent = false;
    for region in regions {
        let blob = region.id();
        if region.is_of_host() {
            if !was_named(blob) {
                let message = encode(&FromWorker::Returns { key, blob });
                socket.send_patiently(&message, &[], PATIENCE)?;
                sent = true;
            }
            continue;
        }
        region.seal()?;
        let Some((fd, len)) = region.parts() else {
            return Err(io::Error::other("it was made by another process"));
        };
        let message = encode(&FromWorker::Blob { key, blob, len });
        socket.send_patiently(&message, &[fd], PATIENCE)?;
        sent = true;
    }
    Ok(sent)
}
