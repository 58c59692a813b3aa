//! The tables of a run and the ratio rows of its JSON file.
//!
//! Latencies are the median over rounds of each round's p50, with the p99 of all samples of the
//! run in brackets; rates and CPU times are medians over rounds. A ratio is the median over rounds
//! of the ratio within a round, with its quartiles in brackets.

use amphi_benches::machine::headline;
use amphi_benches::table::{micros, rate, ratio};
use amphi_benches::{Row, Spread, Table, Tally};
use serde_json::{Map, Value};

use crate::BENCH;
use crate::case::{Case, Plan};
use crate::pools::direct;

/// Prints every table on standard output.
pub(crate) fn print(tally: &Tally, names: &[&str], plan: &Plan, machine: &Map<String, Value>) {
    println!("\n{}", headline(BENCH, machine));
    let (open, closed): (Vec<Case>, Vec<Case>) =
        plan.cases.iter().copied().partition(|case| matches!(case, Case::Open(_)));
    let (latency, rates): (Vec<Case>, Vec<Case>) =
        closed.iter().copied().partition(|case| case.metric() == "p50");
    let words: Vec<Case> =
        closed.iter().copied().filter(|case| !matches!(case, Case::HotBytes(_))).collect();

    section("One task at a time: µs, p50 (p99)", tally, names, &latency, latency_cell);
    let rate_cell = |tally: &Tally, name: &str, case: Case| {
        tally.spread(name, case.name(), "rate").map(|spread| rate(spread.median))
    };
    let title = "Rate: tasks/s; pipelined: 256 in flight (bare lane: 8)";
    section(title, tally, names, &rates, rate_cell);
    section("CPU time of all processes, µs a task", tally, names, &words, cpu_cell);
    let counted = |metric: &'static str| {
        move |tally: &Tally, name: &str, case: Case| {
            tally.spread(name, case.name(), metric).map(|spread| format!("{:.3}", spread.median))
        }
    };
    section("Minor page faults a task", tally, names, &closed, counted("faults"));
    section("System calls a task", tally, names, &words, counted("syscalls"));
    section("Open loop: µs from the intended time, p50 (p99)", tally, names, &open, latency_cell);
    section("CPU time in the open loop, µs a task", tally, names, &open, cpu_cell);
    for subject in names.iter().copied().filter(|name| is_subject(name)) {
        let title =
            format!("{subject}, against each system: ratio (quartiles); rates: more is better");
        let peers: Vec<&str> = peers_of(subject, names).collect();
        section(&title, tally, &peers, &plan.cases, |tally, peer, case| {
            compare(tally, subject, peer, case).map(ratio_cell)
        });
    }
}

/// Ratios are taken of amphi's systems only.
fn is_subject(name: &str) -> bool {
    name.starts_with("amphi")
}

/// Whom a subject is compared with: everybody who dispatches.
fn peers_of<'a>(subject: &'a str, names: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    names.iter().copied().filter(move |&name| name != subject && name != direct::NAME)
}

fn compare(tally: &Tally, subject: &str, peer: &str, case: Case) -> Option<Spread> {
    let (case, metric) = (case.name(), case.metric());
    tally.ratio((subject, case, metric), (peer, case, metric))
}

fn latency_cell(tally: &Tally, name: &str, case: Case) -> Option<String> {
    let p50 = tally.spread(name, case.name(), "p50")?.median;
    let p99 = tally.tail(name, case.name(), 0.99)? as f64;
    Some(format!("{} ({})", micros(p50), micros(p99)))
}

fn cpu_cell(tally: &Tally, name: &str, case: Case) -> Option<String> {
    tally.spread(name, case.name(), "cpu").map(|spread| micros(spread.median))
}

/// A ratio with its quartiles.
pub(crate) fn ratio_cell(spread: Spread) -> String {
    format!("{} ({}–{})", ratio(spread.median), ratio(spread.q1), ratio(spread.q3))
}

/// One table, without the rows and columns in which nothing was measured.
fn section(
    title: &str,
    tally: &Tally,
    names: &[&str],
    cases: &[Case],
    cell: impl Fn(&Tally, &str, Case) -> Option<String>,
) {
    let cases: Vec<Case> = cases
        .iter()
        .copied()
        .filter(|&case| names.iter().any(|name| cell(tally, name, case).is_some()))
        .collect();
    if cases.is_empty() {
        return;
    }
    let head = std::iter::once("").chain(cases.iter().map(|case| case.name()));
    let mut table = Table::new(head);
    for name in names {
        let cells: Vec<Option<String>> =
            cases.iter().map(|&case| cell(tally, name, case)).collect();
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "–".to_owned()));
            table.push(std::iter::once((*name).to_owned()).chain(cells));
        }
    }
    print!("\n{title}\n\n{table}");
}

/// Every ratio of an amphi system to every other system: median, quartiles, ends and the number of
/// pairs. The metric is `p50 / PEER` or `rate / PEER`.
pub(crate) fn ratio_rows(tally: &Tally, names: &[&str], plan: &Plan) -> Vec<Row> {
    let mut rows = Vec::new();
    for subject in names.iter().copied().filter(|name| is_subject(name)) {
        for peer in peers_of(subject, names) {
            for &case in &plan.cases {
                if let Some(spread) = compare(tally, subject, peer, case) {
                    let metric = format!("{} / {peer}", case.metric());
                    spread_rows(&mut rows, subject, case, &metric, &spread);
                }
            }
        }
    }
    rows
}

fn spread_rows(rows: &mut Vec<Row>, system: &str, case: Case, metric: &str, spread: &Spread) {
    let pairs = spread.count as f64;
    for (suffix, value, unit) in [
        ("", spread.median, "ratio"),
        (" q1", spread.q1, "ratio"),
        (" q3", spread.q3, "ratio"),
        (" min", spread.min, "ratio"),
        (" max", spread.max, "ratio"),
        (" pairs", pairs, "count"),
    ] {
        rows.push(Row::new(BENCH, system, case.name(), &format!("{metric}{suffix}"), value, unit));
    }
}
