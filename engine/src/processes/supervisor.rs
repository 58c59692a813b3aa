//! The supervisor thread: it starts the forkserver and the workers, sleeps on all bells, pidfds
//! and sockets, and cleans up after the dead. It has no timer but the alarm, so that an idle
//! engine makes no wake-ups.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use amphi_protocol::{FromForkserver, StartStage, decode};

use super::After;
use super::link::Link;
use super::pool::{Inner, Processes};
use super::seat::SeatState;
use super::starter::Starter;
use super::token::Token;
use crate::error::{Clock, TaskError};
use crate::limits::TAKE_BACK_AFTER;
use crate::sys::clock;
use crate::sys::doorbell::{Interest, Reactor};
use crate::sys::process;
use crate::sys::socket::Received;

/// How far the first forkserver is.
pub(super) enum Started {
    Starting,
    Ready,
    Failed(Option<StartStage>, String),
}

/// Starts the thread.
pub(super) fn spawn(pool: Arc<Processes>) -> io::Result<JoinHandle<()>> {
    let reactor = Reactor::new()?;
    reactor.add(&pool.call, Token::Call.number(), Interest::Edge)?;
    reactor.add(&pool.alarm, Token::Alarm.number(), Interest::Edge)?;
    std::thread::Builder::new().name("amphi-supervisor".to_owned()).spawn(move || {
        let starter = Starter::new(Arc::clone(&pool));
        Supervisor { pool, reactor, starter, oom_kills: process::oom_kills() }.run();
    })
}

pub(super) struct Supervisor {
    pub(super) pool: Arc<Processes>,
    pub(super) reactor: Reactor,
    starter: Starter,
    pub(super) oom_kills: u64,
}

impl Supervisor {
    fn run(mut self) {
        self.starter.start_forkserver(&self.reactor);
        let mut tokens = Vec::new();
        loop {
            if self.reactor.wait(&mut tokens).is_err() {
                return;
            }
            for token in &tokens {
                self.handle(Token::from_number(*token));
            }
            if self.pool.lock().closing {
                self.starter.end();
                let mut inner = self.pool.lock();
                inner.seats.iter_mut().for_each(|seat| drop(seat.link.take()));
                return;
            }
            self.start_wanted();
        }
    }

    fn handle(&mut self, token: Token) {
        match token {
            Token::Call => {}
            Token::Alarm => self.look_at_deadlines(),
            Token::ForkserverSocket => self.read_forkserver(),
            Token::ForkserverDeath => {
                self.read_forkserver();
                self.forkserver_died();
                self.starter.forkserver_died(&self.reactor);
            }
            Token::Bell { seat, generation } => self.on_bell(seat, generation),
            Token::Death { seat, generation } => {
                self.read_forkserver();
                self.on_death(seat, generation);
            }
            Token::Socket { seat, generation } => self.on_socket(seat, generation),
            Token::Stderr { seat, generation } => self.on_stderr(seat, generation),
        }
    }

    fn on_stderr(&self, seat: u32, generation: u64) {
        let mut after = After::default();
        let mut inner = self.pool.lock();
        if let Some(link) = inner.current(seat, generation) {
            // Level-triggered: a writer that waits inside of one large write makes no edge.
            if link.read_stderr(&mut after.stderr) {
                self.reactor.remove(&link.stderr);
            }
        }
        drop(inner);
        after.run_beside(&self.pool);
    }

    fn on_bell(&self, index: u32, generation: u64) {
        let mut after = After::default();
        let mut inner = self.pool.lock();
        if let Some(link) = inner.current(index, generation) {
            if link.pollers == 0 {
                let lane = Arc::clone(&link.lane);
                link.host.rearm(lane.req());
            }
            // The bell may have been for these alone.
            link.read_records(&mut after);
            self.pool.harvest(&mut inner, index, &mut after);
            self.pool.dispatch(&mut inner, &mut after);
        }
        drop(inner);
        after.run_beside(&self.pool);
    }

