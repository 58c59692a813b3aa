//! A worker: its first thread controls (and ends it when the host is gone), a fresh thread runs
//! tasks one after another.
//!
//! User code runs on a fresh thread so that hash keys and thread-local random generators are the
//! worker's own, not copies of the forkserver's.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use amphi_protocol::{
    ARENA_OFFSET, Claimed, ClaimedInput, FromWorker, GrantAnswer, OUTPUT_INLINE, Output,
    POPULATE_BYTES, Park, ProgressRecord, REQ_BYTES, RSP_ARENA_OFFSET, RSP_BYTES, RecordWriter,
    ReplyKind, Req, Rsp, StartStage, ToWorker, WorkerLane, WorkerLimits, decode, encode,
    record_kind,
};

use super::forkserver::cut;
use crate::ctx::{Ctx, Signals};
use crate::home::{Home, Role};
use crate::limits::STACK_BYTES;
use crate::policy::Placement;
use crate::sys::clock;
use crate::sys::doorbell::{Bell, futex_wait};
use crate::sys::memory::{Access, Segment, read_sealed, sealed_memfd};
use crate::sys::process;
use crate::sys::rlimit;
use crate::sys::socket::{Channel, Received};

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

/// Rounds the job thread looks for its next task before it sleeps (about 20 µs).
const SPIN_ROUNDS: u32 = 1500;
/// Sleeps that are not preceded by a look, at most, after fruitless ones.
const SPIN_PENALTY_MAX: u32 = 64;
/// A job that took longer than this the last time is begun only after the bell is paid for.
const QUICK: Duration = Duration::from_micros(5);
/// A bell is owed no longer than this many looks.
const OWED_ROUNDS: u32 = 200;

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

/// Memfds on their way from the control thread to the job thread.
#[derive(Default)]
struct Payloads {
    arrived: Mutex<HashMap<u64, (OwnedFd, u64)>>,
    changed: Condvar,
}

/// The first thread: starts the job thread, then only listens.
fn control(socket: &Arc<Channel>, host: &OwnedFd, lane: Lane, bell: Bell, terms: Terms) -> ! {
    let payloads = Arc::new(Payloads::default());
    let worker = Runner {
        lane: Arc::new(Shared {
            request: lane.request,
            response: lane.response,
            records: Mutex::default(),
        }),
        end: lane.end,
        bell,
        socket: Arc::clone(socket),
        payloads: Arc::clone(&payloads),
        home: terms.home,
        owed: false,
        owed_since: 0,
        spin_skip: 0,
        spin_penalty: 1,
        service: HashMap::new(),
        output_max: terms.limits.output_bytes_max,
    };
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
            worker.run()
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
        match socket.try_recv(1) {
            Ok(Received::Message { bytes, mut fds }) => match (decode(&bytes), fds.pop()) {
                (Ok(ToWorker::Payload { seq, len }), Some(fd)) => {
                    let mut arrived =
                        payloads.arrived.lock().unwrap_or_else(PoisonError::into_inner);
                    arrived.insert(seq, (fd, len));
                    payloads.changed.notify_all();
                }
                _ => process::exit_now(0),
            },
            Ok(Received::Empty) => {}
            Ok(Received::Closed) | Err(_) => process::exit_now(0),
        }
    }
}

/// The mappings, shared with the signals of the running task.
struct Shared {
    request: Segment,
    response: Segment,
    records: Mutex<RecordWriter>,
}

impl Shared {
    #[inline]
    fn req(&self) -> Req<'_> {
        Req::new(self.request.words(0..ARENA_OFFSET))
    }

    #[inline]
    fn rsp(&self) -> Rsp<'_> {
        Rsp::new(self.response.words(0..RSP_ARENA_OFFSET))
    }

    fn sleep(&self, park: Park) {
        futex_wait(&self.response.words(0..RSP_ARENA_OFFSET)[park.word], park.expected);
    }
}

/// The cancel token and progress of one task in a worker.
struct LaneSignals {
    lane: Arc<Shared>,
    seq: u64,
}

