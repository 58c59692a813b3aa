//! Batches with both ends in one thread: one test for each promise of `protocol/README.md`, 16.

use super::{GRANT, Memory, done, request};
use crate::batch::{Claims, piece_head};
use crate::layout::{CLAIM_WORDS, CLAIMS_WORD, OUTPUT_INLINE, rsp_word};
use crate::message::Place;
use crate::slot::Head;
use crate::sync::Ordering;
use crate::{
    Answers, BATCH_MAX, Batch, Claimed, ClaimedInput, Event, Grant, GrantAnswer, HostLane, Output,
    Pieces, Put, ReplyKind, Req, Request, Rsp, Stage, Storage, Violation, WorkerLane, key_of,
    push_piece, state_word_index,
};

fn inputs(count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    (0..count).for_each(|index| push_piece(&mut bytes, &[index as u8; 3]));
    bytes
}

/// Publishes a batch of `count` tasks; where their replies go is the grant's choice.
fn publish(host: &mut HostLane, memory: &Memory, count: usize, grant: Grant) -> u64 {
    let (req, rsp) = memory.views();
    let bytes = inputs(count.min(10));
    host.publish_batch(req, rsp, &Request { grant, ..request(&bytes) }, count).unwrap().seq
}

fn begin(worker: &mut WorkerLane, req: Req<'_>, rsp: Rsp<'_>) -> (Claimed, Batch) {
    let claimed = worker.next(req, rsp).unwrap().unwrap();
    let batch = worker.batch(rsp, &claimed).unwrap().expect("it is a batch");
    (claimed, batch)
}

fn run_one(worker: &WorkerLane, rsp: Rsp<'_>, batch: &mut Batch) -> usize {
    let index = worker.claim(rsp, batch).unwrap().expect("a task is left");
    let reply = [index as u8 + 100; 3];
    assert_eq!(worker.answer(rsp, batch, ReplyKind::Ok, &reply, index as u32), Put::Done);
    index
}

fn run(worker: &WorkerLane, rsp: Rsp<'_>, batch: &mut Batch, count: usize) {
    for _ in 0..count {
        run_one(worker, rsp, batch);
    }
}

fn answers(event: Result<Option<Event>, Violation>) -> Answers {
    match event {
        Ok(Some(Event::Answers(answers))) => answers,
        other => panic!("{other:?} are no replies"),
    }
}

/// The tasks that these replies are of, each checked.
fn told(rsp: Rsp<'_>, answers: &Answers) -> Vec<usize> {
    let Storage::Inline(bytes) = answers.output(rsp) else { panic!("they lie in the slot") };
    let pieces = Pieces::of(&bytes).skip(answers.first).take(answers.until - answers.first);
    let told = pieces.zip(answers.first..).map(|(piece, index)| {
        let piece = piece.unwrap();
        assert_eq!((piece.bytes, piece.run_ns), (&[index as u8 + 100; 3][..], index as u32));
        assert_eq!(piece.kind(), Ok(ReplyKind::Ok));
        index
    });
    told.collect()
}

#[test]
fn a_batch_comes_back_as_it_was_sent() {
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, mut worker) = memory.pair();
    for round in 1..20 {
        let seq = publish(&mut host, &memory, 7, Grant::NONE);
        let (claimed, mut batch) = begin(&mut worker, req, rsp);
        assert_eq!((claimed.seq, claimed.flags), (seq, 7));
        let ClaimedInput::Inline(bytes) = claimed.input else { panic!("it fits the slot") };
        let found: Vec<_> = Pieces::of(&bytes).map(|piece| piece.unwrap().bytes[0]).collect();
        assert_eq!(found, [0, 1, 2, 3, 4, 5, 6]);
        for index in 0..7 {
            assert_eq!(run_one(&worker, rsp, &mut batch), index);
        }
        assert_eq!(worker.claim(rsp, &mut batch), Ok(None));
        assert!(matches!(host.poll(req, rsp), Ok(None)));
        worker.finish_batch(rsp, &batch);
        let answers = answers(host.poll(req, rsp));
        assert_eq!((answers.seq, answers.last), (round, true));
        assert_eq!(told(rsp, &answers), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!((host.in_flight(), host.free_slots()), (0, 8));
        assert!(worker.is_harvested(req));
    }
}

