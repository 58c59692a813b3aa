//! The job thread of a worker: claim, run, reply, and say when a bell is owed.

use std::borrow::Cow;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use amphi_protocol::{
    Claimed, ClaimedInput, FromWorker, GrantAnswer, OUTPUT_INLINE, Output, ReplyKind, StartStage,
    WorkerLane, WorkerLimits, encode,
};

mod batch;

use super::files::Files;
use super::payloads::Payloads;
use super::signals::{LaneSignals, Shared};
use super::{Lane, blobs, fail, files, log};
use crate::beside;
use crate::budget::Budget;
use crate::ctx::Ctx;
use crate::home::Home;
use crate::job::Encoded;
use crate::policy::Placement;
use crate::processes::crowd::{YIELD_ROUNDS, crowded, eased, yields_late};
use crate::sys::clock;
use crate::sys::doorbell::Bell;
use crate::sys::memory::sealed_memfd;
use crate::sys::process;
use crate::sys::rlimit;
use crate::sys::socket::Channel;

/// Rounds the job thread looks for its next task before it sleeps (about 20 µs).
const SPIN_ROUNDS: u32 = 1500;
/// Sleeps that are not preceded by a look, at most, after fruitless ones.
const SPIN_PENALTY_MAX: u32 = 64;
/// A job that took longer than this the last time is begun only after the bell is paid for.
const QUICK: Duration = Duration::from_micros(5);
/// A job that takes longer than this is begun only after the bell is paid for, even where more
/// tasks wait in the lane.
const SHORT: Duration = Duration::from_micros(150);
/// A bell is owed no longer than this many looks.
const OWED_ROUNDS: u32 = 200;

/// The job thread.
pub(super) struct Runner {
    lane: Arc<Shared>,
    end: WorkerLane,
    socket: Arc<Channel>,
    payloads: Arc<Payloads>,
    files: Arc<Files>,
    home: Arc<Home>,
    /// A reply was published and the bell not paid for.
    owed: bool,
    owed_since: u32,
    /// It has slept since its last task.
    woken: bool,
    spin_skip: u32,
    spin_penalty: u32,
    /// The last service time of each job.
    service: Vec<Duration>,
    output_max: u64,
    growth: Option<Growth>,
    /// Whole seconds of processor time for each task.
    cpu: Option<u64>,
    log_level: u8,
}

/// Whether the worker has grown too large.
struct Growth {
    bytes_max: u64,
    bytes_at_start: u64,
    looked: Duration,
}

/// How often a worker looks at its own size, at most.
const GROWTH_LOOK: Duration = Duration::from_millis(20);

impl Runner {
    pub(super) fn new(
        lane: Lane,
        bell: Bell,
        socket: Arc<Channel>,
        home: Arc<Home>,
        limits: &WorkerLimits,
    ) -> Self {
        let Lane { request, response, end } = lane;
        Self {
            lane: Arc::new(Shared::new(request, response, bell)),
            end,
            socket,
            payloads: Arc::default(),
            files: Arc::default(),
            home,
            owed: false,
            owed_since: 0,
            woken: false,
            spin_skip: 0,
            spin_penalty: 1,
            service: Vec::new(),
            output_max: limits.output_bytes_max,
            growth: limits.growth.map(|bytes_max| Growth {
                bytes_max,
                bytes_at_start: 0,
                looked: Duration::ZERO,
            }),
            cpu: limits.cpu,
            log_level: limits.log_level,
        }
    }

    /// Where the control thread puts what it receives.
    pub(super) fn payloads(&self) -> Arc<Payloads> {
        Arc::clone(&self.payloads)
    }

    pub(super) fn files(&self) -> Arc<Files> {
        Arc::clone(&self.files)
    }

