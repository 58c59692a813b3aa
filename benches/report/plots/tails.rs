//! Latencies: a plot a case, a line a system from its p50 to its p99, CPU time beside it.

use super::place::{Place, Words};
use super::{Plot, family, is_plain};
use crate::chart::Family;
use crate::chart::dots::{Dot, Dots};
use crate::grid::{Grid, NONE};
use crate::rows::{Measure, Part, Run};
use crate::unit::{self, Dimension};

/// Metrics that are the middle of a latency, the one that is its tail, and CPU time.
pub(crate) const MIDDLE: &str = "p50";
pub(crate) const TAIL: &str = "p99";
pub(crate) const CPU: &str = "cpu";

/// What a case is, in a few words, by how it begins.
const CASES: [(&str, &str); 10] = [
    ("hot u64", "One u64 there and back after the other; nobody has time to sleep."),
    ("sequential", "One after the other, each answer is waited for."),
    ("hot", "Bytes there and back; thread systems pass a reference."),
    ("parked", "Everybody sleeps before each task and must be woken."),
    ("open", "Tasks are sent by the clock; counted from the intended time."),
    ("1 MiB in", "Bytes there, a look at each page, one word back."),
    ("1 MiB there", "Bytes there and back; thread systems pass a reference."),
    ("killed idle", "Nothing was in flight."),
    ("killed busy", "One task ran and is tried again, another one waited behind it."),
    ("pipelined", "Many in flight, one thread submits and takes answers."),
];

pub(crate) fn about(case: &str) -> String {
    let found = CASES.iter().find(|(start, _)| case.starts_with(start));
    found.map_or_else(String::new, |(_, about)| (*about).to_owned())
}

/// This project's systems first, floors last; else in the order of the file.
pub(crate) fn ordered(mut systems: Vec<&str>) -> Vec<&str> {
    systems.sort_by_key(|system| match family(system) {
        Family::Thread => 0,
        Family::Process => 1,
        Family::Auto => 2,
        Family::Peer => 3,
        Family::Floor => 4,
    });
    systems
}

/// A plot for each case that has a p50, all with the same axes.
pub(crate) fn latency(run: &Run, place: &Place) -> Vec<Plot> {
    with_tails(run, place, "latency")
}

/// The same, by what the axis measures.
pub(crate) fn with_tails(run: &Run, place: &Place, what: &str) -> Vec<Plot> {
    let is_middle = |measure: &Measure| {
        measure.metric == MIDDLE && is_plain(measure, Dimension::Time) && measure.value > 0.0
    };
    let values = |wanted: &[&str]| -> Vec<f64> {
        let timed = run.measures.iter().filter(|measure| is_plain(measure, Dimension::Time));
        timed.filter(|m| wanted.contains(&m.metric.as_str())).map(|m| m.value).collect()
    };
    let latencies = values(&[MIDDLE, TAIL]);
    let cases = run.cases(is_middle);
    let with_latency = |measure: &&Measure| cases.contains(&measure.case.as_str());
    let cpus: Vec<f64> = run
        .measures
        .iter()
        .filter(|measure| measure.metric == CPU && is_plain(measure, Dimension::Time))
        .filter(with_latency)
        .map(|measure| measure.value)
        .collect();
    let plot = |(index, case): (usize, &&str)| {
        let systems = ordered(run.systems(|measure| is_middle(measure) && measure.case == *case));
        let dots: Vec<Dot> =
            systems.into_iter().filter_map(|system| dot(run, system, case)).collect();
        let drawing = Dots { dots: &dots, latencies: &latencies, cpus: &cpus, what }.draw()?;
        let words = Words {
            title: (*case).to_owned(),
            about: about(case),
            desc: tails_in_words(&dots, case),
        };
        let grid = tails_grid(run, &dots, case, what);
        Some(Plot::new(place.id("tail", index), words, &drawing, grid))
    };
    cases.iter().enumerate().filter_map(plot).collect()
}

fn dot(run: &Run, system: &str, case: &str) -> Option<Dot> {
    let value = |metric| run.find(system, case, metric).map(|measure| measure.value);
    Some(Dot {
        name: system.to_owned(),
        family: family(system),
        p50: value(MIDDLE)?,
        p99: value(TAIL).filter(|tail| *tail > 0.0),
        cpu: value(CPU).filter(|cpu| *cpu > 0.0),
    })
}

fn tails_in_words(dots: &[Dot], case: &str) -> String {
    let by_p50 = |a: &&Dot, b: &&Dot| a.p50.total_cmp(&b.p50);
    let one = |dot: &Dot| format!("{} with {}", dot.name, unit::time(dot.p50));
    let ends = match (dots.iter().min_by(by_p50), dots.iter().max_by(by_p50)) {
        (Some(low), Some(high)) => {
            format!(" The shortest p50 has {}, the longest {}.", one(low), one(high))
        }
        _ => String::new(),
    };
    let own: Vec<String> = dots
        .iter()
        .filter(|dot| matches!(dot.family, Family::Thread | Family::Process))
        .map(one)
        .collect();
    let own = if own.is_empty() { String::new() } else { format!(" Ours: {}.", own.join(", ")) };
    format!(
        "{case}: a line from p50 to p99 for each of {} systems, logarithmic, CPU time beside it \
         where it was measured.{ends}{own}",
        dots.len()
    )
}

fn tails_grid(run: &Run, dots: &[Dot], case: &str, what: &str) -> Grid {
    let has_cpu = dots.iter().any(|dot| dot.cpu.is_some());
    let caption = format!("{case}: {what}{}", if has_cpu { ", and CPU time a task" } else { "" });
    let head = ["system", "p50", "quartiles", "p99", "CPU", "quartiles", "samples"];
    let mut grid = Grid::new(caption, head);
    for dot in dots {
        let none = || NONE.to_owned();
        // The caption says of what it is, so that each cell need not.
        let plain = |metric| run.find(&dot.name, case, metric).map(Measure::without_suffix);
        let text = |metric| plain(metric).map_or_else(none, |of| of.text());
        let quartiles = |metric| {
            plain(metric).and_then(|of| of.between(Part::Q1, Part::Q3)).unwrap_or_else(none)
        };
        grid.push([
            dot.name.clone(),
            text(MIDDLE),
            quartiles(MIDDLE),
            text(TAIL),
            text(CPU),
            quartiles(CPU),
            text("samples"),
        ]);
    }
    grid.without_empty_columns()
}
