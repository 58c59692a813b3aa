//! A worker is gone, or never came: what becomes of its tasks and of its seat.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use amphi_protocol::{Death, Exit, Verdict, WorkerId};

use super::After;
use super::link::Link;
use super::pool::{Inner, Processes};
use super::seat::SeatState;
use super::supervisor::Supervisor;
use crate::error::last_words;
use crate::limits::EXIT_STATUS_TIMEOUT;
use crate::sys::clock;
use crate::sys::process;

impl Supervisor {
    /// The worker is dead: what was done is harvested first, what had not started goes back into
    /// the queue, and what was running waits for the exit status.
    pub(super) fn on_death(&mut self, index: u32, generation: u64) {
        let mut after = After::default();
        let pool = Arc::clone(&self.pool);
        let mut inner = pool.lock();
        let Some(link) = inner.current(index, generation) else { return };
        if let Some(pidfd) = link.pidfd.take() {
            self.reactor.remove(&pidfd);
        }
        link.read_stderr(&mut after.stderr);
        let _ = link.read_socket();
        link.read_records(&mut after);
        pool.harvest_early(&mut inner, index, &mut after);
        let Some(link) = inner.current(index, generation) else { return };
        let lane = Arc::clone(&link.lane);
        let mut unstarted = Vec::new();
        for (key, started) in link.host.remains(lane.rsp()) {
            let Some(task) = link.task_of(key).map(Arc::clone) else { continue };
            let verdict = link.verdict.take_if(|(killed, _)| *killed == key);
            // What it was killed for ends, even if it was only about to start.
            if started || verdict.is_some() {
                link.lost.push((task, verdict.map(|(_, failure)| failure)));
            } else {
                unstarted.push(task);
            }
        }
        link.clear_flights();
        pool.queue_all_again(&mut inner, unstarted);
        let until = clock::now() + EXIT_STATUS_TIMEOUT;
        inner.seats[index as usize].state = SeatState::Dying { until };
        pool.alarm_by(&mut inner, until);
        self.bury(&mut inner, index, &mut after);
        pool.dispatch(&mut inner, &mut after);
        drop(inner);
        after.run_beside(&pool);
    }

    /// Settles what a dead worker leaves, once it is known how it ended, and empties its seat.
    pub(super) fn bury(&mut self, inner: &mut Inner, index: u32, after: &mut After) {
        let now = clock::now();
        let seat = &mut inner.seats[index as usize];
        let SeatState::Dying { until } = seat.state else { return };
        let Some(link) = &mut seat.link else { return };
        if link.exit.is_none() && !link.ordered && !link.orphaned && now < until {
            return;
        }
        let kills = process::oom_kills();
        let oom = std::mem::replace(&mut self.oom_kills, kills) < kills;
        link.read_stderr(&mut after.stderr);
        for (task, verdict) in std::mem::take(&mut link.lost) {
            let failure = verdict.unwrap_or_else(|| Processes::outcome_of_death(link, oom));
            after.fail(task, failure);
        }
        if let Some(pid) = link.pid.filter(|_| !link.ordered && !link.orphaned) {
            after.notes.push(format!("worker {pid} is replaced: {}", describe(link)));
        }
        let how = match link {
            _ if link.too_slow => Death::TooSlow,
            // Killed by the engine, or taken along by its forkserver.
            _ if link.ordered && link.broken.is_none() => Death::Ordered,
            _ if link.orphaned && link.exit.is_none() => Death::Ordered,
            _ if !link.is_ready => Death::BeforeReady,
            _ if link.finished == 0 => Death::BeforeFirstTask,
            _ => Death::AfterWork,
        };
        let problem = format!("a worker could not serve: {}", describe(link));
        self.pool.vacate(inner, index, how, problem, after);
        self.pool.set_alarm(inner, now);
    }

    pub(super) fn exited(&mut self, id: WorkerId, exit: Exit) {
        let mut after = After::default();
        let pool = Arc::clone(&self.pool);
        let mut inner = pool.lock();
        let Some(link) = inner.current(id.seat, id.generation) else { return };
        link.exit = Some(exit);
        if !matches!(inner.seats[id.seat as usize].state, SeatState::Dying { .. }) {
            // Its pidfd has not said so yet, or never will.
            drop(inner);
            return self.on_death(id.seat, id.generation);
        }
        self.bury(&mut inner, id.seat, &mut after);
        pool.dispatch(&mut inner, &mut after);
        drop(inner);
        after.run_beside(&pool);
    }

