//! The jobs, and how much work one task of each is on this machine ([`Book`]).
//!
//! A task's input is a seed and an amount, its answer a function of both, so every answer is
//! compared with one that was computed without an engine.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use amphi::{App, Bytes, Ctx, Error, Job, Placement, Spec};
use amphi_benches::work::{amount, arithmetic, median_time};
use serde::{Deserialize, Serialize};

/// Different inputs of a class.
pub(crate) const VARIANTS: usize = 4;
const PAYLOAD_BYTES: usize = 8 << 20;
/// A piece of the input of [`hash`]: enough for the widest vectors.
const BLOCK: usize = 16 << 10;
const BUFFER: usize = 256 << 10;
/// Buffers that [`churn`] holds at a time, so that it does not get the same one back at once.
const HELD: usize = 4;
const TOUCHED: usize = 4 << 20;
/// Beyond the largest length that glibc's moving threshold keeps in its heap (32 MiB): each one
/// is a mapping of its own, and all its pages are new.
const MAPPED: usize = 36 << 20;

/// What every process of this bench agrees on.
pub(crate) fn app() -> App {
    App::new()
        .job::<Tiny>()
        .job::<Hash>()
        .job::<Churn>()
        .job::<Payload>()
        .job::<Faults>()
        .job::<NotThreadSafe>()
        .job::<Crashing>()
}

/// Which job a task is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// 2 µs of arithmetic.
    Tiny,
    /// BLAKE3 over 100 µs worth of bytes, made by the job.
    Hash,
    /// 1 ms of buffers of 256 KiB, allocated, filled and freed.
    Churn,
    /// 8 MiB in, its BLAKE3 hash out.
    Payload,
    /// About 1 ms of mappings of which 4 MiB are touched.
    Faults,
    /// 200 µs of arithmetic behind a key.
    NotThreadSafe,
    /// 20 µs of arithmetic, and now and then an abort, if that only ends a worker.
    Crashing,
}

impl Class {
    pub(crate) const ALL: [Self; 7] = [
        Self::Tiny,
        Self::Hash,
        Self::Churn,
        Self::Payload,
        Self::Faults,
        Self::NotThreadSafe,
        Self::Crashing,
    ];

    /// The name of the job, and of its single workload.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Hash => "hash",
            Self::Churn => "churn",
            Self::Payload => "payload",
            Self::Faults => "faults",
            Self::NotThreadSafe => "not_thread_safe",
            Self::Crashing => "crash",
        }
    }

    /// How long a task should take, in µs; `None`: as long as its payload takes.
    const fn target_us(self) -> Option<u64> {
        match self {
            Self::Tiny => Some(2),
            Self::Hash => Some(100),
            Self::Churn | Self::Faults => Some(1_000),
            Self::NotThreadSafe => Some(200),
            Self::Crashing => Some(20),
            Self::Payload => None,
        }
    }

    fn work(self) -> fn(u64, u32) -> u64 {
        match self {
            Self::Tiny | Self::NotThreadSafe | Self::Crashing | Self::Payload => arithmetic,
            Self::Hash => hash,
            Self::Churn => churn,
            Self::Faults => faults,
        }
    }
}

/// Only the first bytes differ from block to block: making them costs next to nothing.
fn hash(seed: u64, blocks: u32) -> u64 {
    let mut block = [seed.to_le_bytes()[0]; BLOCK];
    let mut hasher = blake3::Hasher::new();
    for number in 0..blocks {
        block[..4].copy_from_slice(&number.to_le_bytes());
        hasher.update(&block);
    }
    let digest = hasher.finalize();
    digest.as_bytes().iter().fold(0, |word, &byte| word.rotate_left(8) ^ u64::from(byte))
}

fn churn(seed: u64, buffers: u32) -> u64 {
    let mut held: [Vec<u8>; HELD] = Default::default();
    let mut sum = 0;
    for (number, place) in (0..buffers).zip((0..HELD).cycle()) {
        let byte = seed.wrapping_add(u64::from(number)).to_le_bytes()[0] | 1;
        held[place] = black_box(vec![byte; BUFFER]);
        sum += u64::from(held[place][BUFFER / 2]);
    }
    sum
}

fn faults(seed: u64, mappings: u32) -> u64 {
    let mut sum = 0;
    for number in 0..mappings {
        let byte = seed.wrapping_add(u64::from(number)).to_le_bytes()[0] | 1;
        let mut mapped = Vec::<u8>::with_capacity(MAPPED);
        mapped.resize(TOUCHED, byte);
        sum += u64::from(black_box(mapped)[TOUCHED - 1]);
    }
    sum
}

