//! Starting: the forkserver, and one worker after another through it. Used by the supervisor
//! thread alone.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use amphi_protocol::{
    ABI, ARENA_OFFSET, HostLane, LAYOUT_HASH, POPULATE_BYTES, REQ_BYTES, RSP_ARENA_OFFSET,
    RSP_BYTES, StartStage, ToForkserver, ToWorker, WorkerId, WorkerLimits, encode,
};

use super::link::Link;
use super::logs::level_heard;
use super::pool::Processes;
use super::seat::{Lane, SeatState};
use super::supervisor::Started;
use super::token::Token;
use super::{After, MARKER};
use crate::job;
use crate::limits::{FAREWELL, FORKSERVER_RETRY, WORKER_START_TIMEOUT};
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
    /// Forkservers in a row that could not be started or died before READY.
    failures: u32,
}

struct Forkserver {
    child: Child,
    socket: Channel,
    ready: bool,
    failure: Option<(StartStage, String)>,
}

/// A lane nobody uses yet.
struct Fresh {
    lane: Lane,
    request: std::os::fd::OwnedFd,
    response: std::os::fd::OwnedFd,
}

/// So many failures in a row, and tasks are refused until a later try succeeds.
const FORKSERVER_FAILURES_MAX: u32 = 3;
const FORKSERVER_RETRY_FIRST: Duration = Duration::from_millis(20);

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
            Ok(forkserver) => {
                self.forkserver = Some(forkserver);
                self.look_again_after(self.pool.start_timeout);
            }
            Err(error) => {
                self.failed(None, format!("the forkserver could not be started: {error}"));
            }
        }
    }

    fn try_start_forkserver(&self, reactor: &Reactor) -> io::Result<Forkserver> {
        let home = &self.pool.home;
        let mut config = Vec::new();
        job::encode(&home.config().cloned(), &mut config).map_err(io::Error::other)?;
        let hello = ToForkserver::Hello {
            abi: ABI,
            layout_hash: LAYOUT_HASH,
            table_hash: home.table.hash(),
            build_hash: process::build_hash()?,
            config_len: config.len() as u64,
            umask: self.pool.surroundings.umask(),
        };
        let (host, config) = (process::own_pidfd()?, sealed_memfd("amphi-config", &config)?);
        let (ours, theirs) = Channel::pair()?;
        reactor.add(&ours, Token::ForkserverSocket.number(), Interest::Edge)?;
        let surroundings = &self.pool.surroundings;
        let mut child = Child::start_self(theirs.into_fd(), (MARKER, "1"), surroundings)?;
        let greeted = ours
            .send(&encode(&hello), &[host.as_fd(), config.as_fd()])
            .and_then(|()| reactor.add(&child, Token::ForkserverDeath.number(), Interest::Level));
        if let Err(error) = greeted {
            child.kill();
            child.reap(FAREWELL);
            return Err(error);
        }
        Ok(Forkserver { child, socket: ours, ready: false, failure: None })
    }

    /// The supervisor comes back to the forkserver after this.
    fn look_again_after(&self, time: Duration) {
        let at = clock::now().saturating_add(time);
        let mut inner = self.pool.lock();
        inner.forkserver_due = Some(at);
        self.pool.alarm_by(&mut inner, at);
    }

    /// The alarm for the forkserver: there is none, or it was not READY in time.
    pub(super) fn look_after_forkserver(&mut self, reactor: &Reactor) {
        match &mut self.forkserver {
            None => self.start_forkserver(reactor),
            Some(forkserver) if forkserver.ready => {}
            Some(forkserver) => {
                let text = format!(
                    "the forkserver was not ready within {} s; give start_timeout(..) more, or \
                     look at what preload and the program's constructors wait for",
                    self.pool.start_timeout.as_secs_f64()
                );
                forkserver.failure.get_or_insert((StartStage::Preload, text));
                forkserver.child.kill();
            }
        }
    }

    /// It does not answer, or what it said was lost: it goes, and its workers with it.
    pub(super) fn kill_forkserver(&self) {
        if let Some(forkserver) = &self.forkserver {
            forkserver.child.kill();
        }
    }

    /// The next message of the forkserver.
    pub(super) fn receive(&self) -> Option<Received> {
        match self.forkserver.as_ref()?.socket.try_recv(1) {
            Ok(received @ Received::Message { .. }) => Some(received),
            Ok(Received::Empty | Received::Closed) => None,
            Ok(Received::Short { .. }) | Err(_) => {
                // A descriptor was lost (this process has no free one): a worker that cannot be
                // watched must not live.
                self.kill_forkserver();
                None
            }
        }
    }

    pub(super) fn forkserver_ready(&mut self) {
        if let Some(forkserver) = &mut self.forkserver {
            forkserver.ready = true;
        }
        self.failures = 0;
        let mut inner = self.pool.lock();
        inner.forkserver_due = None;
        inner.given_up = None;
        self.pool.set_alarm(&mut inner, clock::now());
        drop(inner);
        self.tell(Started::Ready);
    }

    pub(super) fn forkserver_failed(&mut self, stage: StartStage, message: String) {
        if let Some(forkserver) = &mut self.forkserver {
            forkserver.failure = Some((stage, message));
        }
    }

    /// It is dead. One that served is replaced; its workers die with it and are replaced, too.
    pub(super) fn forkserver_died(&mut self, reactor: &Reactor) {
        let Some(mut dead) = self.forkserver.take() else { return };
        reactor.remove(&dead.child);
        reactor.remove(&dead.socket);
        dead.child.reap(FAREWELL);
        if dead.ready {
            return self.start_forkserver(reactor);
        }
        match dead.failure {
            Some((stage, text)) => self.failed(Some(stage), text),
            None => self.failed(
                None,
                "the forkserver ended before it was ready; is the program started through another \
                 one (a loader, an emulator)?"
                    .to_owned(),
            ),
        }
    }

    /// There is no forkserver: the next one is tried soon. After a failure that it told itself,
    /// or after several, whoever waits is told why, and the next try is later.
    fn failed(&mut self, stage: Option<StartStage>, text: String) {
        self.failures = self.failures.saturating_add(1);
        if stage.is_none() && self.failures < FORKSERVER_FAILURES_MAX {
            return self.look_again_after(FORKSERVER_RETRY_FIRST * 4_u32.pow(self.failures - 1));
        }
        self.look_again_after(FORKSERVER_RETRY);
        let mut after = After::default();
        let mut inner = self.pool.lock();
        self.pool.refuse_queue(&mut inner, &text, &mut after);
        inner.given_up = Some(text.clone());
        drop(inner);
        after.run_beside(&self.pool);
        self.tell(Started::Failed(stage, text));
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
        let generation = self.pool.lock().seats[seat as usize].generation;
        let id = WorkerId { pool: 0, seat, generation };
        let link = self.make_worker(reactor, id).map_err(|error| (id, error))?;
        let until = clock::now() + WORKER_START_TIMEOUT;
        let mut inner = self.pool.lock();
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
        reactor.add(&stderr, Token::Stderr { seat, generation }.number(), Interest::Level)?;

        let kind = self.pool.lock().seats[seat as usize].kind;
        let limits = self.pool.kinds[usize::from(kind)];
        let limits = WorkerLimits { log_level: level_heard(), ..limits };
        let spawn = ToForkserver::Spawn { id, limits };
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
            // It kills every worker with all that it left, reaps them, and goes.
            drop(forkserver.socket);
            forkserver.child.reap(FAREWELL);
            forkserver.child.kill();
            forkserver.child.reap(FAREWELL);
        }
    }
}
