//! An engine without tasks does nothing at all.

use std::time::{Duration, Instant};

use amphi::{Engine, Placement};

use crate::alone::{activity, alone, descendants};
use crate::{Double, app};

/// Every thread of an engine, its forkserver and its workers: none of them runs for ten seconds.
#[test]
fn an_idle_engine_makes_no_wake_ups() {
    alone("idle::an_idle_engine_makes_no_wake_ups", || {
        let engine = app().engine().cores(2).start().unwrap();
        // Both places have worked, as have both workers.
        for _ in 0..100 {
            let tasks: Vec<_> = (0..100)
                .map(|n| engine.try_submit(Double { number: n, rounds: 0 }).unwrap())
                .collect();
            for (n, task) in (0..).zip(tasks) {
                assert_eq!(task.join(), Ok(2 * n));
            }
        }
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| busy_worker(&engine));
            }
        });
        let own = std::process::id();
        let all = |pids: &[u32]| pids.iter().map(|pid| activity(*pid)).collect::<Vec<_>>();
        let pids: Vec<u32> = [own].into_iter().chain(descendants()).collect();
        assert!(pids.len() >= 3, "host, forkserver and workers: {pids:?}");

        // Spinning ends within milliseconds of the last task; from then on nothing may move.
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut before = others(all(&pids), own);
        loop {
            std::thread::park_timeout(Duration::from_millis(200));
            let now = others(all(&pids), own);
            if now == before {
                break;
            }
            assert!(Instant::now() < deadline, "it never came to rest: {before:?} {now:?}");
            before = now;
        }
        std::thread::park_timeout(Duration::from_secs(10));
        assert_eq!(others(all(&pids), own), before);
        assert_eq!(descendants(), pids[1..], "no process came or went");
    });
}

fn busy_worker(engine: &Engine) {
    for n in 0..2_000 {
        let task = engine.task(Double { number: n, rounds: 1000 }).place(Placement::Process);
        assert_eq!(task.run(), Ok(2 * n));
    }
}

/// Without the two threads that are the test's own: this one and the one that started it.
fn others(activity: Vec<Vec<(String, u64, u64)>>, own: u32) -> Vec<(String, u64, u64)> {
    let tests = [format!("/proc/{own}/task/{own}"), this_thread()];
    activity.into_iter().flatten().filter(|(thread, ..)| !tests.contains(thread)).collect()
}

fn this_thread() -> String {
    let link = std::fs::read_link("/proc/thread-self").unwrap();
    format!("/proc/{}", link.display())
}
