//! What one task may ask for beside its job: a priority, and clocks.

use std::time::{Duration, Instant};

use amphi::{Clock, Engine, Job, Placement, Priority, Task, TaskError};
use amphi_tests::eventually;

use crate::chores::{End, Flaky, Parent, Stamp, Wait, everywhere, scratch};
use crate::jobs::{Double, Misbehave, Touch, UntilCancelled, app};

const SOON: Duration = Duration::from_secs(5);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The outcome of a task whose clock ran out before its job was killed for it.
fn timed_out<T, E>(outcome: Result<T, TaskError<E>>, by: Clock) -> bool {
    matches!(outcome, Err(TaskError::TimedOut { clock, killed: false, .. }) if clock == by)
}

/// A task that keeps the engine's only core busy until it is cancelled.
fn holder(engine: &Engine) -> Task<(), amphi::Error> {
    let running = engine.try_submit(UntilCancelled).unwrap();
    eventually("the holder to run", || running.progress().is_some());
    running
}

/// The priorities of these tasks in the order in which they ran.
fn order_of(tasks: Vec<(Priority, Task<u64, amphi::Error>)>) -> Vec<Priority> {
    let stamp = |(priority, task): (_, Task<u64, _>)| {
        (task.join_timeout(SOON).expect("none starves").unwrap(), priority)
    };
    let mut stamps: Vec<_> = tasks.into_iter().map(stamp).collect();
    stamps.sort_unstable();
    stamps.into_iter().map(|(_, priority)| priority).collect()
}

fn stamp(engine: &Engine, priority: Priority) -> (Priority, Task<u64, amphi::Error>) {
    (priority, engine.task(Stamp).priority(priority).try_submit().unwrap())
}

#[test]
fn tasks_start_by_the_weights_of_their_priorities() {
    everywhere(1, |placement, engine| {
        let running = holder(&engine);
        let mut tasks = Vec::new();
        for priority in [Priority::Low, Priority::Normal, Priority::High] {
            tasks.extend((0..200).map(|_| stamp(&engine, priority)));
        }
        running.cancel();
        let order = order_of(tasks);
        // Ten rounds of 21, in which no level runs dry.
        let count = |priority| order[..210].iter().filter(|it| **it == priority).count();
        let (high, normal, low) =
            (count(Priority::High), count(Priority::Normal), count(Priority::Low));
        assert!((150..=170).contains(&high), "{placement}: {high} of 160");
        assert!((32..=48).contains(&normal), "{placement}: {normal} of 40");
        assert!((6..=14).contains(&low), "{placement}: {low} of 10");
    });
}

#[test]
fn one_urgent_task_passes_a_long_queue() {
    everywhere(1, |placement, engine| {
        let running = holder(&engine);
        let mut tasks: Vec<_> = (0..200).map(|_| stamp(&engine, Priority::Low)).collect();
        tasks.push(stamp(&engine, Priority::High));
        running.cancel();
        let order = order_of(tasks);
        let rank = order.iter().position(|priority| *priority == Priority::High).unwrap();
        assert!(rank < 5, "{placement}: it was number {rank}");
    });
}

#[test]
fn a_task_of_low_priority_is_not_left_for_last() {
    everywhere(1, |placement, engine| {
        let running = holder(&engine);
        let mut tasks: Vec<_> = (0..500).map(|_| stamp(&engine, Priority::High)).collect();
        tasks.push(stamp(&engine, Priority::Low));
        running.cancel();
        let order = order_of(tasks);
        let rank = order.iter().position(|priority| *priority == Priority::Low).unwrap();
        assert!(rank < 50, "{placement}: it was number {rank}");
    });
}

