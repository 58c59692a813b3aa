//! Both ends of a lane in one thread: one test for each promise of `protocol/README.md`.

mod batch;

use crate::layout::{
    ARENA_OFFSET, INPUT_INLINE, OUTPUT_INLINE, REQ_CONTROL_WORDS, RSP_ARENA_OFFSET,
    RSP_CONTROL_WORDS, SLOTS, rsp_word,
};
use crate::message::Place;
use crate::slot::{Head, Word};
use crate::sync::{AtomicU64, Ordering};
use crate::{
    ClaimedInput, Context, Done, Event, Grant, GrantAnswer, HostLane, Input, Output, Published,
    ReplyKind, Req, Request, Rsp, Stage, Storage, Violation, WorkerLane, looks_done,
    state_word_index,
};

const GRANT: Grant = Grant { offset: RSP_ARENA_OFFSET as u64, capacity: 512 };

struct Memory(Vec<AtomicU64>, Vec<AtomicU64>);

impl Memory {
    fn new() -> Self {
        let zero = |words| (0..words).map(|_| AtomicU64::new(0)).collect();
        Self(zero(REQ_CONTROL_WORDS), zero(RSP_CONTROL_WORDS))
    }

    fn views(&self) -> (Req<'_>, Rsp<'_>) {
        (Req::new(&self.0), Rsp::new(&self.1))
    }

    fn set(&self, seq: u64, word: Word) {
        self.1[state_word_index(seq)].store(word.bits(), Ordering::Relaxed);
    }

    fn pair(&self) -> (HostLane, WorkerLane) {
        let host = HostLane::new(3, 1);
        host.init(self.views().0);
        (host, WorkerLane::attach(self.views().0, 3, 1).unwrap())
    }
}

fn request(bytes: &[u8]) -> Request<'_> {
    Request {
        job: 7,
        flags: 0,
        context: Context::NONE,
        input: Input::Inline(bytes),
        grant: Grant::NONE,
    }
}

fn reply(worker: &mut WorkerLane, rsp: Rsp<'_>, seq: u64) {
    worker.finish(rsp, seq, ReplyKind::Ok, Output::Inline(b"fine"), 5);
}

fn done(event: Result<Option<Event>, Violation>) -> Done {
    match event {
        Ok(Some(Event::Done(done))) => done,
        other => panic!("{other:?} is no reply"),
    }
}

#[test]
fn payloads_of_every_length_travel_both_ways() {
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, mut worker) = memory.pair();
    for len in 0..=OUTPUT_INLINE {
        let bytes: Vec<u8> = (0..len).map(|index| (index + len) as u8).collect();
        let input = &bytes[..len.min(INPUT_INLINE)];
        host.publish(req, rsp, &request(input)).unwrap();
        let claimed = worker.next(req, rsp).unwrap().unwrap();
        assert!(matches!(claimed.input, ClaimedInput::Inline(found) if *found == *input));
        worker.finish(rsp, claimed.seq, ReplyKind::Failed, Output::Inline(&bytes), 11);
        let done = done(host.poll(req, rsp));
        assert_eq!((done.seq, done.kind, done.run_ns), (claimed.seq, ReplyKind::Failed, 11));
        assert!(matches!(done.output, Storage::Inline(found) if *found == *bytes));
    }
}

const CONTEXT: Context = Context { deadline_ns: 5, trace: u128::MAX - 1 };

#[test]
fn descriptors_of_blocks_and_memfds_travel_both_ways() {
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, mut worker) = memory.pair();
    let offset = ARENA_OFFSET as u64 + 256;
    let input = Input::Block { offset, len: 200 };
    host.publish(req, rsp, &Request { job: 1, flags: 2, context: CONTEXT, input, grant: GRANT })
        .unwrap();
    let input = Input::Memfd { len: 1 << 33 };
    host.publish(
        req,
        rsp,
        &Request { job: 3, flags: 4, context: Context::NONE, input, grant: Grant::NONE },
    )
    .unwrap();

    let first = worker.next(req, rsp).unwrap().unwrap();
    assert_eq!((first.seq, first.job, first.flags, first.grant), (1, 1, 2, GRANT));
    assert_eq!(first.context, CONTEXT);
    assert!(matches!(first.input, ClaimedInput::Block { offset: o, len: 200 } if o == offset));
    worker.finish(rsp, 1, ReplyKind::Ok, Output::Block { len: 512 }, 0);
    let second = worker.next(req, rsp).unwrap().unwrap();
    assert!(matches!(second.input, ClaimedInput::Memfd { len } if len == 1 << 33));
    assert_eq!(second.context, Context::NONE);
    worker.finish(rsp, 2, ReplyKind::Ok, Output::Memfd { len: 1 << 40 }, 0);

    assert!(matches!(done(host.poll(req, rsp)).output, Storage::Block { len: 512 }));
    assert!(matches!(done(host.poll(req, rsp)).output, Storage::Memfd { len } if len == 1 << 40));
}

