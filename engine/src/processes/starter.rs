//! Starting: the forkserver, and one worker after another through it. Used by the supervisor
//! thread alone.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use amphi_protocol::{
    ABI, ARENA_OFFSET, HostLane, LAYOUT_HASH, POPULATE_BYTES, REQ_BYTES, RSP_ARENA_OFFSET,
    RSP_BYTES, ToForkserver, ToWorker, WorkerId, encode,
};

use super::MARKER;
use super::link::{Lane, Link, SeatState};
use super::pool::Processes;
use super::supervisor::Started;
use super::token::Token;
use crate::job;
use crate::limits::WORKER_START_TIMEOUT;
use crate::sys::clock;
use crate::sys::doorbell::{Bell, Interest, Reactor};
use crate::sys::memory::{Segment, seal_request, seal_response, sealed_memfd};
use crate::sys::pipe;
use crate::sys::process::{self, Child};
use crate::sys::socket::{Channel, Received};

/// See the module.
pub(super) struct Starter {
    pool: Arc<Processes>,
    forkserver: Option<Forkserver>,
    /// A populated lane, so that a replacement starts without making one.
    spare: Option<Fresh>,
    /// The engine gives up on forkservers after this many deaths before READY.
    failures: u32,
}

struct Forkserver {
    child: Child,
    socket: Channel,
    ready: bool,
    failure: Option<String>,
}

/// A lane nobody uses yet.
struct Fresh {
    lane: Lane,
    request: std::os::fd::OwnedFd,
    response: std::os::fd::OwnedFd,
}

const FORKSERVER_FAILURES_MAX: u32 = 3;

impl Starter {
    pub(super) fn new(pool: Arc<Processes>) -> Self {
        Self { pool, forkserver: None, spare: None, failures: 0 }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.forkserver.as_ref().is_some_and(|forkserver| forkserver.ready)
    }

    /// Starts a forkserver and greets it.
    pub(super) fn start_forkserver(&mut self, reactor: &Reactor) {
        match self.try_start_forkserver(reactor) {
            Ok(forkserver) => self.forkserver = Some(forkserver),
            Err(error) => self.give_up(format!("the forkserver could not be started: {error}")),
        }
    }

    fn try_start_forkserver(&self, reactor: &Reactor) -> io::Result<Forkserver> {
        let home = &self.pool.home;
        let mut config = Vec::new();
        job::encode(&home.config().cloned(), &mut config).map_err(io::Error::other)?;
        let (ours, theirs) = Channel::pair()?;
        let child = Child::start_self(theirs.into_fd(), (MARKER, "1"))?;
        let hello = ToForkserver::Hello {
            abi: ABI,
            layout_hash: LAYOUT_HASH,
            table_hash: home.table.hash(),
            config_len: config.len() as u64,
        };
        let (host, config) = (process::own_pidfd()?, sealed_memfd("amphi-config", &config)?);
        ours.send(&encode(&hello), &[host.as_fd(), config.as_fd()])?;
        reactor.add(&child, Token::ForkserverDeath.number(), Interest::Level)?;
        reactor.add(&ours, Token::ForkserverSocket.number(), Interest::Edge)?;
        Ok(Forkserver { child, socket: ours, ready: false, failure: None })
    }

    /// The next message of the forkserver.
    pub(super) fn receive(&self) -> Option<Received> {
        match self.forkserver.as_ref()?.socket.try_recv(1) {
            Ok(received @ Received::Message { .. }) => Some(received),
            _ => None,
        }
    }

    pub(super) fn forkserver_ready(&mut self) {
        if let Some(forkserver) = &mut self.forkserver {
            forkserver.ready = true;
        }
        self.failures = 0;
        self.tell(Started::Ready);
    }

    pub(super) fn forkserver_failed(&mut self, message: String) {
        if let Some(forkserver) = &mut self.forkserver {
            forkserver.failure = Some(message);
        }
    }

