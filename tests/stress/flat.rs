//! Memory after many tasks is what it was after some.

use std::collections::VecDeque;

use amphi::{Engine, Placement};

use crate::alone::{alone, descendants, resident_kib_of};
use crate::{Double, app};

/// By then everything that is kept has been made.
const SOME: u64 = 100_000;
/// In flight.
const WINDOW: usize = 256;
/// A page here and there is no leak: one byte a task would be 10 MiB after ten million.
const SLACK_KIB: u64 = 1024;

fn run(engine: &Engine, tasks: u64) {
    let mut open = VecDeque::with_capacity(WINDOW);
    let join = |(n, task): (u64, amphi::Task<u64, amphi::Error>)| {
        assert_eq!(task.join(), Ok(2 * n));
    };
    for n in 0..tasks {
        if open.len() == WINDOW
            && let Some(oldest) = open.pop_front()
        {
            join(oldest);
        }
        open.push_back((n, engine.submit_blocking(Double { number: n, rounds: 0 }).unwrap()));
    }
    open.into_iter().for_each(join);
}

/// Anonymous memory of the host, its forkserver and each worker, in KiB.
fn memory() -> Vec<(u32, u64)> {
    let pids = [std::process::id()].into_iter().chain(descendants());
    pids.map(|pid| (pid, resident_kib_of(pid).unwrap_or(0))).collect()
}

fn stays_flat(name: &str, tasks: u64) {
    alone(name, || {
        let engine = app().engine().place(Placement::Process).cores(2).start().unwrap();
        run(&engine, SOME);
        let before = memory();
        assert!(before.len() >= 3, "host, forkserver and workers: {before:?}");
        run(&engine, tasks - SOME);
        let after = memory();
        for ((pid, before), (same, after)) in before.iter().zip(&after) {
            assert_eq!(pid, same, "a worker was replaced");
            assert!(*after <= before + SLACK_KIB, "{pid}: {before} KiB, then {after}");
        }
    });
}

#[test]
fn a_million_tasks_leave_memory_as_it_is() {
    stays_flat("flat::a_million_tasks_leave_memory_as_it_is", 1_000_000);
}

#[test]
#[ignore = "takes a quarter of a minute on a quiet machine"]
fn ten_million_tasks_leave_memory_as_it_is() {
    stays_flat("flat::ten_million_tasks_leave_memory_as_it_is", 10_000_000);
}
