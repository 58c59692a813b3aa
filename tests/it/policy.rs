//! Who decides where tasks run: needs before wishes, and a policy for what they leave open.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use amphi::policy::{AlwaysProcess, AlwaysThread, Class, Decision, Event, Ran, Why};
use amphi::{Bytes, Engine, Job, Placement, Policy, Reason, TaskError};
use amphi_tests::eventually;

use crate::chores::{End, Flaky, ISOLATED, LIMITS, Needs, ONE_SHOT, THREADS_ONLY, Wait};
use crate::jobs::{Double, Echo, Misbehave, UntilCancelled, app};

const SOON: Duration = Duration::from_secs(5);

pub(crate) fn with(policy: impl Policy) -> Engine {
    app().engine().policy(policy).cores(2).start().unwrap()
}

/// Where a task of this job ran.
fn place_of<J: Job>(engine: &Engine, job: J) -> Placement {
    let task = engine.try_submit(job).unwrap();
    eventually("the task to end", || task.is_finished());
    task.placement().unwrap()
}

/// A policy made of two functions.
struct Made<D, O>(D, O);

impl<D, O> Policy for Made<D, O>
where
    D: FnMut(Class) -> Decision + Send + 'static,
    O: FnMut(&Event) -> bool + Send + 'static,
{
    fn decide(&mut self, class: Class, _now: Duration) -> Decision {
        self.0(class)
    }

    fn observe(&mut self, event: &Event, _now: Duration) -> bool {
        self.1(event)
    }

    fn wants_costs(&self) -> bool {
        false
    }
}

pub(crate) fn decision(placement: Placement, tasks: u32) -> Decision {
    Decision::new(placement, Why::Fixed, tasks)
}

#[test]
fn a_policys_decisions_are_followed() {
    // Long inputs go to processes.
    let by_size = |class: Class| {
        let long = class.bytes_from() >= 10_000;
        decision(if long { Placement::Process } else { Placement::Thread }, 7)
    };
    let engine = with(Made(by_size, |_: &Event| false));
    for round in 0..40 {
        for (bytes, expected) in [(100, Placement::Thread), (100_000, Placement::Process)] {
            let echo = Echo { bytes: Bytes::from(vec![1; bytes]), output_len: 1 };
            assert_eq!(place_of(&engine, echo), expected, "round {round}");
        }
    }
}

#[test]
fn a_decision_is_for_as_many_tasks_as_it_says() {
    let mut asked = 0;
    let in_turn = move |_| {
        asked += 1;
        decision(if asked % 2 == 1 { Placement::Process } else { Placement::Thread }, 3)
    };
    let engine = with(Made(in_turn, |_: &Event| false));
    let places: Vec<_> = (0..12).map(|n| place_of(&engine, Double(n))).collect();
    let expected = [Placement::Process, Placement::Thread].map(|place| [place; 3]).concat();
    assert_eq!(places, [&expected[..], &expected[..]].concat());
}

#[test]
fn probes_go_to_the_other_place_and_urgent_tasks_are_none() {
    let probing = |_| Decision { probes: 2, ..Decision::new(Placement::Thread, Why::Cost, 8) };
    let engine = with(Made(probing, |_: &Event| false));
    let places: Vec<_> = (0..80).map(|n| place_of(&engine, Double(n))).collect();
    let probes = places.iter().filter(|place| **place == Placement::Process).count();
    assert_eq!(probes, 20);
    for n in 0..80 {
        let task = engine.task(Double(n)).priority(amphi::Priority::High).try_submit().unwrap();
        eventually("the task to end", || task.is_finished());
        assert_eq!(task.placement(), Some(Placement::Thread));
    }
    let stats = engine.stats();
    let probes: u64 =
        stats.decisions.iter().filter(|it| it.why == Why::Probe).map(|it| it.tasks).sum();
    assert_eq!(probes, 20);
    let decided: u64 = stats.decisions.iter().map(|it| it.tasks).sum();
    assert!((stats.probe_share - 20.0 / decided as f64).abs() < 1e-9, "{}", stats.probe_share);
}

