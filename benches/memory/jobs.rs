//! What the workers do: the same for all systems, in `benches/peers/memory.js` once more.

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use amphi::{App, Bytes, Ctx, Error, Job, Placement, Setup, Spec};
use nix::unistd::gettid;
use serde::{Deserialize, Serialize};

use super::PATIENCE;

pub(crate) const INPUT_BYTES: usize = 64 << 10;
/// So long that every worker has its share: a task of a few microseconds wakes nobody else.
const PASSES: usize = 32;
/// Small enough that no allocator gives each piece a mapping of its own.
const PIECE_BYTES: usize = 16 << 10;
const KEPT_BYTES: usize = 1 << 10;
const PAGE_BYTES: usize = 4096;

/// What every process of this bench agrees on.
pub(crate) fn app() -> App {
    App::new().job::<Hash>().job::<Hold>().preload(load)
}

/// Loaded once before any worker is forked; as long as the host has asked for, maybe empty.
struct Model(Vec<u8>);

fn load(setup: &Setup) -> Result<Model, Error> {
    Ok(Model(vec![1; setup.config()?]))
}

impl Model {
    /// Reads every page of it.
    fn read(&self) -> usize {
        black_box(&self.0).iter().step_by(PAGE_BYTES).map(|&byte| usize::from(byte)).sum()
    }
}

/// Whoever runs a task: the worker's pid, on a thread that thread's id.
fn runner(cx: &Ctx) -> u32 {
    match cx.placement() {
        Placement::Process => std::process::id(),
        _ => gettid().as_raw().cast_unsigned(),
    }
}

/// Hashes its input, and looks at the model.
#[derive(Serialize, Deserialize)]
pub(crate) struct Hash {
    pub(crate) bytes: Bytes,
}

impl Hash {
    pub(crate) fn input() -> Bytes {
        Bytes::from(vec![7; INPUT_BYTES])
    }

    pub(crate) fn digest(bytes: &[u8]) -> [u8; 32] {
        blake3::hash(bytes).into()
    }
}

impl Job for Hash {
    type Output = (u32, [u8; 32]);
    type Error = Error;

    fn name() -> &'static str {
        "hash"
    }

    fn spec() -> Spec {
        Spec::new().no_caller_run() // the pool's threads are counted
    }

    fn run(self, cx: &Ctx) -> Result<(u32, [u8; 32]), Error> {
        let model = cx.state::<Model>();
        if model.read() != model.0.len() / PAGE_BYTES {
            return Err(Error::new("the model is not what was loaded"));
        }
        let mut digest = [0; 32];
        for _ in 0..PASSES {
            digest = Self::digest(black_box(&self.bytes));
        }
        Ok((runner(cx), digest))
    }
}

/// Occupies whoever runs it until it is asked to stop, with so much memory, and then lets go of
/// all of it, or of all but the last bit.
#[derive(Serialize, Deserialize)]
pub(crate) struct Hold {
    pub(crate) mib: usize,
    pub(crate) keep: bool,
}

/// What outlives its task: a cache's entry, a thread-local, a name that was looked up.
static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

impl Job for Hold {
    type Output = u32;
    type Error = Error;

    fn name() -> &'static str {
        "hold"
    }

    fn run(self, cx: &Ctx) -> Result<u32, Error> {
        let begun = Instant::now();
        // What the report itself allocates in a worker lies below the burst, not on top of it.
        cx.progress(1, 2);
        let piece = |number: usize| vec![(number % 255 + 1).to_le_bytes()[0]; PIECE_BYTES];
        let held: Vec<Vec<u8>> = (0..(self.mib << 20) / PIECE_BYTES).map(piece).collect();
        if self.keep {
            let kept = vec![1; KEPT_BYTES];
            KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        }
        cx.progress(2, 2);
        while !cx.is_cancelled() {
            if begun.elapsed() > PATIENCE {
                return Err(Error::new("nobody has ended this task"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(black_box(held));
        Ok(runner(cx))
    }
}
