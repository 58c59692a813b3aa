//! What an engine tells of itself: outcomes counted to the last one, and when all have ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use amphi::{Engine, Job, Outcome, Placement, Priority, Reason, Stats, TaskError};
use amphi_tests::eventually;

use crate::chores::{EVERYWHERE, End, Flaky, Wait, everywhere};
use crate::jobs::{Double, Echo, Misbehave, UntilCancelled, app};

const SOON: Duration = Duration::from_secs(5);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// How many tasks of job `J` came to `outcome` in `place`.
fn count<J: Job>(stats: &Stats, place: Placement, outcome: Outcome) -> u64 {
    let job = stats.job(J::name()).expect("it is registered");
    job.place(place).map_or(0, |place| place.tasks(outcome))
}

fn sum(stats: &Stats) -> u64 {
    let places = stats.jobs.iter().flat_map(|job| &job.places);
    places.flat_map(|place| place.tasks.values()).sum()
}

/// 100 are well, 7 fail, 3 panic, 4 are cancelled, 2 wait for too long, 1 is stopped by its clock.
fn mixed_work(engine: &Engine, place: Placement) {
    let tasks: Vec<_> =
        (0..100).map(|n| engine.task(Double(n)).place(place).try_submit().unwrap()).collect();
    tasks.into_iter().for_each(|task| assert!(task.join().is_ok()));
    for _ in 0..7 {
        assert!(engine.task(Misbehave::Fail).place(place).run().is_err());
    }
    for _ in 0..3 {
        assert!(engine.task(Misbehave::Panic).place(place).run().is_err());
    }
    let held = engine.task(UntilCancelled).place(place).try_submit().unwrap();
    eventually("the job to run", || held.progress().is_some());
    let waiting = || engine.task(Wait { ms: 0, looks: true }).place(place);
    let tasks = [0; 3].map(|_| waiting().try_submit().unwrap());
    let late = [0; 2].map(|_| waiting().queue_timeout(ms(5)).try_submit().unwrap());
    drop(tasks);
    for task in late {
        assert!(task.join().is_err());
    }
    held.cancel();
    assert_eq!(held.join(), Err(TaskError::Cancelled));
    assert!(
        engine.task(Wait { ms: 20_000, looks: true }).place(place).timeout(ms(5)).run().is_err()
    );
}

#[test]
fn outcomes_are_counted_by_job_and_place() {
    for place in [Placement::Thread, Placement::Process] {
        let engine = app().engine().cores(1).start().unwrap();
        mixed_work(&engine, place);
        engine.drained_blocking();
        let stats = engine.stats();
        eprintln!("{stats}");
        // One that never started has no place yet, unless it was bound when it was submitted.
        let unstarted = if place == Placement::Process { place } else { Placement::Auto };
        assert_eq!(count::<Double>(&stats, place, Outcome::Ok), 100);
        assert_eq!(count::<Misbehave>(&stats, place, Outcome::Failed), 7);
        assert_eq!(count::<Misbehave>(&stats, place, Outcome::Panicked), 3);
        assert_eq!(count::<UntilCancelled>(&stats, place, Outcome::Cancelled), 1);
        assert_eq!(count::<Wait>(&stats, unstarted, Outcome::Cancelled), 3);
        let timed_out = |place| count::<Wait>(&stats, place, Outcome::TimedOut);
        if unstarted == place {
            assert_eq!(timed_out(place), 3);
        } else {
            assert_eq!((timed_out(place), timed_out(unstarted)), (1, 2));
        }
        assert_eq!((stats.accepted, sum(&stats)), (117, 117), "{place}: nothing else");
        assert_eq!((stats.queued, stats.running, stats.cores), (0, 0, 1));
    }
}

