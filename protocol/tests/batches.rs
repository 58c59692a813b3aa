//! Random interleavings of both ends of a lane that carries batches and single tasks, against a
//! model that knows no shared memory: tails taken back at any moment, death at any moment.
//!
//! `model.rs` has the doorbells; here it is who owns which task. Each task has one of four ends: its
//! reply was told, it was taken back, the death left it unstarted, or the death found it started.

#![cfg(not(amphi_loom))]

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;

use amphi_protocol::{
    ARENA_OFFSET, Answers, BATCH_MAX, Batch, ClaimedInput, Context, Event, Grant, GrantAnswer,
    HostLane, Input, Output, Piece, Pieces, Put, RSP_ARENA_OFFSET, ReplyKind, Req, Request, Rsp,
    SLOTS, Stage, Storage, WorkerLane, key_of, push_piece,
};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

const GRANT: Grant = Grant { offset: RSP_ARENA_OFFSET as u64, capacity: 1024 };

#[derive(Debug, Clone, Copy)]
enum Step {
    /// No tasks: a single one.
    Publish {
        tasks: usize,
        grant: bool,
    },
    Revoke {
        back: u64,
    },
    TakeBack {
        back: u64,
        from: usize,
    },
    Cancel {
        back: u64,
        index: usize,
    },
    Poll,
    Answers,
    /// The worker goes on by one step; a reply has so many bytes.
    Work {
        len: usize,
    },
    Die,
}

fn step() -> impl Strategy<Value = Step> {
    let tasks = prop_oneof![Just(0), 1..7_usize, Just(BATCH_MAX)];
    prop_oneof![
        8 => (tasks, any::<bool>()).prop_map(|(tasks, grant)| Step::Publish { tasks, grant }),
        2 => (1..10_u64).prop_map(|back| Step::Revoke { back }),
        6 => (1..10_u64, 0..8_usize).prop_map(|(back, from)| Step::TakeBack { back, from }),
        2 => (1..10_u64, 0..8_usize).prop_map(|(back, index)| Step::Cancel { back, index }),
        10 => Just(Step::Poll),
        6 => Just(Step::Answers),
        40 => prop_oneof![8 => 0..12_usize, 1 => 0..300_usize].prop_map(|len| Step::Work { len }),
        1 => (0..6).prop_map(|luck| if luck == 0 { Step::Die } else { Step::Poll }),
    ]
}

/// One slot's tasks, as the model knows them.
#[derive(Debug, Clone)]
struct Known {
    is_batch: bool,
    stage: Stage,
    grant: Grant,
    /// Tasks that were not taken back, were claimed, and were told.
    end: usize,
    next: usize,
    told: usize,
    /// The replies of those that were answered, in order.
    replies: Vec<Vec<u8>>,
    asked: bool,
    cancelled: Option<usize>,
}

impl Known {
    fn runs(&self) -> bool {
        matches!(self.stage, Stage::Running | Stage::NeedSpace | Stage::Granted)
    }
}

struct Lane {
    memory: (Vec<AtomicU64>, Vec<AtomicU64>),
    /// What stands in the block that every grant names, of one running batch at a time.
    block: Vec<u8>,
    /// Blocks of batches that are done and not told.
    blocks: VecDeque<(u64, Vec<u8>)>,
    host: HostLane,
    worker: WorkerLane,
    batch: Option<Batch>,
    next: u64,
    slots: BTreeMap<u64, Known>,
}

fn input(seq: u64, index: usize) -> Vec<u8> {
    vec![seq as u8; index % 2]
}

fn reply(seq: u64, index: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (seq as usize * 7 + index * 3 + at) as u8).collect()
}

fn check(piece: Piece<'_>, expected: &[u8], index: usize) {
    assert_eq!((piece.bytes, piece.run_ns as usize), (expected, index + 5));
    assert_eq!(piece.kind(), Ok(ReplyKind::Ok));
}

