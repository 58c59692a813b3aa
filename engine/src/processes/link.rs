//! A seat and its link: the host's end of one worker.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use amphi_protocol::{
    ARENA_BYTES, ARENA_OFFSET, Arena, Block, Exit, FromWorker, HostLane, ProgressRecord,
    RSP_ARENA_OFFSET, RecordReader, Req, Rsp, SLOTS, decode, record_kind, state_word_index,
};

use super::pool::{Inner, Shared};
use crate::limits::STDERR_TAIL_BYTES;
use crate::outcome::Failure;
use crate::sys::doorbell::{Bell, futex_wake};
use crate::sys::memory::Segment;
use crate::sys::pipe;
use crate::sys::process;
use crate::sys::socket::{Channel, Received};
use crate::task::Core;

/// The stable place of a worker.
#[derive(Default)]
pub(super) struct Seat {
    /// Which holder of the seat: counts up with every start.
    pub(super) generation: u64,
    pub(super) state: SeatState,
    pub(super) link: Option<Link>,
    pub(super) has_token: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum SeatState {
    #[default]
    Empty,
    /// The supervisor is to start a worker.
    Wanted,
    /// It has been asked for; READY is waited for until then.
    Starting { until: Duration },
    /// It takes tasks.
    Ready,
    /// It is dead; how it ended is waited for until then.
    Dying { until: Duration },
}

impl Seat {
    pub(super) fn is_ready(&self) -> bool {
        self.state == SeatState::Ready && self.link.as_ref().is_some_and(|link| link.serves())
    }
}

/// Both mappings of a lane, as the host has them.
pub(super) struct Lane {
    pub(super) request: Segment,
    pub(super) response: Segment,
}

impl Lane {
    #[inline]
    pub(super) fn req(&self) -> Req<'_> {
        Req::new(self.request.words(0..ARENA_OFFSET))
    }

    #[inline]
    pub(super) fn rsp(&self) -> Rsp<'_> {
        Rsp::new(self.response.words(0..RSP_ARENA_OFFSET))
    }

    /// Wakes the worker that sleeps on the state word of `seq`.
    pub(super) fn wake(&self, seq: u64) {
        futex_wake(&self.response.words(0..RSP_ARENA_OFFSET)[state_word_index(seq)]);
    }
}

/// One task in a lane.
pub(super) struct Flight {
    pub(super) task: Shared,
    pub(super) seq: u64,
    pub(super) input: Option<Block>,
    pub(super) output: Option<Block>,
    pub(super) kill_at: Option<Duration>,
}

/// The host's end of one worker.
pub(super) struct Link {
    pub(super) lane: Arc<Lane>,
    pub(super) host: HostLane,
    pub(super) inputs: Arena,
    pub(super) outputs: Arena,
    records: RecordReader,
    flights: [Option<Flight>; SLOTS],
    pub(super) socket: Channel,
    /// The bell's own end; the worker rings a copy. Kept open: closing it would leave the epoll
    /// set of a worker that is alive.
    _bell: Bell,
    pub(super) stderr: OwnedFd,
    tail: Vec<u8>,
    pub(super) pidfd: Option<OwnedFd>,
    pub(super) pid: Option<u32>,
    pub(super) is_ready: bool,
    /// Memfds that came before their replies.
    payloads: HashMap<u64, OwnedFd>,
    pub(super) finished: u64,
    /// Tasks in the lane that a clock may kill.
    pub(super) timed: u32,
    pub(super) pollers: u32,
    /// Why the engine ended it, if it did.
    pub(super) ordered: bool,
    pub(super) broken: Option<String>,
    pub(super) exit: Option<Exit>,
    pub(super) start_failure: Option<String>,
    /// Tasks that were running when it died, and what their outcome is if that is known already.
    pub(super) lost: Vec<(Shared, Option<Failure>)>,
    /// What to say of the flight that the worker is killed for.
    pub(super) verdict: Option<(u64, Failure)>,
    scratch: Vec<u8>,
}

impl Link {
    pub(super) fn new(
        lane: Arc<Lane>,
        host: HostLane,
        socket: Channel,
        bell: Bell,
        stderr: OwnedFd,
    ) -> Self {
        Self {
            lane,
            host,
            inputs: Arena::new(ARENA_OFFSET as u64, ARENA_BYTES as u64),
            outputs: Arena::new(RSP_ARENA_OFFSET as u64, ARENA_BYTES as u64),
            records: RecordReader::new(),
            flights: Default::default(),
            socket,
            _bell: bell,
            stderr,
            tail: Vec::new(),
            pidfd: None,
            pid: None,
            is_ready: false,
            payloads: HashMap::new(),
            finished: 0,
            timed: 0,
            pollers: 0,
            ordered: false,
            broken: None,
            exit: None,
            start_failure: None,
            lost: Vec::new(),
            verdict: None,
            scratch: Vec::new(),
        }
    }

    /// It may be given tasks.
    pub(super) fn serves(&self) -> bool {
        !self.ordered && self.broken.is_none()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.host.in_flight() == 0 && self.lost.is_empty()
    }

    pub(super) fn put_flight(&mut self, flight: Flight) {
        let index = (flight.seq % SLOTS as u64) as usize;
        debug_assert!(self.flights[index].is_none());
        self.timed += u32::from(flight.kill_at.is_some());
        self.flights[index] = Some(flight);
    }