#[test]
fn crashes_refusals_and_closures_are_counted() {
    let engine = app().engine().cores(1).payload_bytes_max(10_000).queue(5).start().unwrap();
    let place = Placement::Process;
    for fault in [Misbehave::Abort, Misbehave::Exit] {
        assert!(engine.task(fault).place(place).run().is_err());
    }
    let large = Echo { bytes: vec![1; 20_000].into(), output_len: 1 };
    let outcome = engine.task(large).place(place).run();
    assert!(matches!(outcome, Err(TaskError::Rejected(Reason::TooLarge { .. }))));
    let large = Echo { bytes: vec![1; 10].into(), output_len: 20_000 };
    let outcome = engine.task(large).place(place).run();
    assert!(matches!(outcome, Err(TaskError::Rejected(Reason::TooLarge { .. }))));
    assert!(engine.task(Misbehave::Hang).kill_after(ms(20)).run().is_err());
    assert!(engine.task(Flaky::new(&[End::Aborts])).place(place).retries(5).run().is_err());
    assert_eq!(engine.spawn(|_| 1).join(), Ok(1));
    assert!(engine.spawn(|_| panic!("on purpose")).join().is_err());
    // Those that a full queue refuses were never there.
    let held = engine.try_submit(UntilCancelled).unwrap();
    eventually("the job to run", || held.progress().is_some());
    let waiting: Vec<_> = (0..5).map(|n| engine.try_submit(Double(n)).unwrap()).collect();
    (0..9).for_each(|n| assert!(engine.try_submit(Double(n)).is_err()));
    assert_eq!((engine.stats().queued, engine.stats().running), (5, 1));
    held.cancel();
    waiting.into_iter().for_each(|task| assert!(task.join().is_ok()));
    assert!(held.join().is_err());
    engine.drained_blocking();

    let stats = engine.stats();
    eprintln!("{stats}");
    assert_eq!(count::<Misbehave>(&stats, place, Outcome::Crashed), 2);
    assert_eq!(count::<Misbehave>(&stats, place, Outcome::TimedOut), 1);
    assert_eq!(count::<Echo>(&stats, place, Outcome::Rejected), 2);
    assert_eq!(count::<Flaky>(&stats, place, Outcome::Poisoned), 1);
    let closures = stats.job("closure").unwrap().place(Placement::Thread).unwrap();
    assert_eq!((closures.tasks(Outcome::Ok), closures.tasks(Outcome::Panicked)), (1, 1));
    assert_eq!((stats.accepted, sum(&stats)), (14, 14));
}

#[test]
fn every_task_that_was_placed_by_the_policy_is_counted_once() {
    let engine = app().engine().cores(2).start().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for n in 0..1000 {
                    assert_eq!(engine.run(Double(n)), Ok(2 * n));
                    assert_eq!(engine.try_submit(Double(n)).unwrap().join(), Ok(2 * n));
                }
            });
        }
    });
    engine.drained_blocking();
    let stats = engine.stats();
    let decided: u64 = stats.decisions.iter().map(|decided| decided.tasks).sum();
    assert_eq!((stats.accepted, sum(&stats), decided), (6000, 6000, 6000), "{stats}");
}

#[test]
fn stats_are_a_table_for_people_and_data_for_programs() {
    let engine = app().engine().cores(1).start().unwrap();
    assert!(engine.stats().to_string().starts_with("cores 1, workers 0; tasks accepted 0"));
    mixed_work(&engine, Placement::Process);
    assert_eq!(engine.run(Double(1)), Ok(2));
    assert!(engine.task(Flaky::new(&[End::Panics, End::Well])).retries(1).run().is_ok());
    engine.drained_blocking();
    let stats = engine.stats();
    let own = |name: &str| name.starts_with("amphi::");
    assert!(!stats.jobs.iter().any(|job| own(job.name)), "what calibration runs is nobody's job");
    let text = stats.to_string();
    let row = |name: &str| {
        let row = text.lines().find(|line| line.starts_with(name) && line.contains("process"));
        row.unwrap_or_else(|| panic!("no {name} in\n{text}")).split_whitespace().collect::<Vec<_>>()
    };
    assert!(text.lines().any(|line| line.contains("timed out") && line.contains("retried")));
    assert_eq!(row(Double::name())[2], "100", "{text}");
    assert!(row(Misbehave::name()).contains(&"7"), "{text}");
    assert!(text.contains("probes 0.00 %, flips 0"), "{text}");

    let data = serde_json::to_value(&stats).unwrap();
    assert_eq!((&data["accepted"], &data["running"]), (&119.into(), &0.into()), "{data}");
    let jobs = data["jobs"].as_array().unwrap();
    let double = jobs.iter().find(|job| job["name"] == Double::name()).unwrap();
    let places = double["places"].as_array().unwrap();
    let process = places.iter().find(|place| place["placement"] == "process").unwrap();
    assert_eq!(process["tasks"]["ok"], 100);
    assert!(process["stages"]["run"]["count"].as_u64().is_some_and(|count| count > 0), "{data}");
    let wait = jobs.iter().find(|job| job["name"] == Wait::name()).unwrap();
    assert_eq!(wait["places"][0]["tasks"]["timed_out"], 3, "{data}");
}

