//! Giving queued tasks to workers: which seat, under which token, and how the bytes travel.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use amphi_protocol::{
    BLOCK_MAX, Block, Grant, INPUT_INLINE, Input, OUTPUT_INLINE, Request, ToWorker, encode,
};

use super::After;
use super::link::{Flight, Link, SeatState};
use super::pool::{Inner, Processes, Shared};
use crate::error::{Reason, TaskError};
use crate::limits::{PREFETCH, TAKE_BACK_AFTER, WAKE_COST};
use crate::sys::clock;
use crate::sys::memory::sealed_memfd;

/// Queued work that is worth starting one more worker (about what starting one costs).
const START_WORTH: Duration = Duration::from_millis(1);

/// What to do with the task at the head of the queue.
enum Choice {
    Seat(usize),
    /// Wait: for a slot, a token, or a worker.
    Wait,
}

/// What became of a publication.
enum Sent {
    Yes,
    /// No room in the lane now.
    NoRoom,
    Failed(TaskError<std::convert::Infallible>),
}

impl Processes {
    /// Dispatches from the head of the queue while there are seats and tokens, then takes the
    /// tokens of idle seats.
    pub(super) fn dispatch(&self, inner: &mut Inner, after: &mut After) {
        while let Some(task) = inner.queue.front() {
            if !task.core().is_waiting() {
                inner.queue.pop_front();
                continue;
            }
            let task = Arc::clone(task);
            let index = match self.choose(inner, &task, after) {
                Choice::Seat(index) => index,
                Choice::Wait => break,
            };
            inner.queue.pop_front();
            if !task.core().claim() {
                continue;
            }
            match self.send(inner, index, &task, after) {
                Sent::Yes => self.room.leave(),
                Sent::NoRoom => {
                    task.core().unclaim();
                    inner.queue.push_front(task);
                    break;
                }
                Sent::Failed(failure) => {
                    self.room.leave();
                    after.fail(task, failure);
                }
            }
        }
        for seat in &mut inner.seats {
            let busy = seat.link.as_ref().is_some_and(|link| link.host.in_flight() > 0);
            if seat.has_token && !busy {
                seat.has_token = false;
                after.tokens += 1;
            }
        }
    }

    fn choose(&self, inner: &mut Inner, task: &Shared, after: &mut After) -> Choice {
        let predicted = self.home.table.entry(task.core().job).and_then(|entry| entry.service_ns());
        let alone = task.core().kill_after.is_some();
        let backlog = |link: &Link| match predicted {
            // A clock that kills must not run for somebody else's task, and nobody queues behind
            // a task that may be killed.
            Some(ns) if !alone && link.timed == 0 => {
                Duration::from_nanos(ns.saturating_mul(link.host.in_flight() as u64))
            }
            _ => Duration::MAX,
        };
        let (mut idle, mut shortest) = (None, None::<(Duration, usize)>);
        for (index, seat) in inner.seats.iter().enumerate().filter(|(_, seat)| seat.is_ready()) {
            let Some(link) = &seat.link else { continue };
            if link.host.in_flight() == 0 {
                idle = idle.or(Some(index));
                continue;
            }
            let backlog = backlog(link);
            let room = link.host.free_slots() > 0;
            if backlog < WAKE_COST {
                // Less work lies there than waking another worker costs.
                return if room { Choice::Seat(index) } else { Choice::Wait };
            }
            if room && shortest.is_none_or(|(least, _)| backlog < least) {
                shortest = Some((backlog, index));
            }
        }
        if let Some(index) = idle {
            let seat = &mut inner.seats[index];
            if seat.has_token || self.budget.take_or_wait(&self.appetite) {
                seat.has_token = true;
                return Choice::Seat(index);
            }
        } else {
            self.want_worker(inner, predicted, after);
        }
        match shortest {
            Some((backlog, index)) if backlog < PREFETCH => {
                self.watch_prefetch(inner);
                Choice::Seat(index)
            }
            _ => Choice::Wait,
        }
    }

    /// Every worker is busy: is one more worth it?
    fn want_worker(&self, inner: &mut Inner, predicted: Option<u64>, after: &mut After) {
        let waiting = inner.queue.len();
        let coming = |seat: &&super::link::Seat| {
            matches!(seat.state, SeatState::Wanted | SeatState::Starting { .. })
        };
        let coming = inner.seats.iter().filter(coming).count();
        let work = predicted
            .map_or(Duration::MAX, |ns| Duration::from_nanos(ns.saturating_mul(waiting as u64)));
        if coming >= waiting || (inner.serves() && work < START_WORTH) {
            return;
        }
        if let Some(seat) = inner.seats.iter_mut().find(|seat| seat.state == SeatState::Empty) {
            seat.state = SeatState::Wanted;
            after.call = true;
        }
    }

