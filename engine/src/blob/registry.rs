//! Which regions workers have or have made, and when a region's memory can be used again: once no
//! handle lives here, and no mapping in a worker.
//!
//! # Protocol: nobody writes to what a worker reads
//! 1. The host notes each mapping that it asks a worker for (*hold*).
//! 2. The host's last handle goes: each worker that was not told yet is sent `Forget`.
//! 3. A worker lets its own note of it go; with its last handle it unmaps the region and *then* sends
//!    `Forgot`, which ends one hold. A dead worker has unmapped everything.
//! 4. A region without handles and holds is written again. A worker that says `Forgot` too early
//!    sees other bytes in its own blobs, and harms itself.
//!
//! A worker may return a blob that the host has dropped, or is dropping: as long as it has a hold,
//! the region is known here and gets handles again. If it is sent to that worker once more, that is
//! one more mapping, and one more hold.
//!
//! # Invariants
//! 1. Of a known region at most one [`Shared`] lives, but for those that are being dropped.
//! 2. A region that no worker ever had is not known here.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use amphi_protocol::{ToWorker, encode};
use parking_lot::Mutex;

use super::filling::SHARED_FROM;
use super::shared::Shared;
use crate::home::Role;
use crate::sys::region::{self, Filling, Region};
use crate::sys::rlimit;
use crate::sys::socket::Channel;

/// So many bytes are kept for the next blobs, at most, and so many regions.
const KEPT_BYTES: usize = 64 << 20;
const KEPT_REGIONS: usize = 64;

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

    /// Hands it a region, which has to be noted: [`sent`].
    pub(crate) fn send(&self, message: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
        self.channel.send(message, &[fd])
    }

    /// The worker is dead: it holds nothing.
    pub(crate) fn gone(self: &Arc<Self>) {
        self.is_gone.store(true, Ordering::Relaxed);
        let free: Vec<_> = {
            let mut registry = REGISTRY.lock();
            let ids: Vec<u64> = registry.known.keys().copied().collect();
            let without = |known: &mut Known| known.holds.retain(|hold| !hold.is_of(self));
            ids.into_iter().filter_map(|id| registry.change(id, without)).collect()
        };
        free.into_iter().for_each(keep);
    }

    /// A worker that cannot be told reads nothing any more: it keeps its mapping until it dies.
    fn forget(&self, id: u64) {
        if !self.is_gone.load(Ordering::Relaxed) {
            let _ = self.channel.send(&encode(&ToWorker::Forget { blob: id }), &[]);
        }
    }
}

/// Of this process. A child that the program forks can write to none of what is kept.
static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { kept: Vec::new(), kept_bytes: 0, known: BTreeMap::new() });

struct Registry {
    kept: Vec<Region>,
    kept_bytes: usize,
    known: BTreeMap<u64, Known>,
}

/// A region that some worker has or has made.
struct Known {
    region: Arc<Region>,
    shared: Weak<Shared>,
    holds: Vec<Hold>,
    /// The worker that made it, if one did.
    maker: Option<Weak<Holder>>,
    /// Its last handle went, and everybody was told.
    is_forgotten: bool,
}

/// One mapping in a worker.
struct Hold {
    holder: Arc<Holder>,
    /// It was told to forget the region.
    is_told: bool,
}

impl Hold {
    fn is_of(&self, holder: &Arc<Holder>) -> bool {
        Arc::ptr_eq(&self.holder, holder)
    }
}

impl Known {
    fn of(shared: &Arc<Shared>, maker: Option<&Arc<Holder>>) -> Self {
        Self {
            region: Arc::clone(shared.region()),
            shared: Arc::downgrade(shared),
            holds: Vec::new(),
            maker: maker.map(Arc::downgrade),
            is_forgotten: false,
        }
    }

    /// A handle; a new one where the last is gone or on its way.
    fn handle(&mut self, id: u64) -> Arc<Shared> {
        self.shared.upgrade().unwrap_or_else(|| {
            let shared = Shared::of(id, Arc::clone(&self.region));
            (self.shared, self.is_forgotten) = (Arc::downgrade(&shared), false);
            shared
        })
    }
}