    fn on_socket(&self, index: u32, generation: u64) {
        let mut after = After::default();
        let mut inner = self.pool.lock();
        let Some(link) = inner.current(index, generation) else { return };
        if link.read_socket() {
            let lane = Arc::clone(&link.lane);
            link.host.arm(lane.req());
            link.read_records(&mut after);
            let now = clock::now();
            link.is_ready = true;
            (link.since, link.looked) = (now, now);
            inner.seats[index as usize].state = SeatState::Ready;
            self.pool.dispatch(&mut inner, &mut after);
            self.pool.set_alarm(&mut inner, now);
        } else {
            // It may have told that it has grown, or asked for something.
            self.pool.take_requests(&mut inner, index, &mut after);
            self.pool.dispatch(&mut inner, &mut after);
        }
        drop(inner);
        after.run_beside(&self.pool);
    }

    pub(super) fn read_forkserver(&mut self) {
        while let Some(received) = self.starter.receive() {
            let Received::Message { bytes, mut fds } = received else { return };
            let Ok(message) = decode::<FromForkserver>(&bytes) else { continue };
            match message {
                FromForkserver::Ready { .. } => self.starter.forkserver_ready(),
                FromForkserver::Failed { stage, message } => {
                    self.starter.forkserver_failed(stage, message);
                }
                FromForkserver::Forked { id, pid } => {
                    let Some(pidfd) = fds.pop() else { continue };
                    let token = Token::Death { seat: id.seat, generation: id.generation };
                    let mut inner = self.pool.lock();
                    match inner.current(id.seat, id.generation) {
                        Some(link) => {
                            let _ = self.reactor.add(&pidfd, token.number(), Interest::Level);
                            link.pid = Some(pid);
                            if link.ordered {
                                process::kill(pidfd.as_fd());
                            }
                            link.pidfd = Some(pidfd);
                        }
                        None => process::kill(pidfd.as_fd()),
                    }
                }
                FromForkserver::ForkFailed { id, errno } => {
                    let error = io::Error::from_raw_os_error(errno);
                    self.start_failed(id, format!("fork: {error}"));
                }
                FromForkserver::Exited { id, exit } => self.exited(id, exit),
            }
        }
    }

    /// Starts what dispatchers asked for.
    fn start_wanted(&mut self) {
        while self.starter.is_ready() {
            let now = clock::now();
            let wanted =
                self.pool.lock().seats.iter().position(
                    |seat| matches!(seat.state, SeatState::Wanted { from } if from <= now),
                );
            let Some(index) = wanted else { return };
            let index = u32::try_from(index).expect("few seats");
            if let Err((id, error)) = self.starter.start_worker(&self.reactor, index) {
                self.start_failed(id, error.to_string());
            }
        }
        // READY, or the forkserver's death, comes back here.
    }

    /// The alarm: clocks that kill, workers that do not get READY or whose exit status does not
    /// come, prefetched tasks that are stuck.
    fn look_at_deadlines(&mut self) {
        let now = clock::now();
        let mut after = After::default();
        let pool = Arc::clone(&self.pool);
        let mut inner = pool.lock();
        (inner.alarm_at, inner.is_watching) = (None, false);
        for index in 0..u32::try_from(inner.seats.len()).expect("few seats") {
            pool.harvest(&mut inner, index, &mut after);
            let seat = &mut inner.seats[index as usize];
            let Some(link) = &mut seat.link else { continue };
            let overdue = link.flights().find(|flight| flight.kill_at.is_some_and(|at| at <= now));
            if let Some(seq) = overdue.map(|flight| flight.seq) {
                let failure = TaskError::TimedOut { clock: Clock::KillAfter, killed: true };
                pool.kill_flight(&mut inner, index, seq, failure, &mut after);
            } else if link.overruns(now) {
                pool.pass_by(&mut inner, index, &mut after);
            }
            pool.look_at_age(&mut inner, index as usize, now);
            match inner.seats[index as usize].state {
                SeatState::Starting { until } if until <= now => {
                    if let Some(link) = inner.seats[index as usize].link.as_mut() {
                        link.too_slow = true;
                        link.break_off("it was not READY in time".to_owned());
                        // Not even forked: its forkserver does not answer.
                        if link.pidfd.is_none() {
                            self.starter.kill_forkserver();
                        }
                    }
                }
                SeatState::Dying { .. } => self.bury(&mut inner, index, &mut after),
                _ => {}
            }
        }
        let forkserver_due = inner.forkserver_due.take_if(|at| *at <= now).is_some();
        pool.dispatch(&mut inner, &mut after);
        pool.set_alarm(&mut inner, now);
        drop(inner);
        after.run_beside(&pool);
        if forkserver_due {
            self.starter.look_after_forkserver(&self.reactor);
        }
    }
}

