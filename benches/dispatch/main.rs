//! `dispatch`: what it costs to hand a tiny job to somebody else and take the answer back.
//!
//! One run measures every system in every case, interleaved: round by round, case by case, each
//! system gets one slice, and the order turns by one system a round. See `benches/README.md` for
//! what a case means.
//!
//! Some systems need a second process that runs this very binary. Each knows its own children by
//! a marker of its own: procspawn's by `procspawn::init` (which must come first in `main`),
//! amphi's before `main` by [`amphi::app!`], ours by [`pools::roles::take_over`].

use std::error::Error;
use std::process::ExitCode;

use amphi_benches::machine::{self, Neighbours};
use amphi_benches::options::{self, Options};
use amphi_benches::{Tally, runtime};

use crate::case::Plan;
use crate::pools::System;

mod busy;
mod case;
mod drive;
#[path = "../pools/mod.rs"]
mod pools;
mod reach;
mod report;
mod syscalls;
mod systems;

amphi::app!(pools::amphi_engine::app);

const BENCH: &str = "dispatch";

fn main() -> ExitCode {
    procspawn::init();
    if pools::roles::take_over(&systems::ROLES) {
        return ExitCode::SUCCESS;
    }
    options::main(BENCH, run)
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let plan = Plan::of(options);
    let mut machine = machine::describe();
    let mut systems = systems::start(options);
    let neighbours = Neighbours::watch();
    let mut tally = measure(&mut systems, &plan)?;
    machine::note_run(&mut machine, &neighbours, plan.quick, plan.rounds);
    let names: Vec<&'static str> = systems.iter().map(|system| system.name()).collect();
    let uncounted = syscalls::count(&systems, &plan, &mut tally).err();
    drop(systems);
    if let Some(why) = &uncounted {
        if ["perf", "strace"].into_iter().any(runtime::is_required) {
            return Err(why.clone().into());
        }
        eprintln!("no system calls are counted: {why}");
    }

    let mut rows = tally.rows(BENCH);
    rows.extend(report::ratio_rows(&tally, &names, &plan));
    rows.extend(reach::rows(&tally));
    options.publish(BENCH, rows, &machine, || {
        report::print(&tally, &names, &plan, &machine);
        reach::print(&tally);
    })?;
    Ok(())
}

/// Runs all rounds.
fn measure(systems: &mut [Box<dyn System>], plan: &Plan) -> Result<Tally, Box<dyn Error>> {
    let mut tally = Tally::new();
    let count = systems.len();
    for round in 0..plan.rounds {
        options::round_begins(round, plan.rounds);
        for &case in &plan.cases {
            for turn in 0..count {
                let system = &mut systems[(turn + round) % count];
                if case.fits(system.as_ref()) {
                    drive::slice(system.as_mut(), case, plan, round, &mut tally)?;
                }
            }
        }
    }
    options::end_of_rounds();
    Ok(tally)
}
