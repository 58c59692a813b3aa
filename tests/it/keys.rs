//! Jobs that are not thread-safe: of those with one key never two run at a time in one process.

use std::time::{Duration, Instant};

use amphi::{Clock, Engine, Error, Placement, Task, TaskError};
use amphi_tests::eventually;

use crate::chores::{Keyed, With, everywhere};
use crate::jobs::{Double, app};

const SOON: Duration = Duration::from_secs(5);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn threads(cores: usize) -> Engine {
    app().engine().place(Placement::Thread).cores(cores).start().unwrap()
}

type Inner = Result<u32, String>;

/// The process that it ran in. Two of one key at a time in one process are its error.
fn process_of(task: Task<Inner, Error>) -> u32 {
    task.join_timeout(SOON).expect("it gets its key").unwrap().unwrap()
}

fn keep<const KEY: usize>(engine: &Engine, time_ms: u64) -> Task<Inner, Error> {
    engine.try_submit(Keyed::<KEY>(With::Keep(time_ms))).unwrap()
}

/// A task that has the key, until it is cancelled.
fn holder<const KEY: usize>(engine: &Engine) -> Task<Inner, Error> {
    let task = keep::<KEY>(engine, 20_000);
    eventually("the key to be taken", || task.progress().is_some());
    task
}

#[test]
fn never_two_at_a_time_in_one_process() {
    everywhere(4, |placement, engine| {
        let tasks: Vec<_> = (0..100).map(|_| keep::<0>(&engine, 1)).collect();
        let mut pids: Vec<u32> = tasks.into_iter().map(process_of).collect();
        pids.sort_unstable();
        pids.dedup();
        let own = pids.contains(&std::process::id());
        assert_eq!(own, placement != Placement::Process, "{placement}: {pids:?}");
        // Callers that run their tasks themselves are no exception.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let outcome = engine.run(Keyed::<0>(With::Keep(0)));
                        assert!(matches!(outcome, Ok(Ok(_))), "{placement}: {outcome:?}");
                    }
                });
            }
        });
    });
}

#[test]
fn a_key_is_of_the_process_and_not_of_an_engine() {
    let engines = [threads(2), threads(2)];
    let both = || engines.iter().map(|engine| keep::<1>(engine, 1));
    let tasks: Vec<_> = (0..50).flat_map(|_| both()).collect();
    tasks.into_iter().for_each(|task| assert_ne!(process_of(task), 0));
    // One engine's end lets go of nothing that is another's.
    let [first, second] = engines;
    let held = holder::<1>(&first);
    let waits = keep::<1>(&second, 0);
    drop(keep::<1>(&first, 0));
    drop(first);
    assert_eq!(held.join(), Err(TaskError::Cancelled));
    process_of(waits);
}

#[test]
fn workers_run_side_by_side() {
    let engine = app().engine().place(Placement::Process).cores(2).start().unwrap();
    let (one, other) = (holder::<2>(&engine), holder::<2>(&engine));
    assert_eq!(engine.worker_pids().len(), 2);
    for task in [one, other] {
        task.cancel();
        assert_eq!(task.join(), Err(TaskError::Cancelled));
    }
}

#[test]
fn who_waits_for_a_key_keeps_no_core_busy() {
    let (engine, elsewhere) = (threads(1), threads(1));
    let held = holder::<3>(&elsewhere);
    let waiting: Vec<_> = (0..10).map(|_| keep::<3>(&engine, 0)).collect();
    for n in 0..10 {
        let other = engine.try_submit(Double(n)).unwrap();
        assert_eq!(other.join_timeout(SOON).expect("the core is free"), Ok(2 * n));
    }
    assert!(waiting.iter().all(|task| !task.is_finished()));
    assert_eq!(engine.queued(), 10);
    held.cancel();
    waiting.into_iter().for_each(|task| assert_ne!(process_of(task), 0));
}

