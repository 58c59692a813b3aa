//! One region that blobs share.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use amphi_protocol::{FromWorker, encode};

use super::registry;
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
    region: Option<Arc<Region>>,
    /// In a worker: it is the host's, which hears when it is gone.
    host: Option<Arc<Channel>>,
}

impl Shared {
    pub(super) fn made_here(region: Region) -> Arc<Self> {
        Self::of(new_id(), Arc::new(region))
    }

    /// In the host: a handle of a region that the registry knows, or will.
    pub(super) fn of(id: u64, region: Arc<Region>) -> Arc<Self> {
        Arc::new(Self { id, region: Some(region), host: None })
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
        let region = Some(Arc::new(Region::of_host(fd, bytes)?));
        Ok(Arc::new(Self { id, region, host: Some(host) }))
    }

    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn region(&self) -> &Arc<Region> {
        self.region.as_ref().expect("it is taken at the drop")
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.region().bytes()
    }

    /// In a worker: the host made it, and need not be sent it.
    pub(crate) const fn is_of_host(&self) -> bool {
        self.host.is_some()
    }

    /// What is sent: its descriptor and length. `None`: nobody is to be sent it from here.
    pub(crate) fn parts(&self) -> Option<(BorrowedFd<'_>, u64)> {
        Some((self.region().descriptor()?, self.region().len() as u64))
    }

    /// In a worker, before it is sent: nobody can write to it any more.
    pub(crate) fn seal(&self) -> io::Result<()> {
        self.region().seal()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let Some(region) = self.region.take() else { return };
        match &self.host {
            None => registry::dropped(self.id, region),
            Some(host) => {
                drop(region); // before the host writes to it again
                let message = encode(&FromWorker::Forgot { blob: self.id });
                let _ = host.send_patiently(&message, &[], PATIENCE);
            }
        }
    }
}

/// A number that no other region has, in the host and all its workers: the process, and a count.
fn new_id() -> u64 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    u64::from(process::own_pid()) << 32 | u64::from(NEXT.fetch_add(1, Ordering::Relaxed))
}