    /// Looks later whether what was bound early is stuck behind a longer task than predicted.
    fn watch_prefetch(&self, inner: &mut Inner) {
        if inner.alarm_at.is_none() {
            self.alarm_by(inner, clock::now() + TAKE_BACK_AFTER);
        }
    }

    /// The supervisor looks at all deadlines at `at` or before.
    pub(super) fn alarm_by(&self, inner: &mut Inner, at: Duration) {
        if inner.alarm_at.is_none_or(|now| at < now) {
            inner.alarm_at = Some(at);
            self.alarm.set(Some(at));
        }
    }

    /// Puts a claimed task's bytes into a lane and publishes it.
    fn send(&self, inner: &mut Inner, index: usize, task: &Shared, after: &mut After) -> Sent {
        let Some(link) = inner.seats[index].link.as_mut() else { return Sent::NoRoom };
        if link.host.free_slots() == 0 {
            return Sent::NoRoom;
        }
        let core = task.core();
        let wanted = self.home.table.entry(core.job).map_or(0, |entry| entry.output_bytes());
        let output = match wanted {
            bytes if bytes > OUTPUT_INLINE as u64 => link.outputs.allocate(bytes),
            _ => None,
        };
        let grant = output
            .as_ref()
            .map_or(Grant::NONE, |block| Grant { offset: block.offset, capacity: block.capacity });
        let mut sent = Sent::NoRoom;
        let mut published = None;
        let mut input = None;
        task.with_encoded(&mut |bytes| {
            let place = match place_input(link, bytes) {
                Ok(place) => place,
                Err(failure) => {
                    sent = failure;
                    return;
                }
            };
            let request = match &place {
                None => Input::Inline(bytes),
                Some(Placed::Block(block)) => {
                    Input::Block { offset: block.offset, len: bytes.len() as u64 }
                }
                Some(Placed::Memfd) => Input::Memfd { len: bytes.len() as u64 },
            };
            let request = Request { job: core.job, flags: 0, input: request, grant };
            match link.host.publish(link.lane.req(), link.lane.rsp(), &request) {
                Ok(done) => published = Some(done),
                Err(violation) => link.break_off(violation.to_string()),
            }
            if let Some(Placed::Block(block)) = place {
                input = Some(block);
            }
        });
        let Some(published) = published else {
            link.free_blocks(input, output);
            return sent;
        };
        let kill_at = core.kill_after.map(|limit| clock::now().saturating_add(limit));
        core.set_seat(u32::try_from(index).expect("few seats"), published.seq);
        if published.wake {
            core.note_wake();
            after.wake(&link.lane, published.seq);
        }
        let task = Arc::clone(task);
        link.put_flight(Flight { task, seq: published.seq, input, output, kill_at });
        if let Some(at) = kill_at {
            self.alarm_by(inner, at);
        }
        Sent::Yes
    }
}

enum Placed {
    Block(Block),
    Memfd,
}

/// Puts an input where it fits: `None`: into the slot.
fn place_input(link: &mut Link, bytes: &[u8]) -> Result<Option<Placed>, Sent> {
    let len = bytes.len() as u64;
    if bytes.len() <= INPUT_INLINE {
        return Ok(None);
    }
    if len <= BLOCK_MAX {
        if let Some(block) = link.inputs.allocate(len) {
            let offset = usize::try_from(block.offset).expect("an offset of a mapping");
            link.lane.request.write(offset, bytes);
            return Ok(Some(Placed::Block(block)));
        }
        if link.host.in_flight() > 0 {
            // Blocks come back with the replies.
            return Err(Sent::NoRoom);
        }
    }
    let seq = link.host.next_seq();
    let sent = sealed_memfd("amphi-input", bytes)
        .and_then(|fd| link.socket.send(&encode(&ToWorker::Payload { seq, len }), &[fd.as_fd()]));
    match sent {
        Ok(()) => Ok(Some(Placed::Memfd)),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Err(Sent::NoRoom),
        Err(error) => Err(Sent::Failed(TaskError::Rejected(Reason::NoWorkers(format!(
            "an input of {len} bytes could not be handed over: {error}"
        ))))),
    }
}
