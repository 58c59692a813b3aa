//! Atomics from core, or from loom where the protocols are model-checked.

#[cfg(not(amphi_loom))]
pub use core::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(amphi_loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering, fence};
