//! What automatic placement costs against fixed modes, as ratios with their intervals.

use super::Plot;
use super::place::{Place, Words};
use crate::chart::intervals::{Interval, Intervals, Workload};
use crate::grid::{Grid, NONE};
use crate::rows::{Measure, Part, Run, distinct};
use crate::unit;

const COST: &str = "cost / ";

/// A plot for each mode that something is compared with.
pub(crate) fn regret(run: &Run, place: &Place) -> Vec<Plot> {
    let compared = run.measures.iter().filter_map(|measure| measure.metric.strip_prefix(COST));
    let peers = distinct(compared);
    let plot = |(index, peer): (usize, &&str)| {
        let metric = format!("{COST}{peer}");
        let is_compared = |measure: &Measure| measure.metric == metric;
        let systems = run.systems(is_compared);
        let series: Vec<String> = systems.iter().map(|system| (*system).to_owned()).collect();
        let workloads: Vec<Workload> = run
            .cases(is_compared)
            .into_iter()
            .map(|case| Workload {
                name: case.to_owned(),
                intervals: systems
                    .iter()
                    .map(|system| run.find(system, case, &metric).map(interval))
                    .collect(),
            })
            .collect();
        let what = format!("cost / {peer}");
        let drawing = Intervals { workloads: &workloads, series: &series, what: &what }.draw()?;
        let words = Words {
            title: format!("Against: {peer}"),
            about: String::new(),
            desc: in_words(&workloads, &series, peer),
        };
        let grid = grid(run, &systems, &metric, peer);
        Some(Plot::new(place.id("ratio", index), words, &drawing, grid))
    };
    peers.iter().enumerate().filter_map(plot).collect()
}

fn interval(measure: &Measure) -> Interval {
    Interval {
        ratio: measure.value,
        low: measure.part(Part::Low).or_else(|| measure.part(Part::Q1)),
        high: measure.part(Part::High).or_else(|| measure.part(Part::Q3)),
        bound: measure.part(Part::AtMost),
    }
}

fn in_words(workloads: &[Workload], series: &[String], peer: &str) -> String {
    let of_one = |workload: &Workload| {
        let ratios: Vec<String> = workload
            .intervals
            .iter()
            .zip(series)
            .filter_map(|(interval, name)| {
                Some(format!("{name} {}", unit::ratio(interval.as_ref()?.ratio)))
            })
            .collect();
        format!("{}: {}", workload.name, ratios.join(", "))
    };
    let all: Vec<String> = workloads.iter().map(of_one).collect();
    format!("Cost over that of {peer}, with intervals; one is as good. {}.", all.join("; "))
}

fn grid(run: &Run, systems: &[&str], metric: &str, peer: &str) -> Grid {
    let caption = format!("Cost over that of {peer}, within each round");
    let head = ["workload", "system", "median", "95 % interval", "ends", "rounds", "bound"];
    let mut grid = Grid::new(caption, head);
    for case in run.cases(|measure| measure.metric == metric) {
        for system in systems {
            let Some(found) = run.find(system, case, metric) else { continue };
            let none = || NONE.to_owned();
            let between = |low, high| found.between(low, high).unwrap_or_else(none);
            let bound = found.part(Part::AtMost);
            grid.push([
                case.to_owned(),
                (*system).to_owned(),
                found.text(),
                between(Part::Low, Part::High),
                between(Part::Min, Part::Max),
                found.part(Part::Pairs).map_or_else(none, unit::short),
                bound.map_or_else(none, |bound| format!("≤ {}", unit::ratio(bound))),
            ]);
        }
    }
    grid.without_empty_columns()
}
