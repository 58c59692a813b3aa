//! Shared memory: lanes' segments and sealed payloads, all anonymous memfds.
//!
//! A segment is never seen as `&[u8]` by the host: control words are atomics, payload bytes are
//! copied in and out by a routine the compiler cannot look into. Sizes are sealed before a
//! descriptor leaves its maker, so that no peer can make the other die of SIGBUS.
//!
//! # Invariants
//! 1. A mapping is as long as its file for ever: both seals are checked before a foreign one is
//!    mapped.
//! 2. Only [`copy_shared`] touches payload bytes of a writable segment, each byte once.
//! 3. A `&[u8]` is only ever lent of a segment that this process cannot write.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fstat,
    ftruncate, memfd_create,
};
use rustix::io::Errno;

use super::copies::{Copied, note_copy};

/// How a segment is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
}

/// One shared mapping of a memfd; unmapped on drop, not inherited by fork.
#[derive(Debug)]
pub(crate) struct Segment {
    map: MmapRaw,
    access: Access,
}

impl Segment {
    /// A fresh zeroed segment, mapped read-write, and its descriptor. The first `reserve` bytes
    /// are allocated now, so that a full memory is an error here and not a SIGBUS later.
    pub(crate) fn create(name: &str, bytes: usize, reserve: usize) -> io::Result<(Self, OwnedFd)> {
        let fd = memfd(name)?;
        ftruncate(&fd, bytes as u64)?;
        fallocate(&fd, FallocateFlags::empty(), 0, reserve as u64)?;
        let map = MmapOptions::new().len(bytes).map_raw(&fd)?;
        map.advise(Advice::DontFork)?;
        Ok((Self { map, access: Access::ReadWrite }, fd))
    }

    /// Maps a segment that another process made. Its size must be sealed.
    pub(crate) fn map(fd: BorrowedFd<'_>, bytes: usize, access: Access) -> io::Result<Self> {
        let sealed = SealFlags::SHRINK | SealFlags::GROW;
        if !fcntl_get_seals(fd)?.contains(sealed) || fstat(fd)?.st_size != bytes as i64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a sealed segment"));
        }
        let mut options = MmapOptions::new();
        let map = match access {
            Access::ReadWrite => options.len(bytes).map_raw(&fd)?,
            Access::ReadOnly => options.len(bytes).map_raw_read_only(&fd)?,
        };
        map.advise(Advice::DontFork)?;
        Ok(Self { map, access })
    }

    /// The 8-byte words of a range.
    ///
    /// # Panics
    /// If the range is not within the segment or not made of words.
    pub(crate) fn words(&self, range: Range<usize>) -> &[AtomicU64] {
        assert!(range.start <= range.end && range.end <= self.map.len());
        assert!(range.start.is_multiple_of(8) && range.end.is_multiple_of(8));
        // SAFETY: the result must stay within one allocation — the range was checked against the
        // mapping's length.
        let first = unsafe { self.map.as_mut_ptr().add(range.start) };
        // SAFETY: the memory must be mapped, aligned and only touched atomically for the life of
        // the reference — the mapping lives as long as `self` and its size is sealed; pages are
        // aligned and the offset is a multiple of 8; the protocol gives these words atomic access
        // only, and read-only mappings are only loaded from (Relaxed, 8 bytes).
        unsafe { std::slice::from_raw_parts(first.cast::<AtomicU64>(), range.len() / 8) }
    }

    /// Allocates page tables (and pages) of a range now. Best effort.
    pub(crate) fn populate(&self, range: Range<usize>) {
        let advice = match self.access {
            Access::ReadWrite => Advice::PopulateWrite,
            Access::ReadOnly => Advice::PopulateRead,
        };
        let _ = self.map.advise_range(advice, range.start, range.len());
    }

    /// Copies bytes into a block that this process owns at this moment.
    ///
    /// # Panics
    /// If the block is not within the segment, or the segment is read-only.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(self.access == Access::ReadWrite);
        assert!(offset <= self.map.len() && bytes.len() <= self.map.len() - offset);
        // SAFETY: the result must stay within one allocation — checked above.
        let to = unsafe { self.map.as_mut_ptr().add(offset) };
        // SAFETY: both ranges must be valid and apart — `bytes` is private memory, the block was
        // checked and is mapped writable.
        unsafe { copy_shared(bytes.as_ptr(), to, bytes.len()) };
        note_copy(Copied::Write, bytes.len());
    }

    /// Copies a block out, reading each byte once.
    ///
    /// # Panics
    /// If the block is not within the segment.
    pub(crate) fn copy_out(&self, offset: usize, len: usize) -> Vec<u8> {
        assert!(offset <= self.map.len() && len <= self.map.len() - offset);
        let mut bytes = Vec::<u8>::with_capacity(len);
        // SAFETY: the result must stay within one allocation — checked above.
        let from = unsafe { self.map.as_ptr().add(offset) };
        // SAFETY: both ranges must be valid and apart — the block was checked, the capacity is
        // `len`, and the vector is private.
        unsafe { copy_shared(from, bytes.as_mut_ptr(), len) };
        // SAFETY: the first `len` bytes must be initialised — the copy above did.
        unsafe { bytes.set_len(len) };
        note_copy(Copied::CopyOut, len);
        bytes
    }

    /// Shows a block of a read-only segment: a worker's input, which the host does not change
    /// before the reply.
    ///
    /// # Panics
    /// If the block is not within the segment, or the segment is writable here.
    pub(crate) fn with_block<R>(
        &self,
        offset: usize,
        len: usize,
        show: impl FnOnce(&[u8]) -> R,
    ) -> R {
        assert!(self.access == Access::ReadOnly);
        assert!(offset <= self.map.len() && len <= self.map.len() - offset);
        // SAFETY: the result must stay within one allocation — checked above.
        let first = unsafe { self.map.as_ptr().add(offset) };
        // SAFETY: the bytes must not change while the slice lives — the worker has claimed the
        // task, the host owns the block until the reply and is trusted by its workers.
        show(unsafe { std::slice::from_raw_parts(first, len) })
    }
}

