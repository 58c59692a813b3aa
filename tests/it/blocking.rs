//! Jobs that mostly wait: on threads of their own, beside those that keep cores busy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::time::{Duration, Instant};

use amphi::{
    App, Clock, Ctx, Engine, EngineBuilder, Error, Job, Outcome, Placement, Priority, Spec, Stage,
    Task, TaskError,
};
use amphi_tests::eventually;
use serde::{Deserialize, Serialize};

use crate::jobs::{Double, UntilCancelled, app};

pub(crate) fn jobs(app: App) -> App {
    app.job::<Wait>().job::<KeyedWait>().job::<Keyed>().job::<Parent>()
}

/// Where the tasks of one test meet.
#[derive(Default)]
struct Place {
    barrier: OnceLock<Barrier>,
    is_open: AtomicBool,
    now: AtomicUsize,
    most: AtomicUsize,
    order: Mutex<Vec<u64>>,
}

impl Place {
    fn of(number: u64) -> Arc<Self> {
        static PLACES: Mutex<BTreeMap<u64, Arc<Place>>> = Mutex::new(BTreeMap::new());
        Arc::clone(PLACES.lock().unwrap().entry(number).or_default())
    }

    /// One that no other test has, and its number.
    fn own() -> (u64, Arc<Self>) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        (number, Self::of(number))
    }

    fn open(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    fn within<R>(&self, run: impl FnOnce() -> R) -> R {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        let ran = run();
        self.now.fetch_sub(1, Ordering::Relaxed);
        ran
    }
}

#[derive(Serialize, Deserialize)]
enum How {
    /// Until the place is open, or the task is cancelled.
    Open,
    /// Until so many are there.
    Meet(usize),
    /// For ever, whatever it is told.
    Hang,
    Panic,
    /// For a task of another job.
    Child(u64),
}

/// Waits at a place and writes its number down.
#[derive(Serialize, Deserialize)]
struct Wait {
    place: u64,
    number: u64,
    how: How,
}

impl Job for Wait {
    type Output = u64;
    type Error = Error;

    fn name() -> &'static str {
        "wait"
    }

    fn spec() -> Spec {
        Spec::new().blocking()
    }

    fn run(self, cx: &Ctx) -> Result<u64, Error> {
        assert_eq!(cx.placement(), Placement::Thread);
        let place = Place::of(self.place);
        place.order.lock().unwrap().push(self.number);
        place.within(|| match self.how {
            How::Open => {
                while !place.is_open.load(Ordering::Relaxed) {
                    cx.check()?;
                    std::thread::park_timeout(Duration::from_micros(100));
                }
                Ok(self.number)
            }
            How::Meet(count) => {
                place.barrier.get_or_init(|| Barrier::new(count)).wait();
                Ok(self.number)
            }
            How::Hang => loop {
                std::thread::park();
            },
            How::Panic => panic!("on purpose"),
            How::Child(n) => Ok(cx.engine().try_submit(Double(n))?.join()?),
        })
    }
}

/// A compute job that waits for blocking ones: so many, which wait for each other.
#[derive(Serialize, Deserialize)]
struct Parent(u64, usize);

impl Job for Parent {
    type Output = u64;
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<u64, Error> {
        let engine = cx.engine();
        let children: Vec<_> =
            (0..self.1).map(|n| wait(&engine, self.0, n as u64, How::Meet(self.1))).collect();
        children.into_iter().try_fold(0, |sum, child| Ok(sum + child.join()?))
    }
}

/// Two jobs with one key, of which one is blocking: true if it was alone.
#[derive(Serialize, Deserialize)]
struct KeyedWait(u64);

#[derive(Serialize, Deserialize)]
struct Keyed(u64);

fn alone(place: u64) -> bool {
    let place = Place::of(place);
    place.within(|| {
        (0..20).for_each(|_| std::thread::yield_now());
        place.now() == 1
    })
}

impl Job for KeyedWait {
    type Output = bool;
    type Error = Error;

    fn spec() -> Spec {
        Spec::new().blocking().not_thread_safe("blocking tests")
    }

    fn run(self, _cx: &Ctx) -> Result<bool, Error> {
        Ok(alone(self.0))
    }
}

impl Job for Keyed {
    type Output = bool;
    type Error = Error;

    fn spec() -> Spec {
        Spec::new().not_thread_safe("blocking tests")
    }

    fn run(self, _cx: &Ctx) -> Result<bool, Error> {
        Ok(alone(self.0))
    }
}

fn wait(engine: &Engine, place: u64, number: u64, how: How) -> Task<u64, Error> {
    engine.try_submit(Wait { place, number, how }).unwrap()
}

