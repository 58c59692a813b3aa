//! The one clock: monotonic, as a duration since an arbitrary start that is the same for all
//! threads of a process.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Now.
#[cfg(target_os = "linux")]
#[inline]
pub(crate) fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // The kernel's monotonic time is never negative.
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Now.
#[cfg(not(target_os = "linux"))]
pub(crate) fn now() -> Duration {
    start().elapsed()
}

/// The clock's start where the system has no number for it.
#[cfg_attr(target_os = "linux", expect(dead_code, reason = "other systems only"))]
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// A moment as this clock tells it.
pub(crate) fn at(instant: Instant) -> Duration {
    let (here, there) = (now(), Instant::now());
    match instant.checked_duration_since(there) {
        Some(left) => here.saturating_add(left),
        None => here.saturating_sub(there - instant),
    }
}

/// A moment as a number for other processes of this machine, whose clock is the same.
pub(crate) fn as_ns(moment: Duration) -> u64 {
    u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds since an earlier moment.
#[inline]
pub(crate) fn ns_since(begun: Duration) -> u64 {
    u64::try_from(now().saturating_sub(begun).as_nanos()).unwrap_or(u64::MAX)
}
