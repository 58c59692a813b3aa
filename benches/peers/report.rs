//! The tables of a run, and the ratio rows of its JSON file.
//!
//! All figures are medians over rounds, the p99 too: it is the median of each slice's p99, since
//! scripts do not hand over single latencies. A ratio is the median over rounds of the ratio within a
//! round, with its quartiles in brackets.

use amphi_benches::machine::headline;
use amphi_benches::table::{micros, rate, ratio};
use amphi_benches::{Row, Spread, Table, Tally};
use serde_json::{Map, Value};

use super::BENCH;
use super::case::Case;
use super::pools::{AMPHI_PROCESSES, AMPHI_THREADS, direct};

/// Ratios are taken to these.
const SUBJECTS: [&str; 2] = [AMPHI_PROCESSES, AMPHI_THREADS];

/// Prints every table on standard output.
pub(crate) fn print(
    tally: &Tally,
    names: &[&str],
    left_out: &[String],
    machine: &Map<String, Value>,
) {
    println!("\n{}", headline(BENCH, machine));
    print!("\nMedians: times in µs, p50 (p99); CPU time is that of all processes, a task\n\n");
    let head =
        ["", "sequential u64", "pipelined u64", "CPU, pipelined", "1 MiB in", "there and back"];
    let mut table = Table::new(head);
    for name in names {
        table.push([
            (*name).to_owned(),
            latency(tally, name, Case::Sequential),
            median(tally, name, Case::Pipelined, "rate").map_or_else(none, rate_text),
            median(tally, name, Case::Pipelined, "cpu").map_or_else(none, micros),
            latency(tally, name, Case::In),
            latency(tally, name, Case::Back),
        ]);
    }
    for text in left_out {
        let name = text.split(':').next().unwrap_or(text);
        table.push([name.to_owned(), "left out".to_owned()]);
    }
    print!("{table}");
    for text in left_out {
        println!("\nLeft out: {text}");
    }
    for (key, value) in machine.iter() {
        if let (Some(name), Some(about)) = (key.strip_prefix("version "), value.as_str()) {
            println!("{name}: {about}");
        }
    }
    for subject in SUBJECTS.into_iter().filter(|subject| names.contains(subject)) {
        ratios(tally, names, subject);
    }
}

fn none() -> String {
    "–".to_owned()
}

fn rate_text(per_second: f64) -> String {
    format!("{}/s", rate(per_second))
}

fn median(tally: &Tally, name: &str, case: Case, metric: &'static str) -> Option<f64> {
    tally.spread(name, case.name(), metric).map(|spread| spread.median)
}

fn latency(tally: &Tally, name: &str, case: Case) -> String {
    let of = |metric| median(tally, name, case, metric);
    match (of("p50"), of("p99")) {
        (Some(p50), Some(p99)) => format!("{} ({})", micros(p50), micros(p99)),
        _ => none(),
    }
}

/// Everybody against one of amphi's systems.
fn ratios(tally: &Tally, names: &[&str], subject: &str) {
    let head = std::iter::once("").chain(Case::ALL.iter().map(|case| case.name()));
    let mut table = Table::new(head);
    for name in peers_of(subject, names) {
        let cells = Case::ALL.map(|case| {
            compare(tally, name, subject, case).map_or_else(none, |spread| {
                format!("{} ({}–{})", ratio(spread.median), ratio(spread.q1), ratio(spread.q3))
            })
        });
        table.push(std::iter::once(name.to_owned()).chain(cells));
    }
    print!("\nTime of a task, as a multiple of that of {subject}: above 1 it is slower\n\n{table}");
}

fn peers_of<'a>(subject: &'a str, names: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    names.iter().copied().filter(move |&name| name != subject && name != direct::NAME)
}

fn compare(tally: &Tally, peer: &str, subject: &str, case: Case) -> Option<Spread> {
    let figure = |name| (name, case.name(), case.metric());
    tally.ratio(figure(peer), figure(subject))
}

/// Every ratio: metric `p50 / SUBJECT` or `wall / SUBJECT`, with its quartiles, its ends and the
/// number of pairs.
pub(crate) fn ratio_rows(tally: &Tally, names: &[&str]) -> Vec<Row> {
    let mut rows = Vec::new();
    for subject in SUBJECTS {
        for name in peers_of(subject, names) {
            for case in Case::ALL {
                let Some(spread) = compare(tally, name, subject, case) else { continue };
                for (suffix, value, unit) in [
                    ("", spread.median, "ratio"),
                    (" q1", spread.q1, "ratio"),
                    (" q3", spread.q3, "ratio"),
                    (" min", spread.min, "ratio"),
                    (" max", spread.max, "ratio"),
                    (" pairs", spread.count as f64, "count"),
                ] {
                    let metric = format!("{} / {subject}{suffix}", case.metric());
                    rows.push(Row::new(BENCH, name, case.name(), &metric, value, unit));
                }
            }
        }
    }
    rows
}