#[test]
fn a_worker_of_another_build_or_lane_does_not_attach() {
    let memory = Memory::new();
    let req = memory.views().0;
    WorkerLane::attach(req, 3, 1).expect_err("nothing was written yet");
    HostLane::new(3, 1).init(req);
    assert_eq!(WorkerLane::attach(req, 4, 1).unwrap_err().field, "lane");
    assert_eq!(WorkerLane::attach(req, 3, 2).unwrap_err().field, "incarnation");
    WorkerLane::attach(req, 3, 1).unwrap();
}

#[test]
fn a_task_taken_back_is_passed_and_one_that_runs_is_not_taken() {
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, mut worker) = memory.pair();
    for _ in 0..3 {
        host.publish(req, rsp, &request(b"")).unwrap();
    }
    assert_eq!(worker.next(req, rsp).unwrap().unwrap().seq, 1);
    assert_eq!(host.revoke(rsp, 1), Ok(false), "it runs");
    assert_eq!(host.revoke(rsp, 2), Ok(true));
    assert_eq!(host.revoke(rsp, 2), Ok(false), "it is not in the lane any more");
    assert_eq!(host.stage(rsp, 2), Ok(Stage::Done));
    reply(&mut worker, rsp, 1);
    assert_eq!(worker.next(req, rsp).unwrap().unwrap().seq, 3);
    assert_eq!(done(host.poll(req, rsp)).seq, 1);
    assert_eq!((host.oldest(), host.in_flight(), host.free_slots()), (Some(3), 1, 7));
}

#[test]
fn a_cursor_far_behind_jumps_to_what_is_queued() {
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, mut worker) = memory.pair();
    for _ in 0..100_003 {
        let seq = host.publish(req, rsp, &request(b"")).unwrap().seq;
        assert_eq!(host.revoke(rsp, seq), Ok(true));
    }
    assert!(worker.next(req, rsp).unwrap().is_none());
    let seq = host.publish(req, rsp, &request(b"")).unwrap().seq;
    assert_eq!(worker.next(req, rsp).unwrap().unwrap().seq, seq);
}

#[test]
fn a_parked_worker_is_woken_by_exactly_the_publication_it_sleeps_on() {
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, mut worker) = memory.pair();
    for round in 0..20 {
        let park = worker.park(rsp).unwrap();
        assert_eq!(worker.park(rsp), Some(park), "a sleep that ended for no reason");
        let found = Word::from_bits(memory.1[park.word].load(Ordering::Relaxed));
        assert_eq!(found.low(), park.expected, "the kernel would let it sleep");
        let seq = 2 * round + 1;
        assert_eq!(park.word, state_word_index(seq));
        let first = host.publish(req, rsp, &request(b"")).unwrap();
        assert_eq!(first, Published { seq, wake: true });
        assert!(!host.publish(req, rsp, &request(b"")).unwrap().wake);
        assert_eq!(worker.park(rsp), None);
        for _ in 0..2 {
            let seq = worker.next(req, rsp).unwrap().unwrap().seq;
            reply(&mut worker, rsp, seq);
            done(host.poll(req, rsp));
        }
    }
}

#[test]
fn a_wish_for_room_is_told_once_and_answered_once() {
    for answer in [GrantAnswer::Block(GRANT), GrantAnswer::Memfd, GrantAnswer::Refused] {
        let memory = Memory::new();
        let (req, rsp) = memory.views();
        let (mut host, mut worker) = memory.pair();
        host.publish(req, rsp, &request(b"")).unwrap();
        worker.next(req, rsp).unwrap().unwrap();
        assert_eq!(host.grant(req, rsp, 1, answer), Ok(false), "it has not asked");
        worker.need_space(rsp, 1, 400);
        assert!(looks_done(rsp, 1));
        assert!(matches!(host.poll(req, rsp), Ok(Some(Event::NeedSpace { seq: 1, len: 400 }))));
        assert!(matches!(host.poll(req, rsp), Ok(None)));
        assert_eq!(worker.granted(req, rsp, 1), None);
        assert!(worker.park_for_grant(rsp, 1).is_some());
        assert_eq!(host.stage(rsp, 1), Ok(Stage::NeedSpace));
        assert_eq!(host.grant(req, rsp, 1, answer), Ok(true));
        assert_eq!(host.grant(req, rsp, 1, answer), Ok(false), "it was answered");
        assert_eq!(worker.park_for_grant(rsp, 1), None);
        assert_eq!(worker.granted(req, rsp, 1), Some(answer));
        worker.finish(rsp, 1, ReplyKind::Ok, Output::Block { len: 512 }, 0);
        match answer {
            GrantAnswer::Block(_) => {
                let output = done(host.poll(req, rsp)).output;
                assert!(matches!(output, Storage::Block { len: 512 }));
            }
            _ => drop(host.poll(req, rsp).expect_err("it was granted no block")),
        }
    }
}

