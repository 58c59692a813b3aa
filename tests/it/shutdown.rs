//! The end of an engine: every handle resolves, and no process stays.

use std::time::{Duration, Instant};

use amphi::{Placement, Reason, TaskError};
use amphi_tests::eventually;
use rustix::process::{Pid, test_kill_process};

use crate::jobs::{Double, Misbehave, UntilCancelled, app};

#[test]
fn shutdown_lets_tasks_end() {
    for placement in [Placement::Thread, Placement::Process] {
        let engine = app().engine().place(placement).start().unwrap();
        let tasks: Vec<_> = (0..1000).map(|n| engine.try_submit(Double(n)).unwrap()).collect();
        let report = engine.shutdown(Duration::from_secs(10));
        assert_eq!((report.submitted, report.cancelled), (1000, 0), "{placement}");
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.join(), Ok(2 * n));
        }
        let rejected = engine.try_submit(Double(1)).unwrap_err();
        assert_eq!(rejected.reason, Reason::ShuttingDown);
    }
}

#[test]
fn shutdown_cancels_what_outlasts_its_grace() {
    for placement in [Placement::Thread, Placement::Process, Placement::Auto] {
        let engine = app().engine().place(placement).cores(1).start().unwrap();
        let hung = engine.try_submit(UntilCancelled).unwrap();
        eventually("the job to run", || hung.progress().is_some());
        let waiting = engine.try_submit(Double(1)).unwrap();
        let begun = Instant::now();
        let report = engine.shutdown(Duration::from_millis(100));
        let took = begun.elapsed();
        assert!((Duration::from_millis(100)..Duration::from_secs(1)).contains(&took), "{took:?}");
        assert_eq!((report.submitted, report.cancelled), (2, 2), "{placement}");
        assert_eq!(hung.join(), Err(TaskError::Cancelled));
        assert_eq!(waiting.join(), Err(TaskError::Cancelled));
        let again = engine.shutdown(Duration::from_secs(10));
        assert_eq!(again.cancelled, 0, "nothing is left to do");
    }
}

/// Whatever a submission meets of an engine that ends, it is told.
#[test]
fn a_submission_beside_a_shutdown_is_resolved() {
    for round in 0..60 {
        let placement = [Placement::Thread, Placement::Process][round % 2];
        let engine = app().engine().place(placement).cores(2).start().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for n in 0.. {
                        let Ok(task) = engine.try_submit(Double(n)) else { return };
                        let outcome = task.join_timeout(Duration::from_secs(5));
                        match outcome.expect("every handle resolves") {
                            Ok(output) => assert_eq!(output, 2 * n),
                            Err(TaskError::Cancelled | TaskError::Rejected(_)) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
            }
            for _ in 0..round * 500 {
                std::hint::spin_loop();
            }
            engine.shutdown(Duration::from_millis(round as u64 % 3));
        });
    }
}

#[test]
fn a_dropped_engine_resolves_every_handle() {
    for placement in [Placement::Thread, Placement::Process, Placement::Auto] {
        let engine = app().engine().place(placement).cores(1).start().unwrap();
        let running = engine.try_submit(UntilCancelled).unwrap();
        eventually("the job to run", || running.progress().is_some());
        let waiting: Vec<_> = (0..10).map(|n| engine.try_submit(Double(n)).unwrap()).collect();
        let begun = Instant::now();
        drop(engine);
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!(running.join(), Err(TaskError::Cancelled));
        for task in waiting {
            assert_eq!(task.join(), Err(TaskError::Cancelled));
        }
    }
}

#[test]
fn a_thread_that_hangs_holds_up_nobody() {
    // Its core is its own: the thread keeps it for ever.
    let engine = app().engine().place(Placement::Thread).cores(1).start().unwrap();
    let task = engine.try_submit(Misbehave::Hang).unwrap();
    eventually("the job to run", || task.placement().is_some());
    let begun = Instant::now();
    drop(engine);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(task.join(), Err(TaskError::Cancelled));
}

#[test]
fn no_worker_outlives_its_engine() {
    let engine = app().engine().place(Placement::Process).start().unwrap();
    assert_eq!(engine.run(Double(1)), Ok(2));
    let pids = engine.worker_pids();
    assert!(!pids.is_empty());
    drop(engine);
    eventually("the workers to be gone", || {
        pids.iter().all(|pid| {
            test_kill_process(Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap()).is_err()
        })
    });
}