impl Registry {
    /// Changes a region's holds; the region, if nobody has it now.
    fn change(&mut self, id: u64, change: impl FnOnce(&mut Known)) -> Option<Arc<Region>> {
        let known = self.known.get_mut(&id)?;
        change(known);
        let is_free = known.is_forgotten && known.holds.is_empty();
        is_free.then(|| self.known.remove(&id)).flatten().map(|known| known.region)
    }
}

/// Memory for a blob of so many bytes.
///
/// # Errors
/// Blobs have half of the descriptors that this process may have, and the rest is for others; or none
/// can be had; or this is the forkserver, whose workers would all have it to write:
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
    if let Some(again) = kept.and_then(Region::fill_again) {
        return Ok(again);
    }
    if region::descriptors() as u64 >= rlimit::descriptors() / 2 {
        return Err(io::Error::from(io::ErrorKind::QuotaExceeded));
    }
    Filling::create(bytes)
}

/// Keeps a region that nobody reads for the next blob, if it can be written and there is room.
/// Whoever else is just dropping it is not waited for.
fn keep(region: Arc<Region>) {
    let Ok(region) = Arc::try_unwrap(region) else { return };
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

/// A worker was asked to map it.
pub(crate) fn sent(shared: &Arc<Shared>, holder: &Arc<Holder>) {
    let mut registry = REGISTRY.lock();
    let known = registry.known.entry(shared.id()).or_insert_with(|| Known::of(shared, None));
    known.holds.push(Hold { holder: Arc::clone(holder), is_told: false });
}

/// A worker that was asked to map it finds it.
pub(crate) fn is_held(shared: &Shared, holder: &Arc<Holder>) -> bool {
    let registry = REGISTRY.lock();
    let known = registry.known.get(&shared.id());
    known.is_some_and(|known| known.holds.iter().any(|hold| hold.is_of(holder) && !hold.is_told))
}

/// A worker sends what it has made, maybe once more.
///
/// # Errors
/// It could still write to it, it is not as long as it said, or the number is another's.
pub(crate) fn received(
    maker: &Arc<Holder>,
    id: u64,
    fd: OwnedFd,
    bytes: u64,
) -> io::Result<Arc<Shared>> {
    let mut registry = REGISTRY.lock();
    if let Some(known) = registry.known.get_mut(&id) {
        let is_its = known.maker.as_ref().is_some_and(|own| own.as_ptr() == Arc::as_ptr(maker));
        let another = || io::Error::new(io::ErrorKind::InvalidData, "its number is another's");
        return is_its.then(|| known.handle(id)).ok_or_else(another);
    }
    let shared = Shared::of(id, Arc::new(Region::of_worker(fd, bytes)?));
    registry.known.insert(id, Known::of(&shared, Some(maker)));
    Ok(shared)
}

/// A region that a worker returns, if it has it.
pub(crate) fn find(id: u64, holder: &Arc<Holder>) -> Option<Arc<Shared>> {
    let mut registry = REGISTRY.lock();
    let known = registry.known.get_mut(&id)?;
    known.holds.iter().any(|hold| hold.is_of(holder)).then(|| known.handle(id))
}

/// A handle of a region was the last one.
pub(super) fn dropped(id: u64, region: Arc<Region>) {
    let mut registry = REGISTRY.lock();
    let Some(known) = registry.known.get(&id) else {
        drop(registry);
        return keep(region);
    };
    if known.is_forgotten || known.shared.strong_count() > 0 {
        return; // it has been asked for once more meanwhile
    }
    let free = registry.change(id, |known| {
        known.is_forgotten = true;
        // Under the lock: the answer finds what it is about.
        for hold in known.holds.iter_mut().filter(|hold| !hold.is_told) {
            hold.holder.forget(id);
            hold.is_told = true;
        }
    });
    drop(registry);
    drop(region);
    free.into_iter().for_each(keep);
}

/// A worker has let go of one mapping.
pub(crate) fn forgotten_by(holder: &Arc<Holder>, id: u64) {
    let free = REGISTRY.lock().change(id, |known| {
        // The one that it was told to forget, if it has two.
        let told = known.holds.iter().position(|hold| hold.is_of(holder) && hold.is_told);
        let any = || known.holds.iter().position(|hold| hold.is_of(holder));
        if let Some(place) = told.or_else(any) {
            known.holds.swap_remove(place);
        }
    });
    free.into_iter().for_each(keep);
}
