//! When a region's memory can be used again: once no handle lives here, and no mapping in a worker.
//!
//! # Protocol: nobody writes to what a worker reads
//! 1. The host notes each worker that it sends a region to (*holder*).
//! 2. The host's last handle goes: each holder is sent `Forget`. The region waits.
//! 3. A worker lets its own note of it go; with its last handle it unmaps the region and *then* sends
//!    `Forgot`. A dead worker has unmapped everything.
//! 4. A region that waits for nobody is written again. A worker that says `Forgot` too early sees
//!    other bytes in its own blobs, and harms itself.
//!
//! A worker may return a blob that the host has dropped meanwhile: the region stops waiting, and has
//! handles again.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use amphi_protocol::{ToWorker, encode};
use parking_lot::Mutex;

use super::filling::SHARED_FROM;
use super::shared::Shared;
use crate::home::Role;
use crate::sys::region::{Filling, Region};
use crate::sys::socket::Channel;

/// So many bytes are kept for the next blobs, at most, and so many regions.
const KEPT_BYTES: usize = 64 << 20;
const KEPT_REGIONS: usize = 64;
/// So many bytes wait for workers, at most; what is above is given back when they let go.
const WAITING_BYTES: usize = 256 << 20;

/// A worker that may be sent blobs.
#[derive(Debug)]
pub(crate) struct Holder {
    channel: Arc<Channel>,
    is_gone: AtomicBool,
}

impl Holder {
    pub(crate) fn new(channel: Arc<Channel>) -> Arc<Self> {
        Arc::new(Self { channel, is_gone: AtomicBool::new(false) })
    }

    /// The worker is dead: it holds nothing.
    pub(crate) fn gone(self: &Arc<Self>) {
        self.is_gone.store(true, Ordering::Relaxed);
        let free = {
            let mut registry = REGISTRY.lock();
            let ids: Vec<u64> = registry.waiting.keys().copied().collect();
            let freed = ids.into_iter().filter_map(|id| registry.let_go(id, self));
            freed.collect::<Vec<_>>()
        };
        free.into_iter().for_each(keep);
    }

    /// Hands it a region; it must be noted afterwards: [`Shared::held_by`].
    pub(crate) fn send(&self, message: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
        self.channel.send(message, &[fd])
    }

    fn forget(&self, id: u64) -> bool {
        let message = encode(&ToWorker::Forget { blob: id });
        !self.is_gone.load(Ordering::Relaxed) && self.channel.send(&message, &[]).is_ok()
    }
}

/// Of this process. After a fork nothing of it can be used; nor is it: what is kept is checked.
static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    kept: Vec::new(),
    kept_bytes: 0,
    waiting: BTreeMap::new(),
    waiting_bytes: 0,
    sent: BTreeMap::new(),
});

struct Registry {
    kept: Vec<Region>,
    kept_bytes: usize,
    waiting: BTreeMap<u64, (Region, Vec<Arc<Holder>>)>,
    waiting_bytes: usize,
    /// Those that workers have, with handles here.
    sent: BTreeMap<u64, Weak<Shared>>,
}

impl Registry {
    /// The region, if it waited for this holder last.
    fn let_go(&mut self, id: u64, holder: &Arc<Holder>) -> Option<Region> {
        let (_, holders) = self.waiting.get_mut(&id)?;
        holders.retain(|other| !Arc::ptr_eq(other, holder));
        if !holders.is_empty() {
            return None;
        }
        let (region, _) = self.waiting.remove(&id)?;
        self.waiting_bytes -= region.len();
        Some(region)
    }
}

/// Memory for a blob of so many bytes.
///
/// # Errors
/// No descriptor can be had; or this is the forkserver, whose workers would all have it to write:
/// there a blob lies in the heap, whose pages they share as any other.
pub(super) fn filling(bytes: usize) -> io::Result<Filling> {
    if Role::current() == Role::Forkserver {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
    let Some(bytes) = bytes.max(SHARED_FROM).checked_next_power_of_two() else {
        return Err(io::Error::from(io::ErrorKind::OutOfMemory));
    };
    let kept = {
        let mut registry = REGISTRY.lock();
        let found = registry.kept.iter().rposition(|region| region.len() == bytes);
        found.map(|index| {
            registry.kept_bytes -= bytes;
            registry.kept.swap_remove(index)
        })
    };
    kept.and_then(Region::fill_again).map_or_else(|| Filling::create(bytes), Ok)
}

/// Keeps a region that nobody reads for the next blob, if there is room.
fn keep(region: Region) {
    if !region.can_be_filled() {
        return;
    }
    let mut registry = REGISTRY.lock();
    let bytes = registry.kept_bytes + region.len();
    if bytes <= KEPT_BYTES && registry.kept.len() < KEPT_REGIONS {
        registry.kept_bytes = bytes;
        registry.kept.push(region);
        return;
    }
    drop(registry);
    drop(region); // without the lock
}

/// A worker was sent it.
pub(super) fn sent(shared: &Arc<Shared>) {
    REGISTRY.lock().sent.insert(shared.id(), Arc::downgrade(shared));
}

/// The last handle of a region is gone.
pub(super) fn dropped(id: u64, region: Region, mut holders: Vec<Arc<Holder>>) {
    if holders.is_empty() {
        return keep(region);
    }
    let mut registry = REGISTRY.lock();
    registry.sent.remove(&id);
    // Under the lock: the answer finds what it is about.
    let mut untold = false;
    holders.retain(|holder| {
        let told = holder.forget(id);
        untold |= !told && !holder.is_gone.load(Ordering::Relaxed);
        told
    });
    let bytes = registry.waiting_bytes + region.len();
    if holders.is_empty() || untold || bytes > WAITING_BYTES {
        drop(registry);
        // A worker that could not be told may read it for ever.
        return if untold || !holders.is_empty() { drop(region) } else { keep(region) };
    }
    registry.waiting_bytes = bytes;
    registry.waiting.insert(id, (region, holders));
}

/// A worker has let go of a region.
pub(crate) fn forgotten_by(holder: &Arc<Holder>, id: u64) {
    let (free, shared) = {
        let mut registry = REGISTRY.lock();
        (registry.let_go(id, holder), registry.sent.get(&id).and_then(Weak::upgrade))
    };
    if let Some(shared) = shared {
        // It was asked for once more meanwhile.
        shared.holders.lock().retain(|other| !Arc::ptr_eq(other, holder));
    }
    if let Some(region) = free {
        keep(region);
    }
}

/// A region that a worker returns, which has it.
pub(crate) fn find(id: u64) -> Option<Arc<Shared>> {
    let mut registry = REGISTRY.lock();
    if let Some(shared) = registry.sent.get(&id).and_then(Weak::upgrade) {
        return Some(shared);
    }
    let (region, holders) = registry.waiting.remove(&id)?;
    registry.waiting_bytes -= region.len();
    let shared = Shared::revived(id, region, holders);
    registry.sent.insert(id, Arc::downgrade(&shared));
    Some(shared)
}
