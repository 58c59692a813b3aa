//! The same promises in every placement.

use std::time::Duration;

use amphi::{Bytes, Engine, Placement, Reason, TaskError};
use amphi_tests::eventually;

use crate::jobs::{Double, Echo, Misbehave, Touch, UntilCancelled, add, app, unregistered};

pub(crate) const EVERYWHERE: [Placement; 3] =
    [Placement::Thread, Placement::Process, Placement::Auto];

pub(crate) fn each(check: impl Fn(&Engine)) {
    for placement in EVERYWHERE {
        eprintln!("placement {placement}");
        check(&app().engine().place(placement).start().unwrap());
    }
}

#[test]
fn a_job_returns_its_output() {
    each(|engine| {
        assert_eq!(engine.run(Double(21)), Ok(42));
        assert_eq!(engine.try_submit(Double(4)).unwrap().join(), Ok(8));
        assert_eq!(engine.submit_blocking(Double(5)).unwrap().join(), Ok(10));
        assert_eq!(engine.call(add, (1, 2)).join(), Ok(3));
        assert_eq!(engine.run_call(add, (3, 4)), Ok(7));
    });
}

#[test]
fn a_job_error_and_a_panic_are_outcomes() {
    each(|engine| {
        let error = engine.run(Misbehave::Fail).unwrap_err();
        assert_eq!(error.to_string(), "on purpose");
        assert!(matches!(error, TaskError::Failed(_)));
        let panic = engine.run(Misbehave::Panic).unwrap_err();
        assert!(matches!(&panic, TaskError::Panicked { message, .. } if message == "on purpose"));
        assert_eq!(engine.run(Double(1)), Ok(2), "the engine goes on");
        assert!(matches!(engine.call(add, (u64::MAX, 1)).join(), Err(TaskError::Failed(_))));
    });
}

#[test]
fn payloads_of_any_size_come_back_whole() {
    each(|engine| {
        for input in [0, 1, 191, 192, 193, 4096, 65_536, 1 << 20, (1 << 20) + 1, 5 << 20] {
            for output in [0, 231, 232, 233, 100_000, 3 << 20] {
                let bytes = Bytes::from(vec![9; input]);
                let first = if input == 0 { 7 } else { 9 };
                let echoed = engine.run(Echo { bytes, output_len: output }).unwrap();
                assert_eq!(echoed.len(), output);
                assert!(echoed.iter().all(|byte| *byte == first), "{input} in, {output} out");
            }
        }
    });
}

#[test]
fn many_tasks_in_flight_all_resolve_to_their_own_outputs() {
    each(|engine| {
        let tasks: Vec<_> = (0..5_000).map(|n| engine.try_submit(Double(n)).unwrap()).collect();
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.join(), Ok(2 * n));
        }
        assert_eq!(engine.queued(), 0);
    });
}

#[test]
fn an_unregistered_job_is_refused_everywhere() {
    each(|engine| {
        let error = engine.call(unregistered, 1).join().unwrap_err();
        assert!(matches!(error, TaskError::Rejected(Reason::NotRegistered(_))), "{error}");
    });
}

#[test]
fn a_running_task_sees_its_cancellation() {
    each(|engine| {
        let task = engine.try_submit(UntilCancelled).unwrap();
        eventually("the job to run", || task.progress().is_some());
        task.cancel();
        assert_eq!(task.join(), Err(TaskError::Cancelled));
    });
}

#[test]
fn join_timeout_gives_the_task_back() {
    each(|engine| {
        let task = engine.try_submit(UntilCancelled).unwrap();
        let task = task.join_timeout(Duration::from_millis(20)).unwrap_err();
        task.cancel();
        assert_eq!(task.join(), Err(TaskError::Cancelled));
    });
}

#[test]
fn a_dropped_handle_cancels_and_a_detached_one_does_not() {
    for placement in EVERYWHERE {
        let engine = &app().engine().place(placement).cores(1).start().unwrap();
        let mark =
            |name: &str| std::env::temp_dir().join(format!("amphi-{name}-{}", std::process::id()));
        let (dropped, detached) = (mark("dropped"), mark("detached"));
        let touch = |path: &std::path::Path| Touch { path: path.to_owned() };
        // Behind a task that holds the only core, so that it cannot have started.
        let running = engine.try_submit(UntilCancelled).unwrap();
        eventually("the job to run", || running.progress().is_some());
        drop(engine.try_submit(touch(&dropped)).unwrap());
        engine.spawn_detached(touch(&detached)).unwrap();
        engine.try_submit(Double(1)).unwrap().detach();
        running.cancel();
        eventually("the detached task to run", || detached.exists());
        assert_eq!(engine.run(Double(2)), Ok(4));
        assert!(!dropped.exists(), "a dropped task ran");
        std::fs::remove_file(detached).unwrap();
    }
}

#[test]
fn a_full_queue_gives_the_job_back() {
    for placement in EVERYWHERE {
        let engine = app().engine().place(placement).cores(1).queue(2).start().unwrap();
        let running = engine.try_submit(UntilCancelled).unwrap();
        eventually("the job to run", || running.progress().is_some());
        let waiting =
            [engine.try_submit(Double(1)).unwrap(), engine.try_submit(Double(2)).unwrap()];
        let rejected = engine.try_submit(Double(3)).unwrap_err();
        assert_eq!((rejected.job.0, &rejected.reason), (3, &Reason::QueueFull));
        let submitter = {
            let engine = engine.clone();
            std::thread::spawn(move || engine.submit_blocking(Double(4)).unwrap().join())
        };
        running.cancel();
        assert_eq!(waiting.map(|task| task.join().unwrap()), [2, 4]);
        assert_eq!(submitter.join().unwrap(), Ok(8));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_futures() {
    for placement in EVERYWHERE {
        let engine = app().engine().place(placement).start().unwrap();
        assert_eq!(engine.submit(Double(3)).await.unwrap().await, Ok(6));
        let tasks: Vec<_> = (0..500).map(|n| engine.try_submit(Double(n)).unwrap()).collect();
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.await, Ok(2 * n));
        }
    }
}

#[test]
fn closures_and_scopes_borrow_on_threads() {
    let engine = app().engine().start().unwrap();
    assert_eq!(engine.spawn(|cx| cx.placement()).join(), Ok(Placement::Thread));
    let data = [1_u64, 2, 3, 4];
    let sum = engine.scope(|s| {
        let halves = data.split_at(2);
        let left = s.spawn(move || halves.0.iter().sum::<u64>());
        let right = s.spawn(move || halves.1.iter().sum::<u64>());
        left.join().unwrap() + right.join().unwrap()
    });
    assert_eq!(sum, 10);
}

#[test]
fn two_engines_live_side_by_side() {
    let engines = [app().engine().start().unwrap(), app().engine().start().unwrap()];
    for engine in &engines {
        assert_eq!(engine.task(Double(2)).place(Placement::Process).run(), Ok(4));
        assert_eq!(engine.run(Double(3)), Ok(6));
    }
}
