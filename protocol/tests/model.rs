//! Random interleavings of both ends of a lane, against a model that knows no shared memory.
//!
//! Each step is done to the lane and to the model; whatever the lane answers must be what the
//! model says. Whoever would sleep is noted, so that a lost wake-up is a wrong answer here.

#![cfg(not(amphi_loom))]

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use amphi_protocol::{
    ARENA_OFFSET, Claimed, ClaimedInput, Context, Event, Grant, GrantAnswer, HostLane,
    INPUT_INLINE, Input, OUTPUT_INLINE, Output, RSP_ARENA_OFFSET, ReplyKind, Req, Request, Rsp,
    SLOTS, Stage, Storage, WorkerLane, looks_done,
};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

const GRANT: Grant = Grant { offset: RSP_ARENA_OFFSET as u64 + 4096, capacity: 4096 };
const MORE: Grant = Grant { offset: RSP_ARENA_OFFSET as u64 + 65536, capacity: 65536 };

#[derive(Debug, Clone, Copy)]
enum Step {
    Publish { len: usize, grant: bool },
    Revoke { back: u64 },
    Cancel { back: u64 },
    Stage { back: u64 },
    Poll,
    Grant { answer: GrantAnswer },
    Claim,
    Finish { kind: ReplyKind, len: usize },
    NeedSpace { len: u64 },
    Granted,
    Park,
    Arm,
    Rearm,
    Disarm,
    Ring,
    Die,
}

fn step() -> impl Strategy<Value = Step> {
    use Step::{Arm, Claim, Die, Disarm, Granted, Park, Poll, Rearm, Ring};
    let answer = prop_oneof![
        Just(GrantAnswer::Block(MORE)),
        Just(GrantAnswer::Memfd),
        Just(GrantAnswer::Refused)
    ];
    let kind = prop_oneof![Just(ReplyKind::Ok), Just(ReplyKind::Failed), Just(ReplyKind::OkShared)];
    prop_oneof![
        12 => (0..=INPUT_INLINE, any::<bool>()).prop_map(|(len, grant)| Step::Publish { len, grant }),
        5 => (0..12_u64).prop_map(|back| Step::Revoke { back }),
        1 => (0..12_u64).prop_map(|back| Step::Cancel { back }),
        2 => (0..12_u64).prop_map(|back| Step::Stage { back }),
        12 => Just(Poll),
        4 => answer.prop_map(|answer| Step::Grant { answer }),
        12 => Just(Claim),
        10 => (kind, 0..=OUTPUT_INLINE).prop_map(|(kind, len)| Step::Finish { kind, len }),
        2 => (0..100_000_u64).prop_map(|len| Step::NeedSpace { len }),
        3 => Just(Granted),
        6 => Just(Park),
        3 => Just(Arm), 2 => Just(Rearm), 2 => Just(Disarm), 4 => Just(Ring),
        1 => (0..8).prop_map(|luck| if luck == 0 { Die } else { Poll }),
    ]
}

/// One task in the lane, as the model knows it.
#[derive(Debug, Clone)]
struct Known {
    stage: Stage,
    input: Vec<u8>,
    grant: Grant,
    wish: u64,
    told: bool,
    reply: Option<(ReplyKind, Vec<u8>)>,
    answer: Option<GrantAnswer>,
    cancelled: bool,
}

struct Lane {
    memory: (Vec<AtomicU64>, Vec<AtomicU64>),
    host: HostLane,
    worker: WorkerLane,
    // The model.
    next: u64,
    tasks: BTreeMap<u64, Known>,
    running: Option<u64>,
    /// The sequence whose publication, or whose answer, must wake the worker.
    asleep: Option<u64>,
    armed: bool,
    rung: bool,
    last_done: u64,
    harvested: u64,
}

fn memory() -> (Vec<AtomicU64>, Vec<AtomicU64>) {
    let zero = |bytes: usize| (0..bytes / 8).map(|_| AtomicU64::new(0)).collect();
    (zero(ARENA_OFFSET), zero(RSP_ARENA_OFFSET))
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|index| (index * 31 + seed * 17 + 1) as u8).collect()
}

impl Lane {
    fn new() -> Self {
        let memory = memory();
        let host = HostLane::new(1, 1);
        host.init(Req::new(&memory.0));
        let worker = WorkerLane::attach(Req::new(&memory.0), 1, 1).unwrap();
        Self {
            memory,
            host,
            worker,
            next: 1,
            tasks: BTreeMap::new(),
            running: None,
            asleep: None,
            armed: false,
            rung: false,
            last_done: 0,
            harvested: 0,
        }
    }

    fn oldest(&self) -> Option<u64> {
        self.tasks.keys().next().copied()
    }

    fn free(&self) -> usize {
        SLOTS - (self.next - self.oldest().unwrap_or(self.next)) as usize
    }

    /// The worker's cursor stands at the oldest task that is queued, or at the next one.
    fn cursor(&self) -> u64 {
        let queued = self.tasks.iter().find(|(_, task)| task.stage == Stage::Queued);
        queued.map_or(self.next, |(seq, _)| *seq)
    }

