//! `crossover`: from which work on, and up to which payload, a process is as good as a thread, and
//! where it is better. A grid of bytes a task carries and time it works, each cell in both places.
//!
//! `cargo bench -p amphi-benches --bench crossover [-- --quick]`
//!
//! Cell by cell both places get one slice of the same tasks a round, one right after the other, and
//! the order turns with the round. See `benches/README.md`.

use std::error::Error;
use std::process::ExitCode;

use amphi_benches::Tally;
use amphi_benches::machine::{self, Neighbours};
use amphi_benches::options::{self, Options};
use serde_json::json;

use self::drive::Place;
use self::grid::{Cell, Plan, SERVICES};
use self::jobs::Book;

mod drive;
mod grid;
mod jobs;
mod report;
mod winner;
mod words;

amphi::app!(jobs::app);

const BENCH: &str = "crossover";

fn main() -> ExitCode {
    options::main(BENCH, run)
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let plan = Plan::of(options);
    let mut machine = machine::describe();
    let book = Book::calibrate();
    let places = drive::start(plan.cores)?;
    let neighbours = Neighbours::watch();
    let tally = measure(&places, options, &plan, &book);
    machine::note_run(&mut machine, &neighbours, plan.quick, plan.rounds);
    for (service, (name, _)) in SERVICES.iter().enumerate() {
        let ns = book.time(service).as_secs_f64() * 1e9;
        machine.insert(format!("work_ns {name}"), json!(ns.round()));
    }
    drop(places);

    let mut rows = tally.rows(BENCH);
    rows.extend(report::ratio_rows(&tally, &plan));
    options.publish(BENCH, rows, &machine, || {
        report::print(&tally, &plan, &machine);
    })?;
    Ok(())
}

/// All rounds.
fn measure(places: &[Place; 2], options: &Options, plan: &Plan, book: &Book) -> Tally {
    let mut tally = Tally::new();
    let with_count = |&cell: &Cell| (cell, drive::count(places, cell, plan, book));
    let cells: Vec<(Cell, usize)> = plan.cells.iter().map(with_count).collect();
    for round in 0..plan.rounds {
        options::round_begins(round, plan.rounds);
        let in_turn = || places.iter().cycle().skip(round % 2).take(2);
        if options.wants_case(drive::EMPTY) {
            in_turn().for_each(|place| place.measure_empty(plan, round, &mut tally));
        }
        for &cell in &cells {
            in_turn().for_each(|place| place.measure(cell, plan, book, round, &mut tally));
        }
    }
    options::end_of_rounds();
    tally
}
