//! The atomics of a lane: core's, or loom's where the protocols are model-checked.

#[cfg(not(amphi_loom))]
pub(crate) use core::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(amphi_loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