    /// False: the worker is dead.
    fn apply(&mut self, step: Step) -> bool {
        match step {
            Step::Publish { len, grant } => {
                self.publish(len, if grant { GRANT } else { Grant::NONE })
            }
            Step::Revoke { back } => self.revoke(self.next.saturating_sub(back)),
            Step::Cancel { back } => self.cancel(self.next.saturating_sub(back)),
            Step::Stage { back } => self.stage(self.next.saturating_sub(back)),
            Step::Poll => self.poll(),
            Step::Grant { answer } => self.grant(answer),
            Step::Claim => self.claim(),
            Step::Finish { kind, len } => self.finish(kind, len),
            Step::NeedSpace { len } => self.need_space(len),
            Step::Granted => self.granted(),
            Step::Park => self.park(),
            Step::Arm | Step::Rearm | Step::Disarm | Step::Ring => self.bell(step),
            Step::Die => self.die(),
        }
        assert_eq!(self.host.free_slots(), if matches!(step, Step::Die) { 0 } else { self.free() });
        assert_eq!(self.host.in_flight(), self.tasks.len());
        assert_eq!(self.host.oldest(), self.oldest());
        assert_eq!(self.host.next_seq(), self.next);
        !matches!(step, Step::Die)
    }

    fn publish(&mut self, len: usize, grant: Grant) {
        if self.free() == 0 {
            return;
        }
        let (seq, input) = (self.next, bytes(self.next, len));
        let request = Request {
            job: seq as u32,
            flags: 9,
            context: Context { deadline_ns: seq + 1, trace: u128::from(seq) << 64 },
            input: Input::Inline(&input),
            grant,
        };
        let (req, rsp) = (Req::new(&self.memory.0), Rsp::new(&self.memory.1));
        let published = self.host.publish(req, rsp, &request).unwrap();
        let wake = self.asleep == Some(seq) && self.running.is_none();
        assert_eq!((published.seq, published.wake), (seq, wake));
        if wake {
            self.asleep = None;
        }
        self.next += 1;
        let stage = Stage::Queued;
        let (wish, told, reply, answer, cancelled) = (0, false, None, None, false);
        self.tasks.insert(seq, Known { stage, input, grant, wish, told, reply, answer, cancelled });
    }

    fn revoke(&mut self, seq: u64) {
        let queued = self.tasks.get(&seq).is_some_and(|task| task.stage == Stage::Queued);
        assert_eq!(self.host.revoke(Rsp::new(&self.memory.1), seq), Ok(queued));
        if queued {
            self.tasks.remove(&seq);
        }
    }

    fn cancel(&mut self, seq: u64) {
        self.host.cancel(Req::new(&self.memory.0), seq);
        if let Some(task) = self.tasks.get_mut(&seq) {
            task.cancelled = true;
        }
        for (seq, task) in &self.tasks {
            let seen = WorkerLane::is_cancelled(Req::new(&self.memory.0), *seq);
            assert_eq!(seen, task.cancelled);
        }
    }

    fn stage(&mut self, seq: u64) {
        let rsp = Rsp::new(&self.memory.1);
        let stage = self.tasks.get(&seq).map_or(Stage::Done, |task| task.stage);
        assert_eq!(self.host.stage(rsp, seq), Ok(stage));
        if self.tasks.contains_key(&seq) {
            let done = matches!(stage, Stage::Done | Stage::NeedSpace);
            assert_eq!(looks_done(rsp, seq), done);
        }
    }

    fn poll(&mut self) {
        let (req, rsp) = (Req::new(&self.memory.0), Rsp::new(&self.memory.1));
        let event = self.host.poll(req, rsp).unwrap();
        let Some(seq) = self.oldest() else {
            assert!(event.is_none());
            return;
        };
        let task = self.tasks.get_mut(&seq).unwrap();
        match (event, task.stage) {
            (Some(Event::Done(done)), Stage::Done) => {
                let (kind, output) = task.reply.take().unwrap();
                assert_eq!((done.seq, done.kind, done.run_ns), (seq, kind, seq * 3));
                assert!(matches!(done.output, Storage::Inline(found) if *found == *output));
                self.tasks.remove(&seq);
                if self.tasks.is_empty() {
                    self.harvested = seq;
                }
            }
            (Some(Event::NeedSpace { seq: asked, len }), Stage::NeedSpace) if !task.told => {
                assert_eq!((asked, len), (seq, task.wish));
                task.told = true;
            }
            (None, Stage::NeedSpace) => assert!(task.told),
            (None, Stage::Queued | Stage::Running | Stage::Granted) => {}
            (event, stage) => panic!("{event:?} of a task that is {stage:?}"),
        }
    }

    fn grant(&mut self, answer: GrantAnswer) {
        let Some(seq) = self.oldest() else { return };
        let (req, rsp) = (Req::new(&self.memory.0), Rsp::new(&self.memory.1));
        let wake = self.host.grant(req, rsp, seq, answer).unwrap();
        let task = self.tasks.get_mut(&seq).unwrap();
        if task.stage == Stage::NeedSpace && task.told {
            assert_eq!(wake, self.asleep == Some(seq));
            (task.stage, task.answer) = (Stage::Granted, Some(answer));
            if wake {
                self.asleep = None;
            }
        } else {
            assert!(!wake);
        }
    }

