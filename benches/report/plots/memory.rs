//! Memory: of everybody together by the number of workers, of one more, of one, and after a burst.

use super::bars::{self, Named};
use super::place::Place;
use super::tails::ordered;
use super::{Plot, is_plain};
use crate::rows::{Measure, Run};
use crate::unit::Dimension;

/// The figures of the kernel that are drawn, as rows and as people name them.
const FIGURES: [(&str, &str); 3] = [("rss", "RSS"), ("pss", "PSS"), ("uss", "USS")];
/// The same of one worker.
const OF_ONE: [(&str, &str); 3] =
    [("worker rss", "RSS"), ("worker pss", "PSS"), ("worker uss", "USS")];
/// What happens in a burst, in this order.
const BURST: [(&str, &str); 4] = [
    ("pss before", "before"),
    ("pss held", "held"),
    ("pss at once", "at once"),
    ("pss renewed", "renewed"),
];

/// The cases of a bench that counts workers: `8 workers, worked`.
struct Counted<'a> {
    /// In the order of the file, each with its number.
    cases: Vec<(&'a str, &'a str)>,
    /// What stands behind the number.
    rest: &'a str,
}

impl<'a> Counted<'a> {
    /// Of several moments the last: then everybody has worked.
    fn of(run: &'a Run) -> Option<Self> {
        let split = |case: &'a str| {
            let (number, rest) = case.split_once(' ')?;
            number.bytes().all(|byte| byte.is_ascii_digit()).then_some((case, number, rest))
        };
        let cases = run.cases(|measure| is(measure, "pss"));
        let cases: Vec<(&str, &str, &str)> = cases.into_iter().filter_map(split).collect();
        let rest = cases.last()?.2;
        let cases = cases.into_iter().filter(|case| case.2 == rest);
        Some(Self { cases: cases.map(|(case, number, _)| (case, number)).collect(), rest })
    }

    /// `workers, worked` is the moment `worked`.
    fn moment(&self) -> &'a str {
        self.rest.rsplit(", ").next().unwrap_or(self.rest)
    }
}

fn is(measure: &Measure, metric: &str) -> bool {
    measure.metric == metric && is_plain(measure, Dimension::Bytes)
}

/// The plots of what there is; sizes of another shape are drawn by case.
pub(crate) fn plots(run: &Run, place: &Place) -> Vec<Plot> {
    let mut plots = Vec::new();
    if let Some(counted) = Counted::of(run) {
        plots.extend(FIGURES.iter().enumerate().filter_map(|(index, (metric, name))| {
            let title = format!("{name} together, by number of workers");
            let groups = by_number(run, metric, &counted);
            bars::plot(&place.id("all", index), &title, Dimension::Bytes, &groups)
        }));
        let further = run
            .cases(|measure| is(measure, "pss"))
            .into_iter()
            .find(|case| case.starts_with("each further") && case.ends_with(counted.moment()));
        let largest = counted.cases.last().map(|(case, _)| *case);
        for (index, (case, metrics, title)) in
            [(further, FIGURES, "Each further worker adds"), (largest, OF_ONE, "One worker")]
                .into_iter()
                .enumerate()
        {
            let Some(case) = case else { continue };
            let groups = by_system(run, case, &metrics);
            let id = place.id("one", index);
            plots.extend(bars::plot(&id, title, Dimension::Bytes, &groups));
        }
    }
    let bursts = run.cases(|measure| BURST.iter().any(|(metric, _)| is(measure, metric)));
    plots.extend(bursts.iter().enumerate().filter_map(|(index, case)| {
        let groups = by_system(run, case, &BURST);
        let title = format!("PSS, {case}");
        bars::plot(&place.id("burst", index), &title, Dimension::Bytes, &groups)
    }));
    if plots.is_empty() { bars::sizes(run, place) } else { plots }
}

/// A group a system, a bar for each number of workers.
fn by_number<'a>(run: &'a Run, metric: &str, counted: &Counted<'_>) -> Vec<Named<'a>> {
    let group = |system: &'a str| {
        let bar = |(case, number): &(&str, &str)| {
            Some(((*number).to_owned(), run.find(system, case, metric)?))
        };
        let bars = counted.cases.iter().filter_map(bar).collect();
        Named { name: system.to_owned(), system, bars }
    };
    let is_counted = |measure: &Measure| {
        is(measure, metric) && counted.cases.iter().any(|(case, _)| *case == measure.case)
    };
    ordered(run.systems(is_counted)).into_iter().map(group).collect()
}

/// A group a system, a bar for each of these metrics in one case.
fn by_system<'a>(run: &'a Run, case: &str, metrics: &[(&str, &str)]) -> Vec<Named<'a>> {
    let group = |system: &'a str| {
        let bar = |(metric, name): &(&str, &str)| {
            Some(((*name).to_owned(), run.find(system, case, metric)?))
        };
        let bars = metrics.iter().filter_map(bar).collect();
        Named { name: system.to_owned(), system, bars }
    };
    let has_one = |measure: &Measure| {
        measure.case == case && metrics.iter().any(|(metric, _)| is(measure, metric))
    };
    ordered(run.systems(has_one)).into_iter().map(group).collect()
}
