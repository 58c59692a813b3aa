//! Who waits for whom: short tasks beside long ones, waiters for room, jobs that wait for jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use amphi::{Engine, Error, Placement, Reason, TaskError};
use amphi_tests::eventually;

use crate::chores::{Wait, everywhere};
use crate::jobs::{Double, UntilCancelled, app};

const SOON: Duration = Duration::from_secs(5);

/// The name of the thread that ran it, for about two milliseconds.
pub(crate) fn name_of_thread(_: u64) -> Result<String, Error> {
    let until = Instant::now() + Duration::from_millis(2);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    Ok(std::thread::current().name().unwrap_or_default().to_owned())
}

/// It would keep a core from a thread of the pool, and run beside the other one.
#[test]
fn whoever_waits_for_one_of_many_long_tasks_leaves_them_to_the_threads() {
    let engine = app().engine().place(Placement::Thread).cores(2).start().unwrap();
    let own = std::thread::current().name().unwrap_or_default().to_owned();
    engine.call(name_of_thread, 0).join().unwrap(); // from now on it is known how long they take
    let tasks: Vec<_> = (0..40).map(|n| engine.call(name_of_thread, n)).collect();
    let ran_by: Vec<String> = tasks.into_iter().map(|task| task.join().unwrap()).collect();
    let here = ran_by.iter().filter(|name| **name == own).count();
    assert!(here <= 2, "it ran {here} of 40: {ran_by:?}");
}

/// A job known to be short is not bound behind one that runs for ever, while another core is free.
#[test]
fn a_short_task_does_not_wait_for_a_hung_one() {
    let engine = app().engine().place(Placement::Process).cores(2).start().unwrap();
    for n in 0..200 {
        assert_eq!(engine.run(Double(n)), Ok(2 * n));
    }
    // Both known to be short: the one that hangs was quick, too.
    for _ in 0..20 {
        let quick = engine.try_submit(UntilCancelled).unwrap();
        quick.cancel();
        let _ = quick.join();
    }
    let hung = engine.try_submit(UntilCancelled).unwrap();
    let begun = Instant::now();
    for n in 0..200 {
        let task = engine.try_submit(Double(n)).unwrap();
        let outcome = task.join_timeout(SOON).expect("it does not wait for the other");
        assert_eq!(outcome, Ok(2 * n));
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    hung.cancel();
    assert_eq!(hung.join(), Err(TaskError::Cancelled));
}

/// Nor do many of them wait for one that is only long, whatever was known of it before. A machine
/// that is busy with others has three tries.
#[test]
fn a_thousand_short_tasks_pass_a_long_one() {
    everywhere(2, |placement, engine| {
        let passes = || {
            let long = engine.try_submit(Wait { ms: 1000, looks: true }).unwrap();
            let short: Vec<_> = (0..1000).map(|n| engine.try_submit(Double(n)).unwrap()).collect();
            for (n, task) in (0..).zip(short) {
                assert_eq!(task.join_timeout(SOON).expect("in time"), Ok(2 * n), "{placement}");
            }
            let passed = !long.is_finished();
            assert_eq!(long.join(), Ok(1000), "{placement}");
            passed
        };
        assert!((0..3).any(|_| passes()), "{placement}: the long one ended first");
        for _ in 0..50 {
            assert_eq!(engine.run(Wait { ms: 0, looks: true }), Ok(0));
        }
        let passed = (0..3).any(|_| passes());
        assert!(passed, "{placement}: the long one, known to be short, ended first");
    });
}

/// The same among threads and processes: neither place keeps the only core for itself.
#[test]
fn threads_and_processes_take_turns_on_one_core() {
    let engine = app().engine().place(Placement::Process).cores(1).start().unwrap();
    let stop = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let (flood, until) = (engine.clone(), Arc::clone(&stop));
        scope.spawn(move || {
            while until.load(Ordering::Relaxed) == 0 {
                let tasks: Vec<_> = (0..64).map(|n| flood.try_submit(Double(n)).unwrap()).collect();
                tasks.into_iter().for_each(|task| assert!(task.join().is_ok()));
            }
        });
        for _ in 0..20 {
            let task = engine.spawn(|_| 7);
            assert_eq!(task.join_timeout(SOON).expect("a thread has its turn"), Ok(7));
        }
        stop.store(1, Ordering::Relaxed);
    });
}

fn engines() -> impl Iterator<Item = Engine> {
    let start = |cores| app().engine().cores(cores).start().unwrap();
    [1, 2].into_iter().map(start)
}