#[test]
fn queue_timeout_is_for_those_that_wait() {
    everywhere(1, |placement, engine| {
        let running = engine.task(UntilCancelled).queue_timeout(ms(1000)).try_submit().unwrap();
        eventually("the job to run", || running.progress().is_some());
        let begun = Instant::now();
        let waiting: Vec<_> = (0..10)
            .map(|n| engine.task(Double(n)).queue_timeout(ms(30)).try_submit().unwrap())
            .collect();
        let patient = engine.task(Double(1)).queue_timeout(SOON).try_submit().unwrap();
        for task in waiting {
            let outcome = task.join_timeout(SOON).expect("it gives up");
            assert!(timed_out(outcome, Clock::Queue), "{placement}");
        }
        assert!(begun.elapsed() >= ms(30), "{placement}: not before its time");
        assert_eq!(engine.queued(), 1, "{placement}: the others took no room any more");
        let running = running.join_timeout(ms(1100)).expect_err("a running one is not touched");
        running.cancel();
        assert_eq!(running.join(), Err(TaskError::Cancelled), "{placement}");
        assert_eq!(patient.join(), Ok(2), "{placement}");
    });
}

/// Known to be short, it is put into a lane behind another, which turns out to be long.
#[test]
fn queue_timeout_takes_a_task_back_from_a_lane() {
    let engine = app().engine().place(Placement::Process).cores(1).start().unwrap();
    for limit in [0, 1, 3, 30] {
        for _ in 0..50 {
            assert_eq!(engine.run(Wait { ms: 0, looks: true }), Ok(0));
        }
        let long = engine.try_submit(Wait { ms: 20_000, looks: true }).unwrap();
        let short = engine.task(Wait { ms: 0, looks: true }).queue_timeout(ms(limit));
        let outcome = short.try_submit().unwrap().join_timeout(SOON).expect("it gives up");
        assert!(timed_out(outcome, Clock::Queue), "{limit} ms");
        long.cancel();
        assert_eq!(long.join(), Err(TaskError::Cancelled));
    }
}

#[test]
fn timeout_stops_a_job_that_looks_and_no_other() {
    everywhere(2, |placement, engine| {
        let looks = engine.task(Wait { ms: 20_000, looks: true }).timeout(ms(30));
        let begun = Instant::now();
        assert!(timed_out(looks.run(), Clock::Timeout), "{placement}");
        assert!((ms(30)..SOON).contains(&begun.elapsed()), "{placement}: {:?}", begun.elapsed());
        let ignores = engine.task(Wait { ms: 100, looks: false }).timeout(ms(10));
        assert_eq!(ignores.run(), Ok(100), "{placement}");
        assert_eq!(engine.task(Double(1)).timeout(SOON).run(), Ok(2), "{placement}");
        assert!(matches!(
            engine.task(Misbehave::Fail).timeout(SOON).run(),
            Err(TaskError::Failed(_))
        ));
    });
}

/// The time in which it waits for a core is not its own.
#[test]
fn timeout_begins_with_the_run() {
    everywhere(1, |placement, engine| {
        let running = holder(&engine);
        let task = engine.task(Wait { ms: 1, looks: true }).timeout(ms(300)).try_submit().unwrap();
        let task = task.join_timeout(ms(400)).expect_err("the core is busy");
        running.cancel();
        assert_eq!(task.join(), Ok(1), "{placement}");
    });
}

#[test]
fn deadline_ends_tasks_before_their_start_and_at_work() {
    everywhere(1, |placement, engine| {
        let at = Instant::now() + ms(500);
        let running = engine.task(Wait { ms: 20_000, looks: true }).deadline(at).try_submit();
        let running = running.unwrap();
        eventually("the job to run", || running.progress().is_some());
        let waiting = engine.task(Double(1)).deadline(at).try_submit().unwrap();
        for outcome in [waiting.join_timeout(SOON), running.join_timeout(SOON)] {
            assert!(timed_out(outcome.expect("in time"), Clock::Deadline), "{placement}");
        }
        assert!(Instant::now() >= at, "{placement}: not before its time");
        let far = engine.task(Double(2)).deadline(Instant::now() + Duration::from_secs(3600));
        assert_eq!(far.run(), Ok(4), "{placement}");
    });
}

