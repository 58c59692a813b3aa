//! Jobs that do what they are told: wait, fail at the first tries, hold a key, submit others.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use amphi::{App, Clock, Ctx, Engine, Error, Job, Limits, Placement, Spec, TaskError};
use serde::{Deserialize, Serialize};

pub(crate) const EVERYWHERE: [Placement; 3] =
    [Placement::Thread, Placement::Process, Placement::Auto];

pub(crate) fn jobs(app: App) -> App {
    app.job::<Stamp>()
        .job::<Wait>()
        .job::<Flaky>()
        .job::<Parent>()
        .job::<Family>()
        .job::<Traces>()
        .job::<Isolates>()
        .job::<Keyed<0>>()
        .job::<Keyed<1>>()
        .job::<Keyed<2>>()
        .job::<Keyed<3>>()
        .job::<Keyed<4>>()
        .job::<Keyed<5>>()
        .job::<Keyed<6>>()
        .job::<Keyed<7>>()
        .job::<Needs<ISOLATED>>()
        .job::<Needs<THREADS_ONLY>>()
        .job::<Needs<ONE_SHOT>>()
        .job::<Needs<LIMITS>>()
        .job::<Needs<{ ISOLATED + THREADS_ONLY }>>()
        .job::<Needs<{ ONE_SHOT + THREADS_ONLY }>>()
        .job::<Needs<{ LIMITS + THREADS_ONLY }>>()
}

/// Runs `check` under every placement at the same time, each with an engine of so many cores.
pub(crate) fn everywhere(cores: usize, check: impl Fn(Placement, Engine) + Sync) {
    std::thread::scope(|scope| {
        for placement in EVERYWHERE {
            let check = &check;
            let builder = std::thread::Builder::new().name(placement.to_string());
            let start = move || crate::jobs::app().engine().place(placement).cores(cores).start();
            builder.spawn_scoped(scope, move || check(placement, start().unwrap())).unwrap();
        }
    });
}

/// A path in this process's directory for such files that no other test has. What processes that
/// are gone have left there is removed.
pub(crate) fn scratch(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let directory = DIRECTORY.get_or_init(|| {
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scratch");
        let own = all.join(std::process::id().to_string());
        let _ = std::fs::remove_dir_all(&own); // of an earlier process with the same number
        std::fs::create_dir_all(&own).expect("the target directory can be written to");
        for other in std::fs::read_dir(&all).into_iter().flatten().flatten() {
            if !Path::new("/proc").join(other.file_name()).exists() {
                let _ = std::fs::remove_dir_all(other.path());
            }
        }
        own
    });
    directory.join(format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Waits without keeping the processor busy, and says whether it was asked to stop meanwhile.
fn wait(cx: &Ctx, ms: u64, looks: bool) -> Result<(), Error> {
    let until = Instant::now() + Duration::from_millis(ms);
    while Instant::now() < until {
        if looks {
            cx.check()?;
        }
        let left = until.saturating_duration_since(Instant::now());
        std::thread::park_timeout(left.min(Duration::from_millis(1)));
    }
    Ok(())
}

/// When it ran, in nanoseconds of a clock that all processes share.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stamp;

impl Job for Stamp {
    type Output = u64;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<u64, Error> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        Ok(u64::try_from(since.as_nanos())?)
    }
}

/// Runs for a while, and may look at its token meanwhile.
#[derive(Serialize, Deserialize, Clone, Copy)]
pub(crate) struct Wait {
    pub(crate) ms: u64,
    pub(crate) looks: bool,
}

impl Job for Wait {
    type Output = u64;
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<u64, Error> {
        cx.progress(1, 1);
        wait(cx, self.ms, self.looks).map(|()| self.ms)
    }
}

/// How a try ends.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Well,
    Fails,
    Panics,
    Aborts,
    Hangs,
    /// Runs until it is asked to stop.
    Waits,
    /// Returns 0 on a thread of the host and 1 in a worker.
    Tells,
}

/// Each try ends as told, those beyond the list as the last one. The tries are counted in a file,
/// since each may have a process of its own.
#[derive(Serialize, Deserialize, Clone)]
pub(crate) struct Flaky {
    pub(crate) tries: PathBuf,
    pub(crate) ends: Vec<End>,
}

impl Flaky {
    pub(crate) fn new(ends: &[End]) -> Self {
        Self { tries: scratch("tries"), ends: ends.to_vec() }
    }

    /// How often it was begun.
    pub(crate) fn tried(&self) -> usize {
        std::fs::metadata(&self.tries).map_or(0, |file| file.len() as usize)
    }
}

impl Job for Flaky {
    /// Which try it was, from 1.
    type Output = usize;
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<usize, Error> {
        let mut options = std::fs::File::options();
        let mut file = options.create(true).append(true).read(true).open(&self.tries)?;
        file.write_all(b".")?;
        let mut tries = Vec::new();
        std::fs::File::open(&self.tries)?.read_to_end(&mut tries)?;
        let number = tries.len();
        match self.ends.get(number - 1).or_else(|| self.ends.last()).unwrap_or(&End::Well) {
            End::Well => Ok(number),
            End::Fails => Err(Error::new(format!("failed at try {number}"))),
            End::Panics => panic!("panicked at try {number}"),
            End::Aborts => std::process::abort(),
            End::Tells => Ok(usize::from(cx.placement() == Placement::Process)),
            End::Hangs => wait(cx, u64::MAX / 4_000_000, false).map(|()| number),
            End::Waits => wait(cx, u64::MAX / 4_000_000, true).map(|()| number),
        }
    }
}

