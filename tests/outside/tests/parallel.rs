//! Eight `#[test]`s of one binary, run in parallel by libtest: some share an engine, some start
//! their own.

#![forbid(unsafe_code)]

use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use amphi::{Bytes, Engine, Placement, Reason, Task, TaskError};
use outside::{Count, Divide, Misbehave, Thumb, Weigh, app, checksum, process_id};

amphi::app!(outside::app);

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(30);

const PLACES: [Placement; 3] = [Placement::Thread, Placement::Process, Placement::Auto];

/// The engine that several tests share; like any static it is never dropped.
fn shared() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| app().engine().start().unwrap())
}

fn wait<T: 'static, E: 'static>(task: Task<T, E>) -> Result<T, TaskError<E>> {
    task.join_timeout(PATIENCE).expect("an outcome in time")
}

/// Looks until `condition` holds.
fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited too long: {what}");
        std::thread::yield_now();
    }
}

fn picture(len: usize) -> Bytes {
    (0..len).map(|index| index as u8).collect::<Vec<_>>().into()
}

#[test]
fn a_job_gives_the_same_in_every_place() {
    for place in PLACES {
        for len in [0, 1, 200, 64 << 10, 3 << 20] {
            let job = Thumb { src: picture(len), width: len };
            let thumb = wait(shared().task(job.clone()).place(place).try_submit().unwrap());
            let wanted: Vec<u8> = job.src.iter().map(|byte| byte.wrapping_add(1)).collect();
            assert!(thumb.unwrap() == wanted, "{place}, {len} bytes");
        }
        let job = Thumb { src: picture(1), width: 2 };
        match wait(shared().task(job).place(place).try_submit().unwrap()) {
            Err(TaskError::Failed(error)) => assert!(error.to_string().contains("narrower")),
            other => panic!("{place}: {other:?}"),
        }
    }
}

#[test]
fn a_process_is_another_process() {
    let engine = app().engine().cores(2).place(Placement::Process).queue(1000).start().unwrap();
    let worker = wait(engine.call(process_id, ())).unwrap();
    assert_ne!(worker, std::process::id());
    assert!(engine.worker_pids().contains(&worker));
    let text = "weigh me".to_string();
    let here = shared().task(Weigh { text: text.clone() }).place(Placement::Thread).run().unwrap();
    let there = engine.run(Weigh { text }).unwrap();
    assert_eq!(here, there, "host and worker made the same model");
}

#[test]
fn a_full_queue_gives_the_job_back() {
    let engine = app().engine().cores(1).place(Placement::Thread).queue(1).start().unwrap();
    let (started, is_started) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let blocker = engine.spawn(move |_cx| {
        started.send(()).unwrap();
        let _ = gate.recv();
    });
    is_started.recv_timeout(PATIENCE).unwrap();

    let waiting = engine.try_submit(Divide { dividend: 6, divisor: 3 }).unwrap();
    let second = Divide { dividend: 9, divisor: 3 };
    let rejected = engine.try_submit(second.clone()).unwrap_err();
    assert_eq!(rejected.job, second);
    assert_eq!(rejected.reason, Reason::QueueFull);
    assert!(rejected.reason.is_retryable());
    let call = engine.call(checksum, "late".to_string());
    assert_eq!(wait(call), Err(TaskError::Rejected(Reason::QueueFull)));

    let patient = std::thread::spawn({
        let engine = engine.clone();
        move || wait(engine.submit_blocking(rejected.job).unwrap())
    });
    drop(open);
    assert_eq!(wait(blocker), Ok(()));
    assert_eq!(wait(waiting), Ok(2));
    assert_eq!(patient.join().unwrap(), Ok(3));
}

#[test]
fn a_crash_is_one_outcome_and_the_host_lives() {
    let engine = shared();
    match wait(engine.try_submit(Misbehave::Abort).unwrap()) {
        Err(error @ TaskError::Crashed { signal: Some(6), .. }) => assert!(error.is_retryable()),
        other => panic!("{other:?}"),
    }
    match wait(engine.try_submit(Misbehave::Exit(7)).unwrap()) {
        Err(TaskError::Crashed { signal: None, exit_code: Some(7), .. }) => {}
        other => panic!("{other:?}"),
    }
    match wait(engine.try_submit(Misbehave::Panic).unwrap()) {
        Err(TaskError::Panicked { message, .. }) => assert_eq!(message, "out of cheese"),
        other => panic!("{other:?}"),
    }
    match engine.task(Misbehave::Abort).place(Placement::Thread).try_submit() {
        Err(rejected) => assert!(matches!(rejected.reason, Reason::Contradiction(_))),
        Ok(_) => panic!("an isolated job was taken by a thread"),
    }
    assert_eq!(wait(engine.call(checksum, "ab".to_string())), Ok(195));
}

#[test]
fn a_hang_ends_at_kill_after() {
    let start = Instant::now();
    match shared().task(Misbehave::Hang).kill_after(Duration::from_millis(100)).run() {
        Err(error @ TaskError::TimedOut { killed: true, .. }) => assert!(error.is_retryable()),
        other => panic!("{other:?}"),
    }
    assert!(start.elapsed() < PATIENCE);

    let hung = shared().try_submit(Misbehave::Hang).unwrap();
    until("the hang has its place", || hung.placement() == Some(Placement::Process));
    assert!(hung.kill());
    assert_eq!(wait(hung), Err(TaskError::Cancelled));
}

#[test]
fn a_handle_tells_progress_and_cancels() {
    for place in PLACES {
        let task = shared().task(Count).place(place).try_submit().unwrap();
        until("some progress", || task.progress().is_some_and(|progress| progress.done > 10));
        let task = task.join_timeout(Duration::ZERO).expect_err("it counts for ever");
        assert!(!task.is_finished(), "{}", task.explain());
        task.cancel();
        assert_eq!(wait(task), Err(TaskError::Cancelled), "{place}");
    }
    shared().spawn_detached(Divide { dividend: 1, divisor: 1 }).unwrap();
    shared().call(checksum, "unheard".to_string()).detach();
}

#[test]
fn closures_stay_on_threads_and_may_borrow() {
    let engine = shared();
    let host = std::process::id();
    let task = engine.spawn(move |cx| (cx.placement(), std::process::id() == host));
    assert_eq!(wait(task), Ok((Placement::Thread, true)));

    let data: Vec<u64> = (1..=100).collect();
    let (left, right) = data.split_at(50);
    let sum = engine.scope(|s| {
        let left = s.spawn(|| left.iter().sum::<u64>());
        let right = s.spawn(|| right.iter().sum::<u64>());
        left.join().unwrap() + right.join().unwrap()
    });
    assert_eq!(sum, 5050);

    let panicked = engine.spawn(|_cx| -> u8 { panic!("in a closure") });
    assert!(matches!(wait(panicked), Err(TaskError::Panicked { .. })));
}

#[test]
fn a_shutdown_lets_tasks_end_and_takes_no_more() {
    for place in PLACES {
        let engine = app().engine().place(place).start().unwrap();
        let tasks: Vec<_> = (1..=100_u8)
            .map(|letter| engine.call(checksum, char::from(letter).to_string()))
            .collect();
        let other = engine.clone();
        let report = engine.shutdown(PATIENCE);
        assert_eq!((report.submitted, report.cancelled), (100, 0), "{place}");
        let sum: u64 = tasks.into_iter().map(|task| wait(task).unwrap()).sum();
        assert_eq!(sum, 5050);
        let rejected = other.try_submit(Divide { dividend: 1, divisor: 1 }).unwrap_err();
        assert_eq!(rejected.reason, Reason::ShuttingDown);
    }
}
