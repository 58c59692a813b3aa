//! The tables of a run, and the ratio rows of its JSON file.

use amphi_benches::machine::headline;
use amphi_benches::table::{micros, ratio};
use amphi_benches::{Row, Spread, Table, Tally};
use serde_json::{Map, Value};

use super::BENCH;
use super::drive::{EMPTY, PROCESS, THREAD};
use super::grid::{Cell, Kind, LENGTHS, Plan, SERVICES};
use super::winner::{Winner, compare};
use super::words;

/// Prints every table on standard output.
pub(crate) fn print(tally: &Tally, plan: &Plan, machine: &Map<String, Value>) {
    println!("\n{}", headline(BENCH, machine));
    let works = SERVICES.iter().filter_map(|(name, _)| {
        let ns = machine.get(&format!("work_ns {name}"))?.as_f64()?;
        Some(format!("{name}: {} µs", micros(ns)))
    });
    println!("The work alone, as measured at the end: {}", works.collect::<Vec<_>>().join(", "));
    for kind in Kind::ALL {
        section("Wall time, process / thread (quartiles), and who wins", plan, kind, |cell| {
            let spread = compare(tally, cell, "wall")?;
            Some(format!("{} {}", spread_text(&spread), Winner::of(&spread)))
        });
        section("Wall time of a task, µs: thread, process", plan, kind, |cell| {
            both(tally, cell, "wall")
        });
        section("CPU time of a task, all processes, µs: thread, process", plan, kind, |cell| {
            both(tally, cell, "cpu")
        });
        if plan.cells.iter().any(|cell| cell.kind == kind) {
            println!("\n{}:", kind.name());
            words::sentences(tally, plan, kind).iter().for_each(|line| println!("  {line}"));
        }
    }
    dispatch(tally);
}

fn spread_text(spread: &Spread) -> String {
    format!("{} ({}–{})", ratio(spread.median), ratio(spread.q1), ratio(spread.q3))
}

/// The figures of both places.
fn both(tally: &Tally, cell: Cell, metric: &'static str) -> Option<String> {
    let case = cell.name();
    let of = |place| tally.spread(place, &case, metric).map(|spread| micros(spread.median));
    Some(format!("{}, {}", of(THREAD)?, of(PROCESS)?))
}

/// One table of a kind of work: a line for each length, a column for each service.
fn section(title: &str, plan: &Plan, kind: Kind, cell: impl Fn(Cell) -> Option<String>) {
    let measured = |length: usize, service: usize| {
        plan.cells
            .iter()
            .find(|cell| (cell.kind, cell.length, cell.service) == (kind, length, service))
    };
    let lengths = 0..LENGTHS.len();
    let services: Vec<usize> = (0..SERVICES.len())
        .filter(|&service| lengths.clone().any(|length| measured(length, service).is_some()))
        .collect();
    let mut table = Table::new(
        std::iter::once(kind.name()).chain(services.iter().map(|&service| SERVICES[service].0)),
    );
    for length in lengths {
        if services.iter().all(|&service| measured(length, service).is_none()) {
            continue;
        }
        let cells = services.iter().map(|&service| {
            let found = measured(length, service).and_then(|found| cell(*found));
            found.unwrap_or_else(|| "–".to_owned())
        });
        table.push(std::iter::once(LENGTHS[length].0.to_owned()).chain(cells));
    }
    if !table.is_empty() {
        print!("\n{title}\n\n{table}");
    }
}

/// What the way to a worker costs beyond that to a thread, without payload and work.
fn dispatch(tally: &Tally) {
    let mut table = Table::new(["Empty tasks, µs", "thread", "process", "process − thread"]);
    for (what, metric) in [("in a stream, a task", "wall"), ("one after the other, p50", "p50")] {
        let of = |place| tally.spread(place, EMPTY, metric).map(|spread| micros(spread.median));
        let Some(beyond) = beyond(tally, metric) else { continue };
        let text = |ns: f64| if ns < 0.0 { format!("−{}", micros(-ns)) } else { micros(ns) };
        table.push([
            what.to_owned(),
            of(THREAD).unwrap_or_default(),
            of(PROCESS).unwrap_or_default(),
            format!("{} ({}–{})", text(beyond.median), text(beyond.q1), text(beyond.q3)),
        ]);
    }
    if !table.is_empty() {
        print!("\nThe difference of dispatch: median over rounds, with its quartiles\n\n{table}");
    }
}

fn beyond(tally: &Tally, metric: &'static str) -> Option<Spread> {
    let of = |place| tally.rounds(place, EMPTY, metric);
    let pairs = of(PROCESS).iter().zip(of(THREAD));
    let beyond: Vec<f64> = pairs.filter_map(|(there, here)| Some((*there)? - (*here)?)).collect();
    Spread::of(&beyond)
}

/// Every ratio, metric `wall / thread` or `cpu / thread`; the difference of dispatch, metric
/// `METRIC beyond thread`.
pub(crate) fn ratio_rows(tally: &Tally, plan: &Plan) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut push = |case: &str, metric: &str, spread: &Spread, unit: &str| {
        let figures =
            [("", spread.median), (" q1", spread.q1), (" q3", spread.q3), (" min", spread.min)];
        for (suffix, value) in figures.into_iter().chain([(" max", spread.max)]) {
            rows.push(Row::new(BENCH, PROCESS, case, &format!("{metric}{suffix}"), value, unit));
        }
        let pairs = format!("{metric} pairs");
        rows.push(Row::new(BENCH, PROCESS, case, &pairs, spread.count as f64, "count"));
    };
    for &cell in &plan.cells {
        for metric in ["wall", "cpu"] {
            if let Some(spread) = compare(tally, cell, metric) {
                push(&cell.name(), &format!("{metric} / {THREAD}"), &spread, "ratio");
            }
        }
    }
    for metric in ["wall", "p50"] {
        if let Some(spread) = beyond(tally, metric) {
            push(EMPTY, &format!("{metric} beyond {THREAD}"), &spread, "ns");
        }
    }
    rows
}