    /// It is dead. One that served is replaced; its workers die with it and are replaced, too.
    pub(super) fn forkserver_died(&mut self, reactor: &Reactor) {
        let Some(mut dead) = self.forkserver.take() else { return };
        reactor.remove(&dead.child);
        reactor.remove(&dead.socket);
        dead.child.reap(std::time::Duration::from_millis(10));
        if !dead.ready {
            self.failures += 1;
            if dead.failure.is_some() || self.failures >= FORKSERVER_FAILURES_MAX {
                let text = dead.failure.unwrap_or_else(|| {
                    "the forkserver ended before it was ready; is the program started through \
                     another one (a loader, an emulator)?"
                        .to_owned()
                });
                self.give_up(text);
                return;
            }
        }
        self.start_forkserver(reactor);
    }

    /// No worker will ever start: whoever waits is told why.
    fn give_up(&self, text: String) {
        self.tell(Started::Failed(text.clone()));
        self.pool.no_workers(text);
    }

    fn tell(&self, news: Started) {
        *self.pool.started.lock() = news;
        self.pool.start_changed.notify_all();
    }

    fn fresh_lane() -> io::Result<Fresh> {
        let (request, request_fd) =
            Segment::create("amphi-request", REQ_BYTES, ARENA_OFFSET + POPULATE_BYTES)?;
        let (response, response_fd) =
            Segment::create("amphi-response", RSP_BYTES, RSP_ARENA_OFFSET + POPULATE_BYTES)?;
        seal_request(&request_fd)?;
        seal_response(&response_fd)?;
        request.populate(0..ARENA_OFFSET + POPULATE_BYTES);
        response.populate(0..RSP_ARENA_OFFSET + POPULATE_BYTES);
        let lane = Lane { request, response };
        Ok(Fresh { lane, request: request_fd, response: response_fd })
    }

    /// Asks for a worker in a seat and hands it its lane.
    pub(super) fn start_worker(
        &mut self,
        reactor: &Reactor,
        seat: u32,
    ) -> Result<(), (WorkerId, io::Error)> {
        let generation = self.pool.inner.lock().seats[seat as usize].generation;
        let id = WorkerId { pool: 0, seat, generation };
        let link = self.make_worker(reactor, id).map_err(|error| (id, error))?;
        let until = clock::now() + WORKER_START_TIMEOUT;
        let mut inner = self.pool.inner.lock();
        let holder = &mut inner.seats[seat as usize];
        holder.state = SeatState::Starting { until };
        holder.link = Some(link);
        self.pool.alarm_by(&mut inner, until);
        drop(inner);
        if self.spare.is_none() {
            self.spare = Self::fresh_lane().ok();
        }
        Ok(())
    }

    fn make_worker(&mut self, reactor: &Reactor, id: WorkerId) -> io::Result<Link> {
        let WorkerId { seat, generation, .. } = id;
        let Fresh { lane, request, response } = match self.spare.take() {
            Some(fresh) => fresh,
            None => Self::fresh_lane()?,
        };
        let (ours, theirs) = Channel::pair()?;
        let bell = Bell::new()?;
        let (stderr, stderr_writer) = pipe::pipe()?;
        let host = HostLane::new(u64::from(seat), generation);
        host.init(lane.req());

        let to_worker = ToWorker::Lane { lane: u64::from(seat), incarnation: generation };
        ours.send(&encode(&to_worker), &[request.as_fd()])?;
        ours.send(&encode(&ToWorker::LaneResponse), &[response.as_fd()])?;
        reactor.add(&bell, Token::Bell { seat, generation }.number(), Interest::Edge)?;
        reactor.add(&ours, Token::Socket { seat, generation }.number(), Interest::Edge)?;
        reactor.add(&stderr, Token::Stderr { seat, generation }.number(), Interest::Edge)?;

        let spawn = ToForkserver::Spawn { id, limits: self.pool.limits };
        let fds = [theirs.as_fd(), bell.as_fd(), stderr_writer.as_fd()];
        let Some(forkserver) = &self.forkserver else {
            return Err(io::Error::other("there is no forkserver"));
        };
        forkserver.socket.send(&encode(&spawn), &fds)?;
        Ok(Link::new(Arc::new(lane), host, ours, bell, stderr))
    }

    /// The engine ends: so does the forkserver, and with it every worker.
    pub(super) fn end(&mut self) {
        if let Some(mut forkserver) = self.forkserver.take() {
            drop(forkserver.socket);
            forkserver.child.kill();
            forkserver.child.reap(std::time::Duration::from_millis(50));
        }
    }
}
