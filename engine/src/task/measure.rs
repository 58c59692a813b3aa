//! How long the parts of a task's way take, for those tasks that are measured.
//!
//! The words are written by whoever has the task in hand at that moment, one after another.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::sys::clock;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Measure {
    /// How many tasks it stands for; 0: it is not measured.
    weight: AtomicU32,
    /// When the part began that it is in, in ns of the clock.
    since_ns: AtomicU64,
    decode_ns: AtomicU64,
    /// Somebody waited when the outcome came.
    was_awaited: AtomicBool,
}

impl Measure {
    /// From here on it is measured, for so many.
    pub(crate) fn begin(&self, weight: u64, now: Duration) {
        self.weight.store(u32::try_from(weight).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.mark(now);
    }

    /// How many tasks it stands for, if it is measured.
    #[inline]
    pub(crate) fn weight(&self) -> Option<u64> {
        match self.weight.load(Ordering::Relaxed) {
            0 => None,
            weight => Some(u64::from(weight)),
        }
    }

    /// The next part begins.
    pub(crate) fn mark(&self, now: Duration) {
        self.since_ns.store(clock::as_ns(now), Ordering::Relaxed);
    }

    /// How long the part has taken until `now`, in ns.
    pub(crate) fn until(&self, now: Duration) -> u64 {
        clock::as_ns(now).saturating_sub(self.since_ns.load(Ordering::Relaxed))
    }

    /// The outcome is there.
    pub(crate) fn settled(&self, was_awaited: bool) {
        if self.weight().is_some() {
            self.was_awaited.store(was_awaited, Ordering::Relaxed);
            self.mark(clock::now());
        }
    }

    pub(crate) fn was_awaited(&self) -> bool {
        self.was_awaited.load(Ordering::Relaxed)
    }

    /// What decoding the outcome took, in ns; 0: nothing was decoded.
    pub(crate) fn decode_ns(&self) -> u64 {
        self.decode_ns.load(Ordering::Relaxed)
    }

    pub(crate) fn set_decode_ns(&self, ns: u64) {
        self.decode_ns.store(ns, Ordering::Relaxed);
    }
}