    pub(super) fn run(mut self) {
        if let Err(message) = self.home.run_each_process() {
            fail(&self.socket, StartStage::EachProcess, &message);
        }
        if let Some(growth) = &mut self.growth {
            growth.bytes_at_start = process::resident_bytes();
        }
        // One for all tasks: a context cannot outlive its task.
        let signals = Arc::new(LaneSignals::new(Arc::clone(&self.lane), Arc::clone(&self.home)));
        log::install(self.log_level, &signals);
        let ready = encode(&FromWorker::Ready { pid: process::own_pid() });
        if self.socket.send(&ready, &[]).is_err() {
            process::exit_now(0);
        }
        let mut cx = Ctx::new(Arc::clone(&self.home), Placement::Process);
        cx.begin(Arc::clone(&signals) as _);
        let mut out = Encoded::new();
        let budget = Arc::clone(self.home.budget.get_or_init(|| Arc::new(Budget::new(1))));
        loop {
            let claimed = self.next();
            if claimed.flags > 0 {
                budget.hold_on();
                self.run_batch(&claimed, &signals, &mut cx, &mut out);
                budget.let_go();
                continue;
            }
            signals.begin(claimed.seq, claimed.job, claimed.context);
            self.files.begin(claimed.seq);
            cx.begin_again();
            // In this order: whoever has the key may need the core to let it go.
            let key = self.home.table.entry(claimed.job).and_then(|entry| entry.key.clone());
            key.iter().for_each(|gate| gate.take());
            budget.hold_on();
            self.run_task(&claimed, &cx, &mut out);
            key.iter().for_each(|gate| gate.give());
            budget.let_go();
        }
    }

    /// The next task: looks for a while, then sleeps.
    fn next(&mut self) -> Claimed {
        let (mut rounds, mut late) = (0, false);
        self.files.tidy_before(self.end.cursor());
        loop {
            match self.end.next(self.lane.req(), self.lane.rsp()) {
                Ok(Some(claimed)) => {
                    if rounds > 0 && !late {
                        self.spin_penalty = eased(self.spin_penalty);
                    }
                    return claimed;
                }
                Ok(None) => {}
                Err(_) => process::exit_now(2),
            }
            if self.owed {
                self.owed_since += 1;
                if self.end.is_harvested(self.lane.req()) {
                    self.owed = false;
                } else if self.owed_since > OWED_ROUNDS {
                    self.pay();
                }
            }
            rounds += 1;
            if rounds < SPIN_ROUNDS && self.spin_skip == 0 {
                let yields = rounds % YIELD_ROUNDS == 0 || std::mem::take(&mut self.woken);
                late = yields && yields_late();
                if late {
                    self.spin_skip = self.spin_penalty;
                    self.spin_penalty = crowded(self.spin_penalty);
                }
                std::hint::spin_loop();
                continue;
            }
            if self.spin_skip > 0 {
                self.spin_skip -= 1;
            } else {
                self.spin_skip = self.spin_penalty;
                let most = SPIN_PENALTY_MAX.max(self.spin_penalty);
                self.spin_penalty = (2 * self.spin_penalty).min(most);
            }
            self.pay();
            self.payloads.forget_before(self.end.cursor());
            self.files.forget_before(self.end.cursor());
            if let Some(park) = self.end.park(self.lane.rsp()) {
                self.lane.sleep(park);
                self.woken = true;
            }
            rounds = 0;
        }
    }

    /// The bell for what is done can wait until these tasks are done, too: that is quick, or it is
    /// short and they are not the last ones, so that the lane does not run dry meanwhile.
    fn may_owe_through(&self, job: usize, tasks: u32) -> bool {
        let Some(time) = self.service.get(job) else { return false };
        let time = time.saturating_mul(tasks);
        time <= QUICK || (time <= SHORT && self.end.has_next(self.lane.rsp()))
    }

    /// Rings for what was published and not harvested.
    fn pay(&mut self) {
        if self.owed {
            self.owed = false;
            if self.end.must_ring(self.lane.req()) {
                self.lane.ring();
            }
        }
    }