/// Copies between private and shared memory, reading and writing each byte once. A peer that writes
/// at the same time can tear the bytes and nothing else: the compiler sees no access that could
/// race, and only the private copy is ever looked at.
///
/// Measured against a loop over words (slower from 256 bytes on), memcpy (the same) and `pread`
/// (three times slower at 64 KiB and more, twenty times below 1 KiB).
///
/// # Safety
/// `from` must be readable and `to` writable for `len` bytes, and they must not overlap.
#[cfg(all(target_arch = "x86_64", not(miri)))]
unsafe fn copy_shared(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the three registers must describe two valid ranges, and the direction flag must be
    // clear — the caller vouches for the ranges, the flag is clear whenever `asm!` begins.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags)
        );
    }
}

/// Copies between private and shared memory, by volatile words where both sides are aligned.
///
/// # Safety
/// `from` must be readable and `to` writable for `len` bytes, and they must not overlap.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
unsafe fn copy_shared(from: *const u8, to: *mut u8, len: usize) {
    let aligned = (from.addr() | to.addr()).is_multiple_of(8);
    let words = if aligned { len / 8 } else { 0 };
    let (from_words, to_words) = (from.cast::<u64>(), to.cast::<u64>());
    for index in 0..words {
        let (source, target) = (from_words.wrapping_add(index), to_words.wrapping_add(index));
        // SAFETY: valid and aligned — by the caller, and by `aligned`.
        let word = unsafe { source.read_volatile() };
        // SAFETY: as above.
        unsafe { target.write_volatile(word) };
    }
    for index in 8 * words..len {
        // SAFETY: valid — `index` is below `len`.
        let byte = unsafe { from.wrapping_add(index).read_volatile() };
        // SAFETY: as above.
        unsafe { to.wrapping_add(index).write_volatile(byte) };
    }
}

pub(super) fn memfd(name: &str) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Before Linux 6.3. The fallback must stay sealable.
        Err(Errno::INVAL) => Ok(memfd_create(name, flags)?),
        made => Ok(made?),
    }
}

/// REQ's seals: nobody changes its size, and no new writable mapping can be made of it.
pub(crate) fn seal_request(fd: impl AsFd) -> io::Result<()> {
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
    Ok(fcntl_add_seals(fd, seals)?)
}

/// RSP's seals: nobody changes its size.
pub(crate) fn seal_response(fd: impl AsFd) -> io::Result<()> {
    Ok(fcntl_add_seals(fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?)
}

const PAYLOAD_SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE);

/// A memfd that holds `bytes` and can never change.
pub(crate) fn sealed_memfd(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    for _ in 1..SEAL_TRIES {
        match try_sealed_memfd(name, bytes) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
            made => return made,
        }
    }
    try_sealed_memfd(name, bytes)
}

/// The kernel refuses the seal while a page is held elsewhere (by its own work on large pages,
/// say), and has then waited for 150 ms already.
pub(super) const SEAL_TRIES: u32 = 4;

fn try_sealed_memfd(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd(name)?;
    let mut left = bytes;
    while !left.is_empty() {
        match rustix::io::write(&fd, left) {
            Ok(written) => left = &left[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    fcntl_add_seals(&fd, PAYLOAD_SEALS | SealFlags::SEAL)?;
    note_copy(Copied::Write, bytes.len());
    Ok(fd)
}

/// The bytes of a sealed memfd of exactly `len` bytes.
pub(crate) fn read_sealed(fd: BorrowedFd<'_>, len: u64) -> io::Result<Vec<u8>> {
    let refuse = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    if !fcntl_get_seals(fd)?.contains(PAYLOAD_SEALS) {
        return refuse("a payload's memfd is sealed");
    }
    if u64::try_from(fstat(fd)?.st_size) != Ok(len) {
        return refuse("a payload's memfd has the size that was announced");
    }
    let Ok(size) = usize::try_from(len) else { return refuse("a payload fits the memory") };
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size)?;
    while bytes.len() < size {
        let at = bytes.len() as u64;
        match rustix::io::pread(fd, rustix::buffer::spare_capacity(&mut bytes), at) {
            Ok(0) => return refuse("a payload's memfd ends early"),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    note_copy(Copied::CopyOut, size);
    Ok(bytes)
}

#[cfg(test)]
#[path = "tests/memory.rs"]
mod tests;