/// Submits [`Wait`] by the engine of its own, and returns the clock that ended it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Parent {
    /// The longest that it waits for its child.
    pub(crate) patience_ms: u64,
}

impl Job for Parent {
    type Output = String;
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<String, Error> {
        let child = cx.engine().try_submit(Wait { ms: 20_000, looks: true })?;
        match child.join_timeout(Duration::from_millis(self.patience_ms)) {
            Ok(Err(TaskError::TimedOut { clock: Clock::Deadline, .. })) => Ok("deadline".into()),
            Ok(outcome) => Ok(format!("{outcome:?}")),
            Err(_) => Ok("none".into()),
        }
    }
}

/// A tree of tasks, each of which joins its children; returns how many leaves it has. One that
/// panics counts for nothing.
#[derive(Serialize, Deserialize, Clone, Copy)]
pub(crate) struct Family {
    pub(crate) width: u32,
    pub(crate) depth: u32,
    /// The leaves panic.
    pub(crate) panics: bool,
}

impl Job for Family {
    type Output = u32;
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<u32, Error> {
        if self.depth == 0 {
            assert!(!self.panics, "a leaf panics");
            return Ok(1);
        }
        let engine = cx.engine();
        let child = Self { depth: self.depth - 1, ..self };
        let children: Result<Vec<_>, _> =
            (0..self.width).map(|_| engine.try_submit(child)).collect();
        let mut leaves = 0;
        for child in children? {
            match child.join() {
                Ok(count) => leaves += count,
                Err(TaskError::Panicked { message, .. }) if message == "a leaf panics" => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(leaves)
    }
}

/// Runs a job that needs a process, by the engine of its own.
#[derive(Serialize, Deserialize)]
pub(crate) struct Isolates;

impl Job for Isolates {
    type Output = Result<bool, String>;
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<Self::Output, Error> {
        Ok(cx.engine().run(Needs::<ISOLATED>).map_err(|error| error.to_string()))
    }
}

/// The trace of the task, and those of its descendants to a depth; the last one asks for another.
#[derive(Serialize, Deserialize, Clone, Copy)]
pub(crate) struct Traces {
    pub(crate) depth: u32,
    /// The trace that the deepest is given; 0: none.
    pub(crate) last: u128,
}

impl Job for Traces {
    type Output = Vec<u128>;
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<Vec<u128>, Error> {
        let mut traces = vec![cx.trace()];
        if self.depth > 0 {
            let child = cx.engine().task(Self { depth: self.depth - 1, ..self });
            let child =
                if self.depth == 1 && self.last > 0 { child.trace(self.last) } else { child };
            traces.extend(child.run()?);
        }
        Ok(traces)
    }
}

const KEYS: [&str; 8] = ["key 0", "key 1", "key 2", "key 3", "key 4", "key 5", "key 6", "key 7"];
static INSIDE: [AtomicUsize; 8] = [const { AtomicUsize::new(0) }; 8];

/// What a task with a key does with it.
#[derive(Serialize, Deserialize, Clone, Copy)]
pub(crate) enum With {
    /// Keeps it for so many milliseconds, and looks at its token.
    Keep(u64),
    /// Runs a task of the same job inside, which wants the same key.
    OwnKey,
}

/// Calls "code that must not run twice at a time in one process"; each test has a key of its own.
#[derive(Serialize, Deserialize, Clone, Copy)]
pub(crate) struct Keyed<const KEY: usize>(pub(crate) With);

struct Inside(&'static AtomicUsize);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<const KEY: usize> Job for Keyed<KEY> {
    /// The process it ran in; with [`With::OwnKey`], what became of the inner task.
    type Output = Result<u32, String>;
    type Error = Error;

    fn spec() -> Spec {
        Spec::new().not_thread_safe(KEYS[KEY])
    }

    fn run(self, cx: &Ctx) -> Result<Self::Output, Error> {
        cx.progress(1, 1);
        let inside = INSIDE[KEY].fetch_add(1, Ordering::Relaxed);
        let _inside = Inside(&INSIDE[KEY]);
        if inside > 0 {
            return Err(Error::new(format!("{inside} others are inside")));
        }
        match self.0 {
            With::Keep(ms) => wait(cx, ms, true).map(|()| Ok(std::process::id())),
            With::OwnKey => {
                let inner = cx.engine().task(Self(With::Keep(0)));
                Ok(match inner.run() {
                    Ok(pid) => pid,
                    Err(error) => Err(error.to_string()),
                })
            }
        }
    }
}

pub(crate) const ISOLATED: u8 = 1;
pub(crate) const THREADS_ONLY: u8 = 2;
pub(crate) const ONE_SHOT: u8 = 4;
pub(crate) const LIMITS: u8 = 8;

/// A job with needs; it returns where it ran: true, in a process.
#[derive(Serialize, Deserialize, Clone, Copy)]
pub(crate) struct Needs<const SET: u8>;

impl<const SET: u8> Job for Needs<SET> {
    type Output = bool;
    type Error = Error;

    fn spec() -> Spec {
        let mut spec = Spec::new();
        if SET & ISOLATED > 0 {
            spec = spec.isolated();
        }
        if SET & THREADS_ONLY > 0 {
            spec = spec.threads_only();
        }
        if SET & ONE_SHOT > 0 {
            spec = spec.one_shot();
        }
        if SET & LIMITS > 0 {
            spec = spec.limits(Limits::new().nofile(64));
        }
        spec
    }

    fn run(self, cx: &Ctx) -> Result<bool, Error> {
        Ok(cx.placement() == Placement::Process)
    }
}
