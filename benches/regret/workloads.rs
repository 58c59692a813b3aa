//! The workloads and their drivers: one thread submits and takes the answers, oldest first.

use std::collections::VecDeque;
use std::hint;
use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

use amphi::{Engine, Error, Job, Placement, Task, TaskError};

use super::jobs::{
    Book, Churn, Class, Crashing, Faults, Hash, NotThreadSafe, Payload, Tiny, VARIANTS,
};

/// Tasks in flight, but for large payloads.
const WINDOW: usize = 256;
const PAYLOAD_WINDOW: usize = 8;
/// Of so many tasks of the class that crashes, the last one does.
const CRASH_EVERY: usize = 2_000;
/// A burst, and the time from one to the next: half of one core's time.
const BURST: usize = 50;
const PERIOD: Duration = Duration::from_millis(10);
/// Who waits for the clock stops sleeping so long before: a sleeper is late by a wake-up.
const NEAR: Duration = Duration::from_micros(80);

/// What one slice consists of.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// Tasks in a slice.
    pub(crate) count: usize,
    /// Tasks in flight; of an open loop those of a burst.
    window: usize,
    shape: Shape,
}

#[derive(Debug, Clone)]
pub(crate) enum Shape {
    /// The next task comes when the oldest one is done.
    Closed(Class),
    /// Tasks of this class come by the clock, in bursts.
    Bursts(Class),
    /// As `Closed`, task by task of these classes.
    Mix(Vec<Class>),
}

impl Workload {
    /// The workloads of one class each. Slices are as long as a run of a quarter of an hour
    /// allows; 12 of them have at least 20 000 tasks.
    pub(crate) fn singles(divide: usize) -> Vec<Self> {
        let single = |class: Class, count: usize| {
            let window = if class == Class::Payload { PAYLOAD_WINDOW } else { WINDOW };
            let shape = Shape::Closed(class);
            Self { name: class.name(), count: (count / divide).max(window / 4), window, shape }
        };
        let bursts = single(Class::Hash, 2_000);
        vec![
            single(Class::Tiny, 50_000),
            single(Class::Hash, 20_000),
            single(Class::Churn, 1_700),
            single(Class::Payload, 1_700),
            single(Class::Faults, 1_700),
            single(Class::NotThreadSafe, 10_000),
            Self { name: "bursty", window: BURST, shape: Shape::Bursts(Class::Hash), ..bursts },
            single(Class::Crashing, 20_000),
        ]
    }

    /// Tasks of these classes, in this order.
    pub(crate) fn mix(name: &'static str, classes: Vec<Class>) -> Self {
        Self { name, count: classes.len(), window: WINDOW, shape: Shape::Mix(classes) }
    }

    pub(crate) fn is_mix(&self) -> bool {
        matches!(self.shape, Shape::Mix(_))
    }

    /// The figure by which systems are compared; smaller is better.
    pub(crate) fn metric(&self) -> &'static str {
        if matches!(self.shape, Shape::Bursts(_)) { "p99" } else { "wall" }
    }

    /// The class of task `number`.
    pub(crate) fn class(&self, number: usize) -> Class {
        match &self.shape {
            Shape::Closed(class) | Shape::Bursts(class) => *class,
            Shape::Mix(classes) => classes[number],
        }
    }
}

/// Where the tasks of a class go; `Auto`: where the engine sends them.
pub(crate) type Places<'a> = &'a dyn Fn(Class) -> Placement;

/// What one slice came to.
pub(crate) struct Slice {
    pub(crate) wall: Duration,
    /// Tasks that came to no answer.
    pub(crate) lost: usize,
    /// In nanoseconds, each from when the task was due; only of an open loop.
    pub(crate) latencies: Vec<u64>,
}

/// Runs one slice.
pub(crate) fn slice(
    engine: &Engine,
    workload: &Workload,
    book: &Book,
    places: Places<'_>,
) -> Slice {
    let start = Instant::now();
    let (lost, latencies) = match workload.shape {
        Shape::Bursts(_) => bursts(engine, workload, book, places),
        _ => (closed(engine, workload, workload.count, book, places), Vec::new()),
    };
    Slice { wall: start.elapsed(), lost, latencies }
}

/// The first window of the workload, or a burst, which wakes threads and starts workers.
pub(crate) fn warm_up(engine: &Engine, workload: &Workload, book: &Book, places: Places<'_>) {
    let count = workload.window.min(workload.count);
    closed(engine, workload, count, book, places);
}

/// Keeps the window full until `count` tasks are done; returns how many of them were lost.
fn closed(
    engine: &Engine,
    workload: &Workload,
    count: usize,
    book: &Book,
    places: Places<'_>,
) -> usize {
    let mut in_flight = VecDeque::with_capacity(workload.window);
    let mut lost = 0;
    for number in 0..count {
        if in_flight.len() == workload.window
            && let Some(oldest) = in_flight.pop_front()
        {
            lost += InFlight::join(oldest);
        }
        let class = workload.class(number);
        in_flight.push_back(submit(engine, class, places(class), number, book));
    }
    lost + in_flight.into_iter().map(InFlight::join).sum::<usize>()
}

