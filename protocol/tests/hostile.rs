//! A worker that writes whatever it likes into RSP, whenever it likes.
//!
//! Whatever it does, no call panics or runs for ever; each answers something that the rules allow
//! or a violation; the first violation stays; and every task still has exactly one outcome.

#![cfg(not(amphi_loom))]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use amphi_protocol::{
    ARENA_OFFSET, Answers, Assembly, BATCH_MAX, Batch, Claimed, Context, DroppedRecord,
    EMITTED_BYTES_MAX, Event, Grant, GrantAnswer, HostLane, Input, LogRecord, OUTPUT_INLINE,
    Output, Pieces, Put, RECORD_BYTES_MAX, RECORDS_BYTES, RECORDS_OFFSET, RSP_ARENA_OFFSET,
    RecordReader, RecordWriter, ReplyKind, Req, Request, Rsp, SLOTS, Storage, Violation,
    WorkerLane, decode, looks_done, record_kind, send_message, split_key,
};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

#[derive(Debug, Clone, Copy)]
enum Step {
    Publish {
        capacity: u64,
        tasks: usize,
    },
    TakeBack {
        back: u64,
        from: usize,
    },
    Answers,
    Revoke {
        back: u64,
    },
    Stage {
        back: u64,
    },
    Poll,
    Grant {
        back: u64,
    },
    Drain,
    Work {
        reply: bool,
    },
    Record {
        kind: u8,
        len: usize,
    },
    Message {
        len: usize,
    },
    Scribble {
        word: usize,
        value: u64,
    },
    /// A claim word that is almost right.
    Claims {
        slot: u64,
        ahead: u64,
        next: u8,
        end: u8,
    },
    /// A state word that is almost right.
    State {
        slot: u64,
        ahead: u64,
        low: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let slot_words = SLOTS * 32;
    let record_words = RECORDS_OFFSET / 8..RECORDS_OFFSET / 8 + 40;
    let claims = (0..SLOTS).prop_map(move |slot| slot_words + 16 * slot);
    let word = prop_oneof![0..slot_words, claims, record_words, 0..RSP_ARENA_OFFSET / 8];
    let value =
        prop_oneof![any::<u64>(), 0..5000_u64, Just(u64::MAX), (0..64_u32).prop_map(|b| 1 << b)];
    let low = prop_oneof![0..8_u8, 0x80..0x88_u8, any::<u8>()];
    prop_oneof![
        8 => (0..2000_u64, 0..7_usize)
            .prop_map(|(capacity, tasks)| Step::Publish { capacity, tasks }),
        3 => (0..12_u64, 0..7_usize).prop_map(|(back, from)| Step::TakeBack { back, from }),
        2 => Just(Step::Answers),
        3 => (0..12_u64).prop_map(|back| Step::Revoke { back }),
        2 => (0..12_u64).prop_map(|back| Step::Stage { back }),
        8 => Just(Step::Poll),
        2 => (0..12_u64).prop_map(|back| Step::Grant { back }),
        2 => Just(Step::Drain),
        10 => any::<bool>().prop_map(|reply| Step::Work { reply }),
        2 => (0..6_u8, 0..3000_usize).prop_map(|(kind, len)| Step::Record { kind, len }),
        2 => (0..9000_usize).prop_map(|len| Step::Message { len }),
        1 => (0..8_u64, 0..2_u64, 0..7_u8, 0..7_u8)
            .prop_map(|(slot, ahead, next, end)| Step::Claims { slot, ahead, next, end }),
        1 => (word, value).prop_map(|(word, value)| Step::Scribble { word, value }),
        1 => (0..8_u64, 0..3_u64, low).prop_map(|(slot, ahead, low)| Step::State { slot, ahead, low }),
    ]
}

struct Rig {
    memory: (Vec<AtomicU64>, Vec<AtomicU64>),
    host: HostLane,
    worker: Option<WorkerLane>,
    batch: Option<(Claimed, Batch)>,
    records: (RecordWriter, RecordReader, Assembly),
    /// What is in the lane, by its key, with what it was granted.
    tasks: BTreeMap<(u64, usize), u64>,
    broken: Option<Violation>,
}

impl Rig {
    fn new() -> Self {
        let zero = |bytes: usize| (0..bytes / 8).map(|_| AtomicU64::new(0)).collect();
        let memory: (Vec<_>, Vec<_>) = (zero(ARENA_OFFSET), zero(RSP_ARENA_OFFSET));
        let host = HostLane::new(1, 1);
        host.init(Req::new(&memory.0));
        let worker = WorkerLane::attach(Req::new(&memory.0), 1, 1).ok();
        let records = (RecordWriter::new(), RecordReader::new(), Assembly::new());
        let batch = None;
        Self { memory, host, worker, batch, records, tasks: BTreeMap::new(), broken: None }
    }

