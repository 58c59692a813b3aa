//! Streams of tasks: bounded, in order or as they end, blocking or not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use amphi::{Ctx, Engine, Error, Job, Placement, Reason, TaskError};
use amphi_tests::eventually;
use serde::{Deserialize, Serialize};

use crate::jobs::{Double, How, Misbehave, Odd, Oddity, Touch, UntilCancelled, app};

const EVERYWHERE: [Placement; 3] = [Placement::Thread, Placement::Process, Placement::Auto];
const SOON: Duration = Duration::from_secs(10);

fn each(check: impl Fn(&Engine)) {
    for placement in EVERYWHERE {
        for cores in [1, 2] {
            eprintln!("placement {placement}, {cores} cores");
            check(&app().engine().place(placement).cores(cores).start().unwrap());
        }
    }
}

fn doubles(count: u64) -> impl Iterator<Item = (u64, Double)> {
    (0..count).map(|n| (n, Double(n)))
}

fn right<E>((n, outcome): (u64, Result<u64, E>)) -> u64 {
    assert_eq!(outcome.ok(), Some(2 * n), "the outcome of another input");
    n
}

/// Runs a future without any runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Asks once, and is not told again.
fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// An engine of one core, which a task holds, and whose queue of one is full.
fn filled(placement: Placement) -> (Engine, amphi::Task<(), Error>, amphi::Task<u64, Error>) {
    let engine = app().engine().place(placement).cores(1).queue(1).start().unwrap();
    let running = engine.try_submit(UntilCancelled).unwrap();
    // Whoever sent it to a worker counts it off the queue a moment after.
    eventually("the job to run", || running.progress().is_some() && engine.queued() == 0);
    let filler = engine.try_submit(Double(0)).unwrap();
    (engine, running, filler)
}

#[test]
fn ordered_outcomes_come_in_the_order_of_the_inputs() {
    each(|engine| {
        for window in [0, 1, 7, 5000] {
            let keys = engine.stream(doubles(1000)).window(window).ordered().map(right);
            assert!(keys.eq(0..1000), "window {window}");
        }
        assert!(engine.stream(doubles(0)).ordered().next().is_none());
    });
}

#[test]
fn unordered_outcomes_all_come_once() {
    each(|engine| {
        for window in [0, 1, 7, 5000] {
            let stream = engine.stream(doubles(1000)).window(window).unordered();
            let mut keys: Vec<_> = stream.map(right).collect();
            keys.sort_unstable();
            assert!(keys.into_iter().eq(0..1000), "window {window}");
        }
        assert!(engine.stream(doubles(0)).unordered().next().is_none());
    });
}

#[test]
fn a_task_that_hangs_does_not_hold_up_an_unordered_stream() {
    for placement in EVERYWHERE {
        let engine = app().engine().place(placement).cores(2).start().unwrap();
        let jobs = (0..500).map(|n| (n, if n == 0 { Misbehave::Chatter } else { Misbehave::Fail }));
        let stream = engine.stream(jobs).window(8).unordered();
        let mut keys: Vec<i32> = stream.take(499).map(|(key, _)| key).collect();
        keys.sort_unstable();
        assert!(keys.into_iter().eq(1..500));
    }
}

#[test]
fn an_endless_input_is_taken_only_as_outcomes_are() {
    const WINDOW: usize = 5;
    each(|engine| {
        let taken = &AtomicUsize::new(0);
        let endless =
            || (0..).map(|n| (n, Double(n))).inspect(|_| _ = taken.fetch_add(1, Ordering::Relaxed));
        let check = |yielded: usize| {
            let taken = taken.load(Ordering::Relaxed);
            assert!(taken <= yielded + WINDOW, "{taken} inputs for {yielded} outcomes");
        };
        let ordered = engine.stream(endless()).window(WINDOW).ordered();
        assert_eq!(taken.load(Ordering::Relaxed), 0, "nothing is done before it is asked for");
        ordered.take(200).enumerate().for_each(|(yielded, _)| check(yielded));
        taken.store(0, Ordering::Relaxed);
        let unordered = engine.stream(endless()).window(WINDOW).unordered();
        unordered.take(200).enumerate().for_each(|(yielded, _)| check(yielded));
        assert!(taken.load(Ordering::Relaxed) >= 200);
    });
}

#[test]
fn it_tells_how_many_outcomes_are_to_come() {
    let engine = app().engine().place(Placement::Thread).start().unwrap();
    let mut ordered = engine.stream(doubles(10)).window(4).ordered();
    let mut unordered = engine.stream(doubles(10)).window(4).unordered();
    for left in (0..10).rev() {
        assert!(ordered.next().is_some() && unordered.next().is_some());
        assert_eq!(
            (ordered.size_hint(), unordered.size_hint()),
            ((left, Some(left)), (left, Some(left)))
        );
    }
    assert!(ordered.next().is_none() && ordered.next().is_none());
    assert!(unordered.next().is_none() && unordered.next().is_none());
}

