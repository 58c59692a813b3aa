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
fn a_dropped_engine_resolves_every_handle() {
    for placement in [Placement::Thread, Placement::Process] {
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
    let engine = app().engine().place(Placement::Thread).start().unwrap();
    let task = engine.try_submit(Misbehave::Hang).unwrap();
    eventually("the job to run", || task.placement().is_some());
    drop(engine);
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
