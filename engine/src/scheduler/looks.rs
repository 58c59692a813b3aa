//! When what dispatch costs is to be looked at, and what the policy is told of it.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Scheduler;
use crate::policy::{Costs, Event};
use crate::sys::clock;

impl Scheduler {
    /// True once for each look that is due: whoever asks has to see to it.
    #[inline]
    pub(crate) fn asks_for_calibration(&self) -> bool {
        self.look_is_due.load(Ordering::Relaxed)
            && self.look_is_due.swap(false, Ordering::Relaxed)
            && self.with_policy(|policy, _| policy.wants_costs()) == Some(true)
    }

    /// The first task decided anew after `time` asks for another look. An engine without tasks never
    /// looks: it does nothing.
    pub(crate) fn look_again_after(&self, time: Duration) {
        let at = clock::now().saturating_add(time);
        self.next_look_ns.store(clock::as_ns(at), Ordering::Relaxed);
    }

    pub(super) fn look_if_it_is_time(&self) {
        let at = self.next_look_ns.load(Ordering::Relaxed);
        if at != u64::MAX && at <= clock::as_ns(clock::now()) {
            self.next_look_ns.store(u64::MAX, Ordering::Relaxed);
            self.look_is_due.store(true, Ordering::Relaxed);
        }
    }

    /// What handing over costs was measured.
    pub(crate) fn calibrated(&self, costs: Costs) {
        let event = Event::Calibrated(costs);
        self.with_policy(|policy, now| policy.observe(&event, now));
        for cached in self.jobs.iter().filter_map(OnceLock::get).flat_map(|sizes| sizes.iter()) {
            cached.make_void();
        }
    }
}