    pub(super) fn flight(&mut self, seq: u64) -> Option<&mut Flight> {
        self.flights[(seq % SLOTS as u64) as usize].as_mut().filter(|flight| flight.seq == seq)
    }

    pub(super) fn take_flight(&mut self, seq: u64) -> Option<Flight> {
        self.flight(seq)?;
        let flight = self.flights[(seq % SLOTS as u64) as usize].take()?;
        self.timed -= u32::from(flight.kill_at.is_some());
        Some(flight)
    }

    pub(super) fn flights(&self) -> impl Iterator<Item = &Flight> {
        self.flights.iter().flatten()
    }

    /// Every task the link still stands for, when the engine ends.
    pub(super) fn take_all(&mut self) -> Vec<Shared> {
        self.timed = 0;
        let flights = self.flights.iter_mut().filter_map(Option::take).map(|flight| flight.task);
        flights.chain(self.lost.drain(..).map(|(task, _)| task)).collect()
    }

    pub(super) fn free_blocks(&mut self, input: Option<Block>, output: Option<Block>) {
        if let Some(block) = input {
            self.inputs.free(block);
        }
        if let Some(block) = output {
            self.outputs.free(block);
        }
    }

    /// SIGKILL, by the engine's own decision.
    pub(super) fn kill(&mut self) {
        self.ordered = true;
        if let Some(pidfd) = &self.pidfd {
            process::kill(pidfd.as_fd());
        }
    }

    /// The worker broke the protocol: it is killed, and its running task says so.
    pub(super) fn break_off(&mut self, text: String) {
        self.broken.get_or_insert(text);
        self.kill();
    }

    /// Copies out what the worker reported of its running task.
    pub(super) fn read_records(&mut self) {
        if !self.records.has_more(self.lane.rsp()) {
            return;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        // A ring's worth at most: a worker that writes as fast as this reads is not followed.
        for _ in 0..2048 {
            match self.records.pop(self.lane.rsp(), &mut scratch) {
                Ok(None) => break,
                Ok(Some(record_kind::PROGRESS)) => {
                    if let Ok(record) = decode::<ProgressRecord>(&scratch)
                        && let Some(flight) = self.flight(record.seq)
                    {
                        flight.task.core().set_progress(record.done, record.total);
                    }
                }
                Ok(Some(_)) => {}
                Err(violation) => {
                    self.break_off(violation.to_string());
                    break;
                }
            }
        }
        self.scratch = scratch;
    }

    /// Reads what came on the worker's socket. True: it is READY since.
    pub(super) fn read_socket(&mut self) -> bool {
        let mut ready = false;
        loop {
            let (bytes, mut fds) = match self.socket.try_recv(1) {
                Ok(Received::Message { bytes, fds }) => (bytes, fds),
                Ok(Received::Empty | Received::Closed) => return ready,
                Err(error) => {
                    self.break_off(format!("its socket: {error}"));
                    return ready;
                }
            };
            match decode::<FromWorker>(&bytes) {
                Ok(FromWorker::Ready { pid }) if fds.is_empty() => {
                    // The forkserver's word (with the pidfd) may come later.
                    self.pid.get_or_insert(pid);
                    ready = true;
                }
                Ok(FromWorker::Failed { message, .. }) if fds.is_empty() => {
                    self.start_failure = Some(message);
                }
                Ok(FromWorker::Payload { seq, .. })
                    if fds.len() == 1
                        && self.flight(seq).is_some()
                        && !self.payloads.contains_key(&seq) =>
                {
                    self.payloads.extend(fds.pop().map(|fd| (seq, fd)));
                }
                Ok(_) => self.break_off("it sent a descriptor nobody expected".to_owned()),
                Err(violation) => self.break_off(violation.to_string()),
            }
        }
    }

    /// The memfd of a reply; it was sent before the reply was published.
    pub(super) fn take_payload(&mut self, seq: u64) -> Option<OwnedFd> {
        self.read_socket();
        self.payloads.remove(&seq)
    }

    /// Reads what the worker wrote to standard error: to the host's, and into the tail.
    pub(super) fn read_stderr(&mut self) {
        let mut buffer = [0; 16 << 10];
        // A bounded share of a flood at a time.
        for _ in 0..16 {
            let Some(count) = pipe::read_some(&self.stderr, &mut buffer) else { return };
            if count == 0 {
                return;
            }
            pipe::forward_to_stderr(&buffer[..count]);
            self.tail.extend_from_slice(&buffer[..count]);
            let excess = self.tail.len().saturating_sub(STDERR_TAIL_BYTES);
            self.tail.drain(..excess);
        }
    }

    pub(super) fn stderr_tail(&self) -> String {
        String::from_utf8_lossy(&self.tail).into_owned()
    }
}

impl Inner {
    /// The link whose lane holds the task of `core` at `seq`.
    pub(super) fn link_of(&mut self, index: u32, seq: u64, core: &Core) -> Option<&mut Link> {
        let link = self.seats.get_mut(index as usize)?.link.as_mut()?;
        let flight = link.flight(seq)?;
        std::ptr::eq(flight.task.core(), core).then_some(link)
    }
}
