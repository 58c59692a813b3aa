//! Which jobs have ended workers lately: their tasks stay away from the host for a while.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a job stays away after its first crash; each further one within that time doubles it.
const QUARANTINE: Duration = Duration::from_secs(600);
/// The longest quarantine.
const QUARANTINE_MAX: Duration = Duration::from_secs(24 * 3600);

/// One job's history. Racing crashes may count as one; the quarantine is the same.
#[derive(Debug, Default)]
pub(super) struct Crashes {
    /// Until when its tasks run in processes alone, in ms of the monotonic clock; 0: it is not.
    until_ms: AtomicU64,
    /// How long the last quarantine is, in ms.
    length_ms: AtomicU64,
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Crashes {
    pub(super) fn note(&self, now: Duration) {
        let (now, until) = (ms(now), self.until_ms.load(Ordering::Relaxed));
        let length = match self.length_ms.load(Ordering::Relaxed) {
            last if last > 0 && now < until => (2 * last).min(ms(QUARANTINE_MAX)),
            _ => ms(QUARANTINE),
        };
        self.length_ms.store(length, Ordering::Relaxed);
        self.until_ms.store(now.saturating_add(length), Ordering::Relaxed);
    }

    /// The clock is read only for a job that has crashed.
    #[inline]
    pub(super) fn forbid_threads(&self, now: impl FnOnce() -> Duration) -> bool {
        match self.until_ms.load(Ordering::Relaxed) {
            0 => false,
            until if ms(now()) < until => true,
            until => {
                let _ =
                    self.until_ms.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_keeps_a_job_away_for_a_while_and_the_next_for_longer() {
        let crashes = Crashes::default();
        let at = |seconds: u64| Duration::from_secs(1000 + seconds);
        assert!(!crashes.forbid_threads(|| at(0)));
        crashes.note(at(0));
        assert!(crashes.forbid_threads(|| at(599)));
        crashes.note(at(599));
        assert!(crashes.forbid_threads(|| at(599 + 1199)));
        assert!(!crashes.forbid_threads(|| at(599 + 1200)));
        crashes.note(at(3000));
        assert!(!crashes.forbid_threads(|| at(3600)));
    }
}
