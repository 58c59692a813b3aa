//! A worker: its first thread controls (and ends it when the host is gone), a fresh thread runs
//! tasks one after another.
//!
//! User code runs on a fresh thread so that hash keys and thread-local random generators are the
//! worker's own, not copies of the forkserver's.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use amphi_protocol::{
    ARENA_OFFSET, FromWorker, POPULATE_BYTES, REQ_BYTES, RSP_ARENA_OFFSET, RSP_BYTES, Req,
    StartStage, ToWorker, WorkerLane, WorkerLimits, decode, encode,
};

use self::blobs::Blobs;
use self::files::Files;
use self::payloads::Payloads;
use self::runner::Runner;
use self::uplink::Uplink;
use super::forkserver::cut;
use crate::beside::{self, Source};
use crate::blob::Shared;
use crate::fd::Fd;
use crate::home::{Home, Role};
use crate::limits::STACK_BYTES;
use crate::sys::doorbell::Bell;
use crate::sys::memory::{Access, Segment};
use crate::sys::process;
use crate::sys::rlimit;
use crate::sys::socket::{Channel, DESCRIPTORS_MAX, Received};

mod blobs;
mod files;
mod log;
mod payloads;
mod runner;
mod signals;
mod uplink;

/// What a worker is given by its forkserver.
pub(super) struct Descriptors {
    pub(super) socket: OwnedFd,
    pub(super) bell: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) host: OwnedFd,
}

pub(super) struct Terms {
    pub(super) home: Arc<Home>,
    pub(super) limits: WorkerLimits,
    pub(super) parent: u32,
}

/// A worker's whole life.
pub(super) fn main(descriptors: Descriptors, terms: Terms) -> ! {
    Role::Worker.assume();
    let Descriptors { socket, bell, stderr, host } = descriptors;
    let keep = [process::number(&socket), process::number(&bell), process::number(&host)];
    process::lead_own_group();
    if process::die_with_parent(terms.parent).is_err() || process::become_stderr(stderr).is_err() {
        process::exit_now(2);
    }
    process::keep_only(&keep);
    let socket = Arc::new(Channel::from_fd(socket));
    match prepare(&socket, &terms) {
        Ok(lane) => control(&socket, &host, lane, Bell::from_fd(bell), terms),
        Err((stage, message)) => fail(&socket, stage, &message),
    }
}

fn fail(socket: &Channel, stage: StartStage, message: &str) -> ! {
    let message = cut(message);
    let _ = socket.send(&encode(&FromWorker::Failed { stage, message }), &[]);
    process::exit_now(2)
}

/// The lane's mappings, as the worker has them.
struct Lane {
    request: Segment,
    response: Segment,
    end: WorkerLane,
}

fn prepare(socket: &Channel, terms: &Terms) -> Result<Lane, (StartStage, String)> {
    let problem = |text: String| (StartStage::Worker, text);
    let (mut lane, mut request, mut response) = (None, None, None);
    while request.is_none() || response.is_none() {
        let Ok(Received::Message { bytes, mut fds }) = socket.recv(1) else { process::exit_now(0) };
        match (decode(&bytes), fds.pop()) {
            (Ok(ToWorker::Lane { lane: number, incarnation }), Some(fd)) => {
                lane = Some((number, incarnation));
                request = Some(fd);
            }
            (Ok(ToWorker::LaneResponse), Some(fd)) => response = Some(fd),
            _ => return Err(problem("the host sent no lane".to_owned())),
        }
    }
    let (Some((number, incarnation)), Some(request), Some(response)) = (lane, request, response)
    else {
        return Err(problem("the host sent half a lane".to_owned()));
    };
    let map = |fd: &OwnedFd, bytes, access| Segment::map(fd.as_fd(), bytes, access);
    let request = map(&request, REQ_BYTES, Access::ReadOnly).map_err(|e| problem(e.to_string()))?;
    let response =
        map(&response, RSP_BYTES, Access::ReadWrite).map_err(|e| problem(e.to_string()))?;
    request.populate(0..ARENA_OFFSET + POPULATE_BYTES);
    response.populate(0..RSP_ARENA_OFFSET + POPULATE_BYTES);
    let end = WorkerLane::attach(Req::new(request.words(0..ARENA_OFFSET)), number, incarnation)
        .map_err(|mismatch| problem(mismatch.to_string()))?;

    process::raise_oom_score(500);
    rlimit::apply(&terms.limits).map_err(|e| problem(format!("setting limits: {e}")))?;
    terms.home.set_rayon_threads(terms.limits.rayon_threads.max(1) as usize);
    Ok(Lane { request, response, end })
}

