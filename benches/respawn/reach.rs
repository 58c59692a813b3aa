//! The figures that the project set itself as reach, each beside its bound: computed from this
//! run, or said to be missing.

use amphi_benches::{Row, Spread, Table, Tally};

use super::report::ms;
use super::{BENCH, Case, engine};

const P50_NS: f64 = 2e6;
const P99_NS: f64 = 20e6;

/// Every system of ours in every case.
fn claims() -> impl Iterator<Item = (&'static str, Case)> {
    let of = |name| Case::ALL.map(|case| (name, case));
    [engine::PLAIN, engine::PRELOAD].into_iter().flat_map(of)
}

/// The spread of the rounds' p50, and the p99 of all kills.
fn measured(tally: &Tally, name: &str, case: Case) -> Option<(Spread, f64)> {
    let p50 = tally.spread(name, case.name(), "p50")?;
    Some((p50, tally.tail(name, case.name(), 0.99)? as f64))
}

/// Prints the list.
pub(crate) fn print(tally: &Tally) {
    let mut table = Table::new(["Reach", "ms", "min … max", "bound", ""]);
    for (name, case) in claims() {
        let what = |metric| format!("{name}, {}: {metric}", case.name());
        let Some((p50, p99)) = measured(tally, name, case) else {
            table.push([what("p50, p99"), "not measured".to_owned()]);
            continue;
        };
        let ends = format!("{} … {}", ms(p50.min), ms(p50.max));
        let verdict = |value, bound| if value <= bound { "holds" } else { "FAILS" };
        for (metric, value, ends, bound) in
            [("p50", p50.median, ends, P50_NS), ("p99", p99, String::new(), P99_NS)]
        {
            let bounds = format!("≤ {}", ms(bound));
            table.push([what(metric), ms(value), ends, bounds, verdict(value, bound).to_owned()]);
        }
    }
    print!("\nReach: of the p50 the ends are those of the rounds\n\n{table}");
}

/// The bounds of what was measured, one row each.
pub(crate) fn rows(tally: &Tally) -> Vec<Row> {
    let found = claims().filter(|(name, case)| measured(tally, name, *case).is_some());
    let rows = found.flat_map(|(name, case)| {
        [("bound p50", P50_NS), ("bound p99", P99_NS)]
            .map(|(metric, bound)| Row::new(BENCH, name, case.name(), metric, bound, "at most, ns"))
    });
    rows.collect()
}