#[test]
fn replies_go_into_the_granted_block_one_behind_the_other() {
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, mut worker) = memory.pair();
    publish(&mut host, &memory, 2, GRANT);
    let (_, mut batch) = begin(&mut worker, req, rsp);
    for (len, offset) in [(250, 0), (200, 264)] {
        worker.claim(rsp, &mut batch).unwrap().unwrap();
        let put = worker.answer(rsp, &mut batch, ReplyKind::Failed, &vec![1; len], 9);
        let head = piece_head(2, len, 9).to_le_bytes();
        assert_eq!(put, Put::At { offset: GRANT.offset + offset, head });
    }
    worker.finish_batch(rsp, &batch);
    let answers = answers(host.poll(req, rsp));
    assert!(matches!(answers.output(rsp), Storage::Block { len: 472 }));
}

#[test]
fn a_tail_is_taken_back_as_far_as_nobody_claimed_it() {
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, mut worker) = memory.pair();
    let seq = publish(&mut host, &memory, 10, Grant::NONE);
    assert_eq!(host.take_back(rsp, seq, 9), Ok(9), "while it is queued");
    let (_, mut batch) = begin(&mut worker, req, rsp);
    assert_eq!(host.take_back(rsp, seq, 7), Ok(7), "while it runs");
    run(&worker, rsp, &mut batch, 3);
    assert_eq!(host.take_back(rsp, seq, 8), Ok(7), "they are gone already");
    assert_eq!(host.take_back(rsp, seq, 1), Ok(3), "three were claimed");
    assert_eq!((host.tasks(seq), host.stage(rsp, seq)), (3, Ok(Stage::Running)));
    assert_eq!(worker.claim(rsp, &mut batch), Ok(None));
    worker.finish_batch(rsp, &batch);
    assert_eq!(host.take_back(rsp, seq, 0), Ok(3));
    assert_eq!(told(rsp, &answers(host.poll(req, rsp))), [0, 1, 2]);
    assert_eq!(host.tasks(seq), 1, "it is in the lane no more");
}

#[test]
fn a_batch_of_which_everything_was_taken_back_answers_nothing() {
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, mut worker) = memory.pair();
    let seq = publish(&mut host, &memory, 4, Grant::NONE);
    let (_, mut batch) = begin(&mut worker, req, rsp);
    assert_eq!(host.take_back(rsp, seq, 0), Ok(0));
    assert_eq!(worker.claim(rsp, &mut batch), Ok(None));
    worker.finish_batch(rsp, &batch);
    let answers = answers(host.poll(req, rsp));
    assert_eq!((answers.first, answers.until, answers.last), (0, 0, true));
    let seq = publish(&mut host, &memory, 4, Grant::NONE);
    assert_eq!(host.revoke(rsp, seq), Ok(true), "a queued one is taken back whole");
    assert_eq!(host.in_flight(), 0);
}

#[test]
fn what_a_running_batch_has_answered_is_told_once() {
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, mut worker) = memory.pair();
    let seq = publish(&mut host, &memory, 5, Grant::NONE);
    assert!(matches!(host.answers(rsp), Ok(None)), "it is queued");
    let (_, mut batch) = begin(&mut worker, req, rsp);
    run_one(&worker, rsp, &mut batch);
    assert!(matches!(host.answers(rsp), Ok(None)), "the last reply may not be whole");
    run(&worker, rsp, &mut batch, 2);
    let first = host.answers(rsp).unwrap().unwrap();
    assert_eq!((told(rsp, &first), first.last), (vec![0, 1], false));
    assert!(matches!(host.answers(rsp), Ok(None)));
    assert_eq!(host.take_back(rsp, seq, 4), Ok(4));
    run_one(&worker, rsp, &mut batch);
    assert_eq!(told(rsp, &host.answers(rsp).unwrap().unwrap()), [2]);
    worker.finish_batch(rsp, &batch);
    assert!(matches!(host.answers(rsp), Ok(None)), "poll tells the rest");
    assert_eq!(told(rsp, &answers(host.poll(req, rsp))), [3]);
}

