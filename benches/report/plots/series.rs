//! Plots with a line or a bar a system: latencies, rates, memory, whole times.

use super::place::{Place, Words};
use super::{Plot, family, is_plain};
use crate::chart::Family;
use crate::chart::bars::{Bar, Bars, Group};
use crate::chart::dots::{Dot, Dots};
use crate::grid::{Grid, NONE};
use crate::rows::{Measure, Part, Run, distinct};
use crate::unit::{self, Dimension};

/// Metrics that are the middle of a latency, the one that is its tail, and CPU time.
const MIDDLE: &str = "p50";
const TAIL: &str = "p99";
const CPU: &str = "cpu";

/// What a case of the bench `dispatch` is, in a few words.
const CASES: [(&str, &str); 5] = [
    ("hot u64", "One u64 there and back after the other; nobody has time to sleep."),
    ("hot", "Bytes there and back; thread systems pass a reference."),
    ("parked", "Everybody sleeps before each task and must be woken."),
    ("open", "Tasks are sent by the clock; counted from the intended time."),
    ("pipelined", "Many in flight, one thread submits and takes answers."),
];

fn about(case: &str) -> String {
    let found = CASES.iter().find(|(start, _)| case.starts_with(start));
    found.map_or_else(String::new, |(_, about)| (*about).to_owned())
}

/// This project's systems first, floors last; else in the order of the file.
fn ordered(mut systems: Vec<&str>) -> Vec<&str> {
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

/// A plot of bars for each case that has a rate.
pub(crate) fn rates(run: &Run, place: &Place) -> Vec<Plot> {
    bars_by_case(run, place, "rate", Dimension::Rate, |_| true)
}

/// Bars of sizes, a plot a case, a group a system, a bar for RSS, PSS, USS or what else there is.
pub(crate) fn memory(run: &Run, place: &Place) -> Vec<Plot> {
    bars_by_case(run, place, "memory", Dimension::Bytes, |_| true)
}

/// Bars of the times that are no latencies.
pub(crate) fn times(run: &Run, place: &Place) -> Vec<Plot> {
    let with_p50 = run.cases(|measure| measure.metric == MIDDLE);
    bars_by_case(run, place, "time", Dimension::Time, |measure| {
        let drawn = [MIDDLE, TAIL, CPU].contains(&measure.metric.as_str());
        !(drawn && with_p50.contains(&measure.case.as_str()))
    })
}

/// One plot a case; where no case has two systems, one plot with a group a case.
fn bars_by_case(
    run: &Run,
    place: &Place,
    kind: &str,
    dimension: Dimension,
    keep: impl Fn(&Measure) -> bool,
) -> Vec<Plot> {
    let kept: Vec<&Measure> =
        run.measures.iter().filter(|m| is_plain(m, dimension) && keep(m)).collect();
    let cases = distinct(kept.iter().map(|measure| measure.case.as_str()));
    let systems_of = |case: &str| {
        ordered(distinct(kept.iter().filter(|m| m.case == case).map(|m| m.system.as_str())))
    };
    let alone = cases.len() > 1 && cases.iter().all(|case| systems_of(case).len() == 1);
    let of = |names: &[(&str, &str, &str)], title: &str, index: usize| {
        let groups: Vec<(String, &str, Vec<&Measure>)> = names
            .iter()
            .map(|(name, system, case)| {
                let own = kept.iter().filter(|m| m.system == *system && m.case == *case);
                ((*name).to_owned(), *system, own.copied().collect())
            })
            .collect();
        bar_plot(&place.id(kind, index), title, dimension, &groups)
    };
    if alone {
        let names: Vec<(&str, &str, &str)> = cases
            .iter()
            .filter_map(|case| Some((*case, *systems_of(case).first()?, *case)))
            .collect();
        let systems = distinct(names.iter().map(|(_, system, _)| *system));
        return of(&names, &systems.join(", "), 0).into_iter().collect();
    }
    let plot = |(index, case): (usize, &&str)| {
        let names: Vec<(&str, &str, &str)> =
            systems_of(case).into_iter().map(|system| (system, system, *case)).collect();
        of(&names, case, index)
    };
    cases.iter().enumerate().filter_map(plot).collect()
}

/// What the axis of bars measures.
fn what(dimension: Dimension, labels: &[String]) -> String {
    match (dimension, labels) {
        (Dimension::Rate, _) => "tasks".to_owned(),
        (Dimension::Bytes, _) => "memory".to_owned(),
        (_, [one]) => one.clone(),
        _ => "time".to_owned(),
    }
}

/// A plot of groups: the name of each, its system, and its measures as bars.
fn bar_plot(
    id: &str,
    title: &str,
    dimension: Dimension,
    of: &[(String, &str, Vec<&Measure>)],
) -> Option<Plot> {
    let all = || of.iter().flat_map(|(_, _, measures)| measures);
    let labels: Vec<String> =
        distinct(all().map(|m| m.metric.as_str())).into_iter().map(label).collect();
    let bar = |measure: &&Measure| Bar {
        label: label(&measure.metric),
        length: measure.value.max(0.0),
        written: measure.text(),
    };
    let groups: Vec<Group> = of
        .iter()
        .map(|(name, system, measures)| Group {
            name: name.clone(),
            family: family(system),
            bars: measures.iter().map(bar).collect(),
        })
        .collect();
    let what = what(dimension, &labels);
    let bars = Bars { groups: &groups, labels: &labels, dimension, what: &what };
    let drawing = bars.draw(&Place::svg_id(id))?;
    let figures: Vec<String> = groups.iter().map(in_words).collect();
    let words = Words {
        title: title.to_owned(),
        about: match bars.is_cut() {
            true => format!("{} Bars with a gap go on beyond the axis.", about(title)),
            false => about(title),
        },
        desc: format!("{title}: bars of {what}. {}.", figures.join("; ")),
    };
    let spread = |label: &String| [label.clone(), format!("{label}: quartiles")];
    let head = std::iter::once("system".to_owned()).chain(labels.iter().flat_map(spread));
    let mut grid = Grid::new(format!("{title}: {what}"), head);
    for (name, _, measures) in of {
        let cells = labels.iter().flat_map(|wanted| {
            let found = measures.iter().find(|measure| label(&measure.metric) == *wanted);
            let figure = found.map(|measure| measure.text());
            let quartiles = found.and_then(|measure| measure.between(Part::Q1, Part::Q3));
            [figure, quartiles].map(|cell| cell.unwrap_or_else(|| NONE.to_owned()))
        });
        grid.push(std::iter::once(name.clone()).chain(cells));
    }
    Some(Plot::new(id.to_owned(), words, &drawing, grid.without_empty_columns()))
}

fn in_words(group: &Group) -> String {
    let bars: Vec<String> =
        group.bars.iter().map(|bar| format!("{} {}", bar.label, bar.written)).collect();
    format!("{}: {}", group.name, bars.join(", "))
}

/// A metric as people write it.
fn label(metric: &str) -> String {
    match metric {
        "rss" | "pss" | "uss" | "cpu" => metric.to_uppercase(),
        _ => metric.replace('_', " "),
    }
}