#[test]
fn one_bell_a_sleep_and_none_while_somebody_polls() {
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, mut worker) = memory.pair();
    assert!(worker.is_harvested(req), "nothing is owed at first");
    let task = |host: &mut HostLane, worker: &mut WorkerLane| {
        host.publish(req, rsp, &request(b"")).unwrap();
        let seq = worker.next(req, rsp).unwrap().unwrap().seq;
        reply(worker, rsp, seq);
    };
    task(&mut host, &mut worker);
    assert!(!worker.must_ring(req), "not armed");
    host.arm(req);
    assert!(worker.must_ring(req) && !worker.must_ring(req));
    host.arm(req);
    assert!(!worker.must_ring(req), "the same sleep");
    host.rearm(req);
    assert!(host.is_armed() && worker.must_ring(req), "the next sleep");
    host.disarm(req);
    assert!(!host.is_armed() && !worker.must_ring(req));
    task(&mut host, &mut worker);
    done(host.poll(req, rsp));
    assert!(!worker.is_harvested(req));
    done(host.poll(req, rsp));
    assert!(worker.is_harvested(req));
}

#[test]
fn cancel_reaches_its_own_task_only() {
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, _) = memory.pair();
    for _ in 0..2 {
        host.publish(req, rsp, &request(b"")).unwrap();
    }
    host.cancel(req, 2);
    host.cancel(req, 9);
    let cancelled = |seq| WorkerLane::is_cancelled(req, seq);
    assert!(cancelled(2) && !cancelled(1) && !cancelled(9) && !cancelled(10));
}

#[test]
fn the_remains_of_a_death_say_what_had_started() {
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, mut worker) = memory.pair();
    for _ in 0..5 {
        host.publish(req, rsp, &request(b"")).unwrap();
    }
    worker.next(req, rsp).unwrap().unwrap();
    reply(&mut worker, rsp, 1);
    worker.next(req, rsp).unwrap().unwrap();
    host.revoke(rsp, 4).unwrap();
    done(host.poll(req, rsp));
    assert!(matches!(host.poll(req, rsp), Ok(None)));
    assert_eq!(host.remains(rsp), [(2, true), (3, false), (5, false)]);
    assert_eq!((host.in_flight(), host.oldest(), host.free_slots()), (0, None, 0));
    assert!(host.remains(rsp).is_empty());
}

#[test]
fn every_word_that_a_worker_may_not_write_is_a_violation_and_latches() {
    let rewritten = [
        Word::queued(2),
        Word::done(9),
        Word::queued(1).parked(),
        Word::running(1).parked(),
        Word::revoked(1),
        Word::granted(1),
        Word::from_bits(1 << 8 | 6),
        Word::from_bits(1 << 8 | 0x40),
        Word::from_bits(0),
        Word::from_bits(u64::MAX),
    ];
    for word in rewritten {
        let memory = Memory::new();
        let (req, rsp) = memory.views();
        let (mut host, _) = memory.pair();
        host.publish(req, rsp, &request(b"")).unwrap();
        memory.set(1, word);
        let violation = host.poll(req, rsp).expect_err("it is no word of task 1");
        memory.set(1, Word::queued(1));
        let again = [
            host.poll(req, rsp).map(drop),
            host.revoke(rsp, 1).map(drop),
            host.stage(rsp, 1).map(drop),
            host.grant(req, rsp, 1, GrantAnswer::Memfd).map(drop),
            host.publish(req, rsp, &request(b"")).map(drop),
        ];
        assert_eq!(again, [Err(violation); 5], "{word:?}");
        assert_eq!(host.remains(rsp).len(), 1);
    }
}