/// The first thread: starts the job thread, then only listens.
fn control(socket: &Arc<Channel>, host: &OwnedFd, lane: Lane, bell: Bell, terms: Terms) -> ! {
    let uplink = Arc::new(Uplink::new(Arc::clone(socket), terms.limits.output_bytes_max));
    let _ = terms.home.host.set(Arc::clone(&uplink) as _);
    let runner = Runner::new(lane, bell, Arc::clone(socket), terms.home, &terms.limits);
    let inbox = Inbox::serve(&runner, uplink);
    let thread = std::thread::Builder::new()
        .name("amphi-job".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            struct End;
            impl Drop for End {
                fn drop(&mut self) {
                    // The job thread never returns; if it unwinds, the engine has a bug.
                    process::exit_now(101)
                }
            }
            let _end = End;
            runner.run()
        });
    if let Err(error) = thread {
        fail(socket, StartStage::Worker, &format!("starting the job thread: {error}"));
    }
    loop {
        let Ok(ready) = process::wait_readable(&[host.as_fd(), socket.as_fd()], None) else {
            process::exit_now(0)
        };
        if ready[0] {
            process::exit_now(0);
        }
        if !ready[1] {
            continue;
        }
        match socket.try_recv(DESCRIPTORS_MAX) {
            Ok(Received::Message { bytes, fds }) => inbox.take(&bytes, fds, socket),
            Ok(Received::Short { bytes }) => inbox.take_short(&bytes),
            Ok(Received::Empty) => {}
            Ok(Received::Closed) | Err(_) => process::exit_now(0),
        }
    }
}

/// Where the control thread puts what it receives.
struct Inbox {
    payloads: Arc<Payloads>,
    blobs: Arc<Blobs>,
    files: Arc<Files>,
    uplink: Arc<Uplink>,
}

/// What inputs name is found where the control thread has put it.
struct Arrived {
    blobs: Arc<Blobs>,
    files: Arc<Files>,
}

impl Source for Arrived {
    fn region(&self, id: u64) -> Option<Arc<Shared>> {
        self.blobs.wait_for(id)
    }

    fn files(&self) -> Option<Vec<Fd>> {
        self.files.take()
    }
}

impl Inbox {
    /// From now on the inputs of this process find here what they name.
    fn serve(runner: &Runner, uplink: Arc<Uplink>) -> Self {
        let (blobs, files) = (Arc::new(Blobs::default()), runner.files());
        let arrived = Arrived { blobs: Arc::clone(&blobs), files: Arc::clone(&files) };
        beside::serve_from(Box::new(arrived));
        Self { payloads: runner.payloads(), blobs, files, uplink }
    }

    /// What is no message of a host ends the worker.
    fn take(&self, bytes: &[u8], mut fds: Vec<OwnedFd>, socket: &Arc<Channel>) {
        let Ok(message) = decode::<ToWorker>(bytes) else { process::exit_now(0) };
        if message.descriptors() != Ok(fds.len()) {
            process::exit_now(0);
        }
        match message {
            ToWorker::Payload { seq, len } => {
                fds.into_iter().for_each(|fd| self.payloads.arrived(seq, fd, len));
            }
            ToWorker::Blob { blob, len } => {
                fds.pop().into_iter().for_each(|fd| self.blobs.arrived(blob, fd, len, socket));
            }
            ToWorker::Files { seq, .. } => self.files.arrived(seq, Some(fds)),
            ToWorker::Forget { blob } => self.blobs.forget(blob),
            ToWorker::ChildDone { child, outcome, .. } => {
                self.uplink.done(child, outcome, Some(fds));
            }
            ToWorker::Lane { .. } | ToWorker::LaneResponse => process::exit_now(0),
        }
    }

    /// There is no room for a message's descriptors: the task that they are for fails. One whose
    /// whole input is missing cannot even be refused.
    fn take_short(&self, bytes: &[u8]) {
        match decode(bytes) {
            Ok(ToWorker::Blob { blob, .. }) => self.blobs.lost(blob),
            Ok(ToWorker::Files { seq, .. }) => self.files.arrived(seq, None),
            Ok(ToWorker::ChildDone { child, outcome, .. }) => {
                self.uplink.done(child, outcome, None);
            }
            _ => process::exit_now(0),
        }
    }
}
