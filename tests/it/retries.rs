//! Trying a task once more: when, how often, and when not.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use amphi::{Clock, Engine, Error, Outcome, Placement, TaskError};
use amphi_tests::eventually;

use crate::chores::{End, Flaky, everywhere};
use crate::jobs::{Double, app};

const SOON: Duration = Duration::from_secs(5);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn processes() -> Engine {
    app().engine().place(Placement::Process).cores(1).start().unwrap()
}

/// How often tasks were run again, of those that tell their tries.
fn retried(engine: &Engine) -> u64 {
    engine.stats().job(std::any::type_name::<Flaky>()).unwrap().retried
}

/// A try is counted beside the next one, which does not wait for it.
fn was_retried(engine: &Engine, count: u64) -> bool {
    eventually("all tries to be counted", || retried(engine) >= count);
    retried(engine) == count
}

/// How many ended so, in any place, now that all have ended.
fn ended(engine: &Engine, outcome: Outcome) -> u64 {
    engine.drained_blocking();
    let stats = engine.stats();
    let job = stats.job(std::any::type_name::<Flaky>()).unwrap();
    job.places.iter().map(|place| place.tasks(outcome)).sum()
}

#[test]
fn a_task_is_tried_again_after_a_panic() {
    everywhere(1, |placement, engine| {
        let flaky = Flaky::new(&[End::Panics, End::Panics, End::Well]);
        assert_eq!(engine.task(flaky.clone()).retries(5).run(), Ok(3), "{placement}");
        assert_eq!(flaky.tried(), 3, "{placement}");
        assert!(was_retried(&engine, 2), "{placement}");
        assert_eq!((ended(&engine, Outcome::Ok), ended(&engine, Outcome::Panicked)), (1, 0));
        engine.drained_blocking();
    });
}

#[test]
fn a_task_is_tried_again_after_a_crash() {
    let engine = processes();
    let flaky = Flaky::new(&[End::Aborts, End::Well]);
    assert_eq!(engine.task(flaky.clone()).retries(1).run(), Ok(2));
    assert_eq!(flaky.tried(), 2);
    assert!(was_retried(&engine, 1));
    assert_eq!((ended(&engine, Outcome::Ok), ended(&engine, Outcome::Crashed)), (1, 0));
}

#[test]
fn a_task_is_tried_again_after_its_worker_was_killed_for_its_clock() {
    let engine = processes();
    let flaky = Flaky::new(&[End::Hangs, End::Hangs, End::Hangs, End::Well]);
    let task = engine.task(flaky.clone()).retries(3).kill_after(ms(50));
    assert_eq!(task.run(), Ok(4), "kills by the engine's order poison nobody");
    assert_eq!(flaky.tried(), 4);
    assert!(was_retried(&engine, 3));
}

#[test]
fn a_task_at_two_crashes_is_poisoned_however_many_tries_are_left() {
    let engine = processes();
    let flaky = Flaky::new(&[End::Aborts]);
    let error = engine.task(flaky.clone()).retries(100).run().unwrap_err();
    assert!(matches!(error, TaskError::Poisoned { deaths: 2, .. }), "{error}");
    assert!(!error.is_retryable());
    assert_eq!(flaky.tried(), 2);
    assert!(was_retried(&engine, 1));
    assert_eq!(ended(&engine, Outcome::Poisoned), 1);
    let mixed = Flaky::new(&[End::Panics, End::Aborts, End::Panics, End::Aborts, End::Well]);
    let error = engine.task(mixed.clone()).retries(100).run().unwrap_err();
    assert!(matches!(error, TaskError::Poisoned { deaths: 2, .. }), "{error}");
    assert_eq!(mixed.tried(), 4);
}

/// Without further tries a crash is a crash.
#[test]
fn the_last_try_tells_its_own_error() {
    let engine = processes();
    let error = engine.run(Flaky::new(&[End::Aborts])).unwrap_err();
    assert!(matches!(error, TaskError::Crashed { signal: Some(6), .. }), "{error}");
    let hangs = Flaky::new(&[End::Panics, End::Hangs]);
    let error = engine.task(hangs).retries(1).kill_after(ms(50)).run().unwrap_err();
    let clock = Clock::KillAfter;
    assert!(matches!(error, TaskError::TimedOut { clock: by, killed: true, .. } if by == clock));
    everywhere(1, |placement, engine| {
        let flaky = Flaky::new(&[End::Panics]);
        let error = engine.task(flaky.clone()).retries(2).run().unwrap_err();
        let last = |message: &str| message == "panicked at try 3";
        assert!(
            matches!(&error, TaskError::Panicked { message, .. } if last(message)),
            "{placement}: {error}"
        );
        assert_eq!(flaky.tried(), 3, "{placement}");
        assert!(was_retried(&engine, 2), "{placement}");
        assert_eq!(ended(&engine, Outcome::Panicked), 1, "{placement}");
    });
}