/// A job that waits for its own child lets its core go, or runs the child itself.
#[test]
fn a_job_may_wait_for_jobs_on_any_number_of_cores() {
    fn tree(engine: &Engine, depth: u32) -> u64 {
        if depth == 0 {
            return 1;
        }
        let children: Vec<_> = (0..2)
            .map(|_| {
                let inner = engine.clone();
                engine.spawn(move |_| tree(&inner, depth - 1))
            })
            .collect();
        children.into_iter().map(|child| child.join().unwrap()).sum()
    }
    for engine in engines() {
        let inner = engine.clone();
        let root = engine.spawn(move |_| tree(&inner, 6));
        assert_eq!(root.join_timeout(SOON).expect("no deadlock"), Ok(64));
        // From a caller that runs the root itself.
        let inner = engine.clone();
        assert_eq!(engine.spawn(move |_| tree(&inner, 4)).join(), Ok(16));
    }
}

#[test]
fn a_job_on_a_thread_may_wait_for_a_process() {
    for engine in engines() {
        let parents: Vec<_> = (0..8)
            .map(|n| {
                let inner = engine.clone();
                engine.spawn(move |_| inner.task(Double(n)).place(Placement::Process).run())
            })
            .collect();
        for (n, parent) in (0..).zip(parents) {
            assert_eq!(parent.join_timeout(SOON).expect("no deadlock"), Ok(Ok(2 * n)));
        }
    }
}

#[test]
fn a_scope_inside_a_job_ends_on_any_number_of_cores() {
    for engine in engines() {
        let inner = engine.clone();
        let sum = engine.spawn(move |_| {
            let parts = [AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0)];
            inner.scope(|scope| {
                for (index, part) in parts.iter().enumerate() {
                    // Not joined: the scope waits all the same.
                    scope.spawn(move || part.store(index + 1, Ordering::Relaxed));
                }
            });
            parts.iter().map(|part| part.load(Ordering::Relaxed)).sum::<usize>()
        });
        assert_eq!(sum.join_timeout(SOON).expect("no deadlock"), Ok(6));
    }
}

/// More blocked submitters than room, for a while: each gets its turn and nobody spins.
#[test]
fn submitters_that_wait_for_room_all_get_it() {
    for placement in [Placement::Thread, Placement::Process] {
        let engine = app().engine().place(placement).cores(1).queue(1).start().unwrap();
        let running = engine.try_submit(UntilCancelled).unwrap();
        eventually("the job to run", || running.progress().is_some());
        let filler = engine.try_submit(Double(0)).unwrap();
        let submitters: Vec<_> = (0..16)
            .map(|n| {
                let engine = engine.clone();
                std::thread::spawn(move || engine.submit_blocking(Double(n)).unwrap().join())
            })
            .collect();
        let rejected = engine.try_submit(Double(3)).unwrap_err();
        assert_eq!(rejected.reason, Reason::QueueFull);
        let before = cpu_ticks();
        std::thread::park_timeout(Duration::from_millis(300));
        // 30 ticks would be one core: 16 waiters that wake each other take all there are.
        assert!(cpu_ticks() - before < 15 || cfg!(debug_assertions), "waiting is not free");
        running.cancel();
        assert_eq!(filler.join(), Ok(0));
        for (n, submitter) in (0..).zip(submitters) {
            assert_eq!(submitter.join().unwrap(), Ok(2 * n));
        }
    }
}

/// Processor time of the submitting threads that wait, in hundredths of a second: those of this
/// process whose name is that of this test.
fn cpu_ticks() -> u64 {
    let own = "order::submitter"; // names are cut to 15 letters by the kernel
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let stats =
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    let ticks = stats.filter(|stat| stat.contains(&own[..15])).filter_map(|stat| {
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()?
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse().ok())
            .collect();
        Some(fields.iter().sum::<u64>())
    });
    ticks.sum()
}

#[tokio::test]
async fn async_submitters_that_wait_for_room_all_get_it() {
    let engine = app().engine().place(Placement::Process).cores(1).queue(1).start().unwrap();
    let running = engine.try_submit(UntilCancelled).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let submitters: Vec<_> = (0..16)
        .map(|n| {
            let (engine, asked) = (engine.clone(), Arc::clone(&asked));
            tokio::spawn(async move {
                asked.fetch_add(1, Ordering::Relaxed);
                engine.submit(Double(n)).await.unwrap().await
            })
        })
        .collect();
    while asked.load(Ordering::Relaxed) < 16 {
        tokio::task::yield_now().await;
    }
    running.cancel();
    for (n, submitter) in (0..).zip(submitters) {
        assert_eq!(submitter.await.unwrap(), Ok(2 * n));
    }
}

/// A queue behind a task that hangs does not grow by what was cancelled.
#[test]
fn cancelled_tasks_leave_the_queue() {
    for placement in [Placement::Thread, Placement::Process] {
        let engine = app().engine().place(placement).cores(1).queue(100).start().unwrap();
        let running = engine.try_submit(UntilCancelled).unwrap();
        eventually("the job to run", || running.progress().is_some());
        let live = engine.try_submit(Double(5)).unwrap();
        for n in 0..100_000 {
            drop(engine.try_submit(Double(n)).unwrap());
        }
        assert_eq!(engine.queued(), 1);
        running.cancel();
        assert_eq!(live.join(), Ok(10));
    }
}
