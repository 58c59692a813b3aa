//! What handing a task over costs here: measured with jobs that do nothing, on a thread of its own,
//! from the first task on that may go either way.
//!
//! It looks when the engine has no other work, and the least of several looks counts: what others do
//! can only make them longer. A look that takes longer than is plausible was disturbed by them,
//! disturbs them in turn, and is tried again with the tasks of a later time.

use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;

use super::options::Options;
use super::{Engine, Shared};
use crate::home::echo;
use crate::job::CallWork;
use crate::policy::{Costs, Placement};
use crate::sys::clock;
use crate::task::Task;

/// Empty tasks of one batch, and of one that shows whether others disturb: beside two busy loops on
/// two cores 512 took 0.3 to 1.4 s in a worker.
const TASKS: usize = 512;
const FEW: usize = 32;
/// So many looks are enough that nobody disturbed.
const QUIET_LOOKS: u32 = 8;
/// What is above this is somebody else's work (a slow machine has a tenth of it).
const PLAUSIBLE: Costs =
    Costs { thread_ns: 3000.0, process_ns: 10_000.0, byte_ns: 2.0, large_byte_ns: 8.0 };
/// It waits so long for a moment when the engine has no work, and looks so often: in an engine that
/// has, 512 took 60 ms. What is done within that time is not worth a comparison.
const MOMENT: Duration = Duration::from_millis(200);
const GLANCE: Duration = Duration::from_millis(4);
/// After a look that was disturbed there is none for so many times what that took, within these
/// bounds. Each look moves a core to a worker and back: without a rest, and with long batches alone,
/// 3000 files of 1 ms beside two busy loops took 4.6 to 5.3 s, with both 0.9 to 1.1, on threads alone
/// 0.8 to 1.6.
const REST: u32 = 20;
const REST_MIN: Duration = Duration::from_millis(100);
const REST_MAX: Duration = Duration::from_secs(1);
/// Long enough to be more than noise, short enough for a block of the arena.
const BYTES: usize = 256 << 10;
/// Too long for one.
const LARGE_BYTES: usize = 2 << 20;
/// The first echo starts a worker; a machine that needs longer is not measured.
const PATIENCE: Duration = Duration::from_secs(15);

/// What looks have come to so far.
#[derive(Default)]
pub(super) struct Calibration {
    least: Least,
    quiet_looks: u32,
    has_told: bool,
}

impl Shared {
    /// Has a look made, unless there is nothing to compare.
    #[cold]
    pub(super) fn calibrate(&self) {
        if self.processes.is_none() {
            return;
        }
        let shared = Weak::clone(&self.me);
        let measure = move || measure(&shared);
        // Without it every open task runs on a thread, which is where they start.
        let _ = std::thread::Builder::new().name("amphi-calibrate".to_owned()).spawn(measure);
    }
}

/// Looks until it has seen enough, and tells the scheduler then; or until it is disturbed, when it
/// tells what is plausible at most, because nothing goes to a worker before it is told anything.
/// `None`: the engine ends, or no worker can be had.
fn measure(shared: &Weak<Shared>) -> Option<()> {
    let inputs = Inputs::new();
    // The first one starts a worker.
    take(submit(shared, Placement::Process, &inputs.empty)?)?;
    loop {
        let begun = clock::now();
        let seen = match wait_until_cores_are_free(shared)? {
            true => Least::look(shared, &inputs)?,
            false => Least::default(),
        };
        let time = clock::now().saturating_sub(begun);
        let engine = shared.upgrade()?;
        let mut calibration = engine.calibration.lock();
        calibration.least = calibration.least.or(&seen);
        calibration.quiet_looks += u32::from(seen.is_plausible());
        let is_enough = calibration.quiet_looks >= QUIET_LOOKS;
        if is_enough || !(calibration.has_told || seen.is_plausible()) {
            let costs = calibration.least.costs();
            tracing::debug!(target: "amphi", ?costs, ?time, "dispatch was measured");
            engine.scheduler.calibrated(costs);
            calibration.has_told = true;
        }
        if is_enough {
            return Some(());
        }
        if !seen.is_plausible() {
            engine.scheduler.look_again_after((REST * time).clamp(REST_MIN, REST_MAX));
            return Some(());
        }
    }
}

