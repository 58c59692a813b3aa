//! A link: the host's end of one worker.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use amphi_protocol::{
    ARENA_BYTES, ARENA_OFFSET, Arena, Block, Exit, FromWorker, HostLane, RSP_ARENA_OFFSET, SLOTS,
};

use super::after::Source;
use super::blobs::Holding;
use super::pool::{Inner, Shared};
use super::records::Records;
use super::seat::{Flight, Lane};
use crate::fd::Fd;
use crate::limits::{START_WORTH, STDERR_TAIL_BYTES, TAKE_BACK_AFTER};
use crate::outcome::Failure;
use crate::sys::doorbell::Bell;
use crate::sys::pipe;
use crate::sys::process;
use crate::sys::socket::Channel;
use crate::task::Core;

/// The host's end of one worker.
pub(super) struct Link {
    pub(super) lane: Arc<Lane>,
    pub(super) host: HostLane,
    pub(super) inputs: Arena,
    pub(super) outputs: Arena,
    pub(super) records: Records,
    /// Memory for the pieces of the next batch.
    pub(super) pieces: Vec<u8>,
    flights: [Option<Flight>; SLOTS],
    pub(super) socket: Arc<Channel>,
    /// What it asked for and nobody has looked at yet.
    pub(super) requests: Vec<(FromWorker, Option<Vec<OwnedFd>>)>,
    pub(super) holding: Holding,
    /// The tasks that the host runs for it.
    pub(super) children: HashMap<u64, Shared>,
    /// How many open files they and what it asked for have.
    pub(super) child_files: usize,
    /// Its task waits for some of them, as it last said; and as is acted on.
    pub(super) waits: bool,
    pub(super) is_waiting: bool,
    /// The bell's own end; the worker rings a copy. Kept open: closing it would leave the epoll
    /// set of a worker that is alive.
    _bell: Bell,
    pub(super) stderr: OwnedFd,
    tail: Vec<u8>,
    pub(super) pidfd: Option<OwnedFd>,
    pub(super) pid: Option<u32>,
    pub(super) said_ready: bool,
    pub(super) is_ready: bool,
    /// Memfds that came before their replies.
    pub(super) payloads: HashMap<u64, OwnedFd>,
    /// Open files likewise, by their tasks' keys.
    pub(super) files: HashMap<u64, Vec<Fd>>,
    pub(super) finished: u64,
    /// Predicted work of the tasks in the lane, in ns, …
    pub(super) known_ns: u64,
    /// … and how many there are that nobody should queue behind: of unknown length, or that a
    /// clock may kill.
    apart: u32,
    /// The oldest task when the alarm last looked, and since when it is that.
    watched: Option<(u64, Duration)>,
    /// The task that ran longer than predicted: nobody queues behind it.
    pub(super) stuck: Option<u64>,
    /// Slots that are kept for tasks whose input is being copied.
    pub(super) sending: usize,
    pub(super) pollers: u32,
    /// Why the engine ended it, if it did.
    pub(super) ordered: bool,
    pub(super) broken: Option<String>,
    pub(super) exit: Option<Exit>,
    pub(super) start_failure: Option<String>,
    /// Its forkserver is dead: nobody will say how it ended.
    pub(super) orphaned: bool,
    /// Its end of the socket is closed: it is dying.
    pub(super) is_deaf: bool,
    /// It is given no more tasks, and ended when it has none.
    pub(super) retiring: bool,
    /// It is to be replaced: by the worker of this seat and generation, once that is READY.
    pub(super) worn: bool,
    pub(super) replaced_by: Option<(u32, u64)>,
    /// When it became READY.
    pub(super) since: Duration,
    /// The next sequence when the supervisor last looked whether it is idle.
    pub(super) seen_seq: u64,
    pub(super) looked: Duration,
    /// It was not READY in time.
    pub(super) too_slow: bool,
    /// Tasks that were running when it died, and what their outcome is if that is known already.
    pub(super) lost: Vec<(Shared, Option<Failure>)>,
    /// What to say of the flight that the worker is killed for.
    pub(super) verdict: Option<(u64, Failure)>,
}

impl Link {
    pub(super) fn new(
        lane: Arc<Lane>,
        host: HostLane,
        socket: Channel,
        bell: Bell,
        stderr: OwnedFd,
    ) -> Self {
        let socket = Arc::new(socket);
        Self {
            holding: Holding::new(&socket),
            lane,
            host,
            inputs: Arena::new(ARENA_OFFSET as u64, ARENA_BYTES as u64),
            outputs: Arena::new(RSP_ARENA_OFFSET as u64, ARENA_BYTES as u64),
            records: Records::default(),
            pieces: Vec::new(),
            flights: Default::default(),
            socket,
            requests: Vec::new(),
            children: HashMap::new(),
            child_files: 0,
            waits: false,
            is_waiting: false,
            _bell: bell,
            stderr,
            tail: Vec::new(),
            pidfd: None,
            pid: None,
            said_ready: false,
            is_ready: false,
            payloads: HashMap::new(),
            files: HashMap::new(),
            finished: 0,
            known_ns: 0,
            apart: 0,
            watched: None,
            stuck: None,
            sending: 0,
            pollers: 0,
            ordered: false,
            broken: None,
            exit: None,
            start_failure: None,
            orphaned: false,
            is_deaf: false,
            retiring: false,
            worn: false,
            replaced_by: None,
            since: Duration::ZERO,
            seen_seq: 0,
            looked: Duration::ZERO,
            too_slow: false,
            lost: Vec::new(),
            verdict: None,
        }
    }

    /// It may be given tasks.
    pub(super) fn serves(&self) -> bool {
        !self.ordered
            && !self.is_deaf
            && !self.retiring
            && !self.is_waiting
            && self.broken.is_none()
    }