#[test]
fn a_task_whose_deadline_is_over_never_starts() {
    everywhere(2, |placement, engine| {
        assert_eq!(engine.run(Double(1)), Ok(2));
        for _ in 0..50 {
            let (run, submitted) = (scratch("late"), scratch("late"));
            let touch = |path: &std::path::Path| {
                engine.task(Touch { path: path.to_owned() }).deadline(Instant::now())
            };
            assert!(timed_out(touch(&run).run(), Clock::Deadline), "{placement}");
            let outcome = touch(&submitted).try_submit().unwrap().join();
            assert!(timed_out(outcome, Clock::Deadline), "{placement}");
            assert!(!run.exists() && !submitted.exists(), "{placement}: a late task ran");
        }
        assert_eq!(engine.queued(), 0);
    });
}

fn a_child_has_its_parents_deadline(engine: &Engine) -> String {
    let parent = engine.task(Parent { patience_ms: 2000 }).deadline(Instant::now() + ms(300));
    parent.run().unwrap()
}

#[test]
fn nested_tasks_inherit_the_deadline() {
    let engine = app().engine().place(Placement::Thread).cores(1).start().unwrap();
    assert_eq!(a_child_has_its_parents_deadline(&engine), "deadline");
}

#[test]
fn nested_tasks_in_a_worker_inherit_the_deadline() {
    let engine = app().engine().place(Placement::Process).cores(1).start().unwrap();
    assert_eq!(a_child_has_its_parents_deadline(&engine), "deadline");
}

#[test]
fn the_first_clock_counts() {
    let engine = app().engine().cores(2).start().unwrap();
    let killed = |outcome: Result<_, TaskError<_>>| {
        let by = |clock| clock == Clock::KillAfter;
        matches!(outcome, Err(TaskError::TimedOut { clock, killed: true, .. }) if by(clock))
    };
    let far = || Instant::now() + ms(2000);
    let hangs = || engine.task(Misbehave::Hang).kill_after(ms(100));
    assert!(killed(hangs().timeout(ms(2000)).deadline(far()).run().map(drop)));
    // It was asked to stop before, and did not.
    assert!(killed(hangs().timeout(ms(20)).run().map(drop)));
    assert!(killed(hangs().deadline(Instant::now() + ms(20)).queue_timeout(SOON).run().map(drop)));
    let looks = || engine.task(Wait { ms: 20_000, looks: true }).kill_after(ms(2000));
    assert!(timed_out(looks().timeout(ms(30)).deadline(far()).run(), Clock::Timeout));
    let soon = Instant::now() + ms(30);
    assert!(timed_out(looks().timeout(ms(1000)).deadline(soon).run(), Clock::Deadline));
}

#[test]
fn kill_after_waits_for_the_task_and_not_for_the_queue() {
    let engine = app().engine().place(Placement::Process).cores(1).start().unwrap();
    let running = holder(&engine);
    let task = engine.task(Double(4)).kill_after(ms(1000)).try_submit().unwrap();
    let task = task.join_timeout(ms(1100)).expect_err("the core is busy");
    running.cancel();
    assert_eq!(task.join(), Ok(8));
}

/// The outcome is the job's own, or that of the clock that was asked for; never another, never none.
fn resolves<J: Job<Output = u64>>(
    what: &str,
    clock: Clock,
    task: Result<Task<u64, J::Error>, amphi::Rejected<J>>,
) {
    let outcome = task.unwrap().join_timeout(SOON).unwrap_or_else(|_| panic!("{what} hangs"));
    match outcome {
        Ok(4) => {}
        Err(TaskError::TimedOut { clock: by, .. }) if by == clock => {}
        Ok(other) => panic!("{what}: {other}"),
        Err(TaskError::TimedOut { clock: by, .. }) => panic!("{what}: {by}"),
        Err(_) => panic!("{what}: another failure"),
    }
}

