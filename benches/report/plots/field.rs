//! The crossover: for each size of payload and each time of service, what a process costs over what
//! a thread costs.

use super::Plot;
use super::place::{Place, Words};
use crate::chart::heat::Heat;
use crate::grid::{Grid, NONE};
use crate::rows::{Measure, Run};
use crate::unit::{self, Dimension};

/// The figures by which threads and processes are compared, the first that there is.
const METRICS: [&str; 6] = ["wall", "time", "p50", "mean", "service", "rate"];

/// What a process costs over what a thread costs, by size and time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
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
    /// The field of a run; `None` if no case tells both a size and a time.
    pub(crate) fn of(run: &Run) -> Option<Self> {
        let (metric, ratios) = ratios(run)?;
        let axis = |pick: fn(&Cell) -> f64| {
            let mut places: Vec<f64> = ratios.iter().map(pick).collect();
            places.sort_by(f64::total_cmp);
            places.dedup();
            places
        };
        let (sizes, times) = (axis(|cell| cell.size), axis(|cell| cell.time));
        let cell = |size: f64, time: f64| {
            let found = ratios.iter().find(|cell| cell.size == size && cell.time == time);
            found.map(|cell| cell.ratio)
        };
        let cells = sizes
            .iter()
            .map(|size| times.iter().map(|time| cell(*size, *time)).collect())
            .collect();
        Some(Self { sizes, times, cells, metric })
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

/// The figure that was compared, and the cells: as the bench wrote them, paired within rounds, else
/// from medians.
fn ratios(run: &Run) -> Option<(String, Vec<Cell>)> {
    METRICS.iter().find_map(|metric| {
        let paired = paired(run, metric);
        let found = if paired.is_empty() { of_medians(run, metric) } else { paired };
        (!found.is_empty()).then(|| ((*metric).to_owned(), found))
    })
}

fn place(measure: &Measure) -> Option<(f64, f64)> {
    let (size, time) = unit::told_by(&measure.case);
    Some((size?, time?))
}

/// Of rates the larger one is the cheaper one.
fn oriented(metric: &str, ratio: f64) -> Option<f64> {
    let ratio = if metric == "rate" { 1.0 / ratio } else { ratio };
    (ratio.is_finite() && ratio > 0.0).then_some(ratio)
}

fn paired(run: &Run, metric: &str) -> Vec<Cell> {
    let ratio = |measure: &Measure| {
        let (name, peer) = measure.metric.split_once(" / ")?;
        if name != metric {
            return None;
        }
        let (size, time) = place(measure)?;
        let ratio = match () {
            () if is_process(&measure.system) && is_thread(peer) => measure.value,
            () if is_thread(&measure.system) && is_process(peer) => 1.0 / measure.value,
            () => return None,
        };
        Some(Cell { size, time, ratio: oriented(metric, ratio)? })
    };
    run.measures.iter().filter_map(ratio).collect()
}

fn of_medians(run: &Run, metric: &str) -> Vec<Cell> {
    let is = |measure: &Measure| {
        let dimension = measure.unit.dimension;
        measure.metric == metric && matches!(dimension, Dimension::Time | Dimension::Rate)
    };
    let named = |which: fn(&str) -> bool| run.systems(is).into_iter().find(|name| which(name));
    let (Some(process), Some(thread)) = (named(is_process), named(is_thread)) else {
        return Vec::new();
    };
    let ratio = |case: &str| {
        let over = run.find(process, case, metric)?;
        let (size, time) = place(over)?;
        let ratio = over.value / run.find(thread, case, metric)?.value;
        Some(Cell { size, time, ratio: oriented(metric, ratio)? })
    };
    run.cases(is).into_iter().filter_map(ratio).collect()
}

/// The map of the first screen.
pub(crate) fn plots(run: &Run, map: &Place) -> Vec<Plot> {
    let Some(field) = Field::of(run) else { return Vec::new() };
    let columns: Vec<String> = field.times.iter().map(|time| unit::time(*time)).collect();
    let rows: Vec<String> = field.sizes.iter().map(|size| unit::size(*size)).collect();
    let heat = Heat {
        columns: &columns,
        rows: &rows,
        cells: &field.cells,
        across: &format!("service time of a task, {} to {}", ends(&columns).0, ends(&columns).1),
        up: &format!("payload, {} to {}", ends(&rows).0, ends(&rows).1),
    };
    let id = map.id("map", 0);
    let Some(drawing) = heat.draw(&Place::svg_id(&id)) else { return Vec::new() };
    let measured = field.measured().count();
    let cheaper = field.measured().filter(|cell| cell.ratio < 1.0).count();
    let title = "Process over thread, by payload and service time".to_owned();
    let words = Words {
        about: format!(
            "What a task costs in a process over what it costs on a thread, by {}: at 1.00 \
             neither wins, above it a thread does.",
            if field.metric == "wall" { "wall time" } else { &field.metric }
        ),
        desc: format!(
            "A field of {measured} ratios; in {cheaper} of them a process costs less than a \
             thread. Payloads from {} to {}, service times from {} to {}. {}",
            ends(&rows).0,
            ends(&rows).1,
            ends(&columns).0,
            ends(&columns).1,
            rows_in_words(&field)
        ),
        title,
    };
    let head = std::iter::once("payload".to_owned()).chain(columns.iter().cloned());
    let mut grid = Grid::new("Process over thread, by payload and service time", head);
    for (name, cells) in rows.iter().zip(&field.cells) {
        let cells = cells.iter().map(|cell| cell.map_or_else(|| NONE.to_owned(), unit::ratio));
        grid.push(std::iter::once(name.clone()).chain(cells));
    }
    vec![Plot::new(id, words, &drawing, grid)]
}

fn ends(names: &[String]) -> (&str, &str) {
    (names.first().map_or("", String::as_str), names.last().map_or("", String::as_str))
}

fn rows_in_words(field: &Field) -> String {
    let row = |(index, size): (usize, &f64)| match field.from(index, 1.1) {
        Some(time) => format!(
            "With {} a process costs at most a tenth more from {} on.",
            unit::size(*size),
            unit::time(time)
        ),
        None => format!("With {} it always costs more than a tenth more.", unit::size(*size)),
    };
    field.sizes.iter().enumerate().map(row).collect::<Vec<_>>().join(" ")
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
        let field = Field::of(&run(&medians)).unwrap();
        assert_eq!(
            (field.sizes.as_slice(), field.times.as_slice()),
            (&[64.0][..], &[1e4, 1e6][..])
        );
        assert_eq!(field.cells, [[Some(2.0), Some(0.9)]]);
        assert_eq!((field.from(0, 1.1), field.from(0, 0.5)), (Some(1e6), None));
        let mut rows = medians.to_vec();
        rows.push((process, "64 B, 10 µs", "wall / amphi threads", 1.5, "ratio"));
        assert_eq!(Field::of(&run(&rows)).unwrap().cells, [[Some(1.5)]]);
    }

    #[test]
    fn of_rates_the_larger_is_the_cheaper() {
        let rows = [
            ("thread", "1 KiB, 5 ms", "rate", 100.0, "tasks/s"),
            ("process", "1 KiB, 5 ms", "rate", 50.0, "tasks/s"),
        ];
        assert_eq!(Field::of(&run(&rows)).unwrap().cells, [[Some(2.0)]]);
        assert_eq!(Field::of(&run(&[("thread", "hot", "wall", 1.0, "ns")])), None);
    }
}
