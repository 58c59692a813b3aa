//! The pools that more than one bench measures: amphi in its two places, the peers that are Rust
//! libraries, and the drivers of closed loops. A bench takes this folder in with `#[path]`.
//!
//! Each uses its library as that library's documentation does, with as many threads or processes
//! as it is told. Byte payloads are `Bytes`: thread systems pass the reference, process systems must
//! carry the bytes there and back.

use std::time::{Duration, Instant};

use bytes::Bytes;

pub(crate) mod amphi_engine;
pub(crate) mod bare_injector;
pub(crate) mod direct;
pub(crate) mod drive;
pub(crate) mod ipc_echo;
pub(crate) mod procspawn_pool;
pub(crate) mod rayon_spawn;
pub(crate) mod roles;
pub(crate) mod tokio_blocking;

/// amphi on threads, by submitting and joining.
pub(crate) const AMPHI_THREADS: &str = "amphi threads";
/// amphi in forked processes, by submitting and joining.
pub(crate) const AMPHI_PROCESSES: &str = "amphi processes";

/// Tasks in flight where a case keeps several.
pub(crate) const WINDOW: usize = 256;

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

    /// Whether it has [`call_bytes`](Self::call_bytes).
    fn takes_bytes(&self) -> bool {
        true
    }

    /// How many tasks may be in flight. With one, there is neither `submit` nor `harvest`.
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