/// False: in this time there was no such moment.
fn wait_until_cores_are_free(shared: &Weak<Shared>) -> Option<bool> {
    let until = clock::now().saturating_add(MOMENT);
    while !shared.upgrade()?.threads.all_cores_are_free() {
        if clock::now() > until {
            return Some(false);
        }
        std::thread::park_timeout(GLANCE);
    }
    Some(true)
}

/// One echo on its way.
type Echo = Task<Bytes, crate::Error>;

fn submit(shared: &Weak<Shared>, place: Placement, bytes: &Bytes) -> Option<Echo> {
    let shared = shared.upgrade()?;
    let engine = Engine::passing(shared);
    let options = Options { place: Some(place), private: true, ..Options::default() };
    let work = CallWork { function: echo, input: bytes.clone() };
    place_echo(&engine, work, &options)
}

fn place_echo<F>(engine: &Engine, work: CallWork<F, Bytes>, options: &Options) -> Option<Echo>
where
    F: Fn(Bytes) -> Result<Bytes, crate::Error> + Send + 'static,
{
    engine.place::<F, _>(work, options, None).ok()
}

/// Waits without taking part, as nobody's caller does.
fn take(echo: Echo) -> Option<Bytes> {
    echo.join_timeout(PATIENCE).ok()?.ok()
}

/// The time of one task, in ns, when `count` are there at once.
fn batch(shared: &Weak<Shared>, place: Placement, bytes: &Bytes, count: usize) -> Option<f64> {
    let begun = clock::now();
    let echoes: Option<Vec<Echo>> = (0..count).map(|_| submit(shared, place, bytes)).collect();
    for echo in echoes? {
        take(echo)?;
    }
    let time = clock::now().saturating_sub(begun);
    Some(time.as_nanos() as f64 / count as f64)
}

/// The inputs of its echoes.
struct Inputs {
    empty: Bytes,
    long: Bytes,
    large: Bytes,
}

impl Inputs {
    fn new() -> Self {
        let zeros = |count| Bytes::from(vec![0; count]);
        Self { empty: Bytes::new(), long: zeros(BYTES), large: zeros(LARGE_BYTES) }
    }
}

/// The time of one task of each kind, in ns, in a look or the least of several.
struct Least {
    thread: f64,
    process: f64,
    long: f64,
    large: f64,
}

impl Default for Least {
    fn default() -> Self {
        Self::NONE
    }
}

impl Least {
    const NONE: Self = Self {
        thread: f64::INFINITY,
        process: f64::INFINITY,
        long: f64::INFINITY,
        large: f64::INFINITY,
    };

    /// A batch of each kind, unless a short one is disturbed already. `None`: the engine ends, or no
    /// worker can be had.
    fn look(shared: &Weak<Shared>, inputs: &Inputs) -> Option<Self> {
        let process = |bytes, count| batch(shared, Placement::Process, bytes, count);
        let few = process(&inputs.empty, FEW)?;
        if few > PLAUSIBLE.process_ns {
            return Some(Self { process: few, ..Self::NONE });
        }
        Some(Self {
            process: process(&inputs.empty, TASKS)?,
            long: process(&inputs.long, 4)?,
            large: process(&inputs.large, 1)?,
            thread: batch(shared, Placement::Thread, &inputs.empty, TASKS)?,
        })
    }

    fn or(&self, other: &Self) -> Self {
        Self {
            thread: self.thread.min(other.thread),
            process: self.process.min(other.process),
            long: self.long.min(other.long),
            large: self.large.min(other.large),
        }
    }

    /// What follows from it, and is plausible.
    fn costs(&self) -> Costs {
        // Of the four copies of an echo the worker makes two, which its own time holds.
        let byte_ns = |echoed: f64, bytes: usize| {
            ((echoed - self.process) / (2 * bytes) as f64 / 2.0).max(0.0)
        };
        let thread_ns = self.thread.min(PLAUSIBLE.thread_ns);
        Costs {
            thread_ns,
            process_ns: self.process.clamp(thread_ns, PLAUSIBLE.process_ns),
            byte_ns: byte_ns(self.long, BYTES).min(PLAUSIBLE.byte_ns),
            large_byte_ns: byte_ns(self.large, LARGE_BYTES).min(PLAUSIBLE.large_byte_ns),
        }
    }

    fn is_plausible(&self) -> bool {
        self.thread < PLAUSIBLE.thread_ns && self.process < PLAUSIBLE.process_ns
    }
}