impl Lane {
    fn new() -> Self {
        let zero = |bytes: usize| (0..bytes / 8).map(|_| AtomicU64::new(0)).collect();
        let memory: (Vec<_>, Vec<_>) = (zero(ARENA_OFFSET), zero(RSP_ARENA_OFFSET));
        let host = HostLane::new(1, 1);
        host.init(Req::new(&memory.0));
        let worker = WorkerLane::attach(Req::new(&memory.0), 1, 1).unwrap();
        let (block, blocks) = (vec![0; 1024], VecDeque::new());
        Self { memory, block, blocks, host, worker, batch: None, next: 1, slots: BTreeMap::new() }
    }

    fn oldest(&self) -> Option<u64> {
        self.slots.keys().next().copied()
    }

    fn running(&self) -> Option<u64> {
        self.slots.iter().find(|(_, slot)| slot.runs()).map(|(seq, _)| *seq)
    }

    fn apply(&mut self, step: Step) -> bool {
        let back = |back: u64| self.next.saturating_sub(back);
        match step {
            Step::Publish { tasks, grant } => self.publish(tasks, grant),
            Step::Revoke { back: b } => self.revoke(back(b)),
            Step::TakeBack { back: b, from } => self.take_back(back(b), from),
            Step::Cancel { back: b, index } => self.cancel(back(b), index),
            Step::Poll => self.poll(),
            Step::Answers => self.answers(),
            Step::Work { len } => self.work(len),
            Step::Die => self.die(),
        }
        assert_eq!(self.host.in_flight(), self.slots.len());
        assert_eq!(self.host.oldest(), self.oldest());
        !matches!(step, Step::Die)
    }

    fn publish(&mut self, tasks: usize, grant: bool) {
        if self.host.free_slots() == 0 {
            return;
        }
        let (seq, is_batch) = (self.next, tasks > 0);
        let mut bytes = Vec::new();
        (0..tasks.min(12)).for_each(|index| push_piece(&mut bytes, &input(seq, index)));
        let grant = if grant { GRANT } else { Grant::NONE };
        let input = Input::Inline(&bytes);
        let request = Request { job: 1, flags: 0, context: Context::NONE, input, grant };
        let (req, rsp) = (Req::new(&self.memory.0), Rsp::new(&self.memory.1));
        let published = if is_batch {
            self.host.publish_batch(req, rsp, &request, tasks)
        } else {
            self.host.publish(req, rsp, &request)
        };
        assert_eq!(published.unwrap().seq, seq);
        self.next += 1;
        let end = tasks.max(1);
        let (stage, replies, asked, cancelled) = (Stage::Queued, Vec::new(), false, None);
        let slot =
            Known { is_batch, stage, grant, end, next: 0, told: 0, replies, asked, cancelled };
        self.slots.insert(seq, slot);
    }

    fn revoke(&mut self, seq: u64) {
        let queued = self.slots.get(&seq).is_some_and(|slot| slot.stage == Stage::Queued);
        assert_eq!(self.host.revoke(Rsp::new(&self.memory.1), seq), Ok(queued));
        if queued {
            self.slots.remove(&seq);
        }
    }

    fn take_back(&mut self, seq: u64, from: usize) {
        let taken = self.host.take_back(Rsp::new(&self.memory.1), seq, from).unwrap();
        match self.slots.get_mut(&seq).filter(|slot| slot.is_batch) {
            Some(slot) => {
                slot.end = slot.end.min(from).max(slot.next);
                assert_eq!((taken, self.host.tasks(seq)), (slot.end, slot.end));
            }
            None => assert_eq!(taken, 1),
        }
    }

    fn cancel(&mut self, seq: u64, index: usize) {
        let req = Req::new(&self.memory.0);
        self.host.cancel(req, key_of(seq, index));
        let Some(slot) = self.slots.get_mut(&seq) else { return };
        if index < slot.end && slot.cancelled.is_none_or(|before| before <= index) {
            slot.cancelled = Some(index);
        }
        for index in 0..slot.end {
            let seen = WorkerLane::is_cancelled(req, key_of(seq, index));
            assert_eq!(seen, slot.cancelled == Some(index));
        }
    }

