//! Real faults in real workers: each is a typed outcome, and everything else goes on.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use amphi::{Engine, Limits, Placement, Reason, TaskError};
use amphi_tests::eventually;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::jobs::{Double, Misbehave, UntilCancelled, app};

fn processes() -> Engine {
    app().engine().place(Placement::Process).cores(2).start().unwrap()
}

fn pid(raw: u32) -> Pid {
    Pid::from_raw(i32::try_from(raw).unwrap()).unwrap()
}

/// The fault's outcome: within a second, beside a neighbour that runs on, and with the seat filled
/// by another worker afterwards.
fn outcome(engine: &Engine, fault: Misbehave) -> TaskError<amphi::Error> {
    // One worker is busy with the neighbour for the whole time, so the other one has the fault.
    let neighbour = engine.try_submit(UntilCancelled).unwrap();
    eventually("the neighbour to run", || neighbour.progress().is_some());
    assert_eq!(engine.run(Double(1)), Ok(2));
    eventually("both workers", || engine.worker_pids().len() == 2);
    let before: HashSet<u32> = engine.worker_pids().into_iter().collect();

    let begun = Instant::now();
    let task = engine.try_submit(fault).unwrap();
    let told = task.join_timeout(Duration::from_secs(if fault.works_first() { 5 } else { 1 }));
    let error = told.unwrap_or_else(|_| panic!("{fault:?}: no outcome in time")).unwrap_err();
    eprintln!("{fault:?}: told after {:?}", begun.elapsed());

    let filled = || {
        let now: HashSet<u32> = engine.worker_pids().into_iter().collect();
        now.len() == 2 && now != before
    };
    eventually("the seat to be filled", filled);
    let now: HashSet<u32> = engine.worker_pids().into_iter().collect();
    assert_eq!(before.intersection(&now).count(), 1, "the neighbour's worker is the same");
    let seen = neighbour.progress();
    eventually("the neighbour to go on", || neighbour.progress() != seen);
    neighbour.cancel();
    assert_eq!(neighbour.join(), Err(TaskError::Cancelled));
    assert_eq!(engine.run(Double(2)), Ok(4));
    error
}

impl Misbehave {
    /// It does a lot before the event whose outcome is to be told within a second.
    fn works_first(self) -> bool {
        matches!(self, Self::FillMemory | Self::OverflowStack)
    }
}

#[test]
fn an_abort_is_a_crash_by_sigabrt() {
    let error = outcome(&processes(), Misbehave::Abort);
    assert!(matches!(error, TaskError::Crashed { signal: Some(6), oom: false, .. }), "{error:?}");
    assert!(error.is_retryable());
}

#[test]
fn a_stack_overflow_is_a_crash_by_sigsegv() {
    let error = outcome(&processes(), Misbehave::OverflowStack);
    assert!(matches!(error, TaskError::Crashed { signal: Some(11), .. }), "{error:?}");
}

#[test]
fn an_exit_is_a_crash_with_its_code() {
    let error = outcome(&processes(), Misbehave::Exit);
    assert!(matches!(error, TaskError::Crashed { exit_code: Some(3), .. }), "{error:?}");
}

#[test]
fn an_exit_in_the_middle_of_a_task_is_a_crash_whatever_its_code() {
    let error = outcome(&processes(), Misbehave::ExitZero);
    assert!(matches!(error, TaskError::Crashed { exit_code: Some(0), .. }), "{error:?}");
}

#[test]
fn a_segmentation_fault_is_a_crash_by_sigsegv() {
    let error = outcome(&processes(), Misbehave::Segfault);
    assert!(matches!(error, TaskError::Crashed { signal: Some(11), .. }), "{error:?}");
    assert!(error.to_string().contains("SIGSEGV"), "{error}");
}

#[test]
fn a_worker_killed_from_outside_is_a_crash_by_sigkill_and_no_lack_of_memory() {
    let engine = processes();
    let task = engine.try_submit(UntilCancelled).unwrap();
    eventually("the job to run", || task.progress().is_some());
    let begun = Instant::now();
    for worker in engine.worker_pids() {
        let _ = kill_process(pid(worker), Signal::KILL);
    }
    let outcome = task.join_timeout(Duration::from_secs(1)).expect("an outcome in time");
    assert!(begun.elapsed() < Duration::from_secs(1));
    let error = outcome.unwrap_err();
    assert!(matches!(error, TaskError::Crashed { signal: Some(9), oom: false, .. }), "{error:?}");
    assert_eq!(engine.run(Double(2)), Ok(4));
}

#[test]
fn filled_memory_is_a_crash_that_says_so() {
    let limits = Limits::new().memory(64 << 20);
    let engine = app().engine().place(Placement::Process).cores(2).limits(limits).start().unwrap();
    let error = outcome(&engine, Misbehave::FillMemory);
    assert!(matches!(error, TaskError::Crashed { oom: true, .. }), "{error:?}");
}

#[test]
fn kill_after_ends_a_job_that_hangs() {
    let engine = processes();
    let task = engine.task(Misbehave::Hang).kill_after(Duration::from_millis(50));
    let error = task.run().unwrap_err();
    assert!(matches!(error, TaskError::TimedOut { killed: true, .. }), "{error:?}");
    assert_eq!(engine.run(Double(2)), Ok(4));
}

#[test]
fn kill_after_on_a_thread_is_refused() {
    let engine = processes();
    let task = engine.task(Double(1)).place(Placement::Thread).kill_after(Duration::from_secs(1));
    let rejected = task.try_submit().unwrap_err();
    assert!(matches!(rejected.reason, Reason::Contradiction(_)));
}

