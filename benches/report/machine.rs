//! Where the figures come from: one line for people, and a table with a row a bench.

use amphi_benches::machine::{BUSY, NOISE};
use serde_json::Value;

use crate::grid::{Grid, NONE};
use crate::rows::{Data, Run, distinct};

fn field(run: &Run, key: &str) -> Option<String> {
    match run.machine.get(key)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(crate::unit::digits(number.as_f64()?)),
        Value::Bool(yes) => Some(if *yes { "yes" } else { "no" }.to_owned()),
        other => Some(other.to_string()),
    }
}

/// Cores that others kept busy, where the bench looked.
fn others(run: &Run) -> Option<f64> {
    run.machine.get(BUSY).and_then(Value::as_f64)
}

/// Cores, processor, kernel, commits and quiet, each with its value; what runs disagree about is
/// said with all its values.
pub(crate) fn line(data: &Data) -> Vec<(&'static str, String)> {
    let runs = || data.runs.iter().filter(|run| !run.machine.is_empty());
    let agreed = |key: &str| {
        let values: Vec<String> = runs().filter_map(|run| field(run, key)).collect();
        let values = distinct(values.iter().map(String::as_str));
        if values.is_empty() { "unknown".to_owned() } else { values.join(" and ") }
    };
    let noisy: Vec<String> = runs()
        .filter_map(|run| Some((run, others(run).filter(|cores| *cores > NOISE)?)))
        .map(|(run, cores)| format!("{} ({cores:.2})", run.bench))
        .collect();
    let looked = runs().filter(|run| others(run).is_some()).count();
    let quiet = match (noisy.is_empty(), looked) {
        (_, 0) => "unknown".to_owned(),
        (true, _) => format!("yes, in all {looked} benches that looked"),
        (false, _) => format!("NOISE; others kept so many cores busy: {}", noisy.join(", ")),
    };
    let quick = runs().any(|run| run.machine.get("quick") == Some(&Value::Bool(true)));
    let length =
        if quick { "short (--quick): large effects only" } else { "as in the table below" };
    vec![
        ("cores", agreed("cores")),
        ("processor", agreed("cpu")),
        ("kernel", agreed("kernel")),
        ("commit", agreed("commit")),
        ("quiet", quiet),
        ("runs", length.to_owned()),
    ]
}

/// A row a bench.
pub(crate) fn grid(data: &Data) -> Grid {
    const FIELDS: [(&str, &str); 7] = [
        ("cores", "cores"),
        ("cpu", "processor"),
        ("kernel", "kernel"),
        ("commit", "commit"),
        ("rounds", "rounds"),
        ("quick", "quick"),
        ("clock_read_ns", "two clock reads, ns"),
    ];
    let head = ["bench"].into_iter().chain(FIELDS.map(|(_, title)| title));
    let head = head.chain(["cores busy with others", "quiet"]);
    let mut grid = Grid::new("Where each bench was measured", head);
    for run in &data.runs {
        let cells = FIELDS.map(|(key, _)| field(run, key).unwrap_or_else(|| NONE.to_owned()));
        let (busy, quiet) = match others(run) {
            None => (NONE.to_owned(), "unknown"),
            Some(cores) => (format!("{cores:.2}"), if cores > NOISE { "NOISE" } else { "yes" }),
        };
        let end = [busy, quiet.to_owned()];
        grid.push(std::iter::once(run.bench.clone()).chain(cells).chain(end));
    }
    grid.without_empty_columns()
}
