//! One region that blobs share, and which workers have it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use amphi_protocol::{FromWorker, encode};
use parking_lot::Mutex;

use super::registry::{self, Holder};
use crate::sys::process;
use crate::sys::region::Region;
use crate::sys::socket::Channel;

/// A host that does not read for so long has other worries than memory to use again.
const PATIENCE: Duration = Duration::from_secs(1);

/// See the module. The last handle's drop is told to everybody who has it.
#[derive(Debug)]
pub(crate) struct Shared {
    id: u64,
    /// `None` only while it is dropped.
    region: Option<Region>,
    origin: Origin,
    /// The workers that were sent it.
    pub(super) holders: Mutex<Vec<Arc<Holder>>>,
}

#[derive(Debug)]
enum Origin {
    Here,
    /// In the host: a worker made it.
    Worker,
    /// In a worker: the host sent it, and hears when it is gone.
    Host(Arc<Channel>),
}

impl Shared {
    pub(super) fn made_here(region: Region) -> Arc<Self> {
        Arc::new(Self::new(new_id(), region, Origin::Here))
    }

    /// In the host: what a worker sent with a reply.
    ///
    /// # Errors
    /// The worker could still write to it, or it is not as long as it said.
    pub(crate) fn of_worker(id: u64, fd: OwnedFd, bytes: u64) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self::new(id, Region::of_worker(fd, bytes)?, Origin::Worker)))
    }

    /// In a worker: what the host sent ahead of a task.
    ///
    /// # Errors
    /// Those of mapping it.
    pub(crate) fn of_host(
        id: u64,
        fd: OwnedFd,
        bytes: u64,
        host: Arc<Channel>,
    ) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self::new(id, Region::of_host(fd, bytes)?, Origin::Host(host))))
    }

    /// One that had been dropped and is asked for once more, by a worker that still has it.
    pub(super) fn revived(id: u64, region: Region, holders: Vec<Arc<Holder>>) -> Arc<Self> {
        let shared = Self::new(id, region, Origin::Here);
        *shared.holders.lock() = holders;
        Arc::new(shared)
    }

    const fn new(id: u64, region: Region, origin: Origin) -> Self {
        Self { id, region: Some(region), origin, holders: Mutex::new(Vec::new()) }
    }

    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    fn region(&self) -> &Region {
        self.region.as_ref().expect("it is taken at the drop")
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.region().bytes()
    }

    /// The host made it: a worker need not send it.
    pub(crate) const fn is_of_host(&self) -> bool {
        matches!(self.origin, Origin::Host(_))
    }

    /// What is sent: its descriptor and length. `None`: it was made before a fork, by another
    /// process.
    pub(crate) fn parts(&self) -> Option<(BorrowedFd<'_>, u64)> {
        Some((self.region().descriptor()?, self.region().len() as u64))
    }

    /// In a worker, before it is sent: nobody can write to it any more.
    pub(crate) fn seal(&self) -> io::Result<()> {
        self.region().seal()
    }

    pub(crate) fn is_held_by(&self, holder: &Arc<Holder>) -> bool {
        self.holders.lock().iter().any(|other| Arc::ptr_eq(other, holder))
    }

    /// Notes that a worker was sent it.
    pub(crate) fn held_by(self: &Arc<Self>, holder: &Arc<Holder>) {
        self.holders.lock().push(Arc::clone(holder));
        registry::sent(self);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let Some(region) = self.region.take() else { return };
        if let Origin::Host(host) = &self.origin {
            drop(region); // before the host writes to it again
            let message = encode(&FromWorker::Forgot { blob: self.id });
            let _ = host.send_patiently(&message, &[], PATIENCE);
            return;
        }
        let holders = std::mem::take(self.holders.get_mut());
        registry::dropped(self.id, region, holders);
    }
}

/// A number that no other region has, in the host and all its workers: the process, and a count.
fn new_id() -> u64 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    u64::from(process::own_pid()) << 32 | u64::from(NEXT.fetch_add(1, Ordering::Relaxed))
}