#[test]
fn a_failed_task_is_tried_again_only_where_asked() {
    everywhere(1, |placement, engine| {
        let plain = Flaky::new(&[End::Fails, End::Well]);
        let outcome = engine.task(plain.clone()).retries(3).run();
        assert_eq!(outcome, Err(TaskError::Failed(Error::new("failed at try 1"))), "{placement}");
        assert_eq!(plain.tried(), 1, "{placement}");

        let twice = |error: &Error| error.to_string() != "failed at try 3";
        let asked = Flaky::new(&[End::Fails]);
        let outcome = engine.task(asked.clone()).retries(9).retry_if(twice).run();
        assert_eq!(outcome, Err(TaskError::Failed(Error::new("failed at try 3"))), "{placement}");
        assert_eq!(asked.tried(), 3, "{placement}");

        let none = Flaky::new(&[End::Fails]);
        let outcome = engine.task(none.clone()).retry_if(|_| true).run();
        assert!(outcome.is_err() && none.tried() == 1, "{placement}: without tries there are none");

        let panics = Flaky::new(&[End::Fails, End::Well]);
        let outcome = engine.task(panics.clone()).retries(3).retry_if(|_| panic!("asked")).run();
        assert_eq!(outcome, Err(TaskError::Failed(Error::new("failed at try 1"))), "{placement}");
    });
}

#[test]
fn a_cancelled_task_is_not_tried_again() {
    everywhere(1, |placement, engine| {
        let flaky = Flaky::new(&[End::Waits]);
        let task = engine.task(flaky.clone()).retries(9).retry_if(|_| true).try_submit().unwrap();
        eventually("the first try", || flaky.tried() == 1);
        task.cancel();
        assert_eq!(task.join(), Err(TaskError::Cancelled), "{placement}");
        engine.drained_blocking();
        assert_eq!(flaky.tried(), 1, "{placement}");
        assert!(was_retried(&engine, 0), "{placement}");
    });
    let engine = processes();
    let flaky = Flaky::new(&[End::Hangs]);
    let task = engine.task(flaky.clone()).retries(9).try_submit().unwrap();
    eventually("the first try", || flaky.tried() == 1);
    assert!(task.kill());
    assert_eq!(task.join(), Err(TaskError::Cancelled));
    engine.drained_blocking();
    assert_eq!(flaky.tried(), 1);
}

#[test]
fn a_task_that_was_stopped_by_a_clock_is_not_tried_again() {
    everywhere(1, |placement, engine| {
        let flaky = Flaky::new(&[End::Waits]);
        let task = engine.task(flaky.clone()).retries(9).timeout(ms(50));
        let outcome = task.run();
        let timed_out = matches!(outcome, Err(TaskError::TimedOut { killed: false, .. }));
        assert!(timed_out, "{placement}: {outcome:?}");
        assert_eq!(flaky.tried(), 1, "{placement}");
    });
}

#[test]
fn backoff_waits_before_each_further_try() {
    everywhere(1, |placement, engine| {
        let flaky = Flaky::new(&[End::Panics, End::Panics, End::Panics, End::Well]);
        let begun = Instant::now();
        let task = engine.task(flaky).retries(3).backoff(ms(40), ms(60)).try_submit().unwrap();
        // The core is free for others meanwhile.
        assert_eq!(engine.run(Double(3)), Ok(6), "{placement}");
        assert_eq!(task.join(), Ok(4), "{placement}");
        // 40, 60 and 60, each less up to a quarter.
        let least = ms(30 + 45 + 45);
        assert!((least..SOON).contains(&begun.elapsed()), "{placement}: {:?}", begun.elapsed());
    });
}

/// `timeout` is a limit of each run; the waits between runs are none of it.
#[test]
fn timeout_is_for_each_try_of_its_own() {
    everywhere(1, |placement, engine| {
        let flaky = Flaky::new(&[End::Panics, End::Panics, End::Well]);
        // Long enough for a busy machine to print a panic's backtrace; each wait is longer still.
        let task = engine.task(flaky.clone()).retries(2).backoff(ms(1400), ms(1400));
        assert_eq!(task.timeout(ms(1000)).run(), Ok(3), "{placement}");
        let flaky = Flaky::new(&[End::Panics, End::Waits]);
        let task = engine.task(flaky.clone()).retries(2).backoff(ms(100), ms(100));
        let begun = Instant::now();
        let outcome = task.timeout(ms(1000)).run();
        let clock = Clock::Timeout;
        let timed_out =
            matches!(outcome, Err(TaskError::TimedOut { clock: by, .. }) if by == clock);
        assert!(timed_out && flaky.tried() == 2, "{placement}: {outcome:?}");
        assert!(begun.elapsed() >= ms(1075), "{placement}: after {:?}", begun.elapsed());
    });
}

#[test]
fn queue_timeout_is_for_the_first_start() {
    everywhere(1, |placement, engine| {
        let flaky = Flaky::new(&[End::Panics, End::Well]);
        let task = engine.task(flaky).retries(1).backoff(ms(1200), ms(1200));
        assert_eq!(task.queue_timeout(ms(800)).run(), Ok(2), "{placement}");
    });
}

