//! What the running task tells the host beside its reply: progress, messages and its log; and what
//! it is told: cancel.
//!
//! The latest progress always gets through, or waits here for the next occasion: records are
//! dropped only for a newer one. A message is rung for, because somebody may sleep until it comes;
//! it waits for room part by part, and where there is none for long it is dropped and counted. An
//! event of the log is rung for, too, but waits for nothing. The host drains the ring when it takes
//! a reply, when it is asked, and when a bell rings: also when the ring is half full.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use amphi_protocol::{
    ARENA_OFFSET, Context, DroppedRecord, LogRecord, Park, ProgressRecord, RSP_ARENA_OFFSET,
    RecordWriter, Req, Rsp, WorkerLane, encode, record_kind, send_message,
};

use crate::ctx::Signals;
use crate::home::Home;
use crate::keys::Held;
use crate::sys::clock;
use crate::sys::doorbell::{Bell, futex_wait};
use crate::sys::memory::Segment;
use crate::task::Inherited;

/// How long a job that tells more than the host reads is held up, at most, for each record.
const ROOM_WAIT: Duration = Duration::from_millis(1);

/// The same for each part of a message: what a host whose cores are all busy may need.
const MESSAGE_WAIT: Duration = Duration::from_millis(100);

/// Whoever waits longer than so many yields sleeps in between.
const YIELDS: u32 = 200;
const NAP: Duration = Duration::from_micros(50);

/// The mappings and the bell, shared by the job thread and the signals of the running task.
pub(super) struct Shared {
    pub(super) request: Segment,
    pub(super) response: Segment,
    bell: Bell,
    records: Mutex<Records>,
    /// Held while a message is sent: its parts follow each other. Progress goes between them.
    mail: Mutex<Mail>,
    /// Something waits for room.
    is_pending: AtomicBool,
}

#[derive(Default)]
struct Records {
    writer: RecordWriter,
    /// The latest progress, while there was no room for it.
    pending: Option<ProgressRecord>,
    /// The bell was rung since the ring became half full.
    rung: bool,
    /// Events of the log that found no room, and were not told of.
    unlogged: u64,
}

#[derive(Default)]
struct Mail {
    /// Messages of the running task that were dropped and not told of.
    dropped: u64,
    /// The host let the last one wait in vain: the next ones do not wait.
    starved: bool,
}

impl Records {
    /// Writes a record that fits.
    fn push(&mut self, lane: &Shared, kind: u8, bytes: &[u8]) {
        self.writer.push(lane.rsp(), kind, bytes);
        let full = self.writer.is_half_full(lane.rsp());
        if full && !self.rung {
            lane.ring();
        }
        self.rung = full;
    }
}

impl Shared {
    pub(super) fn new(request: Segment, response: Segment, bell: Bell) -> Self {
        let (records, mail) = (Mutex::default(), Mutex::default());
        Self { request, response, bell, records, mail, is_pending: AtomicBool::new(false) }
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

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, record: ProgressRecord) {
        let mut records = self.records();
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
        records.push(self, record_kind::PROGRESS, &bytes);
        records.pending = None;
    }

    fn emit(&self, seq: u64, message: &[u8]) {
        let mut mail = self.mail();
        let starved = &mut mail.starved;
        let sent =
            send_message(seq, message, |kind, part| self.push_patiently(kind, part, starved));
        if !sent {
            mail.dropped += 1;
        }
        if mail.dropped > 0 {
            let lost = DroppedRecord { seq, count: mail.dropped };
            if self.try_push(record_kind::MESSAGES_DROPPED, &encode(&lost)) {
                mail.dropped = 0;
            } else {
                self.is_pending.store(true, Ordering::Relaxed);
            }
        }
        if self.records().writer.must_ring(self.req()) {
            self.ring();
        }
    }

    fn log(&self, record: LogRecord<'_>) {
        let bytes = record.encode();
        let mut records = self.records();
        self.tell_unlogged(&mut records, record.seq);
        if records.unlogged > 0 || !records.writer.fits(self.rsp(), bytes.len()) {
            records.unlogged += 1;
            self.is_pending.store(true, Ordering::Relaxed);
            return;
        }
        records.push(self, record_kind::LOG, &bytes);
        if records.writer.must_ring(self.req()) {
            self.ring();
        }
    }

