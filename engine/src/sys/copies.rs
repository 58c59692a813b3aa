//! Copies of payloads, counted: what is promised of them is looked at by tests, not believed.

use std::sync::atomic::{AtomicU64, Ordering};

/// Shorter payloads are not counted: they travel within a slot.
const COUNTED_MIN: usize = 1 << 10;

static COUNTS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// What payloads are copied for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Copied {
    /// From a value into memory of the process's own.
    Encode,
    /// Into shared memory.
    Write,
    /// Out of shared memory into memory that nobody else writes to.
    CopyOut,
    /// From there, or from shared memory, into a value.
    Decode,
}

/// Counts one copy of so many bytes.
#[inline]
pub(crate) fn note_copy(copied: Copied, bytes: usize) {
    if bytes >= COUNTED_MIN {
        COUNTS[copied as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Copies that this process has made: encoded, written to shared memory, copied out of it, decoded.
/// For tests.
pub fn copies() -> [u64; 4] {
    COUNTS.each_ref().map(|count| count.load(Ordering::Relaxed))
}