/// Measuring them starts a worker.
#[test]
fn a_policy_that_wants_no_costs_starts_no_worker() {
    let indifferent = with(AlwaysThread);
    let curious = app().engine().cores(2).start().unwrap();
    eventually("the costs to be measured where they are wanted", || {
        (0..20).for_each(|n| assert_eq!(curious.run(Double(n)), Ok(2 * n)));
        (0..20).for_each(|n| assert_eq!(indifferent.run(Double(n)), Ok(2 * n)));
        !curious.worker_pids().is_empty()
    });
    assert!(indifferent.worker_pids().is_empty());
}

#[test]
fn a_policy_is_told_what_its_tasks_came_to() {
    let ran = Arc::new(log::Log::default());
    let told = Arc::clone(&ran);
    let observe = move |event: &Event| {
        if let Event::Ran(ran) = event {
            told.push(*ran);
        }
        false
    };
    let engine = with(Made(|_| decision(Placement::Process, 100), observe));
    for n in 0..50 {
        assert_eq!(engine.run(Double(n)), Ok(2 * n));
    }
    let seen = ran.all();
    assert!(!seen.is_empty());
    let class = engine.explain::<Double>()[0].class;
    for Ran { class: of, placement, service_ns, tasks, .. } in seen {
        assert_eq!((of, placement), (class, Placement::Process));
        assert!(service_ns > 0.0 && tasks >= 1.0);
    }
}

/// What a policy was told.
mod log {
    use std::sync::Mutex;

    use amphi::policy::Ran;

    #[derive(Default)]
    pub(super) struct Log(Mutex<Vec<Ran>>);

    impl Log {
        pub(super) fn push(&self, ran: Ran) {
            self.0.lock().unwrap().push(ran);
        }

        pub(super) fn all(&self) -> Vec<Ran> {
            self.0.lock().unwrap().clone()
        }
    }
}

/// What it has decided is void as soon as it says so.
#[test]
fn a_policy_may_change_its_mind() {
    let ended = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&ended);
    let decide = move |_| {
        let late = seen.load(Ordering::Relaxed) >= 1;
        decision(if late { Placement::Process } else { Placement::Thread }, u32::MAX)
    };
    let observe = move |event: &Event| {
        matches!(event, Event::Ran(_)) && ended.fetch_add(1, Ordering::Relaxed) == 0
    };
    let engine = with(Made(decide, observe));
    assert_eq!(place_of(&engine, Double(1)), Placement::Thread);
    eventually("the other place", || place_of(&engine, Double(1)) == Placement::Process);
    assert_eq!(engine.stats().flips, 1);
}

#[test]
fn needs_and_wishes_beat_any_policy() {
    let threads = with(AlwaysThread);
    assert_eq!(place_of(&threads, Double(1)), Placement::Thread);
    assert_eq!(threads.run(Needs::<ISOLATED>), Ok(true));
    assert_eq!(threads.task(Double(1)).place(Placement::Process).run(), Ok(2));
    let killed = threads.task(Misbehave::Hang).kill_after(Duration::from_millis(50)).run();
    assert!(matches!(killed, Err(TaskError::TimedOut { killed: true, .. })), "{killed:?}");
    let crash = threads.task(Misbehave::Abort).place(Placement::Process).run();
    assert!(matches!(crash, Err(TaskError::Crashed { .. })), "{crash:?}");
    assert_eq!(place_of(&threads, Misbehave::Fail), Placement::Process, "it has crashed lately");

    let processes = with(AlwaysProcess);
    assert_eq!(place_of(&processes, Double(1)), Placement::Process);
    assert_eq!(processes.run(Needs::<THREADS_ONLY>), Ok(false));
    assert_eq!(processes.spawn(|cx| cx.placement()).join(), Ok(Placement::Thread));
    let asked = processes.task(Double(1)).place(Placement::Thread).try_submit().unwrap();
    eventually("the task to end", || asked.is_finished());
    assert_eq!(asked.placement(), Some(Placement::Thread));
}