    /// It is given no more tasks.
    pub(super) fn retire(&mut self) {
        self.retiring = true;
    }

    /// It was never given a task.
    pub(super) fn is_fresh(&self) -> bool {
        self.host.next_seq() == 1 && self.sending == 0
    }

    pub(super) fn is_idle(&self) -> bool {
        !self.is_busy() && self.lost.is_empty()
    }

    /// A task is in the lane, or on its way there.
    pub(super) fn is_busy(&self) -> bool {
        self.host.in_flight() > 0 || self.sending > 0
    }

    pub(super) fn free_slots(&self) -> usize {
        self.host.free_slots().saturating_sub(self.sending)
    }

    /// Predicted work in the lane; `None`: nobody should queue behind it.
    pub(super) fn backlog(&self) -> Option<Duration> {
        let blocked = self.apart > 0 || self.sending > 0;
        let stuck = self.stuck.is_some() && self.stuck == self.host.oldest();
        (!blocked && !stuck).then(|| Duration::from_nanos(self.known_ns))
    }

    /// Its tasks are expected to be done sooner than another worker is started.
    pub(super) fn is_free_soon(&self) -> bool {
        self.is_busy() && self.backlog().is_some_and(|backlog| backlog < START_WORTH)
    }

    /// The alarm looks at a lane that somebody may wait for: has its oldest task been there since
    /// long before?
    pub(super) fn overruns(&mut self, now: Duration) -> bool {
        // Replies of a batch that stands still are taken early, whoever waits.
        let looks = self.is_free_soon() || self.has_batch();
        let Some(oldest) = self.host.oldest().filter(|_| looks) else {
            self.watched = None;
            return false;
        };
        match self.watched {
            Some((seq, since)) if seq == oldest => now.saturating_sub(since) >= TAKE_BACK_AFTER / 2,
            _ => {
                self.watched = Some((oldest, now));
                false
            }
        }
    }

    pub(super) fn put_flight(&mut self, flight: Flight) {
        let index = (flight.seq % SLOTS as u64) as usize;
        debug_assert!(self.flights[index].is_none());
        if let Some(gate) = &flight.task.core().plan.key {
            gate.entered_lane();
        }
        match flight.bounded_ns() {
            Some(ns) => self.known_ns = self.known_ns.saturating_add(ns),
            None => self.apart += 1,
        }
        self.flights[index] = Some(flight);
    }

    pub(super) fn flight(&mut self, seq: u64) -> Option<&mut Flight> {
        self.flights[(seq % SLOTS as u64) as usize].as_mut().filter(|flight| flight.seq == seq)
    }

    pub(super) fn take_flight(&mut self, seq: u64) -> Option<Flight> {
        self.flight(seq)?;
        let flight = self.flights[(seq % SLOTS as u64) as usize].take()?;
        match flight.bounded_ns() {
            Some(ns) => self.known_ns = self.known_ns.saturating_sub(ns),
            None => self.apart -= 1,
        }
        if let Some(gate) = &flight.task.core().plan.key {
            gate.left_lane();
        }
        Some(flight)
    }

    pub(super) fn flights(&self) -> impl Iterator<Item = &Flight> {
        self.flights.iter().flatten()
    }

    /// Every task the link still stands for, when the engine ends.
    pub(super) fn take_all(&mut self) -> Vec<Shared> {
        (self.known_ns, self.apart) = (0, 0);
        let flights = self.flights.iter_mut().filter_map(Option::take).flat_map(Flight::into_tasks);
        let flights =
            flights.inspect(|task| task.core().plan.key.iter().for_each(|gate| gate.left_lane()));
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

    /// A reply whose bytes are not to be had: the worker is killed, the outcome says so.
    pub(super) fn lost_reply(&mut self, why: &str) -> Source {
        self.break_off(why.to_owned());
        Source::Lost(format!("the worker finished the task, but its output is lost: {why}"))
    }

    /// The worker broke the protocol: it is killed, and its running task says so.
    pub(super) fn break_off(&mut self, text: String) {
        self.broken.get_or_insert(text);
        self.kill();
    }

    /// The memfd of a reply; it was sent before the reply was published.
    pub(super) fn take_payload(&mut self, seq: u64, expected: bool) -> Option<OwnedFd> {
        if expected && !self.payloads.contains_key(&seq) {
            let _ = self.read_socket();
        }
        if self.payloads.is_empty() { None } else { self.payloads.remove(&seq) }
    }

    /// Reads what the worker wrote to standard error, for the host's own (`forward`) and for the
    /// tail: a bounded share of a flood at a time. True: that was the end.
    pub(super) fn read_stderr(&mut self, forward: &mut Vec<u8>) -> bool {
        let mut buffer = [0; 16 << 10];
        for _ in 0..16 {
            let Some(count) = pipe::read_some(&self.stderr, &mut buffer) else { return false };
            if count == 0 {
                return true;
            }
            forward.extend_from_slice(&buffer[..count]);
            self.tail.extend_from_slice(&buffer[..count]);
            let excess = self.tail.len().saturating_sub(STDERR_TAIL_BYTES);
            self.tail.drain(..excess);
        }
        false
    }

    pub(super) fn stderr_tail(&self) -> String {
        String::from_utf8_lossy(&self.tail).into_owned()
    }
}

impl Inner {
    /// The link whose lane holds the task of `core` by `key`.
    pub(super) fn link_of(&mut self, index: u32, key: u64, core: &Core) -> Option<&mut Link> {
        let link = self.seats.get_mut(index as usize)?.link.as_mut()?;
        let task = link.task_of(key)?;
        std::ptr::eq(task.core(), core).then_some(link)
    }
}
