//! How long workers live: one for one task, limits of a job's own, replacement before the end, and
//! none that nobody needs.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use amphi::{App, Ctx, Engine, Error, Job, Limits, Placement, Spec, TaskError};
use amphi_tests::eventually;
use rustix::process::Resource;
use serde::{Deserialize, Serialize};

use crate::jobs::{Double, app};

pub(crate) fn jobs(app: App) -> App {
    app.job::<Stain>().job::<Frugal>().job::<Spin>().job::<Leak>().job::<Linger>()
}

/// Leaves a trace in its process and tells whether it found one.
#[derive(Serialize, Deserialize)]
struct Stain;

static STAINED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

impl Job for Stain {
    type Output = (u32, bool);
    type Error = Error;

    fn spec() -> Spec {
        Spec::new().one_shot()
    }

    fn run(self, _cx: &Ctx) -> Result<(u32, bool), Error> {
        Ok((std::process::id(), STAINED.swap(true, std::sync::atomic::Ordering::Relaxed)))
    }
}

/// Tells its own limit of open files.
#[derive(Serialize, Deserialize)]
struct Frugal;

impl Job for Frugal {
    type Output = (u32, Option<u64>, Option<u64>);
    type Error = Error;

    fn spec() -> Spec {
        Spec::new().limits(Limits::new().nofile(77))
    }

    fn run(self, _cx: &Ctx) -> Result<(u32, Option<u64>, Option<u64>), Error> {
        let limit = |of| rustix::process::getrlimit(of).current;
        Ok((std::process::id(), limit(Resource::Nofile), limit(Resource::Fsize)))
    }
}

/// Uses processor time for so many milliseconds.
#[derive(Serialize, Deserialize)]
struct Spin(u64);

impl Job for Spin {
    type Output = ();
    type Error = Error;

    fn spec() -> Spec {
        Spec::new().limits(Limits::new().cpu(Duration::from_millis(900)))
    }

    fn run(self, _cx: &Ctx) -> Result<(), Error> {
        let until = Instant::now() + Duration::from_millis(self.0);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        Ok(())
    }
}

/// Keeps so many MiB for ever.
#[derive(Serialize, Deserialize)]
struct Leak(usize);

impl Job for Leak {
    type Output = u32;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<u32, Error> {
        std::mem::forget(vec![1_u8; self.0 << 20]);
        // Long enough for the worker to look at its size afterwards.
        std::thread::park_timeout(Duration::from_millis(25));
        Ok(std::process::id())
    }
}

/// Keeps its worker for so many milliseconds.
#[derive(Serialize, Deserialize)]
struct Linger(u64);

impl Job for Linger {
    type Output = u32;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<u32, Error> {
        let until = Instant::now() + Duration::from_millis(self.0);
        while Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        Ok(std::process::id())
    }
}

fn processes(cores: usize) -> amphi::EngineBuilder {
    app().engine().place(Placement::Process).cores(cores)
}

fn workers(engine: &Engine) -> HashSet<u32> {
    engine.worker_pids().into_iter().collect()
}

#[test]
fn a_one_shot_task_meets_no_other_ones_traces() {
    for cores in [1, 2] {
        let engine = processes(cores).start().unwrap();
        let tasks: Vec<_> = (0..12).map(|_| engine.try_submit(Stain).unwrap()).collect();
        // Others are served beside them.
        assert_eq!(engine.run(Double(4)), Ok(8));
        let told: Vec<_> = tasks.into_iter().map(|task| task.join().unwrap()).collect();
        let pids: HashSet<u32> = told.iter().map(|(pid, _)| *pid).collect();
        assert_eq!(pids.len(), 12, "each has a worker of its own");
        assert!(told.iter().all(|(_, stained)| !stained), "{told:?}");
        eventually("their workers end", || workers(&engine).is_disjoint(&pids));
        assert_eq!(engine.run(Double(5)), Ok(10));
    }
}

