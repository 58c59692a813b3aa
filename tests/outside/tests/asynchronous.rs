//! `#[tokio::test]`s: handles awaited, raced, dropped and collected on tokio's runtimes.

#![forbid(unsafe_code)]

use std::time::Duration;

use amphi::{Engine, Placement, Reason, Task, TaskError};
use outside::{Count, Divide, Misbehave, app, checksum};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

amphi::app!(outside::app);

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(30);

fn start(place: Placement) -> Engine {
    app().engine().place(place).start().unwrap()
}

fn is_handle<T: Future + Unpin + Send + 'static>(handle: T) -> T {
    handle
}

#[tokio::test]
async fn a_task_is_awaited_on_one_thread() {
    for place in [Placement::Thread, Placement::Process, Placement::Auto] {
        let engine = start(place);
        let task = is_handle(engine.call(checksum, "ab".to_string()));
        assert_eq!(timeout(PATIENCE, task).await.unwrap(), Ok(195), "{place}");
        let failed = engine.call(checksum, String::new());
        let outcome = timeout(PATIENCE, failed).await.unwrap();
        assert!(matches!(outcome, Err(TaskError::Failed(_))), "{place}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_are_collected_on_several_threads() {
    let engine = start(Placement::Process);
    let mut set = JoinSet::new();
    for letter in 1..=100_u8 {
        set.spawn(engine.call(checksum, char::from(letter).to_string()));
    }
    let outcomes = timeout(PATIENCE, set.join_all()).await.unwrap();
    assert_eq!(outcomes.into_iter().map(Result::unwrap).sum::<u64>(), 5050);
}

#[tokio::test]
async fn the_runtime_is_free_while_a_job_hangs() {
    let engine = start(Placement::Auto);
    let mut hung: Task<(), amphi::Error> = engine.try_submit(Misbehave::Hang).unwrap();
    tokio::select! {
        outcome = &mut hung => panic!("a hang ended: {outcome:?}"),
        sum = engine.call(checksum, "ab".to_string()) => assert_eq!(sum, Ok(195)),
    }
    assert!(hung.kill());
    assert_eq!(timeout(PATIENCE, hung).await.unwrap(), Err(TaskError::Cancelled));
}

#[tokio::test]
async fn a_handle_that_is_dropped_frees_its_core() {
    let engine = app().engine().cores(1).start().unwrap();
    for place in [Placement::Thread, Placement::Process] {
        let endless = engine.task(Count).place(place).try_submit().unwrap();
        timeout(Duration::from_millis(20), endless).await.expect_err("it counts for ever");
        // The one core is free again: this could not run otherwise.
        let quotient = engine.task(Divide { dividend: 8, divisor: 2 }).place(place);
        let quotient = timeout(PATIENCE, quotient.submit().await.unwrap()).await.unwrap();
        assert_eq!(quotient, Ok(4), "{place}");
    }
}

#[tokio::test]
async fn submit_waits_for_room() {
    let engine = app().engine().cores(1).place(Placement::Thread).queue(1).start().unwrap();
    let (started, is_started) = oneshot::channel();
    let (open, gate) = oneshot::channel::<()>();
    let blocker = engine.spawn(move |_cx| {
        started.send(()).unwrap();
        let _ = gate.blocking_recv();
    });
    timeout(PATIENCE, is_started).await.unwrap().unwrap();
    let first = engine.submit(Divide { dividend: 1, divisor: 1 }).await.unwrap();
    assert_eq!(engine.queued(), 1);
    let rejected = engine.try_submit(Divide { dividend: 2, divisor: 1 }).unwrap_err();
    assert_eq!(rejected.reason, Reason::QueueFull);

    let patient = tokio::spawn({
        let engine = engine.clone();
        async move { engine.submit(rejected.job).await.unwrap().await }
    });
    tokio::task::yield_now().await;
    assert!(!patient.is_finished());
    drop(open);
    assert_eq!(timeout(PATIENCE, patient).await.unwrap().unwrap(), Ok(2));
    assert_eq!((first.await, blocker.await), (Ok(1), Ok(())));
}
