//! Regions: the memory of blobs. One memfd each, written by the process that made it and read by
//! several, without a copy.
//!
//! # Invariants
//! 1. A region is written through [`Filling`] alone, which is its only owner in this process.
//! 2. A descriptor that leaves its maker cannot be written through or mapped writable: FUTURE_WRITE
//!    is sealed when the region is made.
//! 3. What another process made is lent as `&[u8]` only if it cannot change: WRITE is sealed (a
//!    worker's), or its maker is the host, which writes to it only after every worker has let go.
//! 4. Only a mapping that `create` made writable, and nobody replaced since, is written.
//! 5. In a child that the program itself forks, a region is read at most: it is neither written nor
//!    unmapped there, since the child may not have its mapping.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::{
    Mode, OFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, open,
};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap};

use super::memory::{SEAL_TRIES, memfd};
use super::process;

/// Sealed from the first moment: the size stays, and no writable mapping is added to the first.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE);

/// See the module.
#[derive(Debug)]
pub(crate) struct Region {
    parts: ManuallyDrop<Parts>,
    /// The process that made or received it.
    pid: u32,
    /// The mapping is `create`'s, and writable.
    is_writable: AtomicBool,
}

/// Regions of this process that have a descriptor.
static DESCRIPTORS: AtomicUsize = AtomicUsize::new(0);

/// How many descriptors regions have taken.
pub(crate) fn descriptors() -> usize {
    DESCRIPTORS.load(Ordering::Relaxed)
}

#[derive(Debug)]
struct Parts {
    map: MmapRaw,
    /// `None`: nobody asks this process for it, and it costs none.
    fd: Option<OwnedFd>,
}

/// A region that this process alone has, to be written.
#[derive(Debug)]
pub(crate) struct Filling(Region);

impl Filling {
    /// A fresh region of at least so many zeroed bytes. Pages come with their first use.
    pub(crate) fn create(bytes: usize) -> io::Result<Self> {
        let fd = memfd("amphi-blob")?;
        ftruncate(&fd, bytes as u64)?;
        let map = MmapOptions::new().len(bytes).map_raw(&fd)?;
        // A fork meanwhile would share what is being written.
        map.advise(Advice::DontFork)?;
        fcntl_add_seals(&fd, SEALS)?;
        Ok(Self(Region::new(map, Some(fd), true)))
    }

    /// All of its bytes: those that nobody has written are zero, or what an earlier blob left.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let map = &self.0.parts.map;
        // SAFETY: the bytes must be mapped writable and nobody else's while the slice lives — the
        // mapping is `create`'s (4), of a sealed size; `&mut self` is the only owner in this process,
        // a fork did not inherit it, and no other process can write (2).
        unsafe { std::slice::from_raw_parts_mut(map.as_mut_ptr(), map.len()) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// From now on it is only read.
    pub(crate) fn freeze(self) -> Region {
        // Best effort: a child of a fork that has no copy would die of touching it.
        let _ = self.0.parts.map.advise(Advice::DoFork);
        self.0
    }
}

impl Region {
    fn new(map: MmapRaw, fd: Option<OwnedFd>, is_writable: bool) -> Self {
        DESCRIPTORS.fetch_add(usize::from(fd.is_some()), Ordering::Relaxed);
        let (pid, is_writable) = (process::own_pid(), AtomicBool::new(is_writable));
        Self { parts: ManuallyDrop::new(Parts { map, fd }), pid, is_writable }
    }

    /// In a worker: a region of its host, which alone sends it to others.
    pub(crate) fn of_host(fd: OwnedFd, bytes: u64) -> io::Result<Self> {
        Ok(Self::new(receive(&fd, bytes, SEALS)?, None, false))
    }

    /// In the host: a region of a worker, which may write whatever it likes until the seal.
    pub(crate) fn of_worker(fd: OwnedFd, bytes: u64) -> io::Result<Self> {
        // Before 6.7 a file that is sealed so is mapped through a descriptor that cannot write, or
        // not at all.
        let fd = read_only(fd.as_fd())?;
        let map = receive(&fd, bytes, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
        Ok(Self::new(map, Some(fd), false))
    }

    /// All of its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        let map = &self.parts.map;
        // SAFETY: the bytes must be mapped and must not change while the slice lives — the size is
        // sealed, and nobody writes while a `Region` exists: here by (1), elsewhere by (3).
        unsafe { std::slice::from_raw_parts(map.as_ptr(), map.len()) }
    }

    pub(crate) fn len(&self) -> usize {
        self.parts.map.len()
    }

    /// Its descriptor, in a process that may send it.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.parts.fd.as_ref().map(AsFd::as_fd)
    }

    /// Makes sure that nobody can ever write to it, for a process that does not trust this one.
    /// The mapping is replaced in place: who reads it goes on.
    pub(crate) fn seal(&self) -> io::Result<()> {
        let Some(fd) = self.descriptor() else {
            return Err(io::Error::other("it was made by another process"));
        };
        if fcntl_get_seals(fd)?.contains(SealFlags::WRITE) {
            return Ok(());
        }
        let read_only = read_only(fd)?;
        let map = &self.parts.map;
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        self.is_writable.store(false, Ordering::Relaxed);
        // SAFETY: whatever is mapped there goes — that is exactly this region's own mapping, of the
        // same length, and the new one shows the same pages; it is only read from here on, since a
        // `Region` is never written.
        unsafe { mmap(map.as_mut_ptr().cast(), map.len(), ProtFlags::READ, flags, &read_only, 0) }?;
        for _ in 1..SEAL_TRIES {
            match fcntl_add_seals(fd, SealFlags::WRITE | SealFlags::SEAL) {
                Err(Errno::BUSY) => {}
                sealed => return Ok(sealed?),
            }
        }
        Ok(fcntl_add_seals(fd, SealFlags::WRITE | SealFlags::SEAL)?)
    }

    /// This process made it and can still write to it.
    pub(crate) fn can_be_filled(&self) -> bool {
        self.pid == process::own_pid() && self.is_writable.load(Ordering::Relaxed)
    }

    /// Writes it once more. Only once no other process reads it.
    pub(crate) fn fill_again(self) -> Option<Filling> {
        let can = self.can_be_filled() && self.parts.map.advise(Advice::DontFork).is_ok();
        can.then_some(Filling(self))
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.pid == process::own_pid() {
            DESCRIPTORS.fetch_sub(usize::from(self.parts.fd.is_some()), Ordering::Relaxed);
            // SAFETY: it must not be used again — it is dropped with `self`.
            unsafe { ManuallyDrop::drop(&mut self.parts) };
        }
    }
}

/// Maps what another process sent, if it is sealed and as long as it says.
fn receive(fd: &OwnedFd, bytes: u64, seals: SealFlags) -> io::Result<MmapRaw> {
    let refuse = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    if !fcntl_get_seals(fd)?.contains(seals) {
        return refuse("a blob's memfd is sealed");
    }
    if u64::try_from(fstat(fd)?.st_size) != Ok(bytes) || bytes == 0 {
        return refuse("a blob's memfd has the size that was announced");
    }
    let Ok(len) = usize::try_from(bytes) else { return refuse("a blob fits the memory") };
    MmapOptions::new().len(len).map_raw_read_only(fd)
}

/// The same file through a descriptor that cannot write.
fn read_only(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    Ok(open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
#[path = "tests/region.rs"]
mod tests;
