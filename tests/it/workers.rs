//! What a worker is: its descriptors, signals, group and surroundings, and what it may not do.

use std::collections::HashSet;
use std::fs::File;
use std::time::{Duration, Instant};

use amphi::{Placement, TaskError};
use amphi_tests::eventually;

use crate::jobs::{Describe, Description, Double, Misbehave, Nested, app};

fn describe(engine: &amphi::Engine) -> Description {
    engine.run(Describe).unwrap()
}

#[test]
fn a_worker_has_only_the_descriptors_it_needs() {
    // Some that a child would inherit, opened before and after the engine is started.
    let inherited = |file: File| rustix::io::dup(file).unwrap();
    let before: Vec<_> = (0..50).map(|_| inherited(File::open("/dev/zero").unwrap())).collect();
    let engine = app().engine().place(Placement::Process).cores(1).start().unwrap();
    let after: Vec<_> = (0..50).map(|_| inherited(File::open("/dev/zero").unwrap())).collect();
    let worker = describe(&engine);
    drop((before, after));
    assert_ne!(worker.pid, std::process::id());
    let (standard, own): (Vec<_>, Vec<_>) =
        worker.descriptors.iter().partition(|(number, _)| *number < 3);
    assert_eq!(standard.len(), 3, "{:?}", worker.descriptors);
    assert_eq!(standard[0].1, "/dev/null");
    assert!(standard[2].1.starts_with("pipe:"), "{standard:?}");
    // Its socket, its bell and the host's pidfd.
    let kinds: Vec<&str> = own.iter().map(|(_, target)| target.as_str()).collect();
    assert!(kinds.iter().all(|kind| !kind.contains("/dev/zero")), "{kinds:?}");
    assert_eq!(kinds.len(), 3, "{kinds:?}");
}

#[test]
fn a_worker_leads_its_own_group_with_fresh_signals_and_without_the_marker() {
    let engine = app().engine().place(Placement::Process).cores(1).start().unwrap();
    let mask = |worker: &Description, key: &str| {
        let line = worker.status.iter().find(|line| line.starts_with(key)).unwrap();
        u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap()
    };
    let mut worker = describe(&engine);
    assert_eq!(worker.process_group, i32::try_from(worker.pid).unwrap());
    // The C library blocks all signals while it starts a thread, as the first one does just then.
    eventually("no signal is blocked", || {
        worker = describe(&engine);
        mask(&worker, "SigBlk") == 0
    });
    // SIGPIPE, as in every Rust program, and what a terminal would send.
    let pipe = 1 << (13 - 1);
    assert_eq!(mask(&worker, "SigIgn") & pipe, pipe, "{:?}", worker.status);
    assert!(worker.environment.iter().all(|(key, _)| key != "AMPHI_FORKSERVER"));
}

#[test]
fn workers_have_hash_keys_of_their_own() {
    let engine = app().engine().place(Placement::Process).cores(2).start().unwrap();
    let mut seen = HashSet::new();
    eventually("two workers", || {
        let tasks: Vec<_> = (0..4).map(|_| engine.try_submit(Describe).unwrap()).collect();
        for task in tasks {
            let worker = task.join().unwrap();
            seen.insert((worker.pid, worker.hash));
        }
        seen.iter().map(|(pid, _)| pid).collect::<HashSet<_>>().len() == 2
    });
    let hashes: HashSet<u64> = seen.iter().map(|(_, hash)| *hash).collect();
    assert!(hashes.len() > 1, "{seen:?}");
}

#[test]
fn workers_come_when_they_are_needed() {
    let engine = app().engine().place(Placement::Auto).start().unwrap();
    assert_eq!(engine.task(Double(1)).place(Placement::Thread).run(), Ok(2));
    assert_eq!(engine.spawn(|_| 3).join(), Ok(3));
    assert_eq!(engine.worker_pids().len(), 0, "nothing could go to a process yet");
    assert_eq!(engine.task(Double(1)).place(Placement::Process).run(), Ok(2));
    assert_eq!(engine.worker_pids().len(), 1);
    // A threads-only engine never has one.
    let engine = app().engine().place(Placement::Thread).start().unwrap();
    let refused = engine.task(Double(1)).place(Placement::Process).run().unwrap_err();
    assert!(matches!(refused, TaskError::Rejected(amphi::Reason::Unsupported(_))), "{refused}");
}

#[test]
fn an_engine_is_not_started_inside_a_worker() {
    let engine = app().engine().place(Placement::Process).start().unwrap();
    assert_eq!(engine.run(Nested), Ok(true), "is_not_in_host");
}

#[test]
fn a_crash_in_one_engine_leaves_the_other_alone() {
    let start = || app().engine().place(Placement::Process).cores(1).start().unwrap();
    let (left, right) = (start(), start());
    assert_eq!(right.run(Double(1)), Ok(2));
    let workers = right.worker_pids();
    for _ in 0..3 {
        assert!(matches!(left.run(Misbehave::Abort), Err(TaskError::Crashed { .. })));
        assert_eq!(left.run(Double(1)), Ok(2));
        assert_eq!(right.run(Double(2)), Ok(4));
    }
    assert_eq!(right.worker_pids(), workers);
    drop(left);
    assert_eq!(right.run(Double(3)), Ok(6));
}

/// The thread that starts an engine may end: its workers live on.
#[test]
fn an_engine_outlives_the_thread_that_started_it() {
    let start = || app().engine().place(Placement::Process).cores(1).start().unwrap();
    let engine = std::thread::spawn(start).join().unwrap();
    let runner = engine.clone();
    assert_eq!(std::thread::spawn(move || runner.run(Double(1))).join().unwrap(), Ok(2));
    let workers = engine.worker_pids();
    let until = Instant::now() + Duration::from_millis(100);
    while Instant::now() < until {
        assert_eq!(engine.run(Double(2)), Ok(4));
    }
    assert_eq!(engine.worker_pids(), workers);
}