#[test]
fn absurd_durations_end_in_outcomes() {
    let (least, most) = (Duration::from_nanos(1), Duration::MAX);
    let limits = [Duration::ZERO, least, most, most - least, Duration::from_secs(i64::MAX as u64)];
    everywhere(2, |placement, engine| {
        for limit in limits {
            let what = format!("{placement}, {limit:?}");
            let task = || engine.task(Double(2));
            resolves(&what, Clock::Queue, task().queue_timeout(limit).try_submit());
            resolves(&what, Clock::Timeout, task().timeout(limit).try_submit());
            if placement != Placement::Thread {
                resolves(&what, Clock::KillAfter, task().kill_after(limit).try_submit());
            }
            assert_eq!(task().backoff(limit, limit).run(), Ok(4), "{what}");
            let task = task().try_submit().unwrap();
            let _ = task.join_timeout(limit).map_err(Task::join).map(|outcome| outcome.unwrap());
            // A wait that long is cut short by dropping the handle.
            let flaky = Flaky::new(&[End::Panics, End::Well]);
            let again = engine.task(flaky.clone()).retries(1).backoff(limit, limit);
            let again = again.try_submit().unwrap();
            let done = limit < SOON;
            eventually("the first try", || flaky.tried() > 0);
            if done {
                assert_eq!(again.join(), Ok(2), "{what}");
            } else {
                drop(again.join_timeout(ms(20)).expect_err("it waits"));
            }
        }
        assert_eq!(engine.run(Double(2)), Ok(4));
    });
}

#[test]
fn absurd_deadlines_end_in_outcomes() {
    let now = Instant::now();
    let mut past = now;
    let mut future = now;
    for bit in (0..63).rev() {
        let step = Duration::from_secs(1 << bit);
        past = past.checked_sub(step).unwrap_or(past);
        future = future.checked_add(step).unwrap_or(future);
    }
    everywhere(2, |placement, engine| {
        for (what, at) in [("past", past), ("now", now), ("future", future)] {
            let what = format!("{placement}, {what}");
            let task = || engine.task(Double(2)).deadline(at);
            resolves(&what, Clock::Deadline, task().try_submit());
            resolves(&what, Clock::Deadline, task().retries(3).try_submit());
        }
        assert_eq!(engine.task(Double(2)).deadline(future).run(), Ok(4));
        assert_eq!(engine.run(Double(2)), Ok(4));
    });
}

const ALONE: &str = "AMPHI_TEST_ALONE";

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// In a process of its own, whose memory is that of one engine.
#[test]
fn clocks_of_tasks_that_have_ended_leave_nothing() {
    const NAME: &str = "controls::clocks_of_tasks_that_have_ended_leave_nothing";
    if std::env::var_os(ALONE).is_none() {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let status = command.args([NAME, "--exact"]).env(ALONE, "1").status().unwrap();
        assert!(status.success(), "in a process of its own: {status}");
        return;
    }
    for (placement, rounds) in [(Placement::Thread, 100), (Placement::Process, 5)] {
        let engine = app().engine().place(placement).cores(1).start().unwrap();
        let hour = Duration::from_secs(3600);
        let round = || {
            let tasks: Vec<_> = (0..1000)
                .map(|n| {
                    let task = engine.task(Double(n)).deadline(Instant::now() + hour);
                    task.queue_timeout(hour).timeout(hour).try_submit().unwrap()
                })
                .collect();
            tasks.into_iter().for_each(|task| assert!(task.join().is_ok()));
        };
        (0..2).for_each(|_| round());
        // 40 bytes a task: less than any entry has.
        let before = resident_kib();
        let begun = Instant::now();
        (0..rounds).for_each(|_| round());
        let grown = resident_kib().saturating_sub(before);
        eprintln!("{placement}: {grown} KiB more, {:?}", begun.elapsed());
        assert!(grown < 40 * rounds + 512, "{placement}: {grown} KiB more after {rounds}000 tasks");
        assert!(begun.elapsed() < Duration::from_secs(60), "{placement}: {:?}", begun.elapsed());
    }
}
