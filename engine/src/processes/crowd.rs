//! Whether looking for something is better than to sleep until it comes: not where every core is at
//! work. Whoever looks there keeps the core from those that it waits for; whoever yields it gets it
//! back after somebody else's time slice, while a sleeper is woken ahead of them.
//!
//! Measured, one `u64` after the other to a worker on two cores beside two processes that compute:
//! 3.7 ms without this, 27 µs with it (futexes by hand 13 to 21, ipc-channel 26).

use std::time::Duration;

use crate::sys::clock;

/// A yield that comes back later than this has let others run that are not the engine's.
const LATE: Duration = Duration::from_micros(200);
/// Sleeps that are not preceded by a look after a late yield, first and at most.
const SKIPS: (u32, u32) = (64, 4096);

/// Looks between two yields: several times as many as a hot answer takes, so that none is in its way.
/// Whoever has woken the other side, or was woken, yields at once besides: both may be on one core.
pub(super) const YIELD_ROUNDS: u32 = 512;

/// Lets others run. True: they took their time, no core is idle.
pub(super) fn yields_late() -> bool {
    let begun = clock::now();
    std::thread::yield_now();
    clock::now().saturating_sub(begun) > LATE
}

/// Sleeps that are not to be preceded by a look now, and the penalty after the next late yield.
pub(super) fn crowded(penalty: u32) -> (u32, u32) {
    let skip = penalty.clamp(SKIPS.0, SKIPS.1);
    (skip, (2 * skip).min(SKIPS.1))
}
