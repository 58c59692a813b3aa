//! Curves of time over the size of a payload.

use super::place::{Place, Words};
use super::{Plot, bars, family, is_plain};
use crate::chart::lines::{Curve, Lines};
use crate::grid::{Grid, NONE};
use crate::rows::{Measure, Run, distinct};
use crate::unit::{self, Dimension};

/// A plot for each metric of time that was taken at two sizes at least.
pub(crate) fn payload(run: &Run, place: &Place) -> Vec<Plot> {
    let sized = |measure: &Measure| {
        is_plain(measure, Dimension::Time) && unit::told_by(&measure.case).0.is_some()
    };
    let timed = run.measures.iter().filter(|measure| sized(measure));
    let metrics = distinct(timed.map(|measure| measure.metric.as_str()));
    let plot = |(index, metric): (usize, &&str)| {
        let of = |measure: &Measure| sized(measure) && measure.metric == *metric;
        let curves = curves(run, &of);
        if curves.iter().all(|curve| curve.points.len() < 2) {
            return None;
        }
        let up = format!("{metric} of a call");
        let drawing = Lines { curves: &curves, across: "payload", up: &up }.draw()?;
        let ends: Vec<String> = curves.iter().map(in_words).collect();
        let words = Words {
            title: format!("{metric} over the size"),
            about: String::new(),
            desc: format!(
                "{metric} of a call over the size of its payload, both logarithmic, a curve for \
                 each of {} systems. {}.",
                curves.len(),
                ends.join("; ")
            ),
        };
        Some(Plot::new(place.id("size", index), words, &drawing, grid(run, &of, metric)))
    };
    let mut plots: Vec<Plot> = metrics.iter().enumerate().filter_map(plot).collect();
    plots.extend(bars::times(run, place));
    plots
}

fn curves(run: &Run, of: &dyn Fn(&Measure) -> bool) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for system in run.systems(of) {
        let own = run.measures.iter().filter(|measure| of(measure) && measure.system == system);
        let mut points: Vec<(f64, f64)> = own
            .filter_map(|measure| Some((unit::told_by(&measure.case).0?, measure.value)))
            .filter(|(size, time)| *size > 0.0 && *time > 0.0)
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let family = family(system);
        let nth = curves.iter().filter(|curve| curve.family == family).count();
        curves.push(Curve { name: system.to_owned(), family, nth, points });
    }
    curves
}

fn in_words(curve: &Curve) -> String {
    let at = |point: &(f64, f64)| format!("{} at {}", unit::time(point.1), unit::size(point.0));
    match (curve.points.first(), curve.points.last()) {
        (Some(first), Some(last)) => format!("{}: {}, {}", curve.name, at(first), at(last)),
        _ => curve.name.clone(),
    }
}

fn grid(run: &Run, of: &dyn Fn(&Measure) -> bool, metric: &str) -> Grid {
    let systems = run.systems(of);
    let head = std::iter::once("payload").chain(systems.iter().copied());
    let mut grid = Grid::new(format!("{metric} of a call, by size"), head);
    for case in run.cases(of) {
        let cells = systems.iter().map(|system| {
            run.find(system, case, metric).map_or_else(|| NONE.to_owned(), Measure::text)
        });
        grid.push(std::iter::once(case.to_owned()).chain(cells));
    }
    grid
}