    /// One warning for the events that were dropped, when there is room again.
    fn tell_unlogged(&self, records: &mut Records, seq: u64) {
        if records.unlogged == 0 {
            return;
        }
        let message = format!(
            "{} events of this worker's log were dropped: the host was slower",
            records.unlogged
        );
        let warning = LogRecord {
            seq,
            level: 2,
            line: 0,
            file: "",
            target: "amphi",
            spans: "",
            message: &message,
        };
        let bytes = warning.encode();
        if records.writer.fits(self.rsp(), bytes.len()) {
            records.push(self, record_kind::LOG, &bytes);
            records.unlogged = 0;
        }
    }

    fn try_push(&self, kind: u8, bytes: &[u8]) -> bool {
        let mut records = self.records();
        let fits = records.writer.fits(self.rsp(), bytes.len());
        if fits {
            records.push(self, kind, bytes);
        }
        fits
    }

    /// **Blocks** until there is room for a record, but not for long; false: there was none.
    fn push_patiently(&self, kind: u8, bytes: &[u8], starved: &mut bool) -> bool {
        if self.try_push(kind, bytes) {
            *starved = false;
            return true;
        }
        self.ring();
        let until = clock::now() + MESSAGE_WAIT;
        let mut rounds = 0;
        while !*starved {
            rounds += 1;
            if rounds < YIELDS {
                std::thread::yield_now();
            } else {
                std::thread::sleep(NAP);
            }
            if self.try_push(kind, bytes) {
                return true;
            }
            *starved = clock::now() > until;
        }
        false
    }

    /// The task `seq` ends: what it told last goes out, if there is room now.
    pub(super) fn flush(&self, seq: u64) {
        if self.is_pending.swap(false, Ordering::Relaxed) {
            let count = std::mem::take(&mut self.mail().dropped);
            let mut records = self.records();
            if let Some(record) = records.pending.take() {
                records.writer.push(self.rsp(), record_kind::PROGRESS, &encode(&record));
            }
            self.tell_unlogged(&mut records, seq);
            if records.unlogged > 0 {
                self.is_pending.store(true, Ordering::Relaxed);
            }
            if count > 0 {
                let lost = encode(&DroppedRecord { seq, count });
                records.writer.push(self.rsp(), record_kind::MESSAGES_DROPPED, &lost);
            }
        }
    }
}

/// The cancel token, progress and messages of the running task.
pub(super) struct LaneSignals {
    lane: Arc<Shared>,
    home: Arc<Home>,
    seq: AtomicU64,
    job: AtomicU32,
    /// Deadline, low and high half of the trace.
    context: [AtomicU64; 3],
}

impl LaneSignals {
    pub(super) fn new(lane: Arc<Shared>, home: Arc<Home>) -> Self {
        let (seq, job) = (AtomicU64::new(0), AtomicU32::new(0));
        Self { lane, home, seq, job, context: Default::default() }
    }

    /// They stand for this task now.
    pub(super) fn begin(&self, seq: u64, job: u32, context: Context) {
        self.seq.store(seq, Ordering::Relaxed);
        self.job.store(job, Ordering::Relaxed);
        let words = [context.deadline_ns, context.trace as u64, (context.trace >> 64) as u64];
        for (word, value) in self.context.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Tells the host of an event, if there is room.
    pub(super) fn log(&self, record: LogRecord<'_>) {
        self.lane.log(LogRecord { seq: self.seq(), ..record });
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

    fn emit(&self, message: Vec<u8>) {
        self.lane.emit(self.seq(), &message);
    }

    fn inherited(&self) -> Inherited {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let [deadline, low, high] = &self.context;
        let deadline = Some(load(deadline)).filter(|ns| *ns > 0).map(Duration::from_nanos);
        let trace = u128::from(load(high)) << 64 | u128::from(load(low));
        // The worker runs one task at a time, but for its children: they may not have its key.
        let key =
            self.home.table.entry(self.job.load(Ordering::Relaxed)).and_then(|e| e.key.clone());
        Inherited { deadline, trace, held: key.map(|gate| Held::new(gate, None)) }
    }
}
