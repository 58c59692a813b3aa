//! Waiting for a task in a lane: look at it for as long as a wake-up would cost, then sleep.
//!
//! One waiter of an engine spins at a time, and only where that has paid lately and a core is idle
//! (`crowd.rs`). While it does, the lane is disarmed: the worker rings no bell, the waiter takes the
//! reply itself and no syscall is made by either side. Whoever leaves arms the lane again and polls
//! once more (`protocol/README.md`, worker → host, H1–H3).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use amphi_protocol::looks_done;

use super::After;
use super::crowd::{YIELD_ROUNDS, crowded, eased, yields_late};
use super::pool::Processes;
use super::seat::Lane;
use crate::sys::clock;
use crate::task::Core;

/// The longest look: a little above what waking a parked worker takes (measured: 40–50 µs).
const SPIN: Duration = Duration::from_micros(70);
/// A job that runs longer than this is not looked at.
const SERVICE_MAX: Duration = Duration::from_micros(100);
/// The most waits that are not to spin after fruitless ones.
const PENALTY_MAX: u32 = 256;

/// What became of looking.
enum Spun {
    Settled,
    InVain,
    /// Others ran for a time slice meanwhile.
    Late,
}

impl Spun {
    fn of(core: &Core) -> Self {
        if core.is_settled() { Self::Settled } else { Self::InVain }
    }
}

impl Processes {
    /// The caller will block for `task`: take its reply without sleeping, if it comes soon.
    pub(crate) fn help(&self, core: &Core) {
        if self.budget.cores() == 1 || !self.may_spin(core) {
            return;
        }
        // Acquire pairs with the Release store below.
        if self.spinner.swap(true, Ordering::Acquire) {
            return;
        }
        let spun = self.spin(core);
        // Release pairs with the Acquire swap above.
        self.spinner.store(false, Ordering::Release);
        let penalty = self.spin_penalty.load(Ordering::Relaxed);
        let (skip, next) = match spun {
            Spun::Settled => (0, eased(penalty)),
            Spun::InVain => (penalty, (2 * penalty).min(PENALTY_MAX.max(penalty))),
            Spun::Late => (penalty, crowded(penalty)),
        };
        self.spin_skip.store(skip, Ordering::Relaxed);
        self.spin_penalty.store(next, Ordering::Relaxed);
    }

    fn may_spin(&self, core: &Core) -> bool {
        let skip = self.spin_skip.load(Ordering::Relaxed);
        if skip > 0 {
            self.spin_skip.store(skip - 1, Ordering::Relaxed);
            return false;
        }
        let entry = self.home.table.entry(core.plan.job);
        entry
            .and_then(|entry| entry.service_ns())
            .is_none_or(|ns| Duration::from_nanos(ns) < SERVICE_MAX)
    }

    fn spin(&self, core: &Core) -> Spun {
        let Some((index, _)) = core.seat() else { return Spun::of(core) };
        let Some((lane, mut oldest)) = self.enter_poll(index, core) else {
            return Spun::of(core);
        };
        // The worker may be waiting for this very core.
        let mut late = core.woke_a_worker() && yields_late();
        let mut rounds = 0_u32;
        let mut until = Duration::ZERO;
        while !late && !core.is_settled() {
            if oldest.is_some_and(|seq| looks_done(lane.rsp(), seq)) {
                match self.poll_once(index, &lane) {
                    Some(next) => oldest = next,
                    None => break, // the seat has another holder
                }
                continue;
            }
            rounds += 1;
            if rounds.is_multiple_of(64) {
                let now = clock::now();
                if until.is_zero() {
                    until = now + SPIN;
                } else if now > until {
                    break;
                }
            }
            if rounds.is_multiple_of(YIELD_ROUNDS) {
                late = yields_late();
            }
            std::hint::spin_loop();
        }
        self.leave_poll(index, &lane);
        if late { Spun::Late } else { Spun::of(core) }
    }

    /// Disarms the lane. `None`: there is nothing to look at any more.
    fn enter_poll(&self, index: u32, core: &Core) -> Option<(Arc<Lane>, Option<u64>)> {
        let mut after = After::default();
        let mut inner = self.lock();
        self.harvest(&mut inner, index, &mut after);
        self.dispatch(&mut inner, &mut after);
        let link = inner.seats.get_mut(index as usize).and_then(|seat| seat.link.as_mut());
        let entered = link.map(|link| {
            link.pollers += 1;
            let lane = Arc::clone(&link.lane);
            link.host.disarm(lane.req());
            (lane, link.host.oldest())
        });
        drop(inner);
        after.run(self);
        if let (Some((lane, _)), true) = (&entered, core.is_settled()) {
            self.leave_poll(index, lane);
            return None;
        }
        entered
    }

    /// The oldest task that is left; `None`: this is the seat's lane no more.
    fn poll_once(&self, index: u32, lane: &Arc<Lane>) -> Option<Option<u64>> {
        let mut after = After::default();
        let mut inner = self.lock();
        self.harvest(&mut inner, index, &mut after);
        self.dispatch(&mut inner, &mut after);
        let link = inner.seats.get(index as usize).and_then(|seat| seat.link.as_ref());
        let link = link.filter(|link| Arc::ptr_eq(&link.lane, lane) && link.serves());
        let oldest = link.map(|link| link.host.oldest());
        drop(inner);
        after.run(self);
        oldest
    }

    /// Arms the lane again, unless others look at it, and polls once more.
    fn leave_poll(&self, index: u32, lane: &Arc<Lane>) {
        let mut after = After::default();
        let mut inner = self.lock();
        let link = inner.seats.get_mut(index as usize).and_then(|seat| seat.link.as_mut());
        // The seat may have another holder by now, who was never disarmed.
        if let Some(link) = link.filter(|link| Arc::ptr_eq(&link.lane, lane)) {
            link.pollers -= 1;
            if link.pollers == 0 {
                link.host.arm(lane.req());
            }
            link.read_records(&mut after);
            self.harvest(&mut inner, index, &mut after);
            self.dispatch(&mut inner, &mut after);
        }
        drop(inner);
        after.run(self);
    }
}
