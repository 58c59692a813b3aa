//! Inputs and outputs that are too large, cannot be coded, or go nowhere.

use std::time::Duration;

use amphi::{Bytes, Engine, Placement, Reason, TaskError};
use amphi_tests::eventually;

use crate::jobs::{Double, Echo, How, Odd, Oddity, UntilCancelled, app};

fn echo(input: usize, output_len: usize) -> Echo {
    Echo { bytes: Bytes::from(vec![9; input]), output_len }
}

#[test]
fn a_payload_above_the_limit_is_rejected_with_its_size_and_the_limit() {
    let engine =
        app().engine().place(Placement::Process).payload_bytes_max(1 << 20).start().unwrap();
    for job in [echo(2 << 20, 0), echo(0, 2 << 20)] {
        let error = engine.run(job).unwrap_err();
        let TaskError::Rejected(Reason::TooLarge { bytes, max }) = error else {
            panic!("{error:?}")
        };
        assert!((2 << 20..3 << 20).contains(&bytes), "{bytes}");
        assert_eq!(max, 1 << 20);
    }
    assert_eq!(engine.run(echo(1000, 1 << 20)).unwrap().len(), 1 << 20, "the limit itself goes");
}

#[test]
fn what_cannot_be_coded_is_an_outcome_and_the_worker_goes_on() {
    let engine = app().engine().place(Placement::Process).cores(1).start().unwrap();
    assert_eq!(engine.run(Double(1)), Ok(2));
    let workers = engine.worker_pids();
    let well = (How::Well, How::Well);
    let good = || Oddity { encode: How::Well, decode: How::Well };
    let run = |input: Oddity, output, error| engine.run(Odd { input, output, error });

    assert_eq!(run(good(), Some(well), well), Ok(good()));
    assert_eq!(run(good(), None, well), Err(TaskError::Failed(good())));
    for bad in [How::Fails, How::Panics] {
        let input = Oddity { encode: bad, decode: How::Well };
        let error = run(input, Some(well), well).unwrap_err();
        match bad {
            How::Panics => assert!(matches!(error, TaskError::Panicked { .. }), "{error:?}"),
            _ => assert!(matches!(error, TaskError::Codec { .. }), "{error:?}"),
        }
        // The worker cannot decode the input.
        let input = Oddity { encode: How::Well, decode: bad };
        let error = run(input, Some(well), well).unwrap_err();
        match bad {
            How::Panics => assert!(matches!(error, TaskError::Panicked { .. }), "{error:?}"),
            _ => assert!(matches!(error, TaskError::Codec { .. }), "{error:?}"),
        }
    }
    for bad in [(How::Fails, How::Well), (How::Well, How::Fails), (How::LeavesBytes, How::Well)] {
        let error = run(good(), Some(bad), well).unwrap_err();
        assert!(matches!(error, TaskError::Codec { .. }), "output {bad:?}: {error:?}");
        let error = run(good(), None, bad).unwrap_err();
        assert!(matches!(error, TaskError::Codec { .. }), "error {bad:?}: {error:?}");
    }
    // Encoding panics in the worker, decoding in the caller.
    let error = run(good(), Some((How::Panics, How::Well)), well).unwrap_err();
    assert!(matches!(error, TaskError::Panicked { .. }), "{error:?}");
    let error = run(good(), Some((How::Well, How::Panics)), well).unwrap_err();
    assert!(matches!(error, TaskError::Codec { .. }), "{error:?}");
    assert_eq!(engine.worker_pids(), workers, "the worker was never replaced");
}

impl std::fmt::Display for Oddity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Several threads harvest one lane's large replies: whoever does, they are whole.
#[test]
fn large_outputs_are_whole_whoever_takes_them() {
    let engine = app().engine().place(Placement::Process).cores(2).start().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for round in 0..40 {
                    let len = (2 << 20) + round;
                    let tasks: Vec<_> =
                        (0..4).map(|_| engine.try_submit(echo(10, len)).unwrap()).collect();
                    for task in tasks {
                        assert_eq!(task.join().unwrap().len(), len);
                        assert_eq!(engine.run(Double(4)), Ok(8));
                    }
                }
            });
        }
    });
}

fn descriptors_of(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// The only worker of an engine, while its only task runs.
fn busy(engine: &Engine) -> (amphi::Task<(), amphi::Error>, u32) {
    let running = engine.try_submit(UntilCancelled).unwrap();
    eventually("the job to run", || running.progress().is_some());
    let [worker] = engine.worker_pids()[..] else { panic!("one worker") };
    (running, worker)
}

#[test]
fn large_inputs_that_were_taken_back_leave_no_descriptor_behind() {
    let engine = app().engine().place(Placement::Process).cores(1).start().unwrap();
    assert_eq!(engine.run(echo(2 << 20, 1)).unwrap().len(), 1);
    let (running, worker) = busy(&engine);
    running.cancel();
    let _ = running.join();
    let before = descriptors_of(worker);
    for _ in 0..200 {
        // Cancelled before, while or after the worker sees it.
        drop(engine.try_submit(echo(2 << 20, 1)).unwrap());
    }
    assert_eq!(engine.run(Double(1)), Ok(2));
    eventually("the worker's descriptors to be closed", || descriptors_of(worker) <= before);
    assert_eq!(engine.worker_pids(), [worker]);
}

/// A task is cancelled while its input is copied, published, taken back: it never runs on.
#[test]
fn a_cancel_is_seen_at_every_moment_of_a_task() {
    let engine = app().engine().place(Placement::Process).cores(2).start().unwrap();
    for round in 0..300_u32 {
        let task = engine.try_submit(UntilCancelled).unwrap();
        for _ in 0..round * 20 {
            std::hint::spin_loop();
        }
        task.cancel();
        let outcome = task.join_timeout(Duration::from_secs(5)).expect("it was told to stop");
        assert_eq!(outcome, Err(TaskError::Cancelled));
    }
}