/// What handing over costs is known although no core is ever free for it, and a class is looked at in
/// both places.
#[test]
fn classes_are_compared_while_every_core_is_at_work() {
    let engine = app().engine().cores(2).start().unwrap();
    let is_compared = || engine.explain::<Wait>().iter().any(|class| class.why == Why::Cost);
    let mut tasks = VecDeque::new();
    eventually("a comparison", || {
        for _ in 0..20 {
            tasks.push_back(engine.submit_blocking(Wait { ms: 1, looks: false }).unwrap());
        }
        while tasks.len() > 40 {
            assert_eq!(tasks.pop_front().unwrap().join(), Ok(1));
        }
        is_compared()
    });
}

/// Whoever waits for its tasks, and however many there are.
#[test]
fn a_job_that_has_crashed_stays_away_from_threads() {
    let engine = app().engine().cores(2).start().unwrap();
    let crash = engine.task(Flaky::new(&[End::Aborts])).place(Placement::Process).run();
    assert!(matches!(crash, Err(TaskError::Crashed { .. })), "{crash:?}");
    let tells = Flaky::new(&[End::Tells]);
    assert_eq!(engine.run(tells.clone()), Ok(1));
    let explained = engine.explain::<Flaky>();
    assert!(!explained.is_empty());
    for class in explained {
        let told = (class.placement, class.why);
        assert_eq!(told, (Placement::Process, Why::Crashes), "{class}");
    }
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let tasks: Vec<_> =
                        (0..20).map(|_| engine.try_submit(tells.clone()).unwrap()).collect();
                    tasks.into_iter().for_each(|task| assert_eq!(task.join(), Ok(1)));
                    assert_eq!(engine.run(tells.clone()), Ok(1));
                }
            });
        }
    });
}

/// One that is to be tried again does not come to the thread of whoever waits for it.
#[test]
fn a_retried_task_stays_where_it_has_to_be() {
    let engine = app().engine().cores(2).start().unwrap();
    for delay_ms in [0, 20] {
        let delay = Duration::from_millis(delay_ms);
        for _ in 0..10 {
            let flaky = Flaky::new(&[End::Panics, End::Tells]);
            let task = engine.task(flaky.clone()).place(Placement::Process).retries(1);
            let task = task.backoff(delay, delay).try_submit().unwrap();
            eventually("the first try", || flaky.tried() > 0);
            assert_eq!(task.join(), Ok(1), "after {delay_ms} ms");
        }
    }
}

#[test]
fn a_task_explains_where_it_runs() {
    let engine = app().engine().cores(1).start().unwrap();
    let name = Double::name();
    assert_eq!(engine.explain::<Double>(), []);
    let running = engine.try_submit(UntilCancelled).unwrap();
    eventually("the job to run", || running.progress().is_some());
    let open = engine.try_submit(Double(1)).unwrap();
    assert_eq!(open.explain(), format!("{name}/4 B → thread or process (waiting)"));
    assert_eq!(open.placement(), None);
    let asked = engine.task(Double(1)).place(Placement::Process).try_submit().unwrap();
    assert!(asked.explain().ends_with("the task asked for it"), "{}", asked.explain());
    let isolated = engine.try_submit(Needs::<ISOLATED>).unwrap();
    assert!(isolated.explain().contains("→ process"), "{}", isolated.explain());
    assert!(isolated.explain().ends_with("the job is isolated()"), "{}", isolated.explain());
    running.cancel();
    eventually("the task to end", || open.is_finished());
    let text = open.explain();
    assert!(text.starts_with(&format!("{name}/4 B → thread (start): thread ")), "{text}");
    assert_eq!(asked.join(), Ok(2));
    drop(isolated);

    for n in 0..2000 {
        assert_eq!(engine.run(Double(n % 60)), Ok(2 * (n % 60)));
    }
    let classes = engine.explain::<Double>();
    let [class] = &classes[..] else { panic!("{classes:?}") };
    let estimate = class.estimate.unwrap();
    assert!(estimate.thread_ns.is_some_and(|ns| ns > 0.0) && estimate.samples.0 > 10, "{class}");
    assert_eq!((class.job, class.placement), (name, Placement::Thread), "{class}");
    let text = class.to_string();
    assert!(text.starts_with(&format!("{name}/4 B → thread (")), "{text}");
    assert!(text.contains("process ") && text.ends_with(" samples"), "{text}");
    assert!(engine.explain_all().contains(class));

    let fixed = with(AlwaysProcess);
    let task = fixed.try_submit(Double(1)).unwrap();
    eventually("the task to end", || task.is_finished());
    assert_eq!(task.explain(), format!("{name}/4 B → process (fixed)"));
}