#[test]
fn a_deadline_ends_a_task_between_two_tries() {
    everywhere(1, |placement, engine| {
        let flaky = Flaky::new(&[End::Panics, End::Well]);
        let at = Instant::now() + ms(500);
        let task = engine.task(flaky.clone()).retries(2).backoff(SOON, SOON).deadline(at);
        let outcome = task.try_submit().unwrap().join_timeout(SOON).expect("it ends in time");
        let clock = Clock::Deadline;
        let timed_out =
            matches!(outcome, Err(TaskError::TimedOut { clock: by, .. }) if by == clock);
        assert!(timed_out && flaky.tried() == 1, "{placement}: {outcome:?}");
        engine.drained_blocking();
        assert_eq!(engine.queued(), 0, "{placement}");
    });
}

#[test]
fn a_handle_may_be_dropped_between_two_tries() {
    everywhere(1, |placement, engine| {
        for way in 0..3 {
            let flaky = Flaky::new(&[End::Panics, End::Well]);
            let task = engine.task(flaky.clone()).retries(2).backoff(ms(200), ms(200));
            let task = task.try_submit().unwrap();
            eventually("the try to end", || retried(&engine) == way + 1);
            match way {
                0 => drop(task),
                1 => {
                    task.cancel();
                    assert_eq!(task.join(), Err(TaskError::Cancelled), "{placement}");
                }
                _ => {
                    task.kill();
                    assert_eq!(task.join(), Err(TaskError::Cancelled), "{placement}");
                }
            }
            engine.drained_blocking();
            assert_eq!((flaky.tried(), engine.queued()), (1, 0), "{placement}");
        }
        let flaky = Flaky::new(&[End::Panics, End::Well]);
        let task = engine.task(flaky.clone()).retries(2).backoff(ms(50), ms(50));
        task.try_submit().unwrap().detach();
        eventually("the second try", || flaky.tried() == 2);
        engine.drained_blocking();
        assert_eq!((ended(&engine, Outcome::Ok), ended(&engine, Outcome::Cancelled)), (1, 3));
    });
}

#[test]
fn shutdown_cancels_a_task_that_waits_for_its_next_try() {
    everywhere(1, |placement, engine| {
        let flaky = Flaky::new(&[End::Panics, End::Well]);
        let task = engine.task(flaky.clone()).retries(2).backoff(SOON, SOON);
        let task = task.try_submit().unwrap();
        eventually("the try to end", || retried(&engine) == 1);
        let begun = Instant::now();
        let report = engine.shutdown(ms(50));
        assert!(begun.elapsed() < ms(1000), "{placement}: {:?}", begun.elapsed());
        assert_eq!((report.submitted, report.cancelled), (1, 1), "{placement}");
        assert_eq!(task.join(), Err(TaskError::Cancelled), "{placement}");
        assert_eq!(flaky.tried(), 1, "{placement}");
        engine.drained_blocking();
    });
}

/// A grace is for every task that was accepted: also for one between two tries.
#[test]
fn shutdown_waits_for_the_next_try() {
    everywhere(1, |placement, engine| {
        let flaky = Flaky::new(&[End::Panics, End::Well]);
        let task = engine.task(flaky.clone()).retries(2).backoff(ms(100), ms(100));
        let task = task.try_submit().unwrap();
        eventually("the try to end", || retried(&engine) == 1);
        let report = engine.shutdown(SOON);
        assert_eq!((task.join(), report.cancelled), (Ok(2), 0), "{placement}");
    });
}

#[test]
fn a_dropped_engine_resolves_tasks_that_are_tried_again() {
    for round in 0..40 {
        everywhere(1, |placement, engine| {
            let again = |delay| {
                let task = engine.task(Flaky::new(&[End::Panics])).retries(u32::MAX);
                task.backoff(delay, delay).try_submit().unwrap()
            };
            let tasks = [again(Duration::from_micros(100)), again(Duration::from_micros(300))];
            let until = Instant::now() + Duration::from_micros(round * 137 % 5000);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            drop(engine);
            for task in tasks {
                let outcome = task.join_timeout(SOON).expect("every handle resolves");
                let expected =
                    matches!(outcome, Err(TaskError::Cancelled | TaskError::Panicked { .. }));
                assert!(expected, "{placement}: {outcome:?}");
            }
        });
    }
}

/// A task that is about to be tried again is not gone, and counts once.
#[test]
fn a_retried_task_counts_as_one_that_was_accepted() {
    everywhere(2, |placement, engine| {
        let (least, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let least = least.load(Ordering::Relaxed);
                    let accepted = engine.stats().accepted;
                    assert!(accepted >= least, "{placement}: {accepted} of {least} tasks");
                }
            });
            for count in 1..=3 {
                let task = engine.task(Flaky::new(&[End::Panics])).retries(300).try_submit();
                let task = task.unwrap();
                least.store(count, Ordering::Relaxed);
                assert!(task.join().is_err());
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(engine.stats().accepted, 3, "{placement}");
    });
}
