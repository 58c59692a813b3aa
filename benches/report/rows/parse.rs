//! Reads the rows of a file, and puts together what belongs to one figure. Nothing is dropped: a row
//! that looks like a spread of nothing is a measure of its own.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::{Measure, Part, Run};
use crate::fault::Fault;
use crate::unit::{Dimension, Unit};

/// How metrics end that are the spread of another one.
const SUFFIXES: [(&str, Part); 7] = [
    ("q1", Part::Q1),
    ("q3", Part::Q3),
    ("low", Part::Low),
    ("high", Part::High),
    ("min", Part::Min),
    ("max", Part::Max),
    ("pairs", Part::Pairs),
];

/// One row as it stands in the file.
struct Raw {
    system: String,
    case: String,
    metric: String,
    value: f64,
    unit: String,
}

/// The runs in the text of a file; `path` names the bench where rows do not.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Vec<Run>, Fault> {
    let path_buf = || path.to_path_buf();
    let json: Value =
        serde_json::from_str(text).map_err(|source| Fault::Json { path: path_buf(), source })?;
    let rows = match json {
        Value::Array(rows) => rows,
        other => return Err(Fault::NoArray { path: path_buf(), found: kind(&other) }),
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut runs: Vec<(Run, Vec<Raw>)> = Vec::new();
    for (index, row) in rows.into_iter().enumerate() {
        let wrong = |what: String| Fault::Row { path: path_buf(), row: index + 1, what };
        let Value::Object(fields) = row else {
            return Err(wrong(format!("it is {}", kind(&row))));
        };
        let bench = match fields.get("bench") {
            None => stem.clone(),
            Some(_) => field(&fields, "bench").map_err(wrong)?,
        };
        let at = runs.iter().position(|(run, _)| run.bench == bench).unwrap_or_else(|| {
            let machine = Map::new();
            runs.push((Run { bench: bench.clone(), machine, measures: Vec::new() }, Vec::new()));
            runs.len() - 1
        });
        if fields.get("system").and_then(Value::as_str) == Some("machine") {
            runs[at].0.machine = fields;
            continue;
        }
        let value = fields.get("value").ok_or_else(|| wrong("it has no \"value\"".to_owned()))?;
        let value = value.as_f64().ok_or_else(|| wrong(format!("\"value\" is {}", kind(value))))?;
        let text = |name| field(&fields, name).map_err(wrong);
        let (system, case) = (text("system")?, text("case")?);
        let (metric, unit) = (text("metric")?, text("unit")?);
        runs[at].1.push(Raw { system, case, metric, value, unit });
    }
    Ok(runs.into_iter().map(|(run, rows)| Run { measures: measures(rows), ..run }).collect())
}

