//! What several test targets share: waiting with a deadline.

use std::time::{Duration, Instant};

/// Polls `condition` until it holds.
///
/// # Panics
/// If it does not hold within ten seconds; the text says what was waited for.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited ten seconds for {what}");
        std::thread::yield_now();
    }
}
