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
//! 5. A region of another process, inherited by fork, keeps its mapping. Its descriptor's number is
//!    somebody else's by now and is neither used nor closed.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::{
    Mode, OFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, open,
};
use rustix::mm::{MapFlags, ProtFlags, mmap};

use super::memory::memfd;
use super::process;

/// Sealed from the first moment: the size stays, and no writable mapping is added to the first.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE);

/// See the module.
#[derive(Debug)]
pub(crate) struct Region {
    map: MmapRaw,
    fd: ManuallyDrop<OwnedFd>,
    /// The process whose descriptor it is.
    pid: u32,
    /// The mapping is `create`'s, and writable.
    is_writable: AtomicBool,
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
        Ok(Self(Region::new(map, fd, true)))
    }

    /// All of its bytes: those that nobody has written are zero, or what an earlier blob left.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the bytes must be mapped writable and nobody else's while the slice lives — the
        // mapping is `create`'s (4), of a sealed size; `&mut self` is the only owner in this process,
        // a fork did not inherit it, and no other process can write (2).
        unsafe { std::slice::from_raw_parts_mut(self.0.map.as_mut_ptr(), self.0.map.len()) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// From now on it is only read.
    pub(crate) fn freeze(self) -> Region {
        // Best effort: a child of a fork that has no copy would die of touching it.
        let _ = self.0.map.advise(Advice::DoFork);
        self.0
    }
}

impl Region {
    fn new(map: MmapRaw, fd: OwnedFd, is_writable: bool) -> Self {
        let is_writable = AtomicBool::new(is_writable);
        Self { map, fd: ManuallyDrop::new(fd), pid: process::own_pid(), is_writable }
    }

    /// The region of a host, which this process's host is.
    pub(crate) fn of_host(fd: OwnedFd, bytes: u64) -> io::Result<Self> {
        Self::receive(fd, bytes, SEALS)
    }

    /// The region of a worker, which may write whatever it likes until the seal.
    pub(crate) fn of_worker(fd: OwnedFd, bytes: u64) -> io::Result<Self> {
        Self::receive(fd, bytes, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)
    }

    fn receive(fd: OwnedFd, bytes: u64, seals: SealFlags) -> io::Result<Self> {
        let refuse = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        if !fcntl_get_seals(&fd)?.contains(seals) {
            return refuse("a blob's memfd is sealed");
        }
        if u64::try_from(fstat(&fd)?.st_size) != Ok(bytes) || bytes == 0 {
            return refuse("a blob's memfd has the size that was announced");
        }
        let Ok(len) = usize::try_from(bytes) else { return refuse("a blob fits the memory") };
        let map = MmapOptions::new().len(len).map_raw_read_only(&fd)?;
        Ok(Self::new(map, fd, false))
    }

    /// All of its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the bytes must be mapped and must not change while the slice lives — the size is
        // sealed, and nobody writes while a `Region` exists: here by (1), elsewhere by (3).
        unsafe { std::slice::from_raw_parts(self.map.as_ptr(), self.map.len()) }
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// Its descriptor, in the process that made or received it.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        (self.pid == process::own_pid()).then(|| self.fd.as_fd())
    }

    /// Makes sure that nobody can ever write to it, for a process that does not trust this one.
    /// The mapping is replaced in place: who reads it goes on.
    pub(crate) fn seal(&self) -> io::Result<()> {
        let Some(fd) = self.descriptor() else {
            return Err(io::Error::other("it was made by another process"));
        };
        let read_only = open(
            format!("/proc/self/fd/{}", fd.as_raw_fd()),
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        self.is_writable.store(false, Ordering::Relaxed);
        let (at, len) = (self.map.as_mut_ptr().cast(), self.map.len());
        // SAFETY: whatever is mapped there goes — that is exactly this region's own mapping, of the
        // same length, and the new one shows the same pages; it is only read from here on, since a
        // `Region` is never written.
        unsafe { mmap(at, len, ProtFlags::READ, flags, &read_only, 0) }?;
        Ok(fcntl_add_seals(fd, SealFlags::WRITE | SealFlags::SEAL)?)
    }

    /// This process made it and can still write to it.
    pub(crate) fn can_be_filled(&self) -> bool {
        self.pid == process::own_pid() && self.is_writable.load(Ordering::Relaxed)
    }

    /// Writes it once more. Only once no other process reads it.
    pub(crate) fn fill_again(self) -> Option<Filling> {
        let can = self.can_be_filled() && self.map.advise(Advice::DontFork).is_ok();
        can.then_some(Filling(self))
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.pid == process::own_pid() {
            // SAFETY: it must not be used again — it is dropped with `self`.
            unsafe { ManuallyDrop::drop(&mut self.fd) };
        }
    }
}

#[cfg(test)]
#[path = "tests/region.rs"]
mod tests;
