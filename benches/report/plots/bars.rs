//! Bars: rates and times by case, a group a system, and what any other plot of bars is made of.

use super::place::{Place, Words};
use super::tails::{CPU, MIDDLE, TAIL, about, ordered};
use super::{Plot, family, is_plain};
use crate::chart::bars::{Bar, Bars, Group};
use crate::grid::{Grid, NONE};
use crate::rows::{Measure, Part, Run, distinct};
use crate::unit::Dimension;

/// Bars of one name: each with its label and its figure.
pub(crate) struct Named<'a> {
    pub(crate) name: String,
    pub(crate) system: &'a str,
    pub(crate) bars: Vec<(String, &'a Measure)>,
}

/// A plot for each case that has a rate.
pub(crate) fn rates(run: &Run, place: &Place) -> Vec<Plot> {
    by_case(run, place, "rate", Dimension::Rate, |_| true)
}

/// A plot for each case that has a size.
pub(crate) fn sizes(run: &Run, place: &Place) -> Vec<Plot> {
    by_case(run, place, "memory", Dimension::Bytes, |_| true)
}

/// A plot for each case that has a time which is not drawn with its tail.
pub(crate) fn times(run: &Run, place: &Place) -> Vec<Plot> {
    let with_p50 = run.cases(|measure| measure.metric == MIDDLE);
    let with_rate = run.cases(|measure| is_plain(measure, Dimension::Rate));
    by_case(run, place, "time", Dimension::Time, |measure| {
        let has = |cases: &[&str]| cases.contains(&measure.case.as_str());
        match measure.metric.as_str() {
            MIDDLE | TAIL | CPU => !has(&with_p50),
            "wall" => !has(&with_rate), // its inverse
            _ => true,
        }
    })
}

/// One plot a case, a group a system; where no case has two systems, one plot with a group a case.
fn by_case(
    run: &Run,
    place: &Place,
    kind: &str,
    dimension: Dimension,
    keep: impl Fn(&Measure) -> bool,
) -> Vec<Plot> {
    let kept = |measure: &Measure| is_plain(measure, dimension) && keep(measure);
    let cases = run.cases(kept);
    let systems_of =
        |case: &str| ordered(run.systems(|measure| kept(measure) && measure.case == case));
    let bars = |system: &str, case: &str| -> Vec<(String, &Measure)> {
        let own = run.measures.iter().filter(|m| m.system == system && m.case == case && kept(m));
        own.map(|measure| (label(&measure.metric), measure)).collect()
    };
    if cases.len() > 1 && cases.iter().all(|case| systems_of(case).len() == 1) {
        let group = |case: &&'_ str| {
            let system = run.systems(|measure| kept(measure) && measure.case == *case);
            let system = *system.first()?;
            Some(Named { name: (*case).to_owned(), system, bars: bars(system, case) })
        };
        let groups: Vec<Named<'_>> = cases.iter().filter_map(group).collect();
        let title = distinct(groups.iter().map(|group| group.system)).join(", ");
        return plot(&place.id(kind, 0), &title, dimension, &groups).into_iter().collect();
    }
    let of_case = |(index, case): (usize, &&str)| {
        let group =
            |system| Named { name: str::to_owned(system), system, bars: bars(system, case) };
        let groups: Vec<Named<'_>> = systems_of(case).into_iter().map(group).collect();
        plot(&place.id(kind, index), case, dimension, &groups)
    };
    cases.iter().enumerate().filter_map(of_case).collect()
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

/// A plot of groups.
pub(crate) fn plot(id: &str, title: &str, dimension: Dimension, of: &[Named<'_>]) -> Option<Plot> {
    let all = || of.iter().flat_map(|group| &group.bars);
    let labels = distinct(all().map(|(label, _)| label.as_str()));
    let labels: Vec<String> = labels.into_iter().map(str::to_owned).collect();
    // What stands behind all figures, ` a task`, stands once, at the axis.
    let suffixes = distinct(all().map(|(_, measure)| measure.unit.suffix.as_str()));
    let common = match suffixes[..] {
        [suffix] if dimension != Dimension::Rate => suffix.to_owned(),
        _ => String::new(),
    };
    let bar = |(label, measure): &(String, &Measure)| Bar {
        label: label.clone(),
        length: measure.value.max(0.0),
        written: if common.is_empty() { measure.text() } else { measure.without_suffix().text() },
    };
    let groups: Vec<Group> = of
        .iter()
        .map(|Named { name, system, bars }| Group {
            name: name.clone(),
            family: family(system),
            bars: bars.iter().map(bar).collect(),
        })
        .collect();
    let what = format!("{}{common}", what(dimension, &labels));
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
    let grid = grid(of, &labels, &format!("{title}: {what}"));
    Some(Plot::new(id.to_owned(), words, &drawing, grid))
}

fn grid(of: &[Named<'_>], labels: &[String], caption: &str) -> Grid {
    let spread = |label: &String| [label.clone(), format!("{label}: quartiles")];
    let head = std::iter::once("system".to_owned()).chain(labels.iter().flat_map(spread));
    let mut grid = Grid::new(caption, head);
    for group in of {
        let cells = labels.iter().flat_map(|wanted| {
            let found = group.bars.iter().find(|(label, _)| label == wanted);
            let figure = found.map(|(_, measure)| measure.text());
            let quartiles = found.and_then(|(_, measure)| measure.between(Part::Q1, Part::Q3));
            [figure, quartiles].map(|cell| cell.unwrap_or_else(|| NONE.to_owned()))
        });
        grid.push(std::iter::once(group.name.clone()).chain(cells));
    }
    grid.without_empty_columns()
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