#[test]
fn kill_ends_a_running_task_and_no_other() {
    let engine = processes();
    let task = engine.try_submit(UntilCancelled).unwrap();
    eventually("the job to run", || task.progress().is_some());
    let others: Vec<_> = (0..50).map(|n| engine.try_submit(Double(n)).unwrap()).collect();
    let begun = Instant::now();
    assert!(task.kill());
    assert_eq!(task.join(), Err(TaskError::Cancelled));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    for (n, task) in (0..).zip(others) {
        assert_eq!(task.join(), Ok(2 * n));
    }
}

#[test]
fn killing_a_task_that_has_not_started_hits_nobody() {
    let engine = app().engine().place(Placement::Process).cores(1).start().unwrap();
    let running = engine.try_submit(UntilCancelled).unwrap();
    eventually("the job to run", || running.progress().is_some());
    let waiting: Vec<_> = (0..20).map(|n| engine.try_submit(Double(n)).unwrap()).collect();
    for task in &waiting {
        assert!(task.kill());
    }
    for task in waiting {
        assert_eq!(task.join(), Err(TaskError::Cancelled));
    }
    let seen = running.progress();
    eventually("the running task to go on", || running.progress() != seen);
    running.cancel();
    assert_eq!(running.join(), Err(TaskError::Cancelled));
}

#[test]
fn a_stopped_worker_falls_to_kill_after() {
    let engine = processes();
    assert_eq!(engine.run(Double(1)), Ok(2));
    assert!(!engine.worker_pids().is_empty());
    for worker in engine.worker_pids() {
        kill_process(pid(worker), Signal::STOP).unwrap();
        eventually("the worker to stop", || {
            let stat = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap();
            stat.contains(") T ")
        });
    }
    let begun = Instant::now();
    let task = engine.task(Double(2)).kill_after(Duration::from_millis(100));
    assert!(matches!(task.run(), Err(TaskError::TimedOut { .. })));
    assert_eq!(engine.task(Double(3)).kill_after(Duration::from_secs(5)).run(), Ok(6));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a_worker_that_scribbles_over_its_lane_is_killed_and_told() {
    let engine = processes();
    let neighbour = engine.try_submit(UntilCancelled).unwrap();
    eventually("the neighbour to run", || neighbour.progress().is_some());
    let task = engine.try_submit(Misbehave::Scribble).unwrap();
    eventually("the lane to be scribbled over", || task.progress().is_some());
    // The host looks at the lane when it has something to do there: this task goes through.
    assert_eq!(engine.run(Double(2)), Ok(4));
    let outcome = task.join_timeout(Duration::from_secs(1)).expect("an outcome in time");
    let error = outcome.unwrap_err();
    assert!(matches!(error, TaskError::Lost { .. }), "{error:?}");
    assert!(error.to_string().contains("protocol"), "{error}");
    let seen = neighbour.progress();
    eventually("the neighbour to go on", || neighbour.progress() != seen);
    neighbour.cancel();
    assert_eq!(neighbour.join(), Err(TaskError::Cancelled));
}

#[test]
fn a_worker_cannot_write_what_it_may_only_read() {
    let engine = processes();
    assert_eq!(engine.run(Misbehave::ScribbleOnRequests), Ok(0));
    assert_eq!(engine.run(Double(1)), Ok(2));
}

#[test]
fn the_latest_progress_is_told_however_often_a_job_tells_it() {
    for placement in [Placement::Thread, Placement::Process] {
        let engine = processes();
        let task = engine.task(Misbehave::Chatter).place(placement).try_submit().unwrap();
        eventually("the last progress", || {
            task.progress().is_some_and(|progress| progress.done == 10_000)
        });
        task.cancel();
        assert_eq!(task.join(), Err(TaskError::Cancelled));
    }
}

#[test]
fn what_a_job_leaves_behind_dies_with_its_worker() {
    let engine = processes();
    assert_eq!(engine.run(Misbehave::LeaveThread), Ok(0));
    let child = pid(engine.run(Misbehave::LeaveChild).unwrap());
    test_kill_process(child).unwrap();
    assert!(matches!(engine.run(Misbehave::Abort), Err(TaskError::Crashed { .. })));
    let gone = || {
        // A killed orphan is reaped by whoever adopted it; until then it is a zombie.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero()));
        stat.map_or(true, |stat| stat.contains(") Z "))
    };
    eventually("the child to be gone", gone);
}

#[test]
fn random_kills_lose_no_task_and_leave_no_process() {
    let engine = processes();
    assert_eq!(engine.run(Double(1)), Ok(2));
    let mut seen = HashSet::new();
    let (mut done, mut crashed) = (0, 0);
    for round in 0..20 {
        let tasks: Vec<_> = (0..500).map(|n| engine.try_submit(Double(n)).unwrap()).collect();
        for worker in engine.worker_pids() {
            seen.insert(worker);
            if round % 2 == 0 {
                // It may have died by itself of the last round's kill.
                let _ = kill_process(pid(worker), Signal::KILL);
            }
        }
        for (n, task) in (0..).zip(tasks) {
            match task.join() {
                Ok(output) => {
                    assert_eq!(output, 2 * n);
                    done += 1;
                }
                Err(TaskError::Crashed { signal: Some(9), .. }) => crashed += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert_eq!(done + crashed, 20 * 500);
    assert!(crashed <= 20, "only running tasks are lost: {crashed}");
    assert!(seen.len() > 2, "workers were replaced");
    drop(engine);
    eventually("every worker to be gone", || {
        seen.iter().all(|worker| test_kill_process(pid(*worker)).is_err())
    });
}