/// Lets this thread's timers end on time instead of 50 µs later, while it lives.
struct SharpTimers;

impl SharpTimers {
    fn set() -> Self {
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        Self
    }
}

impl Drop for SharpTimers {
    fn drop(&mut self) {
        let _ = rustix::thread::set_current_timer_slack(None); // the default again
    }
}

/// Sends bursts at their times and takes answers in between, never running a task itself; returns
/// how many were lost, and the latencies. One that is taken late counts as late, and so do the
/// answers behind it: that is the same for all systems.
fn bursts(
    engine: &Engine,
    workload: &Workload,
    book: &Book,
    places: Places<'_>,
) -> (usize, Vec<u64>) {
    let _sharp = SharpTimers::set();
    let mut latencies = Vec::with_capacity(workload.count);
    let mut in_flight = VecDeque::new();
    let (mut sent, mut lost) = (0, 0);
    let mut due = Instant::now() + PERIOD;
    while sent < workload.count || !in_flight.is_empty() {
        let is_open = sent < workload.count;
        let left = due.saturating_duration_since(Instant::now());
        if is_open && left.is_zero() {
            let burst = sent..workload.count.min(sent + BURST);
            sent = burst.end;
            in_flight.extend(burst.map(|number| {
                let class = workload.class(number);
                (submit(engine, class, places(class), number, book), due)
            }));
            due += PERIOD;
            continue;
        }
        let left = if is_open { left } else { PERIOD };
        match in_flight.pop_front() {
            Some((oldest, due)) => match oldest.join_timeout(left) {
                Ok(is_lost) => {
                    lost += is_lost;
                    latencies.push(u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX));
                }
                Err(oldest) => in_flight.push_front((oldest, due)),
            },
            None if left > NEAR => thread::sleep(left - NEAR),
            None => hint::spin_loop(),
        }
    }
    (lost, latencies)
}

/// A task on its way, with its right answer.
enum InFlight {
    Word(Pending<u64>),
    Digest(Pending<[u8; 32]>),
}

struct Pending<T> {
    task: Task<T, Error>,
    answer: T,
}

impl InFlight {
    /// 0: the answer came and was right; 1: there is none.
    fn join(self) -> usize {
        match self {
            Self::Word(Pending { task, answer }) => settle(task.join(), &answer),
            Self::Digest(Pending { task, answer }) => settle(task.join(), &answer),
        }
    }

    /// The same within `limit`; else it comes back.
    fn join_timeout(self, limit: Duration) -> Result<usize, Self> {
        match self {
            Self::Word(Pending { task, answer }) => match task.join_timeout(limit) {
                Ok(outcome) => Ok(settle(outcome, &answer)),
                Err(task) => Err(Self::Word(Pending { task, answer })),
            },
            Self::Digest(Pending { task, answer }) => match task.join_timeout(limit) {
                Ok(outcome) => Ok(settle(outcome, &answer)),
                Err(task) => Err(Self::Digest(Pending { task, answer })),
            },
        }
    }
}

fn settle<T: PartialEq>(outcome: Result<T, TaskError<Error>>, right: &T) -> usize {
    match outcome {
        Ok(answer) => {
            assert!(answer == *right, "a task answered something else");
            0
        }
        Err(TaskError::Failed(error)) => panic!("a job failed: {error}"),
        Err(TaskError::Crashed { .. } | TaskError::Poisoned { .. }) => 1,
        Err(error) => {
            eprintln!("\na task has no answer: {error}");
            1
        }
    }
}

fn submit(engine: &Engine, class: Class, place: Placement, number: usize, book: &Book) -> InFlight {
    let seed = (number % VARIANTS) as u64;
    let amount = book.amount(class);
    let answer = book.answer(class, number);
    match class {
        Class::Tiny => word(engine, Tiny { seed, amount }, place, answer),
        Class::Hash => word(engine, Hash { seed, amount }, place, answer),
        Class::Churn => word(engine, Churn { seed, amount }, place, answer),
        Class::Faults => word(engine, Faults { seed, amount }, place, answer),
        Class::NotThreadSafe => word(engine, NotThreadSafe { seed, amount }, place, answer),
        Class::Crashing => {
            let fatal = number % CRASH_EVERY == CRASH_EVERY - 1;
            word(engine, Crashing { seed, amount, fatal }, place, answer)
        }
        Class::Payload => {
            let (bytes, answer) = book.payload(number);
            let task = accepted(engine, Payload { bytes }, place);
            InFlight::Digest(Pending { task, answer })
        }
    }
}

fn word<J>(engine: &Engine, job: J, place: Placement, answer: u64) -> InFlight
where
    J: Job<Output = u64, Error = Error>,
{
    InFlight::Word(Pending { task: accepted(engine, job, place), answer })
}

fn accepted<J: Job>(engine: &Engine, job: J, place: Placement) -> Task<J::Output, J::Error> {
    match engine.task(job).place(place).try_submit() {
        Ok(task) => task,
        Err(rejected) => panic!("a task was refused: {}", rejected.reason),
    }
}