#[test]
fn a_task_that_does_not_fit_becomes_the_only_one_of_its_batch() {
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, mut worker) = memory.pair();
    let seq = publish(&mut host, &memory, 6, Grant::NONE);
    let (_, mut batch) = begin(&mut worker, req, rsp);
    run(&worker, rsp, &mut batch, 2);
    worker.claim(rsp, &mut batch).unwrap().unwrap();
    let reply = vec![0; OUTPUT_INLINE - 32];
    assert_eq!(worker.answer(rsp, &mut batch, ReplyKind::Ok, &reply, 0), Put::NoRoom);
    worker.need_space(rsp, seq, 200);
    assert_eq!(told(rsp, &answers(host.poll(req, rsp))), [0, 1]);
    assert!(matches!(host.poll(req, rsp), Ok(Some(Event::NeedSpace { seq: 1, len: 200 }))));
    assert_eq!(host.tasks(seq), 3, "the rest was taken back");
    assert!(matches!(host.answers(rsp), Ok(None)));
    host.grant(req, rsp, seq, GrantAnswer::Block(GRANT)).unwrap();
    worker.finish(rsp, seq, ReplyKind::Ok, Output::Block { len: 200 }, 6);
    let done = done(host.poll(req, rsp));
    assert_eq!((done.seq, done.run_ns, host.in_flight()), (seq, 6, 0));
}

#[test]
fn cancel_reaches_its_own_task_of_a_batch_and_an_older_one_does_not_undo_it() {
    let memory = Memory::new();
    let (req, _) = memory.views();
    let (mut host, _) = memory.pair();
    let seq = publish(&mut host, &memory, 3, Grant::NONE);
    let cancelled = || [0, 1, 2].map(|index| WorkerLane::is_cancelled(req, key_of(seq, index)));
    host.cancel(req, key_of(seq, 1));
    assert_eq!(cancelled(), [false, true, false]);
    host.cancel(req, key_of(seq, 0));
    host.cancel(req, key_of(seq, 3));
    host.cancel(req, key_of(seq + 8, 2));
    assert_eq!(cancelled(), [false, true, false]);
    host.cancel(req, key_of(seq, 2));
    assert_eq!(cancelled(), [false, false, true]);
}

#[test]
fn after_a_death_exactly_the_claimed_tasks_had_started() {
    for claimed in 0..=4_usize {
        let memory = Memory::new();
        let (req, rsp) = memory.views();
        let (mut host, mut worker) = memory.pair();
        let seq = publish(&mut host, &memory, 5, Grant::NONE);
        let second = publish(&mut host, &memory, 2, Grant::NONE);
        let (_, mut batch) = begin(&mut worker, req, rsp);
        host.take_back(rsp, seq, 4).unwrap();
        run(&worker, rsp, &mut batch, claimed);
        let answered = host.answers(rsp).unwrap().map_or(0, |answers| answers.until);
        assert_eq!(answered, claimed.saturating_sub(1));
        let expected = (answered..4)
            .map(|index| (key_of(seq, index), index < claimed))
            .chain((0..2).map(|index| (key_of(second, index), false)));
        assert!(host.remains(rsp).into_iter().eq(expected));
    }
}

#[test]
fn a_claim_word_that_no_worker_may_write_is_a_violation_and_proves_nothing() {
    let words = [
        Claims::new(1, 1, 5),
        Claims::new(1, 5, 4),
        Claims::new(1, 2, 3),
        Claims::new(1, 2, 5),
        Claims::new(9, 2, 4),
        Claims::from_bits(0),
        Claims::from_bits(u64::MAX),
    ];
    for word in words {
        let lane = || {
            let memory = Memory::new();
            let (mut host, mut worker) = memory.pair();
            publish(&mut host, &memory, 4, Grant::NONE);
            let (req, rsp) = memory.views();
            let (_, mut batch) = begin(&mut worker, req, rsp);
            run(&worker, rsp, &mut batch, 2);
            assert!(host.answers(rsp).unwrap().is_some());
            memory.1[CLAIMS_WORD + CLAIM_WORDS].store(word.bits(), Ordering::Relaxed);
            (memory, host, worker, batch)
        };
        let all = [(key_of(1, 1), true), (key_of(1, 2), true), (key_of(1, 3), true)];
        let (memory, mut host, worker, mut batch) = lane();
        let (req, rsp) = memory.views();
        // A lower end is what the host itself might write.
        let ends = worker.claim(rsp, &mut batch).is_err();
        assert!(ends || word == Claims::new(1, 2, 3), "the worker ends, too: {word:?}");
        let violation = host.take_back(rsp, 1, 2).unwrap_err();
        assert_eq!(host.poll(req, rsp).map(drop), Err(violation), "it latches");
        assert_eq!(host.answers(rsp).map(drop), Err(violation));
        assert_eq!(host.remains(rsp), all, "{word:?}");
        let (memory, mut host, ..) = lane();
        let rsp = memory.views().1;
        host.answers(rsp).map(drop).expect_err("as above");
        let (memory, mut host, ..) = lane();
        assert_eq!(host.remains(memory.views().1), all, "{word:?}");
    }
}