    fn claim(&mut self) {
        if self.running.is_some() {
            return;
        }
        let seq = self.cursor();
        let (req, rsp) = (Req::new(&self.memory.0), Rsp::new(&self.memory.1));
        let claimed = self.worker.next(req, rsp).unwrap();
        let Some(task) = self.tasks.get_mut(&seq) else {
            assert!(claimed.is_none());
            return;
        };
        assert_ne!(self.asleep, Some(seq), "a worker that sleeps on a queued task was not woken");
        let Claimed { seq: found, job, flags, context, input, grant } =
            claimed.expect("a task is queued");
        assert_eq!((found, job, flags, grant), (seq, seq as u32, 9, task.grant));
        assert_eq!((context.deadline_ns, context.trace), (seq + 1, u128::from(seq) << 64));
        assert!(matches!(input, ClaimedInput::Inline(found) if *found == *task.input));
        task.stage = Stage::Running;
        self.running = Some(seq);
    }

    fn running(&mut self, stages: &[Stage]) -> Option<(u64, &mut Known)> {
        let seq = self.running?;
        let task = self.tasks.get_mut(&seq).expect("what runs is in the lane");
        stages.contains(&task.stage).then_some((seq, task))
    }

    fn finish(&mut self, kind: ReplyKind, len: usize) {
        let Some((seq, task)) = self.running(&[Stage::Running, Stage::Granted]) else { return };
        let output = bytes(seq + 1000, len);
        task.stage = Stage::Done;
        task.reply = Some((kind, output.clone()));
        let output = Output::Inline(&output);
        self.worker.finish(Rsp::new(&self.memory.1), seq, kind, output, seq * 3);
        self.running = None;
        self.last_done = seq;
    }

    fn need_space(&mut self, len: u64) {
        let Some((seq, task)) = self.running(&[Stage::Running]) else { return };
        (task.stage, task.wish) = (Stage::NeedSpace, len);
        self.worker.need_space(Rsp::new(&self.memory.1), seq, len);
    }

    fn granted(&mut self) {
        let Some((seq, task)) = self.running(&[Stage::NeedSpace, Stage::Granted]) else { return };
        let answer = task.answer;
        let (req, rsp) = (Req::new(&self.memory.0), Rsp::new(&self.memory.1));
        assert_eq!(self.worker.granted(req, rsp, seq), answer);
    }

    fn park(&mut self) {
        let rsp = Rsp::new(&self.memory.1);
        match self.running {
            None => {
                let cursor = self.cursor();
                // What was taken back at the cursor may have to be passed first.
                let parked = self.worker.park(rsp).is_some();
                assert!(!parked || !self.tasks.contains_key(&cursor), "a task was there");
                if parked {
                    self.asleep = Some(cursor);
                }
            }
            Some(seq) => {
                let waits = self.running(&[Stage::NeedSpace]).is_some();
                let rsp = Rsp::new(&self.memory.1);
                assert_eq!(self.worker.park_for_grant(rsp, seq).is_some(), waits);
                if waits {
                    self.asleep = Some(seq);
                }
            }
        }
    }

    fn bell(&mut self, step: Step) {
        let req = Req::new(&self.memory.0);
        match step {
            Step::Arm => {
                self.host.arm(req);
                self.rung &= self.armed;
                self.armed = true;
            }
            Step::Rearm => {
                self.host.rearm(req);
                (self.armed, self.rung) = (true, false);
            }
            Step::Disarm => {
                self.host.disarm(req);
                self.armed = false;
            }
            _ => {
                assert_eq!(self.worker.must_ring(req), self.armed && !self.rung);
                self.rung |= self.armed;
            }
        }
        assert_eq!(self.host.is_armed(), self.armed);
        assert_eq!(self.worker.is_harvested(req), self.harvested >= self.last_done);
    }

    fn die(&mut self) {
        while matches!(self.oldest().map(|seq| self.tasks[&seq].stage), Some(Stage::Done)) {
            self.poll();
        }
        let left: Vec<_> =
            self.tasks.iter().map(|(seq, task)| (*seq, task.stage != Stage::Queued)).collect();
        assert_eq!(self.host.remains(Rsp::new(&self.memory.1)), left);
        self.tasks.clear();
    }

    /// Everything that is in the lane comes out of it.
    fn run_dry(&mut self) {
        while !self.tasks.is_empty() {
            let before = self.tasks.len();
            for step in [
                Step::Claim,
                Step::Poll,
                Step::Grant { answer: GrantAnswer::Memfd },
                Step::Finish { kind: ReplyKind::Ok, len: 9 },
                Step::Poll,
            ] {
                self.apply(step);
            }
            assert!(self.tasks.len() < before, "each round settles one");
        }
    }
}

proptest! {
    #[test]
    fn a_lane_does_what_the_model_says(steps in vec(step(), 1..400)) {
        let mut lane = Lane::new();
        if steps.into_iter().all(|step| lane.apply(step)) {
            lane.run_dry();
        }
    }
}
