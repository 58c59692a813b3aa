//! Protocols broken on purpose, to prove that the model sees it.
//!
//! Loom may abort the process when it meets a deadlock, so each model runs in a process of its
//! own: this test binary, started again for one label.

use std::process::Command;

use amphi_protocol::{Context, Grant, Input, Park, Request, WorkerLane, state_word_index};
use loom::sync::Arc;
use loom::sync::atomic::{Ordering, fence};
use loom::thread;

use super::lane::{Lane, PREEMPTIONS, check};

/// The word of `park_epoch`, for the variations that break its protocol.
const EPOCH_WORD: usize = 16;
/// Names the model that a started copy of this binary runs.
const LABEL: &str = "AMPHI_LOOM_LABEL";

/// Runs one model in a process of its own; and checks whether loom finds a deadlock in it, as
/// `expected`. In such a process,
/// the model of its label is run, and what the others come to is not asked.
fn deadlocks(label: &str, expected: bool, model: impl Fn() + Sync + Send + 'static) {
    match std::env::var(LABEL) {
        Ok(wanted) if wanted == label => {
            check(PREEMPTIONS, model);
            std::process::exit(0);
        }
        Ok(_) => return,
        Err(_) => {}
    }
    let test = std::thread::current().name().expect("libtest names its threads").to_owned();
    let run = Command::new(std::env::current_exe().unwrap())
        .args([&test, "--exact", "--nocapture"])
        .env(LABEL, label)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.success(), !expected, "{label}: {said}");
    assert_eq!(said.contains("deadlock"), expected, "{label}: {said}");
}

/// The bell of a worker that is broken as `must_ring` says.
fn bell_of(label: &str, expected: bool, must_ring: fn(&Lane) -> bool, rearm: fn(&Lane)) {
    deadlocks(label, expected, move || {
        let (lane, mut host, mut worker) = Lane::new().pair();
        lane.publish(&mut host, &[]);
        let other = Arc::clone(&lane);
        let worker = thread::spawn(move || {
            let seq = other.next(&mut worker).expect("it was published before").seq;
            other.finish(&mut worker, seq, &[]);
            if must_ring(&other) {
                other.ring();
            }
        });
        rearm(&lane);
        if lane.poll(&mut host).is_none() {
            lane.hear(&mut 0);
            assert!(lane.poll(&mut host).is_some());
        }
        worker.join().unwrap();
    });
}

fn sound_ring(lane: &Lane) -> bool {
    fence(Ordering::SeqCst);
    lane.req[EPOCH_WORD].load(Ordering::Relaxed) % 2 == 1
}

fn sound_rearm(lane: &Lane) {
    lane.req[EPOCH_WORD].store(1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
}

/// The sanity of the model: the hand-copied protocol passes, and each of its fences is needed.
#[test]
fn loom_sees_a_missing_fence_on_either_side() {
    bell_of("the copy is sound", false, sound_ring, sound_rearm);
    let ring = |lane: &Lane| lane.req[EPOCH_WORD].load(Ordering::Acquire) % 2 == 1;
    bell_of("the worker's fence", true, ring, sound_rearm);
    let rearm = |lane: &Lane| lane.req[EPOCH_WORD].store(1, Ordering::Release);
    bell_of("the host's fence", true, sound_ring, rearm);
}

/// A worker that marks its word with a plain store, or sleeps without a mark, is not woken.
#[test]
fn loom_sees_a_park_that_is_no_single_step() {
    fn worker_that(label: &str, expected: bool, park: fn(&Lane, &WorkerLane) -> Option<Park>) {
        deadlocks(label, expected, move || {
            let (lane, mut host, mut worker) = Lane::new().pair();
            let other = Arc::clone(&lane);
            let worker = thread::spawn(move || {
                loop {
                    if other.next(&mut worker).is_some() {
                        break;
                    }
                    if let Some(park) = park(&other, &worker) {
                        other.wait(park);
                    }
                }
            });
            lane.publish(&mut host, &[]);
            worker.join().unwrap();
        });
    }
    worker_that("the lane's own", false, |lane, worker| worker.park(lane.rsp()));
    let word = state_word_index(1);
    assert_eq!(word, 32, "the variations below know it");
    worker_that("a plain store", true, |lane, _| {
        lane.rsp[32].store(0x80, Ordering::Release);
        Some(Park { word: 32, expected: 0x80 })
    });
    worker_that("no mark", true, |_, _| Some(Park { word: 32, expected: 0 }));
}

/// A host that forgets the wake of a task it took back leaves the worker asleep.
#[test]
fn loom_sees_a_wake_that_was_not_paid() {
    deadlocks("a forgotten wake", true, || {
        let (lane, mut host, mut worker) = Lane::new().pair();
        let other = Arc::clone(&lane);
        let worker = thread::spawn(move || other.claim(&mut worker).seq);
        let request = Request {
            job: 1,
            flags: 0,
            context: Context::NONE,
            input: Input::Inline(&[]),
            grant: Grant::NONE,
        };
        let first = host.publish(lane.req(), lane.rsp(), &request).unwrap();
        if host.revoke(lane.rsp(), first.seq) == Ok(true) {
            lane.publish(&mut host, &[]);
        } else if first.wake {
            lane.wake();
        }
        worker.join().unwrap();
    });
}