#[test]
fn who_waits_for_a_key_can_be_cancelled_and_timed_out() {
    let (engine, elsewhere) = (threads(1), threads(1));
    let held = holder::<4>(&elsewhere);
    let begun = Instant::now();
    let task = || engine.task(Keyed::<4>(With::Keep(0)));
    let late = task().queue_timeout(ms(30)).try_submit().unwrap();
    let dead = task().deadline(begun + ms(60)).try_submit().unwrap();
    let running = task().timeout(ms(30)).try_submit().unwrap();
    let cancelled = keep::<4>(&engine, 0);
    let joined = keep::<4>(&engine, 0);
    drop(keep::<4>(&engine, 0));
    assert_eq!(engine.run(Double(1)), Ok(2), "all of them are at the gate");
    cancelled.cancel();
    assert_eq!(cancelled.join(), Err(TaskError::Cancelled));
    for (task, expected) in [(late, Clock::Queue), (dead, Clock::Deadline)] {
        let outcome = task.join_timeout(SOON).expect("it gives up");
        let by = |clock| clock == expected;
        assert!(matches!(outcome, Err(TaskError::TimedOut { clock, .. }) if by(clock)));
    }
    assert!(begun.elapsed() >= ms(60));
    let joined = joined.join_timeout(ms(10)).expect_err("the key is taken");
    assert_eq!(engine.queued(), 2);
    held.cancel();
    process_of(joined);
    process_of(running);
    engine.drained_blocking();
}

/// Ten thousand that are gone do not stand in the way of the next one, nor in memory.
#[test]
fn many_that_gave_up_pass_the_key_on() {
    let (engine, elsewhere) = (threads(1), threads(1));
    let held = holder::<5>(&elsewhere);
    for _ in 0..10_000 {
        drop(keep::<5>(&engine, 0));
    }
    let last = keep::<5>(&engine, 0);
    assert_eq!(engine.queued(), 1);
    held.cancel();
    process_of(last);
    assert_eq!(held.join(), Err(TaskError::Cancelled));
    engine.drained_blocking();
}

#[test]
fn a_job_that_joins_a_task_with_its_own_key_does_not_wait_for_itself() {
    let own = || Keyed::<6>(With::OwnKey);
    for cores in [1, 2] {
        let engine = app().engine().place(Placement::Auto).cores(cores).start().unwrap();
        let outer = engine.task(own()).place(Placement::Thread).try_submit().unwrap();
        let inner = outer.join_timeout(SOON).expect("it does not wait for itself").unwrap();
        assert_ne!(inner.unwrap(), std::process::id(), "the inner one went to a worker");

        let engine = threads(cores);
        let outer = engine.try_submit(own()).unwrap();
        let inner = outer.join_timeout(SOON).expect("it does not wait for itself").unwrap();
        let refusal = inner.unwrap_err();
        assert!(refusal.contains("holds the key"), "{refusal}");
    }
}

#[test]
fn a_job_in_a_worker_that_joins_a_task_with_its_own_key_is_told() {
    let engine = app().engine().place(Placement::Process).cores(2).start().unwrap();
    let outer = engine.try_submit(Keyed::<6>(With::OwnKey)).unwrap();
    let outer = outer.join_timeout(SOON).expect("it does not wait for itself");
    // In another worker, or refused; never beside the outer one.
    match outer.unwrap() {
        Ok(pid) => assert_ne!(pid, std::process::id()),
        Err(refusal) => assert!(refusal.contains("holds the key"), "{refusal}"),
    }
}

#[test]
fn shutdown_resolves_who_waits_for_a_key() {
    let elsewhere = threads(1);
    for grace in [0, 50] {
        let held = holder::<7>(&elsewhere);
        let engine = threads(1);
        let waiting: Vec<_> = (0..5).map(|_| keep::<7>(&engine, 0)).collect();
        let retried = engine.task(Keyed::<7>(With::Keep(0))).retries(3).try_submit().unwrap();
        let begun = Instant::now();
        let report = engine.shutdown(ms(grace));
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        assert_eq!((report.submitted, report.cancelled), (6, 6), "{grace} ms");
        for task in waiting.into_iter().chain([retried]) {
            assert_eq!(task.join(), Err(TaskError::Cancelled));
        }
        engine.drained_blocking();
        held.cancel();
        assert_eq!(held.join(), Err(TaskError::Cancelled));
        process_of(keep::<7>(&elsewhere, 0));
    }
    let (held, engine) = (holder::<7>(&elsewhere), threads(1));
    let waits = keep::<7>(&engine, 0);
    std::thread::scope(|scope| {
        let ended = scope.spawn(|| engine.shutdown(SOON));
        eventually("the end to begin", || engine.try_submit(Double(1)).is_err());
        held.cancel();
        assert_eq!(ended.join().unwrap().cancelled, 0, "its grace is long enough for the key");
    });
    process_of(waits);
}
