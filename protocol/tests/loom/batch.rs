//! Batches under loom: claim against take-back, and replies that are told while the batch runs.
//! And take-backs that are broken on purpose, where loom must find the task that both have.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use amphi_protocol::{
    Answers, Batch, Context, Event, Grant, HostLane, Input, Pieces, Put, ReplyKind, Request,
    Storage, WorkerLane, key_of,
};
use loom::sync::Arc;
use loom::sync::atomic::Ordering;
use loom::thread;

use super::lane::{Lane, PREEMPTIONS, check};

/// The claim word of sequence 1, for the variations that break its protocol.
const CLAIM_WORD: usize = 256 + 16;

fn publish(lane: &Lane, host: &mut HostLane, count: usize) -> u64 {
    let request = Request {
        job: 1,
        flags: 0,
        context: Context::NONE,
        input: Input::Inline(&[]),
        grant: Grant::NONE,
    };
    host.publish_batch(lane.req(), lane.rsp(), &request, count).unwrap().seq
}

fn begin(lane: &Lane, worker: &mut WorkerLane) -> Batch {
    let claimed = lane.next(worker).expect("it was published before");
    worker.batch(lane.rsp(), &claimed).unwrap().expect("it is a batch")
}

/// Runs what it can claim, at most `limit` tasks; each reply names its task.
fn run(lane: &Lane, worker: &WorkerLane, batch: &mut Batch, limit: usize) -> BTreeSet<usize> {
    let mut ran = BTreeSet::new();
    while ran.len() < limit
        && let Some(index) = worker.claim(lane.rsp(), batch).unwrap()
    {
        let reply = [index as u8 + 1; 8];
        let put = worker.answer(lane.rsp(), batch, ReplyKind::Ok, &reply, 0);
        assert_eq!(put, Put::Done);
        ran.insert(index);
    }
    ran
}

fn told(lane: &Lane, answers: &Answers) -> Vec<usize> {
    let Storage::Inline(bytes) = answers.output(lane.rsp()) else { panic!("they lie in the slot") };
    let pieces = Pieces::of(&bytes).skip(answers.first).take(answers.until - answers.first);
    let told = pieces.zip(answers.first..).map(|(piece, index)| {
        assert_eq!(piece.unwrap().bytes, [index as u8 + 1; 8], "the reply is whole");
        index
    });
    told.collect()
}

/// Each task is claimed or taken back, never both and never neither, and each that was claimed is
/// answered.
#[test]
fn a_task_of_a_batch_is_claimed_or_taken_back() {
    check(PREEMPTIONS, || {
        let (lane, mut host, mut worker) = Lane::new().pair();
        let seq = publish(&lane, &mut host, 3);
        let other = Arc::clone(&lane);
        let worker = thread::spawn(move || {
            let mut batch = begin(&other, &mut worker);
            let ran = run(&other, &worker, &mut batch, 3);
            worker.finish_batch(other.rsp(), &batch);
            ran
        });
        let middle = host.take_back(lane.rsp(), seq, 2).unwrap();
        let end = host.take_back(lane.rsp(), seq, 0).unwrap();
        let ran = worker.join().unwrap();
        assert!(end <= middle && ran.into_iter().eq(0..end));
        let Some(Event::Answers(answers)) = lane.poll(&mut host) else { panic!("it is done") };
        assert!(answers.last && told(&lane, &answers).into_iter().eq(0..end));
    });
}

/// A worker that dies anywhere: what the claim word says was answered is there, whole, although
/// the batch was not finished, and exactly what it claimed had started.
#[test]
fn replies_of_a_batch_that_was_not_finished_are_whole() {
    check(PREEMPTIONS, || {
        let (lane, mut host, mut worker) = Lane::new().pair();
        let seq = publish(&lane, &mut host, 4);
        let other = Arc::clone(&lane);
        let worker = thread::spawn(move || {
            let mut batch = begin(&other, &mut worker);
            run(&other, &worker, &mut batch, 3)
        });
        let early =
            host.answers(lane.rsp()).unwrap().map_or(Vec::new(), |found| told(&lane, &found));
        let end = host.take_back(lane.rsp(), seq, 3).unwrap();
        let ran = worker.join().unwrap();
        assert_eq!((end, ran.len()), (3, 3));
        let late =
            host.answers(lane.rsp()).unwrap().map_or(Vec::new(), |found| told(&lane, &found));
        assert!(early.into_iter().chain(late).eq(0..2), "each is told once");
        assert_eq!(host.remains(lane.rsp()), [(key_of(seq, 2), true)]);
    });
}

/// What a broken end does to the claim word, instead of the CAS.
type Broken = fn(&Lane, usize) -> usize;

/// Whether loom finds a task that was claimed and taken back, or neither.
fn loses_a_task(take_back: Broken) -> bool {
    let model = move || {
        let (lane, mut host, mut worker) = Lane::new().pair();
        publish(&lane, &mut host, 2);
        let other = Arc::clone(&lane);
        let worker = thread::spawn(move || {
            let mut batch = begin(&other, &mut worker);
            let mut ran = 0;
            while let Ok(Some(_)) = worker.claim(other.rsp(), &mut batch) {
                ran += 1;
            }
            ran
        });
        let end = take_back(&lane, 0);
        assert_eq!(worker.join().unwrap(), end, "each task has one owner");
    };
    catch_unwind(AssertUnwindSafe(|| check(PREEMPTIONS, model))).is_err()
}

/// The sanity of the models: a copy of the host's step passes, one that is no single step does not.
#[test]
fn loom_sees_a_take_back_that_is_no_single_step() {
    let sound: Broken = |lane, from| loop {
        let word = lane.rsp[CLAIM_WORD].load(Ordering::Relaxed);
        let end = next_of(word).max(from);
        let lower = word & !0xff | end as u64;
        let (won, lost) = (Ordering::Relaxed, Ordering::Relaxed);
        if lane.rsp[CLAIM_WORD].compare_exchange(word, lower, won, lost).is_ok() {
            return end;
        }
    };
    let stored: Broken = |lane, from| {
        let word = lane.rsp[CLAIM_WORD].load(Ordering::Acquire);
        let end = next_of(word).max(from);
        lane.rsp[CLAIM_WORD].store(word & !0xff | end as u64, Ordering::Release);
        end
    };
    assert!(!loses_a_task(sound), "the copy is sound");
    assert!(loses_a_task(stored), "a load and a store");
}

fn next_of(word: u64) -> usize {
    (word >> 8 & 0xff) as usize
}
