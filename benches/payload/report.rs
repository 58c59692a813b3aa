//! The tables, and the figures that the project set itself as reach.

use amphi_benches::machine::headline;
use amphi_benches::table::{micros, ratio};
use amphi_benches::{Row, Spread, Table, Tally};
use serde_json::{Map, Value};

use crate::jobs::{BLOB, BYTES, NAMES, THREADS};
use crate::sharing::{self, AGAIN, COPIED, FIRST, HERE};
use crate::{BENCH, LENGTHS, LIMITS};

pub(crate) fn print(tally: &Tally, machine: &Map<String, Value>) {
    println!("\n{}\n", headline(BENCH, machine));
    println!("One task at a time: µs, p50 (p99)\n");
    let mut table = Table::new(std::iter::once("").chain(LENGTHS.map(|(case, _)| case)));
    for name in NAMES {
        let cells = LENGTHS.map(|(case, _)| cell(tally, name, case));
        if cells.iter().any(|cell| cell != "–") {
            table.push(std::iter::once(name.to_owned()).chain(cells));
        }
    }
    println!("{table}");
    let found = LIMITS.map(|(case, _)| cell(tally, BYTES, case));
    if found.iter().any(|cell| cell != "–") {
        println!("At the limits between slot, arena and memory of its own\n");
        let mut table = Table::new(std::iter::once("").chain(LIMITS.map(|(case, _)| case)));
        table.push(std::iter::once(BYTES.to_owned()).chain(found));
        println!("{table}");
    }
    println!("A shared payload against a copied one: ratio (quartiles)\n");
    let mut table = Table::new(std::iter::once("").chain(LENGTHS.map(|(case, _)| case)));
    for (name, peer) in [(BLOB, BYTES), (BLOB, THREADS), (BYTES, THREADS)] {
        let cells = LENGTHS.map(|(case, _)| {
            let found = tally.ratio((name, case, "p50"), (peer, case, "p50"));
            found.map_or_else(|| "–".to_owned(), |found| spread(&found))
        });
        table.push(std::iter::once(format!("{name} / {peer}")).chain(cells));
    }
    println!("{table}");
    let mut table = Table::new([sharing::CASE, "wall ms", "/ in place"]);
    for name in [HERE, AGAIN, FIRST, COPIED] {
        let figure = |name| (name, sharing::CASE, "wall");
        let Some(wall) = tally.spread(name, sharing::CASE, "wall") else { continue };
        let beside = tally.ratio(figure(name), figure(HERE));
        let beside = beside.map_or_else(String::new, |found| spread(&found));
        table.push([name.to_owned(), format!("{:.1}", wall.median / 1e6), beside]);
    }
    if !table.is_empty() {
        println!("{table}");
    }
    let mut table = Table::new(["Reach", "median", "quartiles", "bound", ""]);
    for (what, found, bound) in reach(tally) {
        let verdict = if found.median <= bound { "holds" } else { "FAILS" };
        let quartiles = format!("{} – {}", ratio(found.q1), ratio(found.q3));
        table.push([
            what,
            ratio(found.median),
            quartiles,
            format!("≤ {}", ratio(bound)),
            verdict.into(),
        ]);
    }
    if !table.is_empty() {
        println!("{table}");
    }
}

fn cell(tally: &Tally, name: &str, case: &str) -> String {
    let Some(p50) = tally.spread(name, case, "p50") else { return "–".to_owned() };
    let p99 = tally.tail(name, case, 0.99).unwrap_or_default();
    format!("{} ({})", micros(p50.median), micros(p99 as f64))
}

fn spread(found: &Spread) -> String {
    format!("{} ({}–{})", ratio(found.median), ratio(found.q1), ratio(found.q3))
}

/// Each claim with what was measured of it, where it was.
fn reach(tally: &Tally) -> Vec<(String, Spread, f64)> {
    let hash = |name| (name, sharing::CASE, "wall");
    let copy = |name| (name, "1 MiB", "p50");
    let mut found = Vec::new();
    let mut claim = |what: &str, measured: Option<Spread>, bound: f64| {
        found.extend(measured.map(|measured| (what.to_owned(), measured, bound)));
    };
    let mapped = "SHA-256 of a Blob of 256 MiB in a process that has it mapped / in place";
    claim(mapped, tally.ratio(hash(AGAIN), hash(HERE)), 1.03);
    claim("the same at its first use there / in place", tally.ratio(hash(FIRST), hash(HERE)), 1.30);
    // The thread's figure is the work.
    let beyond: Vec<f64> = tally
        .rounds(BYTES, copy(BYTES).1, "p50")
        .iter()
        .zip(tally.rounds(THREADS, copy(THREADS).1, "p50"))
        .filter_map(|(there, here)| Some(((*there)? - (*here)?) / 1000.0))
        .collect();
    claim("1 MiB of Bytes to a process and back, µs beyond the work", Spread::of(&beyond), 150.0);
    found
}

pub(crate) fn reach_rows(tally: &Tally) -> Vec<Row> {
    let row = |(what, found, _): (String, Spread, f64)| {
        Row::new(BENCH, "reach", &what, "median", found.median, "1")
    };
    reach(tally).into_iter().map(row).collect()
}