/// A mix of tasks that end in every way; the handles of those that are not detached.
fn submit_mix(engine: &Engine, rounds: u64) -> Vec<amphi::Task<u64, amphi::Error>> {
    let mut tasks = Vec::new();
    for n in 0..rounds {
        tasks.push(engine.try_submit(Double(n)).unwrap());
        tasks.push(engine.task(Double(n)).priority(Priority::Low).try_submit().unwrap());
        drop(engine.try_submit(Double(n)).unwrap());
        let cancelled = engine.try_submit(Double(n)).unwrap();
        cancelled.cancel();
        tasks.push(cancelled);
        engine.spawn_detached(Misbehave::Panic).unwrap();
        let flaky = Flaky::new(&[End::Panics, End::Well]);
        let delay = ms(n % 2);
        engine.task(flaky).retries(1).backoff(delay, delay).try_submit().unwrap().detach();
        engine.task(Double(n)).queue_timeout(Duration::ZERO).try_submit().unwrap().detach();
        let past = std::time::Instant::now();
        engine.task(Double(n)).deadline(past).try_submit().unwrap().detach();
        assert!(engine.call(crate::jobs::unregistered, n).join().is_err());
    }
    tasks
}

#[test]
fn drained_ends_when_all_have_ended() {
    everywhere(2, |placement, engine| {
        engine.drained_blocking(); // nothing to do
        for _ in 0..5 {
            let tasks = submit_mix(&engine, 10);
            engine.drained_blocking();
            assert!(tasks.iter().all(amphi::Task::is_finished), "{placement}");
            let stats = engine.stats();
            assert_eq!((stats.queued, stats.running), (0, 0), "{placement}");
            assert_eq!(sum(&stats), stats.accepted, "{placement}");
        }
        assert_eq!(engine.stats().accepted, 5 * 10 * 8, "{placement}");
        assert_eq!(engine.run(Double(1)), Ok(2), "it is not closed");
    });
}

#[test]
fn drained_does_not_end_before_the_last_has_ended() {
    everywhere(2, |placement, engine| {
        let held = engine.try_submit(UntilCancelled).unwrap();
        eventually("the job to run", || held.progress().is_some());
        let ended = Arc::new(AtomicBool::new(false));
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let (engine, ended) = (engine.clone(), Arc::clone(&ended));
                std::thread::spawn(move || {
                    engine.drained_blocking();
                    ended.store(true, Ordering::Relaxed);
                })
            })
            .collect();
        let _tasks = submit_mix(&engine, 20);
        let held = held.join_timeout(ms(100)).expect_err("it runs on");
        assert!(!ended.load(Ordering::Relaxed), "{placement}");
        held.cancel();
        eventually("the waiters to be told", || waiters.iter().all(|it| it.is_finished()));
    });
}

#[tokio::test]
async fn drained_is_a_future() {
    for placement in EVERYWHERE {
        let engine = app().engine().place(placement).cores(2).start().unwrap();
        engine.drained().await;
        let tasks = submit_mix(&engine, 10);
        tokio::time::timeout(SOON, engine.drained()).await.expect("in time");
        assert!(tasks.iter().all(amphi::Task::is_finished), "{placement}");
        let held = engine.try_submit(UntilCancelled).unwrap();
        let early = tokio::time::timeout(ms(50), engine.drained()).await;
        assert!(early.is_err(), "{placement}: one runs");
        held.cancel();
        tokio::time::timeout(SOON, engine.drained()).await.expect("in time");
    }
}

/// Also where it ends by force.
#[test]
fn drained_ends_with_the_engine() {
    everywhere(1, |placement, engine| {
        let held = engine.try_submit(UntilCancelled).unwrap();
        eventually("the job to run", || held.progress().is_some());
        let waiting = submit_mix(&engine, 10);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| engine.drained_blocking());
            engine.shutdown(Duration::ZERO);
            eventually("the waiter to be told", || waiter.is_finished());
        });
        assert!(waiting.iter().all(amphi::Task::is_finished), "{placement}");
        let stats = engine.stats();
        assert_eq!((sum(&stats), stats.running), (stats.accepted, 0), "{placement}");
    });
}
