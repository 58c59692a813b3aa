//! The crossover: for each size of payload and each time of service, what a process costs over what
//! a thread costs.

use crate::rows::{Measure, Run, distinct};
use crate::unit::{self, Dimension};

/// The figures by which threads and processes are compared, the first that there is; and, in
/// addition, CPU time.
const METRICS: [&str; 6] = ["wall", "time", "p50", "mean", "service", "rate"];
const CPU: &str = "cpu";

/// What a process costs over what a thread costs, by size and time, for one kind of work.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    /// What the cases say before size and time: `plain`. May be empty.
    pub(crate) kind: String,
    /// In bytes, ascending.
    pub(crate) sizes: Vec<f64>,
    /// In nanoseconds, ascending.
    pub(crate) times: Vec<f64>,
    /// `cells[size][time]`.
    pub(crate) cells: Vec<Vec<Option<f64>>>,
    /// Which figure was compared.
    pub(crate) metric: String,
}

/// A cell that was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cell {
    /// In bytes.
    pub(crate) size: f64,
    /// In nanoseconds.
    pub(crate) time: f64,
    /// Process over thread.
    pub(crate) ratio: f64,
}

impl Field {
    /// The fields of a run: each kind by the first figure that there is, then each by CPU time. A
    /// case belongs to one if it tells both a size and a time.
    pub(crate) fn all(run: &Run) -> Vec<Self> {
        let first = METRICS.iter().map(|metric| Self::by(run, metric)).find(|all| !all.is_empty());
        let mut fields = first.unwrap_or_default();
        fields.extend(Self::by(run, CPU));
        fields
    }

    /// The fields of one figure, as the bench paired it within rounds, else from medians.
    fn by(run: &Run, metric: &str) -> Vec<Self> {
        let paired = paired(run, metric);
        let cells = if paired.is_empty() { of_medians(run, metric) } else { paired };
        let kinds = distinct(cells.iter().map(|(kind, _)| *kind));
        let of_kind = |kind: &&str| {
            let own = cells.iter().filter(|(other, _)| other == kind).map(|(_, cell)| *cell);
            Self::of(kind, metric, &own.collect::<Vec<_>>())
        };
        kinds.iter().map(of_kind).collect()
    }

    fn of(kind: &str, metric: &str, found: &[Cell]) -> Self {
        let axis = |pick: fn(&Cell) -> f64| {
            let mut places: Vec<f64> = found.iter().map(pick).collect();
            places.sort_by(f64::total_cmp);
            places.dedup();
            places
        };
        let (sizes, times) = (axis(|cell| cell.size), axis(|cell| cell.time));
        let at = |size: f64, time: f64| {
            let cell = found.iter().find(|cell| cell.size == size && cell.time == time);
            cell.map(|cell| cell.ratio)
        };
        let row = |size: &f64| times.iter().map(|time| at(*size, *time)).collect();
        let cells = sizes.iter().map(row).collect();
        Self { kind: kind.to_owned(), metric: metric.to_owned(), sizes, times, cells }
    }

    /// Whether it is one of CPU time.
    pub(crate) fn is_cpu(&self) -> bool {
        self.metric == CPU
    }

    /// Every cell that was measured.
    pub(crate) fn measured(&self) -> impl Iterator<Item = Cell> + '_ {
        self.cells.iter().zip(&self.sizes).flat_map(|(cells, &size)| {
            let cell = move |(ratio, &time): (&Option<f64>, &f64)| {
                Some(Cell { size, time, ratio: (*ratio)? })
            };
            cells.iter().zip(&self.times).filter_map(cell)
        })
    }

    /// For a size the shortest time from which on a process costs at most `limit` times as much.
    pub(crate) fn from(&self, size: usize, limit: f64) -> Option<f64> {
        let cells = self.cells.get(size)?.iter().zip(&self.times);
        let measured: Vec<(f64, f64)> =
            cells.filter_map(|(ratio, time)| Some(((*ratio)?, *time))).collect();
        let beyond = measured.iter().rposition(|(ratio, _)| *ratio > limit);
        measured.get(beyond.map_or(0, |at| at + 1)).map(|(_, time)| *time)
    }
}

fn is_process(name: &str) -> bool {
    name.contains("process")
}

fn is_thread(name: &str) -> bool {
    name.contains("thread")
}

/// Kind, size and time of a case.
fn place(case: &str) -> Option<(&str, f64, f64)> {
    let (size, time) = unit::told_by(case);
    let kind = &case[..case.find(|letter: char| letter.is_ascii_digit())?];
    Some((kind.trim().trim_end_matches(','), size?, time?))
}

