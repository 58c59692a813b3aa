//! `memory`: what each further worker costs, what it gives back after a burst, and what a model
//! that was loaded before the fork costs it; beside threads, and beside Node.
//!
//! `cargo bench -p amphi-benches --bench memory [-- --quick]`
//!
//! Every configuration is a fresh host process: this binary again ([`host`]), or Node. The figures
//! are read from outside, from the host and everything that it started. See `benches/README.md`.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use amphi_benches::Tally;
use amphi_benches::machine::{self, Neighbours};
use amphi_benches::options::{self, Options};
use amphi_benches::runtime::Runtime;
use serde_json::json;

use self::burst::Burst;
use self::systems::Systems;

mod burst;
mod host;
mod jobs;
mod reach;
mod report;
mod scale;
mod systems;

amphi::app!(jobs::app);

const BENCH: &str = "memory";

/// What peers are written for.
const RUNTIMES: [Runtime; 1] = [Runtime::Node];

/// Nothing is waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tasks that every worker has run before it is looked at again.
const TASKS: usize = 200;

/// How much is done.
#[derive(Debug, Clone)]
struct Plan {
    quick: bool,
    rounds: usize,
    /// Numbers of workers.
    counts: Vec<usize>,
    /// Workers that have a burst.
    burst_workers: usize,
}

impl Plan {
    fn of(options: &Options) -> Self {
        let counts = if options.quick { vec![1, 2, 4] } else { vec![1, 2, 4, 8, 16] };
        Self {
            quick: options.quick,
            rounds: options.rounds.unwrap_or(if options.quick { 1 } else { 5 }),
            counts,
            burst_workers: if options.quick { 2 } else { 4 },
        }
    }
}

fn main() -> ExitCode {
    if let Some(code) = host::take_over() {
        return code;
    }
    options::main(BENCH, run)
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let plan = Plan::of(options);
    let mut machine = machine::describe();
    let systems = Systems::found(options)?;
    let neighbours = Neighbours::watch();
    let tally = measure(&systems, &plan, options)?;
    machine::note_run(&mut machine, &neighbours, plan.quick, plan.rounds);
    machine::note_versions(&mut machine, &RUNTIMES);
    machine.insert("burst_workers".to_owned(), json!(plan.burst_workers));
    machine.insert("tasks_a_worker".to_owned(), json!(TASKS));

    let mut rows = tally.rows(BENCH);
    rows.extend(reach::rows(&tally, &plan));
    options.publish(BENCH, rows, &machine, || {
        report::print(&tally, &systems, &plan, &machine);
        reach::print(&tally, &plan);
    })?;
    Ok(())
}

/// All rounds: each configuration once a round, in an order that turns.
fn measure(systems: &Systems, plan: &Plan, options: &Options) -> Result<Tally, Box<dyn Error>> {
    let mut tally = Tally::new();
    let count = systems.present.len();
    let mut bursts = Burst::ALL.to_vec();
    bursts.retain(|burst| options.wants_case(burst.name()));
    if !bursts.is_empty()
        && let Err(reason) = burst::fits(plan.burst_workers)
    {
        eprintln!("bursts are left out: {reason}");
        bursts.clear();
    }
    for round in 0..plan.rounds {
        options::round_begins(round, plan.rounds);
        let turns = || (0..count).map(|turn| &systems.present[(turn + round) % count]);
        if options.wants_case(scale::CASE) {
            for &workers in &plan.counts {
                for system in turns() {
                    scale::measure(system, workers, round, &mut tally)
                        .map_err(|error| format!("{} × {workers}: {error}", system.name))?;
                }
            }
            turns().for_each(|system| scale::slopes(system, &plan.counts, round, &mut tally));
        }
        for burst in bursts.iter().copied() {
            for system in turns() {
                burst::measure(system, burst, plan.burst_workers, round, &mut tally)
                    .map_err(|error| format!("{}, {}: {error}", system.name, burst.name()))?;
            }
        }
    }
    options::end_of_rounds();
    Ok(tally)
}
