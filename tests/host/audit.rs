//! Jobs that come to the same in a worker, and some that do not, for `AMPHI_AUDIT`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use amphi::{App, Ctx, Engine, Error, Job, Role, Task};

use crate::{double, say};

pub(crate) fn jobs(app: App) -> App {
    app.function("fail", fail)
        .function("panic", panics)
        .function("pid", pid)
        .function("count", count)
        .function("abort", abort_in_a_worker)
        .job::<Linger>()
        .worker_state(|setup| Ok(setup.role()))
}

fn fail(x: u64) -> Result<u64, Error> {
    Err(Error::new(format!("{x} is not wanted")))
}

fn panics(_: u64) -> Result<u64, Error> {
    panic!("in process {}", std::process::id())
}

fn pid(_: u64) -> Result<u64, Error> {
    Ok(u64::from(std::process::id()))
}

static COUNT: AtomicU32 = AtomicU32::new(0);

fn count(_: u64) -> Result<u64, Error> {
    Ok(u64::from(COUNT.fetch_add(1, Ordering::Relaxed)))
}

static HOST: AtomicU32 = AtomicU32::new(0);

fn abort_in_a_worker(x: u64) -> Result<u64, Error> {
    if HOST.load(Ordering::Relaxed) != std::process::id() {
        std::process::abort();
    }
    Ok(x)
}

/// Runs until it is cancelled, in either place.
#[derive(serde::Serialize, serde::Deserialize)]
struct Linger;

impl Job for Linger {
    type Output = ();
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<(), Error> {
        let _role = cx.state::<Role>();
        loop {
            cx.progress(1, 1);
            cx.check()?;
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

/// Runs a job so often, waits for so many audits, and tells what came of it.
pub(crate) fn main(engine: Engine) {
    COUNT.store(1000, Ordering::Relaxed);
    HOST.store(std::process::id(), Ordering::Relaxed);
    let mut words = std::env::args().skip(2);
    let job = words.next().unwrap_or_default();
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).expect("a number");
    let (times, audits) = (number(), number());
    let submit = |n| match job.as_str() {
        "double" => engine.call(double, n),
        "fail" => engine.call(fail, n),
        "panic" => engine.call(panics, n),
        "pid" => engine.call(pid, n),
        "count" => engine.call(count, n),
        "abort" => engine.call(abort_in_a_worker, n),
        other => panic!("{other} is no job"),
    };
    if job == "linger" {
        let task = engine.try_submit(Linger).expect("there is room");
        while task.progress().is_none() {
            std::thread::yield_now();
        }
        task.cancel();
        say(&format!("lingered {:?}", task.join().map_err(|error| error.to_string())));
        tell(engine.call(double, 21));
    } else {
        let tasks: Vec<_> = (0..times).map(submit).collect();
        tasks.into_iter().for_each(tell);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while engine.stats().audits < audits {
        assert!(Instant::now() < deadline, "the audits take too long: {}", engine.stats());
        std::thread::yield_now();
    }
    let stats = engine.stats();
    say(&format!("audits {} mismatches {}", stats.audits, stats.audit_mismatches));
    say(&format!("accepted {} queued {}", stats.accepted, stats.queued));
}

fn tell(task: Task<u64, Error>) {
    match task.join() {
        Ok(output) => say(&format!("output {output}")),
        Err(error) => say(&format!("error {error}")),
    }
}