    /// The forkserver is dead, and with it every worker that it had forked: nobody will tell how
    /// they ended. What it was still to fork is asked of the next one.
    pub(super) fn forkserver_died(&mut self) {
        let mut after = After::default();
        let pool = Arc::clone(&self.pool);
        let mut inner = pool.lock();
        let mut unwatched = Vec::new();
        if !inner.closing {
            after.notes.push("the forkserver died; it and its workers are replaced".to_owned());
        }
        for index in 0..u32::try_from(inner.seats.len()).expect("few seats") {
            let seat = &mut inner.seats[index as usize];
            let Some(link) = &mut seat.link else { continue };
            link.orphaned = true;
            let (is_known, generation) = (link.pidfd.is_some(), seat.generation);
            match seat.state {
                SeatState::Starting { .. } if !is_known => {
                    self.pool.vacate(&mut inner, index, Death::Ordered, String::new(), &mut after);
                }
                // The word of its birth was lost, and so will be that of its death. It may live
                // on for a moment: what it has not started is taken back from it first.
                SeatState::Ready if !is_known => {
                    pool.take_back_others(&mut inner, index, u64::MAX);
                    unwatched.push((index, generation));
                }
                _ => self.bury(&mut inner, index, &mut after),
            }
        }
        drop(inner);
        after.run_beside(&pool);
        for (index, generation) in unwatched {
            self.on_death(index, generation);
        }
    }

    /// A worker never came to be.
    pub(super) fn start_failed(&self, id: WorkerId, problem: String) {
        let mut after = After::default();
        let mut inner = self.pool.lock();
        let seat = &mut inner.seats[id.seat as usize];
        if seat.generation == id.generation {
            self.pool.vacate(&mut inner, id.seat, Death::BeforeReady, problem, &mut after);
        }
        drop(inner);
        after.run_beside(&self.pool);
    }
}

/// How a worker ended, for people.
fn describe(link: &Link) -> String {
    let end = match (&link.broken, &link.start_failure, link.exit) {
        (Some(text), ..) | (_, Some(text), _) => text.clone(),
        (.., Some(Exit::Signal { signal, .. })) => format!("it was ended by signal {signal}"),
        (.., Some(Exit::Code(code))) => format!("it exited with code {code}"),
        _ => "it died".to_owned(),
    };
    let tail = link.stderr_tail();
    match last_words(&tail) {
        Some(line) => format!("{end}; last words: {line}"),
        None => end,
    }
}

impl Processes {
    /// Empties a seat after a death, and wants the next worker for it: now, or later where the
    /// death says that starting another may not help.
    fn vacate(
        &self,
        inner: &mut Inner,
        index: u32,
        how: Death,
        problem: String,
        after: &mut After,
    ) {
        let now = clock::now();
        let from = match inner.restarts.died(how, now) {
            Verdict::Replace => Duration::ZERO,
            Verdict::After(delay) => now + delay,
            Verdict::Tripped { until } => until,
        };
        let seat = &mut inner.seats[index as usize];
        // Nobody looks at the token of a seat that has no worker.
        after.tokens += usize::from(std::mem::take(&mut seat.has_token));
        let link = seat.link.take();
        let retired = link.as_ref().is_some_and(|link| link.retiring);
        after.orphans.extend(link.into_iter().flat_map(|link| link.children).map(|(_, task)| task));
        seat.generation += 1;
        seat.state = SeatState::Wanted { from };
        if retired {
            seat.state = SeatState::Empty;
            self.want_the_least(inner, after);
        } else if !from.is_zero() {
            inner.problem = problem;
            self.alarm_by(inner, from);
        }
        if inner.restarts.is_tripped(now) {
            self.is_troubled.store(true, Ordering::Relaxed);
            after.notes.push(format!("no worker is started for a while: {}", inner.problem));
            if !inner.serves() {
                let text = inner.problem.clone();
                self.refuse_queue(inner, &text, after);
            }
        }
    }
}