#[test]
fn dropping_a_stream_cancels_the_rest() {
    for placement in EVERYWHERE {
        let engine = app().engine().place(placement).cores(1).start().unwrap();
        let path = std::env::temp_dir().join(format!("amphi-stream-{}", std::process::id()));
        let running = engine.try_submit(UntilCancelled).unwrap();
        eventually("the job to run", || running.progress().is_some());
        let touches = || (0..).map(|n| (n, Touch { path: path.clone() }));
        let mut ordered = engine.stream(touches()).window(6).ordered();
        let mut unordered = engine.stream(touches()).window(4).unordered();
        assert!(poll_once(ordered.next_async()).is_pending());
        assert!(poll_once(unordered.next_async()).is_pending());
        assert_eq!(engine.queued(), 10);
        drop(ordered);
        assert_eq!(engine.queued(), 4);
        drop(unordered);
        assert_eq!(engine.queued(), 0);
        running.cancel();
        assert_eq!(engine.run(Double(2)), Ok(4));
        assert!(!path.exists(), "a task of a dropped stream ran");
        // What is running is asked to stop, and the one core is free again.
        let mut endless = engine.stream((0..).map(|n| (n, UntilCancelled))).unordered();
        assert!(poll_once(endless.next_async()).is_pending());
        eventually("the job to run", || engine.queued() < 4);
        drop(endless);
        assert_eq!(engine.run(Double(3)), Ok(6));
    }
}

#[test]
fn an_error_of_one_item_is_its_outcome_and_no_more() {
    let odd = |n: u32| Odd {
        input: Oddity { encode: How::Well, decode: How::Well },
        output: n.is_multiple_of(3).then_some((How::Well, How::Well)),
        error: (How::Well, How::Well),
    };
    let check = |(n, outcome): (u32, Result<Oddity, TaskError<Oddity>>)| match outcome {
        Ok(_) => assert_eq!(n % 3, 0),
        Err(error) => assert!(n % 3 != 0 && matches!(error, TaskError::Failed(_)), "{error:?}"),
    };
    each(|engine| {
        let jobs = || (0..100).map(|n| (n, odd(n)));
        assert_eq!(engine.stream(jobs()).ordered().map(check).count(), 100);
        assert_eq!(engine.stream(jobs()).unordered().map(check).count(), 100);
        let panics = engine.stream((0..4).map(|n| (n, Misbehave::Panic))).ordered();
        let panics = panics.filter(|(_, told)| matches!(told, Err(TaskError::Panicked { .. })));
        assert_eq!(panics.count(), 4);
    });
}

/// A job that nobody registers.
#[derive(Serialize, Deserialize)]
struct Unknown;

impl Job for Unknown {
    type Output = u64;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<u64, Error> {
        Ok(0)
    }
}

#[test]
fn a_refusal_is_the_outcome_of_its_input() {
    each(|engine| {
        let jobs = || (0..50).map(|n| (n, Unknown));
        let is_told = |outcome: &Result<u64, TaskError<Error>>| {
            matches!(outcome, Err(TaskError::Rejected(Reason::NotRegistered(_))))
        };
        let ordered = engine.stream(jobs()).ordered();
        assert!(ordered.inspect(|(_, told)| assert!(is_told(told))).map(|(n, _)| n).eq(0..50));
        let unordered = engine.stream(jobs()).unordered().filter(|(_, told)| is_told(told));
        assert_eq!(unordered.count(), 50);

        let mut left = engine.stream(doubles(50)).window(4).unordered();
        right(left.next().unwrap());
        engine.shutdown(SOON);
        let told: Vec<_> = left.map(|(_, outcome)| outcome).collect();
        let refused = told
            .iter()
            .filter(|told| matches!(told, Err(TaskError::Rejected(Reason::ShuttingDown))));
        assert_eq!((told.len(), refused.count()), (49, 46));
    });
}

#[test]
fn a_panic_of_the_input_reaches_the_caller_and_leaves_nothing_behind() {
    each(|engine| {
        let jobs = || doubles(10).inspect(|(n, _)| assert!(*n != 3, "on purpose"));
        let mut ordered = engine.stream(jobs()).ordered();
        assert!(catch_unwind(AssertUnwindSafe(|| ordered.next())).is_err());
        assert!(ordered.map(right).eq(0..3), "what was under way can be taken");
        let mut unordered = engine.stream(jobs()).unordered();
        assert!(catch_unwind(AssertUnwindSafe(|| unordered.next())).is_err());
        drop(unordered);
        assert_eq!(engine.queued(), 0);
        assert_eq!(engine.run(Double(1)), Ok(2));
    });
}