/// The text of a refusal at submit.
fn refused<J: Job>(task: amphi::TaskBuilder<J>) -> String {
    let Err(rejected) = task.try_submit() else { panic!("it was accepted") };
    assert!(!rejected.reason.is_retryable());
    match rejected.reason {
        Reason::Contradiction(text) => text.to_owned(),
        other => panic!("another refusal: {other}"),
    }
}

#[test]
fn needs_that_contradict_each_other_are_refused_by_name() {
    const BOTH: [u8; 3] = [ISOLATED + THREADS_ONLY, ONE_SHOT + THREADS_ONLY, LIMITS + THREADS_ONLY];
    let limit = Duration::from_secs(1);
    for placement in [Placement::Thread, Placement::Process, Placement::Auto] {
        let engine = app().engine().place(placement).cores(1).start().unwrap();
        let threads = engine.task(Needs::<THREADS_ONLY>);
        let on_thread = Placement::Thread;
        let texts = [
            (refused(engine.task(Needs::<{ BOTH[0] }>)), ["isolated()", "threads_only()"]),
            (refused(engine.task(Needs::<{ BOTH[1] }>)), ["one_shot()", "threads_only()"]),
            (refused(engine.task(Needs::<{ BOTH[2] }>)), ["limits(..)", "threads_only()"]),
            (refused(threads.kill_after(limit)), ["kill_after", "threads_only()"]),
            (
                refused(engine.task(Needs::<THREADS_ONLY>).place(Placement::Process)),
                ["Placement::Process", "threads only"],
            ),
            (
                refused(engine.task(Needs::<ISOLATED>).place(on_thread)),
                ["isolated()", "Placement::Thread"],
            ),
            (
                refused(engine.task(Needs::<ONE_SHOT>).place(on_thread)),
                ["one_shot()", "Placement::Thread"],
            ),
            (
                refused(engine.task(Needs::<LIMITS>).place(on_thread)),
                ["limits(..)", "Placement::Thread"],
            ),
            (
                refused(engine.task(Double(1)).place(on_thread).kill_after(limit)),
                ["kill_after", "Placement::Thread"],
            ),
        ];
        for (text, names) in texts {
            assert!(names.iter().all(|name| text.contains(name)), "{placement}: {text}");
        }
        assert_eq!(engine.run(Double(1)), Ok(2));
        assert_eq!(engine.stats().accepted, 1, "{placement}: a refused task was never there");
    }
}

#[test]
fn a_need_for_a_process_is_refused_where_there_are_none() {
    let engine = app().engine().place(Placement::Thread).cores(1).start().unwrap();
    let unsupported = |reason| matches!(reason, Reason::Unsupported(_));
    assert!(unsupported(engine.try_submit(Needs::<ISOLATED>).map(drop).unwrap_err().reason));
    assert!(unsupported(engine.try_submit(Needs::<LIMITS>).map(drop).unwrap_err().reason));
    let asked = engine.task(Double(1)).place(Placement::Process).try_submit();
    assert!(unsupported(asked.map(drop).unwrap_err().reason));
    let killed = engine.task(Double(1)).kill_after(SOON).try_submit();
    assert!(unsupported(killed.map(drop).unwrap_err().reason));
}
