//! Memory that two processes share, without `unsafe`: a memfd that the child finds as its
//! standard input, mapped by `vm-memory`, which hands out bounds-checked references to atomics.
//!
//! A mapping is never undone: a floor lives as long as its process.

use std::error::Error;
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::thread::futex::{self, Flags};
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};

/// A mapped memfd.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared(&'static MmapRegion);

impl Shared {
    /// Makes and maps zero-filled memory; the second half goes to the child.
    pub(super) fn create(bytes: usize) -> Result<(Self, Stdio), Box<dyn Error>> {
        let file = File::from(memfd_create("amphi-bench", MemfdFlags::CLOEXEC)?);
        ftruncate(&file, bytes as u64)?;
        let stdin = Stdio::from(file.try_clone()?);
        Ok((Self::map(file, bytes)?, stdin))
    }

    /// In the child: maps what came as standard input.
    pub(super) fn from_stdin(bytes: usize) -> Result<Self, Box<dyn Error>> {
        Self::map(File::from(std::io::stdin().as_fd().try_clone_to_owned()?), bytes)
    }

    fn map(file: File, bytes: usize) -> Result<Self, Box<dyn Error>> {
        let region = MmapRegion::from_file(FileOffset::new(file, 0), bytes)?;
        Ok(Self(Box::leak(Box::new(region))))
    }

    /// The word at a byte offset.
    pub(super) fn word(self, offset: usize) -> &'static AtomicU64 {
        self.0.get_atomic_ref(offset).expect("an aligned offset inside the mapping")
    }

    /// The 32 bits at a byte offset. Of a [`word`](Self::word), only for the futex calls, which
    /// look at the address alone.
    pub(super) fn half(self, offset: usize) -> &'static AtomicU32 {
        self.0.get_atomic_ref(offset).expect("an aligned offset inside the mapping")
    }
}

/// Sleeps while the word holds `value`, for `limit` at most. May come back for no reason.
pub(super) fn sleep(word: &AtomicU32, value: u32, limit: Option<Duration>) {
    let limit = limit.and_then(|limit| limit.try_into().ok());
    let _ = futex::wait(word, Flags::empty(), value, limit.as_ref());
}

/// Wakes one sleeper of the word.
pub(super) fn wake(word: &AtomicU32) {
    let _ = futex::wake(word, Flags::empty(), 1);
}
