//! `respawn`: how long it takes from `kill -9` of a worker until its replacement has run its first
//! task, beside what people build by hand and what other languages bring along.
//!
//! `cargo bench -p amphi-benches --bench respawn [-- --quick]`
//!
//! Round by round, case by case, each system has its only worker killed some times, one after the
//! other; the order turns by one system a round. See `benches/README.md`.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use amphi_benches::Tally;
use amphi_benches::machine::{self, Neighbours};
use amphi_benches::options::{self, Options};
use amphi_benches::runtime::Runtime;
use serde_json::json;

use self::systems::{System, Systems};

mod engine;
mod peers;
mod reach;
mod report;
mod systems;

amphi::app!(engine::app);

const BENCH: &str = "respawn";

/// What peers are written for.
const RUNTIMES: [Runtime; 2] = [Runtime::Node, Runtime::Python];

/// Before each kill: long enough that host and worker are asleep, as they are when a worker dies
/// in earnest. The scripts in `benches/peers` wait as long.
const PAUSE: Duration = Duration::from_micros(2_500);

/// Nothing is waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the worker does when it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    /// Nothing is in flight.
    Idle,
    /// It runs one task, which may be tried again, and another one is behind that. The time ends
    /// when both have been answered by the new worker.
    Busy,
}

impl Case {
    const ALL: [Self; 2] = [Self::Idle, Self::Busy];

    const fn name(self) -> &'static str {
        match self {
            Self::Idle => "killed idle",
            Self::Busy => "killed busy, another task in flight",
        }
    }
}

/// How much is done.
#[derive(Debug, Clone, Copy)]
struct Plan {
    quick: bool,
    rounds: usize,
    /// Kills of each system in one round of one case.
    kills: usize,
}

impl Plan {
    fn of(options: &Options) -> Self {
        let rounds = options.rounds.unwrap_or(if options.quick { 4 } else { 20 });
        Self { quick: options.quick, rounds, kills: if options.quick { 10 } else { 12 } }
    }
}

fn main() -> ExitCode {
    if peers::take_over() {
        return ExitCode::SUCCESS;
    }
    options::main(BENCH, run)
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let plan = Plan::of(options);
    let mut machine = machine::describe();
    let Systems { mut present, absent } = systems::start(options)?;
    let neighbours = Neighbours::watch();
    let tally = measure(&mut present, plan, options)?;
    machine::note_run(&mut machine, &neighbours, plan.quick, plan.rounds);
    machine::note_versions(&mut machine, &RUNTIMES);
    machine.insert("kills_a_round".to_owned(), json!(plan.kills));
    let names: Vec<&'static str> = present.iter().map(|system| system.name()).collect();
    drop(present);

    let mut rows = tally.rows(BENCH);
    rows.extend(reach::rows(&tally));
    options.publish(BENCH, rows, &machine, || {
        report::print(&tally, &names, &absent, &machine);
        reach::print(&tally);
    })?;
    Ok(())
}

/// All rounds.
fn measure(
    systems: &mut [Box<dyn System>],
    plan: Plan,
    options: &Options,
) -> Result<Tally, Box<dyn Error>> {
    let mut tally = Tally::new();
    let count = systems.len();
    for round in 0..plan.rounds {
        options::round_begins(round, plan.rounds);
        for case in Case::ALL.into_iter().filter(|case| options.wants_case(case.name())) {
            for turn in 0..count {
                let system = &mut systems[(turn + round) % count];
                if system.runs(case) {
                    slice(system.as_mut(), case, plan, round, &mut tally)?;
                }
            }
        }
    }
    options::end_of_rounds();
    Ok(tally)
}

/// One system's kills of one round.
fn slice(
    system: &mut dyn System,
    case: Case,
    plan: Plan,
    round: usize,
    tally: &mut Tally,
) -> Result<(), Box<dyn Error>> {
    let name = system.name();
    let kills = system.kill(case, plan.kills).map_err(|error| format!("{name}: {error}"))?;
    if kills.times_ns.len() != plan.kills {
        let count = kills.times_ns.len();
        return Err(format!("{name} has told {count} times of {} kills", plan.kills).into());
    }
    if let Some(again) = kills.asked_again {
        tally.add(round, (name, case.name(), "asked again"), again as f64, "tasks");
    }
    tally.add_latencies(round, name, case.name(), kills.times_ns);
    Ok(())
}
