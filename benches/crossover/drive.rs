//! One slice in one place: one thread submits, keeps a window of tasks in flight and takes the
//! oldest answer.

use std::collections::VecDeque;
use std::error::Error;
use std::time::{Duration, Instant};

use amphi::{Engine, Job, Placement, Task};
use amphi_benches::cpu::Meter;
use amphi_benches::{Tally, deadline, stats};

use super::grid::{Cell, Kind, Plan};
use super::jobs::{Book, Keyed, Plain, app, empty};

pub(crate) const THREAD: &str = "thread";
pub(crate) const PROCESS: &str = "process";

/// Dispatch alone, in a stream and one after the other.
pub(crate) const EMPTY: &str = "empty";
const EMPTY_WINDOW: usize = 256;

/// A slice that takes so much longer than planned will never end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Slices have so many tasks at most.
const TASKS_MAX: usize = 40_000;

/// A place, with an engine of its own that knows no other.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    engine: Engine,
}

/// Both places.
pub(crate) fn start(cores: usize) -> Result<[Place; 2], Box<dyn Error>> {
    let start = |placement| app().engine().place(placement).cores(cores).start();
    Ok([
        Place { name: THREAD, engine: start(Placement::Thread)? },
        Place { name: PROCESS, engine: start(Placement::Process)? },
    ])
}

impl Place {
    /// Runs `count` tasks of a cell and returns the wall time of one.
    pub(crate) fn run(&self, cell: Cell, count: usize, cores: usize, book: &Book) -> Duration {
        let what = format!("{}: {count} tasks of {}", self.name, cell.name());
        let window = cell.window(count, cores);
        let begun = Instant::now();
        deadline::within(PATIENCE, &what, || {
            stream(count, window, |number| {
                let (input, right) = book.task(cell, number);
                let task = match cell.kind {
                    Kind::Plain => accepted(&self.engine, Plain(input)),
                    Kind::Keyed => accepted(&self.engine, Keyed(input)),
                };
                (task, right)
            });
        });
        begun.elapsed() / u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// A slice of a cell, with a few tasks before it that nobody times.
    pub(crate) fn measure(
        &self,
        (cell, count): (Cell, usize),
        plan: &Plan,
        book: &Book,
        round: usize,
        tally: &mut Tally,
    ) {
        self.run(cell, 4 * plan.cores, plan.cores, book);
        let meter = Meter::start();
        let wall = self.run(cell, count, plan.cores, book);
        let cpu = meter.stop().as_secs_f64() * 1e9 / count as f64;
        let case = cell.name();
        tally.add(round, (self.name, &case, "wall"), wall.as_secs_f64() * 1e9, "ns/task");
        tally.add(round, (self.name, &case, "cpu"), cpu, "ns/task");
    }

    /// Dispatch and nothing else: `wall` in a stream, `p50` one after the other.
    pub(crate) fn measure_empty(&self, plan: &Plan, round: usize, tally: &mut Tally) {
        let count = if plan.quick { 10_000 } else { TASKS_MAX };
        let submit = |number| (self.engine.call(empty, number as u64), number as u64);
        let within = |count, window| {
            let what = format!("{}: {count} empty tasks", self.name);
            deadline::within(PATIENCE, &what, || stream(count, window, submit));
        };
        within(EMPTY_WINDOW, EMPTY_WINDOW);
        let begun = Instant::now();
        within(count, EMPTY_WINDOW);
        let wall = begun.elapsed().as_secs_f64() * 1e9 / count as f64;
        tally.add(round, (self.name, EMPTY, "wall"), wall, "ns/task");
        let what = format!("{}: empty tasks one by one", self.name);
        let mut samples = deadline::within(PATIENCE, &what, || {
            let one = |number| {
                let begun = Instant::now();
                stream(1, 1, |_| submit(number));
                u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
            };
            (0..count / 10).map(one).collect::<Vec<u64>>()
        });
        if let Some(p50) = stats::nearest(&mut samples, 0.5) {
            tally.add(round, (self.name, EMPTY, "p50"), p50 as f64, "ns");
        }
    }
}

/// How many tasks make a slice of a cell: as many as take the planned time in the slower place,
/// enough that the ends, where not all cores work, do not count for much.
pub(crate) fn count(places: &[Place], cell: Cell, plan: &Plan, book: &Book) -> usize {
    let few = 4 * plan.cores;
    let slowest = places.iter().map(|place| {
        place.run(cell, few, plan.cores, book); // wakes threads and starts workers
        place.run(cell, few, plan.cores, book)
    });
    let slowest = slowest.max().unwrap_or_default().as_secs_f64().max(1e-9);
    let fitting = (plan.slice.as_secs_f64() / slowest) as usize;
    fitting.clamp(8 * plan.cores, TASKS_MAX).next_multiple_of(plan.cores)
}

/// Submits `count` tasks, of which `window` are in flight; each answer is compared with the right
/// one.
fn stream(
    count: usize,
    window: usize,
    mut submit: impl FnMut(usize) -> (Task<u64, amphi::Error>, u64),
) {
    let mut in_flight = VecDeque::with_capacity(window);
    let settle = |(task, right): (Task<u64, amphi::Error>, u64)| match task.join() {
        Ok(answer) => assert_eq!(answer, right, "a task answered something else"),
        Err(error) => panic!("a task has no answer: {error}"),
    };
    for number in 0..count {
        if in_flight.len() == window
            && let Some(oldest) = in_flight.pop_front()
        {
            settle(oldest);
        }
        in_flight.push_back(submit(number));
    }
    in_flight.into_iter().for_each(settle);
}

fn accepted<J: Job>(engine: &Engine, job: J) -> Task<J::Output, J::Error> {
    match engine.try_submit(job) {
        Ok(task) => task,
        Err(rejected) => panic!("a task was refused: {}", rejected.reason),
    }
}
