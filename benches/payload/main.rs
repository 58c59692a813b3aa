//! What a payload costs beside the work on it: by its length, there and back, copied and shared.
//!
//! `cargo bench -p amphi-benches --bench payload [-- --quick]`

use std::error::Error;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use amphi_benches::Tally;
use amphi_benches::machine::{self, Neighbours};
use amphi_benches::options::{self, Options};

mod jobs;
mod report;
mod sharing;

use self::jobs::{Systems, Way, app};

amphi::app!(app);

pub(crate) const BENCH: &str = "payload";

/// The lengths, as they are called.
pub(crate) const LENGTHS: [(&str, usize); 8] = [
    ("64 B", 64),
    ("1 KiB", 1 << 10),
    ("16 KiB", 16 << 10),
    ("64 KiB", 64 << 10),
    ("1 MiB", 1 << 20),
    ("4 MiB", 4 << 20),
    ("32 MiB", 32 << 20),
    ("256 MiB", 256 << 20),
];

/// Bytes on both sides of the limits between the ways that they take: within a slot, in the arena, in
/// memory of their own. What a limit saves or costs is the step from one to the other.
pub(crate) const LIMITS: [(&str, usize); 5] = [
    ("168 B", 168),
    ("169 B", 169),
    ("1 MiB − 1 B", (1 << 20) - 1),
    ("1 MiB exactly", 1 << 20),
    ("1 MiB + 1 B", (1 << 20) + 1),
];

/// In a quick run nothing is longer.
const QUICK_MAX: usize = 4 << 20;
/// A slice of a case takes about so long, and has at least two tasks.
const SLICE: Duration = Duration::from_millis(120);
const QUICK_SLICE: Duration = Duration::from_millis(40);
const TASKS_MAX: usize = 2000;

fn main() -> ExitCode {
    options::main(BENCH, run)
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let rounds = options.rounds.unwrap_or(if options.quick { 4 } else { 12 });
    let systems = Systems::start()?;
    let mut machine = machine::describe();
    let neighbours = Neighbours::watch();
    let mut tally = Tally::new();
    for round in 0..rounds {
        options::round_begins(round, rounds);
        for (case, bytes) in LENGTHS {
            if options.wants_case(case) && !(options.quick && bytes > QUICK_MAX) {
                let ways = systems.ways(bytes);
                measure(ways, options, round, case, &mut tally)?;
            }
        }
        for (case, bytes) in LIMITS.into_iter().filter(|(case, _)| options.wants_case(case)) {
            let mut ways = systems.ways(bytes);
            ways.retain(|(name, _)| *name == jobs::BYTES);
            measure(ways, options, round, case, &mut tally)?;
        }
        if !options.quick && options.wants_case(sharing::CASE) {
            sharing::measure(&systems, round, &mut tally)?;
        }
    }
    options::end_of_rounds();
    machine::note_run(&mut machine, &neighbours, options.quick, rounds);
    let mut rows = tally.rows(BENCH);
    rows.extend(report::reach_rows(&tally));
    options.publish(BENCH, rows, &machine, || {
        report::print(&tally, &machine);
    })?;
    Ok(())
}

/// One slice of every way for one length; the order turns with the round.
fn measure(
    mut ways: Vec<(&'static str, Way<'_>)>,
    options: &Options,
    round: usize,
    case: &str,
    tally: &mut Tally,
) -> Result<(), Box<dyn Error>> {
    let slice = if options.quick { QUICK_SLICE } else { SLICE };
    let count = ways.len();
    for turn in 0..count {
        let (name, way) = &mut ways[(turn + round) % count];
        if !options.wants_system(name) {
            continue;
        }
        let mut samples = Vec::new();
        // The first ones make pages and mappings.
        for _ in 0..2 {
            black_box(way()?);
        }
        let begun = Instant::now();
        while samples.len() < 2 || (begun.elapsed() < slice && samples.len() < TASKS_MAX) {
            let begun = Instant::now();
            let seen = way()?;
            let ns = begun.elapsed().as_nanos();
            black_box(seen);
            samples.push(u64::try_from(ns).unwrap_or(u64::MAX));
        }
        tally.add_latencies(round, name, case, samples);
    }
    Ok(())
}