#[test]
fn a_queue_smaller_than_the_window_is_waited_for() {
    for placement in EVERYWHERE {
        let engine = app().engine().place(placement).cores(2).queue(1).start().unwrap();
        assert!(engine.stream(doubles(500)).window(64).ordered().map(right).eq(0..500));
        assert_eq!(engine.stream(doubles(500)).window(64).unordered().map(right).count(), 500);
        block_on(async {
            let mut ordered = engine.stream(doubles(500)).window(64).ordered();
            let mut unordered = engine.stream(doubles(500)).window(64).unordered();
            for n in 0..500 {
                assert_eq!(ordered.next_async().await.map(right), Some(n));
                assert!(unordered.next_async().await.map(right).is_some());
            }
            assert!(ordered.next_async().await.is_none());
            assert!(unordered.next_async().await.is_none());
        });
    }
}

#[test]
fn a_queue_full_of_other_tasks_is_waited_for() {
    for placement in [Placement::Thread, Placement::Process] {
        let (engine, running, filler) = filled(placement);
        let mut ordered = engine.stream(doubles(20)).ordered();
        let mut unordered = engine.stream(doubles(20)).unordered();
        assert!(poll_once(ordered.next_async()).is_pending());
        assert!(poll_once(unordered.next_async()).is_pending());
        let blocking = {
            let engine = engine.clone();
            std::thread::spawn(move || engine.stream(doubles(20)).ordered().map(right).count())
        };
        running.cancel();
        assert_eq!(filler.join(), Ok(0));
        assert_eq!(block_on(ordered.next_async()).map(right), Some(0));
        // What began without blocking may go on blocking.
        assert!(ordered.map(right).eq(1..20));
        assert_eq!(unordered.map(right).count(), 20);
        assert_eq!(blocking.join().unwrap(), 20);
    }
}

#[test]
fn a_stream_that_waits_for_room_sees_the_end_of_its_engine() {
    for placement in [Placement::Thread, Placement::Process] {
        let (engine, _running, _filler) = filled(placement);
        let mut stream = engine.stream(doubles(3)).ordered();
        assert!(poll_once(stream.next_async()).is_pending());
        engine.shutdown(Duration::ZERO);
        for n in 0..3 {
            let (key, outcome) = block_on(stream.next_async()).unwrap();
            assert_eq!((key, outcome), (n, Err(TaskError::Rejected(Reason::ShuttingDown))));
        }
        assert!(block_on(stream.next_async()).is_none());
    }
}

#[tokio::test]
async fn a_runtime_of_one_thread_runs_many_streams() {
    for placement in EVERYWHERE {
        let engine = app().engine().place(placement).cores(2).queue(3).start().unwrap();
        let streams: Vec<_> = (0..8)
            .map(|_| {
                let engine = engine.clone();
                tokio::spawn(async move {
                    let mut ordered = engine.stream(doubles(100)).ordered();
                    for n in 0..100 {
                        assert_eq!(ordered.next_async().await.map(right), Some(n));
                    }
                    let mut unordered = engine.stream(doubles(100)).unordered();
                    let mut count = 0;
                    while unordered.next_async().await.map(right).is_some() {
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for stream in streams {
            assert_eq!(tokio::time::timeout(SOON, stream).await.unwrap().unwrap(), 100);
        }
    }
}

#[test]
fn it_is_a_stream_of_the_ecosystem() {
    fn poll(stream: Pin<&mut (impl futures_core::Stream<Item = (u64, Outcome)> + Send + Sync)>) {
        let polled = stream.poll_next(&mut Context::from_waker(Waker::noop()));
        assert!(!matches!(polled, Poll::Ready(None)));
    }
    type Outcome = Result<u64, TaskError<Error>>;
    let engine = app().engine().place(Placement::Thread).start().unwrap();
    poll(Pin::new(&mut engine.stream(doubles(3)).ordered()));
    poll(Pin::new(&mut engine.stream(doubles(3)).unordered()));
}

#[test]
fn a_job_may_stream_on_any_number_of_cores() {
    each(|engine| {
        // More streaming jobs than threads: each runs its own tasks, or lets its core go.
        let parents: Vec<_> = (0..4)
            .map(|n| {
                let inner = engine.clone();
                engine.spawn(move |_| match n % 2 {
                    0 => inner.stream(doubles(50)).window(9).ordered().map(right).count(),
                    _ => inner.stream(doubles(50)).window(9).unordered().map(right).count(),
                })
            })
            .collect();
        for parent in parents {
            assert_eq!(parent.join_timeout(SOON).expect("no deadlock"), Ok(50));
        }
    });
}

#[test]
fn a_job_may_stream_through_a_full_queue() {
    for placement in EVERYWHERE {
        let engine = app().engine().place(placement).cores(1).queue(2).start().unwrap();
        let inner = engine.clone();
        let parent = engine.spawn(move |_| {
            // Nobody but this very thread could run these two.
            let fillers = [inner.spawn(|_| 1), inner.spawn(|_| 2)];
            let ordered = inner.stream(doubles(20)).ordered().map(right).count();
            let unordered = inner.stream(doubles(20)).unordered().map(right).count();
            ordered + unordered + fillers.map(|filler| filler.join().unwrap()).len()
        });
        assert_eq!(parent.join_timeout(SOON).expect("no deadlock"), Ok(42));
    }
}
