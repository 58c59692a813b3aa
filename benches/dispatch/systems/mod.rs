//! The systems under measurement: the floor, the peers, and amphi in its two places.
//!
//! Each uses its library as that library's documentation does, with as many threads or processes
//! as this machine has cores. Byte payloads are `Bytes`: thread systems pass the reference, process
//! systems must carry the bytes there and back.

use std::error::Error;
use std::time::{Duration, Instant};

use amphi_benches::Options;
use bytes::Bytes;

use crate::case::{Case, WINDOW};

pub(crate) mod amphi_engine;
mod amphi_processes;
mod amphi_threads;
pub(crate) mod bare_lane;
pub(crate) mod direct;
pub(crate) mod futex;
pub(crate) mod ipc_echo;
pub(crate) mod procspawn_pool;
pub(crate) mod rayon_spawn;
mod shared;
pub(crate) mod tokio_blocking;

/// amphi on threads, by `run`, which may run the job on the caller.
pub(crate) const AMPHI_RUN: &str = "amphi threads, run";
/// amphi on threads, by submitting and joining.
pub(crate) const AMPHI_THREADS: &str = "amphi threads";
/// amphi in forked processes, by submitting and joining.
pub(crate) const AMPHI_PROCESSES: &str = "amphi processes";

/// How long to wait for an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wait {
    /// Not at all.
    Poll,
    /// Until then; coming back early is allowed.
    Until(Instant),
    /// Until it is there.
    Forever,
}

impl Wait {
    /// The time left; `None`: no limit.
    pub(crate) fn left(self) -> Option<Duration> {
        match self {
            Self::Poll => Some(Duration::ZERO),
            Self::Until(time) => Some(time.saturating_duration_since(Instant::now())),
            Self::Forever => None,
        }
    }
}

/// Somebody who runs jobs: the identity on a `u64` or on bytes.
pub(crate) trait System {
    /// The name in the report.
    fn name(&self) -> &'static str;

    /// Whether the case is one of this system's.
    fn runs(&self, _case: Case) -> bool {
        true
    }

    /// How many tasks may be in flight.
    fn window(&self) -> usize {
        WINDOW
    }

    /// Runs one task and waits for its answer.
    fn call(&mut self, x: u64) -> u64;

    /// The same with bytes.
    fn call_bytes(&mut self, payload: &Bytes) -> Bytes {
        let _ = payload;
        unreachable!("{} has no byte payloads", self.name())
    }

    /// Sends one task; at most [`window`](Self::window) may be in flight.
    fn submit(&mut self, x: u64) {
        unreachable!("{} has one task at a time, not {x}", self.name())
    }

    /// Takes the answer of one task in flight, the oldest or any. Called only with one in flight.
    fn harvest(&mut self, wait: Wait) -> Option<u64> {
        unreachable!("{} has one task at a time: {wait:?}", self.name())
    }
}

type Start = fn(usize) -> Result<Box<dyn System>, Box<dyn Error>>;

/// Every system by its name, in the order of the report.
const ALL: [(&str, Start); 11] = [
    (direct::NAME, direct::start),
    (bare_lane::SPIN, bare_lane::start_spinning),
    (bare_lane::PARK, bare_lane::start_parking),
    (futex::NAME, futex::start),
    (rayon_spawn::NAME, rayon_spawn::start),
    (tokio_blocking::NAME, tokio_blocking::start),
    (procspawn_pool::NAME, procspawn_pool::start),
    (ipc_echo::NAME, ipc_echo::start),
    (AMPHI_RUN, amphi_threads::start_run),
    (AMPHI_THREADS, amphi_threads::start),
    (AMPHI_PROCESSES, amphi_processes::start),
];

/// Starts the systems that were asked for. One that cannot start is named and left out.
pub(crate) fn start(options: &Options) -> Vec<Box<dyn System>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = ALL.iter().filter(|(name, _)| options.wants_system(name));
    wanted
        .filter_map(|(name, start)| {
            start(cores).inspect_err(|error| eprintln!("{name} is left out: {error}")).ok()
        })
        .collect()
}