    /// The first violation stays.
    fn note<T>(&mut self, result: Result<T, Violation>) -> Option<T> {
        match (self.broken, result) {
            (None, Ok(value)) => Some(value),
            (None, Err(violation)) => {
                self.broken = Some(violation);
                None
            }
            (Some(first), result) => {
                assert_eq!(result.err(), Some(first), "the first violation latches");
                None
            }
        }
    }

    fn apply(&mut self, step: Step) {
        let memory = std::mem::take(&mut self.memory);
        let (req, rsp) = (Req::new(&memory.0), Rsp::new(&memory.1));
        let back = |back: u64, host: &HostLane| host.next_seq().saturating_sub(back);
        match step {
            Step::Publish { capacity, tasks } => self.publish(req, rsp, capacity, tasks),
            Step::Revoke { back: b } => {
                let seq = back(b, &self.host);
                let taken = self.host.revoke(rsp, seq);
                if self.note(taken) == Some(true) {
                    self.tasks.retain(|(other, _), _| *other != seq);
                }
            }
            Step::TakeBack { back: b, from } => {
                let seq = back(b, &self.host);
                let taken = self.host.take_back(rsp, seq, from);
                if let Some(end) = self.note(taken) {
                    self.tasks.retain(|(other, index), _| *other != seq || *index < end);
                }
            }
            Step::Answers => {
                let answers = self.host.answers(rsp);
                if let Some(Some(answers)) = self.note(answers) {
                    assert!(!answers.last);
                    self.harvest(rsp, &Event::Answers(answers));
                }
            }
            Step::Stage { back: b } => {
                let stage = self.host.stage(rsp, back(b, &self.host));
                self.note(stage);
                looks_done(rsp, back(b, &self.host));
            }
            Step::Poll => {
                let event = self.host.poll(req, rsp);
                if let Some(Some(event)) = self.note(event) {
                    self.harvest(rsp, &event);
                }
            }
            Step::Grant { back: b } => {
                let seq = back(b, &self.host);
                let wake = self.host.grant(req, rsp, seq, GrantAnswer::Memfd);
                self.note(wake);
            }
            Step::Drain => self.drain(rsp),
            Step::Work { reply } => self.work(req, rsp, reply),
            Step::Record { kind, len } => {
                self.records.0.push(rsp, kind, &vec![7; len]);
                self.records.0.must_ring(req);
            }
            Step::Message { len } => {
                let records = &mut self.records.0;
                send_message(1, &vec![7; len], |kind, bytes| records.push(rsp, kind, bytes));
            }
            Step::Scribble { word, value } => memory.1[word].store(value, Ordering::Relaxed),
            Step::Claims { slot, ahead, next, end } => {
                let word = &memory.1[SLOTS * 32 + slot as usize * 16];
                let seq = (word.load(Ordering::Relaxed) >> 16) + ahead * SLOTS as u64;
                word.store(seq << 16 | u64::from(next) << 8 | u64::from(end), Ordering::Relaxed);
            }
            Step::State { slot, ahead, low } => {
                let word = &memory.1[slot as usize * 32];
                let seq = (word.load(Ordering::Relaxed) >> 8) + ahead * SLOTS as u64;
                word.store(seq << 8 | u64::from(low), Ordering::Relaxed);
            }
        }
        self.memory = memory;
        let mut seqs: Vec<u64> = self.tasks.keys().map(|(seq, _)| *seq).collect();
        seqs.dedup();
        assert!(seqs.len() <= self.host.in_flight(), "what has tasks is in the lane");
    }