    /// Replies of `first..until` were told.
    fn told(&mut self, answers: &Answers) {
        let slot = self.slots.get_mut(&answers.seq).expect("it is in the lane");
        assert_eq!(answers.first, slot.told, "each is told once, in order");
        let bytes = match answers.output(Rsp::new(&self.memory.1)) {
            Storage::Inline(bytes) => bytes.to_vec(),
            Storage::Block { len } => {
                let done = self.blocks.iter().find(|(seq, _)| *seq == answers.seq);
                done.map_or(&self.block, |(_, block)| block)[..len as usize].to_vec()
            }
            Storage::Memfd { .. } => panic!("not of a batch"),
        };
        let pieces: Vec<_> = Pieces::of(&bytes).take(answers.until).map(Result::unwrap).collect();
        assert_eq!(pieces.len(), answers.until);
        for (index, piece) in pieces.into_iter().enumerate().skip(answers.first) {
            check(piece, &slot.replies[index], index);
        }
        slot.told = answers.until;
    }

    fn answers(&mut self) {
        let answers = self.host.answers(Rsp::new(&self.memory.1)).unwrap();
        let known = self.oldest().map(|seq| &self.slots[&seq]);
        let runs = known.filter(|slot| slot.is_batch && slot.stage == Stage::Running);
        let until = runs
            .map(|slot| slot.next.saturating_sub(1))
            .filter(|until| runs.is_some_and(|slot| *until > slot.told));
        assert_eq!(answers.map(|found| found.until), until);
        if let Some(answers) = answers {
            assert!(!answers.last);
            self.told(&answers);
        }
    }

    fn poll(&mut self) {
        let (req, rsp) = (Req::new(&self.memory.0), Rsp::new(&self.memory.1));
        let event = self.host.poll(req, rsp).unwrap();
        let Some(seq) = self.oldest() else { return assert!(event.is_none()) };
        let slot = &self.slots[&seq];
        match event {
            None => assert!(!matches!(slot.stage, Stage::Done)),
            Some(Event::Answers(answers)) => {
                self.told(&answers);
                let slot = self.slots.get_mut(&seq).expect("it is in the lane");
                if answers.last {
                    assert_eq!((slot.stage, slot.told), (Stage::Done, slot.end));
                    self.leave(seq);
                } else {
                    assert_eq!(slot.stage, Stage::NeedSpace);
                    slot.end = slot.next;
                    assert_eq!(self.host.tasks(seq), slot.end);
                }
            }
            Some(Event::NeedSpace { seq: asks, len }) => {
                let slot = self.slots.get_mut(&seq).expect("it is in the lane");
                assert_eq!((asks, slot.stage, slot.asked), (seq, Stage::NeedSpace, false));
                (slot.asked, slot.stage, slot.end) = (true, Stage::Granted, slot.next);
                assert_eq!(
                    (len, slot.told),
                    (slot.replies[slot.next - 1].len() as u64, slot.next - 1)
                );
                assert_eq!(self.host.tasks(seq), slot.end);
                self.host.grant(req, rsp, seq, GrantAnswer::Memfd).unwrap();
            }
            Some(Event::Done(done)) => {
                assert!(slot.stage == Stage::Done && (slot.asked || !slot.is_batch));
                assert_eq!((done.seq, slot.told), (seq, slot.end - 1));
                self.leave(seq);
            }
        }
    }

    fn leave(&mut self, seq: u64) {
        self.slots.remove(&seq);
        self.blocks.retain(|(other, _)| *other != seq);
    }