/// A job without needs whose answer is a word.
macro_rules! word_job {
    ($job:ident) => {
        #[derive(Serialize, Deserialize)]
        pub(crate) struct $job {
            pub(crate) seed: u64,
            pub(crate) amount: u32,
        }

        impl Job for $job {
            type Output = u64;
            type Error = Error;

            fn name() -> &'static str {
                Class::$job.name()
            }

            fn run(self, _: &Ctx) -> Result<u64, Error> {
                Ok(Class::$job.work()(self.seed, self.amount))
            }
        }
    };
}

word_job!(Tiny);
word_job!(Hash);
word_job!(Churn);
word_job!(Faults);

#[derive(Serialize, Deserialize)]
pub(crate) struct Payload {
    pub(crate) bytes: Bytes,
}

impl Job for Payload {
    type Output = [u8; 32];
    type Error = Error;

    fn name() -> &'static str {
        Class::Payload.name()
    }

    fn run(self, _: &Ctx) -> Result<[u8; 32], Error> {
        Ok(digest(&self.bytes))
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    blake3::hash(bytes).into()
}

#[derive(Serialize, Deserialize)]
pub(crate) struct NotThreadSafe {
    pub(crate) seed: u64,
    pub(crate) amount: u32,
}

impl Job for NotThreadSafe {
    type Output = u64;
    type Error = Error;

    fn name() -> &'static str {
        Class::NotThreadSafe.name()
    }

    fn spec() -> Spec {
        Spec::new().not_thread_safe("legacy")
    }

    /// Fails where the engine did not keep its word: an answer that was fast but wrong is none.
    fn run(self, _: &Ctx) -> Result<u64, Error> {
        static RUNS: AtomicBool = AtomicBool::new(false);
        if RUNS.swap(true, Ordering::Relaxed) {
            return Err(Error::new("two tasks with one key ran at a time in one process"));
        }
        let answer = Class::NotThreadSafe.work()(self.seed, self.amount);
        RUNS.store(false, Ordering::Relaxed);
        Ok(answer)
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Crashing {
    pub(crate) seed: u64,
    pub(crate) amount: u32,
    pub(crate) fatal: bool,
}

impl Job for Crashing {
    type Output = u64;
    type Error = Error;

    fn name() -> &'static str {
        Class::Crashing.name()
    }

    /// On a thread it would end the bench, and the engine of threads could not be compared.
    fn run(self, cx: &Ctx) -> Result<u64, Error> {
        if self.fatal && cx.placement() == Placement::Process {
            std::process::abort();
        }
        Ok(Class::Crashing.work()(self.seed, self.amount))
    }
}

/// What was found out before any engine started: amounts, right answers, times of single tasks.
pub(crate) struct Book {
    pages: Vec<Page>,
    payloads: Vec<(Bytes, [u8; 32])>,
}

/// One class.
struct Page {
    amount: u32,
    answers: [u64; VARIANTS],
    time: Duration,
}

impl Book {
    /// Measures this machine, on this thread; takes about a second.
    pub(crate) fn calibrate() -> Self {
        let payloads: Vec<(Bytes, [u8; 32])> = (0..VARIANTS)
            .map(|seed| {
                let bytes = (0..PAYLOAD_BYTES).map(|at| ((at + seed) % 251).to_le_bytes()[0]);
                let bytes = Bytes::from(bytes.collect::<Vec<u8>>());
                let answer = digest(&bytes);
                (bytes, answer)
            })
            .collect();
        let pages = Class::ALL.map(|class| {
            let work = class.work();
            let Some(target) = class.target_us().map(Duration::from_micros) else {
                let time = median_time(|| digest(&payloads[0].0));
                return Page { amount: 0, answers: [0; VARIANTS], time };
            };
            let amount = amount(work, target);
            let answers = std::array::from_fn(|seed| work(seed as u64, amount));
            let time = median_time(|| work(black_box(0), amount));
            Page { amount, answers, time }
        });
        Self { pages: pages.into(), payloads }
    }

    pub(crate) fn amount(&self, class: Class) -> u32 {
        self.pages[class as usize].amount
    }

    /// The right answer to task `number`.
    pub(crate) fn answer(&self, class: Class, number: usize) -> u64 {
        self.pages[class as usize].answers[number % VARIANTS]
    }

    /// The payload of task `number`, and the right answer.
    pub(crate) fn payload(&self, number: usize) -> (Bytes, [u8; 32]) {
        self.payloads[number % VARIANTS].clone()
    }

    /// How long one task takes on a thread that has nothing else to do, without any dispatch.
    pub(crate) fn time(&self, class: Class) -> Duration {
        self.pages[class as usize].time
    }
}