impl Signals for LaneSignals {
    fn is_cancelled(&self) -> bool {
        WorkerLane::is_cancelled(self.lane.req(), self.seq)
    }

    fn progress(&self, done: u64, total: u64) {
        let record = encode(&ProgressRecord { seq: self.seq, done, total });
        let mut records = self.lane.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.push(self.lane.rsp(), record_kind::PROGRESS, &record);
    }
}

/// The job thread.
struct Runner {
    lane: Arc<Shared>,
    end: WorkerLane,
    bell: Bell,
    socket: Arc<Channel>,
    payloads: Arc<Payloads>,
    home: Arc<Home>,
    /// A reply was published and the bell not paid for.
    owed: bool,
    owed_since: u32,
    spin_skip: u32,
    spin_penalty: u32,
    /// The last service time of each job.
    service: HashMap<u32, Duration>,
    output_max: u64,
}

impl Runner {
    fn run(mut self) {
        if let Err(message) = self.home.run_each_process() {
            fail(&self.socket, StartStage::EachProcess, &message);
        }
        let ready = encode(&FromWorker::Ready { pid: process::own_pid() });
        if self.socket.send(&ready, &[]).is_err() {
            process::exit_now(0);
        }
        let nobody = Arc::new(LaneSignals { lane: Arc::clone(&self.lane), seq: 0 });
        let mut cx = Ctx::new(Arc::clone(&self.home), Placement::Process, nobody);
        let mut out = Vec::new();
        loop {
            let claimed = self.next();
            self.run_task(&claimed, &mut cx, &mut out);
        }
    }

    /// The next task: looks for a while, then sleeps.
    fn next(&mut self) -> Claimed {
        let mut rounds = 0;
        loop {
            let lane = Arc::clone(&self.lane);
            match self.end.next(lane.req(), lane.rsp()) {
                Ok(Some(claimed)) => {
                    if rounds > 0 {
                        self.spin_penalty = 1;
                    }
                    return claimed;
                }
                Ok(None) => {}
                Err(_) => process::exit_now(2),
            }
            if self.owed {
                self.owed_since += 1;
                if self.end.is_harvested(lane.req()) {
                    self.owed = false;
                } else if self.owed_since > OWED_ROUNDS {
                    self.pay();
                }
            }
            rounds += 1;
            if rounds < SPIN_ROUNDS && self.spin_skip == 0 {
                std::hint::spin_loop();
                continue;
            }
            if self.spin_skip > 0 {
                self.spin_skip -= 1;
            } else {
                self.spin_skip = self.spin_penalty;
                self.spin_penalty = (2 * self.spin_penalty).min(SPIN_PENALTY_MAX);
            }
            self.pay();
            if let Some(park) = self.end.park(lane.rsp()) {
                lane.sleep(park);
            }
            rounds = 0;
        }
    }

    /// Rings for what was published and not harvested.
    fn pay(&mut self) {
        if self.owed {
            self.owed = false;
            if self.end.must_ring(self.lane.req()) {
                self.bell.ring();
            }
        }
    }

