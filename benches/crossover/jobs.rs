//! The jobs, and how much work one task of each is on this machine ([`Book`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use amphi::{App, Bytes, Ctx, Error, Job, Spec};
use amphi_benches::work::{amount, arithmetic, median_time};
use serde::{Deserialize, Serialize};

use super::grid::{Cell, LENGTHS, SERVICES};

/// Different inputs of a cell, so that not every task reads the same cache lines.
const VARIANTS: usize = 4;

/// What every process of this bench agrees on.
pub(crate) fn app() -> App {
    App::new().job::<Plain>().job::<Keyed>().function("empty", empty)
}

/// The job that shows what dispatch costs: there is nothing to it.
pub(crate) fn empty(x: u64) -> Result<u64, Error> {
    Ok(x)
}

/// What a task is given.
#[derive(Serialize, Deserialize)]
pub(crate) struct Input {
    seed: u64,
    steps: u32,
    payload: Bytes,
}

/// One byte of each page, and the arithmetic.
fn work(input: &Input) -> u64 {
    arithmetic(input.seed, input.steps) ^ look(&input.payload)
}

fn look(bytes: &[u8]) -> u64 {
    bytes.iter().step_by(4096).map(|byte| u64::from(*byte)).sum()
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Plain(pub(crate) Input);

impl Job for Plain {
    type Output = u64;
    type Error = Error;

    fn name() -> &'static str {
        "plain"
    }

    fn run(self, _: &Ctx) -> Result<u64, Error> {
        Ok(work(&self.0))
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Keyed(pub(crate) Input);

impl Job for Keyed {
    type Output = u64;
    type Error = Error;

    fn name() -> &'static str {
        "not_thread_safe"
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
        let answer = work(&self.0);
        RUNS.store(false, Ordering::Relaxed);
        Ok(answer)
    }
}

/// What was found out before any engine started: amounts, inputs and right answers.
pub(crate) struct Book {
    steps: [u32; SERVICES.len()],
    words: [[u64; VARIANTS]; SERVICES.len()],
    payloads: [[(Bytes, u64); VARIANTS]; LENGTHS.len()],
}

impl Book {
    /// Measures this machine, on this thread; takes about a second.
    pub(crate) fn calibrate() -> Self {
        let steps = SERVICES.map(|(_, target)| amount(arithmetic, target));
        let words =
            steps.map(|steps| std::array::from_fn(|variant| arithmetic(variant as u64, steps)));
        let payloads = LENGTHS.map(|(_, length)| {
            std::array::from_fn(|variant| {
                let bytes = (0..length).map(|at| ((at + variant) % 251).to_le_bytes()[0]);
                let bytes = Bytes::from(bytes.collect::<Vec<u8>>());
                let looked = look(&bytes);
                (bytes, looked)
            })
        });
        Self { steps, words, payloads }
    }

    /// The input of task `number`, and the right answer.
    pub(crate) fn task(&self, cell: Cell, number: usize) -> (Input, u64) {
        let variant = number % VARIANTS;
        let (payload, looked) = self.payloads[cell.length][variant].clone();
        let steps = self.steps[cell.service];
        let input = Input { seed: variant as u64, steps, payload };
        (input, self.words[cell.service][variant] ^ looked)
    }

    /// How long the arithmetic of a service takes on a thread that has nothing else to do.
    pub(crate) fn time(&self, service: usize) -> Duration {
        let steps = self.steps[service];
        median_time(|| arithmetic(std::hint::black_box(0), steps))
    }
}
