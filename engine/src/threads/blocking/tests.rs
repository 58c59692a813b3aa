//! The pool alone: when its threads start and end.

use super::*;
use crate::job::{RawWork, Table};
use crate::policy::{Adaptive, Class, Route};
use crate::task::{Cell, Plan};

fn pool(max: usize, idle_timeout: Duration) -> Arc<Blocking> {
    let home = Arc::new(Home::new(Table::default(), None, Vec::new(), Vec::new()));
    let scheduler = Arc::new(Scheduler::new(Box::new(Adaptive::new()), home.table.names()));
    Blocking::new(max, idle_timeout, Arc::new(Room::new(1)), home, scheduler)
}

/// A task of the job that returns what it is given, which is the only one here.
fn task() -> Shared {
    let route = Route { placement: Placement::Thread, rule: "it is blocking" };
    let plan = Plan { blocking: true, ..Plan::new(0, "echo", route, Class::of(0, 0)) };
    let core = Core::new(plan);
    Arc::new(Cell::<RawWork>::encoded(core, vec![0], Vec::new()))
}

fn wait_until(condition: impl Fn() -> bool) {
    let deadline = clock::now() + Duration::from_secs(10);
    while !condition() {
        assert!(clock::now() < deadline, "it takes too long");
        std::thread::yield_now();
    }
}

#[test]
fn idle_threads_end_and_others_are_started() {
    let pool = pool(4, Duration::from_millis(20));
    for round in 1..=3 {
        let tasks: Vec<_> = (0..8).map(|_| task()).collect();
        tasks.iter().for_each(|task| pool.push(Arc::clone(task)));
        wait_until(|| tasks.iter().all(|task| task.core().is_settled()));
        wait_until(|| pool.state.lock().alive == 0);
        let state = pool.state.lock();
        assert!(state.idle.is_empty() && state.running.is_empty());
        assert!(state.last >= round, "each round starts threads anew");
    }
}

#[test]
fn one_idle_thread_is_woken_before_another_is_started() {
    let pool = pool(4, Duration::from_secs(60));
    for _ in 0..100 {
        let task = task();
        pool.push(Arc::clone(&task));
        wait_until(|| task.core().is_settled() && pool.state.lock().idle.len() == 1);
    }
    assert_eq!(pool.state.lock().last, 1);
    assert!(pool.close(clock::now() + Duration::from_secs(10)));
}

#[test]
fn an_abandoned_pool_cancels_what_comes_late() {
    let pool = pool(1, Duration::from_secs(60));
    let (mut waiting, mut running) = (Vec::new(), Vec::new());
    pool.abandon(&mut waiting, &mut running);
    assert!(waiting.is_empty() && running.is_empty());
    let late = task();
    pool.push(Arc::clone(&late));
    assert!(late.core().is_settled());
    assert_eq!(pool.state.lock().last, 0, "no thread was started for it");
}

#[test]
fn entries_of_cancelled_tasks_do_not_pile_up() {
    let pool = pool(1, Duration::from_secs(60));
    pool.state.lock().alive = 1; // one that is busy for ever
    for _ in 0..10_000 {
        let task = task();
        pool.push(Arc::clone(&task));
        assert!(task.core().claim());
        pool.forget_one();
    }
    assert!(pool.queue.len() <= 2 * FORGOTTEN_MAX, "{}", pool.queue.len());
}