#[test]
fn a_job_has_limits_of_its_own() {
    let limits = Limits::new().nofile(99).fsize(1 << 20);
    let engine = processes(1).limits(limits).start().unwrap();
    let (pid, limit, others) = engine.run(Frugal).unwrap();
    assert_eq!(limit, Some(77));
    assert_eq!(others, Some(1 << 20), "what its own leave open is as the engine's say");
    assert_eq!(engine.run(Double(1)), Ok(2), "on one core its worker makes room for another kind");
    let (again, limit, _) = engine.run(Frugal).unwrap();
    assert_eq!(limit, Some(77));
    assert_ne!(pid, again);
}

#[test]
fn a_task_that_uses_too_much_processor_time_is_ended_and_the_next_has_its_own() {
    let engine = processes(1).start().unwrap();
    for _ in 0..4 {
        // More than the limit together, each one less.
        assert_eq!(engine.run(Spin(500)), Ok(()));
    }
    let ended = engine.run(Spin(20_000)).unwrap_err();
    assert!(matches!(ended, TaskError::Crashed { signal: Some(24), .. }), "{ended:?}");
}

#[test]
fn a_worker_is_replaced_after_its_tasks_and_nothing_is_lost() {
    let engine = processes(2).recycle_after_tasks(50).start().unwrap();
    let mut seen = HashSet::new();
    // A replacement takes its time to start, and the old one serves meanwhile.
    eventually("several generations serve", || {
        let tasks: Vec<_> = (0..40).map(|_| engine.try_submit(Linger(0)).unwrap()).collect();
        seen.extend(tasks.into_iter().map(|task| task.join().unwrap()));
        assert!(!workers(&engine).is_empty(), "the replacement comes first");
        seen.len() >= 6
    });
    eventually("those that were replaced are gone", || workers(&engine).len() <= 2);
}

#[test]
fn a_worker_that_grew_is_replaced_between_two_tasks() {
    let engine = processes(1).recycle_after_growth(30 << 20).start().unwrap();
    let first = engine.run(Leak(1)).unwrap();
    assert_eq!(engine.run(Leak(1)), Ok(first), "a little is no growth");
    assert_eq!(engine.run(Leak(64)), Ok(first));
    eventually("another one serves", || engine.run(Linger(0)).unwrap() != first);
    eventually("the old one is gone", || !workers(&engine).contains(&first));
}

#[test]
fn an_old_worker_is_replaced() {
    let engine = processes(1).recycle_after_age(Duration::from_millis(200)).start().unwrap();
    let first = engine.run(Linger(0)).unwrap();
    eventually("a younger one serves", || engine.run(Linger(0)).unwrap() != first);
}

#[test]
fn workers_that_nobody_needs_end_and_the_least_number_stays() {
    let idle = Duration::from_millis(100);
    let engine = processes(2).workers(1..=2).idle_timeout(idle).start().unwrap();
    eventually("the least number is there before the first task", || workers(&engine).len() == 1);
    let tasks: Vec<_> = (0..2).map(|_| engine.try_submit(Linger(50)).unwrap()).collect();
    tasks.into_iter().for_each(|task| drop(task.join()));
    eventually("one is left", || workers(&engine).len() == 1);
    let kept = workers(&engine);
    let until = Instant::now() + 5 * idle;
    while Instant::now() < until {
        assert_eq!(workers(&engine), kept);
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let engine = processes(2).idle_timeout(idle).start().unwrap();
    assert_eq!(engine.run(Double(1)), Ok(2));
    eventually("none is left", || workers(&engine).is_empty());
    assert_eq!(engine.run(Double(2)), Ok(4), "and one comes when it is needed");
}

#[test]
fn a_range_of_workers_makes_sense_or_is_refused() {
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
    for range in [0..=0, 3..=2] {
        let error = processes(1).workers(range).start().unwrap_err();
        assert!(error.is_setting(), "{error}");
    }
}