#[test]
fn a_state_that_goes_back_is_a_violation() {
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, mut worker) = memory.pair();
    host.publish(req, rsp, &request(b"")).unwrap();
    worker.next(req, rsp).unwrap();
    assert_eq!(host.stage(rsp, 1), Ok(Stage::Running));
    memory.set(1, Word::queued(1));
    host.poll(req, rsp).expect_err("it ran before");
    assert_eq!(host.remains(rsp), [(1, true)], "what was seen is not forgotten");
}

#[test]
fn who_asks_for_room_waits_for_the_answer_and_asks_once() {
    for word in [Word::done(1), Word::running(1), Word::granted(1)] {
        let memory = Memory::new();
        let (req, rsp) = memory.views();
        let (mut host, mut worker) = memory.pair();
        host.publish(req, rsp, &request(b"")).unwrap();
        worker.next(req, rsp).unwrap();
        worker.need_space(rsp, 1, 1);
        host.poll(req, rsp).unwrap();
        memory.set(1, word);
        host.poll(req, rsp).map(drop).expect_err("before the answer");
    }
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, mut worker) = memory.pair();
    host.publish(req, rsp, &request(b"")).unwrap();
    worker.next(req, rsp).unwrap();
    worker.need_space(rsp, 1, 1);
    host.poll(req, rsp).unwrap();
    host.grant(req, rsp, 1, GrantAnswer::Memfd).unwrap();
    worker.need_space(rsp, 1, 1);
    host.poll(req, rsp).map(drop).expect_err("a second wish");
}

#[test]
fn a_publication_into_a_broken_lane_can_be_withdrawn_unless_it_was_claimed() {
    for claimed in [false, true] {
        let memory = Memory::new();
        let (req, rsp) = memory.views();
        let (mut host, _) = memory.pair();
        memory.set(1, Word::running(7));
        host.publish(req, rsp, &request(b"")).expect_err("somebody wrote to a free slot");
        if claimed {
            memory.set(1, Word::running(1));
        }
        assert_eq!(host.withdraw(rsp), !claimed);
        assert_eq!(host.remains(rsp), []);
    }
}

#[test]
fn an_empty_reply_in_a_block_that_was_not_granted_is_a_violation() {
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, mut worker) = memory.pair();
    host.publish(req, rsp, &request(b"")).unwrap();
    worker.next(req, rsp).unwrap();
    worker.finish(rsp, 1, ReplyKind::Ok, Output::Block { len: 0 }, 0);
    host.poll(req, rsp).map(drop).expect_err("there is no block");
}

#[test]
fn a_reply_beyond_its_place_is_a_violation() {
    let fits = |place, len| Head::reply(ReplyKind::Ok, place, len).bits();
    let heads = [
        fits(Place::Inline, OUTPUT_INLINE as u64 + 1),
        fits(Place::Block, GRANT.capacity + 1),
        fits(Place::Inline, 4) & !0xff,
        fits(Place::Inline, 4) | 0xff,
        fits(Place::Inline, 4) & !0xff00,
        fits(Place::Inline, 4) | 0xff00,
        u64::MAX,
        0,
    ];
    for head in heads {
        let memory = Memory::new();
        let (req, rsp) = memory.views();
        let (mut host, mut worker) = memory.pair();
        host.publish(req, rsp, &Request { grant: GRANT, ..request(b"") }).unwrap();
        worker.next(req, rsp).unwrap();
        reply(&mut worker, rsp, 1);
        memory.1[state_word_index(1) + rsp_word::HEAD].store(head, Ordering::Relaxed);
        host.poll(req, rsp).map(drop).expect_err("it does not fit");
        assert_eq!(host.remains(rsp), [(1, true)]);
    }
}

#[test]
fn a_free_slot_that_was_written_to_is_a_violation() {
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, _) = memory.pair();
    memory.set(1, Word::done(1));
    host.publish(req, rsp, &request(b"")).expect_err("the slot was zero");
}

#[test]
#[should_panic(expected = "only to free slots")]
fn publishing_to_a_full_lane_is_a_bug_of_the_host() {
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, _) = memory.pair();
    for _ in 0..=SLOTS {
        host.publish(req, rsp, &request(b"")).unwrap();
    }
}

#[test]
fn a_worker_whose_lane_was_scribbled_on_ends_instead_of_guessing() {
    for word in [Word::done(8), Word::running(1), Word::queued(2), Word::from_bits(7)] {
        let memory = Memory::new();
        let (req, rsp) = memory.views();
        let (_, mut worker) = memory.pair();
        memory.set(1, word);
        assert_eq!(worker.park(rsp), None, "{word:?}");
        worker.next(req, rsp).map(drop).expect_err("no host writes this");
    }
}