    fn work(&mut self, len: usize) {
        let (req, rsp) = (Req::new(&self.memory.0), Rsp::new(&self.memory.1));
        let Some(seq) = self.running() else { return self.begin() };
        let slot = self.slots.get_mut(&seq).expect("it runs");
        match slot.stage {
            Stage::NeedSpace => assert_eq!(self.worker.granted(req, rsp, seq), None),
            Stage::Granted => {
                let len = slot.replies[slot.next - 1].len() as u64;
                self.worker.finish(rsp, seq, ReplyKind::Ok, Output::Memfd { len }, 1);
                (slot.stage, self.batch) = (Stage::Done, None);
            }
            _ if !slot.is_batch => {
                self.worker.finish(rsp, seq, ReplyKind::Ok, Output::Inline(b"one"), 1);
                slot.stage = Stage::Done;
            }
            // A claimed task is answered before the next one is claimed.
            _ if slot.replies.len() < slot.next => {
                let index = slot.next - 1;
                let bytes = reply(seq, index, len);
                slot.replies.push(bytes.clone());
                let batch = self.batch.as_mut().expect("it was begun");
                match self.worker.answer(rsp, batch, ReplyKind::Ok, &bytes, index as u32 + 5) {
                    Put::Done => {}
                    Put::At { offset, head } => {
                        let at = (offset - GRANT.offset) as usize;
                        self.block[at..at + 8].copy_from_slice(&head);
                        self.block[at + 8..at + 8 + len].copy_from_slice(&bytes);
                    }
                    Put::NoRoom => {
                        self.worker.need_space(rsp, seq, len as u64);
                        slot.stage = Stage::NeedSpace;
                    }
                }
            }
            _ => {
                let batch = self.batch.as_mut().expect("it was begun");
                let claimed = self.worker.claim(rsp, batch).unwrap();
                assert_eq!(claimed, (slot.next < slot.end).then_some(slot.next));
                if claimed.is_some() {
                    slot.next += 1;
                    return;
                }
                self.worker.finish_batch(rsp, batch);
                (slot.stage, self.batch) = (Stage::Done, None);
                if slot.grant.capacity > 0 {
                    self.blocks.push_back((seq, self.block.clone()));
                }
            }
        }
    }

    fn begin(&mut self) {
        let (req, rsp) = (Req::new(&self.memory.0), Rsp::new(&self.memory.1));
        let claimed = self.worker.next(req, rsp).unwrap();
        let queued = self.slots.iter_mut().find(|(_, slot)| slot.stage == Stage::Queued);
        let Some((seq, slot)) = queued else { return assert!(claimed.is_none()) };
        let claimed = claimed.expect("one is queued");
        assert_eq!(claimed.seq, *seq);
        self.batch = self.worker.batch(rsp, &claimed).unwrap();
        assert_eq!(self.batch.is_some(), slot.is_batch);
        let ClaimedInput::Inline(bytes) = claimed.input else { panic!("it was inline") };
        for (index, piece) in Pieces::of(&bytes).enumerate() {
            assert_eq!(piece.unwrap().bytes, input(*seq, index));
        }
        slot.stage = Stage::Running;
        slot.next = usize::from(!slot.is_batch);
    }

    /// The dead worker's replies first, then what is left: exactly what was claimed had started.
    fn die(&mut self) {
        for _ in 0..2 * SLOTS {
            // A wish that nobody will hear the answer of.
            let asks = self.oldest().is_some_and(|seq| self.slots[&seq].stage == Stage::NeedSpace);
            if self.oldest().is_some_and(|seq| self.slots[&seq].stage == Stage::Done) || asks {
                self.poll();
            }
        }
        self.answers();
        let left = self.slots.iter().flat_map(|(seq, slot)| {
            (slot.told..slot.end).map(|index| (key_of(*seq, index), index < slot.next))
        });
        let left: Vec<_> = left.collect();
        assert_eq!(self.host.remains(Rsp::new(&self.memory.1)), left);
        self.slots.clear();
    }

    fn run_dry(&mut self) {
        for _ in 0..SLOTS * (4 * BATCH_MAX + 4) {
            self.apply(Step::Work { len: 4 });
            self.apply(Step::Poll);
        }
        assert!(self.slots.is_empty(), "everything comes out");
    }
}

proptest! {
    #[test]
    fn a_lane_with_batches_does_what_the_model_says(steps in vec(step(), 1..500)) {
        let mut lane = Lane::new();
        if steps.into_iter().all(|step| lane.apply(step)) {
            lane.run_dry();
        }
    }
}