    fn run_task(&mut self, claimed: &Claimed, cx: &Ctx, out: &mut Encoded) {
        let job = claimed.job as usize;
        if self.owed && !self.may_owe_through(job, 1) {
            self.pay();
        }
        out.clear();
        let (home, lane) = (&self.home, &self.lane);
        if let Some(seconds) = self.cpu {
            rlimit::allow_cpu(seconds);
        }
        let begun = clock::now();
        let kind = match home.table.entry(claimed.job) {
            None => unknown_job(out),
            Some(entry) => match claimed.input {
                ClaimedInput::Inline(bytes) => entry.run_encoded(Cow::Borrowed(&bytes), cx, out),
                ClaimedInput::Block { offset, len } => {
                    let (offset, len) = (offset as usize, len as usize);
                    lane.request.with_block(offset, len, |bytes| {
                        entry.run_encoded(Cow::Borrowed(bytes), cx, out)
                    })
                }
                ClaimedInput::Memfd { len } => match self.payloads.take(claimed.seq, len) {
                    Some(bytes) => entry.run_encoded(Cow::Owned(bytes), cx, out),
                    None => process::exit_now(2),
                },
            },
        };
        let ended = clock::now();
        let ran = ended.saturating_sub(begun);
        self.note_service(job, ran);
        let run_ns = u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX);
        self.lane.flush(claimed.seq);
        let kind = self.send_beside(claimed.seq, kind, out);
        self.reply(claimed, kind, out, run_ns);
        self.look_at_growth(ended);
        if let Encoded::Shared(_) = out {
            out.clear(); // what the job returned is not kept until the next task
        }
        if out.capacity() > 1 << 20 {
            // A worker does not keep the memory of its largest output.
            *out = Encoded::new();
        }
    }

    /// Sends what the output names, ahead of it.
    fn send_beside(&self, key: u64, kind: ReplyKind, out: &mut Encoded) -> ReplyKind {
        let left = beside::take_left();
        if left.is_empty() || kind != ReplyKind::Ok {
            return kind;
        }
        let blobs = blobs::send(&self.socket, key, &left.regions).map_err(|error| {
            format!(
                "a blob of the output could not be sent: {error}; see to more descriptors or \
                 memory for the workers, or return Bytes"
            )
        });
        let sent =
            blobs.and_then(|blobs| Ok(files::send(&self.socket, key, &left.files)? || blobs));
        match sent {
            Ok(true) => ReplyKind::OkShared,
            Ok(false) => ReplyKind::Ok,
            Err(text) => {
                out.clear();
                out.own().extend_from_slice(text.as_bytes());
                ReplyKind::Codec
            }
        }
    }

    fn note_service(&mut self, job: usize, ran: Duration) {
        if self.service.len() <= job && job < self.home.table.len() {
            self.service.resize(self.home.table.len(), Duration::MAX);
        }
        if let Some(last) = self.service.get_mut(job) {
            *last = ran;
        }
    }

    fn reply(&mut self, claimed: &Claimed, kind: ReplyKind, out: &[u8], run_ns: u64) {
        let lane = Arc::clone(&self.lane);
        let (seq, len) = (claimed.seq, out.len() as u64);
        let answer = if len > self.output_max {
            Some(GrantAnswer::Refused)
        } else if out.len() <= OUTPUT_INLINE && claimed.flags == 0 {
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
                let (kind, output) = (ReplyKind::TooLarge, Output::Inline(&sizes));
                self.end.finish(lane.rsp(), seq, kind, output, run_ns);
                self.owe();
                return;
            }
        };
        self.end.finish(lane.rsp(), seq, kind, output, run_ns);
        self.owe();
    }

    /// Tells the host, once, that the worker has grown beyond what it may.
    fn look_at_growth(&mut self, now: Duration) {
        let Some(growth) = self.growth.as_mut() else { return };
        if now.saturating_sub(growth.looked) < GROWTH_LOOK {
            return;
        }
        growth.looked = now;
        let bytes = process::resident_bytes().saturating_sub(growth.bytes_at_start);
        if bytes > growth.bytes_max {
            self.growth = None;
            let _ = self.socket.send(&encode(&FromWorker::Grown { bytes }), &[]);
        }
    }

    fn owe(&mut self) {
        self.owed = true;
        self.owed_since = 0;
    }

    fn ask_for_room(&mut self, seq: u64, len: u64) -> GrantAnswer {
        let lane = Arc::clone(&self.lane);
        self.end.need_space(lane.rsp(), seq, len);
        if self.end.must_ring(lane.req()) {
            self.lane.ring();
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

fn unknown_job(out: &mut Encoded) -> ReplyKind {
    out.own().extend_from_slice(b"the worker does not know this job");
    ReplyKind::Codec
}
