//! The same tasks on threads, in processes, and where the engine puts them; half of them call code
//! that must not run twice at a time in one process.
//!
//! Run: `cargo run --release --example schedule`. With two cores that nobody else uses you should see
//! that plain Rust gains nothing from processes, that the other half takes half the time in them,
//! and that `auto` comes near the better of the two. The last lines say what it measured, and where
//! tasks of that kind go now. It ends within three seconds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use amphi::{App, Ctx, Engine, Error, Job, Placement, Spec};
use serde::{Deserialize, Serialize};

amphi::app!(app);

fn app() -> App {
    App::new().job::<Plain>().job::<Legacy>()
}

const TASKS: usize = 1200;
/// About so long runs one task, on a core of its own.
const TASK_TIME: Duration = Duration::from_micros(200);

/// Plain Rust: it may run anywhere.
#[derive(Clone, Serialize, Deserialize)]
struct Plain {
    rounds: u64,
}

impl Job for Plain {
    type Output = u64;
    type Error = Error;

    fn name() -> &'static str {
        "plain"
    }

    fn run(self, _cx: &Ctx) -> Result<u64, Error> {
        Ok(work(self.rounds))
    }
}

/// Stands for a call into a C library with globals: one at a time in each process.
#[derive(Clone, Serialize, Deserialize)]
struct Legacy {
    rounds: u64,
}

impl Job for Legacy {
    type Output = u64;
    type Error = Error;

    fn name() -> &'static str {
        "legacy"
    }

    fn spec() -> Spec {
        Spec::new().not_thread_safe("liblegacy")
    }

    fn run(self, _cx: &Ctx) -> Result<u64, Error> {
        Ok(work(self.rounds))
    }
}

fn work(rounds: u64) -> u64 {
    (0..rounds).fold(1, |x, round| black_box(x ^ round).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// How many rounds take [`TASK_TIME`] here: the best of several tries, since other programs can only
/// make them longer.
fn rounds_of_a_task() -> u64 {
    const ROUNDS: u64 = 20_000;
    let times = (0..20).map(|_| {
        let begun = Instant::now();
        black_box(work(ROUNDS));
        begun.elapsed()
    });
    let best = times.min().unwrap_or(TASK_TIME).as_secs_f64().max(1e-9);
    (ROUNDS as f64 * TASK_TIME.as_secs_f64() / best) as u64 + 1
}

/// Has the engine start its threads and workers, and measure what it costs to hand a task over: a
/// program that runs for longer than this one has that behind it.
fn warm_up(engine: &Engine, rounds: u64) -> Result<(), Box<dyn std::error::Error>> {
    engine.run(Plain { rounds })?;
    engine.run(Legacy { rounds })?;
    std::thread::sleep(Duration::from_millis(200));
    Ok(())
}

/// Runs `TASKS` of `job`, sixty-four at a time, and tells how long they took together.
fn time<J: Job<Output = u64, Error = Error> + Clone>(
    engine: &Engine,
    job: &J,
    expected: u64,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let begun = Instant::now();
    let jobs = (0..TASKS).map(|number| (number, job.clone()));
    for (number, outcome) in engine.stream(jobs).window(64).unordered() {
        assert_eq!(outcome?, expected, "task {number} came to the same as without an engine");
    }
    Ok(begun.elapsed())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds = rounds_of_a_task();
    let expected = work(rounds);
    println!("{TASKS} tasks of each job, {} µs each", TASK_TIME.as_micros());
    println!("{:8} {:>8} {:>8}", "", "plain", "legacy");
    for placement in [Placement::Thread, Placement::Process, Placement::Auto] {
        let engine = app().engine().place(placement).start()?;
        warm_up(&engine, rounds)?;
        let plain = time(&engine, &Plain { rounds }, expected)?;
        let legacy = time(&engine, &Legacy { rounds }, expected)?;
        println!("{placement:8} {:>5} ms {:>5} ms", plain.as_millis(), legacy.as_millis());
        for class in engine.explain_all() {
            println!("{class}");
        }
    }
    Ok(())
}