    fn publish(&mut self, req: Req<'_>, rsp: Rsp<'_>, capacity: u64, tasks: usize) {
        if self.host.free_slots() == 0 {
            return;
        }
        let grant = Grant { offset: RSP_ARENA_OFFSET as u64, capacity };
        let input = Input::Inline(b"some input");
        let request = Request { job: 0, flags: 0, context: Context::NONE, input, grant };
        let published = match tasks {
            0 => self.host.publish(req, rsp, &request),
            _ => self.host.publish_batch(req, rsp, &request, tasks),
        };
        if let Some(published) = self.note(published) {
            self.tasks.extend((0..tasks.max(1)).map(|index| ((published.seq, index), capacity)));
        }
    }

    fn harvest(&mut self, rsp: Rsp<'_>, event: &Event) {
        match event {
            Event::NeedSpace { seq, .. } => {
                let tasks = self.host.tasks(*seq);
                self.tasks.retain(|(other, index), _| other != seq || *index < tasks);
                assert_eq!(self.tasks.keys().filter(|(other, _)| other == seq).count(), 1);
            }
            Event::Answers(answers) => self.told(rsp, answers),
            Event::Done(done) => {
                let mut left = self.tasks.keys().copied().filter(|(seq, _)| *seq == done.seq);
                let (key, more) = (left.next().expect("one outcome each"), left.next());
                assert_eq!(more, None, "it is the only one of its slot");
                let capacity = self.tasks.remove(&key).expect("it was there");
                match &done.output {
                    Storage::Inline(bytes) => assert!(bytes.len() <= OUTPUT_INLINE),
                    Storage::Block { len } => assert!(*len <= capacity),
                    Storage::Memfd { .. } => {}
                }
            }
        }
    }

    fn told(&mut self, rsp: Rsp<'_>, answers: &Answers) {
        let mut granted = 0;
        for index in answers.first..answers.until {
            granted = self.tasks.remove(&(answers.seq, index)).expect("one outcome each");
        }
        if !answers.last {
            // Where it asks for room, its tail was taken back.
            let tasks = self.host.tasks(answers.seq);
            self.tasks.retain(|(seq, index), _| *seq != answers.seq || *index < tasks);
        }
        let is_gone = !self.tasks.keys().any(|(seq, _)| *seq == answers.seq);
        assert_eq!(is_gone, answers.last, "each was told or taken back");
        match answers.output(rsp) {
            Storage::Inline(bytes) => {
                assert!(bytes.len() <= OUTPUT_INLINE && answers.until <= BATCH_MAX);
                assert!(Pieces::of(&bytes).count() <= 1 + bytes.len() / 8);
            }
            Storage::Block { len } => assert!(len <= granted || answers.first == answers.until),
            Storage::Memfd { .. } => panic!("replies of a batch lie in no memfd"),
        }
    }

    fn drain(&mut self, rsp: Rsp<'_>) {
        let mut bytes = Vec::new();
        let mut drained = 0;
        while let Ok(Some(kind)) = self.records.1.pop(rsp, &mut bytes) {
            assert!(bytes.len() <= RECORD_BYTES_MAX);
            let message = match kind {
                record_kind::MESSAGE => self.records.2.first(&bytes),
                record_kind::MESSAGE_MORE => self.records.2.more(&bytes),
                _ => Ok(None),
            };
            if let Ok(Some(message)) = message {
                assert!(message.bytes.len() <= EMITTED_BYTES_MAX);
            }
            drained += 8 + bytes.len();
        }
        assert!(drained <= RECORDS_BYTES, "a drain is at most a ring");
    }

