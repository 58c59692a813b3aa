//! How many workers there are, and how long each lives: a new one when all are busy, a replacement
//! for one that is worn out (before it leaves), an end for those that nobody needs.
//!
//! # Invariants
//! 1. As long as something waits and no worker suits it, one is coming, or one that is idle is
//!    leaving to make room for it.
//! 2. A worker that is to go is given nothing more, and is ended when it has nothing left.

use std::time::Duration;

use super::After;
use super::pool::{Inner, Processes};
use super::queue::Need;
use super::seat::{Seat, SeatState};

/// Workers whose tasks wait for other tasks, at most: so deep may tasks nest that need a worker of
/// their own each.
const WAITING_MAX: usize = 128;

/// A bound that is a little less for some, so that workers that started together do not all leave
/// together: between nine tenths and the whole of it.
fn spread(bound: u64, seat: usize, generation: u64) -> u64 {
    let mixed = (seat as u64 ^ generation << 16).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bound - bound / 10 * (mixed >> 54) / 1024
}

impl Processes {
    /// Nobody who suits is free: one more, unless as many are coming as there are tasks.
    pub(super) fn want_worker(&self, inner: &mut Inner, need: Need, after: &mut After) {
        let waiting = inner.queue.of(need).len();
        let coming = |seat: &&Seat| {
            let comes = matches!(seat.state, SeatState::Wanted { .. } | SeatState::Starting { .. });
            comes && seat.kind == need.kind
        };
        if inner.seats.iter().filter(coming).count() >= waiting {
            return;
        }
        let taken = inner.seats.iter().filter(|seat| seat.is_taken()).count();
        if taken < *self.workers.end() {
            if self.fill_seat(inner, need.kind, after).is_none() && taken == 0 {
                let text = "tasks in workers wait for tasks in further workers, deeper than there \
                            may be workers that wait; let jobs submit what needs a process less deep";
                self.refuse_queue(inner, text, after);
            }
        } else if let Some(seat) = inner.seats.iter_mut().find(|seat| seat.is_in_the_way(need))
            && let Some(link) = &mut seat.link
        {
            link.retire();
            link.kill();
        }
    }

    /// Has a worker started in a seat that nobody holds. Which seat, and its next holder.
    fn fill_seat(&self, inner: &mut Inner, kind: u16, after: &mut After) -> Option<(u32, u64)> {
        let empty = inner.seats.iter().position(|seat| seat.state == SeatState::Empty);
        let index = empty.or_else(|| {
            // More than may serve: workers whose tasks wait for others do not.
            let may_grow = inner.seats.len() <= *self.workers.end() + WAITING_MAX;
            may_grow.then(|| inner.seats.push(Seat::default()))?;
            Some(inner.seats.len() - 1)
        })?;
        let seat = &mut inner.seats[index];
        seat.state = SeatState::Wanted { from: Duration::ZERO };
        seat.kind = kind;
        after.call = true;
        Some((u32::try_from(index).expect("few seats"), seat.generation))
    }

    /// Starts what is missing of the least number of workers.
    pub(super) fn want_the_least(&self, inner: &mut Inner, after: &mut After) {
        let taken = inner.seats.iter().filter(|seat| seat.is_taken()).count();
        for _ in taken..*self.workers.start() {
            self.fill_seat(inner, 0, after);
        }
    }

    /// A worker that is to go: its replacement is started first; then it is given nothing more,
    /// and ended when it is idle.
    pub(super) fn wear_out(&self, inner: &mut Inner, index: usize, after: &mut After) {
        let (kind, seat) = (inner.seats[index].kind, &mut inner.seats[index]);
        let Some(link) = &mut seat.link else { return };
        if link.retiring {
            if !link.is_busy() && !link.ordered {
                link.kill();
            }
            return;
        }
        match link.replaced_by {
            None => {
                let replacement = self.fill_seat(inner, kind, after);
                if let Some(link) = &mut inner.seats[index].link {
                    link.replaced_by = replacement;
                }
            }
            Some((next, generation)) => {
                let next = &inner.seats[next as usize];
                let is_there = next.generation == generation && next.is_ready();
                let failed = next.generation != generation || next.state == SeatState::Empty;
                let Some(link) = &mut inner.seats[index].link else { return };
                if is_there {
                    link.retire();
                    self.take_back_others(inner, u32::try_from(index).expect("few"), u64::MAX);
                    self.wear_out(inner, index, after);
                } else if failed {
                    link.replaced_by = None; // tried again when the worker is next looked at
                }
            }
        }
    }

    /// A worker has finished tasks: are they enough?
    pub(super) fn count_wear(&self, inner: &mut Inner, index: usize) {
        let Some(tasks) = self.life.tasks else { return };
        let seat = &mut inner.seats[index];
        if let Some(link) = &mut seat.link {
            link.worn |= link.finished >= spread(tasks, index, seat.generation).max(1);
        }
    }

    /// The supervisor looks at a worker's age, and whether it was idle since it last looked.
    pub(super) fn look_at_age(&self, inner: &mut Inner, index: usize, now: Duration) {
        let spare =
            inner.seats.iter().filter(|seat| seat.is_ready()).count() > *self.workers.start();
        let seat = &mut inner.seats[index];
        let Some(due) = self.due(seat, index) else { return };
        let Some(link) = seat.link.as_mut().filter(|_| due <= now) else { return };
        if self.life.age.is_some_and(|age| link.since + age.mul_f64(0.9) <= now) {
            link.worn = true;
        }
        let untouched = link.seen_seq == link.host.next_seq();
        (link.seen_seq, link.looked) = (link.host.next_seq(), now);
        if self.life.idle.is_some() && untouched && spare && !link.is_busy() && link.lost.is_empty()
        {
            link.retire();
        }
    }

    /// When the supervisor looks at a worker next.
    pub(super) fn due(&self, seat: &Seat, index: usize) -> Option<Duration> {
        let link = seat.link.as_ref().filter(|_| seat.state == SeatState::Ready)?;
        if link.retiring || link.worn {
            return None;
        }
        let age = self.life.age.map(|age| {
            let ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            link.since.saturating_add(Duration::from_millis(spread(ms, index, seat.generation)))
        });
        let idle = self.life.idle.map(|idle| link.looked.saturating_add(idle));
        age.into_iter().chain(idle).min()
    }
}

impl Seat {
    /// Its worker is idle, does not suit, and could make room for one that does.
    fn is_in_the_way(&self, need: Need) -> bool {
        let idle = self.link.as_ref().is_some_and(|link| link.is_idle() && !link.ordered);
        self.state == SeatState::Ready && idle && !self.serves(need)
    }
}