/// A text of a row, without what neither HTML nor a terminal could show.
fn field(fields: &Map<String, Value>, name: &str) -> Result<String, String> {
    let text = match fields.get(name) {
        None => return Err(format!("it has no {name:?}")),
        Some(Value::String(text)) => text,
        Some(other) => return Err(format!("{name:?} is {} and not a text", kind(other))),
    };
    let is_odd = |letter: char| letter.is_control() || ('\u{fffe}'..='\u{ffff}').contains(&letter);
    Ok(text.chars().map(|letter| if is_odd(letter) { '\u{fffd}' } else { letter }).collect())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null (NaN and infinity become that)",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Puts spreads and bounds to their medians.
fn measures(rows: Vec<Raw>) -> Vec<Measure> {
    let mut measures: Vec<Measure> = Vec::new();
    let mut places = HashMap::new();
    let mut aside = Vec::new();
    for row in rows {
        match part_of(&row) {
            None => {
                let key = (row.system.clone(), row.case.clone(), plain(&row.metric).to_owned());
                places.entry(key).or_insert(measures.len());
                measures.push(measure(row));
            }
            Some((stem, part)) => aside.push((stem, part, row)),
        }
    }
    for (stem, part, row) in aside {
        match places.get(&(row.system.clone(), row.case.clone(), stem)) {
            Some(&at) => {
                let factor = unit_of(&row.metric, &row.unit).factor;
                measures[at].parts.push((part, row.value * factor));
            }
            None => measures.push(measure(row)),
        }
    }
    measures
}

fn measure(row: Raw) -> Measure {
    let unit = unit_of(&row.metric, &row.unit);
    let metric = plain(&row.metric).to_owned();
    let Raw { system, case, value, .. } = row;
    Measure { system, case, metric, value: value * unit.factor, unit, parts: Vec::new() }
}

/// The metric that a row of a spread or of a bound belongs to.
fn part_of(row: &Raw) -> Option<(String, Part)> {
    if let Some(metric) = row.metric.strip_prefix("bound ") {
        let at_least = row.unit.starts_with("at least");
        return Some((
            plain(metric).to_owned(),
            if at_least { Part::AtLeast } else { Part::AtMost },
        ));
    }
    SUFFIXES.iter().find_map(|&(suffix, part)| {
        let stem = row.metric.strip_suffix(suffix)?.strip_suffix(['_', ' '])?;
        Some((plain(stem).to_owned(), part))
    })
}

/// A metric without the unit that its name ends in: `p50_us` is `p50`.
fn plain(metric: &str) -> &str {
    const UNITS: [&str; 8] = ["_ns", "_us", "_ms", "_per_s", "_s", "_bytes", "_kib", "_mib"];
    UNITS.iter().find_map(|unit| metric.strip_suffix(unit)).unwrap_or(metric)
}

/// The unit, from its own field or else from the end of the metric's name.
fn unit_of(metric: &str, unit: &str) -> Unit {
    let bare = unit.strip_prefix("at most, ").or_else(|| unit.strip_prefix("at least, "));
    let unit = Unit::parse(bare.unwrap_or(unit));
    let told = match metric.rsplit_once('_').map(|(_, end)| end) {
        Some("kib") => "KiB",
        Some("mib") => "MiB",
        Some(end @ ("ns" | "us" | "ms" | "s" | "bytes")) => end,
        _ => return unit,
    };
    if unit.dimension == Dimension::Other { Unit::parse(told) } else { unit }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Run>, Fault> {
        parse(Path::new("some/probe.json"), text)
    }

    fn row(metric: &str, value: &str, unit: &str) -> String {
        format!(
            r#"{{"bench":"b","system":"s","case":"c","metric":"{metric}","value":{value},"unit":"{unit}"}}"#
        )
    }

    #[test]
    fn spreads_and_bounds_come_to_their_median() {
        let rows = [
            row("p50_us", "2", "us"),
            row("p50_us_q1", "1", "us"),
            row("p50 / peer", "0.5", "ratio"),
            row("p50 / peer max", "0.75", "ratio"),
            row("bound p50", "1500", "at most, ns"),
            row("heap max", "3", "KiB"),
            r#"{"bench":"b","system":"machine","cores":2}"#.to_owned(),
        ];
        let runs = read(&format!("[{}]", rows.join(","))).unwrap();
        let [run] = &runs[..] else { panic!("{runs:?}") };
        assert_eq!(run.machine["cores"], 2);
        let p50 = run.find("s", "c", "p50").unwrap();
        assert_eq!(
            (p50.value, p50.part(Part::Q1), p50.part(Part::AtMost)),
            (2e3, Some(1e3), Some(1500.0))
        );
        assert_eq!(run.find("s", "c", "p50 / peer").unwrap().part(Part::Max), Some(0.75));
        assert_eq!(run.find("s", "c", "heap max").unwrap().value, 3072.0);
    }

    #[test]
    fn what_is_no_row_says_which_and_why() {
        for (text, told) in [
            ("{", "not the JSON"),
            ("{}", "an object and not an array"),
            ("[3]", "row 1: it is a number"),
            ("[{}]", "row 1: it has no \"value\""),
            (&format!("[{}]", row("m", "null", "ns")), "\"value\" is null"),
            (&format!("[{}]", row("m", "\"NaN\"", "ns")), "\"value\" is a text"),
            (&format!("[{}]", row("m", "NaN", "ns")), "not the JSON"),
            (&format!("[{}]", row("m", "1e999", "ns")), "not the JSON"),
            (
                r#"[{"value":1,"system":"s","case":"c","metric":2,"unit":"ns"}]"#,
                "\"metric\" is a number",
            ),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("probe.json"), "{text}: {error}");
        }
        assert_eq!(read(&format!("[{}]", row("m", "1e308", "ns"))).unwrap()[0].measures.len(), 1);
    }

    #[test]
    fn names_that_cannot_be_shown_are_made_visible() {
        let text = r#"[{"value":1,"system":"a\u0000b","case":"c","metric":"m","unit":""}]"#;
        let runs = read(text).unwrap();
        assert_eq!(runs[0].bench, "probe");
        assert_eq!(runs[0].measures[0].system, "a\u{fffd}b");
    }
}
