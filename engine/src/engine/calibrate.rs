//! What handing a task over costs here: measured with jobs that do nothing, on a thread of its own,
//! from the first task on that may go either way.
//!
//! Its tasks go before others, and the least of several batches counts: other work can only make
//! them longer. Where that is still more than is plausible, every core was at work, and it is
//! tried again after a while.

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

/// Empty tasks of one batch, and batches.
const TASKS: usize = 512;
const BATCHES: usize = 8;
/// What is above this is somebody else's work (a slow machine has a tenth of it).
const PLAUSIBLE: Costs =
    Costs { thread_ns: 3000.0, process_ns: 10_000.0, byte_ns: 2.0, large_byte_ns: 8.0 };
/// How often, and after how long, that is tried again.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);
/// Long enough to be more than noise, short enough for a block of the arena.
const BYTES: usize = 256 << 10;
/// Too long for one.
const LARGE_BYTES: usize = 2 << 20;
/// The first echo starts a worker; a machine that needs longer is not measured.
const PATIENCE: Duration = Duration::from_secs(15);

impl Shared {
    /// Starts measuring, unless there is nothing to compare.
    #[cold]
    pub(super) fn calibrate(&self) {
        if self.processes.is_none() {
            return;
        }
        let shared = Weak::clone(&self.me);
        let measure = move || {
            let mut least = PLAUSIBLE;
            for _ in 0..TRIES {
                let Some(costs) = measure(&shared) else { return };
                least = least_of(least, costs);
                let Some(shared) = shared.upgrade() else { return };
                tracing::debug!(target: "amphi", ?costs, ?least, "dispatch was measured");
                shared.scheduler.calibrated(least);
                drop(shared);
                if costs.thread_ns < PLAUSIBLE.thread_ns && costs.process_ns < PLAUSIBLE.process_ns
                {
                    return;
                }
                std::thread::park_timeout(PAUSE);
            }
        };
        // Without it every open task runs on a thread, which is where they start.
        let _ = std::thread::Builder::new().name("amphi-calibrate".to_owned()).spawn(measure);
    }
}

fn least_of(left: Costs, right: Costs) -> Costs {
    Costs {
        thread_ns: left.thread_ns.min(right.thread_ns),
        process_ns: left.process_ns.min(right.process_ns),
        byte_ns: left.byte_ns.min(right.byte_ns),
        large_byte_ns: left.large_byte_ns.min(right.large_byte_ns),
    }
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

/// The least time of one task, in ns, over batches of `count` at once.
fn least(shared: &Weak<Shared>, place: Placement, bytes: &Bytes, count: usize) -> Option<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..BATCHES {
        let begun = clock::now();
        let echoes: Option<Vec<Echo>> = (0..count).map(|_| submit(shared, place, bytes)).collect();
        for echo in echoes? {
            take(echo)?;
        }
        let time = clock::now().saturating_sub(begun);
        least = least.min(time.as_nanos() as f64 / count as f64);
    }
    Some(least)
}

/// `None`: the engine ends, or no worker can be had.
fn measure(shared: &Weak<Shared>) -> Option<Costs> {
    let zeros = |count| Bytes::from(vec![0; count]);
    let (empty, long, large) = (Bytes::new(), zeros(BYTES), zeros(LARGE_BYTES));
    take(submit(shared, Placement::Process, &empty)?)?;
    let process_ns = least(shared, Placement::Process, &empty, TASKS)?;
    let thread_ns = least(shared, Placement::Thread, &empty, TASKS)?;
    // Of the four copies of an echo the worker makes two, which its own time holds.
    let byte_ns = |bytes: &Bytes, count| {
        let echoed = least(shared, Placement::Process, bytes, count)?;
        Some(((echoed - process_ns) / (2 * bytes.len()) as f64 / 2.0).max(0.0))
    };
    let (byte_ns, large_byte_ns) = (byte_ns(&long, 4)?, byte_ns(&large, 1)?);
    let process_ns = process_ns.max(thread_ns);
    Some(Costs { thread_ns, process_ns, byte_ns, large_byte_ns })
}