    fn run_task(&mut self, claimed: &Claimed, cx: &mut Ctx, out: &mut Vec<u8>) {
        if self.owed && self.service.get(&claimed.job).is_none_or(|time| *time > QUICK) {
            self.pay();
        }
        let lane = Arc::clone(&self.lane);
        cx.begin(Arc::new(LaneSignals { lane: Arc::clone(&lane), seq: claimed.seq }));
        out.clear();
        let home = Arc::clone(&self.home);
        let begun = clock::now();
        let kind = match home.table.entry(claimed.job) {
            None => unknown_job(out),
            Some(entry) => match claimed.input {
                ClaimedInput::Inline(bytes) => entry.run_encoded(&bytes, cx, out),
                ClaimedInput::Block { offset, len } => {
                    let (offset, len) = (offset as usize, len as usize);
                    lane.request.with_block(offset, len, |bytes| entry.run_encoded(bytes, cx, out))
                }
                ClaimedInput::Memfd { len } => match self.payload(claimed.seq, len) {
                    Some(bytes) => entry.run_encoded(&bytes, cx, out),
                    None => process::exit_now(2),
                },
            },
        };
        let ran = clock::now().saturating_sub(begun);
        self.service.insert(claimed.job, ran);
        let run_ns = u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX);
        self.reply(claimed, kind, out, run_ns);
        if out.capacity() > 1 << 20 {
            // A worker does not keep the memory of its largest output.
            *out = Vec::new();
        }
    }

    /// The bytes of a large input, which the control thread receives.
    fn payload(&self, seq: u64, len: u64) -> Option<Vec<u8>> {
        let patience = Duration::from_secs(5);
        let arrived = self.payloads.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut arrived, _) = self
            .payloads
            .changed
            .wait_timeout_while(arrived, patience, |arrived| !arrived.contains_key(&seq))
            .unwrap_or_else(PoisonError::into_inner);
        let (fd, announced) = arrived.remove(&seq)?;
        drop(arrived);
        (announced == len).then(|| read_sealed(fd.as_fd(), len).ok()).flatten()
    }

    fn reply(&mut self, claimed: &Claimed, kind: ReplyKind, out: &[u8], run_ns: u64) {
        let lane = Arc::clone(&self.lane);
        let (seq, len) = (claimed.seq, out.len() as u64);
        let answer = if out.len() <= OUTPUT_INLINE {
            None
        } else if len <= claimed.grant.capacity {
            Some(GrantAnswer::Block(claimed.grant))
        } else {
            Some(self.ask_for_room(seq, len))
        };
        let (kind, output) = match answer {
            None => (kind, Output::Inline(out)),
            Some(GrantAnswer::Block(grant)) => {
                lane.response.write(grant.offset as usize, out);
                (kind, Output::Block { len })
            }
            Some(GrantAnswer::Memfd) => match self.send_memfd(seq, out) {
                Ok(()) => (kind, Output::Memfd { len }),
                Err(_) => {
                    (ReplyKind::Codec, Output::Inline(b"the output's memory could not be had"))
                }
            },
            Some(GrantAnswer::Refused) => {
                let mut sizes = [0; 16];
                sizes[..8].copy_from_slice(&len.to_le_bytes());
                sizes[8..].copy_from_slice(&self.output_max.to_le_bytes());
                self.end.finish(
                    lane.rsp(),
                    seq,
                    ReplyKind::TooLarge,
                    Output::Inline(&sizes),
                    run_ns,
                );
                self.owe();
                return;
            }
        };
        self.end.finish(lane.rsp(), seq, kind, output, run_ns);
        self.owe();
    }

    fn owe(&mut self) {
        self.owed = true;
        self.owed_since = 0;
    }

    fn ask_for_room(&mut self, seq: u64, len: u64) -> GrantAnswer {
        let lane = Arc::clone(&self.lane);
        self.end.need_space(lane.rsp(), seq, len);
        if self.end.must_ring(lane.req()) {
            self.bell.ring();
        }
        self.owed = false;
        loop {
            for _ in 0..SPIN_ROUNDS {
                if let Some(answer) = self.end.granted(lane.req(), lane.rsp(), seq) {
                    return answer;
                }
                std::hint::spin_loop();
            }
            if let Some(park) = self.end.park_for_grant(lane.rsp(), seq) {
                lane.sleep(park);
            }
        }
    }

    fn send_memfd(&self, seq: u64, out: &[u8]) -> std::io::Result<()> {
        let fd = sealed_memfd("amphi-output", out)?;
        let message = FromWorker::Payload { seq, len: out.len() as u64 };
        self.socket.send(&encode(&message), &[fd.as_fd()])
    }
}

fn unknown_job(out: &mut Vec<u8>) -> ReplyKind {
    out.extend_from_slice(b"the worker does not know this job");
    ReplyKind::Codec
}