    /// A worker that goes on as well as it can, and ends where it cannot.
    fn work(&mut self, req: Req<'_>, rsp: Rsp<'_>, reply: bool) {
        let Some(worker) = &mut self.worker else { return };
        if let Some((claimed, batch)) = &mut self.batch {
            let over = match worker.claim(rsp, batch) {
                Ok(Some(_)) if reply => {
                    worker.answer(rsp, batch, ReplyKind::Ok, b"some output", 1) == Put::NoRoom
                }
                Ok(Some(_)) => true,
                Ok(None) => {
                    worker.finish_batch(rsp, batch);
                    self.batch = None;
                    return;
                }
                Err(_) => {
                    self.worker = None;
                    return;
                }
            };
            if over {
                worker.need_space(rsp, claimed.seq, 1000);
                self.batch = None;
            }
            return;
        }
        match worker.next(req, rsp) {
            Ok(Some(claimed)) if claimed.flags > 0 => match worker.batch(rsp, &claimed) {
                Ok(batch) => self.batch = batch.map(|batch| (claimed, batch)),
                Err(_) => self.worker = None,
            },
            Ok(Some(claimed)) if reply => {
                let output = Output::Inline(b"some output");
                worker.finish(rsp, claimed.seq, ReplyKind::Ok, output, 1);
            }
            Ok(Some(claimed)) => {
                worker.need_space(rsp, claimed.seq, 1000);
                worker.granted(req, rsp, claimed.seq);
                worker.park_for_grant(rsp, claimed.seq);
            }
            Ok(None) => {
                worker.park(rsp);
                worker.must_ring(req);
            }
            Err(_) => self.worker = None,
        }
    }

    fn bury(mut self) {
        let rsp = Rsp::new(&self.memory.1);
        let left: Vec<_> =
            self.host.remains(rsp).into_iter().map(|(key, _)| split_key(key)).collect();
        assert!(self.tasks.keys().copied().eq(left), "what is left is told");
        assert_eq!(self.host.in_flight(), 0);
        self.tasks.clear();
    }
}

proptest! {
    #[test]
    fn a_host_survives_whatever_a_worker_writes(steps in vec(step(), 1..300)) {
        let mut rig = Rig::new();
        steps.into_iter().for_each(|step| rig.apply(step));
        rig.bury();
    }

    #[test]
    fn memory_of_pure_noise_is_told_from_a_lane(seed in any::<u64>()) {
        let mut rig = Rig::new();
        let mut state = seed;
        for word in &rig.memory.1 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            word.store(state ^ state >> 29, Ordering::Relaxed);
        }
        for step in [
            Step::Drain,
            Step::Work { reply: true },
            Step::Work { reply: true },
            Step::Publish { capacity: 0, tasks: 0 },
            Step::Publish { capacity: 0, tasks: 3 },
            Step::Poll,
        ] {
            rig.apply(step);
        }
        assert!(rig.broken.is_some() && rig.worker.is_none());
        rig.bury();
    }

    #[test]
    fn control_messages_of_noise_do_not_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode::<amphi_protocol::FromWorker>(&bytes);
        let _ = decode::<amphi_protocol::FromForkserver>(&bytes);
        let _ = decode::<amphi_protocol::ToWorker>(&bytes);
        let _ = decode::<amphi_protocol::ToForkserver>(&bytes);
        let _ = decode::<amphi_protocol::ProgressRecord>(&bytes);
        assert!(Pieces::of(&bytes).count() <= 1 + bytes.len() / 8);
        let _ = (decode::<DroppedRecord>(&bytes), LogRecord::decode(&bytes));
        let (mut fresh, mut begun) = (Assembly::new(), Assembly::new());
        begun.first(&[&[0; 8][..], &[9, 0, 0, 0, 0, 0, 0, 0]].concat()).expect("nine bytes");
        let _ = (fresh.first(&bytes), fresh.more(&bytes), begun.more(&bytes));
    }
}
