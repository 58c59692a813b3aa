//! What the running task tells the host beside its reply: progress; and what it is told: cancel.
//!
//! The latest progress always gets through, or waits here for the next occasion: records are
//! dropped only for a newer one. The host drains the ring when it takes a reply, when it is asked,
//! and when the ring is half full, which the worker rings for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use amphi_protocol::{
    ARENA_OFFSET, Context, Park, ProgressRecord, RSP_ARENA_OFFSET, RecordWriter, Req, Rsp,
    WorkerLane, encode, record_kind,
};

use crate::ctx::Signals;
use crate::sys::clock;
use crate::sys::doorbell::{Bell, futex_wait};
use crate::sys::memory::Segment;
use crate::task::Inherited;

/// How long a job that tells more than the host reads is held up, at most, for each record.
const ROOM_WAIT: Duration = Duration::from_millis(1);

/// The mappings and the bell, shared by the job thread and the signals of the running task.
pub(super) struct Shared {
    pub(super) request: Segment,
    pub(super) response: Segment,
    bell: Bell,
    records: Mutex<Records>,
    /// Some progress waits for room.
    is_pending: AtomicBool,
}

#[derive(Default)]
struct Records {
    writer: RecordWriter,
    /// The latest progress, while there was no room for it.
    pending: Option<ProgressRecord>,
    /// The bell was rung since the ring became half full.
    rung: bool,
}

impl Shared {
    pub(super) fn new(request: Segment, response: Segment, bell: Bell) -> Self {
        let (records, is_pending) = (Mutex::default(), AtomicBool::new(false));
        Self { request, response, bell, records, is_pending }
    }

    #[inline]
    pub(super) fn req(&self) -> Req<'_> {
        Req::new(self.request.words(0..ARENA_OFFSET))
    }

    #[inline]
    pub(super) fn rsp(&self) -> Rsp<'_> {
        Rsp::new(self.response.words(0..RSP_ARENA_OFFSET))
    }

    pub(super) fn sleep(&self, park: Park) {
        futex_wait(&self.response.words(0..RSP_ARENA_OFFSET)[park.word], park.expected);
    }

    pub(super) fn ring(&self) {
        self.bell.ring();
    }

    fn tell(&self, record: ProgressRecord) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = encode(&record);
        if !records.writer.fits(self.rsp(), bytes.len()) {
            self.ring();
            let until = clock::now() + ROOM_WAIT;
            while !records.writer.fits(self.rsp(), bytes.len()) {
                if clock::now() > until {
                    records.pending = Some(record);
                    self.is_pending.store(true, Ordering::Relaxed);
                    return;
                }
                std::thread::yield_now();
            }
        }
        records.writer.push(self.rsp(), record_kind::PROGRESS, &bytes);
        records.pending = None;
        let full = records.writer.is_half_full(self.rsp());
        if full && !records.rung {
            self.ring();
        }
        records.rung = full;
    }

    /// The task ends: what it told last goes out, if there is room now.
    pub(super) fn flush(&self) {
        if self.is_pending.swap(false, Ordering::Relaxed) {
            let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(record) = records.pending.take() {
                records.writer.push(self.rsp(), record_kind::PROGRESS, &encode(&record));
            }
        }
    }
}

/// The cancel token and progress of the running task.
pub(super) struct LaneSignals {
    lane: Arc<Shared>,
    seq: AtomicU64,
    /// Deadline, low and high half of the trace.
    context: [AtomicU64; 3],
}

impl LaneSignals {
    pub(super) fn new(lane: Arc<Shared>) -> Self {
        Self { lane, seq: AtomicU64::new(0), context: Default::default() }
    }

    /// They stand for this task now.
    pub(super) fn begin(&self, seq: u64, context: Context) {
        self.seq.store(seq, Ordering::Relaxed);
        let words = [context.deadline_ns, context.trace as u64, (context.trace >> 64) as u64];
        for (word, value) in self.context.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn seq(&self) -> u64 {
        self.seq.load(Ordering::Relaxed)
    }
}

impl Signals for LaneSignals {
    fn is_cancelled(&self) -> bool {
        WorkerLane::is_cancelled(self.lane.req(), self.seq())
    }

    fn progress(&self, done: u64, total: u64) {
        self.lane.tell(ProgressRecord { seq: self.seq(), done, total });
    }

    fn inherited(&self) -> Inherited {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let [deadline, low, high] = &self.context;
        let deadline = Some(load(deadline)).filter(|ns| *ns > 0).map(Duration::from_nanos);
        let trace = u128::from(load(high)) << 64 | u128::from(load(low));
        // Keys are of one process: the worker runs one task at a time.
        Inherited { deadline, trace, held: None }
    }
}