impl Processes {
    /// Sets the alarm anew: earlier deadlines that were met leave no wake-up behind.
    pub(super) fn set_alarm(&self, inner: &mut Inner, now: Duration) {
        if inner.alarm_at.is_some_and(|at| at <= now) {
            return; // it goes off any moment, and what it is for is still to be done
        }
        inner.is_watching = inner.needs_watch();
        let ages = inner.seats.iter().enumerate().filter_map(|(index, seat)| self.due(seat, index));
        let ages = ages.filter(|at| *at > now).min();
        let next = inner.next_deadline(now).into_iter().chain(ages).min();
        if inner.alarm_at != next {
            inner.alarm_at = next;
            self.alarm.set(next);
        }
    }

    /// A task runs longer than predicted: nobody waits for its lane any more. What lies behind it
    /// goes back to the queue, where another worker can take it, and the job's prediction is
    /// raised, so that this is not repeated.
    fn pass_by(&self, inner: &mut Inner, index: u32, after: &mut After) {
        let Some(link) = inner.seats[index as usize].link.as_mut() else { return };
        let Some(oldest) = link.host.oldest() else { return };
        if let Some(flight) = link.flight(oldest)
            && let Some(entry) = self.home.table.entry(flight.task.core().plan.job)
        {
            let ns = u64::try_from(TAKE_BACK_AFTER.as_nanos()).unwrap_or(u64::MAX);
            entry.observe(ns, entry.output_bytes());
        }
        // Nobody queues behind it any more, however short the tasks that were there.
        link.stuck = Some(oldest);
        self.take_back_others(inner, index, oldest);
        self.take_back_tail(inner, index, oldest, 0);
        self.harvest_early(inner, index, after);
    }
}

impl Inner {
    /// Somebody waits for a lane that is expected to be free soon: whether it really is, is looked
    /// at after a while.
    fn needs_watch(&self) -> bool {
        let queued = !self.queue.is_empty();
        let mut links = self.seats.iter().filter_map(|seat| seat.link.as_ref());
        links.any(|link| {
            link.host.in_flight() > 1 || link.has_batch() || (queued && link.is_free_soon())
        })
    }

    /// The link of a seat, if its holder is still the one that is meant.
    pub(super) fn current(&mut self, seat: u32, generation: u64) -> Option<&mut Link> {
        let seat = self.seats.get_mut(seat as usize)?;
        seat.link.as_mut().filter(|_| seat.generation == generation)
    }

    fn next_deadline(&self, now: Duration) -> Option<Duration> {
        let seats = self.seats.iter().flat_map(|seat| {
            let own = match seat.state {
                SeatState::Starting { until } | SeatState::Dying { until } => Some(until),
                SeatState::Wanted { from } => Some(from),
                _ => None,
            };
            let kills = seat.link.iter().flat_map(Link::flights).filter_map(|f| f.kill_at);
            own.into_iter().chain(kills)
        });
        let watch = self.needs_watch().then(|| now + TAKE_BACK_AFTER);
        seats.chain(self.forkserver_due).chain(watch).filter(|at| *at > now).min()
    }
}