/// Of rates the larger one is the cheaper one.
fn oriented(metric: &str, ratio: f64) -> Option<f64> {
    let ratio = if metric == "rate" { 1.0 / ratio } else { ratio };
    (ratio.is_finite() && ratio > 0.0).then_some(ratio)
}

fn paired<'a>(run: &'a Run, metric: &str) -> Vec<(&'a str, Cell)> {
    let ratio = |measure: &'a Measure| {
        let (name, peer) = measure.metric.split_once(" / ")?;
        if name != metric {
            return None;
        }
        let (kind, size, time) = place(&measure.case)?;
        let ratio = match () {
            () if is_process(&measure.system) && is_thread(peer) => measure.value,
            () if is_thread(&measure.system) && is_process(peer) => 1.0 / measure.value,
            () => return None,
        };
        Some((kind, Cell { size, time, ratio: oriented(metric, ratio)? }))
    };
    run.measures.iter().filter_map(ratio).collect()
}

fn of_medians<'a>(run: &'a Run, metric: &str) -> Vec<(&'a str, Cell)> {
    let is = |measure: &Measure| {
        let dimension = measure.unit.dimension;
        measure.metric == metric && matches!(dimension, Dimension::Time | Dimension::Rate)
    };
    let named = |which: fn(&str) -> bool| run.systems(is).into_iter().find(|name| which(name));
    let (Some(process), Some(thread)) = (named(is_process), named(is_thread)) else {
        return Vec::new();
    };
    let ratio = |case: &'a str| {
        let (kind, size, time) = place(case)?;
        let ratio = run.find(process, case, metric)?.value / run.find(thread, case, metric)?.value;
        Some((kind, Cell { size, time, ratio: oriented(metric, ratio)? }))
    };
    run.cases(is).into_iter().filter_map(ratio).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::rows::parse;

    fn run(rows: &[(&str, &str, &str, f64, &str)]) -> Run {
        let rows: Vec<String> = rows
            .iter()
            .map(|(system, case, metric, value, unit)| {
                serde_json::json!({"bench": "crossover", "system": system, "case": case,
                    "metric": metric, "value": value, "unit": unit})
                .to_string()
            })
            .collect();
        let text = format!("[{}]", rows.join(","));
        parse(Path::new("crossover.json"), &text).unwrap().remove(0)
    }

    #[test]
    fn ratios_of_rounds_go_before_those_of_medians() {
        let (thread, process) = ("amphi threads", "amphi processes");
        let medians = [
            (thread, "64 B, 10 µs", "wall", 10.0, "µs"),
            (process, "64 B, 10 µs", "wall", 20.0, "µs"),
            (thread, "64 B, 1 ms", "wall", 1.0, "ms"),
            (process, "64 B, 1 ms", "wall", 0.9, "ms"),
        ];
        let field = Field::all(&run(&medians)).remove(0);
        assert_eq!(
            (field.sizes.as_slice(), field.times.as_slice()),
            (&[64.0][..], &[1e4, 1e6][..])
        );
        assert_eq!(field.cells, [[Some(2.0), Some(0.9)]]);
        assert_eq!((field.from(0, 1.1), field.from(0, 0.5)), (Some(1e6), None));
        let mut rows = medians.to_vec();
        rows.push((process, "64 B, 10 µs", "wall / amphi threads", 1.5, "ratio"));
        assert_eq!(Field::all(&run(&rows))[0].cells, [[Some(1.5)]]);
    }

    #[test]
    fn of_rates_the_larger_is_the_cheaper() {
        let rows = [
            ("thread", "1 KiB, 5 ms", "rate", 100.0, "tasks/s"),
            ("process", "1 KiB, 5 ms", "rate", 50.0, "tasks/s"),
        ];
        assert_eq!(Field::all(&run(&rows))[0].cells, [[Some(2.0)]]);
        assert_eq!(Field::all(&run(&[("thread", "hot", "wall", 1.0, "ns")])), []);
    }

    #[test]
    fn each_kind_has_a_field_and_cpu_time_comes_last() {
        let mut rows = Vec::new();
        for case in ["empty", "plain, 64 B, 1 µs", "keyed, 64 B, 1 µs"] {
            for metric in ["cpu", "wall"] {
                rows.push(("thread", case, metric, 1.0, "ns/task"));
                rows.push(("process", case, metric, 2.0, "ns/task"));
            }
        }
        let fields = Field::all(&run(&rows));
        let names: Vec<_> = fields.iter().map(|of| (of.kind.as_str(), of.is_cpu())).collect();
        let all = [("plain", false), ("keyed", false), ("plain", true), ("keyed", true)];
        assert_eq!(names, all);
    }
}