#[test]
fn a_batch_that_answers_more_or_less_than_it_has_is_a_violation() {
    let fits = |len| Head::replies(Place::Inline, len).bits();
    let cases = [
        (fits(16), 2),
        (fits(16), 4),
        (fits(16), u64::MAX),
        (fits(OUTPUT_INLINE as u64 + 1), 3),
        (Head::replies(Place::Block, 16).bits(), 3),
        (Head::replies(Place::Memfd, 16).bits(), 3),
        (Head::reply(ReplyKind::Ok, Place::Inline, 16).bits(), 3),
        (0, 3),
    ];
    for (head, count) in cases {
        let memory = Memory::new();
        let (req, rsp) = memory.views();
        let (mut host, mut worker) = memory.pair();
        publish(&mut host, &memory, 3, Grant::NONE);
        let (_, mut batch) = begin(&mut worker, req, rsp);
        run(&worker, rsp, &mut batch, 3);
        worker.finish_batch(rsp, &batch);
        memory.1[state_word_index(1) + rsp_word::HEAD].store(head, Ordering::Relaxed);
        memory.1[state_word_index(1) + rsp_word::RUN_NS].store(count, Ordering::Relaxed);
        host.poll(req, rsp).map(drop).expect_err("three were to be answered");
        assert_eq!(host.remains(rsp).len(), 3);
    }
}

#[test]
fn a_single_task_does_not_answer_like_a_batch_nor_a_batch_that_claimed_nothing_ask() {
    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, mut worker) = memory.pair();
    host.publish(req, rsp, &request(b"")).unwrap();
    worker.next(req, rsp).unwrap().unwrap();
    worker.finish(rsp, 1, ReplyKind::Ok, Output::Inline(b""), 0);
    let head = Head::replies(Place::Inline, 0).bits();
    memory.1[state_word_index(1) + rsp_word::HEAD].store(head, Ordering::Relaxed);
    host.poll(req, rsp).map(drop).expect_err("it is no batch");

    let memory = Memory::new();
    let (req, rsp) = memory.views();
    let (mut host, mut worker) = memory.pair();
    publish(&mut host, &memory, 3, Grant::NONE);
    begin(&mut worker, req, rsp);
    worker.need_space(rsp, 1, 9);
    host.poll(req, rsp).map(drop).expect_err("nobody runs");
}

#[test]
fn a_worker_does_not_begin_a_batch_with_a_foreign_claim_word() {
    for word in [Claims::new(9, 0, 3), Claims::new(1, 1, 3), Claims::new(1, 0, 4)] {
        let memory = Memory::new();
        let (req, rsp) = memory.views();
        let (mut host, mut worker) = memory.pair();
        publish(&mut host, &memory, 3, Grant::NONE);
        memory.1[CLAIMS_WORD + CLAIM_WORDS].store(word.bits(), Ordering::Relaxed);
        let claimed = worker.next(req, rsp).unwrap().unwrap();
        worker.batch(rsp, &claimed).map(drop).unwrap_err();
    }
}

#[test]
#[should_panic(expected = "one task to BATCH_MAX")]
fn a_batch_of_too_many_is_a_bug_of_the_host() {
    let memory = Memory::new();
    publish(&mut memory.pair().0, &memory, BATCH_MAX + 1, Grant::NONE);
}