fn threads(cores: usize) -> EngineBuilder {
    app().engine().place(Placement::Thread).cores(cores)
}

const SOON: Duration = Duration::from_secs(5);

fn take<T: 'static>(task: Task<T, Error>) -> Result<T, TaskError<Error>> {
    task.join_timeout(SOON).expect("it does not hang")
}

#[test]
fn they_keep_no_core_busy() {
    for placement in [Placement::Thread, Placement::Auto, Placement::Process] {
        let engine = app().engine().place(placement).cores(1).start().unwrap();
        let (number, place) = Place::own();
        let tasks: Vec<_> = (0..7).map(|n| wait(&engine, number, n, How::Meet(8))).collect();
        eventually("all of them to wait", || place.now() == 7);
        for n in 0..100 {
            assert_eq!(take(engine.try_submit(Double(n)).unwrap()), Ok(2 * n));
        }
        let last = wait(&engine, number, 7, How::Meet(8));
        for (n, task) in (0..).zip(tasks.into_iter().chain([last])) {
            assert_eq!(task.placement(), Some(Placement::Thread));
            assert_eq!(take(task), Ok(n));
        }
        // Counted a moment after the outcome is there.
        eventually("all of them to be counted and measured", || {
            let stats = engine.stats();
            let wait = stats.job("wait").unwrap().place(Placement::Thread).unwrap();
            wait.tasks(Outcome::Ok) == 8 && wait.stage(Stage::Run).is_some()
        });
    }
}

/// The only core computes all the while.
#[test]
fn they_run_beside_a_job_that_keeps_every_core() {
    let engine = threads(1).start().unwrap();
    let busy = engine.try_submit(UntilCancelled).unwrap();
    eventually("the job to run", || busy.progress().is_some());
    let (number, _) = Place::own();
    let tasks: Vec<_> = (0..4).map(|n| wait(&engine, number, n, How::Meet(4))).collect();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(take(task), Ok(n));
    }
    busy.cancel();
    assert_eq!(take(busy), Err(TaskError::Cancelled));
}

#[test]
fn beyond_the_bound_they_wait() {
    let engine = threads(2).blocking_threads(3).start().unwrap();
    let (number, place) = Place::own();
    let tasks: Vec<_> = (0..12).map(|n| wait(&engine, number, n, How::Open)).collect();
    eventually("as many to run as may", || place.now() == 3);
    assert_eq!(engine.queued(), 9);
    assert_eq!(engine.run(Double(4)), Ok(8), "nobody waits behind them");
    assert_eq!(place.now(), 3);
    place.open();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(take(task), Ok(n));
    }
    assert_eq!(place.most.load(Ordering::Relaxed), 3);
    assert_eq!(engine.queued(), 0);
}

#[test]
fn one_that_waits_is_cancelled_at_once_and_leaves_the_queue() {
    let engine = threads(1).blocking_threads(1).queue(100).start().unwrap();
    let (number, place) = Place::own();
    let running = wait(&engine, number, 0, How::Open);
    eventually("it to run", || place.now() == 1);
    let live = wait(&engine, number, 1, How::Open);
    let cancelled = wait(&engine, number, 2, How::Open);
    cancelled.cancel();
    assert_eq!(take(cancelled), Err(TaskError::Cancelled));
    for n in 0..10_000 {
        drop(wait(&engine, number, 3 + n, How::Open));
    }
    assert_eq!(engine.queued(), 1);
    let job = Wait { place: number, number: 2, how: How::Open };
    let late = engine.task(job).queue_timeout(Duration::from_millis(20)).try_submit().unwrap();
    assert!(matches!(take(late), Err(TaskError::TimedOut { clock: Clock::Queue, .. })));
    place.open();
    assert_eq!((take(running), take(live)), (Ok(0), Ok(1)));
    assert_eq!(*place.order.lock().unwrap(), [0, 1], "no other one was run");
}

#[test]
fn a_running_one_is_asked_to_stop() {
    let engine = threads(1).start().unwrap();
    let (number, place) = Place::own();
    let task = wait(&engine, number, 0, How::Open);
    eventually("it to run", || place.now() == 1);
    task.cancel();
    assert_eq!(take(task), Err(TaskError::Cancelled));
    let job = Wait { place: number, number: 1, how: How::Open };
    let timed = engine.task(job).timeout(Duration::from_millis(20)).try_submit().unwrap();
    assert!(matches!(take(timed), Err(TaskError::TimedOut { clock: Clock::Timeout, .. })));
}

#[test]
fn the_more_urgent_go_first() {
    let engine = threads(1).blocking_threads(1).start().unwrap();
    let (number, place) = Place::own();
    let running = wait(&engine, number, 0, How::Open);
    eventually("it to run", || place.now() == 1);
    let priorities = [Priority::Low, Priority::Normal, Priority::High];
    let tasks = [3, 2, 1].into_iter().zip(priorities).map(|(n, priority)| {
        let job = Wait { place: number, number: n, how: How::Open };
        engine.task(job).priority(priority).try_submit().unwrap()
    });
    let tasks: Vec<_> = tasks.collect();
    place.open();
    assert!(take(running).is_ok() && tasks.into_iter().all(|task| take(task).is_ok()));
    assert_eq!(*place.order.lock().unwrap(), [0, 1, 2, 3]);
}

#[test]
fn a_panic_is_an_outcome_and_its_thread_goes_on() {
    let engine = threads(1).blocking_threads(1).start().unwrap();
    let (number, place) = Place::own();
    place.open();
    for _ in 0..3 {
        let panicked = engine.run(Wait { place: number, number: 0, how: How::Panic });
        assert!(matches!(panicked, Err(TaskError::Panicked { .. })), "{panicked:?}");
        assert_eq!(engine.run(Wait { place: number, number: 1, how: How::Open }), Ok(1));
    }
    let retried = engine.task(Wait { place: number, number: 2, how: How::Panic }).retries(2);
    assert!(matches!(retried.run(), Err(TaskError::Panicked { .. })));
    let twos = place.order.lock().unwrap().iter().filter(|number| **number == 2).count();
    assert_eq!(twos, 3, "it was tried three times");
}

#[test]
fn they_wait_for_other_jobs_and_others_for_them() {
    for placement in [Placement::Thread, Placement::Process] {
        let engine = app().engine().place(placement).cores(1).start().unwrap();
        let (number, _) = Place::own();
        let tasks: Vec<_> = (0..20).map(|n| wait(&engine, number, 0, How::Child(n))).collect();
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(take(task), Ok(2 * n));
        }
        // Its children run where it is: in a worker, too, beside its one core.
        let parent = engine.try_submit(Parent(Place::own().0, 4)).unwrap();
        assert_eq!(take(parent), Ok(6), "{placement}");
    }
}

#[test]
fn a_key_is_one_for_all_threads() {
    let engine = threads(2).start().unwrap();
    let (number, place) = Place::own();
    let mut tasks = Vec::new();
    for _ in 0..50 {
        tasks.push(engine.try_submit(KeyedWait(number)).unwrap());
        tasks.push(engine.try_submit(Keyed(number)).unwrap());
    }
    assert!(tasks.into_iter().all(|task| take(task) == Ok(true)));
    assert_eq!(place.most.load(Ordering::Relaxed), 1);
}

#[test]
fn shutdown_lets_them_end_or_cancels_them() {
    let engine = threads(1).blocking_threads(2).start().unwrap();
    let (number, place) = Place::own();
    place.open();
    let tasks: Vec<_> = (0..100).map(|n| wait(&engine, number, n, How::Open)).collect();
    let report = engine.shutdown(Duration::from_secs(10));
    assert_eq!((report.submitted, report.cancelled, report.threads_left), (100, 0, false));
    assert!(tasks.into_iter().all(|task| take(task).is_ok()));

    let engine = threads(1).blocking_threads(1).start().unwrap();
    let (number, place) = Place::own();
    let tasks: Vec<_> = (0..3).map(|n| wait(&engine, number, n, How::Open)).collect();
    eventually("one to run", || place.now() == 1);
    let begun = Instant::now();
    let report = engine.shutdown(Duration::from_millis(50));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!((report.submitted, report.cancelled, report.threads_left), (3, 3, false));
    assert!(tasks.into_iter().all(|task| take(task) == Err(TaskError::Cancelled)));
    assert_eq!(place.now(), 0);
}

#[test]
fn one_that_hangs_holds_up_nobody() {
    let engine = threads(1).blocking_threads(1).start().unwrap();
    let (number, place) = Place::own();
    let hung = wait(&engine, number, 0, How::Hang);
    eventually("it to run", || place.now() == 1);
    let waiting = wait(&engine, number, 1, How::Open);
    let begun = Instant::now();
    assert!(engine.shutdown(Duration::ZERO).threads_left);
    drop(engine);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!((take(hung), take(waiting)), (Err(TaskError::Cancelled), Err(TaskError::Cancelled)));
}

#[test]
fn a_bound_of_none_is_refused() {
    let error = threads(1).blocking_threads(0).start().unwrap_err();
    assert!(error.is_setting(), "{error}");
}
